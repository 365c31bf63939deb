"""CIP bridge, from MQTT to a processor and back, compared with python-cipclient.

python-cipclient has no MQTT. Both talk to the same fake processor, a process that runs
this module, too: `python -m tests.bench.cip RESIDENT`.
"""

import asyncio
import itertools
import json
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import msgspec

from busbar.codecs import cip
from busbar.codecs.cip import Command, Form, Join, Update
from busbar.contract.messages import ChangeEvent
from tests.bench.cip_peer import IPID, JOINS, Inbox, Pair, pairs, pauses
from tests.bench.client import connected, subscribe
from tests.bench.commands import Caller
from tests.bench.figures import Budget, Row, alone, compare, in_turns
from tests.bench.machine import Setup, cpu, resident
from tests.bench.processes import ask, python, ready, started
from tests.broker import Mosquitto

BURST = 3000  # joins in one write
RESIDENT = 10_000  # joins of an update
WINDOW = 50  # sets under way
TOGETHER, SETS = 100, 10  # joins in one set, such sets under way
SETTLE = 2.0  # s until a client is really idle
LIMIT = 30.0  # s until online
# joins at once, ms between: more than each takes, and it loses none
PACE = {"ours": (500, 2), "theirs": (50, 5)}
UPDATE = (50, 5)  # the same of an update: python-cipclient loses what comes faster
BASE = "busbar/bench/panel"
AGAINST = "python-cipclient 0.0.2"
TENTH, FIFTH, NONE = Budget(0.1, ratio=True), Budget(0.2, ratio=True), Budget(0.0)
CONFIGURATION = """
bridge: {{name: bench}}
log: {{level: error}}
devices:
  - {{name: panel, address: "cip::127.0.0.1:{port}", ipid: {ipid}}}
"""

Figures = dict[str, float]
Process = subprocess.Popen[str]


class Side(Protocol):
    """A client of the processor, ours or theirs; numbers are those of `pairs`."""

    pid: int

    def sets(self, first: int, count: int) -> int: ...
    def texts(self, count: int) -> None: ...
    def came(self, first: int, count: int) -> dict[str, int]: ...
    def holds(self, count: int) -> dict[str, int]: ...


def run(setup: Setup) -> list[Row]:
    """Return rows for joins out and in, a burst, and what it costs to be there."""
    many, few = (4000, 500) if setup.quick else (20_000, 2000)
    figures = in_turns(
        setup.repetitions,
        {
            "ours": partial(_measured, "ours", many, setup),
            "theirs": partial(_measured, "theirs", few, setup),
        },
    )

    def row(what: str, unit: str, key: str, other: str = "", **more: Any) -> Row:
        ours, theirs = (
            [each[key] for each in figures["ours"]],
            [each[other or key] for each in figures["theirs"]],
        )
        return compare(f"CIP: {what}", unit, ours, theirs, AGAINST, **more)

    return [
        row(
            (f"time per join out, a set each, {WINDOW} under way"),
            "us",
            "out",
            budget=TENTH,
            short=True,
        ),
        row(
            (f"time per join out, {TOGETHER} in a set"),
            "us",
            "together",
            "out",
            budget=TENTH,
        ),
        row("time per join in", "us", "in", budget=TENTH, short=True),
        row(
            "from the set to the processor, p50",
            "us",
            "delay",
            budget=FIFTH,
            short=True,
        ),
        _lost(
            [each["lost"] for each in figures["ours"]],
            [each["lost"] for each in figures["theirs"]],
        ),
        row("idle, CPU", "% of a core", "cpu"),
        row(f"resident memory with {RESIDENT} joins", "MB", "rss"),
    ]


def _lost(ours: list[float], theirs: list[float]) -> Row:
    """The worst of ours counts; there is no ratio where nothing is lost."""
    title, more = (
        (f"CIP: of {BURST} joins in one write, lost or wrong"),
        {"budget": NONE, "short": True},
    )
    if all(theirs):
        return replace(
            compare(title, "joins", ours, theirs, AGAINST, **more), ours=max(ours)
        )
    return alone(title, "joins", [max(ours)], **more)


def _measured(role: str, count: int, setup: Setup) -> Figures:
    with _processor(0) as (processor, port), SIDES[role](port, JOINS) as side:
        numbers = itertools.count(0, 100_000)
        figures = {
            "cpu": _idle(side.pid, setup.seconds(6.0)),
            "delay": _delay(side, processor, 50 if setup.quick else 200),
        }
        figures["out"] = _out(side.sets, processor, next(numbers), count)
        if isinstance(side, Bridge):
            figures["together"] = _out(
                side.sets_together, processor, next(numbers), count
            )
        figures["in"] = _in(side, processor, next(numbers), count, PACE[role])
        figures["lost"] = _burst(side, processor, next(numbers))
    with _processor(RESIDENT) as (_, port), SIDES[role](port, 0) as side:
        held = side.holds(RESIDENT)
        if held["delivered"] < RESIDENT:
            raise RuntimeError(f"{role}: {held} of {RESIDENT} joins")
        time.sleep(SETTLE)
        return {**figures, "rss": resident(side.pid) / 1e6}


def _idle(pid: int, seconds: float) -> float:
    time.sleep(SETTLE)
    before, began = cpu(pid), time.perf_counter()
    time.sleep(seconds)
    return (cpu(pid) - before) / (time.perf_counter() - began) * 100


def _delay(side: Side, processor: Process, count: int) -> float:
    side.texts(count)
    delays = ask(processor, "delays", count)
    if len(delays) < count:
        raise RuntimeError(f"{len(delays)} of {count} texts have arrived")
    return statistics.median(delays) / 1000


def _out(
    sets: Callable[[int, int], int], processor: Process, first: int, count: int
) -> float:
    began = sets(first, count)
    return _each(ask(processor, "heard", first, count), began, count)


def _in(
    side: Side, processor: Process, first: int, count: int, pace: tuple[int, int]
) -> float:
    began = ask(processor, "send", first, count, *pace)
    return _each(side.came(first, count), began, count)


def _each(found: dict[str, int], began: int, count: int) -> float:
    """Return the time per join (us) of joins that have all arrived."""
    if found["delivered"] < count or found["wrong"]:
        raise RuntimeError(f"{found} of {count} joins")
    return (found["last"] - began) / 1000 / count


def _burst(side: Side, processor: Process, first: int) -> float:
    ask(processor, "send", first, BURST, BURST, 0)
    found = side.came(first, BURST)
    return BURST - found["delivered"] + found["wrong"]


class Bridge:
    """Our side: stock paho sets and reads, the bridge between."""

    def __init__(self, broker: Mosquitto, pid: int, inbox: Inbox) -> None:
        self.pid = pid
        self._broker, self._inbox = broker, inbox

    def sets(self, first: int, count: int) -> int:
        numbered = list(pairs(first, count))
        return self._call(
            [(f"set/analog/{join}", str(value)) for join, value in numbered], WINDOW
        )

    def sets_together(self, first: int, count: int) -> int:
        numbered = [(f"analog/{join}", value) for join, value in pairs(first, count)]
        parts = [
            dict(numbered[start : start + TOGETHER])
            for start in range(0, count, TOGETHER)
        ]
        return self._call([("set", json.dumps(each)) for each in parts], SETS)

    def texts(self, count: int) -> None:
        with connected(self._broker.port) as client:
            for _ in pauses(count):
                client.publish(f"{BASE}/set/serial/1", str(time.monotonic_ns()), 1)

    def came(self, first: int, count: int) -> dict[str, int]:
        return self._inbox.came(first, count)

    def holds(self, count: int) -> dict[str, int]:
        return self._inbox.came(0, count, count)

    def _call(self, messages: list[tuple[str, str]], window: int) -> int:
        caller = Caller()
        with connected(self._broker.port, caller.on_message) as client:
            subscribe(client, f"{BASE}/reply")

            def call(number: int) -> None:
                topic, payload = messages[number]
                client.publish(f"{BASE}/{topic}", payload, 1)

            caller.call = call
            began = time.monotonic_ns()
            caller.run(len(messages), window)
        return began


class Client:
    """python-cipclient in its process."""

    def __init__(self, process: Process) -> None:
        self.pid = process.pid
        self.sets = partial(ask, process, "sets")
        self.texts = partial(ask, process, "texts")
        self.came = partial(ask, process, "came")
        self.holds = partial(ask, process, "holds")


@contextmanager
def _ours(port: int, _subscriptions: int) -> Iterator[Bridge]:
    """A bridge that is online, and what subscribes to its changes."""
    inbox, online, changes = (
        Inbox(),
        threading.Event(),
        msgspec.json.Decoder(ChangeEvent),
    )

    def on_message(_client: Any, _userdata: Any, message: Any) -> None:
        if message.topic.endswith("status"):
            if b'"online"' in message.payload:
                online.set()
            return
        for change in changes.decode(message.payload).changes:
            kind, _, join = change.path.partition("/")
            if kind == "analog":
                inbox.took(kind, int(join), change.value)

    with ExitStack() as stack:
        folder = stack.enter_context(TemporaryDirectory(prefix="busbar-bench-"))
        broker = stack.enter_context(Mosquitto())
        file = Path(folder) / "cip.yaml"
        file.write_text(CONFIGURATION.format(port=port, ipid=f"0x{IPID:02X}"))
        client = stack.enter_context(connected(broker.port, on_message))
        for channel in ("status", "event/change"):
            subscribe(client, f"{BASE}/{channel}")
        command = [
            sys.executable,
            "-m",
            "cip_bridge",
            "--config",
            str(file),
            "--broker",
            broker.url,
        ]
        process = stack.enter_context(started(command))
        if not online.wait(LIMIT):
            raise RuntimeError(f"{command} does not get online")
        yield Bridge(broker, process.pid, inbox)


@contextmanager
def _theirs(port: int, subscriptions: int) -> Iterator[Client]:
    with started(python("cip_peer", str(port), str(subscriptions))) as process:
        ready(process)
        yield Client(process)


SIDES: dict[str, Callable[[int, int], Any]] = {"ours": _ours, "theirs": _theirs}


@contextmanager
def _processor(joins: int) -> Iterator[tuple[Process, int]]:
    with started(python("cip", str(joins))) as process:
        assert process.stdout is not None
        yield process, int(process.stdout.readline())


class Processor(asyncio.Protocol):
    """The least that a panel needs.

    Greeting, sign-on, an update of so many joins, heartbeat.
    """

    def __init__(self, joins: int) -> None:
        self._joins = joins
        self._heard, self._delays = Inbox(), list[int]()
        self._tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport, self._reader = transport, cip.Reader()
        self._tell(cip.Hello())

    def data_received(self, data: bytes) -> None:
        now = time.monotonic_ns()
        self._reader.feed(data)
        for message in self._reader.messages():
            match message:
                case Update(join, value) if join.kind == "serial":
                    self._delays.append(now - int(value))
                case Update(join, value):
                    self._heard.took(join.kind, join.number, int(value))
                case cip.Connect():
                    self._tell(cip.ConnectResult(0))
                case cip.Ping():
                    self._tell(cip.Pong())
                case Command(code=cip.START):
                    task = asyncio.create_task(self._update())
                    self._tasks.add(task)
                    task.add_done_callback(self._tasks.discard)

    async def send(self, first: int, count: int, together: int, pause: int) -> int:
        """Drive joins, so many in one write, then a pause (ms).

        Return when that began (ns).
        """
        return await self._drive(pairs(first, count), together, pause)

    async def heard(self, first: int, count: int) -> dict[str, int]:
        return await asyncio.to_thread(self._heard.came, first, count)

    async def delays(self, count: int) -> list[int]:
        """Return how long each text took (ns)."""
        deadline = time.monotonic() + LIMIT
        while len(self._delays) < count and time.monotonic() < deadline:  # noqa: ASYNC110  # rare enough
            await asyncio.sleep(0.05)
        return self._delays

    async def _update(self) -> None:
        self._tell(Command(cip.START))
        await self._drive(pairs(0, self._joins, self._joins), *UPDATE)
        self._tell(Command(cip.END_OF_UPDATE))
        self._tell(Command(cip.END_OF_QUERY))

    async def _drive(self, values: Iterable[Pair], together: int, pause: int) -> int:
        frames = [
            cip.encode(Update(Join("analog", join), value, Form.ANALOG))
            for join, value in values
        ]
        began = time.monotonic_ns()
        for number, start in enumerate(range(0, len(frames), together)):
            await asyncio.sleep(
                max(0.0, (began - time.monotonic_ns()) / 1e9 + number * pause / 1000)
            )
            self._transport.write(b"".join(frames[start : start + together]))
        return began

    def _tell(self, message: Any) -> None:
        self._transport.write(cip.encode(message))


async def main(joins: int) -> None:
    """Say the port, then do what each line says."""
    processor = Processor(joins)
    async with await asyncio.get_running_loop().create_server(
        lambda: processor, "127.0.0.1", 0
    ) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        tasks = {
            "send": processor.send,
            "heard": processor.heard,
            "delays": processor.delays,
        }
        while line := await asyncio.to_thread(sys.stdin.readline):
            task, *numbers = line.split()
            print(json.dumps(await tasks[task](*map(int, numbers))), flush=True)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
