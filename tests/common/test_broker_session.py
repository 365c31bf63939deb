"""A bridge and others of its name on a broker in memory (contract 5.2).

tests/system has the same on Mosquitto.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from busbar.contract.messages import Status
from busbar.mqtt.outbox import Message
from busbar.runtime.bridge_status import PATIENCE
from busbar.runtime.broker_session import DuplicateName
from busbar.testing.fakes import MemoryBus, until
from tests.running import STOPPING, Running
from tests.toy import Toy, service

LAB = "bridge: {name: lab}\n"
STATUS = "busbar/lab/bridge/status"


@asynccontextmanager
async def bridge(
    broker: MemoryBus,
) -> AsyncIterator[tuple[Running, "asyncio.Task[None]"]]:
    """Run a bridge that may end itself: entered = it is connected."""
    bus = Running(service(Toy()), LAB, broker)
    task = asyncio.create_task(bus.bridge.run(), name="bridge under test")
    await until(lambda: bus.bridge.connected.is_set() or task.done(), "connected")
    yield bus, task
    bus.bridge.stop()
    await asyncio.wait([task], timeout=STOPPING)
    assert task.done()


def retain(broker: MemoryBus, status: Status) -> None:
    payload = msgspec.json.encode(status)
    broker.retained[STATUS] = Message(STATUS, payload, retain=True)


async def cut(bus: Running) -> None:
    bus.broker.cut()
    await until(lambda: not bus.bridge.connected.is_set(), "the loss")


@pytest.mark.parametrize(
    "found",
    [
        Status("offline", None, "earlier0", 0, 0),
        Status("stopped", 4e9, "earlier0", 0, 0),
        Status("online", 1.0, "earlier0", 0, 0),
        Status("online", 4e9, "0ther000", 0, 0),
        Status("connecting", 4e9, "0ther000", 0, 0),
    ],
    ids=["a will", "a goodbye", "an older one", "a newer one", "connecting"],
)
async def test_what_is_retained_never_ends_a_bridge_that_is_alone(
    found: Status,
) -> None:
    broker = MemoryBus()
    async with bridge(broker) as (bus, task):
        for _ in range(2):
            await cut(bus)
            retain(broker, found)
            async with asyncio.timeout(STOPPING):
                while not bus.bridge.connected.is_set():
                    await bus.clock.advance(PATIENCE / 4)
            own = bus.bridge.boot
            await until(
                lambda o=own: bus.retained("bridge", "status")["boot"] == o, "ours"
            )
        assert not task.done()


async def test_one_forged_status_while_it_asks_does_not_end_it() -> None:
    broker = MemoryBus()
    async with bridge(broker) as (bus, task):
        await cut(bus)
        other = Status("online", 4e9, "0ther000", 0, 0)
        retain(broker, other)
        await until(lambda: questions(broker), "the question")
        broker.publish(STATUS, msgspec.json.encode(other))
        async with asyncio.timeout(STOPPING):
            while not bus.bridge.connected.is_set():
                await bus.clock.advance(PATIENCE / 4)
        assert not task.done()


def questions(broker: MemoryBus) -> list[Any]:
    """Return the statuses that were published without being retained."""
    return [
        each for each in broker.published if each.topic == STATUS and not each.retain
    ]


async def test_of_two_that_live_the_older_one_leaves_and_the_newer_one_serves() -> None:
    broker = MemoryBus()
    async with bridge(broker) as (older, left), bridge(broker) as (newer, stays):
        async with asyncio.timeout(STOPPING):
            while not left.done():
                await older.clock.advance(0.25)
        with pytest.raises(DuplicateName, match="another process runs busbar/lab"):
            await left
        await until(newer.bridge.connected.is_set, "the newer one to serve")
        await until(
            lambda: newer.retained("bridge", "status")["boot"] == newer.bridge.boot,
            "its status",
        )
        assert newer.retained("bridge", "status")["state"] == "online"
        assert not stays.done()


async def test_values_that_come_back_while_it_looks_around_are_not_of_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "busbar.repair")
    async with bridge(MemoryBus()) as (bus, _):
        await until(lambda: bus.broker.retained.get("busbar/lab/toy/state"), "a state")
        own = "busbar/lab/toy/state"
        older = bus.broker.retained[own].payload.replace(b'"seq":', b'"seq": ')
        # an echo of before, while the clean-up has asked for what is retained
        bus.broker.publish(own, older)
        await bus.clock.advance(5)
        assert "others have overwritten" not in caplog.text
