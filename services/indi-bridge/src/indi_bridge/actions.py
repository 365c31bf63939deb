"""Commands of whole actions: connect, goto, expose.

Each is there where the device's vectors allow it.

Source: the standard properties of INDI,
<https://docs.indilib.org/drivers/standard-properties/>, and docs/protocols/indi.md, 5.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from busbar.bridge import BadRequest, Command, NoArguments, Turn, UnknownTarget, command
from busbar.codecs.indi import NewVector, parse_number
from indi_bridge.pending import Fraction
from indi_bridge.vectors import Vector

Vectors = Mapping[str, Vector]
Text = Annotated[str, Meta(min_length=1, max_length=40)]

SLEW = 900.0  # s for a mount, a dome or a filter wheel to get there
LONGEST = 86400.0  # s of one exposure
READOUT = 120.0  # s beyond its time until an exposure is read out and its image here
CONNECTING = 120.0  # s for a driver to find its hardware
ABORTING = 10.0  # s
PREPARING = 30.0  # s for what is set before a motion or an exposure

_ABORTS = {
    "TELESCOPE_ABORT_MOTION": "ABORT",
    "CCD_ABORT_EXPOSURE": "ABORT",
    "GUIDER_ABORT_EXPOSURE": "ABORT",
    "FOCUS_ABORT_MOTION": "ABORT",
    "DOME_ABORT_MOTION": "ABORT",
    "ROTATOR_ABORT_MOTION": "ABORT",
}
_PARKS = ("TELESCOPE_PARK", "DOME_PARK", "CAP_PARK")
_FRAMES = {
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


class Exposed(msgspec.Struct, frozen=True):
    """Result of `expose`: the blob and what its property says.

    Null if images do not come here.
    """

    blob: str | None = None
    about: dict[str, Any] | None = None


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


class Compound:
    """What a session adds to sets; `vector`, `check`, `write` and `image` are its own."""

    def vector(self, device: str, name: str) -> Vector:
        """Return a vector of a device of the bus; raise UnknownTarget."""
        raise NotImplementedError

    def check(self, vector: Vector, given: Mapping[str, Any]) -> NewVector:
        """Return what is sent to set members (original names); raise what refuses it."""
        raise NotImplementedError

    async def write(
        self, vector: Vector, given: Mapping[str, Any], turn: Turn, timeout: float | None = None,
        fraction: Fraction | None = None,
    ) -> None:  # fmt: skip
        """Set members (original names) and wait for the end."""
        raise NotImplementedError

    async def image(
        self, device: str, vector: str, work: Callable[[], Awaitable[None]]
    ) -> Exposed:
        """Do work and return the image of a vector that has come since it began."""
        raise NotImplementedError

    @command(timeout=CONNECTING, holds="exchange")
    async def connect(self, device: str, arguments: NoArguments, turn: Turn) -> None:
        """Switch CONNECTION on: the driver connects to its hardware."""
        await self.write(
            self.vector(device, "CONNECTION"), {"CONNECT": True}, turn, CONNECTING
        )

    @command(timeout=CONNECTING, holds="exchange")
    async def disconnect(self, device: str, arguments: NoArguments, turn: Turn) -> None:
        """Switch CONNECTION off."""
        await self.write(
            self.vector(device, "CONNECTION"), {"DISCONNECT": True}, turn, CONNECTING
        )

    @command(timeout=SLEW, holds="exchange")
    async def goto(self, device: str, arguments: Goto, turn: Turn) -> dict[str, Any]:
        """Go to right ascension (h) and declination (degrees), then track, only slew, or take it as where we are."""
        ra, dec = _number("ra", arguments.ra), _number("dec", arguments.dec)
        there, coordinates = (
            {"RA": ra, "DEC": dec},
            ("EQUATORIAL_EOD_COORD", "EQUATORIAL_COORD"),
        )
        self.check(self._first(device, coordinates), there)
        await self._ensure(device, "ON_COORD_SET", {arguments.then.upper(): True}, turn)
        target = self._first(device, coordinates)
        await self.write(target, there, turn, SLEW, _way(target, "DEC", dec))
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
        found = {
            name: vector
            for name in _ABORTS
            if (vector := self._find(device, name)) is not None
        }
        aborts = (
            self.write(vector, {_ABORTS[name]: True}, turn, ABORTING)
            for name, vector in found.items()
        )
        for end in await asyncio.gather(
            *aborts, return_exceptions=True
        ):  # one that fails keeps no other from being sent
            if isinstance(end, BaseException):
                raise end
        return list(found)

    @command(timeout=LONGEST + READOUT, holds="exchange")
    async def expose(self, device: str, arguments: Expose, turn: Turn) -> Exposed:
        """Take an image; done when it is here."""
        exposure, seconds = self.vector(device, "CCD_EXPOSURE"), arguments.seconds
        member = next(iter(exposure.members), "CCD_EXPOSURE_VALUE")
        self.check(exposure, {member: seconds})
        before = _before(arguments)
        for name, given in before.items():
            self.check(self.vector(device, name), given)
        for name, given in before.items():
            await self._ensure(device, name, given, turn)

        def left(vector: Vector) -> float | None:
            return (
                min(1.0, max(0.0, 1 - vector.members[member].shown / seconds))
                if seconds
                else None
            )

        async def work() -> None:
            await self.write(
                self.vector(device, exposure.name),
                {member: seconds},
                turn,
                seconds + READOUT,
                left,
            )

        return await self.image(device, "CCD1", work)

    @command(timeout=SLEW, holds="exchange")
    async def focus(self, device: str, arguments: Focus, turn: Turn) -> dict[str, Any]:
        """Move the focuser."""
        if (arguments.position is None) == (arguments.steps is None):
            raise BadRequest("either `position` or `steps` is needed")
        if arguments.position is not None:
            return await self._move(
                device,
                "ABS_FOCUS_POSITION",
                "FOCUS_ABSOLUTE_POSITION",
                arguments.position,
                turn,
            )
        steps, moved = (
            arguments.steps or 0.0,
            ("REL_FOCUS_POSITION", "FOCUS_RELATIVE_POSITION"),
        )
        self.check(self.vector(device, moved[0]), {moved[1]: abs(steps)})
        await self._ensure(
            device,
            "FOCUS_MOTION",
            {"FOCUS_INWARD" if steps < 0 else "FOCUS_OUTWARD": True},
            turn,
        )
        return await self._move(device, *moved, abs(steps), turn)

    @command(timeout=SLEW, holds="exchange")
    async def filter(
        self, device: str, arguments: Filter, turn: Turn
    ) -> dict[str, Any]:
        """Turn the wheel to a filter, by its name or slot."""
        wanted = arguments.filter
        if isinstance(wanted, str):
            names = self._find(device, "FILTER_NAME")
            texts = [member.value for member in names.members.values()] if names else []
            if wanted not in texts:
                raise BadRequest(
                    f"no filter {wanted!r:.60}; there are: "
                    f"{', '.join(texts) or 'no names'}"
                )
            wanted = texts.index(wanted) + 1
        return await self._move(
            device, "FILTER_SLOT", "FILTER_SLOT_VALUE", wanted, turn
        )

    @command(timeout=SLEW, holds="exchange")
    async def dome(self, device: str, arguments: Dome, turn: Turn) -> None:
        """Turn the dome, open or close its shutter."""
        if arguments.azimuth is None and arguments.shutter is None:
            raise BadRequest("`azimuth` (degrees) or `shutter` (open, close) is needed")
        turned = ("ABS_DOME_POSITION", "DOME_ABSOLUTE_POSITION")
        if arguments.azimuth is not None:
            self.check(self.vector(device, turned[0]), {turned[1]: arguments.azimuth})
        if arguments.shutter is not None:
            shutter = self.vector(device, "DOME_SHUTTER")
            await self.write(
                shutter, {f"SHUTTER_{arguments.shutter.upper()}": True}, turn, SLEW
            )
        if arguments.azimuth is not None:
            await self._move(device, *turned, arguments.azimuth, turn)

    async def _move(
        self, device: str, name: str, member: str, target: float, turn: Turn
    ) -> dict[str, Any]:
        vector = self.vector(device, name)
        await self.write(
            vector, {member: target}, turn, SLEW, _way(vector, member, target)
        )
        return self.vector(device, name).value()

    async def _ensure(
        self, device: str, name: str, given: Mapping[str, Any], turn: Turn
    ) -> None:
        """Set members unless they are as they are wanted."""
        vector = self.vector(device, name)
        if not vector.has(self.check(vector, given).members):
            await self.write(vector, given, turn, PREPARING)

    def _first(self, device: str, names: tuple[str, ...]) -> Vector:
        found = (self._find(device, name) for name in names)
        vector = next(
            (each for each in found if each is not None and each.perm != "ro"), None
        )
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


def offered(
    all_commands: Mapping[str, Command], vectors: Vectors
) -> dict[str, Command]:
    """Return the commands that a device with these vectors can carry out."""
    return {
        name: each
        for name, each in all_commands.items()
        if name not in OFFERED
        or any(want in vectors and vectors[want].perm != "ro" for want in OFFERED[name])
    }


def _before(arguments: Expose) -> dict[str, dict[str, Any]]:
    """Return what is set before an exposure: vector -> members."""
    before: dict[str, dict[str, Any]] = {}
    if arguments.type is not None:
        before["CCD_FRAME_TYPE"] = {_FRAMES[arguments.type]: True}
    if arguments.binning is not None:
        before["CCD_BINNING"] = dict.fromkeys(("HOR_BIN", "VER_BIN"), arguments.binning)
    if arguments.frame is not None:
        before["CCD_FRAME"] = dict(
            zip(("X", "Y", "WIDTH", "HEIGHT"), arguments.frame, strict=True)
        )
    if arguments.gain is not None:
        before["CCD_GAIN"] = {"GAIN": arguments.gain}
    return before


def _number(name: str, value: float | str) -> float:
    try:
        return parse_number(value) if isinstance(value, str) else value
    except ValueError as error:
        raise BadRequest(
            f"{name}: {error}; allowed: a number, or text such as 5:35:17"
        ) from error


def _way(vector: Vector, member: str, target: float) -> Fraction:
    """Return how to tell how much of the way to a target is done."""
    start = vector.members[member].shown if member in vector.members else target

    def fraction(now: Vector) -> float | None:
        if member not in now.members or start == target:
            return None
        return min(
            1.0, max(0.0, float(now.members[member].shown - start) / (target - start))
        )

    return fraction
