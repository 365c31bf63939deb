"""Actions of a mount: goto, park, home, track, move, guide.

Source: docs/protocols/indi.md, 5; the standard properties,
<https://docs.indilib.org/drivers/standard-properties/>.
"""

import asyncio
import time
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from busbar.bridge import BadRequest, NoArguments, Turn, command
from indi_bridge.actions.motion import (
    PREPARING,
    SLEW,
    Motions,
    Text,
    angle,
    part_of_way,
)
from indi_bridge.epoch import Equatorial, of_date, of_j2000
from indi_bridge.pending import SetOptions
from indi_bridge.sets import VectorSets
from indi_bridge.vectors import Vector

COORDINATES = ("EQUATORIAL_EOD_COORD", "EQUATORIAL_COORD")
HORIZONTAL = "HORIZONTAL_COORD"
PARKS = ("TELESCOPE_PARK", "DOME_PARK", "CAP_PARK")
MOTIONS = ("TELESCOPE_MOTION_NS", "TELESCOPE_MOTION_WE")
PULSES = ("TELESCOPE_TIMED_GUIDE_NS", "TELESCOPE_TIMED_GUIDE_WE")
LONGEST_MOVE = 300.0  # s
PULSE = 60.0  # s for a pulse beyond its time

Direction = Literal["north", "south", "west", "east"]
_OPPOSITE = {"N": "S", "S": "N", "W": "E", "E": "W"}


class Goto(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of `goto`: `ra` and `dec`, or `alt` and `az`.

    Hours and degrees, as numbers or text such as 5:35:17 or 5h35m17s. `epoch` is that
    of `ra` and `dec`: the equinox of today, or J2000 as in catalogues. Then track, only
    slew, or sync.
    """

    ra: Annotated[float, Meta(ge=0, le=24)] | Text | None = None
    dec: Annotated[float, Meta(ge=-90, le=90)] | Text | None = None
    epoch: Literal["jnow", "j2000"] = "jnow"
    then: Literal["track", "slew", "sync"] = "track"
    alt: Annotated[float, Meta(ge=-90, le=90)] | Text | None = None
    az: Annotated[float, Meta(ge=0, le=360)] | Text | None = None


class Home(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of `home`: go there, find it, or take it as where we are."""

    action: Literal["go", "find", "set"] = "go"


class Track(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of `track`: on or off, and at which rate.

    `ra_rate` and `dec_rate` are arcseconds a second, of the mode `custom`.
    """

    on: bool = True
    mode: Literal["sidereal", "solar", "lunar", "custom"] | None = None
    ra_rate: float | None = None
    dec_rate: float | None = None


class Move(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of `move`: a direction, for so many seconds.

    `rate` is a member of TELESCOPE_SLEW_RATE, such as SLEW_CENTERING.
    """

    direction: Direction
    seconds: Annotated[float, Meta(gt=0, le=LONGEST_MOVE)]
    rate: str | None = None


class Guide(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of `guide`: a pulse in a direction, in milliseconds."""

    direction: Direction
    ms: Annotated[float, Meta(gt=0, le=60000)]


class MountActions:
    """Carries out the actions of mounts."""

    def __init__(self, sets: VectorSets, motions: Motions) -> None:
        self._sets = sets
        self._motions = motions

    @command(
        title=(
            "Go to right ascension (h) and declination (degrees), then track, only "
            "slew, or take it as where we are"
        ),
        timeout=SLEW,
        holds="exchange",
    )
    async def goto(self, device: str, arguments: Goto, turn: Turn) -> dict[str, Any]:
        """Go to right ascension and declination, or altitude and azimuth."""
        vector, target, member = self._target(device, arguments)
        self._sets.check(vector, target)
        mode = {arguments.then.upper(): True}
        if self._sets.find(device, "ON_COORD_SET") is not None:
            await self._motions.ensure(device, "ON_COORD_SET", mode, turn)
        vector = self._sets.vector(device, vector.name)
        options = SetOptions(SLEW, part_of_way(vector, member, target[member]))
        await self._sets.set(vector, target, turn, options)
        return self._sets.vector(device, vector.name).value()

    @command(timeout=SLEW, holds="exchange")
    async def park(self, device: str, arguments: NoArguments, turn: Turn) -> None:
        """Park."""
        name = self._motions.first(device, PARKS).name
        await self._motions.switch(device, name, "PARK", turn)

    @command(timeout=SLEW, holds="exchange")
    async def unpark(self, device: str, arguments: NoArguments, turn: Turn) -> None:
        """End the parking."""
        name = self._motions.first(device, PARKS).name
        await self._motions.switch(device, name, "UNPARK", turn)

    @command(timeout=SLEW, holds="exchange")
    async def home(self, device: str, arguments: Home, turn: Turn) -> None:
        """Go to the home position, find it, or set it to where the mount is."""
        await self._motions.switch(
            device, "TELESCOPE_HOME", arguments.action.upper(), turn
        )

    @command(timeout=PREPARING * 3, holds="exchange")
    async def track(self, device: str, arguments: Track, turn: Turn) -> None:
        """Track the sky, or stop tracking."""
        rates = {
            "TRACK_RATE_RA": arguments.ra_rate,
            "TRACK_RATE_DE": arguments.dec_rate,
        }
        given = {name: rate for name, rate in rates.items() if rate is not None}
        if arguments.mode is not None:
            mode = {f"TRACK_{arguments.mode.upper()}": True}
            await self._motions.ensure(device, "TELESCOPE_TRACK_MODE", mode, turn)
        if given:
            await self._motions.ensure(device, "TELESCOPE_TRACK_RATE", given, turn)
        state = "TRACK_ON" if arguments.on else "TRACK_OFF"
        await self._motions.ensure(device, "TELESCOPE_TRACK_STATE", {state: True}, turn)

    @command(timeout=LONGEST_MOVE + PREPARING, holds="exchange")
    async def move(self, device: str, arguments: Move, turn: Turn) -> None:
        """Move in a direction for a while, then stop."""
        axis = arguments.direction in ("west", "east")
        vector = self._sets.vector(device, MOTIONS[axis])
        member = f"MOTION_{arguments.direction.upper()}"
        if arguments.rate is not None:
            rate = {arguments.rate: True}
            await self._motions.ensure(device, "TELESCOPE_SLEW_RATE", rate, turn)
        options = SetOptions(PREPARING)
        await self._sets.set(vector, {member: True}, turn, options)
        try:
            await asyncio.sleep(arguments.seconds)
        finally:
            # whatever ends the wait, a cancellation too, the mount has to stop
            await self._sets.set(vector, {member: False}, turn, options)

    @command(timeout=PULSE * 2, holds="exchange")
    async def guide(self, device: str, arguments: Guide, turn: Turn) -> None:
        """Send a guide pulse; done when it is over."""
        letter = arguments.direction[0].upper()
        vector = self._sets.vector(device, PULSES[letter in "WE"])
        pulse = {
            f"TIMED_GUIDE_{letter}": arguments.ms,
            f"TIMED_GUIDE_{_OPPOSITE[letter]}": 0.0,
        }
        options = SetOptions(PULSE + arguments.ms / 1000)
        await self._sets.set(vector, pulse, turn, options)

    def _target(
        self, device: str, arguments: Goto
    ) -> tuple[Vector, dict[str, float], str]:
        """Return what to set for a goto, and the member that tells the way."""
        place = (arguments.ra, arguments.dec)
        above = (arguments.alt, arguments.az)
        if None not in place and above == (None, None):
            vector = self._motions.first(device, COORDINATES)
            return vector, _equatorial(vector, arguments), "DEC"
        if None not in above and place == (None, None):
            return self._sets.vector(device, HORIZONTAL), _horizontal(arguments), "ALT"
        raise BadRequest("either `ra` and `dec`, or `alt` and `az` are needed")


def _equatorial(vector: Vector, arguments: Goto) -> dict[str, float]:
    """Return right ascension and declination at the equinox that the vector has."""
    place = Equatorial(
        angle("ra", arguments.ra or 0.0, 0, 24),
        angle("dec", arguments.dec or 0.0, -90, 90),
    )
    place = _at_equinox_of(vector, place, arguments.epoch)
    return {"RA": place.ra, "DEC": place.dec}


def _horizontal(arguments: Goto) -> dict[str, float]:
    return {
        "ALT": angle("alt", arguments.alt or 0.0, -90, 90),
        "AZ": angle("az", arguments.az or 0.0, 0, 360),
    }


def _at_equinox_of(vector: Vector, place: Equatorial, epoch: str) -> Equatorial:
    """Return a place at the equinox that the vector has."""
    if vector.name == "EQUATORIAL_COORD":
        return place if epoch == "j2000" else of_j2000(place, time.time())
    return place if epoch == "jnow" else of_date(place, time.time())
