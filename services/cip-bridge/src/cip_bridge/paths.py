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
from cip_bridge.join_state import DEFAULTS, Value
from cip_bridge.joins import generic, parse
from cip_bridge.settings import NamedJoin

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
    def type(self) -> Any:
        if self.join.kind != "analog":
            return _TYPES[self.join.kind]
        low, high = sorted(self._range)
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
        shown = round(scaled, self._digits)
        if not first_raw <= raw <= last_raw:
            return shown
        low, high = sorted(self._range)
        return min(max(low, shown), high)  # rounding must not leave the range

    def raw(self, value: Any) -> Value:
        """Return what is sent for a value."""
        if self.join.kind != "analog":
            return typing.cast(Value, value)  # its type has been checked
        first_raw, last_raw = self._raw_range
        first, last = self._range
        exact = first_raw + (value - first) * (last_raw - first_raw) / (last - first)
        steps: int = round(exact)
        return steps & ANALOG_LIMIT

    def properties(self) -> Iterator[Property]:
        """Yield the property of the join, and that of what we sent."""
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
            original=original,
        )
        yield Property(
            OUT + settings.name,
            self.type,
            "r",
            f"{settings.title or settings.name}: what we sent",
            settings.unit,
            original=original,
        )


class JoinPaths:
    """Properties of one device's joins."""

    def __init__(self, joins: tuple[NamedJoin, ...] = ()) -> None:
        self._by_name: dict[str, JoinProperty] = {}
        self._paths: dict[Join, str] = {}
        named: dict[Join, JoinProperty] = {}
        for settings in joins:
            join = parse(settings.join)
            if join is not None:
                named[join] = JoinProperty(settings, join)
                self._by_name[settings.name] = named[join]
                self._paths[join] = settings.name
        self.named: Mapping[Join, JoinProperty] = named

    def path(self, join: Join) -> str:
        """Return the property of a join."""
        found = self._paths.get(join)
        if found is None:
            found = self._paths[join] = generic(join)
        return found

    def shown(self, join: Join, value: Value) -> Any:
        """Return a value as its property has it."""
        named = self.named.get(join)
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
            found.extend(named.properties())
        return by_path([*found, *_families()])


def _families() -> Iterator[Property]:
    """Yield the properties of joins by their numbers."""
    for scope in _SCOPES:
        for kind in _TYPES:
            yield from _family(scope, kind)


def _family(scope: str, kind: Kind) -> Iterator[Property]:
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
        f"{title}: what we sent",
        default=DEFAULTS[kind],
        parameters=parameters,
    )
