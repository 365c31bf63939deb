"""Numbering of lines: BCM and BOARD numbers, and the kernel's names."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

from busbar.bridge.errors import OutOfRange, UnknownTarget
from gpio_bridge.pins import boards
from gpio_bridge.pins.boards import Board

Numbering = Literal["BCM", "BOARD", "names", "offset"]
REVISION = Path("/proc/device-tree/system/linux,revision")
CPUINFO = Path("/proc/cpuinfo")
SIMULATED = 0xC03111  # a Pi 4B of 4 GB


def this_board(revision: Path = REVISION, cpuinfo: Path = CPUINFO) -> Board | None:
    """Return the board that this is, None if it is no Raspberry Pi."""
    try:
        return boards.board(int.from_bytes(revision.read_bytes()[:4], "big"))
    except OSError:
        pass
    try:  # kernels before 4.x
        return _board_of_cpuinfo(cpuinfo.read_text(errors="replace"))
    except (OSError, ValueError):
        return None


def _board_of_cpuinfo(text: str) -> Board | None:
    if "Raspberry Pi" not in text:
        return None
    for line in text.splitlines():
        if line.startswith("Revision"):
            return boards.board(int(line.partition(":")[2], 16))
    return None


class Pins:
    """The lines of one chip by all their numbers.

    `names` finds a line by the kernel's name.
    """

    def __init__(
        self,
        numbering: Numbering,
        board: Board | None,
        count: int,
        names: Callable[[str], int],
    ) -> None:
        self.numbering = numbering
        self.board = board
        self.count = count
        self._names = names
        self._pins: Mapping[int, int] = board.pins if board else {}
        self._back = {line: pin for pin, line in self._pins.items()}

    def offset(self, where: int | str, numbering: Numbering | None = None) -> int:
        """Return the line that a number or a name of the kernel means.

        Raise UnknownTarget, OutOfRange.
        """
        if isinstance(where, str):
            return self._names(where)
        numbering = numbering or self.numbering
        if numbering == "BOARD":
            return self._at_pin(where)
        if numbering == "names":
            raise UnknownTarget(
                f"{where} is no name of a line, which numbering: names asks for"
            )
        if not 0 <= where < self.count:
            raise OutOfRange(f"no line {where}; allowed: 0 to {self.count - 1}")
        return where

    def pin(self, offset: int) -> int | None:
        """Return the BOARD number of a line, None where it is not on the header."""
        return self._back.get(offset)

    def header(self) -> list[int]:
        """Return the lines to show: those of the header, or all where there is none."""
        if self.board is None:
            return list(range(self.count))
        return [line for line in self.board.lines if line < self.count]

    def _at_pin(self, pin: int) -> int:
        if self.board is None:
            raise UnknownTarget(
                "this is no Raspberry Pi that is known: it has no BOARD numbers; "
                "give `revision`"
            )
        if pin not in self._pins:
            listed = ", ".join(map(str, sorted(self._pins)))
            raise OutOfRange(
                f"pin {pin} of {self.board.title} is no GPIO line; those are: {listed}"
            )
        return self._pins[pin]
