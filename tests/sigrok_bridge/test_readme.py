"""The README: its table cell by cell on a real broker, its keys and commands."""

import ast
import asyncio
import inspect
import os
import shlex
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from busbar.client import Client
from busbar.client.captures import capture
from busbar.config import loader
from busbar.contract.describe import commands
from busbar.runtime.bridge import Bridge
from busbar.runtime.service import plan
from sigrok_bridge.bridge import SERVICE
from sigrok_bridge.commands import Capture, InstrumentCommands, Taken
from sigrok_bridge.settings import Config, Device
from tests.broker import Mosquitto
from tests.sigrok_bridge.doubles import installed
from tests.tables import codes
from tests.watcher import Watcher

SERVICES = Path(__file__).parents[2] / "services/sigrok-bridge"
TEXT = (SERVICES / "README.md").read_text()
EXAMPLE = (SERVICES / "src/sigrok_bridge/example.yaml").read_text()
ROWS = codes(TEXT.partition("## From comsrv")[2])
BASE = "busbar/lab/analyser/"
# what the outcome, or the arrays, have to show; an array of 100 000 is shortened
RESULTS = {
    "list_devices()": ("Demo device",) * 3,
    'read(["D0"], 48e6, num_samples=10)': ("48000000", "48000000", "4.16666667e-08"),
    "read(samplerate=1e6, time=0.1)": ("100000", "100000", "9.9999e-02"),
    "address": ("None", "None", "demo"),
    "description": ("None", "None", "Demo device"),
}


@asynccontextmanager
async def lab(url: str) -> AsyncIterator[None]:
    """The bridge of the example, in this process."""
    text = EXAMPLE.replace("${SIGROK_CLI:-sigrok-cli}", installed())
    spec = plan(SERVICE, loader.parse(text, Config, {}), url, {})
    running = Bridge(spec, lambda: spec)
    task = asyncio.create_task(running.run())
    try:
        yield
    finally:
        running.stop()
        await task


async def by_mqtt(broker: Mosquitto, target: str, payload: str) -> Any:
    async with Watcher(broker.port) as watcher:
        return (await watcher.call(BASE + target, payload))["result"]


async def by_command_line(broker: Mosquitto, line: str) -> Any:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", *shlex.split(line)),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "BUSBAR_URL": broker.url},
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    return out.decode().removesuffix("\n") or None


async def by_python(broker: Mosquitto, code: str) -> Any:
    async with Client(broker.url) as bus:
        analyser = bus.device("lab/analyser")
        await analyser.wait_online(20)
        compiled = compile(code, "README", "eval", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        found = eval(compiled, {"analyser": analyser, "capture": capture})
        return await found if inspect.isawaitable(found) else found


@pytest.mark.parametrize(
    ("call", "topic", "line", "code"), ROWS, ids=[row[0][0] for row in ROWS]
)
async def test_every_cell_of_the_table_does_what_it_says(
    call: list[str], topic: list[str], line: list[str], code: list[str]
) -> None:
    with Mosquitto() as broker:
        async with lab(broker.url):
            async with Client(broker.url) as bus:
                await bus.wait_online("lab/analyser", timeout=30)
            ways = ((by_mqtt, topic), (by_command_line, line), (by_python, code))
            for (way, given), shown in zip(ways, RESULTS[call[0]], strict=True):
                assert shown in str(await way(broker, *given)), way


def test_every_key_command_argument_and_result_is_in_the_readme() -> None:
    names = {
        *Device.__struct_fields__,
        *commands(InstrumentCommands),
        *Capture.__struct_fields__,
        *(set(Taken.__struct_fields__) - {"time"}),
    }
    for name in names:
        assert f"`{name}`" in TEXT, name
