"""Header of a FITS file, and where its pixels are.

Source: FITS standard 4.0, sections 3 and 4.
"""

import math
from dataclasses import dataclass

CARD = 80  # bytes
BLOCK = 2880  # bytes
BLOCKS = 36  # of a header that are looked at: 1296 cards
CARDS = 300  # that are kept
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
        planes = self._count("NAXIS3") if axes > 2 else 1
        return (self._count("NAXIS1"), self._count("NAXIS2"), planes)

    def _count(self, key: str) -> int:
        value = self.cards.get(key)
        if isinstance(value, float | int) and 0 <= value < 2**31:
            return int(value)
        return 0


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
    if "." in text or not number.is_integer() or abs(number) >= 2**63:
        return number
    return int(number)
