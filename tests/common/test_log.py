"""The log: nobody waits for its consumer, and nobody can fill it."""

import logging
import threading
from collections.abc import Iterator

import pytest

from busbar.runtime import log

LIMIT = 30.0  # s; generous, only something broken needs it


class Clock:
    """Time that stands until it is moved."""

    def __init__(self) -> None:
        self.time = 0.0

    def now(self) -> float:
        return self.time


class Consumer:
    """Reads nothing until it is told to."""

    def __init__(self) -> None:
        self.reads = threading.Event()
        self.lines: list[str] = []

    def write(self, data: bytes) -> None:
        assert self.reads.wait(LIMIT)
        self.lines.append(data.decode())


@pytest.fixture
def consumer() -> Consumer:
    return Consumer()


@pytest.fixture
def handler(consumer: Consumer) -> Iterator[log.BackgroundLog]:
    handler = log.BackgroundLog(consumer.write)
    logging.root.addHandler(handler)
    yield handler
    logging.root.removeHandler(handler)
    consumer.reads.set()
    handler.flush_within(LIMIT)


def record(text: str, *args: object, line: int = 1) -> logging.LogRecord:
    return logging.LogRecord(
        "busbar.x", logging.WARNING, "x.py", line, text, args, None
    )


def test_a_consumer_that_does_not_read_costs_lines_and_no_time(
    consumer: Consumer, handler: log.BackgroundLog
) -> None:
    for number in range(log.LINES_LIMIT + 100):
        # a place each: the rate is another test
        handler.handle(record("%d", number, line=number))
    assert 99 <= handler.left_out <= 100  # the writer holds one line or none
    assert log.left_out() == handler.left_out
    left_out = handler.left_out
    consumer.reads.set()
    handler.flush_within(LIMIT)
    assert consumer.lines[0] == "0\n"
    said = [each for each in consumer.lines if "left out" in each]
    assert said == [
        f"{left_out} lines of the log were left out: nobody read them in time\n"
    ]


def test_lines_that_wait_are_limited_in_bytes_too(
    consumer: Consumer, handler: log.BackgroundLog
) -> None:
    text = "x" * (log.BYTES_LIMIT // 4)
    for number in range(8):
        handler.handle(record(text, line=number))
    assert handler.left_out >= 4


def test_an_end_waits_for_the_consumer_no_longer_than_it_should(
    handler: log.BackgroundLog,
) -> None:
    handler.handle(record("nobody reads this"))
    handler.flush_within(0.01)  # comes back


def test_a_place_says_so_much_at_once_and_then_how_much_was_left_out() -> None:
    clock = Clock()
    limited = log.LimitedRate(clock.now)
    assert [limited.filter(record("a")) for _ in range(log.BURST + 3)] == [
        True
    ] * log.BURST + [False] * 3
    assert limited.filter(record("another place", line=2))
    clock.time += 1 / log.RATE
    late = record("%s", "b")
    assert limited.filter(late)
    assert late.getMessage() == "b (3 more like this were left out before)"
    assert limited.left_out == 3


def test_lines_of_another_device_have_a_rate_of_their_own() -> None:
    limited = log.LimitedRate(Clock().now)
    for device in ("psu", "dmm"):
        for _ in range(log.BURST):
            each = record("lost")
            each.device = device
            assert limited.filter(each)


def test_what_is_asked_for_by_debug_and_trace_is_not_limited() -> None:
    limited = log.LimitedRate(Clock().now)
    for _ in range(2 * log.BURST):
        each = record("->")
        each.levelno = logging.DEBUG
        assert limited.filter(each)


def test_the_places_that_are_known_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "PLACES_LIMIT", 3)
    limited = log.LimitedRate(Clock().now)
    for number in range(10):
        assert limited.filter(record("a", line=number))
    assert len(limited._places) == 3
