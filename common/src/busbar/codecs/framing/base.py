"""What all framings have: a bounded buffer, and a count of what was wrong."""

# bytes of one frame; the largest that a line of a usual instrument has is far below
FRAME_LIMIT = 65536


class Framing:
    """Reads frames from a stream of bytes, and makes the bytes of one.

    `wrong` counts the frames that could not be read, `reason` says why the last one.
    """

    # s of silence after which `silence` is to be called; None: it means nothing here
    gap: float | None = None

    def __init__(self, limit: int = FRAME_LIMIT) -> None:
        self.limit = limit
        self.wrong = 0
        self.reason = ""
        self._buffer = bytearray()
        self._skipping = False  # inside a frame that has been given up

    @property
    def pending(self) -> bool:
        """Whether a frame has begun, or one that was given up has not ended."""
        return bool(self._buffer) or self._skipping

    def feed(self, data: bytes) -> list[bytes]:
        """Take bytes; return the frames that they complete."""
        raise NotImplementedError

    def silence(self) -> list[bytes]:
        """Take note that nothing came for `gap` seconds; return what that ends."""
        return []

    def encode(self, payload: bytes) -> bytes:
        """Return the bytes of a frame; raise ValueError for what cannot be one."""
        raise NotImplementedError

    def take_pending(self) -> bytes:
        """Give up the frame that has begun, and return its bytes."""
        data = bytes(self._buffer)
        self._reset()
        return data

    def _reset(self) -> None:
        self._buffer.clear()
        self._skipping = False

    def _refuse(self, reason: str) -> None:
        self.wrong += 1
        self.reason = reason

    def _refuse_long(self) -> None:
        self._refuse(f"a frame of more than {self.limit} bytes")
        self._buffer.clear()
        self._skipping = True


class Separated(Framing):
    """Frames with a separator of bytes between them."""

    separator = b""

    def __init__(self, limit: int = FRAME_LIMIT) -> None:
        super().__init__(limit)
        self._searched = 0  # bytes of the buffer that have no separator

    def feed(self, data: bytes) -> list[bytes]:
        self._buffer += data
        start = max(0, self._searched - len(self.separator) + 1)
        if self._buffer.find(self.separator, start) < 0:
            self._bound()
            return []
        *pieces, rest = bytes(self._buffer).split(self.separator)
        self._buffer[:] = rest
        if self._skipping:
            self._skipping = False
            del pieces[0]
        self._bound()
        return [frame for piece in pieces if (frame := self._frame(piece)) is not None]

    def take_pending(self) -> bytes:
        self._searched = 0
        return super().take_pending()

    def _frame(self, piece: bytes) -> bytes | None:
        """Return the frame between two separators, None if it is none."""
        if len(piece) > self._raw_limit():
            self._refuse(f"a frame of more than {self.limit} bytes")
            return None
        return self._decode(piece)

    def _decode(self, piece: bytes) -> bytes | None:
        raise NotImplementedError

    def _raw_limit(self) -> int:
        """Return the bytes that a frame may have as it is sent."""
        return self.limit

    def _bound(self) -> None:
        keep = len(self.separator) - 1  # the beginning of a separator
        if self._skipping:
            del self._buffer[: max(0, len(self._buffer) - keep)]
        elif len(self._buffer) > self._raw_limit() + keep:
            tail = bytes(self._buffer[len(self._buffer) - keep :])
            self._refuse_long()
            self._buffer += tail
        self._searched = len(self._buffer)
