"""Controls of a device: the named fields of its reports, each under one path.

Source: docs/protocols/hid.md, 5.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from busbar.codecs.hid import usages
from busbar.codecs.hid.descriptor import (
    Collection,
    Kind,
    ReportDescriptor,
    ReportField,
)
from busbar.codecs.hid.values import Scale, read_bits, scale, write_bits
from busbar.errors import ProtocolError

CONTROLS_LIMIT = 500  # of one device; more are a matrix of sensors, not controls
_LED = 0x08
_WEIGHT, _SCALING = 0x8D0040, 0x8D0041
_PERCENT = {0x840035, 0x850066, 0x850029, 0x85008C, 0x840045}
# of the scale's units in kg; taels differ from place to place
MASSES = {
    "mg": 1e-6,
    "g": 1e-3,
    "kg": 1.0,
    "carat": 2e-4,
    "grain": 6.479891e-5,
    "pennyweight": 1.55517384e-3,
    "tonne": 1000.0,
    "ton": 907.18474,
    "ozt": 0.0311034768,
    "oz": 0.028349523125,
    "lb": 0.45359237,
}


@dataclass(frozen=True)
class Source:
    """One place of a control in a report."""

    field: ReportField
    index: int  # of the element; of keys: 0

    @property
    def offset(self) -> int:
        return self.field.offset + self.index * self.field.size


@dataclass
class Control:
    """One value of a device, in one or more of its reports."""

    path: str
    usage: int
    type: Literal["boolean", "integer", "number", "choice", "keys"]
    scale: Scale
    sources: list[Source] = field(default_factory=list)
    scaling: str | None = None  # the path of the control that has its power of ten

    @property
    def field(self) -> ReportField:
        """The field that says what its values are."""
        return self.sources[0].field

    @property
    def unit(self) -> str | None:
        if self.usage in _PERCENT and self.scale.unit is None:
            return "%"
        return self.scale.unit

    @property
    def application(self) -> str | None:
        """The name of what it belongs to: mouse, keyboard, ups."""
        around = self.field.collections
        return usages.name(around[0].usage) if around else None

    def source(self, kind: Kind) -> Source | None:
        """Return the place in reports of a kind that a set may write, or any."""
        return next((each for each in self.sources if each.field.kind == kind), None)

    @property
    def choices(self) -> list[str]:
        """The names that a choice has, by the element's number."""
        return [_choice(self.field, index) for index in range(_choices(self.field))]

    @property
    def range(self) -> tuple[int | float, int | float]:
        """The values of the logical range."""
        least, most = (self.scale.value(each) for each in self.field.logical)
        return (least, most) if least <= most else (most, least)


def controls(descriptor: ReportDescriptor) -> list[Control]:
    """Return the controls of a device that usage tables have a name for."""
    found: dict[tuple[object, ...], Control] = {}
    for usage, source in _elements(descriptor.fields):
        numbers = tuple(each.number for each in source.field.collections)
        key = (usage, numbers)
        if key not in found:
            if len(found) >= CONTROLS_LIMIT:
                break
            made = Control("", usage, _type(source.field), scale(source.field))
            found[key] = made
        elif _type(source.field) != found[key].type:
            continue
        elif any(_same_report(each, source) for each in found[key].sources):
            continue  # an element that repeats the last usage
        found[key].sources.append(source)
    made_up = list(found.values())
    _name(made_up)
    _add_scaling(made_up)
    return made_up


def _same_report(one: Source, other: Source) -> bool:
    mine, its = one.field, other.field
    return (mine.kind, mine.report) == (its.kind, its.report)


def _elements(fields: Iterable[ReportField]) -> Iterator[tuple[int, Source]]:
    """Return the named elements that have a state, not a movement, with their usage."""
    for each in fields:
        if each.relative:
            continue
        if not each.variable:
            usage = _array_usage(each)
            if usage is not None:
                yield usage, Source(each, 0)
            continue
        for index in range(min(each.count, CONTROLS_LIMIT)):
            usage = each.usage(index)
            if usage is not None and usages.name(usage):
                yield usage, Source(each, index)


def _array_usage(each: ReportField) -> int | None:
    """Return what an array is: of keys or of one choice; None: nothing with a name."""
    if each.constant or not each.usages:
        return None
    if each.count == 1 and not usages.is_key(each.usages[0].first):
        return _selector(each)
    return each.usages[0].first if usages.name(each.usages[0].last) else None


def _selector(each: ReportField) -> int | None:
    """Return the usage of an array of one choice: that of the collection around it."""
    if _choices(each) > CONTROLS_LIMIT or not any(
        usages.name(usage.first) for usage in each.usages
    ):
        return None
    if each.collections and usages.name(each.collections[-1].usage):
        return each.collections[-1].usage
    return each.usages[0].first


def _choices(each: ReportField) -> int:
    return sum(usage.count for usage in each.usages)


def _choice(each: ReportField, index: int) -> str:
    usage = each.usage(index)
    name = None if usage is None else usages.name(usage)
    return name or f"usage_{(usage or 0):x}"


def _type(
    each: ReportField,
) -> Literal["boolean", "integer", "number", "choice", "keys"]:
    if not each.variable:
        first = each.usages[0].first
        return "choice" if each.count == 1 and not usages.is_key(first) else "keys"
    if each.logical == (0, 1) or (each.size == 1 and each.logical == (0, 0)):
        return "boolean"
    return "integer" if scale(each).integral else "number"


def _name(made: list[Control]) -> None:
    """Give each control a path: its usage, and what is around it where two have it."""
    named = {id(each): _leaf(each) for each in made}
    outward = {id(each): _around(each) for each in made}
    for _ in range(4):  # levels of collections that may be needed
        taken: dict[str, list[Control]] = {}
        for each in made:
            taken.setdefault(named[id(each)], []).append(each)
        for group in taken.values():
            if len(group) > 1:
                for each in group:
                    around = outward[id(each)]
                    if around:
                        named[id(each)] = f"{around.pop()}/{named[id(each)]}"
    counts: dict[str, int] = {}
    for each in made:
        path = named[id(each)]
        counts[path] = counts.get(path, 0) + 1
        each.path = path if counts[path] == 1 else f"{path}-{counts[path]}"


def _leaf(each: Control) -> str:
    if each.type == "keys":
        key = usages.is_key(each.usage)
        return "keys" if key else _family(each.usage)
    name = usages.name(each.usage) or f"usage_{each.usage:x}"
    if usages.is_key(each.usage):
        return f"key/{name}"
    return f"led/{name}" if usages.page_of(each.usage) == _LED else name


def _family(usage: int) -> str:
    return (usages.name(usage) or "usages").partition("/")[0] + "s"


def _around(each: Control) -> list[str]:
    """Return the names of the collections around a control, the innermost last."""
    names: list[str] = []
    for collection in _outer(each):
        name = usages.name(collection.usage)
        if name and name not in names:
            names.append(name)
    return names


def _outer(each: Control) -> tuple[Collection, ...]:
    around = each.field.collections
    return around[:-1] if each.type == "choice" else around


def _add_scaling(made: list[Control]) -> None:
    """Let the weight of a scale have its power of ten from the field beside it."""
    scalings = [each for each in made if each.usage == _SCALING]
    for each in made:
        if each.usage == _WEIGHT and scalings:
            each.scaling = scalings[0].path
            each.type = "number"


def read(control: Control, source: Source, payload: bytes) -> object:
    """Return the value of a control in a report, without its scaling.

    None: the device says that there is none. Raise ProtocolError where the report is
    too short.
    """
    field = source.field
    if control.type == "keys":
        return _keys(field, payload)
    raw = read_bits(payload, source.offset, field.size, field.signed)
    if control.type == "choice":
        return _chosen(control, raw - field.logical[0])
    least, most = field.logical
    if field.nullable and not least <= raw <= most:
        return None
    if control.type == "boolean":
        return bool(raw)
    return control.scale.value(raw)


def _chosen(control: Control, index: int) -> str | None:
    if 0 <= index < _choices(control.field):
        return _choice(control.field, index)
    return None


def _keys(field: ReportField, payload: bytes) -> list[str]:
    """Return the names of the keys that are down."""
    down = []
    least, most = field.logical
    for index in range(min(field.count, CONTROLS_LIMIT)):
        place = field.offset + index * field.size
        raw = read_bits(payload, place, field.size, field.signed)
        usage = field.usage(raw - least) if least <= raw <= most else None
        name = None if usage is None else usages.name(usage)
        if name is not None:
            down.append(name)
    return down


def write(control: Control, source: Source, payload: bytearray, value: object) -> None:
    """Write a value into a report; raise OutOfRange, or ProtocolError for keys."""
    field = source.field
    if control.type == "keys":
        raise ProtocolError(f"{control.path} cannot be written")
    if control.type == "choice":
        raw = field.logical[0] + control.choices.index(str(value))
    else:
        assert isinstance(value, int | float)
        raw = int(value) if control.type == "boolean" else control.scale.raw(value)
    write_bits(payload, source.offset, field.size, raw, field.signed)
