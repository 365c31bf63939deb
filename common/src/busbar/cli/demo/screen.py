"""Screen of the demo: plain lines; on a terminal also colour and one live line."""

import os
import shutil
from typing import TextIO

_STYLES = {"bold": "1", "good": "32", "bad": "31", "dim": "2"}
_CLEAR = "\r\x1b[K"


class Screen:
    """One stream.

    Only a terminal gets control sequences, and no colour if NO_COLOR is set.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._terminal = stream.isatty() and os.environ.get("TERM") != "dumb"
        self._colour = self._terminal and not os.environ.get("NO_COLOR")
        self._live = ""

    def line(self, text: str = "") -> None:
        """Print a line above the live one."""
        clear = _CLEAR if self._live else ""
        print(f"{clear}{text}\n{self._live}", end="", file=self._stream, flush=True)

    def live(self, text: str) -> None:
        """Show what goes on instead of what was shown last; only on a terminal."""
        if self._terminal:
            self._live = text[: shutil.get_terminal_size().columns - 1]
            print(f"{_CLEAR}{self._live}", end="", file=self._stream, flush=True)

    def paint(self, text: str, style: str) -> str:
        if not self._colour:
            return text
        return f"\x1b[{_STYLES[style]}m{text}\x1b[0m"
