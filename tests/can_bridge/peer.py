"""Shared by the tests: a bridge on a bus of this process, a wire, decoding."""

import asyncio
import os
import pty
import select
import struct
import threading
import tty
from contextlib import asynccontextmanager
from pathlib import Path

import can
import msgpack

from busbar.codecs import can as can_frames
from busbar.testing.fakes import until
from can_bridge import bridge
from can_bridge.bridge import SERVICE
from can_bridge.interfaces.loopback import open_loopback
from tests.running import running

EXAMPLE = Path(bridge.__file__).parent / "example.dbc"


class Wire:
    """A serial cable: two ports, each with a path, that programs open."""

    def __enter__(self):
        self._ends = [pty.openpty() for _ in range(2)]
        for _, slave in self._ends:
            tty.setraw(slave)
        self.ports = [os.ttyname(slave) for _, slave in self._ends]
        self._stop_pipe = os.pipe()
        self._thread = threading.Thread(target=self._carry, name="wire")
        self._thread.start()
        return self

    def _carry(self):
        masters = [master for master, _ in self._ends]
        while True:
            ready, _, _ = select.select([*masters, self._stop_pipe[0]], [], [])
            if self._stop_pipe[0] in ready:
                return
            for fd in ready:
                os.write(masters[1 - masters.index(fd)], os.read(fd, 65536))

    def __exit__(self, *_):
        os.write(self._stop_pipe[1], b"x")
        self._thread.join()
        for fd in (*self._stop_pipe, *(fd for pair in self._ends for fd in pair)):
            os.close(fd)


@asynccontextmanager
async def python_can(interface, channel, **options):
    """A bus of python-can, an independent peer, at the far end."""
    bus = await asyncio.to_thread(
        can.Bus, interface=interface, channel=channel, **options
    )
    try:
        yield bus
    finally:
        await asyncio.to_thread(bus.shutdown)


async def received_frame(bus, limit=20.0):
    """Return the next frame that python-can receives."""
    message = await asyncio.to_thread(bus.recv, limit)
    assert message is not None, f"no frame within {limit:g} s"
    return message


def configuration(address="can::loopback", more=""):
    """Return a configuration with one bus, can0; `more` is indented text."""
    return (
        f"bridge: {{name: truck}}\ndevices:\n  - name: can0\n    address: "
        f"'{address}'\n{more}"
    )


@asynccontextmanager
async def on_loopback(more="", service=SERVICE):
    """A bridge with the bus can0 within this process.

    Gives (bus, peer): peer is another device on it.
    """
    async with (
        open_loopback() as peer,
        running(service, configuration(more=more)) as bus,
    ):
        await bus.status("can0", "online")
        yield bus, Peer(peer)


class Peer:
    """A device on the loopback that keeps what it hears."""

    def __init__(self, bus):
        self._bus, self.frames = bus, []

    async def send(self, *frames):
        for frame in frames:
            await self._bus.send(frame)

    async def receive(self, count=1, limit=20.0):
        """Return the next frames."""
        async with asyncio.timeout(limit):
            while len(self.frames) < count:
                self.frames += await self._bus.receive()
        taken, self.frames = self.frames[:count], self.frames[count:]
        return taken


def batches(bus, name="frames", device="can0"):
    """Return the batches published so far."""
    return [
        msgpack.unpackb(payload)
        for payload in bus.broker.payloads(f"{bus.base}/{device}/event/{name}")
    ]


def rows(bus, name="frames", device="can0"):
    """Return the frames in all batches so far: [time, id, flags, length, data]."""
    return [row for batch in batches(bus, name, device) for row in batch["frames"]]


async def some_rows(bus, count, name="frames"):
    """Wait until so many frames are published in batches; return them."""
    await until(lambda: len(rows(bus, name)) >= count, f"{count} frames on {name}")
    return rows(bus, name)


def failure(reply):
    """Return code and message of a command that failed."""
    assert not reply["ok"], reply
    return reply["error"]["code"], reply["error"]["message"]


def done(reply):
    """Return the result of a command that did not fail."""
    assert reply["ok"], reply
    return reply["result"]


BASE = f"    database: {EXAMPLE}\n    receive_own: false\n"
FAST = BASE + "    signals: {min_interval: 0}\n"


def engine(speed=0.0, temperature=0, gear=0, running=False):
    """Return a frame of EngineData."""
    return can_frames.frame(
        0x100,
        struct.pack("<HBB4x", round(speed * 4), temperature + 40, gear | running << 4),
    )


def cells(page, millivolts):
    """Return a frame of Cells."""
    return can_frames.frame(0x200, struct.pack("<BHx", page, millivolts))
