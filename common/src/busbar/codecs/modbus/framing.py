"""Frames on the wire: MBAP (TCP, TLS, UDP), RTU, ASCII.

A reader owns its position: later frames are always found.

Sources: Messaging on TCP/IP Implementation Guide V1.0b, 3.1.3; MODBUS over Serial Line
V1.02, 2.5.
"""

import binascii
import struct
from collections.abc import Callable
from typing import Literal, NamedTuple, Protocol

from busbar.codecs.modbus.pdu import PDU_LIMIT

Framing = Literal["tcp", "rtu", "ascii"]
# bytes of one frame
MBAP_LIMIT = PDU_LIMIT + 7
RTU_LIMIT = PDU_LIMIT + 3
ASCII_LIMIT = 2 * PDU_LIMIT + 9
# unit, beginning of a PDU -> bytes of the PDU; None: not known (yet)
Length = Callable[[int, bytes], int | None]


class Frame(NamedTuple):
    """What one frame carries; only MBAP has a transaction."""

    unit: int
    pdu: bytes
    transaction: int | None = None


class Reader(Protocol):
    """Bytes -> frames."""

    wrong: str  # what could not be read since it was last cleared

    @property
    def pending(self) -> bool:
        """True while there are bytes that are no frame yet."""

    def feed(self, data: bytes) -> list[Frame]:
        """Take bytes; return the frames that are complete."""

    def silence(self) -> list[Frame]:
        """Return the frame that only silence ends; forget the rest."""


class _Reader:
    """Buffer that the readers share: bytes that are no frame yet."""

    def __init__(self) -> None:
        self.wrong = ""
        self._buffer = bytearray()

    @property
    def pending(self) -> bool:
        return bool(self._buffer)

    def silence(self) -> list[Frame]:
        if self._buffer:
            self.wrong = (
                f"{len(self._buffer)} bytes that are no frame: "
                f"{self._buffer[:20].hex(' ')}"
            )
            self._buffer.clear()
        return []


def encode_mbap(frame: Frame) -> bytes:
    """Return a frame with its header: transaction, protocol 0, length, unit."""
    transaction = frame.transaction or 0
    length = len(frame.pdu) + 1
    return struct.pack(">HHHB", transaction, 0, length, frame.unit) + frame.pdu


class MbapReader(_Reader):
    """Frames behind one another.

    After a header that cannot be, what has come is dropped.
    """

    def feed(self, data: bytes) -> list[Frame]:
        self._buffer += data
        found = []
        while len(self._buffer) >= 7:
            transaction, protocol, length, unit = struct.unpack_from(
                ">HHHB", self._buffer
            )
            if protocol != 0 or not 2 <= length <= PDU_LIMIT + 1:
                self.wrong = (
                    f"an MBAP header of protocol {protocol} and length {length}"
                )
                self._buffer.clear()
                break
            if len(self._buffer) < 6 + length:
                break
            found.append(Frame(unit, bytes(self._buffer[7 : 6 + length]), transaction))
            del self._buffer[: 6 + length]
        return found


def encode_rtu(frame: Frame) -> bytes:
    """Return a frame with its CRC."""
    body = bytes([frame.unit]) + frame.pdu
    return body + crc(body).to_bytes(2, "little")


class RtuReader(_Reader):
    """Frames found by the length of their function and their CRC, also behind noise.

    `length` returns how long a PDU is. Where it does not know, silence ends the frame.
    """

    def __init__(self, length: Length) -> None:
        super().__init__()
        self._length = length
        self._gone = 0  # bytes before the first of the buffer
        # place of a byte since the beginning -> length of a PDU behind it that has a
        # wrong CRC; noise that comes byte by byte is not computed again for each
        self._refuted: dict[int, int] = {}

    def feed(self, data: bytes) -> list[Frame]:
        # behind those before it there were enough bytes for any frame
        first = max(0, len(self._buffer) - RTU_LIMIT)
        self._buffer += data
        found = []
        frame = self._take(first)
        while frame is not None:
            found.append(frame)
            frame = self._take(0)
        self._drop(max(0, len(self._buffer) - 2 * RTU_LIMIT))
        return found

    def silence(self) -> list[Frame]:
        whole = bytes(self._buffer)
        found = []
        if 4 <= len(whole) <= RTU_LIMIT and crc(whole) == 0:
            found = [Frame(whole[0], whole[1:-2])]
        else:
            super().silence()
        self._buffer.clear()
        self._refuted.clear()
        return found

    def _take(self, first: int) -> Frame | None:
        """Take the next frame that begins at `first` or later; None if none is whole.

        What is before the frame is dropped with it.
        """
        for start in range(first, len(self._buffer) - 3):
            head = bytes(self._buffer[start + 1 : start + RTU_LIMIT])
            length = self._length(self._buffer[start], head)
            if length is None or len(head) < length + 2:
                continue
            place = self._gone + start
            if self._refuted.get(place) == length:
                continue
            end = start + length + 3
            whole = self._buffer[start:end]
            if crc(whole) != 0:
                self._refuted[place] = length
                self.wrong = f"a wrong CRC: {whole[:20].hex(' ')}"
                continue
            if start:
                noise = self._buffer[: min(start, 20)].hex(" ")
                self.wrong = f"{start} bytes before a frame: {noise}"
            self._drop(end)
            return Frame(whole[0], head[:length])
        return None

    def _drop(self, count: int) -> None:
        del self._buffer[:count]
        for place in range(self._gone, self._gone + count):
            self._refuted.pop(place, None)
        self._gone += count


def encode_ascii(frame: Frame) -> bytes:
    """Return a frame as a line of hexadecimal digits with its LRC."""
    body = bytes([frame.unit]) + frame.pdu
    checked = body + bytes([lrc(body)])
    return b":" + checked.hex().upper().encode() + b"\r\n"


class AsciiReader(_Reader):
    """Lines between a colon and CR LF; bytes outside of them are dropped."""

    def feed(self, data: bytes) -> list[Frame]:
        self._buffer += data
        found = []
        end = self._buffer.find(b"\r\n")
        while end >= 0:
            line = bytes(self._buffer[:end])
            del self._buffer[: end + 2]
            frame = self._parse(line[line.rfind(b":") :])
            if frame is not None:
                found.append(frame)
            end = self._buffer.find(b"\r\n")
        if len(self._buffer) > ASCII_LIMIT:
            self.wrong = f"{len(self._buffer)} characters without CR LF"
            self._buffer.clear()
        return found

    def _parse(self, line: bytes) -> Frame | None:
        try:
            body = binascii.unhexlify(line[1:])
        except binascii.Error:
            body = b""
        fits = 3 <= len(body) <= PDU_LIMIT + 2
        if line[:1] != b":" or not fits or lrc(body) != 0:
            self.wrong = f"a line that is no frame or has a wrong LRC: {line[:40]!r}"
            return None
        return Frame(body[0], body[1:-1])


def encode(framing: Framing, frame: Frame) -> bytes:
    """Return a frame as bytes."""
    return _ENCODERS[framing](frame)


def reader(framing: Framing, length: Length) -> Reader:
    """Return a reader; `length` is of use for RTU only."""
    if framing == "rtu":
        return RtuReader(length)
    if framing == "ascii":
        return AsciiReader()
    return MbapReader()


def crc(data: bytes | bytearray) -> int:
    """Return the CRC-16 (polynomial 0xA001, reflected, from 0xFFFF).

    0 for data that ends with its CRC.
    """
    value = 0xFFFF
    for byte in data:
        value = value >> 8 ^ _CRC[(value ^ byte) & 0xFF]
    return value


def lrc(data: bytes) -> int:
    """Return the two's complement of the sum of all bytes.

    0 for data that ends with its LRC.
    """
    return -sum(data) & 0xFF


def _crc_of(byte: int) -> int:
    for _ in range(8):
        carry = byte & 1
        byte = byte >> 1 ^ 0xA001 * carry
    return byte


_CRC = tuple(map(_crc_of, range(256)))
_ENCODERS: dict[Framing, Callable[[Frame], bytes]] = {
    "tcp": encode_mbap,
    "rtu": encode_rtu,
    "ascii": encode_ascii,
}
