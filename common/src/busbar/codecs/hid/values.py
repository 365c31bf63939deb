"""Values in reports: bits to numbers and back, the unit and scale of a field.

Source: docs/protocols/hid.md, 3.
"""

from typing import NamedTuple

from busbar.codecs.hid.descriptor import ReportField
from busbar.errors import OutOfRange, ProtocolError


def read_bits(data: bytes, offset: int, size: int, signed: bool = False) -> int:
    """Return the number in some bits, least significant first.

    Raise ProtocolError where the report is too short.
    """
    end = offset + size
    if end > len(data) * 8:
        raise ProtocolError(
            f"a report of {len(data)} bytes has no bits {offset} to {end - 1}"
        )
    chunk = int.from_bytes(data[offset // 8 : (end + 7) // 8], "little")
    value = chunk >> offset % 8 & (1 << size) - 1
    return value - (1 << size) if signed and value >> size - 1 else value


def write_bits(
    data: bytearray, offset: int, size: int, value: int, signed: bool = False
) -> None:
    """Write a number into some bits; raise OutOfRange where it has more."""
    least = -(1 << size - 1) if signed else 0
    most = (1 << size - 1) - 1 if signed else (1 << size) - 1
    if not least <= value <= most:
        raise OutOfRange(
            f"{value} does not fit {size} bits; allowed: {least} to {most}"
        )
    first, end = offset // 8, (offset + size + 7) // 8
    if end > len(data):
        raise ProtocolError(
            f"a report of {len(data)} bytes has no bits {offset} to {offset + size - 1}"
        )
    mask = (1 << size) - 1 << offset % 8
    chunk = int.from_bytes(data[first:end], "little") & ~mask
    chunk |= (value & (1 << size) - 1) << offset % 8
    data[first:end] = chunk.to_bytes(end - first, "little")


class Scale(NamedTuple):
    """From the number in a report to what it measures, and back."""

    minimum: int  # the least number
    physical_minimum: int
    numerator: int  # of the slope
    denominator: int
    power: int  # of ten
    factor: float  # of units that are no power of ten
    unit: str | None

    @property
    def integral(self) -> bool:
        """Whether whole numbers measure whole units."""
        straight = self.numerator == self.denominator and self.factor == 1.0
        return straight and self.power >= 0

    def value(self, raw: int) -> int | float:
        """Return what a number measures."""
        if self.integral:
            shifted = raw - self.minimum + self.physical_minimum
            return shifted * int(10**self.power)
        value: float = (raw - self.minimum) * self.numerator
        value = value / self.denominator + self.physical_minimum
        if self.power >= 0:
            return value * 10.0**self.power * self.factor
        return value / 10.0**-self.power * self.factor

    def raw(self, value: float) -> int:
        """Return the number for a value, the nearest one."""
        value = value / self.factor
        if self.power >= 0:
            value = value / 10.0**self.power
        else:
            value = value * 10.0**-self.power
        value = (value - self.physical_minimum) * self.denominator
        return round(value / self.numerator) + self.minimum


def scale(field: ReportField) -> Scale:
    """Return the scale of a field."""
    least, most = field.logical
    physical_least, physical_most = field.physical
    span = physical_most - physical_least
    known = unit(field.unit)
    power = field.exponent + known.power
    if span == 0 or most == least or span == most - least:
        shift = physical_least - least if span else 0
        return Scale(0, shift, 1, 1, power, known.factor, known.symbol)
    return Scale(
        least, physical_least, span, most - least, power, known.factor, known.symbol
    )


class Unit(NamedTuple):
    """A unit of SI, and what one of the descriptor's is in it."""

    symbol: str | None
    power: int = 0  # of ten
    factor: float = 1.0


# length, mass, time, temperature, current, luminous intensity
_SYMBOLS = {
    (1, 0, 0, 0, 0, 0): "m",
    (0, 1, 0, 0, 0, 0): "kg",
    (0, 0, 1, 0, 0, 0): "s",
    (0, 0, 0, 1, 0, 0): "K",
    (0, 0, 0, 0, 1, 0): "A",
    (0, 0, 0, 0, 0, 1): "cd",
    (0, 0, -1, 0, 0, 0): "Hz",
    (0, 0, 1, 0, 1, 0): "As",
    (1, 0, -1, 0, 0, 0): "m/s",
    (1, 0, -2, 0, 0, 0): "m/s²",
    (1, 1, -2, 0, 0, 0): "N",
    (-1, 1, -2, 0, 0, 0): "Pa",
    (2, 1, -2, 0, 0, 0): "J",
    (2, 1, -3, 0, 0, 0): "W",
    (2, 1, -3, 0, -1, 0): "V",
    (2, 1, -3, 0, -2, 0): "Ω",
    (0, 1, -2, 0, -1, 0): "T",
    (-2, 0, 0, 0, 0, 1): "lx",
}
_ROTATION = {(1, 0, 0): "rad", (1, 0, -1): "rad/s", (1, 0, -2): "rad/s²"}
_DEGREES = {(1, 0, 0): "°", (1, 0, -1): "°/s", (1, 0, -2): "°/s²"}
_INCH, _SLUG = 0.0254, 14.59390294
_SI, _SI_ROTATION = 1, 2
_ENGLISH, _ENGLISH_ROTATION = 3, 4


def unit(code: int) -> Unit:
    """Return what a unit code stands for; one that no table has is no unit."""
    system = code & 0xF
    nibbles = [code >> shift & 0xF for shift in range(4, 28, 4)]
    powers = tuple((each ^ 8) - 8 for each in nibbles)  # four bits with a sign
    length, mass, time = powers[:3]
    turned = (length, mass, time)
    if not any(powers):
        return Unit(None)
    if system == _SI_ROTATION and not any(powers[3:]):
        return Unit(_ROTATION.get(turned))
    if system == _ENGLISH_ROTATION and not any(powers[3:]):
        return Unit(_DEGREES.get(turned))
    if powers not in _SYMBOLS or system not in (_SI, _ENGLISH):
        return Unit(None)
    symbol = _SYMBOLS[powers]
    if system == _SI:
        return Unit(symbol, -2 * length - 3 * mass)
    if symbol == "K":
        return Unit("°F")
    return Unit(symbol, 0, _INCH**length * _SLUG**mass)
