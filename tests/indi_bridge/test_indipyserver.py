"""The bridge on a driver made with indipydriver, behind indipyserver."""

import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from busbar.testing.fakes import until
from indi_bridge.bridge import SERVICE
from tests.indi_bridge.stage import failure
from tests.running import Running, running

DRIVER = Path(__file__).parents[1] / "peers" / "indipy_bench.py"
LIMIT = 30.0  # s


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    number = free_port()
    process = subprocess.Popen([sys.executable, str(DRIVER), str(number)])
    yield number
    process.kill()
    process.wait()


@asynccontextmanager
async def bridge(port: int) -> AsyncIterator[Running]:
    config = (
        f"bridge: {{name: lab}}\n"
        f"servers: [{{name: pi, address: 'indi::127.0.0.1:{port}'}}]\n"
    )
    async with running(SERVICE, config) as bus:
        for vector in ("SPEED", "LEVEL", "SHUTTER"):
            known = lambda v=vector: v in bus.good("Bench")  # noqa: E731
            await until(known, f"Bench/{vector}", LIMIT)
        yield bus


async def test_of_one_of_many_only_one_is_on_afterwards(port: int) -> None:
    async with bridge(port) as bus:
        for name in ("MAX", "FAST", "SLOW"):
            reply = await bus.set("Bench", "SPEED", name)
            assert reply["ok"], reply
            speeds = {key: bus.good("Bench")["SPEED"][key] for key in ("SLOW", "FAST")}
            assert speeds == {"SLOW": name == "SLOW", "FAST": name == "FAST"}


async def test_a_value_that_the_driver_clamps_is_ok_with_what_it_has(port: int) -> None:
    async with bridge(port) as bus:
        assert (await bus.set("Bench", "LEVEL", 2))["result"]["VALUE"] == 2
        reply = await bus.set("Bench", "LEVEL", 8)
        assert reply["result"]["VALUE"] == 5
        assert bus.retained("Bench", "info")["properties"]["LEVEL"]["unit"] == "V"


async def test_a_refusal_that_is_idle_with_an_error_is_an_error(port: int) -> None:
    async with bridge(port) as bus:
        reply = await bus.set("Bench", "SHUTTER/OPEN", "true")
        assert failure(reply).startswith("device: SHUTTER: not done, OPEN is Off")
        assert "[ERROR] The interlock is open" in reply["error"]["message"]
        assert reply["messages"] == ["[ERROR] The interlock is open"]
