"""What both roles show on the bus: joins that come in, joins that we drive."""

import math
import re
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from busbar.bridge import BadRequest, Outlet, OutOfRange, Property
from busbar.codecs import cip
from busbar.codecs.cip import Join, Update
from cip_bridge.join_state import DEFAULTS, Board, Value
from cip_bridge.paths import OUT, Paths

SKIPPED = Property(
    "_skipped", int, title=("Things received that mean nothing to us, or had no room")
)
CLOCK = Property("clock", str, title="The processor's clock, without a zone")
HOLD = 10.0  # s
HOLD_LONGEST = 3600.0  # s
PULSE = 0.1  # s

_VERSION = re.compile(r"\[v\d+\.\d")

JoinName = (
    Annotated[int, Meta(ge=1, le=32768)]
    | Annotated[str, Meta(min_length=1, max_length=200)]
)


class Press(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of `press`.

    A digital join by number, path or name, and how long to hold it (s).
    """

    join: JoinName
    hold: Annotated[float, Meta(gt=0, le=HOLD_LONGEST)] | Literal["forever"] = HOLD

    @property
    def seconds(self) -> float:
        return math.inf if self.hold == "forever" else self.hold


class Button(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of `release`."""

    join: JoinName


class Pulse(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of `pulse`: `seconds` between press and release."""

    join: JoinName
    seconds: Annotated[float, Meta(gt=0, le=10)] = PULSE


class Get(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of `get`: a path or name, as it came `in` or as we sent it `out`."""

    join: str
    direction: Literal["in", "out"] = "in"


class Send(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of `send`: whole frames in hex, sent as they are."""

    frames: str


class Surface:
    """One device's joins on the bus."""

    def __init__(self, outlet: Outlet, board: Board, paths: Paths) -> None:
        self.outlet, self.board, self.paths = outlet, board, paths
        self._skipped = -1

    def came(self, updates: list[Update]) -> None:
        """Publish values as they came; each transition counts, also two of one join."""
        values: dict[str, Any] = {}
        for update in updates:
            path = self.paths.path(update.join)
            try:
                value = self.paths.shown(update.join, update.value)
            except OutOfRange as error:  # it costs this join only
                self.outlet.bad([path], error)
                continue
            if path in values and values[path] != value:
                self.outlet.values(values)
                values = {}
            values[path] = value
        if values:
            self.outlet.values(values)

    def came_all(self) -> None:
        """Publish every value that is known, and every named one."""
        everything = {**self._defaults(), **self.board.ins.known}
        self.came(
            [
                Update(join, value, cip.FORMS[join.kind])
                for join, value in everything.items()
            ]
        )

    def went(self, join: Join, value: Value) -> None:
        """Publish what has been sent."""
        path = OUT + self.paths.path(join)
        try:
            self.outlet.values({path: self.paths.shown(join, value)})
        except OutOfRange as error:  # by number, outside the scale of its name
            self.outlet.bad([path], error)

    def went_all(self) -> None:
        """Publish everything that we hold.

        What was never sent is at its default there, too.
        """
        for join, value in {**self._defaults(), **self.board.outs.known}.items():
            self.went(join, value)

    def count(self, skipped: int) -> None:
        """Publish how much of what came meant nothing."""
        if skipped != self._skipped:
            self._skipped = skipped
            self.outlet.values({SKIPPED.path: skipped})

    def _defaults(self) -> dict[Join, Value]:
        """Joins with a name have a value in any case.

        Families say their default in `info`.
        """
        return {join: DEFAULTS[join.kind] for join in self.paths.named}

    def wanted(self, path: str, value: Any) -> tuple[Join, Value]:
        """Return the join and the raw value that a set means.

        Raise UnknownTarget, OutOfRange.
        """
        join, named = self.paths.find(path)
        return join, value if named is None else named.raw(value)

    def read(self, arguments: Get) -> Any:
        """Return the value for a `get`, as the named join or the raw one has it."""
        join, named = self.paths.find(arguments.join)
        value = self.board.get(join, arguments.direction == "out")
        return value if named is None else named.shown(value)


def frames_of(text: str) -> bytes:
    """Return the frames of a `send`; raise BadRequest unless they are whole."""
    try:
        data = bytes.fromhex(text)
    except ValueError as error:
        raise BadRequest(
            f"frames: {text!r:.60} is not hexadecimal, two digits for each byte"
        ) from error
    if cip.split(data) is None:
        raise BadRequest(
            f"frames: {text!r:.60} are no whole frames: type, two bytes of length, "
            f"that many bytes"
        )
    return data


def firmware(text: str) -> str | None:
    """Return what a processor says of itself.

    It has a version in brackets, as [v1.503.0027]. Source: docs/protocols/cip.md, 6.7.
    """
    return text[:100] if _VERSION.search(text) else None
