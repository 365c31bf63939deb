"""Start-up, memory and CPU of a bridge with nothing to do, against mqtt-io."""

import json
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.bench import peer
from tests.bench.client import connected, subscribe
from tests.bench.figures import Budget, Row, alone, compare, in_turns
from tests.bench.machine import Setup, cpu, resident
from tests.bench.processes import started
from tests.broker import Mosquitto

LIMIT = 30.0  # s until online
SETTLE = 1.5  # s after that, until it is really idle
CONFIGURATION = """
bridge: {{name: idle}}
log: {{level: error}}
devices:
  - name: psu
    address: tcp::127.0.0.1:{port}
    properties:
      - {{path: output, query: "OUTP1?", type: boolean{every}}}
"""
OURS = {"idle": "", "polling": ", every: 0.1"}
TITLES = {
    "cpu": ("CPU", "% of a core", Budget(1.0)),
    "rss": ("resident memory", "MB", Budget(45.0)),
    "start": ("start until online", "s", None),
}

Figures = dict[str, float]


def run(setup: Setup) -> list[Row]:
    """Return rows of the idle bridge, and the CPU of one that polls as often as mqtt-io
    does."""
    with (
        TemporaryDirectory(prefix="busbar-bench-") as name,
        Mosquitto() as broker,
        _simulator() as supply,
    ):
        folder, seconds = Path(name), setup.seconds(6.0)
        candidates = {
            kind: partial(
                _measured,
                _bridge(folder, broker, supply, kind),
                "busbar/idle/psu/status",
                broker,
                seconds,
            )
            for kind in OURS
        }
        if with_peer := peer.there():
            command = peer.command(folder, broker.port)
            candidates["peer"] = partial(
                _measured, command, peer.STATUS, broker, seconds
            )
        figures = in_turns(setup.repetitions, candidates)
    against = (
        (f"mqtt-io {peer.VERSION}, mock input read every 100 ms") if with_peer else ""
    )
    rows = [
        _row(f"idle bridge, {TITLES[key][0]}", key, figures, "idle", against, True)
        for key in TITLES
    ]
    return [
        *rows,
        _row(
            ("bridge that polls one value every 100 ms, CPU"),
            "cpu",
            figures,
            "polling",
            against,
            False,
        ),
    ]


def _row(
    what: str,
    key: str,
    figures: dict[str, list[Figures]],
    kind: str,
    against: str,
    short: bool,
) -> Row:
    _, unit, budget = TITLES[key]
    ours = [each[key] for each in figures[kind]]
    more: dict[str, Any] = {
        "budget": budget if kind == "idle" else None,
        "short": short,
    }
    if "peer" not in figures:
        return alone(what, unit, ours, **more)
    return compare(
        what, unit, ours, [each[key] for each in figures["peer"]], against, **more
    )


def _bridge(folder: Path, broker: Mosquitto, port: int, kind: str) -> list[str]:
    file = folder / f"{kind}.yaml"
    file.write_text(CONFIGURATION.format(port=port, every=OURS[kind]))
    return [
        sys.executable,
        "-m",
        "scpi_bridge",
        "--config",
        str(file),
        "--broker",
        broker.url,
    ]


@contextmanager
def _simulator() -> Iterator[int]:
    """The instrument is a process of its own: its work is not ours; its port."""
    with started([sys.executable, "-m", "scpi_bridge.simulator.__main__"]) as process:
        assert process.stdout is not None
        yield int(json.loads(process.stdout.readline())["PSU_PORT"])


def _measured(
    command: list[str], status: str, broker: Mosquitto, seconds: float
) -> Figures:
    online = threading.Event()

    def on_message(_client: Any, _userdata: Any, message: Any) -> None:
        if not message.retain and (
            message.payload == b"running" or b'"online"' in message.payload
        ):
            online.set()

    with connected(broker.port, on_message) as client:
        subscribe(client, status)
        began = time.perf_counter()
        with started(command) as process:
            if not online.wait(LIMIT):
                raise RuntimeError(f"{command} does not get online")
            start = time.perf_counter() - began
            return {"start": start, **_idle(process.pid, seconds)}


def _idle(pid: int, seconds: float) -> Figures:
    time.sleep(SETTLE)
    before, began = cpu(pid), time.perf_counter()
    time.sleep(seconds)
    share = (cpu(pid) - before) / (time.perf_counter() - began)
    return {"cpu": share * 100, "rss": resident(pid) / 1e6}
