"""The INDI bridge up to a subscriber of the broker, compared with indipyclient.

indipyclient has no MQTT. Both are clients of the same fake server with 266 vectors;
nobody subscribes to images while latencies are measured.
"""

import hashlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

from tests.bench import indi_server
from tests.bench.client import connected, subscribe
from tests.bench.figures import Budget, Row, compare, in_turns
from tests.bench.indi_arrivals import Changes, Definitions, Images
from tests.bench.indi_server import CAMERA, VECTORS
from tests.bench.machine import Setup, cpu, resident
from tests.bench.processes import ask, python, started
from tests.broker import Mosquitto

MANY = 20_000  # sets in one write
PAUSE = 1000  # us between single sets
IMAGE = 16 * 1024 * 1024  # bytes
IMAGES = 4  # in a row
FRAME = 2_629_440  # bytes of a stored frame of the simulated camera
EVERY = 250  # ms between frames
SETTLE = 1.0  # s until everything has been done that follows, snapshots too
BASE = "busbar/bench"
AGAINST = "indipyclient 0.9.4"
TWICE = Budget(2.0, ratio=True)
MEMORY = Budget(60.0)  # MB
SECOND = Budget(1.0)
LARGE = "max_packet_size 33554432"  # bytes; the image is one message
CONFIGURATION = """
bridge: {{name: bench}}
log: {{level: error}}
servers:
  - {{name: pi, address: "indi::127.0.0.1:{port}"}}
"""

PERCENTILES = {"p50": 0.5, "p99": 0.99}

Figures = dict[str, float]
Process = subprocess.Popen[str]
Values = dict[str, dict[str, dict[str, Any]]]  # device -> vector -> member -> value


class Side(Protocol):
    """A client of the server, ours or theirs."""

    pid: int

    def defined(self) -> dict[str, Any]: ...
    def came(self, count: int) -> list[list[Any]]: ...
    def aged(self, count: int) -> list[float]: ...
    def images(self, count: int) -> int: ...
    def image(self) -> int: ...
    def watching(self) -> AbstractContextManager[None]: ...
    def sum(self) -> str: ...


def run(setup: Setup) -> list[Row]:
    """Return rows for sets, BLOBs, definitions, and latency with and without images."""
    measured = {side: partial(_measured, side, setup) for side in SIDES}
    figures = in_turns(setup.repetitions, measured)

    def column(side: str, key: str) -> list[float]:
        return [each[key] for each in figures[side]]

    def row(what: str, unit: str, key: str, **more: Any) -> Row:
        ours = column("ours", key)
        theirs = column("theirs", key)
        return compare(f"INDI: {what}", unit, ours, theirs, AGAINST, **more)

    def with_images(percentile: str) -> Row:
        return compare(
            f"INDI: state latency, images compared with none, {percentile}",
            "us",
            column("ours", f"images {percentile}"),
            column("ours", f"quiet {percentile}"),
            "without images",
        )

    rows = [
        row(f"CPU per set, {MANY} in a row", "us", "row", budget=TWICE, short=True),
        row(f"CPU per set, {1_000_000 // PAUSE}/s", "us", "paced", budget=TWICE),
        row("BLOB of 16 MiB, CPU", "ms", "blob", short=True),
        row("BLOB of 16 MiB, extra memory", "MB", "memory", budget=MEMORY, short=True),
        row(f"{IMAGES} BLOBs of 16 MiB in a row, extra memory", "MB", "memories"),
        row(
            f"{VECTORS} definitions, from the connection to the last",
            "s",
            "defined",
            budget=SECOND,
            short=True,
        ),
    ]
    for name in PERCENTILES:
        rows.append(row(f"state latency, {name}", "us", f"quiet {name}"))
    for name in PERCENTILES:
        what = f"state latency while images stream, {name}"
        rows.append(row(what, "us", f"images {name}"))
    for name in PERCENTILES:
        rows.append(with_images(name))
    return rows


def _measured(role: str, setup: Setup) -> Figures:
    with _server() as (server, port), SIDES[role](port) as side:
        found = side.defined()
        _check_definitions(found["values"])
        took = found["at"] - ask(server, "came")
        figures = {"defined": took / 1e9}
        time.sleep(SETTLE)
        figures |= _blobs(side, server)
        single = round(setup.seconds(3.0) * 1_000_000) // PAUSE
        figures["row"] = _sets(side, server, 0, MANY, 0)
        figures["paced"] = _sets(side, server, MANY, single, PAUSE)
        ages = round(setup.seconds(4.0) * 200)
        figures |= _ages(side, server, ages, "quiet", 0)
        figures |= _ages(side, server, ages, "images", FRAME)
        return figures


def _sets(side: Side, server: Process, first: int, count: int, pause: int) -> float:
    """Return the CPU (us) of a set; all of them must have come, in order."""
    with _costing(side.pid, count) as cost:
        ask(server, "sets", first, count, pause)
        found = [(vector, int(value)) for vector, value in side.came(count)]
        time.sleep(SETTLE)
    if found != list(indi_server.sets(first, count)):
        raise RuntimeError(
            f"{len(found)} of {count} sets have come, or not as they were sent"
        )
    return cost[0] * 1e6


def _blobs(side: Side, server: Process) -> Figures:
    """Measure the first, then some more.

    Nothing before them has left memory that they could take.
    """
    before = resident(side.pid)
    figures = Figures()
    _forget_peak(side.pid)
    with side.watching(), _costing(side.pid, IMAGES) as cost:
        for number in range(1, IMAGES + 1):
            ask(server, "image", IMAGE)
            if side.image() != 1:
                raise RuntimeError(f"image {number} has not come")
            figures["memories"] = (_peak(side.pid) - before) / 1e6
            figures.setdefault("memory", figures["memories"])
        time.sleep(SETTLE)
    if side.sum() != hashlib.sha256(indi_server.pixels(IMAGE)).hexdigest():
        raise RuntimeError("the image is another one")
    side.images(IMAGES)
    return {**figures, "blob": cost[0] * 1e3}


def _ages(side: Side, server: Process, count: int, kind: str, frame: int) -> Figures:
    frames = ask(server, "stamped", count, frame, EVERY)
    ages = sorted(side.aged(count))
    # the last image is on its way
    lost = frames > 0 and side.images(frames) < frames - 1
    if lost or len(ages) != count:
        raise RuntimeError(f"{len(ages)} of {count} sets with {frames} images")
    figures = Figures()
    for name, share in PERCENTILES.items():
        figures[f"{kind} {name}"] = ages[int(count * share)]
    return figures


def _check_definitions(found: Values) -> None:
    for vector in indi_server.observatory():
        if vector.kind == "BLOB":
            continue
        values = found[vector.device][vector.name]
        for member in vector.members:
            value = values[member.name]
            if not _same(value, member.value):
                name = f"{vector.device}.{vector.name}.{member.name}"
                raise RuntimeError(f"{name} is {value!r}")


def _same(found: Any, text: str) -> bool:
    if isinstance(found, bool):
        return found == (text == "On")
    if isinstance(found, float):
        return found == float(text)
    return bool(found == text)


@contextmanager
def _costing(pid: int, count: int) -> Iterator[list[float]]:
    """Give a list that gets the CPU time (s) of each of so many."""
    cost: list[float] = []
    before = cpu(pid)
    yield cost
    cost.append((cpu(pid) - before) / count)


def _forget_peak(pid: int) -> None:
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def _peak(pid: int) -> int:
    """Return the most memory (bytes) that was resident since it was forgotten."""
    status = Path(f"/proc/{pid}/status").read_text()
    _, _, rest = status.partition("VmHWM:")
    kilobytes = int(rest.split()[0])
    return kilobytes * 1024


class Bridge:
    """Our side: the bridge, and what subscribes to it."""

    def __init__(
        self, pid: int, broker: Mosquitto, definitions: Definitions, changes: Changes
    ) -> None:
        self.pid = pid
        self._broker = broker
        self._images = Images()
        self.defined = definitions.wait
        self.came = changes.came
        self.aged = changes.aged
        self.images = changes.images
        self.image = self._images.wait
        self.sum = self._images.sum

    @contextmanager
    def watching(self) -> Iterator[None]:
        with connected(self._broker.port, self._images.on_message) as client:
            subscribe(client, f"{BASE}/{CAMERA}/blob/+")
            yield


class Client:
    """indipyclient in its process."""

    watching = nullcontext

    def __init__(self, process: Process) -> None:
        self.pid = process.pid
        self.defined = partial(ask, process, "defined")
        self.sum = partial(ask, process, "sum")
        self.came = partial(ask, process, "came")
        self.aged = partial(ask, process, "aged")
        self.images = partial(ask, process, "images")
        self.image = partial(ask, process, "images", 1)


@contextmanager
def _ours(port: int) -> Iterator[Bridge]:
    """A bridge whose observatory is on the bus.

    Nobody listens to more than is asked for later.
    """
    definitions, changes = Definitions(), Changes()
    with ExitStack() as stack:
        folder = stack.enter_context(TemporaryDirectory(prefix="busbar-bench-"))
        broker = stack.enter_context(Mosquitto(LARGE))
        file = Path(folder) / "indi.yaml"
        file.write_text(CONFIGURATION.format(port=port))
        with connected(broker.port, definitions.on_message) as client:
            for channel in ("info", "state/+"):
                subscribe(client, f"{BASE}/+/{channel}")
            command = [
                sys.executable,
                "-m",
                "indi_bridge",
                "--config",
                str(file),
                "--broker",
                broker.url,
            ]
            process = stack.enter_context(started(command))
            definitions.wait()
        client = stack.enter_context(connected(broker.port, changes.on_message))
        subscribe(client, f"{BASE}/{CAMERA}/event/change")
        yield Bridge(process.pid, broker, definitions, changes)


@contextmanager
def _theirs(port: int) -> Iterator[Client]:
    with started(python("indi_peer", str(port), str(VECTORS))) as process:
        yield Client(process)


SIDES: dict[str, Callable[[int], Any]] = {"ours": _ours, "theirs": _theirs}


@contextmanager
def _server() -> Iterator[tuple[Process, int]]:
    with started(python("indi_server")) as process:
        assert process.stdout is not None
        yield process, int(process.stdout.readline())
