"""Framings that take bytes as they come: none, by silence, as RPIO does."""

from busbar.codecs.framing.base import FRAME_LIMIT, Framing

RPIO_READ = 1024  # bytes. Source: RPIO 0.10, _RPIO.py, socket.recv(1024)


class Chunks(Framing):
    """No framing: what has come together is a frame."""

    def feed(self, data: bytes) -> list[bytes]:
        return [data[at : at + self.limit] for at in range(0, len(data), self.limit)]

    def encode(self, payload: bytes) -> bytes:
        return payload


class Rpio(Chunks):
    """Reads of at most 1024 bytes, stripped; an empty one is a message, too."""

    def __init__(self, limit: int = RPIO_READ) -> None:
        super().__init__(min(limit, RPIO_READ))

    def feed(self, data: bytes) -> list[bytes]:
        return [piece.strip() for piece in super().feed(data)]


class IdleGap(Framing):
    """A frame is what comes without a pause of `gap` seconds."""

    def __init__(self, gap: float, limit: int = FRAME_LIMIT) -> None:
        super().__init__(limit)
        self.gap = gap

    def feed(self, data: bytes) -> list[bytes]:
        if self._skipping:
            return []
        self._buffer += data
        if len(self._buffer) > self.limit:
            self._refuse_long()
        return []

    def silence(self) -> list[bytes]:
        frame = self.take_pending()
        return [frame] if frame else []

    def encode(self, payload: bytes) -> bytes:
        return payload
