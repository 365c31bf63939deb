"""Goal of a set: the wanted values, and how far a vector has come towards them.

Source: docs/protocols/indi.md, 4.8 to 4.10 and 5.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

from indi_bridge.vectors import Member, Vector, number

# Vectors whose switches are Busy as long as they are on: nothing more will come.
BUSY_WHILE_ON = frozenset(
    {
        "CCD_COOLER",
        "CCD_VIDEO_STREAM",
        "DOME_AUTOSYNC",
        "DOME_MOTION",
        "FOCUS_MOTION_TIMER",
        "GUIDER_VIDEO_STREAM",
        "RECORD_STREAM",
        "TELESCOPE_MOTION_NS",
        "TELESCOPE_MOTION_WE",
        "TELESCOPE_TRACK_STATE",
    }
)
# Numbers that are 0 again when what they asked for is over.
PULSES = frozenset({"TELESCOPE_TIMED_GUIDE_NS", "TELESCOPE_TIMED_GUIDE_WE"})
COUNTDOWNS = frozenset({"CCD_EXPOSURE", "GUIDER_EXPOSURE"})
# Vectors whose ABORT ends what runs on their device.
ABORTS = (
    "TELESCOPE_ABORT_MOTION",
    "CCD_ABORT_EXPOSURE",
    "GUIDER_ABORT_EXPOSURE",
    "FOCUS_ABORT_MOTION",
    "DOME_ABORT_MOTION",
    "ROTATOR_ABORT_MOTION",
)


class Standing(NamedTuple):
    """How a vector stands to a goal."""

    reached: bool  # it has the wanted values
    way: float  # part of the way from the old values that is done; 0 or less: none
    at_rest: bool  # momentary, and all off or 0 again
    running: bool  # on, and Busy as long as it is on
    trusted: bool = False  # it cannot be read back: its state has to do
    was_there: bool = False  # it had the wanted values before the set


class Goal:
    """The values that a set wants, and those there were before."""

    def __init__(
        self,
        vector: Vector,
        wanted: Mapping[str, str],
        *,
        busy_while_on: bool = False,
        begun: bool = False,
    ) -> None:
        self._begun = begun  # Busy is all that is wanted
        self._wanted = dict(wanted)
        self._before: dict[str, str | float] = {}
        for name in wanted:
            if name in vector.members:
                self._before[name] = _value(vector, vector.members[name])
        self._was_there = vector.has(wanted)
        self._may_rest = _may_rest(vector, wanted)
        self._busy_while_on = busy_while_on and "On" in wanted.values()

    def standing(self, vector: Vector) -> Standing:
        """Return how a vector stands now."""
        # a pulse is not done because the driver repeats how long it is to be
        reached = vector.name not in PULSES and vector.has(self._wanted)
        return Standing(
            reached,
            self._way(vector),
            self._may_rest and _at_rest(vector),
            self._begun or (self._busy_while_on and reached),
            vector.perm == "wo",
            self._was_there,
        )

    def lacking(self, vector: Vector) -> str:
        """Return which members have other values than the wanted ones."""
        found = []
        for name, text in self._wanted.items():
            member = vector.members.get(name)
            if member is not None and not vector.has({name: text}):
                found.append(f"{name} is {member.value}, not {text}")
        return ", ".join(found)

    def _way(self, vector: Vector) -> float:
        """Return the least part of the way that a member has done."""
        ways = []
        for name, before in self._before.items():
            member = vector.members.get(name)
            if member is not None:
                ways.append(_way(before, _value(vector, member), self._wanted[name]))
        return min(ways, default=1.0)


def _value(vector: Vector, member: Member) -> str | float:
    return float(member.shown) if vector.kind == "Number" else member.value


def _way(before: str | float, now: str | float, wanted: str) -> float:
    """Return the part of the way from before to wanted; 1 where there was none."""
    if isinstance(before, str) or isinstance(now, str):
        if before == wanted or now == wanted:
            return 1.0
        # a text that the driver wrote in its own way
        return 0.5 if now != before and wanted not in ("On", "Off") else 0.0
    target = number(wanted)
    whole = abs(target - before)
    if whole == 0:
        return 1.0
    done = 1 - abs(target - now) / whole
    return done if math.isfinite(done) else 0.0


def _may_rest(vector: Vector, wanted: Mapping[str, str]) -> bool:
    """Return whether a vector is momentary: at rest again after what was wanted."""
    if vector.kind == "Number":
        return vector.name in PULSES or vector.name in COUNTDOWNS
    return vector.kind == "Switch" and "On" in wanted.values() and _at_rest(vector)


def _at_rest(vector: Vector) -> bool:
    return not any(member.shown for member in vector.members.values())
