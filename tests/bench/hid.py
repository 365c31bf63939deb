"""The HID bridge beside a reader that does nothing with what it reads."""

import asyncio
import os
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from hid_bridge.simulator import devices
from hid_bridge.simulator.world import SimulatedHid
from tests.bench.figures import Row, compare, in_turns
from tests.bench.machine import Setup, cpu
from tests.bench.processes import python, started
from tests.broker import Mosquitto

PAUSE = 0.002  # s between reports
SETTLE = 2.0  # s for what is still under way
LIMIT = 30.0  # s
AGAINST = "a bare reader, nothing published"
OURS = """
bridge: {name: bench}
log: {level: error}
devices: [{name: scale, address: "hid::0922:8003", reports: %s}]
"""


def run(setup: Setup) -> list[Row]:
    """Return rows for the CPU that a report takes: each another weight."""
    with TemporaryDirectory(prefix="busbar-bench-") as folder, Mosquitto() as broker:
        where = Path(folder)
        candidates = {
            "all": partial(_measured, where, setup, _ours(where, broker, "all")),
            "none": partial(_measured, where, setup, _ours(where, broker, "none")),
            "bare": partial(
                _measured, where, setup, python("hid_bare", f"{where}/dev/hidraw0")
            ),
        }
        figures = in_turns(setup.repetitions, candidates)

    def row(what: str, key: str) -> Row:
        ours = [each["cpu"] for each in figures[key]]
        bare = [each["cpu"] for each in figures["bare"]]
        return compare(f"HID: {what}", "us", ours, bare, AGAINST)

    return [
        row("CPU per report, four values and the event", "all"),
        row("CPU per report, four values", "none"),
    ]


def _ours(folder: Path, broker: Mosquitto, reports: str) -> list[str]:
    file = folder / f"{reports}.yaml"
    file.write_text(OURS % reports)
    program = python("hid_bridge", "--config", str(file), "--broker", broker.url)
    return [each.replace("tests.bench.hid_bridge", "hid_bridge") for each in program]


def _measured(folder: Path, setup: Setup, command: Sequence[str]) -> dict[str, float]:
    return asyncio.run(_reports(folder, 500 if setup.quick else 3000, command))


async def _reports(
    folder: Path, count: int, command: Sequence[str]
) -> dict[str, float]:
    scale = devices.scale()
    scale.plug(folder, 0)
    os.environ["HID_ROOT"] = str(folder)
    try:
        with started(list(command)) as process:
            await _opened(scale)
            await asyncio.sleep(SETTLE)
            before = cpu(process.pid)
            for number in range(count):
                scale.send(devices.weighing(number % 60_000))
                await asyncio.sleep(PAUSE)
            await asyncio.sleep(SETTLE)
            return {"cpu": (cpu(process.pid) - before) / count * 1e6}
    finally:
        scale.unplug()
        del os.environ["HID_ROOT"]


async def _opened(scale: SimulatedHid) -> None:
    deadline = time.monotonic() + LIMIT
    while not scale.open:
        if time.monotonic() > deadline:
            raise RuntimeError("nobody opens the device")
        await asyncio.sleep(0.05)
