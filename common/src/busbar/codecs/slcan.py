"""ASCII protocol of serial CAN adapters (Lawicel, CANable).

Its lines end with a carriage return:
t iii l dd.. standard, T iiiiiiii l dd.. extended, r and R remote, d D b B (CANable 2)
CAN FD without and with bit rate switch, whose length is a data length code. Source:
LAWICEL CANUSB manual, 2; python-can's slcan for the FD letters.
"""

import re

from busbar.codecs.can import (
    BRS,
    CLASSIC_BYTES,
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

_LETTERS = {
    0: "t",
    EXTENDED: "T",
    REMOTE: "r",
    EXTENDED | REMOTE: "R",
    FD: "d",
    FD | EXTENDED: "D",
    FD | BRS: "b",
    FD | BRS | EXTENDED: "B",
}
_FLAGS = {ord(letter): flags for flags, letter in _LETTERS.items()}
_FLAGS[ord("x")] = EXTENDED  # CANDapter
_CODES = {length: f"{code:X}" for code, length in enumerate(FD_LENGTHS)}
# acknowledgements, version, serial number, status, echoes
_ANSWERS = b"zZVvNFCSOL"


def opening(
    bitrate: int | None, data_bitrate: int | None = None, listen_only: bool = False
) -> bytes:
    """Return the commands that open the channel.

    Raise OutOfRange for a bit rate that adapters do not know.
    """
    lines = ["C"]
    if bitrate is not None:
        lines.append(f"S{_code(bitrate, BITRATES)}")
    if data_bitrate is not None:
        lines.append(f"Y{_code(data_bitrate, DATA_BITRATES)}")
    lines.append("L" if listen_only else "O")
    return "".join(f"{line}\r" for line in lines).encode()


CLOSING = b"C\r"


def _code(rate: int, known: dict[int, int]) -> int:
    if rate not in known:
        allowed = ", ".join(map(str, known))
        raise OutOfRange(
            f"bitrate: an slcan adapter has no {rate} bit/s; allowed: {allowed}"
        )
    return known[rate]


def encode(frame: Frame) -> bytes:
    """Return the line of a frame, which is the same in both directions."""
    flags = frame.flags & (EXTENDED | REMOTE | FD | BRS)
    id_ = f"{frame.id:08X}" if flags & EXTENDED else f"{frame.id:03X}"
    length = _CODES[frame.length]
    data = frame.data.hex().upper()
    return f"{_LETTERS[flags]}{id_}{length}{data}\r".encode()


def decode(line: bytes, time: float = 0.0) -> Frame | None:
    """Return the frame of a line without its end, None for anything else."""
    if not _LINE.fullmatch(line):
        return None
    flags = _FLAGS[line[0]]
    if flags & EXTENDED:
        start = 9  # of the length
        highest = EXTENDED_IDS
    else:
        start = 4
        highest = STANDARD_IDS
    try:
        id_ = int(line[1:start], 16)
        length = int(line[start : start + 1], 16)
        if flags & FD:
            length = FD_LENGTHS[length]
        elif length > CLASSIC_BYTES:
            return None
        if flags & REMOTE:
            data = b""
        else:
            digits = line[start + 1 : start + 1 + 2 * length]
            data = bytes.fromhex(digits.decode())
            if len(data) != length:
                return None
    except ValueError:
        return None
    if id_ > highest:
        return None
    return Frame(time, id_, flags, length, data)


class SlcanReader:
    """Frames in what an adapter sends; other lines are answers, or skipped."""

    def __init__(self) -> None:
        self.skipped = 0  # lines that mean nothing
        # commands and frames of ours that the adapter has answered with BEL
        self.refused = 0
        # the first answer is to closing a channel that may have been closed
        self._answered = False
        self._buffer = b""

    def feed(self, data: bytes, time: float) -> list[Frame]:
        """Take bytes; return the frames that are whole now."""
        text = (self._buffer + data).replace(b"\a", b"\a\r")
        *lines, self._buffer = text.split(b"\r")
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
            elif line[0] not in _ANSWERS:
                self.skipped += 1
        return frames
