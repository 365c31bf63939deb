"""What a report becomes on the bus: the values of its points, and what was wrong."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from msgspec import UNSET

from busbar.bridge import Property, ProtocolError
from busbar.bridge.values import number
from busbar.codecs.hid import MASSES, Kind
from hid_bridge.points import Place, Point
from hid_bridge.settings import Checksum

POWERS = range(-32, 33)  # of ten; more is nonsense
MASS = Property("mass", number(), unit="kg", class_="weight", title="Weight in kg")
_WEIGHING = {"weight", "unit"}


class Reading(NamedTuple):
    """The values in a report, and the points that could not be read, with why."""

    values: dict[str, Any]
    failed: dict[str, Exception]


class ReportReader:
    """Reads reports with the points of a device."""

    def __init__(self, points: Mapping[str, Point], checksum: Checksum | None) -> None:
        self._points = points
        self._checksum = checksum
        self._known: dict[str, Any] = {}  # the newest of each point
        self._by_place: dict[Place, list[Point]] = {}
        for point in points.values():
            for place in dict.fromkeys(point.places):
                self._by_place.setdefault(place, []).append(point)
        self._weighs = points.keys() >= _WEIGHING and MASS.path not in points

    @property
    def properties(self) -> list[Property]:
        """What the points are on the bus."""
        more = [MASS] if self._weighs else []
        return [*(each.declared for each in self._points.values()), *more]

    def has(self, kind: Kind) -> list[int]:
        """Return the numbers of the reports of a kind that have points."""
        return sorted(number for each, number in self._by_place if each == kind)

    def check(self, payload: bytes) -> None:
        """Raise ProtocolError for a report that its checksum does not fit."""
        wanted = self._checksum
        if wanted is None:
            return
        if max(wanted.last, wanted.byte) >= len(payload):
            raise ProtocolError(f"a report of {len(payload)} bytes has no checksum")
        found = _summed(wanted, payload[wanted.first : wanted.last + 1])
        if payload[wanted.byte] != found:
            raise ProtocolError(
                f"checksum {payload[wanted.byte]:#04x} instead of {found:#04x}"
            )

    def read(self, kind: Kind, report: int, payload: bytes) -> Reading:
        """Return what a report says; one point that cannot be read costs itself."""
        found, failed = self._raw((kind, report), payload)
        self._known.update(found)
        for path in list(found):
            exponent = self._points[path].exponent
            if exponent is not None and found[path] is not None:
                self._scale(path, exponent, found, failed)
        self._add_mass(found)
        return Reading(found, failed)

    def _raw(
        self, place: Place, payload: bytes
    ) -> tuple[dict[str, Any], dict[str, Exception]]:
        found: dict[str, Any] = {}
        failed: dict[str, Exception] = {}
        for each in self._by_place.get(place, ()):
            try:
                value = each.read(place, payload)
            except Exception as error:  # costs this point; the outlet tells whose it is
                failed[each.path] = error
                continue
            if value is not UNSET:
                found[each.path] = value
        return found, failed

    def _scale(
        self,
        path: str,
        exponent: str,
        found: dict[str, Any],
        failed: dict[str, Exception],
    ) -> None:
        """Apply a power of ten that another point has."""
        power = self._known.get(exponent)
        if not isinstance(power, int | float) or int(power) not in POWERS:
            failed[path] = ProtocolError(
                f"{exponent} is {power!r:.40}: no power of ten"
            )
            del found[path]
            return
        value = found[path]
        power = int(power)
        scaled = value * 10**power if power >= 0 else value / 10**-power
        if self._known.get("status") == "under_zero" and scaled > 0 and self._weighs:
            scaled = -scaled  # it has no sign of its own
        found[path] = scaled

    def _add_mass(self, found: dict[str, Any]) -> None:
        """Add the weight in kg, whatever the scale shows."""
        if not self._weighs or found.get("weight") is None:
            return
        factor = MASSES.get(str(self._known.get("unit")))
        if factor is not None:
            found[MASS.path] = found["weight"] * factor


def _summed(wanted: Checksum, data: bytes) -> int:
    if wanted.kind == "sum":
        return sum(data) & 0xFF
    total = 0
    for each in data:
        total ^= each
    return total
