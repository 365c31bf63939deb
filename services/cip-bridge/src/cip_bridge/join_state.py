"""Newest values of the joins of one device, both ways. They outlive connections."""

import sys
from collections.abc import Mapping

from busbar.bridge.errors import TooLarge
from busbar.codecs.cip import Form, Join, Kind, Update

Value = bool | int | str

DEFAULTS: dict[Kind, Value] = {"digital": False, "analog": 0, "serial": ""}
# in one direction; processors document at most 3 x 4000 of one panel
JOINS_LIMIT = 100_000
BYTES_LIMIT = 16 * 1024 * 1024  # of all texts in one direction, as they are in memory
TEXT_LIMIT = 64 * 1024  # characters of a text that grows by appending


class JoinValues:
    """Newest values of joins in one direction, bounded in number and size."""

    def __init__(self) -> None:
        self.known: dict[Join, Value] = {}
        self._bytes = 0

    def get(self, join: Join) -> Value:
        """Return a value; a join that was never seen is at its default."""
        return self.known.get(join, DEFAULTS[join.kind])

    def put(self, join: Join, value: Value) -> None:
        """Store a value; raise TooLarge if there is no room for it."""
        before = self.known.get(join)
        if before is None and len(self.known) >= JOINS_LIMIT:
            raise TooLarge(
                f"{JOINS_LIMIT} joins have a value already", limit=JOINS_LIMIT
            )
        if isinstance(value, str):
            growth = sys.getsizeof(value) - sys.getsizeof(before or "")
            if growth > 0 and self._bytes + growth > BYTES_LIMIT:
                raise TooLarge(
                    f"all texts together would have more than {BYTES_LIMIT} bytes",
                    limit=BYTES_LIMIT,
                )
            self._bytes += growth
        self.known[join] = value

    def reset(self, kept: set[Join]) -> None:
        """Put all but these to their defaults."""
        for join in self.known.keys() - kept:
            self.put(join, DEFAULTS[join.kind])


class JoinState:
    """Joins of one device: `received` from the other side, `sent` by us."""

    def __init__(self, output_of: Mapping[Join, Join] | None = None) -> None:
        self.output_of = output_of or {}  # by the join of its feedback
        self.received = JoinValues()
        self.sent = JoinValues()
        # Buttons that we press. In `sent` they are released: nothing would release a
        # press that is sent again.
        self.pressed: set[Join] = set()
        self.buttons: set[Join] = set()  # whose newest value was a press or a release
        # those of the connection that is open, or ended last: the end of one may have
        # taken a release with it
        self.recent_buttons: set[Join] = set()
        # Outputs whose feedback has changed since to something else: to send them again
        # would move what others have set.
        self.overtaken: set[Join] = set()
        self.ignored = 0  # values received that had no room
        self._updated: set[Join] | None = None  # while an update is under way

    def get(self, join: Join, sent: bool = False) -> Value:
        """Return a value; a join that was never seen is at its default."""
        if not sent:
            return self.received.get(join)
        return join in self.pressed or self.sent.get(join)

    def receive(self, update: Update) -> Value | None:
        """Store a received value and return it, None if there is no room for it."""
        join, value = update.join, update.value
        before = self.received.get(join)
        if update.append:
            value = f"{before}{value}"[-TEXT_LIMIT:]
        try:
            self.received.put(join, value)
        except TooLarge:
            self.ignored += 1
            return None
        if self.sent.known and value != before:
            self._compare(self.output_of.get(join, join), value)
        if self._updated is not None:
            self._updated.add(join)
        return value

    def drive(self, update: Update) -> None:
        """Store a value that is being sent; raise TooLarge."""
        button = update.form is Form.BUTTON
        self.sent.put(update.join, False if button else update.value)
        self.overtaken.discard(update.join)
        if button:
            self.buttons.add(update.join)
            self.recent_buttons.add(update.join)
        else:
            self.buttons.discard(update.join)
        if button and update.value:
            self.pressed.add(update.join)
        else:
            self.pressed.discard(update.join)

    def release_pressed(self) -> set[Join]:
        """Release all buttons; return those that were pressed."""
        pressed = self.pressed
        self.pressed = set()
        return pressed

    def _compare(self, output: Join, feedback: Value) -> None:
        """Note whether changed feedback says otherwise than what we sent."""
        if output not in self.sent.known:
            return
        if feedback == self.sent.get(output):
            self.overtaken.discard(output)
        else:
            self.overtaken.add(output)

    @property
    def updating(self) -> bool:
        """True while an update is under way."""
        return self._updated is not None

    def begin_update(self) -> None:
        """Begin an update: all joins come that are not at their default.

        Source: docs/protocols/cip.md, 5.1
        """
        self._updated = set()

    def end_update(self) -> bool:
        """Put what an update left out to its default; False if none was under way."""
        updated = self._updated
        self._updated = None
        if updated is None:
            return False
        self.received.reset(updated)
        return True

    def clear(self) -> None:
        """Put everything received to its default."""
        self.received.reset(set())
