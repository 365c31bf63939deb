"""The framing of the USR-CANET200 on TCP: 13 bytes a frame, classic CAN only.

Byte 0: extended 0x80, remote 0x40, data length code; 1-4: identifier, big endian; 5-12:
data, zero padded. Source: reference 1.7, with vectors.
"""

import struct

from busbar.codecs.can import EXTENDED, FD, REMOTE, STANDARD_IDS, Frame
from busbar.errors import BadRequest, ProtocolError

SIZE = 13  # bytes
# records in a row that cannot be: the stream is out of step, or another protocol
GARBAGE_LIMIT = 3
_RECORD = struct.Struct(">BI8s")
_RESERVED = 0x30


def encode(frame: Frame) -> bytes:
    """Return the record of a frame; raise BadRequest for CAN FD."""
    if frame.flags & FD:
        raise BadRequest("fd: a USR-CANET200 has no CAN FD")
    head = (
        (0x80 if frame.flags & EXTENDED else 0)
        | (0x40 if frame.flags & REMOTE else 0)
        | frame.length
    )
    return _RECORD.pack(head, frame.id, frame.data)


class Reader:
    """Frames in the stream.

    A record that cannot be is skipped, several in a row raise ProtocolError.
    """

    def __init__(self) -> None:
        self.skipped = 0
        self.refused = 0  # it does not tell
        self._buffer = b""
        self._garbage = 0

    def feed(self, data: bytes, time: float) -> list[Frame]:
        """Take bytes; return the frames that are whole now."""
        data = self._buffer + data
        whole = len(data) // SIZE * SIZE
        self._buffer = data[whole:]
        frames = [
            self._frame(record, time) for record in _RECORD.iter_unpack(data[:whole])
        ]
        return [frame for frame in frames if frame is not None]

    def _frame(self, record: tuple[int, int, bytes], time: float) -> Frame | None:
        head, id_, data = record
        extended, remote, length = head >> 7, head & 0x40, head & 0x0F
        if (
            head & _RESERVED
            or length > 8
            or id_ > (0x1FFFFFFF if extended else STANDARD_IDS)
        ):
            self.skipped += 1
            self._garbage += 1
            if self._garbage >= GARBAGE_LIMIT:
                self._garbage = 0
                raise ProtocolError(
                    f"{GARBAGE_LIMIT} records in a row are no CAN frames: is it a "
                    f"USR-CANET200?"
                )
            return None
        self._garbage = 0
        flags = EXTENDED * extended | (REMOTE if remote else 0)
        return Frame(time, id_, flags, length, b"" if remote else data[:length])
