"""Actions of a camera: expose and cool.

Source: docs/protocols/indi.md, 5; the standard properties,
<https://docs.indilib.org/drivers/standard-properties/>.
"""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from busbar.bridge import BadRequest, DeviceRefused, Turn, UnknownTarget, command
from indi_bridge.actions.motion import Motions, limited
from indi_bridge.blobs.awaited import WAIT, AwaitedImage, Exposed
from indi_bridge.pending import Fraction, SetOptions
from indi_bridge.sets import VectorSets
from indi_bridge.vectors import Vector

# device, vector of the exposure, vector of its image, seconds: awaits the image
ImageOf = Callable[[str, str, str, float], AbstractAsyncContextManager[AwaitedImage]]

LONGEST = 86400  # s of one exposure
READOUT = 120.0  # s beyond its time until an exposure is read out and its image here
COOLING = 3600.0  # s for a camera to get cold
UPLOAD_LOOK = 0.2  # s between looks for the name of a file that the camera keeps
MOST = 1000  # images of one command

_FRAME_TYPES = {
    "light": "FRAME_LIGHT",
    "bias": "FRAME_BIAS",
    "dark": "FRAME_DARK",
    "flat": "FRAME_FLAT",
}
_CHIPS = {1: "CCD", 2: "GUIDER"}  # what the vectors of a chip begin with


class Expose(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of `expose`; what is not given stays as it is.

    `count` images are taken one after the other. `chip` 2 is the guide chip of a camera
    that has one; `blob` is the vector of the image, where it is not the usual one.
    """

    seconds: Annotated[float, Meta(ge=0, le=LONGEST)]
    type: Literal["light", "bias", "dark", "flat"] | None = None
    binning: Annotated[int, Meta(ge=1, le=64)] | None = None
    gain: float | None = None
    frame: tuple[int, int, int, int] | None = None  # x, y, width, height in pixels
    count: Annotated[int, Meta(ge=1, le=MOST)] | None = None
    upload_mode: Literal["client", "local", "both"] | None = None
    chip: Literal[1, 2] = 1
    blob: str | None = None


class Cool(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of `cool`: the set point (degrees Celsius), or off.

    `ramp` is degrees a minute. Done when the camera has the temperature; without `wait`
    when it has begun.
    """

    temperature: Annotated[float, Meta(ge=-273.15, le=100)] | None = None
    ramp: Annotated[float, Meta(ge=0, le=1000)] | None = None
    wait: bool = True
    off: bool = False


class CameraActions:
    """Carries out the actions of cameras."""

    def __init__(self, sets: VectorSets, motions: Motions, image_of: ImageOf) -> None:
        self._sets = sets
        self._motions = motions
        self._image_of = image_of

    @command(timeout=LONGEST + READOUT, holds="exchange")
    async def expose(
        self, device: str, arguments: Expose, turn: Turn
    ) -> Exposed | list[Exposed]:
        """Take an image; done when it is here."""
        exposure = self._exposure(device, arguments.chip)
        member = _first_member(exposure)
        self._sets.check(exposure, {member: arguments.seconds})
        if arguments.blob is not None:
            self._sets.vector(device, arguments.blob)
        preparations = _preparations(arguments)
        for name, members in preparations.items():
            self._sets.check(self._sets.vector(device, name), members)
        for name, members in preparations.items():
            await self._motions.ensure(device, name, members, turn)
        if arguments.count is None:
            return await self._expose(device, exposure, arguments, turn)
        images = []
        for number in range(arguments.count):
            turn.progress(number / arguments.count, f"image {number + 1}")
            images.append(await self._expose(device, exposure, arguments, turn))
        return images

    @command(timeout=COOLING * 2, holds="exchange")
    async def cool(self, device: str, arguments: Cool, turn: Turn) -> dict[str, Any]:
        """Cool the camera to a temperature, or switch the cooler off."""
        temperature = arguments.temperature
        if arguments.off == (temperature is not None):
            raise BadRequest(
                "either `temperature` (degrees Celsius) or `off` is needed"
            )
        vector = self._sets.vector(device, "CCD_TEMPERATURE")
        member = _first_member(vector)
        if arguments.off:
            await self._motions.ensure(device, "CCD_COOLER", {"COOLER_OFF": True}, turn)
            return vector.value()
        self._sets.check(vector, {member: temperature})
        if arguments.ramp is not None:
            ramp = {"RAMP_SLOPE": arguments.ramp}
            await self._motions.ensure(device, "CCD_TEMP_RAMP", ramp, turn)
        if self._sets.find(device, "CCD_COOLER") is not None:
            await self._motions.ensure(device, "CCD_COOLER", {"COOLER_ON": True}, turn)
        options = SetOptions(COOLING, begun=not arguments.wait)
        await self._sets.set(vector, {member: temperature}, turn, options)
        return self._sets.vector(device, vector.name).value()

    def _exposure(self, device: str, chip: int) -> Vector:
        """Return the vector that exposes; raise DeviceRefused while it does."""
        vector = self._sets.vector(device, f"{_CHIPS[chip]}_EXPOSURE")
        if vector.state == "Busy":
            raise DeviceRefused(
                f"{vector.name}: an exposure is running; `abort` ends it",
                vector=vector.name,
                state="Busy",
            )
        return vector

    async def _expose(
        self, device: str, exposure: Vector, arguments: Expose, turn: Turn
    ) -> Exposed:
        seconds = arguments.seconds
        if self._is_kept_by_camera(device):
            return await self._expose_there(device, exposure, seconds, turn)
        blob = self._blob(device, arguments)

        async with self._image_of(device, exposure.name, blob, seconds) as image:
            self._exposure(device, arguments.chip)
            await self._set(device, exposure, seconds, turn)
            return await image.result()

    async def _set(
        self, device: str, exposure: Vector, seconds: float, turn: Turn
    ) -> None:
        vector = self._sets.vector(device, exposure.name)
        member = _first_member(vector)
        options = SetOptions(seconds + READOUT, _part_of_time(member, seconds))
        await self._sets.set(vector, {member: seconds}, turn, options)

    async def _expose_there(
        self, device: str, exposure: Vector, seconds: float, turn: Turn
    ) -> Exposed:
        """Expose while UPLOAD_MODE is local: the result is the camera's own file."""
        before = self._uploaded(device)
        await self._set(device, exposure, seconds, turn)
        for _ in range(round(WAIT / UPLOAD_LOOK)):
            now = self._uploaded(device)
            if now is not None and now != before:
                return Exposed(uploaded=now[1])
            await asyncio.sleep(UPLOAD_LOOK)
        raise DeviceRefused(
            "the exposure has ended; UPLOAD_MODE is local, and the camera has not told "
            f"its file in CCD_FILE_PATH within {WAIT:g} s"
        )

    def _uploaded(self, device: str) -> tuple[float, str] | None:
        """Return when the camera has told its last file (Unix s), and its path."""
        vector = self._sets.find(device, "CCD_FILE_PATH")
        if vector is None:
            return None
        path = next((each.value for each in vector.members.values()), "")
        return (vector.time, path) if path else None

    def _is_kept_by_camera(self, device: str) -> bool:
        mode = self._sets.find(device, "UPLOAD_MODE")
        return mode is not None and mode.has({"UPLOAD_LOCAL": "On"})

    def _blob(self, device: str, arguments: Expose) -> str:
        """Return the vector of the image; raise UnknownTarget."""
        if arguments.blob is not None:
            return self._sets.vector(device, arguments.blob).name
        usual = f"CCD{arguments.chip}"
        if self._sets.find(device, usual) is not None:
            return usual
        others = self._sets.images(device)
        if len(others) == 1:
            return others[0].name
        names = ", ".join(each.name for each in others) or "none"
        raise UnknownTarget(f"{device} has no {usual}; `blob` is one of: {names}")


def _first_member(vector: Vector) -> str:
    """Return the member that a vector of one has, or should have."""
    return next(iter(vector.members), f"{vector.name}_VALUE")


def _preparations(arguments: Expose) -> dict[str, dict[str, Any]]:
    """Return what is set before an exposure: vector -> members."""
    chip = _CHIPS[arguments.chip]
    sets: dict[str, dict[str, Any]] = {}
    if arguments.type is not None:
        sets[f"{chip}_FRAME_TYPE"] = {_FRAME_TYPES[arguments.type]: True}
    if arguments.binning is not None:
        bins = dict.fromkeys(("HOR_BIN", "VER_BIN"), arguments.binning)
        sets[f"{chip}_BINNING"] = bins
    if arguments.frame is not None:
        names = ("X", "Y", "WIDTH", "HEIGHT")
        sets[f"{chip}_FRAME"] = dict(zip(names, arguments.frame, strict=True))
    if arguments.gain is not None:
        sets["CCD_GAIN"] = {"GAIN": arguments.gain}
    if arguments.upload_mode is not None:
        sets["UPLOAD_MODE"] = {f"UPLOAD_{arguments.upload_mode.upper()}": True}
    return sets


def _part_of_time(member: str, seconds: float) -> Fraction:
    """Return a function for how much of an exposure is done."""

    def fraction(now: Vector) -> float | None:
        if not seconds:
            return None
        return limited(1 - now.members[member].shown / seconds)

    return fraction
