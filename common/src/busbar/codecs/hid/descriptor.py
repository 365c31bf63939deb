"""Report descriptors: which reports a device has and which fields are in them.

Source: docs/protocols/hid.md, 2.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

from busbar.errors import ProtocolError

Kind = Literal["input", "output", "feature"]

# bytes; Linux takes no more (HID_MAX_DESCRIPTOR_SIZE); the largest seen has 2515
DESCRIPTOR_LIMIT = 4096
# bytes of one report; Linux takes no more (HID_MAX_BUFFER_SIZE); the largest seen: 7487
REPORT_LIMIT = 16384
STACK_LIMIT = 64  # of Push and of collections; real ones have less than ten
# flags of a main item
CONSTANT, VARIABLE = 0x01, 0x02
RELATIVE, NULL = 0x04, 0x40

_MAIN: dict[int, Kind] = {8: "input", 9: "output", 11: "feature"}
_COLLECTION, _END_COLLECTION = 10, 12
_LONG_ITEM = 0xFE
_SIZES = (0, 1, 2, 4)


@dataclass(frozen=True)
class UsageRange:
    """Usages from the first to the last; page in the upper 16 bits."""

    first: int
    last: int

    @property
    def count(self) -> int:
        return self.last - self.first + 1


@dataclass(frozen=True)
class Collection:
    """One collection around a field: its usage and its type (0 physical, 1 application,
    2 logical ...)."""  # noqa: D205, D209 (one sentence)

    usage: int
    type: int
    number: int  # of its order in the descriptor: two may have one usage


@dataclass(frozen=True)
class ReportField:
    """What one main item adds to a report: `count` elements of `size` bits."""

    kind: Kind
    report: int  # its number; 0: reports are not numbered
    offset: int  # bits, after the byte of the number
    size: int  # bits of an element
    count: int
    flags: int
    usages: tuple[UsageRange, ...]
    logical: tuple[int, int]
    physical: tuple[int, int]
    unit: int
    exponent: int
    collections: tuple[Collection, ...]  # the outermost first

    @property
    def constant(self) -> bool:
        return bool(self.flags & CONSTANT)

    @property
    def variable(self) -> bool:
        """Whether each element is a control of its own; else each names one."""
        return bool(self.flags & VARIABLE)

    @property
    def relative(self) -> bool:
        return bool(self.flags & RELATIVE)

    @property
    def nullable(self) -> bool:
        """Whether a value outside the logical range says that there is none."""
        return bool(self.flags & NULL)

    @property
    def signed(self) -> bool:
        return self.logical[0] < 0

    def usage(self, index: int) -> int | None:
        """Return the usage of an element; the last one counts for all that follow."""
        left = index
        for each in self.usages:
            if left < each.count:
                return each.first + left
            left -= each.count
        if not self.usages or not self.variable:
            return None
        return self.usages[-1].last


@dataclass(frozen=True)
class ReportDescriptor:
    """What a descriptor says."""

    fields: tuple[ReportField, ...] = ()
    applications: tuple[int, ...] = ()  # usages of the collections at the top
    sizes: dict[tuple[Kind, int], int] = field(default_factory=dict)  # bits
    problems: tuple[str, ...] = ()  # what had to be left out

    @property
    def numbered(self) -> bool:
        """Whether each report begins with the byte of its number."""
        return any(number for _, number in self.sizes)

    def length(self, kind: Kind, number: int) -> int | None:
        """Return the bytes of a report without its number; None: there is none."""
        bits = self.sizes.get((kind, number))
        return None if bits is None else (bits + 7) // 8

    def numbers(self, kind: Kind) -> list[int]:
        """Return the numbers of the reports of a kind, in order."""
        return sorted(number for each, number in self.sizes if each == kind)


@dataclass(frozen=True)
class _Globals:
    """What holds until the descriptor says otherwise."""

    page: int = 0
    logical_minimum: int = 0
    logical_maximum: int = 0
    logical_maximum_unsigned: int = 0
    physical_minimum: int = 0
    physical_maximum: int = 0
    physical_maximum_unsigned: int = 0
    exponent: int = 0
    unit: int = 0
    size: int = 0
    report: int = 0
    count: int = 0


class _Item(NamedTuple):
    """One item: its tag, its type (0 main, 1 global, 2 local), its data both ways."""

    tag: int
    type: int
    length: int
    unsigned: int
    signed: int


def parse(data: bytes) -> ReportDescriptor:
    """Return what a report descriptor says.

    What makes no sense is left out and named in `problems`; raise ProtocolError only
    for one that is longer than any device may have.
    """
    if len(data) > DESCRIPTOR_LIMIT:
        raise ProtocolError(
            f"a report descriptor of {len(data)} bytes; at most {DESCRIPTOR_LIMIT}"
        )
    parser = _Parser()
    for item in _items(data, parser.problems):
        parser.take(item)
    return parser.result()


def _items(data: bytes, problems: list[str]) -> Iterator[_Item]:
    place = 0
    while place < len(data):
        prefix = data[place]
        if prefix == _LONG_ITEM:  # none is defined
            place += 3 + (data[place + 1] if place + 1 < len(data) else 0)
            continue
        length = _SIZES[prefix & 3]
        body = data[place + 1 : place + 1 + length]
        if len(body) < length:
            problems.append(f"the item at byte {place} is cut off")
            return
        unsigned = int.from_bytes(body, "little")
        signed = int.from_bytes(body, "little", signed=True)
        yield _Item(prefix >> 4, prefix >> 2 & 3, length, unsigned, signed)
        place += 1 + length


class _Parser:
    """Walks through the items."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self._globals = _Globals()
        self._stack: list[_Globals] = []
        self._collections: list[Collection] = []
        self._count = 0  # collections so far
        self._fields: list[ReportField] = []
        self._applications: list[int] = []
        self._sizes: dict[tuple[Kind, int], int] = {}
        self._clear_locals()

    def _clear_locals(self) -> None:
        self._usages: list[UsageRange] = []
        self._minimum: int | None = None
        self._maximum: int | None = None
        self._alternatives = 0  # usages since a delimiter opened; the first counts
        self._delimited = False

    def take(self, item: _Item) -> None:
        (self._main, self._global, self._local, self._reserved)[item.type](item)

    def result(self) -> ReportDescriptor:
        if self._collections:
            self.problems.append("a collection without an end")
        return ReportDescriptor(
            tuple(self._fields),
            tuple(self._applications),
            self._sizes,
            tuple(self.problems),
        )

    def _reserved(self, item: _Item) -> None:
        self.problems.append(f"an item of the reserved type, tag {item.tag}")

    def _main(self, item: _Item) -> None:
        if item.tag in _MAIN:
            self._add(_MAIN[item.tag], item.unsigned)
        elif item.tag == _COLLECTION:
            self._open(item.unsigned)
        elif item.tag == _END_COLLECTION:
            self._close()
        self._clear_locals()

    def _open(self, type_: int) -> None:
        usage = self._usages[0].first if self._usages else 0
        if len(self._collections) >= STACK_LIMIT:
            self.problems.append(f"more than {STACK_LIMIT} collections in one another")
            return
        if not self._collections:
            self._applications.append(usage)
        self._collections.append(Collection(usage, type_, self._count))
        self._count += 1

    def _close(self) -> None:
        if self._collections:
            self._collections.pop()
        else:
            self.problems.append("an end of a collection that is not open")

    def _add(self, kind: Kind, flags: int) -> None:
        known = self._globals
        key = (kind, known.report)
        offset = self._sizes.get(key, 0)
        end = offset + known.size * known.count
        if end > REPORT_LIMIT * 8:
            self.problems.append(
                f"{kind} report {known.report} is longer than {REPORT_LIMIT} bytes"
            )
            return
        self._sizes[key] = end
        if known.size == 0 or known.count == 0:
            return
        logical = _range(
            known.logical_minimum,
            known.logical_maximum,
            known.logical_maximum_unsigned,
        )
        physical = _range(
            known.physical_minimum,
            known.physical_maximum,
            known.physical_maximum_unsigned,
        )
        self._fields.append(
            ReportField(
                kind,
                known.report,
                offset,
                known.size,
                known.count,
                flags,
                tuple(self._usages),
                logical,
                physical,
                known.unit,
                known.exponent,
                tuple(self._collections),
            )
        )

    def _global(self, item: _Item) -> None:
        if item.tag in _GLOBALS:
            name, is_signed = _GLOBALS[item.tag]
            value = item.signed if is_signed else item.unsigned
            more = {name: value}
            if name.endswith("_maximum"):
                more[f"{name}_unsigned"] = item.unsigned
            elif name == "exponent":
                more[name] = _exponent(item)
            self._globals = replace(self._globals, **more)
        elif item.tag == 10:
            self._push()
        elif item.tag == 11:
            self._pop()

    def _push(self) -> None:
        if len(self._stack) < STACK_LIMIT:
            self._stack.append(self._globals)
        else:
            self.problems.append(f"more than {STACK_LIMIT} times Push")

    def _pop(self) -> None:
        if self._stack:
            self._globals = self._stack.pop()
        else:
            self.problems.append("Pop without Push")

    def _local(self, item: _Item) -> None:
        if item.tag == 0:
            self._use(self._whole(item), self._whole(item))
        elif item.tag in (1, 2):
            self._bound(item)
        elif item.tag == 10:
            self._delimited = item.unsigned == 1
            self._alternatives = 0

    def _bound(self, item: _Item) -> None:
        """Take Usage Minimum or Maximum; both together are a range."""
        if item.tag == 1:
            self._minimum = self._whole(item)
        else:
            self._maximum = self._whole(item)
        first, last = self._minimum, self._maximum
        if first is None or last is None:
            return
        self._minimum = self._maximum = None
        if last < first or last - first > 0xFFFF:
            self.problems.append(f"usages from {first:#x} to {last:#x}")
            return
        self._use(first, last)

    def _use(self, first: int, last: int) -> None:
        self._alternatives += 1
        if self._delimited and self._alternatives > 1:
            return
        self._usages.append(UsageRange(first, last))

    def _whole(self, item: _Item) -> int:
        """Return a usage with its page: four bytes have their own."""
        if item.length == 4:
            return item.unsigned
        return self._globals.page << 16 | item.unsigned


_GLOBALS = {
    0: ("page", False),
    1: ("logical_minimum", True),
    2: ("logical_maximum", True),
    3: ("physical_minimum", True),
    4: ("physical_maximum", True),
    5: ("exponent", True),
    6: ("unit", False),
    7: ("size", False),
    8: ("report", False),
    9: ("count", False),
}


def _range(least: int, most: int, unsigned: int) -> tuple[int, int]:
    """Return a range: the maximum has no sign where the minimum is not negative."""
    return (least, most if least < 0 else unsigned)


def _exponent(item: _Item) -> int:
    """Return a unit exponent: four bits with a sign, or, as some write it, a byte."""
    if item.unsigned > 0xF:
        return max(-32, min(32, item.signed))
    return item.unsigned - 16 if item.unsigned > 7 else item.unsigned
