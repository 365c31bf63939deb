"""Readings of one unit: what registers say becomes values on the bus.

A value may need others: the power of ten in another register, or the parts of a sum.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from busbar.bridge import BusbarError, DeviceRefused, Outlet, ProtocolError
from modbus_bridge.polling import Block
from modbus_bridge.properties import Property, Sum

POWERS = range(-10, 11)  # of ten. Source: SunSpec Information Model, sunssf


class Readings:
    """Values of one unit, from the answers to its blocks."""

    def __init__(
        self, outlet: Outlet, properties: Mapping[str, Property], sums: Iterable[Sum]
    ) -> None:
        self._outlet = outlet
        self._properties = properties
        self._sources = {each.scale_from for each in properties.values()} - {None}
        self._powers: dict[str, int | None] = {}  # None: the unit says that it has none
        # blocks with values whose power is in another register
        self._answers: dict[Block, Any] = {}
        self._sums: dict[str, list[Sum]] = {}
        for total in sums:
            for part in total.parts:
                self._sums.setdefault(part, []).append(total)
        self._parts: dict[str, Any] = {}

    def take(self, block: Block, answer: Any) -> None:
        """Publish what the answer to a block says."""
        if self._sources and self._take_sources(block, answer):
            for other, last in self._answers.items():
                if other is not block:
                    self._publish(other, last)
        if self._sources and self._has_scaled(block):
            self._answers[block] = answer
        self._publish(block, answer)

    def replace_block(self, block: Block) -> None:
        """Forget a block that is not read as it is any more."""
        self._answers.pop(block, None)

    def bad(self, paths: Iterable[str], error: BusbarError) -> None:
        """Say why properties could not be read, and sums of them."""
        paths = list(paths)
        for path in paths:
            self._parts.pop(path, None)
        self._outlet.bad([*paths, *self._sums_of(paths)], error)

    def convert(self, each: Property, data: Any) -> Any:
        """Return the value in registers, None if there is none; raise as take."""
        return each.take(data, self.power_of(each) or 0)

    def power_of(self, each: Property) -> int | None:
        """Return the power of ten of a property; raise ProtocolError."""
        source = each.scale_from
        if source is None:
            return 0
        if source not in self._powers:
            raise ProtocolError(f"its scale factor, {source}, has not been read yet")
        power = self._powers[source]
        if power is not None and power not in POWERS:
            raise ProtocolError(
                f"its scale factor, {source}, is {power}: not -10 to 10"
            )
        return power

    def _has_scaled(self, block: Block) -> bool:
        return any(self._properties[path].scale_from for path in block.paths)

    def _take_sources(self, block: Block, answer: Any) -> bool:
        """Remember powers of ten; return whether one has changed."""
        before = dict(self._powers)
        for path, place in block.places.items():
            if path in self._sources:
                self._powers[path] = self._properties[path].take(answer[place])
        return before != self._powers

    def _publish(self, block: Block, answer: Any) -> None:
        good: dict[str, Any] = {}
        failed: list[str] = []
        for path, place in block.places.items():
            try:
                good[path] = self._value(self._properties[path], answer[place])
            except Exception as error:  # one bad value costs one property
                self._outlet.failed([path, *self._sums_of([path])], error)
                failed.append(path)
        if self._sums:
            good |= self._totals(good, failed)
        self._outlet.values(good)

    def _value(self, each: Property, data: Any) -> Any:
        """Return a value, or why the unit has none."""
        if each.scale_from is not None and self.power_of(each) is None:
            return DeviceRefused(f"not available: {each.scale_from} has no value")
        value = self.convert(each, data)
        if value is None:
            return DeviceRefused(f"not available: the unit says {data.hex()} hex")
        return value

    def _totals(self, good: Mapping[str, Any], failed: list[str]) -> dict[str, Any]:
        """Return the sums that these values change."""
        self._parts |= {path: good[path] for path in good if path in self._sums}
        for path in failed:
            self._parts.pop(path, None)
        changed = {
            each.path: each for path in good for each in self._sums.get(path, ())
        }
        complete = {
            path: each
            for path, each in changed.items()
            if each.parts.keys() <= self._parts.keys()
        }
        return {path: self._total(each) for path, each in complete.items()}

    def _total(self, total: Sum) -> Any:
        found = 0.0
        for path, sign in total.parts.items():
            part = self._parts[path]
            if isinstance(part, BusbarError):
                return DeviceRefused(f"not available: {path} has no value")
            found += sign * part
        return round(found, 12 if total.precision is None else total.precision)

    def _sums_of(self, paths: Iterable[str]) -> list[str]:
        found = [each.path for path in paths for each in self._sums.get(path, ())]
        return list(dict.fromkeys(found))
