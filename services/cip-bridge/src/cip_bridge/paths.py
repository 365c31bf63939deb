"""Joins and their properties: `digital/1`, or the name that the configuration gives.

Numbers and their scales.
"""

import math
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from busbar.bridge import (
    BadRequest,
    OutOfRange,
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
_SCOPES = ("", "slot/{slot}/", "slot/{slot}/slot/{inner}/")
_SMART = "smart/{smart}/"
_RANGES = {"slot": range(256), "inner": range(256), "smart": range(1 << 32)}


@dataclass(frozen=True)
class Named:
    """One join with a name."""

    about: NamedJoin
    join: Join

    @cached_property
    def _raw(self) -> tuple[float, float]:
        if self.about.scale is not None:
            return self.about.scale[0], self.about.scale[1]
        return (-32768, 32767) if self.about.signed else (0, ANALOG_LIMIT)

    @cached_property
    def _range(self) -> tuple[float, float]:
        return (
            self._raw
            if self.about.scale is None
            else (self.about.scale[2], self.about.scale[3])
        )

    @cached_property
    def _digits(self) -> int:
        """Digits behind the point that one step of the raw value can be seen with."""
        step = abs(self._range[1] - self._range[0]) / (self._raw[1] - self._raw[0])
        return max(0, math.ceil(-math.log10(step)))

    @property
    def type(self) -> Any:
        if self.join.kind != "analog":
            return _TYPES[self.join.kind]
        low, high = sorted(self._range)
        return (
            values.integer(int(low), int(high))
            if self.about.scale is None
            else values.number(low, high)
        )

    def shown(self, value: Value) -> Value | float:
        """Return a raw value as people read it; raise OutOfRange outside the scale."""
        if self.join.kind != "analog":
            return value
        raw = (
            int(value) - 65536
            if self.about.signed and int(value) > 32767
            else int(value)
        )
        (first, last), (one, other) = self._raw, self._range
        if not first <= raw <= last:
            raise OutOfRange(
                f"raw value {raw} is outside the scale, which is {first:g} to {last:g}"
            )
        if self.about.scale is None:
            return raw
        scaled: float = round(
            one + (raw - first) * (other - one) / (last - first), self._digits
        )
        return scaled

    def raw(self, value: Any) -> Value:
        """Return what is sent for a value."""
        if self.join.kind != "analog":
            return typing.cast(Value, value)  # its type has been checked
        (first, last), (one, other) = self._raw, self._range
        steps: int = round(first + (value - one) * (last - first) / (other - one))
        return steps & ANALOG_LIMIT

    def properties(self) -> Iterator[Property]:
        about, original = self.about, generic(self.join)
        yield Property(
            about.name,
            self.type,
            "rw",
            about.title,
            about.unit,
            about.group,
            about.class_,
            OUT + about.name,
            original=original,
        )
        title = f"{about.title or about.name}: what we sent"
        yield Property(
            OUT + about.name, self.type, "r", title, about.unit, original=original
        )


class Paths:
    """The properties of one device's joins."""

    def __init__(self, joins: tuple[NamedJoin, ...] = ()) -> None:
        known = [
            Named(about, join)
            for about in joins
            if (join := parse(about.join)) is not None
        ]
        self.named: Mapping[Join, Named] = {each.join: each for each in known}
        self._by_name = {each.about.name: each for each in known}
        self._paths: dict[Join, str] = {
            join: each.about.name for join, each in self.named.items()
        }

    def path(self, join: Join) -> str:
        """Return the property of a join."""
        found = self._paths.get(join)
        if found is None:
            found = self._paths[join] = generic(join)
        return found

    def shown(self, join: Join, value: Value) -> Any:
        """Return a value as its property has it.

        Raise OutOfRange outside the scale of a named join.
        """
        named = self.named.get(join)
        return value if named is None else named.shown(value)

    def find(self, path: str) -> tuple[Join, Named | None]:
        """Return the join of a path, and its name if it was meant by it.

        Raise UnknownTarget, OutOfRange.
        """
        named = self._by_name.get(path)
        if named is not None:
            return named.join, named
        join = parse(path)
        if join is None:
            names = "".join(f"{name}, " for name in list(self._by_name)[:12])
            raise UnknownTarget(
                f"no join {path!r:.60}; allowed: {names}digital/1, "
                f"smart/3/analog/2, "
                f"slot/1/serial/1"
            )
        return join, None

    def button(self, join: int | str) -> Join:
        """Return the digital join that a command means.

        Raise UnknownTarget, OutOfRange, BadRequest.
        """
        found, _ = self.find(f"digital/{join}" if isinstance(join, int) else join)
        if found.kind != "digital":
            raise BadRequest(
                f"{join!r} is an {found.kind} join; only digital joins can be pressed"
            )
        return found

    def properties(self) -> dict[str, Property]:
        """Return all properties, the named ones first."""
        named = [each for join in self.named.values() for each in join.properties()]
        return by_path([*named, *_families()])


def _families() -> Iterator[Property]:
    for scope in (each + smart for smart in ("", _SMART) for each in _SCOPES):
        for kind, type_ in _TYPES.items():
            path, title = f"{scope}{kind}/{{join}}", f"{kind.capitalize()} join"
            parameters = {
                name: each for name, each in _RANGES.items() if f"{{{name}}}" in scope
            }
            parameters["join"] = range(1, HIGHEST[kind] + 1)
            out, sent, default = OUT + path, f"{title}: what we sent", DEFAULTS[kind]
            yield Property(
                path,
                type_,
                "rw",
                title,
                readback=out,
                default=default,
                parameters=parameters,
            )
            yield Property(
                out, type_, "r", sent, default=default, parameters=parameters
            )
