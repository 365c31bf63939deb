"""What is known of the joins of one device, both ways. It outlives connections."""

from busbar.codecs.cip import Join, Kind, Update
from busbar.errors import TooLarge

Value = bool | int | str

DEFAULTS: dict[Kind, Value] = {"digital": False, "analog": 0, "serial": ""}
JOINS_LIMIT = 100_000  # in one direction; a processor has at most 3 x 4000 of one panel that it documents
TEXT_LIMIT = 64 * 1024  # characters of a text that grows by appending


class Board:
    """Joins and their newest values: `ins` come to us, `outs` go from us."""

    def __init__(self) -> None:
        self.ins: dict[Join, Value] = {}
        self.outs: dict[Join, Value] = {}
        self._seen: set[Join] | None = None  # while an update is under way

    def get(self, join: Join, outwards: bool = False) -> Value:
        """Return a value; a join that was never seen is at its default."""
        return (self.outs if outwards else self.ins).get(join, DEFAULTS[join.kind])

    def take(self, update: Update) -> Value | None:
        """Take what came in and return the join's value, None if there are too many joins."""
        join, value = update.join, update.value
        if join not in self.ins and len(self.ins) >= JOINS_LIMIT:
            return None
        if update.append:
            value = f"{self.get(join)}{value}"[-TEXT_LIMIT:]
        if self._seen is not None:
            self._seen.add(join)
        self.ins[join] = value
        return value

    def admit(self, join: Join) -> None:
        """Raise TooLarge when a join to drive is one too many."""
        if join not in self.outs and len(self.outs) >= JOINS_LIMIT:
            raise TooLarge(f"{JOINS_LIMIT} joins are driven already", limit=JOINS_LIMIT)

    def begin_update(self) -> None:
        """From here on all joins come that are not at their default. Source: reference 1.4."""
        self._seen = set()

    def end_update(self) -> bool:
        """What has not come since the update began is at its default; return whether one was under way."""
        seen, self._seen = self._seen, None
        if seen is None:
            return False
        for join in self.ins.keys() - seen:
            self.ins[join] = DEFAULTS[join.kind]
        return True

    def clear(self) -> None:
        """Everything that came in is back at its default."""
        for join in self.ins:
            self.ins[join] = DEFAULTS[join.kind]
