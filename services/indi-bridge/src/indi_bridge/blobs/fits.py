"""The header of a FITS file, and where its pixels are.

Source: FITS standard 4.0, sections 3 and 4.
"""

import math
from dataclasses import dataclass

CARD, BLOCK = 80, 2880  # bytes
BLOCKS = 36  # of a header that are looked at: 1296 cards
CARDS = 300  # that are kept
_STRUCTURAL = {"COMMENT", "HISTORY", "END", ""}

Value = str | float | bool | None


@dataclass(frozen=True)
class Header:
    cards: dict[str, Value]
    size: int  # bytes, with its padding

    @property
    def shape(self) -> tuple[int, int, int]:
        """Width, height, planes; 0 where it has none."""
        sizes = [self._count(f"NAXIS{axis}") for axis in (1, 2, 3)]
        axes = self._count("NAXIS")
        return (
            (sizes[0], sizes[1], sizes[2] if axes > 2 else 1) if axes > 1 else (0, 0, 0)
        )

    def _count(self, key: str) -> int:
        value = self.cards.get(key)
        return (
            int(value) if isinstance(value, float | int) and 0 <= value < 2**31 else 0
        )


def read_header(data: bytes) -> Header | None:
    """Return the header at the start of `data`, None if there is none."""
    if not data.startswith(b"SIMPLE  ="):
        return None
    cards: dict[str, Value] = {}
    for start in range(0, min(len(data), BLOCK * BLOCKS) - CARD + 1, CARD):
        card = data[start : start + CARD].decode("ascii", "replace")
        key = card[:8].rstrip()
        if key == "END":
            return Header(cards, -(-(start + CARD) // BLOCK) * BLOCK)
        if key not in _STRUCTURAL and card[8:10] == "= " and len(cards) < CARDS:
            cards[key] = _value(card[10:])
    return None


def _value(text: str) -> Value:
    text = text.strip()
    if text.startswith("'"):
        end = text.replace("''", "\0\0").find("'", 1)
        return text[1 : end if end > 0 else len(text)].replace("''", "'").rstrip()
    plain = text.partition("/")[0].strip()
    if plain in ("T", "F"):
        return plain == "T"
    try:
        number = float(plain.replace("D", "E"))
    except ValueError:
        return plain or None
    if not math.isfinite(number):
        return None
    return (
        int(number)
        if number.is_integer() and "." not in plain and abs(number) < 2**63
        else number
    )
