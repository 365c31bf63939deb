"""Commands.

Round trip, throughput, and what a burst of them costs, against an echo on stock paho.
"""

import itertools
import json
import statistics
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from tests.bench.client import connected, subscribe
from tests.bench.figures import Row, compare, in_turns
from tests.bench.machine import Setup, cpu
from tests.bench.processes import finished, python, ready, started
from tests.bench.server import COMMANDS, REPLIES
from tests.broker import Mosquitto

WINDOW = 50  # commands under way for the throughput
BURST = 1000  # at once; a bridge takes 2000
LIMIT = 60.0  # s
AGAINST = "echo on stock paho"

Figures = dict[str, float]


def run(setup: Setup) -> list[Row]:
    """Return rows for commands with their outcome, and one for receiving alone."""
    counts = (200, 1000) if setup.quick else (1000, 5000)
    with Mosquitto() as broker:
        figures = in_turns(
            setup.repetitions,
            {
                **{
                    role: partial(_served, role, broker, *counts)
                    for role in ("bridge", "stock")
                },
                **{
                    role: partial(_taken, role, broker, counts[1])
                    for role in ("take", "take_stock")
                },
            },
        )
    ours, stock = figures["bridge"], figures["stock"]
    return [
        _row(
            "command round trip, p50", "us", "round", ours, stock, AGAINST, short=True
        ),
        _row(
            (f"commands per second, {WINDOW} under way"),
            "1/s",
            "rate",
            ours,
            stock,
            AGAINST,
        ),
        _row(
            (f"CPU per command with outcome, {BURST} at once"),
            "us",
            "cpu",
            ours,
            stock,
            AGAINST,
        ),
        _row(
            "CPU per command received, burst",
            "us",
            "cpu",
            figures["take"],
            figures["take_stock"],
            "stock paho",
        ),
    ]


def _row(
    what: str,
    unit: str,
    key: str,
    ours: list[Figures],
    stock: list[Figures],
    against: str,
    **more: Any,
) -> Row:
    return compare(
        what,
        unit,
        [each[key] for each in ours],
        [each[key] for each in stock],
        against,
        **more,
    )


def _served(role: str, broker: Mosquitto, few: int, many: int) -> Figures:
    with started(python("server", role, broker.url, "0")) as server:
        ready(server)
        caller = Caller()
        with connected(broker.port, caller.on_message) as client:
            subscribe(client, REPLIES)
            caller.call = lambda number: client.publish(COMMANDS, payload(number), 1)
            rounds = [caller.run(1, 1) for _ in range(few)]
            rate = many / caller.run(many, WINDOW)
            before = cpu(server.pid)
            caller.run(BURST, BURST)
            cost = (cpu(server.pid) - before) / BURST
    return {"round": statistics.median(rounds) * 1e6, "rate": rate, "cpu": cost * 1e6}


def _taken(role: str, broker: Mosquitto, count: int) -> Figures:
    with started(python("server", role, broker.url, str(count))) as server:
        ready(server)
        with connected(broker.port) as client:
            for number in range(count):
                client.publish(COMMANDS, payload(number), 1)
            return {"cpu": finished(server)["cpu"] / count * 1e6}


def payload(number: int) -> bytes:
    """A command as a client of ours writes it."""
    return json.dumps({"text": "MEASure:VOLTage:DC?", "_id": number}).encode()


class Caller:
    """Keeps a number of commands under way; the next goes out with each outcome."""

    def __init__(self) -> None:
        self.call: Callable[[int], Any] = lambda number: None
        self._numbers = itertools.count()
        self._left = self._due = 0
        self._complete = threading.Event()

    def run(self, count: int, window: int) -> float:
        """Return how long `count` commands take (s)."""
        self._complete.clear()
        self._due, self._left = count, count - window
        began = time.perf_counter()
        for _ in range(window):
            self.call(next(self._numbers))
        if not self._complete.wait(LIMIT):
            raise RuntimeError(f"{self._due} of {count} commands have no outcome")
        return time.perf_counter() - began

    def on_message(self, _client: Any, _userdata: Any, message: Any) -> None:
        assert b'"ok":true' in message.payload.replace(b" ", b""), message.payload
        self._due -= 1
        if self._left > 0:
            self._left -= 1
            self.call(next(self._numbers))
        if self._due == 0:
            self._complete.set()
