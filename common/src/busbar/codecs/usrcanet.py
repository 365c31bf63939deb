"""Framing of the USR-CANET200 on TCP: 13 bytes a frame, classic CAN only.

Byte 0: extended 0x80, remote 0x40, data length code; 1-4: identifier, big endian; 5-12:
data, zero padded. Source: docs/protocols/can.md, 5.
"""

import struct

from busbar.codecs.can import (
    CLASSIC_BYTES,
    EXTENDED,
    EXTENDED_IDS,
    FD,
    REMOTE,
    STANDARD_IDS,
    Frame,
)
from busbar.errors import BadRequest, ProtocolError

SIZE = 13  # bytes
# impossible records in a row: the stream is out of step, or of another protocol
GARBAGE_LIMIT = 3
_RECORD = struct.Struct(">BI8s")
_EXTENDED = 0x80
_REMOTE = 0x40
_RESERVED = 0x30
_LENGTH = 0x0F


def encode(frame: Frame) -> bytes:
    """Return the record of a frame; raise BadRequest for CAN FD."""
    if frame.flags & FD:
        raise BadRequest("fd: a USR-CANET200 has no CAN FD")
    head = frame.length
    if frame.flags & EXTENDED:
        head |= _EXTENDED
    if frame.flags & REMOTE:
        head |= _REMOTE
    return _RECORD.pack(head, frame.id, frame.data)


class UsrCanetReader:
    """Frames in the stream.

    An impossible record is skipped; several in a row raise ProtocolError.
    """

    def __init__(self) -> None:
        self.skipped = 0
        self.refused = 0  # the adapter does not say
        self._buffer = b""
        self._garbage = 0

    def feed(self, data: bytes, time: float) -> list[Frame]:
        """Take bytes; return the frames that are whole now."""
        data = self._buffer + data
        whole = len(data) // SIZE * SIZE
        self._buffer = data[whole:]
        frames = []
        for head, id_, payload in _RECORD.iter_unpack(data[:whole]):
            if _is_frame(head, id_):
                self._garbage = 0
                frames.append(_frame(head, id_, payload, time))
            else:
                self._skip()
        return frames

    def _skip(self) -> None:
        self.skipped += 1
        self._garbage += 1
        if self._garbage >= GARBAGE_LIMIT:
            self._garbage = 0
            raise ProtocolError(
                f"{GARBAGE_LIMIT} records in a row are no CAN frames: "
                "is it a USR-CANET200?"
            )


def _is_frame(head: int, id: int) -> bool:
    if head & _RESERVED or head & _LENGTH > CLASSIC_BYTES:
        return False
    return id <= (EXTENDED_IDS if head & _EXTENDED else STANDARD_IDS)


def _frame(head: int, id: int, payload: bytes, time: float) -> Frame:
    length = head & _LENGTH
    flags = EXTENDED if head & _EXTENDED else 0
    if head & _REMOTE:
        return Frame(time, id, flags | REMOTE, length, b"")
    return Frame(time, id, flags, length, payload[:length])
