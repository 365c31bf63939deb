"""The programs in README.md do what it says; nothing in it is there for show."""

import asyncio
import os
import re
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from busbar import config
from busbar.testing import until
from scpi_bridge.settings import Config
from scpi_bridge.simulator import Simulator
from tests.broker import Mosquitto, find
from tests.process import BENCH, BridgeProcess
from tests.watcher import Watcher

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


@asynccontextmanager
async def output(*command: str, **environment: str) -> AsyncIterator[bytearray]:
    """Run a program; its output so far, standard error included."""
    stream = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *command,
        stdout=stream,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, **environment},
        start_new_session=True,
    )
    text = bytearray()

    async def read() -> None:
        assert process.stdout is not None
        while data := await process.stdout.read(4096):
            text.extend(data)

    reading = asyncio.create_task(read())
    try:
        yield text
    finally:
        os.killpg(process.pid, 9)
        await process.wait()
        await reading


@asynccontextmanager
async def bench(folder: Path) -> AsyncIterator[Mosquitto]:
    """What the demo runs: a broker, the simulated supply at 5 V, the bridge."""
    with Mosquitto() as broker:
        async with Simulator() as simulator:
            simulator.psu.device.channels[0].voltage = 5.0
            simulator.psu.device.channels[0].output = True
            with BridgeProcess(BENCH.format(psu=simulator.psu.port), broker.url, folder):
                yield broker


async def test_the_subscriber_in_python_prints_values(tmp_path: Path) -> None:
    script = tmp_path / "subscriber.py"
    async with bench(tmp_path) as broker:
        script.write_text(blocks("python")[0].replace("1883", str(broker.port)))
        async with output(sys.executable, str(script)) as text:
            await until(lambda: b"'setpoint/voltage': 5.0" in text and b"bad: {}" in text, "the values")


async def test_the_subscriber_in_javascript_prints_values(tmp_path: Path) -> None:
    npm = await asyncio.create_subprocess_exec(
        find("npm"),
        "install",
        "--silent",
        "--no-audit",
        "--no-fund",
        "--no-package-lock",
        "--prefix",
        str(tmp_path),
        "mqtt@5",
    )
    assert await npm.wait() == 0
    script = tmp_path / "subscriber.js"
    async with bench(tmp_path) as broker:
        script.write_text(blocks("javascript")[0].replace("1883", str(broker.port)))
        async with output(find("node"), str(script)) as text:
            await until(lambda: b"'setpoint/voltage': 5" in text, "the values")


async def test_the_subscriber_in_shell_prints_values(tmp_path: Path) -> None:
    async with bench(tmp_path) as broker:
        script = blocks("sh")[0].replace("1883", str(broker.port))
        async with output(shutil.which("sh") or "/bin/sh", "-c", script) as text:
            await until(lambda: re.search(rb"voltage is (4\.9|5\.0)\d* V", text), "the voltage")


async def test_the_bridge_in_one_screen_is_a_bridge(tmp_path: Path) -> None:
    script, settings = tmp_path / "clock.py", tmp_path / "office.yaml"
    script.write_text(blocks("python")[1])
    settings.write_text("bridge: {name: office}\n")
    with Mosquitto() as broker:
        async with Watcher(broker.port) as watcher:
            command = [sys.executable, str(script), "--config", str(settings), "--broker", broker.url]
            async with output(*command) as text:
                await until(lambda: watcher.on("busbar/office/clock/state/time"), f"the time {text.decode()}")
                reply = await watcher.call("busbar/office/clock/call/greet", "Ada")
                assert reply["result"] == "hello Ada"


def test_the_configuration_of_an_instrument_is_accepted() -> None:
    assert config.parse(blocks("yaml")[0], Config, {}).devices[0].name == "psu"


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)#]+)\)", README))))
def test_what_the_readme_links_to_is_there(link: str) -> None:
    assert (ROOT / link).exists()
