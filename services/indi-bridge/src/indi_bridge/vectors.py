"""Vectors and their members as a server has defined and set them.

No I/O, no bus.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from busbar.bridge import ProtocolError, collisions, level
from busbar.codecs import indi
from busbar.codecs.indi import DefMember, DefVector, Kind, SetVector

STEP_TOLERANCE = 1e-6  # of a step
# two numbers are the same: drivers convert to radians, to steps and back
NUMBER_TOLERANCE = 1e-6
MEMBERS = 5000  # of one vector; more are ignored


@dataclass(slots=True)
class Member:
    """One member: texts as they came, and `shown`, the value for the bus."""

    name: str
    label: str
    value: str
    format: str = ""
    min: str = ""
    max: str = ""
    step: str = ""
    shown: Any = None
    filename: str = ""  # of a BLOB: where it was saved last
    size: int = 0  # bytes of a BLOB
    # of a number; min = max means that it has none. Source: INDI 1.7
    bounds: tuple[float, float] | None = None
    # the driver itself has left the bounds: an exposure counts down to 0
    leaves_bounds: bool = False
    # of a number: where its steps begin, and the size of one
    steps: tuple[float, float] | None = None

    def take_limits(self) -> None:
        """Take the bounds and steps from their texts."""
        low = number(self.min)
        high = number(self.max)
        step = number(self.step)
        self.bounds = None
        self.steps = None
        if low < high and math.isfinite(low) and math.isfinite(high):
            self.bounds = (low, high)
        if 0 < step < math.inf:
            first = self.bounds[0] if self.bounds else 0.0
            self.steps = (first, step)
        self.check_bounds()

    def on_step(self, value: float) -> bool:
        """Return whether a value is a whole number of steps from the minimum."""
        if self.steps is None or not math.isfinite(value):
            return True
        first, step = self.steps
        count = (value - first) / step
        if not math.isfinite(count):
            return True
        return abs(count - round(count)) <= STEP_TOLERANCE

    def check_bounds(self) -> bool:
        """Take note of a value outside the bounds; return whether it is the first."""
        if self.leaves_bounds or self.bounds is None:
            return False
        low, high = self.bounds
        if low <= self.shown <= high:
            return False
        self.leaves_bounds = math.isfinite(self.shown)
        return self.leaves_bounds


@dataclass(slots=True)
class Vector:
    """One property of INDI."""

    kind: Kind
    device: str
    name: str
    label: str
    group: str
    state: str
    perm: str
    rule: str
    timeout: float  # s
    time: float  # Unix s
    message: str  # of the newest element; "" if it had none
    members: dict[str, Member]
    keys: dict[str, str]  # name of a member -> its key on the bus
    # a change of it makes another property on the bus
    definition: tuple[object, ...] = ()
    last_message: str = ""
    last_message_time: float = 0.0  # Unix s

    @property
    def path(self) -> str:
        return level(self.name)

    def apply(self, update: SetVector, now: float) -> bool:
        """Take new values; return whether the definition has changed with them."""
        members = self.members
        kind = self.kind
        left_bounds = False
        if update.state:
            self.state = update.state
        for name, text in update.members.items():
            member = members.get(name)
            if member is None or (member.value == text and kind != "BLOB"):
                continue
            member.value = text
            member.shown = _SHOWN[kind](text)
            if member.bounds is not None and member.check_bounds():
                left_bounds = True
        if update.timeout is not None:
            self.timeout = update.timeout
        self.stamp(update.timestamp, update.message, now)
        if update.ranges is None and not left_bounds:
            return False
        return self._take_ranges(update.ranges or {})

    def stamp(self, timestamp: str, message: str, now: float) -> None:
        """Take the time and message of an element."""
        time = indi.parse_time(timestamp) if timestamp else None
        self.time = now if time is None else time
        self.message = message
        if message:
            self.last_message = message
            self.last_message_time = self.time

    def _take_ranges(self, ranges: Mapping[str, indi.Range]) -> bool:
        before = self.definition
        for name, bounds in ranges.items():
            member = self.members.get(name)
            if member is None:
                continue
            member.min = bounds.min or member.min
            member.max = bounds.max or member.max
            member.step = bounds.step or member.step
            member.take_limits()
        self.definition = _definition(self)
        return self.definition != before

    def inherit(self, old: "Vector") -> None:
        """Take from the old vector what a new definition does not say.

        The last BLOBs, and the bounds and steps that the driver does not keep.
        """
        if old.kind == self.kind:
            for name, member in self.members.items():
                before = old.members.get(name)
                if before is not None:
                    self._inherit_member(member, before)
        self.definition = _definition(self)

    def _inherit_member(self, member: Member, old: Member) -> None:
        member.leaves_bounds = member.leaves_bounds or old.leaves_bounds
        if self.kind == "BLOB":
            member.value = old.value
            member.shown = old.shown
            member.filename = old.filename
            member.size = old.size

    def has(self, wanted: Mapping[str, str]) -> bool:
        """Return whether members have these values; numbers are compared as such."""
        for name, text in wanted.items():
            member = self.members.get(name)
            if member is not None and not self._is(member, text):
                return False
        return True

    def _is(self, member: Member, text: str) -> bool:
        if self.kind != "Number":
            return member.value == text
        return math.isclose(
            member.shown,
            number(text),
            rel_tol=NUMBER_TOLERANCE,
            abs_tol=NUMBER_TOLERANCE,
        )

    def value(self) -> dict[str, Any]:
        """Return the value of the property on the bus."""
        shown: dict[str, Any] = {}
        texts: dict[str, str] = {}
        members = self.members
        for name, key in self.keys.items():
            member = members[name]
            shown[key] = member.shown
            if member.format.endswith("m") and indi.is_sexagesimal(member.format):
                texts[key] = indi.format_number(member.shown, member.format).strip()
        if texts:
            shown["_text"] = texts
        shown["_state"] = self.state
        shown["_time"] = self.time
        shown["_timeout"] = self.timeout or None
        shown["_message"] = self.message or None
        return shown


def make_vector(definition: DefVector, now: float) -> Vector:
    """Return the vector of a definition that came at a Unix time (s)."""
    kind = definition.kind
    kept = definition.members[:MEMBERS]
    members = {each.name: _member(kind, each) for each in kept}
    vector = Vector(
        kind,
        definition.device,
        definition.name,
        definition.label or definition.name,
        definition.group,
        definition.state,
        definition.perm,
        definition.rule,
        definition.timeout,
        now,
        "",
        members,
        _keys(members),
    )
    vector.definition = _definition(vector)
    vector.stamp(definition.timestamp, definition.message, now)
    return vector


def _keys(members: Mapping[str, Member]) -> dict[str, str]:
    """Return the keys on the bus, without those that several members would share."""
    keys = {name: level(name) for name in members}
    for name in collisions(keys):
        del keys[name]
    return keys


def _member(kind: Kind, definition: DefMember) -> Member:
    made = Member(
        definition.name,
        definition.label or definition.name,
        definition.value,
        definition.format,
        definition.min,
        definition.max,
        definition.step,
        _SHOWN[kind](definition.value),
    )
    if kind == "Number":
        made.take_limits()
    return made


def _definition(vector: Vector) -> tuple[object, ...]:
    members = []
    for each in vector.members.values():
        limits = (each.format, each.min, each.max, each.step, each.leaves_bounds)
        members.append((each.name, each.label, *limits))
    return (
        vector.kind,
        vector.label,
        vector.group,
        vector.perm,
        vector.rule,
        tuple(members),
    )


def number(text: str) -> float:
    """Return a number; NaN if the text is none."""
    try:
        return indi.parse_number(text)
    except ProtocolError:
        return math.nan


def _switch(text: str) -> bool:
    return text == "On"


def _blob(format: str) -> dict[str, Any] | None:
    return {"format": format} if format else None


_SHOWN: dict[Kind, Callable[[str], Any]] = {
    "Text": str,
    "Number": number,
    "Switch": _switch,
    "Light": str,
    "BLOB": _blob,
}
