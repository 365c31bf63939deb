"""Framings by what is between frames: lines, markers, the end that a pattern finds."""

from busbar.codecs.framing.base import FRAME_LIMIT, Framing, Separated
from busbar.codecs.framing.regex import EndFinder


class Lines(Separated):
    """Lines with a terminator; None: CR, LF or both, and empty lines are none."""

    def __init__(
        self, terminator: bytes | None = b"\n", limit: int = FRAME_LIMIT
    ) -> None:
        super().__init__(limit)
        self._any = terminator is None
        self.separator = terminator or b"\n"

    def feed(self, data: bytes) -> list[bytes]:
        return super().feed(data.replace(b"\r", b"\n") if self._any else data)

    def encode(self, payload: bytes) -> bytes:
        if (payload + self.separator).find(self.separator) < len(payload) or (
            self._any and b"\r" in payload
        ):
            raise ValueError(f"{payload[:40]!r} has the terminator in it")
        return payload + (b"\r\n" if self._any else self.separator)

    def _decode(self, piece: bytes) -> bytes | None:
        return None if self._any and not piece else piece


class Markers(Framing):
    """Frames between a start and a stop; what is outside is dropped.

    A start inside a frame begins it again: its stop was lost.
    """

    def __init__(self, start: bytes, stop: bytes, limit: int = FRAME_LIMIT) -> None:
        super().__init__(limit)
        self._start = start
        self._stop = stop
        self._inside = False
        self._searched = 0

    @property
    def pending(self) -> bool:
        return self._inside

    def feed(self, data: bytes) -> list[bytes]:
        self._buffer += data
        frames: list[bytes] = []
        at = 0
        while True:
            end = self._next(at, frames)
            if end < 0:
                break
            at = end
        del self._buffer[:at]
        self._bound()
        return frames

    def take_pending(self) -> bytes:
        begun = self._start if self._inside else b""
        self._inside = False
        self._searched = 0
        return begun + super().take_pending()

    def encode(self, payload: bytes) -> bytes:
        begins = self._start in payload
        if begins or (payload + self._stop).find(self._stop) < len(payload):
            raise ValueError(f"{payload[:40]!r} has a marker in it")
        return self._start + payload + self._stop

    def _next(self, at: int, frames: list[bytes]) -> int:
        """Go to the next marker; return where it ends, -1 if there is none."""
        marker = self._stop if self._inside else self._start
        found = self._buffer.find(marker, max(at, self._searched))
        if found < 0:
            return -1
        self._searched = 0
        if self._inside:
            self._add(bytes(self._buffer[at:found]), frames)
        elif self._buffer[at:found].strip():
            self._refuse(f"{found - at} bytes outside of frames")
        self._inside = not self._inside
        return found + len(marker)

    def _add(self, inside: bytes, frames: list[bytes]) -> None:
        lost, begun, frame = inside.rpartition(self._start)
        if begun and self._start != self._stop:
            self._refuse(f"a frame without its end: {lost[:20]!r}")
        else:
            frame = inside
        if len(frame) > self.limit:
            self._refuse(f"a frame of more than {self.limit} bytes")
            return
        frames.append(frame)

    def _bound(self) -> None:
        longest = max(len(self._start), len(self._stop)) - 1
        if self._inside and len(self._buffer) > self.limit + longest:
            self._refuse(f"a frame of more than {self.limit} bytes")
            self._inside = False
            del self._buffer[: len(self._buffer) - longest]
        if not self._inside:
            rest = len(self._buffer) - longest
            if rest > self.limit:
                self._refuse(f"{rest} bytes outside of frames")
                del self._buffer[:rest]
        self._searched = max(0, len(self._buffer) - longest)


class PatternEnd(Framing):
    """A frame ends where a regular expression first matches; it has all up to there."""

    def __init__(self, pattern: str, limit: int = FRAME_LIMIT) -> None:
        super().__init__(limit)
        self._finder = EndFinder(pattern)

    def feed(self, data: bytes) -> list[bytes]:
        frames: list[bytes] = []
        at = 0
        while (end := self._finder.find(data, at)) >= 0:
            self._take(data[at:end])
            if not self._skipping:
                frames.append(bytes(self._buffer))
            self._reset()
            at = end
        self._take(data[at:])
        return frames

    def take_pending(self) -> bytes:
        self._finder.restart()
        return super().take_pending()

    def encode(self, payload: bytes) -> bytes:
        return payload

    def _take(self, data: bytes) -> None:
        if self._skipping:
            return
        self._buffer += data
        if len(self._buffer) > self.limit:
            self._refuse_long()
