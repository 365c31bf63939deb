"""Record conversations with Debian's INDI drivers, in a network of their own.

    python -m tests.traces.indi_record              all that are there
    python -m tests.traces.indi_record mount-goto   one of them
    python -m tests.traces.indi_record --check      compare only, write nothing

indiserver listens on all interfaces, hence the network namespace.
"""

import argparse
import asyncio
import difflib
import itertools
import os
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from busbar.codecs import indi
from busbar.codecs.indi import Element, EnableBLOB, GetProperties, Kind, NewVector
from tests.traces import indi_scenarios
from tests.traces.indi_normalised import normalised, written
from tests.traces.indi_text import elements, trimmed
from tests.traces.record import Recorder
from tests.traces.trace import FOLDER, Line, load, rows

ALONE = ["unshare", "--map-root-user", "--net", "sh", "-c"]
INSIDE = 'ip link set lo up && exec "$@"'
LIMIT = 60.0  # s for anything that is waited for
AT_ONCE = 8
PEER = "indi-bin 1.9.9+dfsg-2+b1 (Debian 12)"
_ports = itertools.count(7700)  # of the servers, in a network of their own


class RawClient:
    """A client that says what it is told and looks for what comes."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._codec = indi.ElementReader()
        self.seen: list[Element] = []
        self._news = asyncio.Event()
        self._reading: asyncio.Task[None] | None = None
        self._mark = 0

    async def open(self) -> None:
        self._reader, self._writer = await asyncio.open_connection(
            "127.0.0.1", self._port
        )
        self._reading = asyncio.create_task(self._read())

    async def close(self) -> None:
        self._writer.close()
        if self._reading:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)

    async def say(self, *what: Element) -> None:
        self._mark = len(self.seen)
        self._writer.write(b"\n".join(indi.encode(each).strip() for each in what))
        await self._writer.drain()

    async def new(self, kind: Kind, device: str, name: str, **members: object) -> None:
        texts = {key: str(value) for key, value in members.items()}
        await self.say(NewVector(kind, device, name, texts))

    async def wait(self, what: str, fits: Callable[[Element], bool]) -> Element:
        """Return the first element since the last one said that fits."""
        async with asyncio.timeout(LIMIT):
            place = self._mark
            while True:
                for element in itertools.islice(self.seen, place, None):
                    place += 1
                    if fits(element):
                        self._mark = place
                        return element
                self._news.clear()
                await self._news.wait()
        raise AssertionError(what)

    async def state(self, name: str, state: str) -> Element:
        """Wait until a vector has a state."""

        def fits(element: Element) -> bool:
            right = getattr(element, "name", "") == name
            return right and getattr(element, "state", "") == state

        return await self.wait(f"{name} {state}", fits)

    async def _read(self) -> None:
        while data := await self._reader.read(1 << 16):
            self._codec.feed(data)
            self.seen += self._codec.elements()
            self._news.set()


@dataclass
class Studio:
    """What a scenario has: recorded clients, and drivers that can be killed."""

    port: int  # of the recorder
    kill: Callable[[str], None]  # by the name of its program
    clients: list[RawClient] = field(default_factory=list)

    async def client(self) -> RawClient:
        """Return one more client that is recorded."""
        made = RawClient(self.port)
        await made.open()
        self.clients.append(made)
        return made

    async def start(self, device: str, *vectors: str) -> RawClient:
        """Return the first recorded client, with the definitions."""
        made = await self.client()
        await made.say(GetProperties())
        await asyncio.sleep(0.5)
        return made

    async def blobs(self, device: str, vector: str) -> RawClient:
        """Return a recorded client for BLOBs."""
        made = await self.client()
        await made.say(
            GetProperties(device, vector), EnableBLOB(device, "Only", vector)
        )
        await asyncio.sleep(0.2)
        return made


def _kill(server: int, driver: str) -> None:
    """Kill a driver of a server."""
    for each in Path("/proc").glob("[0-9]*"):
        stat = (each / "stat").read_text().rpartition(") ")[2].split()
        command = (each / "cmdline").read_bytes().split(b"\0")[0].decode()
        if command == driver and int(stat[1]) == server:
            os.kill(int(each.name), 9)
            return
    raise LookupError(driver)


async def record(name: str) -> None:
    """Record one scenario into its file."""
    scenario = indi_scenarios.SCENARIOS[name]
    whole = await _played(name)
    kept = list(trimmed(elements(whole), set(scenario.kept), scenario.others))
    start = kept[0].t
    moved = [Line(e.t - start, e.direction, e.data, e.connection) for e in kept]
    about = {
        "about": scenario.about,
        "peer": f"{' '.join(scenario.drivers)}, {PEER}",
        "made": f"python -m tests.traces.indi_record {name}",
        "prepared": scenario.prepared,
        "others": list(scenario.others),
        "vectors": list(scenario.kept),
    }
    path = FOLDER / "indi" / f"{name}.jsonl"
    path.write_text("\n".join(rows(about, moved)) + "\n")
    print(f"{name}: {path.stat().st_size} bytes", flush=True)


async def check(name: str) -> None:
    """Print what a driver says otherwise than it did when it was recorded."""
    kept = indi_scenarios.SCENARIOS[name].kept
    before = list(written(normalised(load(f"indi/{name}").lines, kept)))
    now = list(written(normalised(elements(await _played(name)), kept)))
    for row in difflib.unified_diff(before, now, "recorded", "now", lineterm=""):
        print(f"{name}: {row}", flush=True)
    print(f"{name}: {'same' if before == now else 'different'}", flush=True)


async def _played(name: str) -> list[Line]:
    """Play a scenario on an indiserver of its own; return what was said."""
    scenario = indi_scenarios.SCENARIOS[name]
    async with AsyncExitStack() as stack:
        home = stack.enter_context(tempfile.TemporaryDirectory())
        port = next(_ports)
        server = _serve(home, port, scenario.drivers)
        stack.callback(server.wait)
        stack.callback(server.terminate)
        await _listening(port)
        lines = await converse(scenario, port, partial(_kill, server.pid))
    return [_anonymous(line, home) for line in lines]


async def converse(
    scenario: indi_scenarios.Scenario, port: int, kill: Callable[[str], None]
) -> list[Line]:
    """Play a scenario with the server on a port; return what was said.

    `kill` ends a driver by the name of its program.
    """
    lines: list[Line] = []
    async with AsyncExitStack() as stack:
        recorder = Recorder(lines.append)
        tee = await stack.enter_async_context(recorder.tcp(0, "127.0.0.1", port))
        studio = Studio(tee, kill)
        silent = RawClient(port)
        await silent.open()
        stack.push_async_callback(silent.close)
        await silent.say(GetProperties())
        await asyncio.sleep(0.5)
        await scenario.prepare(silent)
        await asyncio.sleep(1.0)
        await scenario.play(studio)
        await asyncio.sleep(scenario.rest)
        for client in studio.clients:
            await client.close()
    return lines


def _anonymous(line: Line, home: str) -> Line:
    data = line.data.replace(home.encode(), b"/home/indi")
    return Line(line.t, line.direction, data, line.connection)


def _serve(home: str, port: int, drivers: tuple[str, ...]) -> subprocess.Popen[bytes]:
    command = ["indiserver", "-p", str(port), "-u", f"{home}/socket", *drivers]
    environment = {**os.environ, "HOME": home, "TZ": "UTC"}
    return subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment,
        cwd=home,
    )


async def _listening(port: int) -> None:
    async with asyncio.timeout(LIMIT):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.05)
                continue
            writer.close()
            break
    await asyncio.sleep(1.0)  # the drivers say what they have


async def _all(wanted: list[str], do: Callable[[str], Awaitable[None]]) -> None:
    places = asyncio.Semaphore(AT_ONCE)

    async def one(name: str) -> None:
        async with places:
            try:
                await do(name)
            except (TimeoutError, OSError) as error:
                print(f"{name}: {error!r}", flush=True)

    await asyncio.gather(*(one(name) for name in wanted))


def main() -> None:
    """Record or check what the command line names, in a network namespace."""
    parser = argparse.ArgumentParser(prog="python -m tests.traces.indi_record")
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    parser.add_argument("names", nargs="*", help="default: all")
    arguments = parser.parse_args()
    if os.environ.get("BUSBAR_ALONE"):
        wanted = arguments.names or list(indi_scenarios.SCENARIOS)
        asyncio.run(_all(wanted, check if arguments.check else record))
        return
    command = [sys.executable, "-m", "tests.traces.indi_record", *sys.argv[1:]]
    environment = {**os.environ, "BUSBAR_ALONE": "1"}
    subprocess.run([*ALONE, INSIDE, "sh", *command], check=True, env=environment)


if __name__ == "__main__":
    main()
