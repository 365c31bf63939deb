"""Header of a FITS file, and where its pixels are.

Source: FITS standard 4.0, sections 3 and 4.
"""

import math
from dataclasses import dataclass

CARD = 80  # bytes
BLOCK = 2880  # bytes
BLOCKS = 36  # of a header that are looked at: 1296 cards
CARDS = 300  # that are kept
_MOST = 2**31  # pixels of an axis
_LARGEST_INTEGER = 2**63
_STRUCTURAL = {"COMMENT", "HISTORY", "END", ""}

CardValue = str | float | bool | None


@dataclass(frozen=True)
class FitsHeader:
    """Cards of a header, and its size (bytes) with the padding."""

    cards: dict[str, CardValue]
    size: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """Width, height, planes; 0 where it has none."""
        axes = self._count("NAXIS")
        if axes < 2:
            return (0, 0, 0)
        width = self._count("NAXIS1")
        height = self._count("NAXIS2")
        if axes == 2:
            return (width, height, 1)
        return (width, height, self._count("NAXIS3"))

    @property
    def bitpix(self) -> int:
        """Bits of a pixel, negative for floats; 0 if it is missing."""
        bits = self.cards.get("BITPIX")
        if isinstance(bits, int | float) and bits == int(bits):
            return int(bits)
        return 0

    @property
    def data_size(self) -> int:
        """Bytes of all pixels."""
        width, height, planes = self.shape
        pixels = width * height * planes
        return pixels * abs(self.bitpix) // 8

    def _count(self, key: str) -> int:
        value = self.cards.get(key)
        if not isinstance(value, float | int):
            return 0
        return int(value) if 0 <= value < _MOST else 0


def read_header(data: bytes) -> FitsHeader | None:
    """Return the header at the start of `data`, None if there is none."""
    if not data.startswith(b"SIMPLE  ="):
        return None
    cards: dict[str, CardValue] = {}
    looked_at = min(len(data), BLOCK * BLOCKS)
    for start in range(0, looked_at - CARD + 1, CARD):
        end = start + CARD
        card = data[start:end].decode("ascii", "replace")
        key = card[:8].rstrip()
        if key == "END":
            return FitsHeader(cards, math.ceil(end / BLOCK) * BLOCK)
        has_value = key not in _STRUCTURAL and card[8:10] == "= "
        if has_value and len(cards) < CARDS:
            cards[key] = _value(card[10:])
    return None


def _value(text: str) -> CardValue:
    text = text.strip()
    if text.startswith("'"):
        return _text(text)
    plain = text.partition("/")[0].strip()
    if plain in ("T", "F"):
        return plain == "T"
    if not plain.isascii() or "_" in plain:  # float() would read some of them
        return plain
    try:
        number = float(plain.replace("D", "E"))
    except ValueError:
        return plain or None
    return _number(plain, number)


def _text(quoted: str) -> str:
    end = quoted.replace("''", "\0\0").find("'", 1)
    if end <= 0:
        end = len(quoted)
    return quoted[1:end].replace("''", "'").rstrip()


def _number(text: str, number: float) -> float | None:
    """Return a number as JSON has it: an integer if it is one, None if infinite."""
    if not math.isfinite(number):
        return None
    whole = number.is_integer() and "." not in text
    if whole and abs(number) < _LARGEST_INTEGER:
        return int(number)
    return number
