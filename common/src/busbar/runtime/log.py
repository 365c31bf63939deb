"""The log of the process: lines beside the event loop, none waits for its consumer."""

import json
import logging
import os
import select
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from busbar.net.trace import Redact

log = logging.getLogger("busbar.log")

# what waits for a consumer that does not read
LINES_LIMIT, BYTES_LIMIT = 10_000, 4 * 1024 * 1024
FLUSH = 2.0  # s that an end waits for the consumer
# lines of one place in the code and one device: so many at once, so many a second
BURST, RATE = 20, 2.0
PLACES_LIMIT = 10_000
STDERR = 2

Write = Callable[[bytes], None]


class BackgroundLog(logging.Handler):
    """Hands lines to a thread that writes them; drops the newest when it is behind."""

    def __init__(self, write: Write) -> None:
        super().__init__()
        self._write = write
        self._rate = LimitedRate()
        self._dropped = 0
        self.addFilter(self._rate)
        self._lines: deque[bytes] = deque()
        self._bytes = 0
        self._unreported = 0
        self._closing = False
        # of its own: the handler's lock is held while a record is formatted
        self._changed = threading.Condition()
        self._writer = threading.Thread(target=self._run, name="log", daemon=True)
        self._writer.start()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = f"{self.format(record)}\n".encode(errors="backslashreplace")
        except Exception:  # a wrong format costs this line, as of any handler
            self.handleError(record)
            return
        with self._changed:
            if not self._has_room(len(line)):
                self._dropped += 1
                self._unreported += 1
                return
            self._put(line)

    @property
    def left_out(self) -> int:
        """Lines that nobody will see: too many of a kind, or not read in time."""
        return self._dropped + self._rate.left_out

    def flush_within(self, seconds: float) -> None:
        """End the writer, once all has been written or after so long."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._writer.join(seconds)

    def _has_room(self, size: int) -> bool:
        return len(self._lines) < LINES_LIMIT and self._bytes + size <= BYTES_LIMIT

    def _put(self, line: bytes) -> None:
        self._lines.append(line)
        self._bytes += len(line)
        self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._lines and not self._closing:
                    self._changed.wait()
                if not self._lines:
                    return
                line = self._lines.popleft()
            self._write(line)
            with self._changed:  # only now is there room again
                self._bytes -= len(line)
                unreported = self._unreported if not self._lines else 0
                self._unreported -= unreported
            if unreported:
                text = "%d lines of the log were left out: nobody read them in time"
                log.warning(text, unreported)


def write_to_stderr(data: bytes) -> None:
    """Write to the descriptor itself; a consumer that is gone costs the line only.

    The lock of `sys.stderr` must not be held when the process ends.
    """
    while data and sys.stderr is not None:  # else 2 is any file of ours
        try:
            data = data[os.write(STDERR, data) :]
        except BlockingIOError:  # somebody has made it non-blocking
            select.select([], [STDERR], [])
        except OSError:
            return


class LimitedRate(logging.Filter):
    """Lets so many records of one place in the code pass, and counts the others.

    From INFO up: what a peer can cause for each message must not fill the log. The
    next record that passes says how many were left out before it.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self.left_out = 0
        self._clock = clock
        self._places: dict[tuple[str, int, Any], _Place] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.INFO:
            return True
        key = (record.pathname, record.lineno, getattr(record, "device", None))
        now = self._clock()
        place = self._places.get(key)
        if place is None:
            if len(self._places) >= PLACES_LIMIT:
                del self._places[next(iter(self._places))]
            place = self._places[key] = _Place(now)
        if not place.admits(now):
            self.left_out += 1
            return False
        _say_left_out(record, place.take_left_out())
        return True


class _Place:
    """One place in the code: what it may say at once, and what it could not."""

    def __init__(self, now: float) -> None:
        self._room = float(BURST)
        self._since = now
        self._left_out = 0

    def admits(self, now: float) -> bool:
        self._room = min(float(BURST), self._room + (now - self._since) * RATE)
        self._since = now
        if self._room < 1:
            self._left_out += 1
            return False
        self._room -= 1
        return True

    def take_left_out(self) -> int:
        left_out, self._left_out = self._left_out, 0
        return left_out


def _say_left_out(record: logging.LogRecord, count: int) -> None:
    if count:
        more = f" ({count} more like this were left out before)"
        record.msg = record.getMessage() + more
        record.args = ()


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, Any] = {
            "time": round(record.created, 6),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if hasattr(record, "device"):
            fields["device"] = record.device
        if record.exc_info:
            fields["traceback"] = record.exc_text or self.formatException(
                record.exc_info
            )
        return json.dumps(fields)


@contextmanager
def started(*, as_json: bool, secrets: frozenset[str]) -> Iterator[None]:
    """Log to stderr; left = written, as far as anybody reads it."""
    handler = BackgroundLog(write_to_stderr)
    text = logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    handler.setFormatter(JsonFormatter() if as_json else text)
    handler.addFilter(Redact(secrets))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    try:
        yield
    finally:
        logging.root.removeHandler(handler)
        handler.flush_within(FLUSH)


def left_out() -> int:
    """Return how many lines of this process nobody will see."""
    return sum(each.left_out for each in _running())


def flush(seconds: float) -> None:
    """Have the lines so far written, unless that takes longer; then end the log."""
    for each in _running():
        each.flush_within(seconds)


def _running() -> list[BackgroundLog]:
    handlers = logging.root.handlers
    return [each for each in handlers if isinstance(each, BackgroundLog)]
