"""Commands of whole actions: connect, goto, expose. Each is there where the device's vectors allow it.

Source: the standard properties of INDI, <https://docs.indilib.org/drivers/standard-properties/>, and reference 6.
"""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from busbar.arbiter import Turn
from busbar.codecs.indi import parse_number
from busbar.describe import Command, NoArguments, command
from busbar.errors import BadRequest, UnknownTarget
from indi_bridge.pending import Fraction
from indi_bridge.vectors import Vector

Vectors = Mapping[str, Vector]
Text = Annotated[str, Meta(min_length=1, max_length=40)]

SLEW = 900.0  # s for a mount, a dome or a filter wheel to get there
LONGEST = 86400.0  # s of one exposure
READOUT = 120.0  # s beyond its time until an exposure is read out and its image here
CONNECTING = 120.0  # s for a driver to find its hardware

_SETS = {"track": ("TRACK",), "slew": ("SLEW",), "sync": ("SYNC",)}
_ABORTS = {
    "TELESCOPE_ABORT_MOTION": "ABORT",
    "CCD_ABORT_EXPOSURE": "ABORT",
    "GUIDER_ABORT_EXPOSURE": "ABORT",
    "FOCUS_ABORT_MOTION": "ABORT",
    "DOME_ABORT_MOTION": "ABORT",
    "ROTATOR_ABORT_MOTION": "ABORT",
}
_BEFORE = ("CCD_FRAME_TYPE", "CCD_BINNING", "CCD_FRAME", "CCD_GAIN")  # of an exposure
_PARKS = ("TELESCOPE_PARK", "DOME_PARK", "CAP_PARK")
_FRAMES = {"light": "FRAME_LIGHT", "bias": "FRAME_BIAS", "dark": "FRAME_DARK", "flat": "FRAME_FLAT"}


class Goto(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of `goto`: hours and degrees, as numbers or text such as 5:35:17; then track, only slew, or sync."""

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


class Exposed(msgspec.Struct, frozen=True):
    """Result of `expose`: the blob and what its property says; null if images do not come here."""

    blob: str | None = None
    about: dict[str, Any] | None = None


class Focus(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of `focus`: a position, or steps relative to where it is (negative: inward)."""

    position: float | None = None
    steps: float | None = None


class Filter(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of `filter`: its name or slot."""

    filter: int | str


class Dome(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of `dome`: azimuth in degrees, shutter, or both."""

    azimuth: float | None = None
    shutter: Literal["open", "close"] | None = None


class Compound:
    """What a session adds to sets; `vector`, `write` and `image` are its own."""

    def vector(self, device: str, name: str) -> Vector:
        """Return a vector of a device of the bus; raise UnknownTarget."""
        raise NotImplementedError

    async def write(
        self, vector: Vector, given: Mapping[str, Any], turn: Turn, timeout: float | None = None,
        fraction: Fraction | None = None,
    ) -> None:  # fmt: skip
        """Set members (original names) and wait for the end."""
        raise NotImplementedError

    async def image(self, device: str, vectors: tuple[str, ...], work: Callable[[], Any]) -> Exposed:
        """Do work and return the image that has come since it began."""
        raise NotImplementedError

    @command(timeout=CONNECTING, holds="exchange")
    async def connect(self, device: str, arguments: NoArguments, turn: Turn) -> None:
        """Switch CONNECTION on: the driver connects to its hardware."""
        await self.write(self.vector(device, "CONNECTION"), {"CONNECT": True}, turn, CONNECTING)

    @command(timeout=CONNECTING, holds="exchange")
    async def disconnect(self, device: str, arguments: NoArguments, turn: Turn) -> None:
        """Switch CONNECTION off."""
        await self.write(self.vector(device, "CONNECTION"), {"DISCONNECT": True}, turn, CONNECTING)

    @command(timeout=SLEW, holds="exchange")
    async def goto(self, device: str, arguments: Goto, turn: Turn) -> dict[str, Any]:
        """Go to right ascension (h) and declination (degrees), then track, only slew, or take it as where we are."""
        ra, dec = _number("ra", arguments.ra), _number("dec", arguments.dec)
        await self._switch_on(device, "ON_COORD_SET", _SETS[arguments.then], turn)
        target = self._first(device, ("EQUATORIAL_EOD_COORD", "EQUATORIAL_COORD"))
        await self.write(target, {"RA": ra, "DEC": dec}, turn, SLEW, _way(target, "DEC", dec))
        return target.value()

    @command(timeout=SLEW, holds="exchange")
    async def park(self, device: str, arguments: NoArguments, turn: Turn) -> None:
        """Park."""
        await self.write(self._first(device, _PARKS), {"PARK": True}, turn, SLEW)

    @command(timeout=SLEW, holds="exchange")
    async def unpark(self, device: str, arguments: NoArguments, turn: Turn) -> None:
        """End the parking."""
        await self.write(self._first(device, _PARKS), {"UNPARK": True}, turn, SLEW)

    @command(safe=True, timeout=30.0, holds="exchange")
    async def abort(self, device: str, arguments: NoArguments, turn: Turn) -> list[str]:
        """Stop every motion and exposure of the device."""
        done = []
        for name, member in _ABORTS.items():
            if (vector := self._find(device, name)) is not None:
                await self.write(vector, {member: True}, turn, 10.0)
                done.append(name)
        return done

    @command(timeout=LONGEST + READOUT, holds="exchange")
    async def expose(self, device: str, arguments: Expose, turn: Turn) -> Exposed:
        """Take an image; done when it is here."""
        for given, name in zip(
            (arguments.type, arguments.binning, arguments.frame, arguments.gain), _BEFORE, strict=True
        ):
            if given is not None:
                self.vector(device, name)  # before anything is changed
        if arguments.type is not None:
            await self._switch_on(device, "CCD_FRAME_TYPE", (_FRAMES[arguments.type],), turn)
        if arguments.binning is not None:
            await self._set(device, "CCD_BINNING", dict.fromkeys(("HOR_BIN", "VER_BIN"), arguments.binning), turn)
        if arguments.frame is not None:
            frame = dict(zip(("X", "Y", "WIDTH", "HEIGHT"), arguments.frame, strict=True))
            await self._set(device, "CCD_FRAME", frame, turn)
        if arguments.gain is not None:
            await self._set(device, "CCD_GAIN", {"GAIN": arguments.gain}, turn)
        exposure = self.vector(device, "CCD_EXPOSURE")
        (member,) = list(exposure.members)[:1]
        seconds = arguments.seconds

        def left(vector: Vector) -> float | None:
            return min(1.0, max(0.0, 1 - vector.members[member].shown / seconds)) if seconds else None

        async def work() -> None:
            await self.write(exposure, {member: seconds}, turn, seconds + READOUT, left)

        return await self.image(device, ("CCD1", "CCD2"), work)

    @command(timeout=SLEW, holds="exchange")
    async def focus(self, device: str, arguments: Focus, turn: Turn) -> dict[str, Any]:
        """Move the focuser."""
        if (arguments.position is None) == (arguments.steps is None):
            raise BadRequest("either `position` or `steps` is needed")
        if arguments.position is not None:
            return await self._move(device, "ABS_FOCUS_POSITION", "FOCUS_ABSOLUTE_POSITION", arguments.position, turn)
        steps = arguments.steps or 0.0
        await self._switch_on(device, "FOCUS_MOTION", ("FOCUS_INWARD" if steps < 0 else "FOCUS_OUTWARD",), turn)
        return await self._move(device, "REL_FOCUS_POSITION", "FOCUS_RELATIVE_POSITION", abs(steps), turn)

    @command(timeout=SLEW, holds="exchange")
    async def filter(self, device: str, arguments: Filter, turn: Turn) -> dict[str, Any]:
        """Turn the wheel to a filter, by its name or slot."""
        wanted = arguments.filter
        if isinstance(wanted, str):
            names = self._find(device, "FILTER_NAME")
            texts = [member.value for member in names.members.values()] if names else []
            if wanted not in texts:
                raise BadRequest(f"no filter {wanted!r:.60}; there are: {', '.join(texts) or 'no names'}")
            wanted = texts.index(wanted) + 1
        return await self._move(device, "FILTER_SLOT", "FILTER_SLOT_VALUE", wanted, turn)

    @command(timeout=SLEW, holds="exchange")
    async def dome(self, device: str, arguments: Dome, turn: Turn) -> None:
        """Turn the dome, open or close its shutter."""
        if arguments.azimuth is None and arguments.shutter is None:
            raise BadRequest("`azimuth` (degrees) or `shutter` (open, close) is needed")
        if arguments.shutter is not None:
            await self._switch_on(device, "DOME_SHUTTER", (f"SHUTTER_{arguments.shutter.upper()}",), turn, SLEW)
        if arguments.azimuth is not None:
            await self._move(device, "ABS_DOME_POSITION", "DOME_ABSOLUTE_POSITION", arguments.azimuth, turn)

    async def _move(self, device: str, name: str, member: str, target: float, turn: Turn) -> dict[str, Any]:
        vector = self.vector(device, name)
        if member not in vector.members:
            raise UnknownTarget(f"{name} has no member {member}")
        await self.write(vector, {member: target}, turn, SLEW, _way(vector, member, target))
        return self.vector(device, name).value()

    async def _switch_on(
        self, device: str, name: str, members: tuple[str, ...], turn: Turn, timeout: float = 30.0
    ) -> None:
        vector = self.vector(device, name)
        member = next((each for each in members if each in vector.members), None)
        if member is None:
            raise BadRequest(f"{name} has no {members[0]}; there are: {', '.join(vector.members)}")
        if vector.members[member].value != "On" or timeout > 30.0:
            await self.write(vector, {member: True}, turn, timeout)

    async def _set(self, device: str, name: str, given: Mapping[str, float], turn: Turn) -> None:
        vector = self.vector(device, name)
        own = {member: value for member, value in given.items() if member in vector.members}
        await self.write(vector, own, turn, 30.0)

    def _first(self, device: str, names: tuple[str, ...]) -> Vector:
        found = (self._find(device, name) for name in names)
        vector = next((each for each in found if each is not None and each.perm != "ro"), None)
        return vector or self.vector(device, names[0])

    def _find(self, device: str, name: str) -> Vector | None:
        try:
            return self.vector(device, name)
        except UnknownTarget:
            return None


OFFERED: dict[str, tuple[str, ...]] = {
    "connect": ("CONNECTION",),
    "disconnect": ("CONNECTION",),
    "goto": ("EQUATORIAL_EOD_COORD", "EQUATORIAL_COORD"),
    "park": _PARKS,
    "unpark": _PARKS,
    "abort": tuple(_ABORTS),
    "expose": ("CCD_EXPOSURE",),
    "focus": ("ABS_FOCUS_POSITION", "REL_FOCUS_POSITION"),
    "filter": ("FILTER_SLOT",),
    "dome": ("ABS_DOME_POSITION", "DOME_SHUTTER"),
}


def offered(all_commands: Mapping[str, Command], vectors: Vectors) -> dict[str, Command]:
    """Return the commands that a device with these vectors can carry out."""
    return {
        name: each
        for name, each in all_commands.items()
        if name not in OFFERED or any(want in vectors and vectors[want].perm != "ro" for want in OFFERED[name])
    }


def _number(name: str, value: float | str) -> float:
    try:
        return parse_number(value) if isinstance(value, str) else value
    except ValueError as error:
        raise BadRequest(f"{name}: {error}; allowed: a number, or text such as 5:35:17") from error


def _way(vector: Vector, member: str, target: float) -> Fraction:
    """Return how to tell how much of the way to a target is done."""
    start = vector.members[member].shown if member in vector.members else target

    def fraction(now: Vector) -> float | None:
        if member not in now.members or start == target:
            return None
        return min(1.0, max(0.0, float(now.members[member].shown - start) / (target - start)))

    return fraction
