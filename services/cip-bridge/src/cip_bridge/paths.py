"""Properties of joins: `digital/1`, or a configured name with its scale."""

import math
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from busbar.bridge import (
    BadRequest,
    Property,
    UnknownTarget,
    by_path,
    values,
)
from busbar.codecs.cip import ANALOG_LIMIT, HIGHEST, Join, Kind
from cip_bridge.arguments import PULSE
from cip_bridge.join_state import DEFAULTS, Value
from cip_bridge.joins import generic, parse
from cip_bridge.named_joins import NamedJoin, Resend

OUT = "_out/"  # before the path of a property: what we have sent
_TYPES: dict[Kind, Any] = {
    "digital": bool,
    "analog": values.integer(0, ANALOG_LIMIT),
    "serial": str,
}
_SCOPES = (
    "",
    "slot/{slot}/",
    "slot/{slot}/slot/{inner}/",
    "smart/{smart}/",
    "slot/{slot}/smart/{smart}/",
    "slot/{slot}/slot/{inner}/smart/{smart}/",
)
_RANGES = {"slot": range(256), "inner": range(256), "smart": range(1 << 32)}


@dataclass(frozen=True)
class JoinProperty:
    """A named join: the type, range and scale of its property."""

    settings: NamedJoin
    join: Join

    @cached_property
    def feedback(self) -> Join:
        """The join of its value, which need not be the one that is sent."""
        if self.settings.feedback is None:
            return self.join
        return parse(self.settings.feedback) or self.join

    @property
    def pulse(self) -> float | None:
        """Seconds of a press that a set is, None unless it is momentary."""
        momentary = self.settings.momentary
        if momentary is True:
            return PULSE
        return momentary or None

    @cached_property
    def _raw_range(self) -> tuple[float, float]:
        if self.settings.scale is not None:
            return self.settings.scale[0], self.settings.scale[1]
        if self.settings.signed:
            return -32768, 32767
        return 0, ANALOG_LIMIT

    @cached_property
    def _range(self) -> tuple[float, float]:
        if self.settings.scale is None:
            return self._raw_range
        return self.settings.scale[2], self.settings.scale[3]

    @cached_property
    def _digits(self) -> int:
        """Digits behind the point that show one raw step."""
        first_raw, last_raw = self._raw_range
        first, last = self._range
        step = abs(last - first) / (last_raw - first_raw)
        return max(0, math.ceil(-math.log10(step)))

    @property
    def range(self) -> tuple[float, float]:
        """Lowest and highest value."""
        low, high = sorted(self._range)
        return low, high

    @property
    def type(self) -> Any:
        if self.join.kind != "analog":
            return _TYPES[self.join.kind]
        low, high = self.range
        if self.settings.scale is None:
            return values.integer(int(low), int(high))
        return values.number(low, high)

    def shown(self, value: Value) -> Value | float:
        """Return a raw value as people read it, also outside the scale."""
        if self.join.kind != "analog":
            return value
        raw = int(value)
        if self.settings.signed and raw > 32767:
            raw -= 65536
        if self.settings.scale is None:
            return raw
        first_raw, last_raw = self._raw_range
        first, last = self._range
        scaled = first + (raw - first_raw) * (last - first) / (last_raw - first_raw)
        if not first_raw <= raw <= last_raw:
            return round(scaled, self._digits)
        return self._shortest(scaled)

    def _shortest(self, scaled: float) -> float:
        """Return the shortest decimal that is sent as the same raw value."""
        low, high = self.range
        raw = self._steps(scaled)
        for digits in range(self._digits):
            # rounding must not leave the range
            shown = min(max(low, round(scaled, digits)), high)
            if self._steps(shown) == raw:
                return shown
        return min(max(low, round(scaled, self._digits)), high)

    def raw(self, value: Any) -> Value:
        """Return what is sent for a value."""
        if self.join.kind != "analog":
            return typing.cast(Value, value)  # its type has been checked
        return self.analog(value)

    def analog(self, value: float) -> int:
        """Return what is sent for the value of an analog."""
        return self._steps(value) & ANALOG_LIMIT

    def _steps(self, value: float) -> int:
        """Return the raw value, with its sign, that is nearest to a value."""
        first_raw, last_raw = self._raw_range
        first, last = self._range
        return round(
            first_raw + (value - first) * (last_raw - first_raw) / (last - first)
        )

    def properties(self, again: str = "") -> Iterator[Property]:
        """Yield the property of the join, and that of what we sent.

        again: what is said of it after a sign-on.
        """
        settings = self.settings
        original = generic(self.join)
        yield Property(
            settings.name,
            self.type,
            "rw",
            settings.title,
            settings.unit,
            settings.group,
            settings.class_,
            OUT + settings.name,
            original=generic(self.feedback),
        )
        yield Property(
            OUT + settings.name,
            self.type,
            "r",
            f"{settings.title or settings.name}: what we sent{again}",
            settings.unit,
            original=original,
        )


class JoinPaths:
    """Properties of one device's joins, and the rules for them."""

    def __init__(
        self,
        joins: tuple[NamedJoin, ...] = (),
        *,
        resend: Resend | None = None,
        received: str = "serial",
    ) -> None:
        self._resend = resend
        self._received = received
        self._by_name: dict[str, JoinProperty] = {}
        self._paths: dict[Join, str] = {}  # of received joins
        named: dict[Join, JoinProperty] = {}
        shown_by: dict[Join, JoinProperty] = {}
        for settings in joins:
            join = parse(settings.join)
            if join is not None:
                made = JoinProperty(settings, join)
                named[join] = made
                shown_by[made.feedback] = made
                self._by_name[settings.name] = made
                self._paths[made.feedback] = settings.name
        self.named: Mapping[Join, JoinProperty] = named
        self.shown_by: Mapping[Join, JoinProperty] = shown_by  # by feedback
        self.output_of = {each.feedback: each.join for each in named.values()}

    @property
    def has_events(self) -> bool:
        """True if messages of any join are events."""
        wanted = (each.settings.received for each in self.named.values())
        return self._received != "none" or any(wanted)

    def is_event(self, join: Join) -> bool:
        """Return whether every message of a join is an event."""
        named = self.shown_by.get(join)
        if named is not None and named.settings.received is not None:
            return named.settings.received
        return self._received in ("all", join.kind)

    def resend(self, join: Join) -> Resend:
        """Return what happens to an output after a sign-on."""
        named = self.named.get(join)
        own = named.settings.resend if named else None
        return own or self._resend or "changed"

    def momentary(self, join: Join) -> float | None:
        """Return the seconds of the press that a set is, None for others."""
        named = self.named.get(join)
        return named.pulse if named else None

    def path(self, join: Join) -> str:
        """Return the property of a received join."""
        found = self._paths.get(join)
        if found is None:
            found = self._paths[join] = generic(join)
        return found

    def sent_path(self, join: Join) -> str:
        """Return the property of what we have sent of a join."""
        named = self.named.get(join)
        return OUT + (named.settings.name if named else generic(join))

    def sent(self, join: Join, value: Value) -> Any:
        """Return a sent value as its property has it."""
        named = self.named.get(join)
        return value if named is None else named.shown(value)

    def shown(self, join: Join, value: Value) -> Any:
        """Return a received value as its property has it."""
        named = self.shown_by.get(join)
        return value if named is None else named.shown(value)

    def find(self, path: str) -> tuple[Join, JoinProperty | None]:
        """Return the join of a path, and its property if the path is its name.

        Raise UnknownTarget, OutOfRange.
        """
        named = self._by_name.get(path)
        if named is not None:
            return named.join, named
        join = parse(path)
        if join is None:
            names = "".join(f"{name}, " for name in list(self._by_name)[:12])
            raise UnknownTarget(
                f"no join {path!r:.60}; allowed: {names}"
                "digital/1, smart/3/analog/2, slot/1/serial/1"
            )
        return join, None

    def button(self, join: int | str) -> Join:
        """Return the digital join that a command means.

        Raise UnknownTarget, OutOfRange, BadRequest.
        """
        path = f"digital/{join}" if isinstance(join, int) else join
        found, _ = self.find(path)
        if found.kind != "digital":
            raise BadRequest(
                f"{join!r} is an {found.kind} join; only digital joins can be pressed"
            )
        return found

    def properties(self) -> dict[str, Property]:
        """Return all properties, the named ones first."""
        found: list[Property] = []
        for named in self.named.values():
            found.extend(named.properties(self._again(named.join)))
        again = f" (resend: {self._resend})" if self._resend else ""
        return by_path([*found, *_families(again)])

    def _again(self, join: Join) -> str:
        """Return what is said of an output after a sign-on, "" of a program's."""
        return f" (resend: {self.resend(join)})" if self._resend else ""


def _families(again: str) -> Iterator[Property]:
    """Yield the properties of joins by their numbers."""
    for scope in _SCOPES:
        for kind in _TYPES:
            yield from _family(scope, kind, again)


def _family(scope: str, kind: Kind, again: str) -> Iterator[Property]:
    path = f"{scope}{kind}/{{join}}"
    title = f"{kind.capitalize()} join"
    parameters = {name: each for name, each in _RANGES.items() if f"{{{name}}}" in path}
    parameters["join"] = range(1, HIGHEST[kind] + 1)
    yield Property(
        path,
        _TYPES[kind],
        "rw",
        title,
        readback=OUT + path,
        default=DEFAULTS[kind],
        parameters=parameters,
    )
    yield Property(
        OUT + path,
        _TYPES[kind],
        "r",
        f"{title}: what we sent{again}",
        default=DEFAULTS[kind],
        parameters=parameters,
    )
