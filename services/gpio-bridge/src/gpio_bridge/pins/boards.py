"""Raspberry Pi boards: their revision codes, and the lines of their headers.

RPIO's own table is wrong at pins 22 and 24 of the 40-pin header; correct here.

Source: docs/protocols/gpio.md, 2.1 and 2.2
"""

from collections.abc import Mapping
from dataclasses import dataclass

REVISION_1 = {
    3: 0,
    5: 1,
    7: 4,
    8: 14,
    10: 15,
    11: 17,
    12: 18,
    13: 21,
    15: 22,
    16: 23,
    18: 24,
    19: 10,
    21: 9,
    22: 25,
    23: 11,
    24: 8,
    26: 7,
}
REVISION_2 = REVISION_1 | {3: 2, 5: 3, 13: 27}
HEADER_40 = REVISION_2 | {
    29: 5,
    31: 6,
    32: 12,
    33: 13,
    35: 19,
    36: 16,
    37: 26,
    38: 20,
    40: 21,
}
# lines on the second header of revision 2: they have no BOARD number
P5 = (28, 29, 30, 31)

_MODELS = {
    0x00: "A",
    0x01: "B",
    0x02: "A+",
    0x03: "B+",
    0x04: "2B",
    0x05: "Alpha",
    0x06: "CM1",
    0x08: "3B",
    0x09: "Zero",
    0x0A: "CM3",
    0x0C: "Zero W",
    0x0D: "3B+",
    0x0E: "3A+",
    0x10: "CM3+",
    0x11: "4B",
    0x12: "Zero 2 W",
    0x13: "400",
    0x14: "CM4",
    0x15: "CM4S",
    0x17: "5",
    0x18: "CM5",
    0x19: "500",
    0x1A: "CM5 Lite",
}
_MAKERS = dict(
    enumerate(("Sony UK", "Egoman", "Embest", "Sony Japan", "Embest", "Stadium"))
)
_PROCESSORS = dict(enumerate(("BCM2835", "BCM2836", "BCM2837", "BCM2711", "BCM2712")))
_OLD = {  # codes of one number each: model, revision of the board, MB, maker
    0x02: ("B", "1.0", 256, "Egoman"),
    0x03: ("B", "1.0", 256, "Egoman"),
    0x04: ("B", "2.0", 256, "Sony UK"),
    0x05: ("B", "2.0", 256, "Qisda"),
    0x06: ("B", "2.0", 256, "Egoman"),
    0x07: ("A", "2.0", 256, "Egoman"),
    0x08: ("A", "2.0", 256, "Sony UK"),
    0x09: ("A", "2.0", 256, "Qisda"),
    0x0D: ("B", "2.0", 512, "Egoman"),
    0x0E: ("B", "2.0", 512, "Sony UK"),
    0x0F: ("B", "2.0", 512, "Egoman"),
    0x10: ("B+", "1.2", 512, "Sony UK"),
    0x11: ("CM1", "1.0", 512, "Sony UK"),
    0x12: ("A+", "1.1", 256, "Sony UK"),
    0x13: ("B+", "1.2", 512, "Embest"),
    0x14: ("CM1", "1.0", 512, "Embest"),
    0x15: ("A+", "1.1", 256, "Embest"),
}
_NEW = 1 << 23
_WARRANTY = 0x3000000


@dataclass(frozen=True)
class Board:
    """One board, as its revision code says; what the code does not say is None."""

    code: int
    model: str | None = None
    revision: str | None = None  # of the printed board
    memory: int | None = None  # MB
    maker: str | None = None
    processor: str | None = None

    @property
    def generation(self) -> int:
        """Which header it has, as RPIO counts: 1 and 2 have 26 pins, 3 has 40."""
        if self.model not in ("A", "B"):
            return 3
        return 1 if self.revision == "1.0" else 2

    @property
    def pins(self) -> Mapping[int, int]:
        """The lines of the header: BOARD number -> BCM number."""
        return {1: REVISION_1, 2: REVISION_2, 3: HEADER_40}[self.generation]

    @property
    def lines(self) -> tuple[int, ...]:
        """The BCM numbers that are on a header."""
        lines = set(self.pins.values())
        if self.generation == 2:
            lines.update(P5)
        return tuple(sorted(lines))

    @property
    def title(self) -> str:
        model = self.model or f"of the unknown revision {self.code:x}"
        return f"Raspberry Pi {model}"


def board(code: int) -> Board:
    """Return what a revision code says.

    A code that is newer than this table costs its names only.
    """
    if code & _NEW:
        return _new_style(code)
    known = _OLD.get(code & ~_WARRANTY & 0xFFFF)
    if known is None:
        return Board(code)
    return Board(code, *known, "BCM2835")


def _new_style(code: int) -> Board:
    minor = code & 0xF
    model = (code >> 4) & 0xFF
    processor = (code >> 12) & 0xF
    maker = (code >> 16) & 0xF
    memory = (code >> 20) & 0x7
    return Board(
        code,
        _MODELS.get(model),
        f"1.{minor}",
        256 << memory,
        _MAKERS.get(maker),
        _PROCESSORS.get(processor),
    )
