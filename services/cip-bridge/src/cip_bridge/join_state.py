"""What is known of the joins of one device, both ways. It outlives connections."""

import sys

from busbar.bridge.errors import TooLarge
from busbar.codecs.cip import Form, Join, Kind, Update

Value = bool | int | str

DEFAULTS: dict[Kind, Value] = {"digital": False, "analog": 0, "serial": ""}
# in one direction; a processor has at most 3 x 4000 of one panel that it documents
JOINS_LIMIT = 100_000
BYTES_LIMIT = 16 * 1024 * 1024  # of all texts in one direction, as they are in memory
TEXT_LIMIT = 64 * 1024  # characters of a text that grows by appending


class Side:
    """Joins and their newest values in one direction, bounded in number and size."""

    def __init__(self) -> None:
        self.known: dict[Join, Value] = {}
        self._bytes = 0

    def get(self, join: Join) -> Value:
        """Return a value; a join that was never seen is at its default."""
        return self.known.get(join, DEFAULTS[join.kind])

    def put(self, join: Join, value: Value) -> None:
        """Note a value.

        Raise TooLarge for one join, or for more text, than there is room for.
        """
        before = self.known.get(join)
        if before is None and len(self.known) >= JOINS_LIMIT:
            raise TooLarge(
                (f"{JOINS_LIMIT} joins have a value already"), limit=JOINS_LIMIT
            )
        if isinstance(value, str):
            more = sys.getsizeof(value) - sys.getsizeof(before or "")
            if more > 0 and self._bytes + more > BYTES_LIMIT:
                raise TooLarge(
                    (f"all texts together would have more than {BYTES_LIMIT} bytes"),
                    limit=BYTES_LIMIT,
                )
            self._bytes += more
        self.known[join] = value

    def reset(self, kept: set[Join]) -> None:
        """Put all but these to their defaults."""
        for join in self.known.keys() - kept:
            self.put(join, DEFAULTS[join.kind])


class Board:
    """Joins of one device: `ins` come to us, `outs` go from us."""

    def __init__(self) -> None:
        self.ins, self.outs = Side(), Side()
        # buttons; in `outs` they are released: nothing would release one sent again
        self.pressed: set[Join] = set()
        self.ignored = 0  # values that came and had no room
        self._seen: set[Join] | None = None  # while an update is under way

    def get(self, join: Join, outwards: bool = False) -> Value:
        """Return a value; a join that was never seen is at its default."""
        if not outwards:
            return self.ins.get(join)
        return join in self.pressed or self.outs.get(join)

    def take(self, update: Update) -> Value | None:
        """Take what came in; return the join's value, None if there is no room."""
        join, value = update.join, update.value
        if update.append:
            value = f"{self.ins.get(join)}{value}"[-TEXT_LIMIT:]
        try:
            self.ins.put(join, value)
        except TooLarge:
            self.ignored += 1
            return None
        if self._seen is not None:
            self._seen.add(join)
        return value

    def drive(self, update: Update) -> None:
        """Note what is sent; raise TooLarge."""
        button = update.form is Form.BUTTON
        self.outs.put(update.join, False if button else update.value)
        if button and update.value:
            self.pressed.add(update.join)
        else:
            self.pressed.discard(update.join)

    def let_go(self) -> set[Join]:
        """Return the buttons that were pressed; from here on they are not."""
        pressed, self.pressed = self.pressed, set()
        return pressed

    @property
    def updating(self) -> bool:
        """True while an update is under way."""
        return self._seen is not None

    def begin_update(self) -> None:
        """From here on all joins come that are not at their default.

        Source: docs/protocols/cip.md, 5.1.
        """
        self._seen = set()

    def end_update(self) -> bool:
        """What has not come since the update began is at its default.

        Return whether one was under way.
        """
        seen, self._seen = self._seen, None
        if seen is None:
            return False
        self.ins.reset(seen)
        return True

    def clear(self) -> None:
        """Everything that came in is back at its default."""
        self.ins.reset(set())
