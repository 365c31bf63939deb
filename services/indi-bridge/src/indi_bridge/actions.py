"""Actions of a device: commands such as goto and expose, made of several sets.

A device has those that its vectors allow. Source: docs/protocols/indi.md, 5; the
standard properties, <https://docs.indilib.org/drivers/standard-properties/>.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
from msgspec import Meta

from busbar.bridge import (
    BadRequest,
    Command,
    NoArguments,
    ProtocolError,
    Turn,
    command,
)
from busbar.codecs.indi import parse_number
from indi_bridge.blobs.publish import Exposed
from indi_bridge.pending import Fraction, SetOptions
from indi_bridge.sets import VectorSets
from indi_bridge.vectors import Vector

Vectors = Mapping[str, Vector]
Text = Annotated[str, Meta(min_length=1, max_length=40)]
Work = Callable[[], Awaitable[None]]

SLEW = 900.0  # s for a mount, a dome or a filter wheel to get there
LONGEST = 86400  # s of one exposure
READOUT = 120.0  # s beyond its time until an exposure is read out and its image here
CONNECTING = 120.0  # s for a driver to find its hardware
ABORTING = 10.0  # s
PREPARING = 30.0  # s for what is set before a motion or an exposure

_ABORTS = (
    "TELESCOPE_ABORT_MOTION",
    "CCD_ABORT_EXPOSURE",
    "GUIDER_ABORT_EXPOSURE",
    "FOCUS_ABORT_MOTION",
    "DOME_ABORT_MOTION",
    "ROTATOR_ABORT_MOTION",
)
_COORDINATES = ("EQUATORIAL_EOD_COORD", "EQUATORIAL_COORD")
_PARKS = ("TELESCOPE_PARK", "DOME_PARK", "CAP_PARK")
_FRAME_TYPES = {
    "light": "FRAME_LIGHT",
    "bias": "FRAME_BIAS",
    "dark": "FRAME_DARK",
    "flat": "FRAME_FLAT",
}


class Goto(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of `goto`: hours and degrees, as numbers or text such as 5:35:17.

    Then track, only slew, or sync.
    """

    ra: Annotated[float, Meta(ge=0, le=24)] | Text
    dec: Annotated[float, Meta(ge=-90, le=90)] | Text
    then: Literal["track", "slew", "sync"] = "track"


class Expose(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of `expose`; what is not given stays as it is."""

    seconds: Annotated[float, Meta(ge=0, le=LONGEST)]
    type: Literal["light", "bias", "dark", "flat"] | None = None
    binning: Annotated[int, Meta(ge=1, le=64)] | None = None
    gain: float | None = None
    frame: tuple[int, int, int, int] | None = None  # x, y, width, height in pixels


class Focus(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of `focus`.

    A position, or steps relative to where it is (negative: inward).
    """

    position: float | None = None
    steps: float | None = None


class Filter(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of `filter`: its name or slot."""

    filter: int | str


class Dome(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of `dome`: azimuth in degrees, shutter, or both."""

    azimuth: float | None = None
    shutter: Literal["open", "close"] | None = None


class Axis(NamedTuple):
    """The number that an action moves: a vector and its member."""

    vector: str
    member: str


_FOCUS = Axis("ABS_FOCUS_POSITION", "FOCUS_ABSOLUTE_POSITION")
_FOCUS_STEPS = Axis("REL_FOCUS_POSITION", "FOCUS_RELATIVE_POSITION")
_FILTER = Axis("FILTER_SLOT", "FILTER_SLOT_VALUE")
_AZIMUTH = Axis("ABS_DOME_POSITION", "DOME_ABSOLUTE_POSITION")


class DeviceActions:
    """Carries out the actions of the devices of one server."""

    def __init__(
        self,
        sets: VectorSets,
        # device, vector, work: does it, returns the vector's first image since
        wait_for_image: Callable[[str, str, Work], Awaitable[Exposed]],
    ) -> None:
        self._sets = sets
        self._wait_for_image = wait_for_image

    @command(timeout=CONNECTING, holds="exchange")
    async def connect(self, device: str, arguments: NoArguments, turn: Turn) -> None:
        """Switch CONNECTION on: the driver connects to its hardware."""
        vector = self._sets.vector(device, "CONNECTION")
        await self._sets.set(vector, {"CONNECT": True}, turn, SetOptions(CONNECTING))

    @command(timeout=CONNECTING, holds="exchange")
    async def disconnect(self, device: str, arguments: NoArguments, turn: Turn) -> None:
        """Switch CONNECTION off."""
        vector = self._sets.vector(device, "CONNECTION")
        await self._sets.set(vector, {"DISCONNECT": True}, turn, SetOptions(CONNECTING))

    @command(
        title=(
            "Go to right ascension (h) and declination (degrees), then track, only "
            "slew, or take it as where we are"
        ),
        timeout=SLEW,
        holds="exchange",
    )
    async def goto(self, device: str, arguments: Goto, turn: Turn) -> dict[str, Any]:
        """Go to right ascension (h) and declination (degrees)."""
        ra = _number("ra", arguments.ra)
        dec = _number("dec", arguments.dec)
        target = {"RA": ra, "DEC": dec}
        self._sets.check(self._first(device, _COORDINATES), target)
        mode = {arguments.then.upper(): True}
        await self._ensure(device, "ON_COORD_SET", mode, turn)
        vector = self._first(device, _COORDINATES)
        options = SetOptions(SLEW, _part_of_way(vector, "DEC", dec))
        await self._sets.set(vector, target, turn, options)
        return vector.value()

    @command(timeout=SLEW, holds="exchange")
    async def park(self, device: str, arguments: NoArguments, turn: Turn) -> None:
        """Park."""
        vector = self._first(device, _PARKS)
        await self._sets.set(vector, {"PARK": True}, turn, SetOptions(SLEW))

    @command(timeout=SLEW, holds="exchange")
    async def unpark(self, device: str, arguments: NoArguments, turn: Turn) -> None:
        """End the parking."""
        vector = self._first(device, _PARKS)
        await self._sets.set(vector, {"UNPARK": True}, turn, SetOptions(SLEW))

    @command(safe=True, timeout=30.0, holds="exchange")
    async def abort(self, device: str, arguments: NoArguments, turn: Turn) -> list[str]:
        """Stop every motion and exposure of the device."""
        names = []
        aborts = []
        for name in _ABORTS:
            vector = self._sets.find(device, name)
            if vector is not None:
                names.append(name)
                options = SetOptions(ABORTING)
                aborts.append(self._sets.set(vector, {"ABORT": True}, turn, options))
        # one that fails keeps no other from being sent
        for end in await asyncio.gather(*aborts, return_exceptions=True):
            if isinstance(end, BaseException):
                raise end
        return names

    @command(timeout=LONGEST + READOUT, holds="exchange")
    async def expose(self, device: str, arguments: Expose, turn: Turn) -> Exposed:
        """Take an image; done when it is here."""
        seconds = arguments.seconds
        exposure = self._sets.vector(device, "CCD_EXPOSURE")
        member = next(iter(exposure.members), "CCD_EXPOSURE_VALUE")
        given = {member: seconds}
        self._sets.check(exposure, given)
        preparations = _preparations(arguments)
        for name, members in preparations.items():
            self._sets.check(self._sets.vector(device, name), members)
        for name, members in preparations.items():
            await self._ensure(device, name, members, turn)

        async def work() -> None:
            vector = self._sets.vector(device, exposure.name)
            options = SetOptions(seconds + READOUT, _part_of_time(member, seconds))
            await self._sets.set(vector, given, turn, options)

        return await self._wait_for_image(device, "CCD1", work)

    @command(timeout=SLEW, holds="exchange")
    async def focus(self, device: str, arguments: Focus, turn: Turn) -> dict[str, Any]:
        """Move the focuser."""
        position = arguments.position
        steps = arguments.steps
        if position is not None and steps is None:
            return await self._move(device, _FOCUS, position, turn)
        if steps is None or position is not None:
            raise BadRequest("either `position` or `steps` is needed")
        self._check(device, _FOCUS_STEPS, abs(steps))
        direction = "FOCUS_INWARD" if steps < 0 else "FOCUS_OUTWARD"
        await self._ensure(device, "FOCUS_MOTION", {direction: True}, turn)
        return await self._move(device, _FOCUS_STEPS, abs(steps), turn)

    @command(timeout=SLEW, holds="exchange")
    async def filter(
        self, device: str, arguments: Filter, turn: Turn
    ) -> dict[str, Any]:
        """Turn the wheel to a filter, by its name or slot."""
        slot = arguments.filter
        if isinstance(slot, str):
            slot = self._slot(device, slot)
        return await self._move(device, _FILTER, slot, turn)

    @command(timeout=SLEW, holds="exchange")
    async def dome(self, device: str, arguments: Dome, turn: Turn) -> None:
        """Turn the dome, open or close its shutter."""
        azimuth = arguments.azimuth
        shutter = arguments.shutter
        if azimuth is None and shutter is None:
            raise BadRequest("`azimuth` (degrees) or `shutter` (open, close) is needed")
        if azimuth is not None:
            self._check(device, _AZIMUTH, azimuth)
        if shutter is not None:
            vector = self._sets.vector(device, "DOME_SHUTTER")
            given = {f"SHUTTER_{shutter.upper()}": True}
            await self._sets.set(vector, given, turn, SetOptions(SLEW))
        if azimuth is not None:
            await self._move(device, _AZIMUTH, azimuth, turn)

    def _check(self, device: str, axis: Axis, target: float) -> None:
        vector = self._sets.vector(device, axis.vector)
        self._sets.check(vector, {axis.member: target})

    async def _move(
        self, device: str, axis: Axis, target: float, turn: Turn
    ) -> dict[str, Any]:
        vector = self._sets.vector(device, axis.vector)
        options = SetOptions(SLEW, _part_of_way(vector, axis.member, target))
        await self._sets.set(vector, {axis.member: target}, turn, options)
        return self._sets.vector(device, axis.vector).value()

    async def _ensure(
        self, device: str, name: str, given: Mapping[str, Any], turn: Turn
    ) -> None:
        """Set members unless they are as they are wanted."""
        vector = self._sets.vector(device, name)
        if not vector.has(self._sets.check(vector, given).members):
            await self._sets.set(vector, given, turn, SetOptions(PREPARING))

    def _slot(self, device: str, name: str) -> int:
        """Return the slot of a filter, counted from 1."""
        vector = self._sets.find(device, "FILTER_NAME")
        members = vector.members.values() if vector else ()
        names = [member.value for member in members]
        if name not in names:
            known = ", ".join(names) or "no names"
            raise BadRequest(f"no filter {name!r:.60}; there are: {known}")
        return names.index(name) + 1

    def _first(self, device: str, names: tuple[str, ...]) -> Vector:
        """Return the first vector that can be set; raise UnknownTarget."""
        for name in names:
            vector = self._sets.find(device, name)
            if vector is not None and vector.perm != "ro":
                return vector
        return self._sets.vector(device, names[0])


# command -> vectors of which one has to be writable
OFFERED: dict[str, tuple[str, ...]] = {
    "connect": ("CONNECTION",),
    "disconnect": ("CONNECTION",),
    "goto": _COORDINATES,
    "park": _PARKS,
    "unpark": _PARKS,
    "abort": _ABORTS,
    "expose": ("CCD_EXPOSURE",),
    "focus": ("ABS_FOCUS_POSITION", "REL_FOCUS_POSITION"),
    "filter": ("FILTER_SLOT",),
    "dome": ("ABS_DOME_POSITION", "DOME_SHUTTER"),
}


def offered(
    all_commands: Mapping[str, Command], vectors: Vectors
) -> dict[str, Command]:
    """Return the commands that a device with these vectors can carry out."""
    found = {}
    for name, each in all_commands.items():
        if name not in OFFERED or _any_writable(OFFERED[name], vectors):
            found[name] = each
    return found


def _any_writable(names: Iterable[str], vectors: Vectors) -> bool:
    return any(name in vectors and vectors[name].perm != "ro" for name in names)


def _preparations(arguments: Expose) -> dict[str, dict[str, Any]]:
    """Return what is set before an exposure: vector -> members."""
    sets: dict[str, dict[str, Any]] = {}
    if arguments.type is not None:
        sets["CCD_FRAME_TYPE"] = {_FRAME_TYPES[arguments.type]: True}
    if arguments.binning is not None:
        sets["CCD_BINNING"] = dict.fromkeys(("HOR_BIN", "VER_BIN"), arguments.binning)
    if arguments.frame is not None:
        names = ("X", "Y", "WIDTH", "HEIGHT")
        sets["CCD_FRAME"] = dict(zip(names, arguments.frame, strict=True))
    if arguments.gain is not None:
        sets["CCD_GAIN"] = {"GAIN": arguments.gain}
    return sets


def _number(name: str, value: float | str) -> float:
    if not isinstance(value, str):
        return value
    try:
        return parse_number(value)
    except ProtocolError as error:
        raise BadRequest(
            f"{name}: {error}; allowed: a number, or text such as 5:35:17"
        ) from error


def _part_of_way(vector: Vector, member: str, target: float) -> Fraction:
    """Return a function for how much of the way to a target is done."""
    start = target
    if member in vector.members:
        start = vector.members[member].shown

    def fraction(now: Vector) -> float | None:
        if member not in now.members or start == target:
            return None
        gone = float(now.members[member].shown - start)
        return _limited(gone / (target - start))

    return fraction


def _part_of_time(member: str, seconds: float) -> Fraction:
    """Return a function for how much of an exposure is done."""

    def fraction(now: Vector) -> float | None:
        if not seconds:
            return None
        return _limited(1 - now.members[member].shown / seconds)

    return fraction


def _limited(fraction: float) -> float:
    return min(1.0, max(0.0, fraction))
