"""Points: values in reports, named by the descriptor or by the configuration."""

from collections.abc import Iterable
from typing import Any, Literal, Protocol

from msgspec import UNSET

from busbar.bridge import OutOfRange, Property, ProtocolError, values
from busbar.codecs import hid
from busbar.codecs.hid import Control, Kind, Source
from hid_bridge.settings import Device, Field

Access = Literal["r", "w", "rw"]
Place = tuple[Kind, int]  # the kind and the number of a report
# of units, where the class says no more than the unit
_CLASSES = {
    "V": "voltage",
    "A": "current",
    "Hz": "frequency",
    "W": "power",
    "K": "temperature",
    "lx": "illuminance",
    "Pa": "atmospheric_pressure",
}
_TYPES: dict[str, Any] = {"boolean": bool, "keys": list[str]}


class Point(Protocol):
    """One value: where it is, and how it is read and written."""

    path: str
    places: tuple[Place, ...]  # kinds and numbers of reports that have it
    exponent: str | None  # the path of the point with its power of ten
    declared: Property

    def read(self, place: Place, payload: bytes) -> Any:
        """Return its value in a report without its number; UNSET: it has none.

        Raise ProtocolError where the report is too short.
        """

    def write(self, place: Place, payload: bytearray, value: Any) -> None:
        """Write a value into a report; raise OutOfRange."""


def points(settings: Device, controls: Iterable[Control]) -> dict[str, Point]:
    """Return the points of a device by path; those of the configuration come first."""
    found: dict[str, Point] = {}
    for each in settings.fields:
        found[each.path] = ConfiguredPoint(each, settings)
    if settings.descriptor:
        for control in controls:
            if control.path not in found:
                found[control.path] = DescribedPoint(control, settings)
    return found


def _access(kinds: Iterable[str], settings: Device) -> Access:
    """Return what can be done with a value in reports of these kinds."""
    there = set(kinds)
    if "output" in there:
        return "rw" if there & {"input", "feature"} else "w"
    return "rw" if "feature" in there and settings.set_features else "r"


class DescribedPoint:
    """A control that the descriptor names."""

    exponent: str | None

    def __init__(self, control: Control, settings: Device) -> None:
        self._control = control
        self.path = control.path
        self.exponent = control.scaling
        self._sources: dict[Place, Source] = {}
        for each in control.sources:
            self._sources[each.field.kind, each.field.report] = each
        self.places: tuple[Place, ...] = tuple(self._sources)
        writable = [each for each in control.sources if not each.field.constant]
        access = _access((each.field.kind for each in writable), settings)
        if access == "w" and len(self.places) > len(writable):
            access = "rw"
        readback = None if access == "w" else ""
        has_input = any(kind == "input" for kind, _ in self.places)
        self.declared = Property(
            control.path,
            _type(control),
            access,
            unit=control.unit,
            group=control.application,
            class_=_class(control),
            readback=readback,
            max_age=settings.max_age if has_input else 0.0,
        )

    def read(self, place: Place, payload: bytes) -> Any:
        return hid.read(self._control, self._sources[place], payload)

    def write(self, place: Place, payload: bytearray, value: Any) -> None:
        hid.write(self._control, self._sources[place], payload, value)


def _type(control: Control) -> Any:
    """Return the type of a control's values."""
    if control.type in _TYPES:
        return _TYPES[control.type]
    if control.type == "choice":
        return values.choice(*dict.fromkeys(control.choices)) | None
    least, most = control.range
    if control.type == "integer":
        made = values.integer(int(least), int(most))
    elif control.scaling:
        made = float
    else:
        made = values.number(least, most)
    return made | None if control.field.nullable else made


def _class(control: Control) -> str | None:
    if control.path.rpartition("/")[2] == "remaining_capacity":
        return "battery"
    return _CLASSES.get(control.unit or "")


class ConfiguredPoint:
    """A field of the configuration."""

    def __init__(self, field: Field, settings: Device) -> None:
        self._field = field
        self.path = field.path
        self.places: tuple[Place, ...] = ((field.kind, field.report),)
        self.exponent = field.exponent
        max_age = settings.max_age if field.kind == "input" else 0.0
        access = _access([field.kind], settings)
        self.declared = field.declared(access, max_age)

    def read(self, place: Place, payload: bytes) -> Any:
        field = self._field
        when = field.when
        if when is not None:
            if when.byte >= len(payload):
                raise ProtocolError(f"a report of {len(payload)} bytes has no `when`")
            if payload[when.byte] != when.equals:
                return UNSET
        raw = self._raw(payload)
        if field.choices:
            return self._chosen(raw)
        if field.type == "boolean":
            return bool(raw)
        value = _tidy(raw * field.scale + field.add)
        if field.type == "integer":
            return int(value) if float(value).is_integer() else value
        return value

    def write(self, place: Place, payload: bytearray, value: Any) -> None:
        field = self._field
        if field.when is not None:
            hid.write_bits(payload, 8 * field.when.byte, 8, field.when.equals)
        raw = self._number(value)
        start = 8 * field.byte + field.bit
        if field.order == "little":
            hid.write_bits(payload, start, field.bits, raw, field.signed)
            return
        swapped = bytearray(field.bits // 8)
        hid.write_bits(swapped, 0, field.bits, raw, field.signed)
        swapped.reverse()
        there = int.from_bytes(swapped, "little")
        hid.write_bits(payload, start, field.bits, there)

    def _raw(self, payload: bytes) -> int:
        field = self._field
        start = 8 * field.byte + field.bit
        if field.order == "little":
            return hid.read_bits(payload, start, field.bits, field.signed)
        end = field.byte + field.bits // 8
        if end > len(payload):
            raise ProtocolError(
                f"a report of {len(payload)} bytes has no bytes {field.byte} to "
                f"{end - 1}"
            )
        part = payload[field.byte : end]
        return int.from_bytes(part, "big", signed=field.signed)

    def _chosen(self, raw: int) -> str:
        if raw not in self._field.choices:
            raise OutOfRange(f"{raw} is not one of the choices of {self.path}")
        return self._field.choices[raw]

    def _number(self, value: Any) -> int:
        field = self._field
        if field.choices:
            names = {name: number for number, name in field.choices.items()}
            return names[value]
        if field.type == "boolean":
            return int(value)
        raw: float = (value - field.add) / field.scale
        return round(raw)


def _tidy(value: float) -> float:
    """Return a value without what binary fractions add: 25.94, not 25.9400000001."""
    return float(f"{value:.12g}")
