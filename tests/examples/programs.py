"""What the programs in the documentation meet.

A broker, the simulated supply, the bridge; and how they are run.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from busbar.testing.fakes import until
from scpi_bridge.simulator.__main__ import Simulator
from scpi_bridge.simulator.bench import Channel
from tests.broker import Mosquitto
from tests.process import BENCH, BridgeProcess
from tests.watcher import Watcher

ROOT = Path(__file__).parents[2]
LIMIT = 60.0  # s; generous, only something broken needs it


@dataclass(frozen=True)
class Bench:
    """What the demo runs, and it has been read: the supply at 5 V as `bench/psu`."""

    broker: Mosquitto
    psu: Channel
    bridge: BridgeProcess


@asynccontextmanager
async def bench(folder: Path) -> AsyncIterator[Bench]:
    with Mosquitto() as broker:
        async with Simulator() as simulator:
            channel = simulator.psu.device.channels[0]
            channel.voltage, channel.output = 5.0, True
            with BridgeProcess(
                BENCH.format(psu=simulator.psu.port), broker.url, folder
            ) as bridge:
                await _shown(broker.port)
                yield Bench(broker, channel, bridge)


async def _shown(port: int) -> None:
    topic = "busbar/bench/psu/state/setpoint/voltage"
    async with Watcher(port, topic) as watcher:
        await until(lambda: watcher.on(topic), "the values", LIMIT)


class Output(bytearray):
    """What a program has written so far."""

    async def says(self, *parts: str, after: int = 0) -> int:
        """Wait until it has written all parts, whatever their order.

        Return how much it had written then.
        """

        def missing() -> list[str]:
            return [part for part in parts if part.encode() not in self[after:]]

        try:
            await until(lambda: not missing(), "the output", LIMIT)
        except AssertionError as error:
            raise AssertionError(
                f"not said: {missing()}, but: {self.decode(errors='replace')}"
            ) from error
        return len(self)


@asynccontextmanager
async def output(*command: str, **environment: str) -> AsyncIterator[Output]:
    """Run a program; its output so far, standard error included."""
    stream = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *command,
        stdout=stream,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, **environment},
        start_new_session=True,
    )
    text = Output()

    async def read() -> None:
        assert process.stdout is not None
        while data := await process.stdout.read(4096):
            text.extend(data)

    reading = asyncio.create_task(read())
    try:
        yield text
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        await reading


async def run(*command: str, **environment: str) -> tuple[int, str]:
    """Run a program to its end; its exit status and output, standard error included."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, **environment},
    )
    text, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, text.decode()
