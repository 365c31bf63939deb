"""A process with its own CAN bus: `python -m tests.bench.can_peer ROLE URL`.

It does what each line of stdin says.

bridge   the CAN bridge on the loopback of this process, and who sends there
feeder   the same without the bridge: what the sending costs
script   what one would write instead: python-can's virtual bus, cantools, stock paho
serial   python-can on a serial adapter, receiving; URL is its port
"""

import asyncio
import base64
import json
import random
import struct
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import can
import cantools

from busbar.codecs.can import Frame
from busbar.config import loader
from busbar.runtime.bridge import Bridge
from busbar.runtime.service import plan
from can_bridge import bridge as bridge_module
from can_bridge.bridge import SERVICE
from can_bridge.interfaces.loopback import BUS, Loopback, open_loopback
from can_bridge.settings import Config
from can_bridge.simulator import vehicle
from tests.bench.client import connected

TICK = 0.004  # s between the frames of a rate
ROOM = 5000  # frames that may wait to be read; the bus keeps four times as many
NUMBERED, STAMPED, ENGINE = 0x200, 0x300, vehicle.ENGINE
PAUSES = (0.002, 0.01)  # s between stamped frames
PATIENCE = 20.0  # s for a frame that was sent
DATABASE = Path(bridge_module.__file__).with_name("example.dbc")
TOPIC, ANSWERS = "script/{}", 65536

Figures = dict[str, float]


def numbered(number: int) -> bytes:
    return struct.pack("<Q", number)


def engine(number: int) -> bytes:
    """Four signals, each another value than in the frame before."""
    return struct.pack(
        "<HBB4x", number % 32_000, number % 190, (number % 2) | (number % 2) << 4
    )


class Feeder:
    """Another device on the bus of this process."""

    def __init__(self, bus: Loopback) -> None:
        self._bus = bus

    async def rate(self, per_second: int, seconds: int) -> Figures:
        """Send numbered frames evenly; return what sending and receiving them cost."""
        spent, began, sent = time.process_time(), time.perf_counter(), 0
        while (passed := time.perf_counter() - began) < seconds:
            while sent < passed * per_second:
                await self._send(NUMBERED, numbered(sent))
                sent += 1
            await asyncio.sleep(TICK)
        return {"sent": sent, "cpu": (time.process_time() - spent) / passed * 100}

    async def burst(self, count: int) -> int:
        """Send numbered frames as fast as they are read; return the start (ns)."""
        return await self._fast(NUMBERED, map(numbered, range(count)))

    async def signals(self, count: int) -> int:
        """The same with signals."""
        return await self._fast(ENGINE, map(engine, range(count)))

    async def stamped(self, count: int) -> None:
        """Send frames that say when, now and then."""
        for _ in range(count):
            await asyncio.sleep(random.uniform(*PAUSES))
            await self._send(STAMPED, numbered(time.monotonic_ns()))

    async def _fast(self, id_: int, payloads: Iterable[bytes]) -> int:
        began = time.monotonic_ns()
        for number, data in enumerate(payloads):
            await self._send(id_, data)
            while number % 100 == 0 and any(len(each._queue) > ROOM for each in BUS):  # noqa: ASYNC110  # a window
                await asyncio.sleep(0.0005)
        return began

    async def _send(self, id_: int, data: bytes) -> None:
        await self._bus.send(Frame(0.0, id_, 0, len(data), data))


@asynccontextmanager
async def bridge(url: str, text: str) -> AsyncIterator[Feeder]:
    """The bridge with a configuration, online."""
    first = plan(SERVICE, loader.parse(text, Config, {}), url, {})
    running = Bridge(first, lambda: first)
    task = asyncio.create_task(running.run(), name="bridge")
    await running.connected.wait()
    async with open_loopback() as bus:
        while len(BUS) < 2:  # noqa: ASYNC110  # once
            await asyncio.sleep(0.01)
        yield Feeder(bus)
    running.stop()
    await task


@asynccontextmanager
async def feeder(_url: str, _text: str) -> AsyncIterator[Feeder]:
    """A bus whose other device forgets what it hears."""

    async def forget(bus: Loopback) -> None:
        while True:
            await bus.receive()

    async with open_loopback() as bus, open_loopback() as other:
        task = asyncio.create_task(forget(other))
        yield Feeder(bus)
        task.cancel()


class Script:
    """Receives with python-can, publishes with paho."""

    def __init__(self, publish: Callable[..., Any]) -> None:
        self._publish = publish
        self._far, self._near = can.Bus("bench", "virtual"), can.Bus("bench", "virtual")
        self._database = cantools.database.load_file(DATABASE)

    async def burst(self, count: int) -> float:
        """Return the time (us) to receive one of many frames that are there already."""
        await self._put(NUMBERED, map(numbered, range(count)))
        began = time.perf_counter()
        for _ in range(count):
            self._next()
        return (time.perf_counter() - began) / count * 1e6

    async def stamped(self, count: int) -> None:
        for _ in range(count):
            time.sleep(random.uniform(*PAUSES))  # noqa: ASYNC251  # nothing else runs here
            await self._put(STAMPED, [numbered(time.monotonic_ns())])
            message = self._next()
            fields = {
                "id": message.arbitration_id,
                "data": base64.b64encode(message.data).decode(),
            }
            self._publish(TOPIC.format("frame"), json.dumps(fields), 1)

    async def signals(self, count: int) -> int:
        await self._put(ENGINE, map(engine, range(count)))
        began = time.monotonic_ns()
        for _ in range(count):
            message = self._next()
            for name, value in self._database.decode_message(
                message.arbitration_id, message.data
            ).items():
                self._publish(TOPIC.format(name), str(value))
        return began

    async def _put(self, id_: int, payloads: Iterable[bytes]) -> None:
        for data in payloads:
            self._far.send(
                can.Message(arbitration_id=id_, data=data, is_extended_id=False)
            )

    def _next(self) -> can.Message:
        message = self._near.recv(PATIENCE)
        assert message is not None
        return message

    def close(self) -> None:
        self._far.shutdown()
        self._near.shutdown()


@asynccontextmanager
async def script(url: str, _text: str) -> AsyncIterator[Script]:
    """The script, connected."""
    with connected(urlsplit(url).port or 0) as client:
        made = Script(client.publish)
        yield made
        made.close()


class Serial:
    """python-can on a serial adapter."""

    def __init__(self, bus: can.BusABC) -> None:
        self._bus = bus

    async def receive(self, count: int) -> int:
        """Return when the last one was there (ns)."""
        for _ in range(count):
            assert self._bus.recv(PATIENCE) is not None
        return time.monotonic_ns()


@asynccontextmanager
async def serial(port: str, _text: str) -> AsyncIterator[Serial]:
    """The adapter, open."""
    bus = can.Bus(port, "slcan", bitrate=500_000, sleep_after_open=0)
    yield Serial(bus)
    bus.shutdown()


async def main(role: str, url: str, text: str = "") -> None:
    async with {"bridge": bridge, "feeder": feeder, "script": script, "serial": serial}[
        role
    ](url, text) as made:
        print("ready", flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            task, *numbers = line.split()
            print(json.dumps(await getattr(made, task)(*map(int, numbers))), flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
