"""Log that sigrok-cli writes to stderr: its complaints, and where the trigger was.

Source: docs/protocols/instruments.md, 11.
"""

import re

LINE = 4096  # bytes; a longer line is cut
MESSAGES = 8  # lines that are kept: the first ones tell the cause

_PACKET = re.compile(rb"cli: Received SR_DF_LOGIC \(([0-9]{1,12}) bytes, unitsize = ")
_UNIT = re.compile(rb"([0-9]{1,4})\)\.")
_TRIGGER = b"cli: Received SR_DF_TRIGGER."
_DEBUG = re.compile(rb"(?:sr|srd): \[|srd: libsigrokdecode loglevel|cli: Received ")


class ProgressLog:
    """Reads the log as it comes."""

    def __init__(self) -> None:
        self.messages: list[str] = []
        self.left_out = 0  # messages beyond those that are kept
        self.waits = False  # it tells of packets, as it does for a trigger
        self.trigger: int | None = None  # samples before it
        self._samples = 0
        self._rest = b""

    def feed(self, data: bytes) -> None:
        """Take a piece of it."""
        *lines, rest = data.split(b"\n")
        for line in lines:
            self._line((self._rest + line)[:LINE])
            self._rest = b""
        self._rest = (self._rest + rest[:LINE])[:LINE]

    def close(self) -> None:
        """Take the last line, which may have no end."""
        self._line(self._rest)
        self._rest = b""

    def _line(self, line: bytes) -> None:
        packet = _PACKET.match(line)
        if packet:
            unit = _UNIT.match(line, packet.end())
            size = int(unit[1]) if unit else 0
            self._samples += int(packet[1]) // max(size, 1)
        elif line.startswith(_TRIGGER) and self.trigger is None:
            self.trigger = self._samples
        elif line.startswith(b"cli: Received SR_DF_HEADER"):
            self.waits = True
        elif line.strip() and not _DEBUG.match(line):
            self._keep(line.decode(errors="replace").strip())

    def _keep(self, message: str) -> None:
        if len(self.messages) < MESSAGES:
            self.messages.append(message)
        else:
            self.left_out += 1
