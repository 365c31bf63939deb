"""Point of a unit: its place in the registers, its type, its requests."""

from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from busbar.bridge import values
from busbar.bridge.errors import OutOfRange, ProtocolError
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
    Order,
    Plain,
    Scaled,
    Text,
    number,
)

Type = Literal[
    "bool",
    "int16",
    "uint16",
    "int32",
    "uint32",
    "int64",
    "uint64",
    "float16",
    "float32",
    "float64",
    "bcd16",
    "bcd32",
    "bcd64",
    "string",
    "raw",
]
Address = Annotated[
    int,
    Meta(
        ge=0,
        le=65535,
        description=("0 to 65535, as on the wire: 40001 of a data sheet is holding 0"),
    ),
]
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

    def __post_init__(self) -> None:
        self._check_kind()
        self._check_text()
        if self.scale == 0:
            raise ValueError("scale: 0 cannot be undone")
        if (self.scale, self.offset) != (1.0, 0.0) and (
            self.kind in ("bool", "string", "raw")
        ):
            raise ValueError(f"scale: not of a {self.kind}")
        if self.address + self.registers > 65536:
            raise ValueError(
                f"address: {self.registers} registers from {self.address} on end "
                f"beyond 65535"
            )

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
        if self.order != "big" and (
            self.bits or self.bit is not None or self.type == "raw"
        ):
            raise ValueError("order: not of a bit or raw")

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
        raw = self._raw()
        if self.scale == 1.0 and self.offset == 0.0:
            return raw
        return Scaled(raw, self.scale, self.offset)

    def _raw(self) -> Plain | Bcd | Field:
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
        if self.kind in ("bool", "string", "raw"):
            return {"bool": bool, "string": str, "raw": bytes}[self.kind]
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
        return None if self.bits or isinstance(codec, Text | Bytes) else codec.bounds  # type: ignore[attr-defined]

    def request(self, count: int = 1) -> Read:
        """Return the request that reads it, or `count` of them behind one another.

        Raise OutOfRange.
        """
        return Read(self.table, self.address, self.registers * count)

    def parse(self, data: Any) -> Any:
        """Return the value in what a Read has answered; raise ProtocolError."""
        if self.bits:
            return data[0]
        value = self.codec.decode(data)
        return int(value) if self.whole and isinstance(value, float) else value

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
        raw = self._raw()
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


def chosen(choices: Mapping[int, str], raw: Any) -> str:
    """Return the name of a number; raise ProtocolError for one without a name."""
    if raw not in choices:
        raise ProtocolError(
            f"{raw} has no name; there are: "
            f"{', '.join(f'{k} {v}' for k, v in choices.items())}"
        )
    return choices[raw]


def number_of(choices: Mapping[int, str], name: str) -> int:
    """Return the number of a name; raise OutOfRange."""
    for raw, each in choices.items():
        if each == name:
            return raw
    raise OutOfRange(f"{name!r} is none of {', '.join(choices.values())}")
