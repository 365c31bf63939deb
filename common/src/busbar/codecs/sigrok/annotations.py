"""Annotations of protocol decoders, from sigrok-cli's `--protocol-decoder-jsontrace`.

Source: docs/protocols/instruments.md, 11.
"""

from collections import deque
from collections.abc import Iterator
from typing import Literal

import msgspec

LINE = 64 * 1024  # bytes of an event; real ones have 100
OPEN = 10_000  # annotations that have begun and not ended


class Annotation(msgspec.Struct, frozen=True):
    """What a decoder has found; `start` and `end` in s from the first sample."""

    start: float
    end: float
    decoder: str  # `uart-1`
    row: str  # `RX`
    text: str


class _Event(msgspec.Struct):
    ph: Literal["B", "E"]
    ts: float  # us
    pid: str
    tid: str
    name: str


class AnnotationReader:
    """Reads events as they come: an annotation is there when its end has come."""

    def __init__(self) -> None:
        self.skipped = 0  # lines that are no event, events without their other half
        self._rest = b""
        self._passing = False  # a line that is too long
        self._begun: dict[tuple[str, str, str], deque[float]] = {}
        self._open = 0

    def feed(self, data: bytes) -> Iterator[Annotation]:
        """Return the annotations that end in `data`."""
        *lines, rest = data.split(b"\n")
        for line in lines:
            whole = self._rest + line
            self._rest = b""
            if self._passing:
                self._passing = False
                continue
            yield from self._line(whole)
        self._keep(rest)

    def close(self) -> Iterator[Annotation]:
        """Return what a last line without its end holds; count what has no end."""
        whole = self._rest
        self._rest = b""
        if not self._passing:
            yield from self._line(whole)
        self.skipped += self._open
        self._open = 0
        self._begun.clear()

    def _keep(self, rest: bytes) -> None:
        if self._passing:
            return
        self._rest += rest
        if len(self._rest) > LINE:
            self._rest = b""
            self._passing = True
            self.skipped += 1

    def _line(self, line: bytes) -> Iterator[Annotation]:
        text = line.strip().rstrip(b",")
        if not text or text in (b'{"traceEvents": [', b"]}"):
            return
        try:
            event = msgspec.json.decode(text, type=_Event)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            self.skipped += 1
            return
        found = self._take(event)
        if found is not None:
            yield found

    def _take(self, event: _Event) -> Annotation | None:
        key = (event.pid, event.tid, event.name)
        if event.ph == "B":
            if self._open >= OPEN:
                self.skipped += 1
                return None
            self._open += 1
            self._begun.setdefault(key, deque()).append(event.ts)
            return None
        begun = self._begun.get(key)
        if not begun:
            self.skipped += 1
            return None
        start = begun.popleft()
        if not begun:
            del self._begun[key]
        self._open -= 1
        return Annotation(
            _seconds(start), _seconds(event.ts), event.pid, event.tid, event.name
        )


def _seconds(microseconds: float) -> float:
    return round(microseconds / 1e6, 12)
