"""Point of a unit: its place in the registers, its type, its requests."""

import math
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from busbar.bridge import values
from busbar.bridge.errors import OutOfRange
from busbar.codecs.modbus import (
    MaskWrite,
    Read,
    Request,
    Table,
    WriteCoil,
    WriteCoils,
    WriteRegister,
    WriteRegisters,
)
from busbar.codecs.modbus.values import (
    Bcd,
    Bytes,
    Codec,
    Encoding,
    Field,
    Instant,
    Ipv4,
    Modulo,
    Order,
    Plain,
    Scaled,
    Text,
    number,
    ordered,
)

Type = Literal[
    "bool",
    "int16",
    "uint16",
    "int24",
    "uint24",
    "int32",
    "uint32",
    "int48",
    "uint48",
    "int64",
    "uint64",
    "float16",
    "float32",
    "float64",
    "bcd16",
    "bcd32",
    "bcd64",
    "mod10k32",
    "mod10k48",
    "mod10k64",
    "string",
    "raw",
    "unix32",
    "datetime",
    "ipv4",
]
Raw = Plain | Bcd | Modulo | Field
Address = Annotated[
    int,
    Meta(
        ge=0,
        le=65535,
        description=(
            "0 to 65535, as on the wire; hexadecimal with 0x. 40001 of a data sheet "
            "is holding 0, 30008 is input 7"
        ),
    ),
]
# what is no number, and what it is for msgspec
NO_NUMBERS = {
    "bool": bool,
    "string": str,
    "raw": bytes,
    "unix32": str,
    "datetime": str,
    "ipv4": str,
}
Code = int | float
PADDINGS = {"nul": b"\0", "space": b" "}
_OF_TYPES = (
    ("length", 1, ("string", "raw")),
    ("encoding", "ascii", ("string",)),
    ("padding", "nul", ("string",)),
)


class Point(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, dict=True
):
    """A value in a unit.

    The keys that properties and the commands `read` and `write` share.
    """

    table: Table = "holding"
    address: Address
    type: Type | None = None  # None: bool for bits, uint16 for registers
    order: Order = "big"  # ABCD; little DCBA, big_swap BADC, little_swap CDAB
    # of a register, 0 is the lowest
    bit: Annotated[int, Meta(ge=0, le=15)] | None = None
    width: Annotated[int, Meta(ge=1, le=16)] = 1  # bits from `bit` on; one is a boolean
    length: Annotated[int, Meta(ge=1, le=123)] = 1  # registers of a string or of raw
    encoding: Encoding = "ascii"
    padding: Literal["nul", "space"] = "nul"  # of a string
    scale: float = 1.0  # value = raw * scale + offset
    offset: float = 0.0
    # decimal places that are kept
    precision: Annotated[int, Meta(ge=0, le=12)] | None = None
    # numbers in the registers, before `scale`, that mean "there is no value"
    absent: Code | tuple[Code, ...] = ()

    def __post_init__(self) -> None:
        self._check_kind()
        self._check_text()
        self._check_number()
        if self.address + self.registers > 65536:
            raise ValueError(
                f"address: {self.registers} registers from {self.address} on end "
                f"beyond 65535"
            )

    def _check_number(self) -> None:
        if self.scale == 0:
            raise ValueError("scale: 0 cannot be undone")
        if self.kind not in NO_NUMBERS:
            return
        if (self.scale, self.offset) != (1.0, 0.0):
            raise ValueError(f"scale: not of a {self.kind}")
        if self.precision is not None:
            raise ValueError(f"precision: not of a {self.kind}")
        if self.codes and (self.bits or self.kind in ("string", "raw")):
            raise ValueError(f"absent: not of a {self.kind}")

    def _check_kind(self) -> None:
        if self.bits and self.type not in (None, "bool"):
            raise ValueError(f"type: a {self.table} is a bool")
        if self.bits and self.bit is not None:
            raise ValueError(f"bit: only in a register, not of a {self.table}")
        if not self.bits and self.type == "bool" and self.bit is None:
            raise ValueError("type: a bool in a register needs its `bit`")
        if self.bit is not None and self.type not in (None, "bool", "uint16"):
            raise ValueError(f"type: a bit field cannot be {self.type}; leave it out")
        if self.bit is None and self.width != 1:
            raise ValueError("width: of a bit field, needs `bit`")
        if self.bit is not None and self.bit + self.width > 16:
            raise ValueError(
                f"width: {self.width} bits from bit {self.bit} on end beyond bit 15"
            )

    def _check_text(self) -> None:
        for key, default, types in _OF_TYPES:
            if getattr(self, key) != default and self.type not in types:
                raise ValueError(f"{key}: only of a {' or '.join(types)}")
        if self.type == "string" and self.order not in ("big", "big_swap"):
            raise ValueError("order: of a string, big or big_swap")
        if self.order == "big":
            return
        if self.bits or self.bit is not None or self.type == "raw":
            raise ValueError("order: not of a bit or raw")
        if self.type in ("datetime", "ipv4"):
            raise ValueError(f"order: not of {self.type}")

    @cached_property
    def bits(self) -> bool:
        """True for a coil or a discrete input."""
        return self.table in ("coil", "discrete")

    @cached_property
    def kind(self) -> Type:
        """The type, where none is given what it is then."""
        if self.bits or (self.bit is not None and self.width == 1):
            return "bool"
        return self.type or "uint16"

    @cached_property
    def codec(self) -> Codec:
        """How registers are read; bits need none."""
        if self.type == "string":
            return Text(
                self.length,
                self.encoding,
                PADDINGS[self.padding],
                self.order == "big_swap",
            )
        if self.type == "raw":
            return Bytes(self.length)
        if self.type == "ipv4":
            return Ipv4()
        if self.type in ("unix32", "datetime"):
            return Instant(self.type, self.order)
        raw = self.raw
        if self.scale == 1.0 and self.offset == 0.0:
            return raw
        return Scaled(raw, self.scale, self.offset)

    @cached_property
    def raw(self) -> Raw:
        """How the number in the registers is read, before `scale`."""
        if self.bit is not None:
            return Field(self.bit, self.width)
        return number(self.type or "uint16", self.order)  # type: ignore[arg-type]  # the other types are gone by here

    @cached_property
    def registers(self) -> int:
        """Bits or registers that it takes."""
        return 1 if self.bits else self.codec.registers

    def value_type(
        self, minimum: float | None = None, maximum: float | None = None
    ) -> Any:
        """Return the type of its values for msgspec, no wider than the registers."""
        if self.kind in NO_NUMBERS:
            return NO_NUMBERS[self.kind]
        low, high = self.bounds or (None, None)
        low = low if minimum is None or (low is not None and low > minimum) else minimum
        high = (
            high
            if maximum is None or (high is not None and high < maximum)
            else maximum
        )
        if self.whole:
            return values.integer(*(_known(bound) for bound in (low, high)))
        return values.number(low, high)

    @cached_property
    def whole(self) -> bool:
        """True if its values are whole numbers."""
        return self.is_whole()

    def is_whole(self) -> bool:
        """Return whether the registers, as they are scaled, hold whole numbers."""
        return (
            self.bounds is not None
            and float(self.scale).is_integer()
            and float(self.offset).is_integer()
        )

    @cached_property
    def bounds(self) -> tuple[float, float] | None:
        """The least and the greatest number that the registers hold.

        None for a float or what is no number.
        """
        codec = self.codec
        return None if self.bits else getattr(codec, "bounds", None)

    def request(self, count: int = 1) -> Read:
        """Return the request that reads it, or `count` of them behind one another.

        Raise OutOfRange.
        """
        return Read(self.table, self.address, self.registers * count)

    @cached_property
    def codes(self) -> tuple[Code, ...]:
        """The numbers that mean "there is no value"."""
        return self.absent if isinstance(self.absent, tuple) else (self.absent,)

    def has_value(self, data: bytes) -> bool:
        """Return whether registers hold a value, none of the codes for "absent".

        A code is the number, or the bits of the registers: 0x8000 is -32768, too.
        """
        if not self.codes:
            return True
        if int.from_bytes(ordered(data, self.order), "big") in self.codes:
            return False
        return self.kind in NO_NUMBERS or self.raw.decode(data) not in self.codes

    def parse(self, data: Any) -> Any:
        """Return the value in what a Read has answered, None if it is absent.

        Raise ProtocolError.
        """
        if self.bits:
            return data[0]
        return self.neat(self.codec.decode(data)) if self.has_value(data) else None

    def neat(self, value: Any) -> Any:
        """Return a number as it is shown: whole, or with the decimal places kept."""
        if not isinstance(value, float):
            return value
        if self.precision is not None and math.isfinite(value):
            value = round(value, self.precision)
        return int(value) if self.whole else value

    def write(self, value: Any, *, single: bool = True) -> Request:
        """Return the one request that writes a value; raise OutOfRange.

        Not for a bit of a register: see `mask`.
        """
        if self.bits:
            if single:
                return WriteCoil(self.address, value)
            return WriteCoils(self.address, (value,))
        data = self.codec.encode(value)
        if len(data) == 2 and single:
            return WriteRegister(self.address, data)
        return WriteRegisters(self.address, data)

    def write_all(self, items: list[Any]) -> Request:
        """Return the one request that writes several values behind one another.

        Raise OutOfRange.
        """
        if self.bits:
            return WriteCoils(self.address, tuple(items))
        return WriteRegisters(self.address, b"".join(map(self.codec.encode, items)))

    def mask(self, value: Any) -> MaskWrite:
        """Return the request that writes a bit field and nothing beside it.

        Raise OutOfRange.
        """
        raw = self.raw
        if not isinstance(raw, Field):
            raise TypeError("not a bit field")
        return MaskWrite(
            self.address,
            0xFFFF & ~raw.mask,
            int.from_bytes(self.codec.encode(value), "big"),
        )


def _known(bound: float | None) -> int | None:
    """Return a bound that msgspec can check, which ends at 64 bits with a sign.

    The codec checks the others.
    """
    return None if bound is None or bound >= 2**63 else int(bound)


def chosen(choices: Mapping[int, str], raw: Any) -> Any:
    """Return the name of a number, the number itself where it has none."""
    return choices.get(raw, raw)


def number_of(choices: Mapping[int, str], name: Any) -> Any:
    """Return the number of a name, or the number itself; raise OutOfRange."""
    if not isinstance(name, str):
        return name
    for raw, each in choices.items():
        if each == name:
            return raw
    raise OutOfRange(f"{name!r} is none of {', '.join(choices.values())}")
