"""The whole bridge in one process.

A broker in memory on one side, the simulated processor on the other.
"""

import asyncio
import json
from contextlib import asynccontextmanager

from busbar.testing.fakes import until
from cip_bridge.bridge import SERVICE
from cip_bridge.simulator.__main__ import Simulator
from tests.running import running

THEATRE = """
bridge: {{name: theatre}}
devices:
  - name: panel
    title: Theatre
    address: {address}
    ipid: 0x0A
    {more}
    joins:
      - {{join: analog/1, name: lights/level, title: Lights,
          scale: [0, 65535, 0, 100], unit: "%"}}
      - {{join: digital/100, name: door}}
      - {{join: analog/100, name: temperature, scale: [0, 1000, -20, 80], unit: °C}}
      - {{join: serial/100, name: message}}
"""


def of(simulator, more=""):
    return THEATRE.format(address=simulator.address, more=more)


@asynccontextmanager
async def theatre(more="", **options):
    """A panel on the bus, online, its values read. Gives (bus, simulator)."""
    async with (
        Simulator(**options) as simulator,
        running(SERVICE, of(simulator, more)) as bus,
    ):
        await bus.status("panel", "online")
        await bus.clock.advance(0.25)
        yield bus, simulator


async def seen(simulator, join, *values):
    """Wait until the processor has seen these values of a join, in order, and only
    these."""

    def found():
        return [value for each, value in simulator.theatre.seen if each == join]

    await until(lambda: found() == list(values), f"{join} {values}, not {found()}")


async def hurried(bus, doing):
    task = asyncio.ensure_future(doing)
    while not task.done():
        await bus.clock.advance(0.25)
    return await task


def failure(reply):
    assert not reply["ok"], reply
    return reply["error"]["code"]


def statuses(bus, device="panel"):
    return [
        json.loads(payload)
        for payload in bus.broker.payloads(f"{bus.base}/{device}/status")
        if payload
    ]


def reasons(bus):
    return [
        each["reason"]["message"]
        for each in statuses(bus)
        if each["state"] == "offline"
    ]
