"""Motions that several actions share: numbers that move, switches that are ensured."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple

from msgspec import Meta

from busbar.bridge import BadRequest, OutOfRange, ProtocolError, Turn
from busbar.codecs.indi import parse_number
from indi_bridge.pending import Fraction, SetOptions
from indi_bridge.sets import VectorSets
from indi_bridge.vectors import Vector

Text = Annotated[str, Meta(min_length=1, max_length=40)]

SLEW = 900.0  # s for a mount, a dome or a filter wheel to get there
SIXTY = 60
PREPARING = 30.0  # s for what is set before a motion or an exposure

# 5h35m17s, -5°23'28", 12d30m
_PART = r"(\d{1,2}(?:\.\d*)?)"
_UNITS = re.compile(
    rf"([+-]?\d{{1,3}}(?:\.\d*)?)[hd°](?:{_PART}[m'](?:{_PART}[s\"]?)?)?", re.ASCII
)


class Axis(NamedTuple):
    """The number that an action moves: a vector and its member."""

    vector: str
    member: str


class Motions:
    """Moves the devices of one server."""

    def __init__(self, sets: VectorSets) -> None:
        self._sets = sets

    def check(self, device: str, axis: Axis, target: float) -> None:
        """Raise what a driver could not do: UnknownTarget, OutOfRange, ReadOnly."""
        vector = self._sets.vector(device, axis.vector)
        self._sets.check(vector, {axis.member: target})

    async def move(
        self, device: str, axis: Axis, target: float, turn: Turn
    ) -> dict[str, Any]:
        """Move a number to its target; return the value of its vector then."""
        vector = self._sets.vector(device, axis.vector)
        options = SetOptions(SLEW, part_of_way(vector, axis.member, target))
        await self._sets.set(vector, {axis.member: target}, turn, options)
        return self._sets.vector(device, axis.vector).value()

    async def switch(
        self, device: str, name: str, member: str, turn: Turn, timeout: float = SLEW
    ) -> None:
        """Switch a member on and wait for the end."""
        vector = self._sets.vector(device, name)
        await self._sets.set(vector, {member: True}, turn, SetOptions(timeout))

    async def ensure(
        self, device: str, name: str, given: Mapping[str, Any], turn: Turn
    ) -> None:
        """Set members unless they are as they are wanted."""
        vector = self._sets.vector(device, name)
        if not vector.has(self._sets.check(vector, given).members):
            await self._sets.set(vector, given, turn, SetOptions(PREPARING))

    def first(self, device: str, names: tuple[str, ...]) -> Vector:
        """Return the first vector that can be set; raise UnknownTarget."""
        for name in names:
            vector = self._sets.find(device, name)
            if vector is not None and vector.perm != "ro":
                return vector
        return self._sets.vector(device, names[0])


def angle(name: str, value: float | str, low: float, high: float) -> float:
    """Return a number of hours or degrees; text may be sexagesimal.

    Raise BadRequest for text that is none, OutOfRange outside of low to high.
    """
    number = value if not isinstance(value, str) else _sexagesimal(name, value)
    if not low <= number <= high:
        raise OutOfRange(
            f"{name}: {value} is out of range; allowed: {low:g} to {high:g}"
        )
    return number


def _sexagesimal(name: str, text: str) -> float:
    plain = text
    found = _UNITS.fullmatch(text.strip().replace(" ", ""))
    if found is not None:
        plain = ":".join(filter(None, found.groups()))
    try:
        number = parse_number(plain)
        sixtieths = [float(each) for each in plain.replace(" ", ":").split(":")[1:]]
    except (ProtocolError, ValueError) as error:
        raise BadRequest(
            f"{name}: {text!r:.60} is no number; allowed: 5.588, 5:35:17 or 5h35m17s"
        ) from error
    if any(each >= SIXTY for each in sixtieths):
        raise OutOfRange(f"{name}: {text!r:.60}: minutes and seconds are below 60")
    return number


def part_of_way(vector: Vector, member: str, target: float) -> Fraction:
    """Return a function for how much of the way to a target is done."""
    start = target
    if member in vector.members:
        start = vector.members[member].shown

    def fraction(now: Vector) -> float | None:
        if member not in now.members or start == target:
            return None
        gone = float(now.members[member].shown - start)
        return limited(gone / (target - start))

    return fraction


def limited(fraction: float) -> float:
    return min(1.0, max(0.0, fraction))
