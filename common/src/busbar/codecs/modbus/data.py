"""Requests that read and write bits and registers.

Source: MODBUS Application Protocol Specification V1.1b3, 6.1 to 6.6, 6.11, 6.12, 6.16,
6.17.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from busbar.codecs.modbus.pdu import (
    BITS_READ,
    BITS_WRITTEN,
    NAMES,
    READ,
    REGISTERS_EXCHANGED,
    REGISTERS_READ,
    REGISTERS_WRITTEN,
    Table,
    check_echo,
    check_span,
    counted,
    counted_data,
    pack_bits,
    unpack_bits,
)
from busbar.errors import OutOfRange


@dataclass(frozen=True)
class Read:
    """Functions 1 to 4: read bits (as bool) or registers (as the bytes of the wire)."""

    table: Table
    address: int
    count: int

    def __post_init__(self) -> None:
        check_span(
            self.address,
            self.count,
            BITS_READ if self.bits else REGISTERS_READ,
            f"{NAMES[self.table]} to read",
        )

    @property
    def function(self) -> int:
        return READ[self.table]

    @property
    def bits(self) -> bool:
        return self.table in ("coil", "discrete")

    @property
    def size(self) -> int:
        """Bytes of data in the answer."""
        return (self.count + 7) // 8 if self.bits else 2 * self.count

    def encode(self) -> bytes:
        return struct.pack(">BHH", self.function, self.address, self.count)

    def answer(self, pdu: bytes) -> Any:
        data = counted_data(pdu, self.size)
        return unpack_bits(data, self.count) if self.bits else data

    def reply(self, data: bytes | Sequence[bool]) -> bytes:
        """Return the PDU of the answer with these registers or bits."""
        packed = data if isinstance(data, bytes) else pack_bits(data)
        return bytes([self.function, len(packed)]) + packed

    def length(self, head: bytes) -> int | None:
        return counted(head)


class _Echoed:
    """A write, answered by the beginning of the request."""

    echoed: ClassVar[int] = 5  # bytes

    def encode(self) -> bytes:
        raise NotImplementedError

    def answer(self, pdu: bytes) -> None:
        check_echo(pdu, self.encode()[: self.echoed])

    def length(self, head: bytes) -> int | None:
        return self.echoed


@dataclass(frozen=True)
class WriteCoil(_Echoed):
    """Function 5."""

    address: int
    value: bool
    function: ClassVar[int] = 5

    def __post_init__(self) -> None:
        check_span(self.address, 1, 1, "coil to write")

    def encode(self) -> bytes:
        return struct.pack(
            ">BHH", self.function, self.address, 0xFF00 if self.value else 0
        )


@dataclass(frozen=True)
class WriteRegister(_Echoed):
    """Function 6; `data` are the two bytes of the wire."""

    address: int
    data: bytes
    function: ClassVar[int] = 6

    def __post_init__(self) -> None:
        check_span(self.address, len(self.data) / 2, 1, "registers to write")

    def encode(self) -> bytes:
        return struct.pack(">BH", self.function, self.address) + self.data


@dataclass(frozen=True)
class WriteCoils(_Echoed):
    """Function 15."""

    address: int
    values: tuple[bool, ...]
    function: ClassVar[int] = 15

    def __post_init__(self) -> None:
        check_span(self.address, len(self.values), BITS_WRITTEN, "coils to write")

    def encode(self) -> bytes:
        packed = pack_bits(self.values)
        return (
            struct.pack(
                ">BHHB", self.function, self.address, len(self.values), len(packed)
            )
            + packed
        )


@dataclass(frozen=True)
class WriteRegisters(_Echoed):
    """Function 16; `data` are the bytes of the wire."""

    address: int
    data: bytes
    function: ClassVar[int] = 16

    def __post_init__(self) -> None:
        check_span(
            self.address, len(self.data) / 2, REGISTERS_WRITTEN, "registers to write"
        )

    def encode(self) -> bytes:
        count = len(self.data) // 2
        return (
            struct.pack(">BHHB", self.function, self.address, count, len(self.data))
            + self.data
        )


@dataclass(frozen=True)
class MaskWrite(_Echoed):
    """Function 22: register = (register AND and_mask) OR (or_mask AND NOT and_mask)."""

    address: int
    and_mask: int
    or_mask: int
    function: ClassVar[int] = 22
    echoed: ClassVar[int] = 7

    def __post_init__(self) -> None:
        check_span(self.address, 1, 1, "register to write")
        for mask in (self.and_mask, self.or_mask):
            if not 0 <= mask <= 0xFFFF:
                raise OutOfRange(f"mask {mask} is not 0 to 65535")

    def encode(self) -> bytes:
        return struct.pack(
            ">BHHH", self.function, self.address, self.and_mask, self.or_mask
        )

    def apply(self, register: int) -> int:
        """Return the register as it is after the request."""
        return register & self.and_mask | self.or_mask & ~self.and_mask & 0xFFFF


@dataclass(frozen=True)
class ReadWrite:
    """Function 23: write registers, then read registers."""

    address: int
    count: int
    write_address: int
    data: bytes
    function: ClassVar[int] = 23

    def __post_init__(self) -> None:
        check_span(self.address, self.count, REGISTERS_READ, "registers to read")
        check_span(
            self.write_address,
            len(self.data) / 2,
            REGISTERS_EXCHANGED,
            "registers to write",
        )

    def encode(self) -> bytes:
        written = (
            struct.pack(">HHB", self.write_address, len(self.data) // 2, len(self.data))
            + self.data
        )
        return struct.pack(">BHH", self.function, self.address, self.count) + written

    def answer(self, pdu: bytes) -> bytes:
        return counted_data(pdu, 2 * self.count)

    def reply(self, data: bytes) -> bytes:
        """Return the PDU of the answer with these registers."""
        return bytes([self.function, len(data)]) + data

    def length(self, head: bytes) -> int | None:
        return counted(head)
