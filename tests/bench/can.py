"""The CAN bridge, from the bus to a subscriber, against python-can receiving and
against a script made with it."""

import base64
import json
import os
import pty
import statistics
import sys
import threading
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgpack

from busbar.codecs import can, slcan
from tests.bench.can_peer import DATABASE, NUMBERED, numbered
from tests.bench.client import connected, subscribe
from tests.bench.figures import Budget, Row, alone, compare, in_turns
from tests.bench.machine import Setup
from tests.bench.processes import ask, python, ready, started
from tests.broker import Mosquitto

RATE = 8000  # frames/s
QUARTER = Budget(25.0)  # % of a core
NONE = Budget(0.0)
SIGNALS = 4  # of a frame
LIMIT = 60.0  # s
SETTLE = 1.0  # s
BASE = "busbar/bench/can0"
CONFIGURATION = """
bridge: {{name: bench}}
log: {{level: error}}
devices:
  - {{name: can0, address: "{address}", {more}}}
"""
LOOPBACK = "can::loopback"
BARE, SCRIPT = "python-can {} receiving", "python-can, cantools, stock paho"

Figures = dict[str, float]


def run(setup: Setup) -> list[Row]:
    """Return rows for a busy bus, as fast as it goes, single frames, and signals."""
    with Mosquitto() as broker:
        bench = Bench(setup, broker)
        names = (
            "busy",
            "burst",
            "bare",
            "serial",
            "bare_serial",
            "single",
            "script_single",
            "signals",
            "script_signals",
        )
        found = in_turns(
            setup.repetitions, {name: partial(getattr(bench, name)) for name in names}
        )

    def row(
        what: str,
        unit: str,
        ours: str,
        theirs: str,
        against: str,
        key: str = "time",
        **more: Any,
    ) -> Row:
        mine = [each[key] for each in found[ours]]
        baseline = [each[key] for each in found[theirs]]
        return compare(f"CAN: {what}", unit, mine, baseline, against, **more)

    busy = f"{RATE} frames/s for {bench.seconds} s"
    return [
        alone(
            f"CAN: {busy}, lost",
            "frames",
            [max(each["lost"] for each in found["busy"])],
            budget=NONE,
            short=True,
        ),
        alone(
            f"CAN: {busy}, CPU",
            "% of a core",
            [each["cpu"] for each in found["busy"]],
            budget=QUARTER,
            short=True,
        ),
        row(
            "time per frame, published",
            "us",
            "burst",
            "bare",
            BARE.format("(virtual)"),
            short=True,
        ),
        row(
            "the same from a serial adapter",
            "us",
            "serial",
            "bare_serial",
            BARE.format("(slcan)"),
        ),
        row(
            "bus to subscriber, a message each, p50",
            "us",
            "single",
            "script_single",
            SCRIPT,
            "p50",
            short=True,
        ),
        row(
            "bus to subscriber, a message each, p99",
            "us",
            "single",
            "script_single",
            SCRIPT,
            "p99",
        ),
        row(
            "time per signal, decoded and published",
            "us",
            "signals",
            "script_signals",
            SCRIPT,
            short=True,
        ),
    ]


class Bench:
    """One broker, and a process for each measurement."""

    def __init__(self, setup: Setup, broker: Mosquitto) -> None:
        self._setup, self._broker = setup, broker
        self._count = 20_000 if setup.quick else 100_000
        self.seconds = round(setup.seconds(60.0))

    def busy(self) -> Figures:
        """A rate for a while: nothing is lost.

        What the sender costs is not the bridge's.
        """
        with self._peer("feeder") as ask:
            own = ask("rate", RATE, max(5, self.seconds // 4))["cpu"]
        with self._ours("frames: {}", "event/frames") as (ask, inbox):
            figures = ask("rate", RATE, self.seconds)
            inbox.wait(lambda: inbox.rows >= figures["sent"])
        return {"lost": figures["sent"] - inbox.whole(), "cpu": figures["cpu"] - own}

    def burst(self) -> Figures:
        """As many frames as it takes."""
        with self._ours("frames: {}", "event/frames") as (ask, inbox):
            began = ask("burst", self._count)
            return self._all(inbox, began)

    def bare(self) -> Figures:
        with self._peer("script") as ask:
            return {"time": ask("burst", self._count)}

    def serial(self) -> Figures:
        """The same through a serial port."""
        with (
            adapter() as (port, write),
            TemporaryDirectory(prefix="busbar-bench-") as folder,
        ):
            file = Path(folder) / "can.yaml"
            file.write_text(
                CONFIGURATION.format(
                    address=f"can::slcan::{port}::500000", more="frames: {}"
                )
            )
            command = [
                sys.executable,
                "-m",
                "can_bridge",
                "--config",
                str(file),
                "--broker",
                self._broker.url,
            ]
            inbox = Inbox()
            with self._subscribed(inbox, "event/frames", "status"), started(command):
                inbox.wait(inbox.online.is_set)
                return self._all(inbox, write(self._count))

    def bare_serial(self) -> Figures:
        count = self._count // 10  # it takes so long
        with adapter() as (port, write), self._peer("serial", port) as ask:
            began: list[int] = []
            writer = threading.Thread(target=lambda: began.append(write(count)))
            writer.start()
            last = ask("receive", count)
            writer.join()
            return {"time": (last - began[0]) / count / 1000}

    def single(self) -> Figures:
        """How long a frame takes that comes alone."""
        with self._ours("frames: {publish: single}", "event/frame") as (ask, inbox):
            return self._delays(ask, inbox)

    def script_single(self) -> Figures:
        with self._script("frame") as (ask, inbox):
            return self._delays(ask, inbox)

    def signals(self) -> Figures:
        """Frames of which every signal changes each time."""
        more = (
            f"frames: {{publish: none}}, database: {DATABASE}, signals: "
            f"{{min_interval: 0}}"
        )
        with self._ours(more, "event/change") as (ask, inbox):
            began = ask("signals", self._count // 5)
            return self._values(inbox, began)

    def script_signals(self) -> Figures:
        with self._script("+") as (ask, inbox):
            began = ask("signals", self._count // 5)
            return self._values(inbox, began)

    def _all(self, inbox: "Inbox", began: int) -> Figures:
        inbox.wait(lambda: inbox.rows >= self._count)
        if inbox.whole() != self._count:
            raise RuntimeError(f"{inbox.whole()} of {self._count} frames")
        return {"time": (inbox.last - began) / self._count / 1000}

    def _values(self, inbox: "Inbox", began: int) -> Figures:
        wanted = self._count // 5 * SIGNALS
        inbox.wait(lambda: inbox.values >= wanted)
        return {"time": (inbox.last - began) / wanted / 1000}

    def _delays(self, ask: Callable[..., Any], inbox: "Inbox") -> Figures:
        count = 200 if self._setup.quick else 1000
        ask("stamped", count)
        inbox.wait(lambda: len(inbox.delays) >= count)
        cuts = statistics.quantiles(inbox.delays, n=100)
        return {"p50": cuts[49] / 1000, "p99": cuts[98] / 1000}

    @contextmanager
    def _ours(
        self, more: str, channel: str
    ) -> "Iterator[tuple[Callable[..., Any], Inbox]]":
        inbox, text = (
            Inbox(),
            CONFIGURATION.format(address=LOOPBACK, more=f"receive_own: false, {more}"),
        )
        with (
            self._subscribed(inbox, channel),
            self._peer("bridge", self._broker.url, text) as ask,
        ):
            time.sleep(SETTLE)
            inbox.forget()
            yield ask, inbox

    @contextmanager
    def _script(self, topic: str) -> "Iterator[tuple[Callable[..., Any], Inbox]]":
        inbox = Inbox()
        with connected(self._broker.port, inbox.took) as client:
            subscribe(client, f"script/{topic}")
            with self._peer("script", self._broker.url) as ask:
                yield ask, inbox

    @contextmanager
    def _subscribed(self, inbox: "Inbox", *channels: str) -> Iterator[None]:
        with connected(self._broker.port, inbox.took) as client:
            for channel in channels:
                subscribe(client, f"{BASE}/{channel}")
            yield

    @contextmanager
    def _peer(self, role: str, *arguments: str) -> Iterator[Callable[..., Any]]:
        with started(
            python("can_peer", role, *(arguments or (self._broker.url,)))
        ) as process:
            ready(process)
            yield partial(ask, process)
            assert process.stdin is not None
            # it ends by itself, and the bridge says that it has stopped
            process.stdin.close()
            process.wait(LIMIT)


class Inbox:
    """What a subscriber is sent."""

    def __init__(self) -> None:
        self.online = threading.Event()
        self.forget()

    def forget(self) -> None:
        self.rows, self.values, self.last, self.delays = 0, 0, 0, list[int]()
        self._numbers = set[bytes]()

    def took(self, _client: Any, _userdata: Any, message: Any) -> None:
        self.last = time.monotonic_ns()
        {
            "frames": self._batch,
            "frame": self._frame,
            "change": self._change,
            "status": self._status,
        }.get(message.topic.rpartition("/")[2], self._value)(message.payload)

    def whole(self) -> int:
        """Return how many different frames have come."""
        return len(self._numbers)

    def wait(self, condition: Callable[[], Any]) -> None:
        """Wait as long as something comes."""
        deadline = time.monotonic() + LIMIT
        while not condition() and time.monotonic() < max(
            deadline, self.last / 1e9 + LIMIT
        ):
            time.sleep(0.005)

    def _batch(self, payload: bytes) -> None:
        frames = msgpack.unpackb(payload)["frames"]
        self.rows += len(frames)
        self._numbers.update(row[4] for row in frames)

    def _frame(self, payload: bytes) -> None:
        data = base64.b64decode(json.loads(payload)["data"])
        self.delays.append(self.last - int.from_bytes(data, "little"))

    def _change(self, payload: bytes) -> None:
        self.values += sum(
            each["path"].startswith("EngineData/")
            for each in json.loads(payload)["changes"]
        )

    def _value(self, _payload: bytes) -> None:
        self.values += 1

    def _status(self, payload: bytes) -> None:
        if b'"online"' in payload:
            self.online.set()


@contextmanager
def adapter() -> Iterator[tuple[str, Callable[[int], int]]]:
    """A serial adapter.

    Its port, and what sends so many frames and returns when that began (ns).
    """
    master, slave = pty.openpty()
    tty.setraw(slave)
    ending = threading.Event()

    def write(count: int) -> int:
        text = b"".join(
            slcan.encode(can.frame(NUMBERED, numbered(number)))
            for number in range(count)
        )
        began = time.monotonic_ns()
        while text and not ending.is_set():
            text = text[os.write(master, text[:4096]) :]
        return began

    try:
        yield os.ttyname(slave), write
    finally:
        ending.set()
        os.close(slave)
        os.close(master)
