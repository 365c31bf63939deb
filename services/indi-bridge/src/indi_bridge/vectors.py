"""What a server has told of its devices: vectors, members, states, messages.

No I/O, no bus.
"""

import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from busbar.bridge import collisions, level
from busbar.codecs import indi
from busbar.codecs.indi import DefMember, DefVector, Kind, SetVector

STEP_TOLERANCE = 1e-6  # of a step
SAME = 1e-6  # a number is as wanted: drivers convert to radians, to steps and back
MESSAGES = 8  # kept of a device and of the server
# of one server, device, vector: what more there is, is ignored
DEVICES, VECTORS, MEMBERS = 500, 2000, 5000


@dataclass(slots=True)
class Member:
    """One member; texts as they came, `shown` is the value for the bus."""

    name: str
    label: str
    value: str
    format: str = ""
    min: str = ""
    max: str = ""
    step: str = ""
    shown: Any = None
    filename: str = ""  # of a BLOB: as it was saved last
    size: int = 0  # of a BLOB, bytes

    # of a number; min = max means that it has none. Source: INDI 1.7
    bounds: tuple[float, float] | None = None
    # the driver itself has told a value outside its bounds: an exposure counts down to
    # 0
    strays: bool = False
    steps: tuple[float, float] | None = None  # of a number: where they begin, and one
    # the driver itself rests between the steps: an exposure of 1 s is none of 0.01 + n
    # * 1 s
    between: bool = False

    def bind(self) -> None:
        """Take the bounds and steps from their texts."""
        low, high, step = number(self.min), number(self.max), number(self.step)
        self.bounds = (
            (low, high)
            if low < high and math.isfinite(low) and math.isfinite(high)
            else None
        )
        self.steps = (
            (self.bounds[0] if self.bounds else 0.0, step)
            if 0 < step < math.inf
            else None
        )
        self.look()

    def rest(self) -> None:
        """Take note of a value that is not one on its way."""
        self.between = self.between or not self.on_step(self.shown)

    def on_step(self, value: float) -> bool:
        """Return whether a value is a whole number of steps from the minimum."""
        if self.steps is None or not math.isfinite(value):
            return True
        count = (value - self.steps[0]) / self.steps[1]
        return not math.isfinite(count) or abs(count - round(count)) <= STEP_TOLERANCE

    def look(self) -> bool:
        """Return whether the value is the first outside the bounds."""
        if (
            self.strays
            or self.bounds is None
            or self.bounds[0] <= self.shown <= self.bounds[1]
        ):
            return False
        self.strays = math.isfinite(self.shown)
        return self.strays


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
    # what makes it another property on the bus if it changes
    definition: tuple[object, ...]
    told: str = ""  # the last message there was
    told_at: float = 0.0  # Unix s

    @property
    def path(self) -> str:
        return level(self.name)

    def apply(self, news: SetVector, now: float) -> bool:
        """Take new values; return whether the definition has changed with them."""
        members, kind, strayed = self.members, self.kind, False
        self.state = news.state or self.state
        for name, text in news.members.items():
            member = members.get(name)
            if member is not None and (member.value != text or kind == "BLOB"):
                member.value = text
                member.shown = _SHOWN[kind](text)
                if member.bounds is not None and member.look():
                    strayed = True
                if member.steps is not None and self.state != "Busy":
                    member.rest()
        if news.timeout is not None:
            self.timeout = news.timeout
        self.stamp(news.timestamp, news.message, now)
        if news.ranges is None and not strayed:
            return False
        return self._take_ranges(news.ranges or {})

    def stamp(self, timestamp: str, message: str, now: float) -> None:
        """Take note of when an element was sent and what it said."""
        time = indi.parse_time(timestamp) if timestamp else None
        self.time = now if time is None else time
        self.message = message
        if message:
            self.told, self.told_at = message, self.time

    def _take_ranges(self, ranges: Mapping[str, indi.Range]) -> bool:
        before = self.definition
        for name, bounds in ranges.items():
            if member := self.members.get(name):
                member.min, member.max = (
                    bounds.min or member.min,
                    bounds.max or member.max,
                )
                member.step = bounds.step or member.step
                member.bind()
        self.definition = _definition(self)
        return self.definition != before

    def inherit(self, old: "Vector") -> None:
        """Take what a new definition does not say.

        The last BLOBs, and whose bounds do not hold.
        """
        for name, member in self.members.items():
            was = old.members.get(name)
            if was is None or old.kind != self.kind:
                continue
            member.strays, member.between = (
                member.strays or was.strays,
                member.between or was.between,
            )
            if self.kind == "BLOB":
                member.value, member.shown, member.filename, member.size = (
                    was.value,
                    was.shown,
                    was.filename,
                    was.size,
                )
        self.definition = _definition(self)

    def has(self, wanted: Mapping[str, str]) -> bool:
        """Return whether members have these values; numbers as numbers."""
        return all(
            self._is(self.members[name], text)
            for name, text in wanted.items()
            if name in self.members
        )

    def _is(self, member: Member, text: str) -> bool:
        if self.kind != "Number":
            return member.value == text
        return math.isclose(member.shown, number(text), rel_tol=SAME, abs_tol=SAME)

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
        shown["_state"], shown["_time"], shown["_timeout"] = (
            self.state,
            self.time,
            self.timeout or None,
        )
        shown["_message"] = self.message or None
        return shown


def make_vector(definition: DefVector, now: float) -> Vector:
    """Return the vector of a definition."""
    members = {
        each.name: _member(definition.kind, each)
        for each in definition.members[:MEMBERS]
    }
    paths = {name: level(name) for name in members}
    unserved = collisions(paths)
    keys = {name: key for name, key in paths.items() if name not in unserved}
    vector = Vector(
        definition.kind,
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
        keys,
        (),
    )
    if vector.state != "Busy":
        for member in members.values():
            member.rest()
    vector.definition = _definition(vector)
    vector.stamp(definition.timestamp, definition.message, now)
    return vector


def _member(kind: Kind, each: DefMember) -> Member:
    shown = _SHOWN[kind](each.value)
    made = Member(
        each.name,
        each.label or each.name,
        each.value,
        each.format,
        each.min,
        each.max,
        each.step,
        shown,
    )
    if kind == "Number":
        made.bind()
    return made


def _definition(vector: Vector) -> tuple[object, ...]:
    members = tuple(
        (m.name, m.label, m.format, m.min, m.max, m.step, m.strays)
        for m in vector.members.values()
    )
    return (vector.kind, vector.label, vector.group, vector.perm, vector.rule, members)


def number(text: str) -> float:
    """Return a number; NaN if it is none."""
    try:
        return indi.parse_number(text)
    except ValueError:
        return math.nan


def _blob(format: str) -> dict[str, Any] | None:
    return {"format": format} if format else None


_SHOWN: dict[Kind, Callable[[str], Any]] = {
    "Text": str,
    "Number": number,
    "Switch": lambda text: text == "On",
    "Light": str,
    "BLOB": _blob,
}


@dataclass
class Told:
    """One message: Unix time (s) and text."""

    time: float
    text: str


@dataclass
class Device:
    """One device of a server."""

    name: str
    vectors: dict[str, Vector] = field(default_factory=dict)
    # newest first
    messages: deque[Told] = field(default_factory=lambda: deque(maxlen=MESSAGES))


class Model:
    """All devices of one server."""

    def __init__(self) -> None:
        self.devices: dict[str, Device] = {}
        self.messages: deque[Told] = deque(maxlen=MESSAGES)
        self.ignored = 0  # elements about what is not there, or is too much

    def find(self, device: str, vector: str) -> Vector | None:
        found = self.devices.get(device)
        return found.vectors.get(vector) if found else None

    def define(self, definition: DefVector, now: float) -> Vector | None:
        """Take a definition; None if there are too many already."""
        device = self.devices.get(definition.device)
        full = (
            len(self.devices) >= DEVICES
            if device is None
            else len(device.vectors) >= VECTORS
        )
        if full and not (device and definition.name in device.vectors):
            self.ignored += 1
            return None
        device = self.devices.setdefault(definition.device, Device(definition.device))
        self.ignored += max(0, len(definition.members) - MEMBERS)
        vector = make_vector(definition, now)
        if old := device.vectors.get(vector.name):
            vector.inherit(old)
        device.vectors[vector.name] = vector
        return vector

    def delete(self, device: str, vector: str) -> list[Vector]:
        """Forget a vector, or with "" a device; return the vectors that are gone."""
        found = self.devices.get(device)
        if found is None:
            return []
        if vector:
            gone = found.vectors.pop(vector, None)
            return [gone] if gone else []
        del self.devices[device]
        return list(found.vectors.values())

    def tell(self, device: str, told: Told) -> None:
        """Keep a message, of the server with device ""."""
        found = self.devices.get(device)
        (found.messages if found else self.messages).appendleft(told)

    def vectors(self) -> Iterator[Vector]:
        for device in self.devices.values():
            yield from device.vectors.values()
