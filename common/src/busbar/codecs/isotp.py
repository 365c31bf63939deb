"""ISO-TP: messages longer than a CAN frame, with flow control. Source: ISO 15765-2.

Normal addressing: the identifiers alone say who speaks to whom. `Sender` and `Receiver`
return what to send next; the caller waits and keeps time.
"""

import math
from typing import NamedTuple

from busbar.codecs.can import FD_LENGTHS
from busbar.errors import OutOfRange, ProtocolError

LONGEST = 64 * 1024  # bytes of a message that we reassemble or send
CLASSIC = 8  # bytes of a frame
FD = 64
# flow status
CONTINUE = 0
WAIT = 1
OVERFLOW = 2
WAITS_LIMIT = 20  # frames of flow control in a row that ask us to wait


class FlowControl(NamedTuple):
    """What the receiver allows: so many frames (0 = all), with such a pause (s)."""

    status: int
    block: int
    pause: float


class Receiver:
    """Reassembles one message after the other."""

    def __init__(
        self,
        limit: int = LONGEST,
        size: int = CLASSIC,
        block: int = 0,
        pause: float = 0.0,
    ) -> None:
        self._limit = limit
        self._size = size
        self._control = bytes((0x30, block, _pause_code(pause)))
        self._block = block
        self._left = 0  # frames until the next flow control
        self._length = 0  # of the message that has begun, 0 for none
        self._data = bytearray()
        self._next = 0  # 0 before anything: a sequence begins at 1

    def feed(self, data: bytes) -> tuple[bytes | None, bytes | None]:
        """Take the data of one frame; return the message it completes, and the answer.

        Raise ProtocolError; it costs the message that has begun.
        """
        if not data:
            return None, None
        kind = data[0] >> 4
        if kind == 0:
            return self._single(data), None
        if kind == 1:
            return None, self._first(data)
        if kind == 2:
            return self._consecutive(data)
        return None, None  # flow control is for the sender

    def _single(self, data: bytes) -> bytes:
        self._length = 0
        length = data[0] & 15
        start = 1
        if length == 0 and len(data) > CLASSIC:
            length = data[1]
            start = 2
        if not 0 < length <= len(data) - start:
            raise ProtocolError(
                f"a single frame says {length} bytes and has {len(data) - start}"
            )
        return bytes(data[start : start + length])

    def _first(self, data: bytes) -> bytes:
        self._length = 0
        if len(data) < CLASSIC:
            raise ProtocolError(f"a first frame of {len(data)} bytes")
        length = (data[0] & 15) << 8 | data[1]
        start = 2
        if length == 0:
            length = int.from_bytes(data[2:6], "big")
            start = 6
        if length > self._limit:
            return bytes((0x30 | OVERFLOW, 0, 0))
        if length <= len(data) - start:
            raise ProtocolError(
                f"a first frame of a message of {length} bytes, which needs none"
            )
        self._length = length
        self._next = 1
        self._left = self._block
        self._data = bytearray(data[start:])
        return self._control

    def _consecutive(self, data: bytes) -> tuple[bytes | None, bytes | None]:
        if not self._length:
            return None, None  # of a message whose beginning we missed
        part = data[0] & 15
        if part != self._next:
            self._length = 0
            raise ProtocolError(
                f"part {part} of a message where {self._next} was next: "
                "the message is lost"
            )
        self._next = (self._next + 1) & 15
        self._data += data[1:]
        if len(self._data) >= self._length:
            message = bytes(self._data[: self._length])
            self._length = 0
            return message, None
        if self._block:
            self._left -= 1
            if not self._left:
                self._left = self._block
                return None, self._control
        return None, None


class Sender:
    """Cuts one message into frames.

    Send those of `frames`, then `feed` the flow control, until `done`.
    """

    def __init__(
        self,
        message: bytes,
        size: int = CLASSIC,
        padding: int | None = 0xCC,
        limit: int = LONGEST,
    ) -> None:
        if not 0 < len(message) <= limit:
            raise OutOfRange(
                f"data: {len(message)} bytes; an ISO-TP message has 1 to {limit}"
            )
        self._size = size
        self._padding = padding
        self.pause = 0.0  # s between frames, as the receiver wants it
        self._rest = memoryview(message)
        self._next = 1
        self._allowed = 0  # frames until the next flow control
        self._waits = 0
        self._head: bytes | None = self._begin(message)

    @property
    def done(self) -> bool:
        """True when everything has been given out."""
        return self._head is None and not self._rest

    def frames(self) -> list[bytes]:
        """Take the data of the frames that may be sent now, `pause` s apart."""
        if self._head is not None:
            head = self._head
            self._head = None
            return [head]
        made = []
        while self._rest and self._allowed:
            counter = bytes((0x20 | self._next,))
            made.append(self._padded(counter + self._take(self._size - 1)))
            self._next = (self._next + 1) & 15
            self._allowed -= 1
        return made

    def feed(self, data: bytes) -> bool:
        """Take a frame of the receiver; return whether it was flow control.

        Raise ProtocolError if the receiver gives up.
        """
        control = flow_control(data)
        if control is None:
            return False
        if control.status == WAIT:
            self._waits += 1
            if self._waits > WAITS_LIMIT:
                raise ProtocolError(f"the receiver asked {WAITS_LIMIT} times to wait")
            return True
        if control.status == OVERFLOW:
            raise ProtocolError("the receiver has no room for the message")
        if control.status != CONTINUE:
            raise ProtocolError(f"the receiver says {control.status}")
        self._waits = 0
        self.pause = control.pause
        self._allowed = control.block or len(self._rest)
        return True

    def _begin(self, message: bytes) -> bytes:
        """Return the single frame, or the first one of several."""
        length = len(message)
        if length < CLASSIC:
            return self._padded(bytes((length,)) + self._take(length))
        if length <= self._size - 2 and self._size > CLASSIC:
            return self._padded(bytes((0, length)) + self._take(length))
        if length <= 0xFFF:
            head = (0x1000 | length).to_bytes(2, "big")
        else:
            head = b"\x10\x00" + length.to_bytes(4, "big")
        return head + self._take(self._size - len(head))

    def _take(self, count: int) -> bytes:
        taken = bytes(self._rest[:count])
        self._rest = self._rest[count:]
        return taken

    def _padded(self, data: bytes) -> bytes:
        wanted = next(length for length in FD_LENGTHS if length >= len(data))
        padding = self._padding
        if padding is None:
            if wanted <= CLASSIC:
                return data
            padding = 0xCC
        return data.ljust(max(wanted, CLASSIC), bytes((padding,)))


def flow_control(data: bytes) -> FlowControl | None:
    """Return what a frame of flow control says, None if it is none."""
    if len(data) < 3 or data[0] >> 4 != 3:
        return None
    return FlowControl(data[0] & 15, data[1], _pause(data[2]))


def _pause(code: int) -> float:
    """Return STmin in seconds. Source: ISO 15765-2, 9.6.5.4."""
    if code <= 0x7F:
        return code / 1000
    if 0xF1 <= code <= 0xF9:
        return (code - 0xF0) / 10000
    return 0.127  # reserved codes mean the longest


def _pause_code(pause: float) -> int:
    milliseconds = math.ceil(pause * 1000)
    return min(0x7F, milliseconds)
