"""The GPIO bridge against mqtt-io in interrupt mode, each with a chip that is driven by
its stdin, a byte an edge."""

import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import msgspec

from tests.bench import gpio_bare, peer
from tests.bench.client import connected, subscribe
from tests.bench.figures import Budget, Row, alone, compare, in_turns
from tests.bench.machine import Setup, cpu, resident
from tests.bench.processes import python, started
from tests.broker import Mosquitto

WINDOW = 100  # edges under way
BURST = 1000  # edges at once: a kernel keeps 1024 of a line
WIDTH = 0.01  # s of a pulse
PAUSES = (0.005, 0.025)  # s between edges, and between pulses
SILENCE = 1.0  # s without any more: the rest is lost
SETTLE = 1.5  # s until a bridge is really idle
LIMIT = 60.0  # s
AGAINST = f"mqtt-io {peer.VERSION}, interrupt mode"
BASE = "busbar/bench/header"
HALF, NONE = Budget(0.5, ratio=True), Budget(0.0)
OURS = """
bridge: {name: bench}
log: {level: error}
devices:
  - {name: header, backend: sim, lines: [{name: level, line: 17, direction: in}]}
"""
THEIRS = """
mqtt: {{host: 127.0.0.1, port: {port}, topic_prefix: peer, clean_session: true}}
gpio_modules: [{{name: chip, module: driven}}]
digital_inputs: [{{name: level, module: chip, pin: 17, interrupt: both, bouncetime: 1}}]
logging: {{version: 1}}
"""

Figures = dict[str, float]
Result = TypeVar("Result")


class Edge(msgspec.Struct):
    """What of an `event/edge` is looked at."""

    value: bool
    line_seq: int
    lost: int


def run(setup: Setup) -> list[Row]:
    """Return rows for single edges, short pulses, many edges, and what it costs to be
    there."""
    with TemporaryDirectory(prefix="busbar-bench-") as folder, Mosquitto() as broker:
        candidates = {"ours": partial(_measured, "ours", Path(folder), broker, setup)}
        if peer.there():
            candidates["theirs"] = partial(
                _measured, "theirs", Path(folder), broker, setup
            )
        candidates["bare"] = partial(_bare, Path(folder), broker, setup)
        figures = in_turns(setup.repetitions, candidates)

    def row(
        what: str,
        unit: str,
        key: str,
        beside: str = "theirs",
        against: str = AGAINST,
        **more: Any,
    ) -> Row:
        ours, others = (
            [each[key] for each in figures.get(side, ())] for side in ("ours", beside)
        )
        if not others:
            return alone(f"GPIO: {what}", unit, ours, **more)
        return compare(f"GPIO: {what}", unit, ours, others, against, **more)

    def count(what: str, unit: str, key: str, **more: Any) -> Row:
        """The worst of ours counts, and the worst of theirs.

        Both may be 0, so there is no ratio.
        """
        ours, theirs = (
            [each[key] for each in figures.get(side, ())] for side in ("ours", "theirs")
        )
        worst, against = (max(theirs), AGAINST) if theirs else (None, "")
        return Row(
            f"GPIO: {what}", unit, max(ours), worst, against, budget=NONE, **more
        )

    return [
        row("edge to subscriber, p50", "us", "p50", budget=HALF, short=True),
        row("edge to subscriber, p99", "us", "p99"),
        row(
            ("edge to subscriber, p50, compared with the least that can be"),
            "us",
            "p50",
            "bare",
            "bare publish",
        ),
        count(
            (f"of {_pulses(setup)} pulses of {WIDTH * 1000:g} ms, not seen"),
            "pulses",
            "missed",
            short=True,
        ),
        count(
            (f"of {BURST} edges at once, lost or in disorder"),
            "edges",
            "wrong",
            short=True,
        ),
        row(f"edges per second, {WINDOW} under way", "1/s", "rate", short=True),
        row(f"CPU per edge, {WINDOW} under way", "us", "busy"),
        row("CPU per edge, one after the other", "us", "single"),
        row("idle, CPU", "% of a core", "idle"),
        row("resident memory", "MB", "rss"),
    ]


def _pulses(setup: Setup) -> int:
    return 25 if setup.quick else 100


def _measured(side: str, folder: Path, broker: Mosquitto, setup: Setup) -> Figures:
    edges, many = _edges(setup), 4000 if setup.quick else 10_000
    with _running(SIDES[side], folder, broker) as (pid, line):
        time.sleep(SETTLE)
        figures = {"idle": _idle(pid, setup.seconds(4.0)), "rss": resident(pid) / 1e6}
        delays, figures["single"] = _costing(
            pid, edges, partial(line.one_by_one, edges)
        )
        figures |= {
            "p50": delays[edges // 2] / 1000,
            "p99": delays[edges * 99 // 100] / 1000,
        }
        figures["missed"] = line.pulses(_pulses(setup))
        figures["wrong"] = line.burst(BURST)
        passed, figures["busy"] = _costing(pid, many, partial(line.under_way, many))
        return {**figures, "rate": many / passed}


def _bare(folder: Path, broker: Mosquitto, setup: Setup) -> Figures:
    """Measure what pipe, broker and subscriber take."""
    with _running(SIDES["bare"], folder, broker) as (_, line):
        time.sleep(SETTLE)
        return {"p50": line.one_by_one(_edges(setup))[_edges(setup) // 2] / 1000}


def _edges(setup: Setup) -> int:
    return 50 if setup.quick else 200


def _idle(pid: int, seconds: float) -> float:
    before, began = cpu(pid), time.perf_counter()
    time.sleep(seconds)
    return (cpu(pid) - before) / (time.perf_counter() - began) * 100


def _costing(pid: int, edges: int, work: Callable[[], Result]) -> tuple[Result, float]:
    """Return what some work returns, and the CPU (us) that each of its edges took."""
    before = cpu(pid)
    result = work()
    return result, (cpu(pid) - before) / edges * 1e6


class Line:
    """The line as it is driven, and as a subscriber sees it."""

    def __init__(self) -> None:
        self.file = -1  # of the chip
        self._levels: list[bool] = []
        self._left = self._due = 0
        self._last = 0  # ns
        self._complete = threading.Event()

    def took(self, level: bool) -> None:
        """Take an edge from the bus; the next one follows while edges are under way."""
        self._last = time.monotonic_ns()
        self._levels.append(level)
        if self._left:
            self._left -= 1
            self._drive(b"1" if self._left % 2 else b"0")
        self._due -= 1
        if self._due == 0:
            self._complete.set()

    def one_by_one(self, count: int) -> list[int]:
        """Return how long each edge took (ns), in order of size.

        The next comes a random pause after the last.
        """
        return sorted(
            self._delay(b"0" if number % 2 else b"1") for number in range(count)
        )

    def pulses(self, count: int) -> int:
        """Return how many pulses did not come as an edge up and an edge down."""
        self._expect(2 * count)
        for _ in range(count):
            self._drive(b"1")
            time.sleep(WIDTH)
            self._drive(b"0")
            time.sleep(random.uniform(*PAUSES))
        self._until_silent()
        return count - sum(pair == (True, False) for pair in pairwise(self._levels))

    def burst(self, count: int) -> int:
        """Return how many of so many edges, written at once, are missing or not where
        they should be."""
        self._expect(count)
        self._drive(b"10" * (count // 2))
        self._until_silent()
        right = sum(
            level == (number % 2 == 0) for number, level in enumerate(self._levels)
        )
        return max(count, len(self._levels)) - right

    def under_way(self, count: int) -> float:
        """Return how long so many edges take (s).

        The next goes out with each that has come.
        """
        self._expect(count, count - WINDOW)
        began = time.perf_counter()
        self._drive(b"10" * (WINDOW // 2))
        if not self._complete.wait(LIMIT):
            raise RuntimeError(f"{self._due} of {count} edges have not come")
        return time.perf_counter() - began

    def _delay(self, edge: bytes) -> int:
        time.sleep(random.uniform(*PAUSES))
        self._expect(1)
        began = time.monotonic_ns()
        self._drive(edge)
        if not self._complete.wait(LIMIT) or self._levels != [edge == b"1"]:
            raise RuntimeError(f"{edge!r} has come as {self._levels}")
        return self._last - began

    def _expect(self, count: int, left: int = 0) -> None:
        self._complete.clear()
        self._levels, self._due, self._left = [], count, left

    def _drive(self, edges: bytes) -> None:
        os.write(self.file, edges)

    def _until_silent(self) -> None:
        seen = -1
        while len(self._levels) > seen and not self._complete.is_set():
            seen = len(self._levels)
            self._complete.wait(SILENCE)


@dataclass(frozen=True)
class Side:
    """Who publishes the edges: ours, theirs, or next to nothing."""

    command: Callable[[Path, Mosquitto], list[str]]
    status: str  # its topic
    edges: str
    level: Callable[[bytes], bool]  # of a payload


def _ours(folder: Path, broker: Mosquitto) -> list[str]:
    file = folder / "gpio.yaml"
    file.write_text(OURS)
    return python("gpio_chip", "--config", str(file), "--broker", broker.url)


def _theirs(folder: Path, broker: Mosquitto) -> list[str]:
    file = folder / "peer.yml"
    file.write_text(THEIRS.format(port=broker.port))
    return [
        peer.ENVIRONMENT.python,
        str(Path(__file__).with_name("gpio_peer.py")),
        str(file),
    ]


def _nothing_else(_folder: Path, broker: Mosquitto) -> list[str]:
    return python("gpio_bare", str(broker.port))


def _edge(payload: bytes) -> bool:
    """Return the level; raise RuntimeError where the event itself speaks of loss."""
    edge = msgspec.json.decode(payload, type=Edge)
    if edge.lost or edge.value != bool(edge.line_seq % 2):
        raise RuntimeError(f"not as driven: {edge}")
    return edge.value


SIDES = {
    "ours": Side(_ours, f"{BASE}/status", f"{BASE}/event/edge", _edge),
    "theirs": Side(_theirs, peer.STATUS, "peer/input/level", b"ON".__eq__),
    "bare": Side(_nothing_else, gpio_bare.STATUS, gpio_bare.EDGES, b"ON".__eq__),
}


@contextmanager
def _running(side: Side, folder: Path, broker: Mosquitto) -> Iterator[tuple[int, Line]]:
    """A bridge that is online: its process, and its line with a subscriber."""
    line, online = Line(), threading.Event()

    def on_message(_client: Any, _userdata: Any, message: Any) -> None:
        if message.topic == side.edges:
            line.took(side.level(message.payload))
        elif not message.retain and (
            message.payload == b"running" or b'"online"' in message.payload
        ):
            online.set()

    with connected(broker.port, on_message) as client:
        for topic in (side.status, side.edges):
            subscribe(client, topic)
        command = side.command(folder, broker)
        with started(command) as process:
            assert process.stdin is not None
            line.file = process.stdin.fileno()
            deadline = time.monotonic() + LIMIT
            while not online.wait(0.1):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"{command} does not get online")
            yield process.pid, line
