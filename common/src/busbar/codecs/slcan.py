"""The ASCII protocol of serial CAN adapters (Lawicel, CANable).

Lines that end with a carriage return.

t iii l dd.. standard, T iiiiiiii l dd.. extended, r and R remote, d D b B (CANable 2)
CAN FD without and with bit rate switch, whose length is a data length code. Source:
LAWICEL CANUSB manual, 2; python-can's slcan for the FD letters.
"""

import re

from busbar.codecs.can import (
    BRS,
    EXTENDED,
    EXTENDED_IDS,
    FD,
    FD_LENGTHS,
    REMOTE,
    STANDARD_IDS,
    Frame,
)
from busbar.errors import OutOfRange

_RATES = (10000, 20000, 50000, 100000, 125000, 250000, 500000, 800000, 1000000)
# the manual's S7, and that of others
BITRATES = {rate: code for code, rate in enumerate(_RATES)} | {750000: 7}
DATA_BITRATES = {2000000: 2, 5000000: 5}
LINE_LIMIT = 256  # bytes; the longest line is 1 + 8 + 1 + 128 + 4 of a time stamp
_LINE = re.compile(rb"[tTrRdDbBx][0-9A-Fa-f]+")

_FLAGS = {
    ord("t"): 0,
    ord("T"): EXTENDED,
    ord("r"): REMOTE,
    ord("R"): EXTENDED | REMOTE,
    ord("d"): FD,
    ord("D"): FD | EXTENDED,
    ord("b"): FD | BRS,
    ord("B"): FD | BRS | EXTENDED,
}
_LETTERS = {flags: chr(letter) for letter, flags in _FLAGS.items()}
_CODES = {length: f"{code:X}" for code, length in enumerate(FD_LENGTHS)}
_FLAGS[ord("x")] = EXTENDED  # CANDapter


def opening(
    bitrate: int | None, data_bitrate: int | None = None, listen_only: bool = False
) -> bytes:
    """Return the commands that open the channel.

    Raise OutOfRange for a bit rate that adapters do not know.
    """
    lines = [b"C"]
    for rate, known, letter in (
        (bitrate, BITRATES, "S"),
        (data_bitrate, DATA_BITRATES, "Y"),
    ):
        if rate is not None and rate not in known:
            allowed = ", ".join(map(str, known))
            raise OutOfRange(
                f"bitrate: an slcan adapter has no {rate} bit/s; allowed: {allowed}"
            )
        if rate is not None:
            lines.append(f"{letter}{known[rate]}".encode())
    lines.append(b"L" if listen_only else b"O")
    return b"\r".join(lines) + b"\r"


CLOSING = b"C\r"


def encode(frame: Frame) -> bytes:
    """Return the line that sends a frame, or by which an adapter tells of it."""
    flags = frame.flags & (EXTENDED | REMOTE | FD | BRS)
    id_ = f"{frame.id:08X}" if flags & EXTENDED else f"{frame.id:03X}"
    return f"{_LETTERS[flags]}{id_}{_CODES[frame.length]}{frame.data.hex().upper()}\r".encode()


def decode(line: bytes, time: float = 0.0) -> Frame | None:
    """Return the frame of a line without its end, None for anything else."""
    if not _LINE.fullmatch(line):
        return None
    flags = _FLAGS[line[0]]
    start, highest = (9, EXTENDED_IDS) if flags & EXTENDED else (4, STANDARD_IDS)
    try:
        id_, code = int(line[1:start], 16), int(line[start : start + 1], 16)
        length = FD_LENGTHS[code] if flags & FD else code
        digits = b"" if flags & REMOTE else line[start + 1 : start + 1 + 2 * length]
        data = bytes.fromhex(digits.decode())
    except ValueError:
        return None
    whole = length <= 8 or flags & FD
    if len(data) != (0 if flags & REMOTE else length) or not whole or id_ > highest:
        return None
    return Frame(time, id_, flags, length, data)


class Reader:
    """Frames in what an adapter sends.

    What is none is an answer to a command, or skipped.
    """

    def __init__(self) -> None:
        self.skipped = 0  # lines that mean nothing
        # commands and frames of ours that the adapter did not take: it says BEL
        self.refused = 0
        # the first answer is to closing a channel that may have been closed
        self._answered = False
        self._buffer = b""

    def feed(self, data: bytes, time: float) -> list[Frame]:
        """Take bytes; return the frames that are whole now."""
        *lines, self._buffer = (
            (self._buffer + data).replace(b"\a", b"\a\r").split(b"\r")
        )
        if len(self._buffer) > LINE_LIMIT:
            self.skipped += 1
            self._buffer = b""
        frames = []
        for line in lines:
            frame = decode(line, time)
            if frame is not None:
                frames.append(frame)
            elif not line or line.endswith(b"\a"):
                self.refused += bool(line) and self._answered
                self._answered = True
            elif line[0] not in b"zZVvNFCSOL":
                # acknowledgements, version, serial number, status, echoes
                self.skipped += 1
        return frames
