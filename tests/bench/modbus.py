"""The Modbus bridge, from the unit to a subscriber, against a bare loop of pymodbus and
against modpoll."""

import json
import random
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec

from busbar.contract.messages import Change, ChangeEvent
from tests.bench.client import connected, subscribe
from tests.bench.environment import Environment
from tests.bench.figures import Budget, Row, alone, compare, in_turns
from tests.bench.machine import Setup, cpu, resident
from tests.bench.modbus_server import SIZE
from tests.bench.processes import ask, finished, python, started
from tests.broker import Mosquitto

PYMODBUS, MODPOLL = Environment("pymodbus", "3.16.1"), Environment("modpoll", "1.6.0")
# values of a read; modpoll reads no more than 123 registers at once
FEW, MANY = 10, 120
UNITS, TAGS = 10, 20  # each
# polls/s of modpoll, where it cannot be installed. Source: docs/protocols/modbus.md, 8
STATED = 87.3
AT_ONCE = 0.0001  # s; a period that is always over
DEAD = 3  # of three units
TIMEOUT = 0.1  # s that is waited for each of them
BEFORE, AFTER = 2.0, 6.0  # s of looking at three units, then at two
SETTLE = 1.0  # s until a bridge does what it does all day
PAUSES = (0.005, 0.03)  # s between writes
LIMIT = 30.0  # s
BASE = "busbar/bench"
# of the time: 0.9 and 20 times the rate
AS_FAST, TWENTIETH = Budget(1.11, ratio=True), Budget(0.05, ratio=True)

Figures = dict[str, float]


def run(setup: Setup) -> list[Row]:
    """Return rows for reads at full rate, an ordinary plant, writes between reads, and
    a unit that dies."""
    with Bench(setup) as bench:
        candidates: dict[str, Callable[[], Figures]] = {}
        for count in (FEW, MANY):
            candidates[f"ours {count}"] = partial(bench.ours, count)
            if PYMODBUS.there():
                candidates[f"pymodbus {count}"] = partial(bench.pymodbus, count)
        candidates["plant"] = bench.plant
        if MODPOLL.there():
            candidates |= {
                "modpoll": bench.modpoll,
                "modpoll plant": bench.modpoll_plant,
            }
        candidates |= {
            "writes": partial(bench.writes, AT_ONCE),
            "idle writes": partial(bench.writes, 3600.0),
        }
        candidates["mates"] = bench.mates
        figures = in_turns(setup.repetitions, candidates)
    return list(_rows(figures))


def _rows(figures: dict[str, list[Figures]]) -> Iterator[Row]:
    def row(
        what: str,
        unit: str,
        ours: str,
        theirs: str,
        against: str,
        key: str,
        other: str = "",
        **more: Any,
    ) -> Row:
        mine = [each[key] for each in figures[ours]]
        if theirs not in figures:
            return alone(f"Modbus: {what}", unit, mine, **more)
        beside = [each[other or key] for each in figures[theirs]]
        return compare(f"Modbus: {what}", unit, mine, beside, against, **more)

    loop, poll = (
        (f"bare loop of pymodbus {PYMODBUS.version}"),
        f"modpoll {MODPOLL.version}",
    )
    for count in (FEW, MANY):
        what = f"time per read of {count} values, published"
        yield row(
            what,
            "us",
            f"ours {count}",
            f"pymodbus {count}",
            loop,
            "read",
            budget=AS_FAST,
            short=count == FEW,
        )
    stated = TWENTIETH if "modpoll" in figures else Budget(round(1e6 / STATED / 20))
    what = f"time per read of {MANY} values, compared with modpoll"
    yield row(
        what, "us", f"ours {MANY}", "modpoll", poll, "read", budget=stated, short=True
    )
    yield row(
        (f"CPU per read of {MANY} values, published"),
        "us",
        f"ours {MANY}",
        "modpoll",
        poll,
        "cpu",
    )
    plant = f"{UNITS * TAGS} tags of {UNITS} units, every second"
    yield row(
        f"{plant}, CPU",
        "% of a core",
        "plant",
        "modpoll plant",
        poll,
        "cpu",
        short=True,
    )
    yield row(f"{plant}, resident memory", "MB", "plant", "modpoll plant", poll, "rss")
    for key in ("p50", "p99"):
        what = f"from the set to the unit, polling at full rate, {key}"
        yield row(
            what,
            "us",
            "writes",
            "idle writes",
            "the same, not polling",
            key,
            short=key == "p50",
        )
    what = f"time per read of two units, the first {AFTER:g} s after a third one died"
    yield row(
        what,
        "ms",
        "mates",
        "mates",
        "before",
        "after",
        "before",
        budget=AS_FAST,
        short=True,
    )


class Bench:
    """What all measurements need: units, a broker, a folder."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._stack = ExitStack()

    def __enter__(self) -> "Bench":
        with ExitStack() as stack:
            self._folder = Path(
                stack.enter_context(TemporaryDirectory(prefix="busbar-bench-"))
            )
            self._broker = stack.enter_context(Mosquitto())
            self._server = stack.enter_context(started(python("modbus_server")))
            assert self._server.stdout is not None
            self._port = int(self._server.stdout.readline())
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def ours(self, count: int) -> Figures:
        """Read one unit as fast as it goes."""
        with self._bridge([_device(1, count, AT_ONCE)]) as (pid, inbox):
            figures = self._full_rate(pid, inbox)
        readings = defaultdict[str, list[int]](list)
        for change in inbox.changes():
            readings[change.path].append(change.value)
        for address in range(count):
            _check(readings[f"v{address}"], address, figures["reads"])
        return figures

    def pymodbus(self, count: int) -> Figures:
        """The same without a bridge."""
        reads = 2000 if self._setup.quick else 8000
        script = str(Path(__file__).with_name("modbus_peer.py"))
        with started(
            [PYMODBUS.python, script, str(self._port), str(count), str(reads)]
        ) as process:
            return {"read": finished(process) / reads * 1e6}

    def modpoll(self) -> Figures:
        """The same by modpoll, which waits 10 ms between any two polls."""
        with self._modpoll({1: MANY}, AT_ONCE) as (pid, inbox):
            figures = self._full_rate(pid, inbox)
        rounds = [json.loads(payload) for payload in inbox.payloads]
        for address in range(MANY):
            _check([each[f"v{address}"] for each in rounds], address, figures["reads"])
        return figures

    def plant(self) -> Figures:
        """Read many tags of many units, seldom."""
        with self._bridge(
            [_device(unit, TAGS, 1.0) for unit in range(1, UNITS + 1)]
        ) as (pid, inbox):
            return self._seldom(pid, lambda: len(inbox.changes()))

    def modpoll_plant(self) -> Figures:
        with self._modpoll(dict.fromkeys(range(1, UNITS + 1), TAGS), 1.0) as (
            pid,
            inbox,
        ):
            return self._seldom(pid, lambda: TAGS * len(inbox.payloads))

    def writes(self, every: float) -> Figures:
        """Write while one unit is read as fast as it goes, or hardly ever."""
        count = 50 if self._setup.quick else 200
        asked = {"path": "asked", "address": 1000, "type": "int64", "access": "w"}
        with (
            self._bridge([_device(1, FEW, every, asked)]),
            connected(self._broker.port) as client,
        ):
            time.sleep(SETTLE)
            for _ in range(count):
                time.sleep(random.uniform(*PAUSES))
                client.publish(f"{BASE}/unit1/set/asked", str(time.monotonic_ns()), 1)
            delays = self._delays(count)
        return {
            "p50": delays[count // 2] / 1000,
            "p99": delays[count * 99 // 100] / 1000,
        }

    def mates(self) -> Figures:
        """Read three units at a rate that the line has room for; one dies."""
        with self._bridge(
            [_device(unit, FEW, 0.01) | {"timeout": TIMEOUT} for unit in (1, 2, DEAD)]
        ):
            time.sleep(SETTLE)
            figures = {"before": self._time_per_read(BEFORE)}
            ask(self._server, "silence", DEAD)
            figures["after"] = self._time_per_read(AFTER)
        ask(self._server, "speak", DEAD)
        return figures

    def _full_rate(self, pid: int, inbox: "Inbox") -> Figures:
        time.sleep(SETTLE)
        inbox.payloads.clear()
        before, (began, first) = cpu(pid), self._reads()
        time.sleep(self._setup.seconds(2.0))
        spent, (ended, last) = cpu(pid) - before, self._reads()
        reads = last["1"] - first["1"]
        return {
            "reads": reads,
            "read": (ended - began) / 1000 / reads,
            "cpu": spent * 1e6 / reads,
        }

    def _seldom(self, pid: int, values: Callable[[], int]) -> Figures:
        time.sleep(SETTLE)
        seconds = max(2.0, self._setup.seconds(4.0))
        before, began, spent = values(), time.perf_counter(), cpu(pid)
        time.sleep(seconds)
        spent, passed, came = (
            cpu(pid) - spent,
            time.perf_counter() - began,
            values() - before,
        )
        if not 0.7 < came / (UNITS * TAGS * seconds) < 1.6:  # whole rounds
            raise RuntimeError(f"{came} values in {seconds:g} s")
        return {"cpu": spent / passed * 100, "rss": resident(pid) / 1e6}

    def _time_per_read(self, seconds: float) -> float:
        """Return the time between two reads (ms) of one of the units that stay."""
        began, first = self._reads()
        time.sleep(seconds)
        ended, last = self._reads()
        return (
            (ended - began)
            / 1e6
            / sum((last[unit] - first[unit]) / 2 for unit in ("1", "2"))
        )

    def _reads(self) -> tuple[int, dict[str, int]]:
        began, reads = ask(self._server, "reads")
        return began, reads

    def _delays(self, count: int) -> list[int]:
        deadline = time.monotonic() + LIMIT
        while (
            len(delays := ask(self._server, "delays")) < count
            and time.monotonic() < deadline
        ):
            time.sleep(0.05)
        ask(self._server, "forget")
        if len(delays) != count:
            raise RuntimeError(f"{len(delays)} of {count} writes have arrived")
        return sorted(delays)

    @contextmanager
    def _bridge(self, devices: list[dict[str, Any]]) -> Iterator[tuple[int, "Inbox"]]:
        """Our bridge when all its devices are online; what comes is `event/change`."""
        line = {"name": "line", "address": f"modbus::tcp::127.0.0.1:{self._port}"}
        plan = {
            "bridge": {"name": "bench"},
            "log": {"level": "error"},
            "channels": [line],
            "devices": devices,
        }
        file = self._folder / "modbus.yaml"
        file.write_text(json.dumps(plan))
        command = [
            sys.executable,
            "-m",
            "modbus_bridge",
            "--config",
            str(file),
            "--broker",
            self._broker.url,
        ]
        with self._running(command, f"{BASE}/+/event/change", len(devices)) as running:
            yield running

    @contextmanager
    def _modpoll(
        self, units: dict[int, int], every: float
    ) -> Iterator[tuple[int, "Inbox"]]:
        """Run modpoll on so many registers of each unit; yield rounds of units."""
        lines = [
            f"device,unit{unit},{unit}\npoll,holding_register,0,{count},BE_BE\n"
            + "".join(
                f"ref,v{address},{address},uint16,r\n" for address in range(count)
            )
            for unit, count in units.items()
        ]
        file = self._folder / "modpoll.csv"
        file.write_text("".join(lines))
        command = [
            MODPOLL.python,
            "-m",
            "modpoll",
            "-d",
            "-f",
            str(file),
            "-r",
            str(every),
            "--interval",
            "0",
        ]
        command += [
            "--tcp",
            "127.0.0.1",
            "--tcp-port",
            str(self._port),
            "--loglevel",
            "ERROR",
        ]
        command += [
            "--mqtt-host",
            "127.0.0.1",
            "--mqtt-port",
            str(self._broker.port),
            "--mqtt-version",
            "5.0",
        ]
        with self._running(command, "modpoll/+/data", len(units)) as running:
            yield running

    @contextmanager
    def _running(
        self, command: list[str], topic: str, devices: int
    ) -> Iterator[tuple[int, "Inbox"]]:
        """A process when something has come of each device."""
        inbox = Inbox()
        with connected(self._broker.port, inbox.took) as client:
            subscribe(client, topic)
            with started(command) as process:
                deadline = time.monotonic() + LIMIT
                while len(inbox.topics) < devices:
                    if process.poll() is not None or time.monotonic() > deadline:
                        raise RuntimeError(
                            f"{command}: something has come of "
                            f"{len(inbox.topics)} of "
                            f"{devices}"
                        )
                    time.sleep(0.01)
                yield process.pid, inbox


class Inbox:
    """What a subscriber is sent."""

    def __init__(self) -> None:
        self.payloads: list[bytes] = []
        self.topics: set[str] = set()

    def took(self, _client: Any, _userdata: Any, message: Any) -> None:
        self.payloads.append(message.payload)
        self.topics.add(message.topic)

    def changes(self) -> list[Change]:
        """Return the values in `event/change`.

        Neither what the bridge counts itself, nor that a value became bad.
        """
        decoder = msgspec.json.Decoder(ChangeEvent)
        found = [
            change
            for payload in self.payloads
            for change in decoder.decode(payload).changes
        ]
        return [
            change
            for change in found
            if change.path.startswith("v") and change.value is not msgspec.UNSET
        ]


def _device(
    unit: int, count: int, every: float, *more: dict[str, Any]
) -> dict[str, Any]:
    properties = [
        {"path": f"v{address}", "address": address} for address in range(count)
    ]
    about = {"name": f"unit{unit}", "channel": "line", "unit": unit, "every": every}
    return {**about, "properties": [*properties, *more]}


def _check(values: list[int], address: int, reads: float) -> None:
    """Raise RuntimeError unless every read of a register came, once and in order."""
    steps = {(after - before) % SIZE for before, after in pairwise(values)}
    if len(values) < reads or steps != {1}:
        raise RuntimeError(
            f"register {address}: {len(values)} of {reads:g} reads, steps of {steps}"
        )
