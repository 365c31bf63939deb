"""Watchdog of the event loop: names what blocks it, from a thread of its own."""

import asyncio
import contextlib
import logging
import sys
import threading
import traceback
from collections.abc import Iterator

log = logging.getLogger("busbar.watchdog")

LIMIT = 5.0  # s that the loop may be busy with one thing
PERIOD = 1.0  # s between questions


@contextlib.contextmanager
def watching(limit: float = LIMIT, period: float = PERIOD) -> Iterator[None]:
    """Log once where the loop of this thread is when it is blocked for `limit` s."""
    dog = _Watchdog(asyncio.get_running_loop(), threading.get_ident(), limit, period)
    thread = threading.Thread(target=dog.run, name="watchdog", daemon=True)
    thread.start()
    try:
        yield
    finally:
        dog.stop()
        thread.join()


class _Watchdog:
    """Asks the loop for an answer, again and again."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, thread: int, limit: float, period: float
    ) -> None:
        self._loop = loop
        self._thread = thread
        self._limit = limit
        self._period = period
        self._answered = threading.Event()
        self._stopped = threading.Event()

    def run(self) -> None:
        while not self._stopped.wait(self._period):
            self._answered.clear()
            try:
                self._loop.call_soon_threadsafe(self._answered.set)
            except RuntimeError:
                return  # the loop has ended
            if not self._answered.wait(self._limit):
                self._report()
                self._answered.wait()
                log.warning("the event loop runs again")

    def stop(self) -> None:
        """End the thread; it may wait for an answer that nobody gives any more."""
        self._stopped.set()
        self._answered.set()

    def _report(self) -> None:
        frame = sys._current_frames().get(self._thread)  # noqa: SLF001  (documented; the only way to the stack of another thread)
        stack = traceback.extract_stack(frame)
        inner = stack[-1]
        log.error(
            "the event loop is blocked for more than %g s by %s, line %s, in %s: no "
            "device is served meanwhile. An `await` is missing there, or "
            "asyncio.to_thread:\n%s",
            self._limit,
            inner.filename,
            inner.lineno,
            inner.name,
            "".join(traceback.format_list(stack)),
        )
