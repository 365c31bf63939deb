"""examples/node with MQTT.js on the real bridge."""

import json
import shutil
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from busbar.testing.fakes import until
from tests import npm
from tests.broker import find
from tests.examples.programs import LIMIT, ROOT, Bench, Output, bench, output
from tests.watcher import Watcher

pytestmark = pytest.mark.timeout(600)  # s; npm may have to download


@asynccontextmanager
async def psu(folder: Path, *arguments: str) -> AsyncIterator[tuple[Bench, Output]]:
    """The bench, and the program beside it when it has shown the supply."""
    script = folder / "psu.mjs"
    script.write_text(
        (ROOT / "examples" / "node" / "psu.mjs")
        .read_text()
        .replace("PATIENCE = 15", "PATIENCE = 1")
    )
    shutil.copy(ROOT / "examples" / "node" / "reader.mjs", folder)
    npm.link("mqtt", folder)
    async with bench(folder) as running:
        command = [find("node"), str(script), *arguments]
        async with output(*command, BUSBAR_URL=running.broker.url) as text:
            await text.says("psu: good", "'setpoint/voltage': ")
            yield running, text


async def test_it_sets_the_voltage_and_tells_the_outcome(tmp_path: Path) -> None:
    async with psu(tmp_path, "4.5") as (running, text):
        await text.says("set/setpoint/voltage: done, it is 4.5")
        assert running.psu.voltage == 4.5
        await text.says("'setpoint/voltage': 4.5")


async def test_it_tells_why_a_command_failed(tmp_path: Path) -> None:
    async with psu(tmp_path, "99") as (running, text):
        await text.says(
            "set/setpoint/voltage: failed: out_of_range: 99 is out of range"
        )
        assert running.psu.voltage == 5


async def test_it_switches_off_what_is_too_high_also_after_the_broker_was_away(
    tmp_path: Path,
) -> None:
    async with psu(tmp_path) as (running, text):
        for _ in range(2):
            at = len(text)
            running.psu.voltage = 7.0
            await until(lambda: not running.psu.output, "the output off", LIMIT)
            done = await text.says("set/output: done, it is false", after=at)
            # it has seen that the voltage is gone, and acts on the old one no more
            await text.says("output: false", after=done)
            running.psu.voltage, running.psu.output = 5.0, True
            at = len(text)
            running.broker.restart()
            await text.says("psu: good", "output: true", after=at)


async def test_it_tells_that_the_bridge_is_gone(tmp_path: Path) -> None:
    async with psu(tmp_path) as (running, text):
        running.bridge.signal(signal.SIGKILL)
        await text.says("psu: offline")


async def test_it_tells_that_nobody_answers(tmp_path: Path) -> None:
    async with psu(tmp_path) as (running, text):
        running.bridge.signal(signal.SIGSTOP)
        async with Watcher(running.broker.port) as bus:
            status = "busbar/bench/psu/status"
            await until(lambda: bus.on(status), "the status", LIMIT)
            boot = bus.last(status)["boot"]
            changes = [{"path": "voltage", "value": 7.0, "time": time.time()}]
            event = {"boot": boot, "seq": 10**6, "time": time.time()}
            too_high = json.dumps({**event, "changes": changes})
            bus.publish("busbar/bench/psu/event/change", too_high)
            await text.says("set/output: failed: no outcome after 1 s")
