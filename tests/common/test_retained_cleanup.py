"""Retained topics of ours that nobody publishes any more (contract 2 and 5.4)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from busbar.mqtt.outbox import Message
from busbar.mqtt.reconnect import Received
from busbar.runtime.retained_cleanup import LONGEST, RetainedCleanup
from busbar.testing.fakes import MemoryBus, until
from tests.device import bench
from tests.running import Running, running
from tests.toy import Toy, service

LAB = "bridge: {name: lab}\n"
# nothing of ours is retained there, whether the device lives or not
GARBAGE = ["event/change", "event/a/b", "reply"]
LEFT = ["status", "info", "state", "state/x", "blob/b", *GARBAGE]


@asynccontextmanager
async def lab(
    left: list[str], broker: MemoryBus | None = None
) -> AsyncIterator[Running]:
    topics = dict.fromkeys([f"busbar/lab/{name}" for name in left], b"{}")
    async with running(service(Toy()), LAB, topics, broker) as bus:
        await bus.value("toy", "level")
        yield bus


def kept(bus: Running, *names: str) -> set[str]:
    return {name for name in names if f"busbar/lab/{name}" in bus.broker.retained}


@pytest.mark.parametrize("device", ["toy", "bridge"])
async def test_retained_events_and_replies_of_living_devices_are_removed(
    device: str,
) -> None:
    left = [f"{device}/{name}" for name in GARBAGE]
    async with lab(left) as bus:
        await until(lambda: not kept(bus, *left), "what must not be retained gone")
        assert kept(bus, f"{device}/status", f"{device}/info", f"{device}/state")


async def test_everything_of_a_device_that_is_no_more_is_removed() -> None:
    left = [f"old/{name}" for name in LEFT]
    async with lab([*left, "elsewhere"]) as bus:
        await until(lambda: not kept(bus, *left), "the left-overs gone")
        assert kept(bus, "elsewhere")


async def test_clean_removes_the_same_while_the_bridge_serves() -> None:
    left = [f"old/{name}" for name in LEFT] + [f"toy/{name}" for name in GARBAGE]
    async with lab([]) as bus:
        await bus.clock.advance(3)  # what the start does is over
        before = set(bus.broker.retained)
        for name in left:
            bus.broker.take(retained(name))
        assert (await bus.call("bridge", "clean"))["ok"]
        await until(lambda: not kept(bus, *left), "everything else gone")
        await until(lambda: before <= set(bus.broker.retained), "what lives")


def retained(name: str) -> Message:
    return Message(f"busbar/lab/{name}", b"{}", retain=True)


async def test_what_the_broker_forbids_to_read_keeps_no_bridge_away() -> None:
    broker = MemoryBus()
    broker.refused = {
        f"busbar/lab/+/{end}" for end in ("event/#", "reply", "blob/#", "state/#")
    }
    async with lab(["old/status", "old/reply"], broker) as bus:
        await until(lambda: not kept(bus, "old/status"), "what may be read gone")
        assert kept(bus, "old/reply")
        assert (await bus.call("toy", "echo", "here"))["ok"]


async def test_after_clean_what_others_overwrite_is_still_repaired() -> None:
    async with lab([]) as bus:
        await bus.clock.advance(3)
        assert (await bus.call("bridge", "clean"))["ok"]
        await bus.clock.advance(2)
        for channel in ("status", "state/level"):
            bus.broker.take(Message(f"busbar/lab/toy/{channel}", b"", retain=True))
        await bus.clock.advance(2)
        assert kept(bus, "toy/status", "toy/state/level") == {
            "toy/status",
            "toy/state/level",
        }


async def test_it_looks_as_long_as_messages_come() -> None:
    """As over a slow link: five seconds and more."""
    made = await bench()
    link = SlowLink()
    link.cleanup = RetainedCleanup(made.bus, lambda name: None)
    collecting = asyncio.create_task(link.cleanup.collect(link))  # type: ignore[arg-type]
    await made.clock.advance(LONGEST)
    assert len(await collecting) == SlowLink.TOPICS


class SlowLink:
    """Delivers what is retained, a few messages a second."""

    TOPICS = 40
    last_part = 0.0

    def __init__(self) -> None:
        self.cleanup: RetainedCleanup
        self._delivery: asyncio.Task[None]

    async def subscribe(self, filters: list[str]) -> None:
        self._delivery = asyncio.create_task(self._deliver())

    async def unsubscribe(self, filters: list[str]) -> None:
        self._delivery.cancel()

    async def _deliver(self) -> None:
        for number in range(self.TOPICS):
            topic = f"busbar/lab/old/state/{number}"
            self.cleanup.on_retained(Received(topic, b"1", retain=True))
            await asyncio.sleep(0.1)
