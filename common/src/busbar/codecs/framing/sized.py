"""Framings by size: fixed, or said by a number in front."""

from typing import Literal

from busbar.codecs.framing.base import FRAME_LIMIT, Framing

GAP = 1.0  # s of silence that end a frame which is not complete


class FixedSize(Framing):
    """Frames of one size; a silence inside one ends it."""

    def __init__(self, size: int, gap: float = GAP) -> None:
        super().__init__(size)
        self.gap = gap
        self._size = size

    def feed(self, data: bytes) -> list[bytes]:
        self._buffer += data
        end = len(self._buffer) - len(self._buffer) % self._size
        whole = bytes(self._buffer[:end])
        del self._buffer[:end]
        return [whole[at : at + self._size] for at in range(0, end, self._size)]

    def silence(self) -> list[bytes]:
        if self._buffer:
            self._refuse(f"{len(self._buffer)} of {self._size} bytes, then silence")
            self._buffer.clear()
        return []

    def encode(self, payload: bytes) -> bytes:
        if len(payload) != self._size:
            raise ValueError(f"{len(payload)} bytes; a frame has {self._size}")
        return payload


class LengthPrefix(Framing):
    """Frames behind a number that says how many bytes follow.

    `header` bytes come before the number and belong to the frame; `adjust` is added to
    the number. A number that cannot be is the end of all sense until a silence.
    """

    def __init__(
        self,
        size: Literal[1, 2, 3, 4] = 2,
        order: Literal["big", "little"] = "big",
        header: int = 0,
        adjust: int = 0,
        limit: int = FRAME_LIMIT,
        gap: float = GAP,
    ) -> None:
        super().__init__(limit)
        self.gap = gap
        self._size = size
        self._order: Literal["big", "little"] = order
        self._header = header
        self._adjust = adjust

    def feed(self, data: bytes) -> list[bytes]:
        if self._skipping:
            return []
        self._buffer += data
        frames: list[bytes] = []
        at = 0
        while (found := self._frame(at)) is not None:
            frame, at = found
            frames.append(frame)
        del self._buffer[:at]
        return frames

    def silence(self) -> list[bytes]:
        if self._buffer:
            self._refuse(f"{len(self._buffer)} bytes of a frame, then silence")
        self._reset()
        return []

    def encode(self, payload: bytes) -> bytes:
        head, body = payload[: self._header], payload[self._header :]
        number = len(body) - self._adjust
        if len(head) < self._header or not 0 <= number < 1 << 8 * self._size:
            raise ValueError(f"{len(payload)} bytes are no frame of this framing")
        if len(body) > self.limit:
            raise ValueError(f"a frame of more than {self.limit} bytes")
        return head + number.to_bytes(self._size, self._order) + body

    def _frame(self, at: int) -> tuple[bytes, int] | None:
        """Return the frame that begins there, and where the next one does."""
        start = at + self._header
        begin = start + self._size
        if len(self._buffer) < begin:
            return None
        number = int.from_bytes(self._buffer[start:begin], self._order)
        length = number + self._adjust
        if not 0 <= length <= self.limit:
            self._refuse(f"a length of {length} bytes; at most {self.limit}")
            self._buffer.clear()
            self._skipping = True
            return None
        end = begin + length
        if len(self._buffer) < end:
            return None
        head = self._buffer[at:start]
        return bytes(head + self._buffer[begin:end]), end
