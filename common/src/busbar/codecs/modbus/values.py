"""Values in registers: numbers, text, BCD, raw bytes, in any order of bytes and words.

Bit 0 is the lowest.

Source: MODBUS Application Protocol Specification V1.1b3, 4.2 (a register is big
endian); the four orders are those that data sheets write as ABCD, DCBA, BADC and CDAB,
with the names of Modbus Poll.
"""

import math
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, Protocol

from busbar.errors import OutOfRange, ProtocolError

Order = Literal["big", "little", "big_swap", "little_swap"]
Number = Literal[
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
]
Encoding = Literal["ascii", "utf-8", "latin1", "utf-16-be"]


class Codec(Protocol):
    """One type of value in registers."""

    @property
    def registers(self) -> int:
        """How many it takes."""

    def decode(self, data: bytes) -> Any:
        """Return the value in the bytes of the registers.

        Raise ProtocolError where there is none.
        """

    def encode(self, value: Any) -> bytes:
        """Return the bytes of the registers; raise OutOfRange."""


def ordered(data: bytes, order: Order) -> bytes:
    """Return bytes between the order of the device and big endian.

    It is its own inverse.

    big ABCD, little DCBA, big_swap BADC (bytes swapped within words), little_swap CDAB
    (words swapped).
    """
    if order == "big":
        return data
    if order in ("little", "little_swap"):
        data = data[::-1]
    if order in ("big_swap", "little_swap"):
        data = b"".join(data[at : at + 2][::-1] for at in range(0, len(data), 2))
    return data


@dataclass(frozen=True)
class Plain:
    """An integer or a float of IEEE 754."""

    type: Number
    order: Order = "big"

    @property
    def registers(self) -> int:
        return (self._bits + 15) // 16

    @property
    def bounds(self) -> tuple[int, int] | None:
        """The least and the greatest value; None for a float."""
        if self.type.startswith("float"):
            return None
        bits = self._bits
        if self.type.startswith("u"):
            return 0, 2**bits - 1
        half = 2 ** (bits - 1)
        return -half, half - 1

    def decode(self, data: bytes) -> int | float:
        """Return the number.

        Of a short float the decimal with the fewest digits: 22.1, not
        22.100000381469727.
        """
        raw = ordered(data, self.order)
        if self.type not in _FORMATS:
            low = raw[-(self._bits // 8) :]
            return int.from_bytes(low, "big", signed=self._signed)
        number: int | float = _FORMATS[self.type].unpack(raw)[0]
        if isinstance(number, int) or number.is_integer():
            return number
        for short in self._shorter(number):
            if _FORMATS[self.type].pack(short) == raw:
                return short
        return number

    def encode(self, value: float) -> bytes:
        try:
            return ordered(self._packed(value), self.order)
        except (struct.error, OverflowError) as error:
            raise OutOfRange(f"{value} does not fit {self.type}") from error

    @property
    def _bits(self) -> int:
        return int(self.type.lstrip("uintfloa"))

    @property
    def _signed(self) -> bool:
        return not self.type.startswith("u")

    def _packed(self, value: float) -> bytes:
        if self.type in _FORMATS:
            return _FORMATS[self.type].pack(value)
        own = int(value).to_bytes(self._bits // 8, "big", signed=self._signed)
        filler = b"\xff" if value < 0 else b"\0"
        return own.rjust(2 * self.registers, filler)

    def _shorter(self, number: float) -> Iterator[float]:
        return (float(f"{number:.{digits}g}") for digits in _DIGITS.get(self.type, ()))


@dataclass(frozen=True)
class Bcd:
    """Binary coded decimals, four digits in a register."""

    type: Number
    order: Order = "big"

    @property
    def registers(self) -> int:
        return int(self.type[3:]) // 16

    @property
    def bounds(self) -> tuple[int, int]:
        return 0, int(10 ** (4 * self.registers)) - 1

    def decode(self, data: bytes) -> int:
        digits = ordered(data, self.order).hex()
        if not digits.isdecimal():
            raise ProtocolError(f"{digits} is not {self.type}")
        return int(digits)

    def encode(self, value: int) -> bytes:
        if not 0 <= value <= self.bounds[1]:
            raise OutOfRange(
                f"{value} does not fit {self.type}; allowed: 0 to {self.bounds[1]}"
            )
        digits = str(value).zfill(4 * self.registers)
        return ordered(bytes.fromhex(digits), self.order)


@dataclass(frozen=True)
class Modulo:
    """A counter of four decimal digits in each register, as energy meters have it."""

    type: Number
    order: Order = "big"

    @property
    def registers(self) -> int:
        return int(self.type.removeprefix("mod10k")) // 16

    @property
    def bounds(self) -> tuple[int, int]:
        return 0, int(10 ** (4 * self.registers)) - 1

    def decode(self, data: bytes) -> int:
        raw = ordered(data, self.order)
        value = 0
        for at in range(0, len(raw), 2):
            digits = int.from_bytes(raw[at : at + 2], "big")
            if digits > 9999:
                raise ProtocolError(f"{raw.hex()} is not {self.type}")
            value = value * 10_000 + digits
        return value

    def encode(self, value: int) -> bytes:
        if not 0 <= value <= self.bounds[1]:
            raise OutOfRange(
                f"{value} does not fit {self.type}; allowed: 0 to {self.bounds[1]}"
            )
        raw = b""
        for _ in range(self.registers):
            value, digits = divmod(value, 10_000)
            raw = digits.to_bytes(2, "big") + raw
        return ordered(raw, self.order)


@dataclass(frozen=True)
class Instant:
    """A date and time as text, `2026-05-01T12:00:00`.

    `unix32`: seconds since 1970 in UTC, shown with Z. `datetime`: year (from 2000 on
    where it is below 100), month, day, hour, minute and second, a register each, by the
    clock of the unit.
    """

    type: Literal["unix32", "datetime"]
    order: Order = "big"

    @property
    def registers(self) -> int:
        return 2 if self.type == "unix32" else 6

    def decode(self, data: bytes) -> str:
        if self.type == "unix32":
            seconds = int.from_bytes(ordered(data, self.order), "big")
            return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}Z"
        words = struct.unpack(">6H", data)
        year = words[0] + 2000 if words[0] < 100 else words[0]
        try:
            return datetime(year, *words[1:]).isoformat()
        except ValueError as error:
            raise ProtocolError(f"{words} is no date and time: {error}") from error

    def encode(self, value: str) -> bytes:
        try:
            moment = datetime.fromisoformat(value)
        except ValueError as error:
            raise OutOfRange(f"{value!r:.60} is no date and time") from error
        if self.type == "datetime":
            return struct.pack(">6H", *moment.timetuple()[:6])
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        try:
            return ordered(struct.pack(">I", int(moment.timestamp())), self.order)
        except struct.error as error:
            raise OutOfRange(f"{value} does not fit unix32") from error


@dataclass(frozen=True)
class Ipv4:
    """An address of IPv4 in two registers."""

    registers: int = 2

    def decode(self, data: bytes) -> str:
        return ".".join(map(str, data))

    def encode(self, value: str) -> bytes:
        parts = value.split(".")
        good = [part.isascii() and part.isdecimal() for part in parts]
        if len(parts) != 4 or not all(good) or max(map(int, parts)) > 255:
            raise OutOfRange(f"{value!r:.60} is no IPv4 address")
        return bytes(map(int, parts))


@dataclass(frozen=True)
class Text:
    """Text, two bytes in a register; with `swapped` the second byte first.

    Blanks and NULs around it are padding, in any mix.
    """

    registers: int
    encoding: Encoding = "ascii"
    padding: bytes = b"\0"
    swapped: bool = False

    def decode(self, data: bytes) -> str:
        raw = ordered(data, "big_swap") if self.swapped else data
        size = len("\0".encode(self.encoding))
        units = [raw[at : at + size] for at in range(0, len(raw), size)]
        blanks = (" ".encode(self.encoding), bytes(size))
        start = next(
            (at for at, unit in enumerate(units) if unit not in blanks), len(units)
        )
        end = next(
            (at for at in range(start, len(units)) if not any(units[at])), len(units)
        )
        text = b"".join(units[start:end])  # behind a nul may be anything
        try:
            return text.decode(self.encoding).rstrip(" \0")
        except UnicodeDecodeError as error:
            raise ProtocolError(f"{text[:40]!r} is not {self.encoding} text") from error

    def encode(self, value: str) -> bytes:
        try:
            raw = value.encode(self.encoding)
            padding = self.padding.decode().encode(self.encoding)
        except UnicodeEncodeError as error:
            raise OutOfRange(
                f"{value!r:.60} cannot be encoded as {self.encoding}"
            ) from error
        room = 2 * self.registers
        if len(raw) > room:
            raise OutOfRange(
                f"{value!r:.60} has {len(raw)} bytes as {self.encoding}; there is "
                f"room for {room}"
            )
        raw += padding * ((room - len(raw)) // len(padding))
        return ordered(raw, "big_swap") if self.swapped else raw


@dataclass(frozen=True)
class Bytes:
    """Registers as they are on the wire."""

    registers: int

    def decode(self, data: bytes) -> bytes:
        return data

    def encode(self, value: bytes) -> bytes:
        if len(value) != 2 * self.registers:
            raise OutOfRange(
                f"{len(value)} bytes; {self.registers} registers have "
                f"{2 * self.registers}"
            )
        return value


@dataclass(frozen=True)
class Field:
    """`width` bits of one register from `bit` on; a value of one bit is a boolean."""

    bit: int
    width: int = 1
    registers: int = 1

    @property
    def mask(self) -> int:
        return ((1 << self.width) - 1) << self.bit

    @property
    def bounds(self) -> tuple[int, int]:
        return 0, (1 << self.width) - 1

    def decode(self, data: bytes) -> int | bool:
        value = (int.from_bytes(data, "big") & self.mask) >> self.bit
        return bool(value) if self.width == 1 else value

    def encode(self, value: int) -> bytes:
        """Return the register with this field and zeros around it."""
        if not 0 <= value <= self.bounds[1]:
            raise OutOfRange(
                f"{value} does not fit {self.width} bits; allowed: 0 to "
                f"{self.bounds[1]}"
            )
        return (int(value) << self.bit).to_bytes(2, "big")


@dataclass(frozen=True)
class Scaled:
    """value = raw * scale + offset; an integer is rounded when it is written."""

    raw: Plain | Bcd | Modulo | Field
    scale: float = 1.0
    offset: float = 0.0

    @property
    def registers(self) -> int:
        return self.raw.registers

    @property
    def bounds(self) -> tuple[float, float] | None:
        """The least and the greatest value; None for a float."""
        if self.raw.bounds is None:
            return None
        first, second = (self._value(bound) for bound in self.raw.bounds)
        return min(first, second), max(first, second)

    def decode(self, data: bytes) -> float:
        return self._value(self.raw.decode(data))

    def encode(self, value: float) -> bytes:
        raw = (value - self.offset) / self.scale
        if not math.isfinite(raw):
            raise OutOfRange(
                f"{value} does not fit: divided by {self.scale:g} it is not finite"
            )
        if isinstance(self.raw, Plain) and self.raw.bounds is None:
            return self.raw.encode(raw)
        return self.raw.encode(round(raw))

    def _value(self, raw: float) -> float:
        value = raw * self.scale + self.offset
        if self.raw.bounds is None or not math.isfinite(value):
            return value
        # 0.3, not 0.30000000000000004
        return round(value, max(_places(self.scale), _places(self.offset)))


def number(type: Number, order: Order = "big") -> Plain | Bcd | Modulo:
    """Return the codec of a number."""
    if type.startswith("mod10k"):
        return Modulo(type, order)
    return Bcd(type, order) if type.startswith("bcd") else Plain(type, order)


def _places(value: float) -> int:
    """Return how many decimal places a number has as it is written."""
    mantissa, _, exponent = repr(float(value)).partition("e")
    places = len(mantissa.partition(".")[2].rstrip("0"))
    return max(0, places - int(exponent or 0))


# so many are always kept, so many always tell all apart
_DIGITS = {"float16": range(3, 6), "float32": range(6, 10)}
_FORMATS: Mapping[str, struct.Struct] = {
    "int16": struct.Struct(">h"),
    "uint16": struct.Struct(">H"),
    "int32": struct.Struct(">i"),
    "uint32": struct.Struct(">I"),
    "int64": struct.Struct(">q"),
    "uint64": struct.Struct(">Q"),
    "float16": struct.Struct(">e"),
    "float32": struct.Struct(">f"),
    "float64": struct.Struct(">d"),
}
