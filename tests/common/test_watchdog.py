"""The watchdog of the event loop."""

import asyncio
import logging
import threading
import time

import pytest

from busbar.runtime import watchdog
from busbar.testing.fakes import until

LIMIT = 30.0  # s; generous, only something broken needs it


class Reported(logging.Handler):
    """Notes what the watchdog says."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []
        self.came = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())
        self.came.set()


async def test_a_blocked_loop_is_named_with_its_line_once() -> None:
    reported = Reported()
    logging.getLogger("busbar.watchdog").addHandler(reported)
    try:
        with watchdog.watching(limit=0.05, period=0.01):
            blocking_mistake(reported)
            await until(lambda: len(reported.messages) == 2, "the loop runs again")
    finally:
        logging.getLogger("busbar.watchdog").removeHandler(reported)
    first, second = reported.messages
    assert "blocking_mistake" in first
    assert "reported.came.wait(LIMIT)  # the mistake" in first
    assert second == "the event loop runs again"


def blocking_mistake(reported: Reported) -> None:
    reported.came.wait(LIMIT)  # the mistake
    time.sleep(0.2)  # more than the limit again: still one report


async def test_a_loop_that_runs_is_not_reported(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with watchdog.watching(limit=LIMIT, period=0.001):
        for _ in range(100):
            await asyncio.sleep(0.001)
    assert "blocked" not in caplog.text
