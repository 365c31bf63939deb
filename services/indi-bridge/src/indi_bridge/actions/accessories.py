"""Actions of focusers, filter wheels, rotators, domes and flat lights.

Source: docs/protocols/indi.md, 5; the standard properties,
<https://docs.indilib.org/drivers/standard-properties/>.
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from busbar.bridge import BadRequest, Turn, command
from indi_bridge.actions.motion import PREPARING, SLEW, Axis, Motions
from indi_bridge.sets import VectorSets

_FOCUS = Axis("ABS_FOCUS_POSITION", "FOCUS_ABSOLUTE_POSITION")
_FOCUS_STEPS = Axis("REL_FOCUS_POSITION", "FOCUS_RELATIVE_POSITION")
_FILTER = Axis("FILTER_SLOT", "FILTER_SLOT_VALUE")
_AZIMUTH = Axis("ABS_DOME_POSITION", "DOME_ABSOLUTE_POSITION")
_ANGLE = Axis("ABS_ROTATOR_ANGLE", "ANGLE")
_INTENSITY = Axis("FLAT_LIGHT_INTENSITY", "FLAT_LIGHT_INTENSITY_VALUE")


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


class Rotate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of `rotate`: the angle in degrees."""

    angle: Annotated[float, Meta(ge=0, le=360)]


class Light(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of `light`: on or off, and its intensity as the panel counts it."""

    on: bool = True
    intensity: float | None = None


class AccessoryActions:
    """Carries out the actions of what is beside mount and camera."""

    def __init__(self, sets: VectorSets, motions: Motions) -> None:
        self._sets = sets
        self._motions = motions

    @command(timeout=SLEW, holds="exchange")
    async def focus(self, device: str, arguments: Focus, turn: Turn) -> dict[str, Any]:
        """Move the focuser."""
        position = arguments.position
        steps = arguments.steps
        if position is not None and steps is None:
            return await self._motions.move(device, _FOCUS, position, turn)
        if steps is None or position is not None:
            raise BadRequest("either `position` or `steps` is needed")
        self._motions.check(device, _FOCUS_STEPS, abs(steps))
        direction = "FOCUS_INWARD" if steps < 0 else "FOCUS_OUTWARD"
        await self._motions.ensure(device, "FOCUS_MOTION", {direction: True}, turn)
        return await self._motions.move(device, _FOCUS_STEPS, abs(steps), turn)

    @command(timeout=SLEW, holds="exchange")
    async def filter(
        self, device: str, arguments: Filter, turn: Turn
    ) -> dict[str, Any]:
        """Turn the wheel to a filter, by its name or slot."""
        slot = arguments.filter
        if isinstance(slot, str):
            slot = self._slot(device, slot)
        return await self._motions.move(device, _FILTER, slot, turn)

    @command(timeout=SLEW, holds="exchange")
    async def rotate(
        self, device: str, arguments: Rotate, turn: Turn
    ) -> dict[str, Any]:
        """Turn the rotator to an angle."""
        return await self._motions.move(device, _ANGLE, arguments.angle, turn)

    @command(timeout=PREPARING * 2, holds="exchange")
    async def light(self, device: str, arguments: Light, turn: Turn) -> None:
        """Switch the flat light on or off, and set its intensity."""
        if arguments.intensity is not None:
            self._motions.check(device, _INTENSITY, arguments.intensity)
        member = "FLAT_LIGHT_ON" if arguments.on else "FLAT_LIGHT_OFF"
        await self._motions.switch(
            device, "FLAT_LIGHT_CONTROL", member, turn, PREPARING
        )
        if arguments.intensity is not None:
            await self._motions.move(device, _INTENSITY, arguments.intensity, turn)

    @command(timeout=SLEW, holds="exchange")
    async def dome(self, device: str, arguments: Dome, turn: Turn) -> None:
        """Turn the dome, open or close its shutter."""
        azimuth = arguments.azimuth
        shutter = arguments.shutter
        if azimuth is None and shutter is None:
            raise BadRequest("`azimuth` (degrees) or `shutter` (open, close) is needed")
        if azimuth is not None:
            self._motions.check(device, _AZIMUTH, azimuth)
        if shutter is not None:
            member = f"SHUTTER_{shutter.upper()}"
            await self._motions.switch(device, "DOME_SHUTTER", member, turn)
        if azimuth is not None:
            await self._motions.move(device, _AZIMUTH, azimuth, turn)

    def _slot(self, device: str, name: str) -> int:
        """Return the slot of a filter, counted from 1; case does not matter."""
        vector = self._sets.find(device, "FILTER_NAME")
        members = vector.members.values() if vector else ()
        names = [member.value for member in members]
        if name in names:
            return names.index(name) + 1
        alike = [place for place, each in enumerate(names, 1) if _alike(each, name)]
        if len(alike) != 1:
            known = ", ".join(names) or "no names"
            raise BadRequest(f"no filter {name!r:.60}; there are: {known}")
        return alike[0]


def _alike(name: str, other: str) -> bool:
    return name.casefold() == other.strip().casefold()
