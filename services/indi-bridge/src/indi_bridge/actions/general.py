"""Actions that any device may have: connect, disconnect, abort; and who has which."""

import asyncio
from collections.abc import Iterable, Mapping

from busbar.bridge import Command, NoArguments, Turn, command
from indi_bridge.actions.mount import COORDINATES, HORIZONTAL, MOTIONS, PARKS, PULSES
from indi_bridge.goal import ABORTS
from indi_bridge.pending import SetOptions
from indi_bridge.sets import VectorSets
from indi_bridge.vectors import Vector

Vectors = Mapping[str, Vector]

CONNECTING = 120.0  # s for a driver to find its hardware
ABORTING = 10.0  # s


class GeneralActions:
    """Carries out the actions of any device."""

    def __init__(self, sets: VectorSets) -> None:
        self._sets = sets

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

    @command(safe=True, timeout=30.0, holds="exchange")
    async def abort(self, device: str, arguments: NoArguments, turn: Turn) -> list[str]:
        """Stop every motion and exposure of the device."""
        names = []
        aborts = []
        for name in ABORTS:
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


# command -> vectors of which one has to be writable, and the members that it needs
OFFERED: dict[str, Mapping[str, str]] = {
    "connect": {"CONNECTION": "CONNECT"},
    "disconnect": {"CONNECTION": "DISCONNECT"},
    "goto": dict.fromkeys(COORDINATES, "RA") | {HORIZONTAL: "ALT"},
    "park": dict.fromkeys(PARKS, "PARK"),
    "unpark": dict.fromkeys(PARKS, "UNPARK"),
    "home": {"TELESCOPE_HOME": ""},
    "track": {"TELESCOPE_TRACK_STATE": "TRACK_ON"},
    "move": dict.fromkeys(MOTIONS, ""),
    "guide": dict.fromkeys(PULSES, ""),
    "abort": dict.fromkeys(ABORTS, "ABORT"),
    "expose": {"CCD_EXPOSURE": "", "GUIDER_EXPOSURE": ""},
    "cool": {"CCD_TEMPERATURE": ""},
    "focus": {
        "ABS_FOCUS_POSITION": "FOCUS_ABSOLUTE_POSITION",
        "REL_FOCUS_POSITION": "FOCUS_RELATIVE_POSITION",
    },
    "filter": {"FILTER_SLOT": "FILTER_SLOT_VALUE"},
    "rotate": {"ABS_ROTATOR_ANGLE": "ANGLE"},
    "light": {"FLAT_LIGHT_CONTROL": "FLAT_LIGHT_ON"},
    "dome": {
        "ABS_DOME_POSITION": "DOME_ABSOLUTE_POSITION",
        "DOME_SHUTTER": "SHUTTER_OPEN",
    },
}


def offered(
    all_commands: Mapping[str, Command], vectors: Vectors
) -> dict[str, Command]:
    """Return the commands that a device with these vectors can carry out."""
    found = {}
    for name, each in all_commands.items():
        if name not in OFFERED or _any_usable(OFFERED[name].items(), vectors):
            found[name] = each
    return found


def _any_usable(needed: Iterable[tuple[str, str]], vectors: Vectors) -> bool:
    for name, member in needed:
        vector = vectors.get(name)
        if vector is None or vector.perm == "ro":
            continue
        if not member or member in vector.members:
            return True
    return False
