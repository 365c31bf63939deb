"""Retained topics of ours that others overwrite or clear (contract 5)."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from busbar.contract.topics import Address
from busbar.errors import Offline
from busbar.mqtt.outbox import Message
from busbar.runtime.retained_repair import PAUSE, RetainedRepair
from busbar.testing.fakes import MemoryBus, until
from tests.device import Bench, bench, topics
from tests.running import Running, running
from tests.toy import Toy, service

LAB = "bridge: {name: lab}\n"
TOY = "busbar/lab/toy"


@asynccontextmanager
async def lab(protocol: str = "5") -> AsyncIterator[tuple[Running, Any]]:
    """Run a toy; with MQTT 3.1.1 its bridge hears what it publishes itself."""
    toy, broker = Toy(), MemoryBus()
    broker.version5 = protocol == "5"
    configuration = f"{LAB}broker: {{protocol: {protocol}}}\n"
    async with running(service(toy), configuration, broker=broker) as bus:
        await bus.value("toy", "level")
        await until(
            lambda: f"{TOY}/state/level" in bus.broker.retained, "what is retained"
        )
        await bus.clock.advance(3)
        yield bus, toy.sessions[0].outlet


def falsified(**wrong: Any) -> Callable[[bytes], bytes]:
    return lambda payload: json.dumps({**json.loads(payload), **wrong}).encode()


FORGERIES = [
    ("status", falsified(state="offline")),
    ("status", falsified(boot="0ther000")),
    ("status", lambda payload: b""),
    ("status", lambda payload: b"nonsense"),
    ("info", falsified(properties={})),
    ("info", lambda payload: b""),
    ("state", falsified(values={"level": 99.0})),
    ("state", lambda payload: b""),
    ("state/level", lambda payload: b"99.0"),
    ("state/level", lambda payload: b""),
]


@pytest.mark.parametrize("device", ["toy", "bridge"])
@pytest.mark.parametrize(("channel", "forge"), FORGERIES)
async def test_what_others_publish_is_repaired_before_any_heartbeat(
    device: str, channel: str, forge: Callable[[bytes], bytes]
) -> None:
    channel = channel.replace("level", "version") if device == "bridge" else channel
    topic = f"busbar/lab/{device}/{channel}"
    async with lab() as (bus, _):
        right = bus.broker.retained[topic].payload
        bus.broker.take(Message(topic, forge(right), retain=True))
        await bus.clock.advance(2 * PAUSE)
        now = bus.broker.retained[topic].payload
        if channel in ("status", "state"):  # their seq and time go on
            now, right = facts(now), facts(right)
        assert now == right


def facts(payload: bytes) -> Any:
    moving = {"seq", "time", "times", "values"}
    said = json.loads(payload)
    kept = {key: value for key, value in said.items() if key not in moving}
    return {**kept, "level": said.get("values", {}).get("level")}


@pytest.mark.parametrize(("channel", "forge"), FORGERIES[:6])
async def test_mqtt_3_1_1_has_the_same_for_status_and_info(
    channel: str, forge: Callable[[bytes], bytes]
) -> None:
    async with lab("3.1.1") as (bus, _):
        right = bus.broker.retained[f"{TOY}/{channel}"].payload
        bus.broker.take(Message(f"{TOY}/{channel}", forge(right), retain=True))
        await bus.clock.advance(2 * PAUSE)
        now = bus.broker.retained[f"{TOY}/{channel}"].payload
        assert facts(now) == facts(right)


async def test_a_status_that_was_cleared_comes_back_on_a_device_that_always_changes():
    async with lab() as (bus, outlet):
        bus.broker.take(Message(f"{TOY}/status", b"", retain=True))
        for number in range(8):
            outlet.values({"level": number / 10})
            await bus.clock.advance(0.25)
        assert bus.retained("toy", "status")["state"] == "online"


async def test_a_status_comes_every_minute_even_where_we_may_not_look() -> None:
    made = await bench()
    for number in range(2 * 61):
        made.device.values({"voltage": float(number)})
        await made.run(0.5)
    assert topics(made.published).count("status") >= 1


async def test_a_value_that_was_never_read_is_cleared() -> None:
    async with lab() as (bus, _):
        for path in ("nonsense", "digital/5"):
            bus.broker.take(Message(f"{TOY}/state/{path}", b"1", retain=True))
        await bus.clock.advance(2 * PAUSE)
        left = [topic for topic in bus.broker.retained if "/state/" in topic]
        assert f"{TOY}/state/level" in left
        assert f"{TOY}/state/nonsense" not in left
        assert f"{TOY}/state/digital/5" not in left


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
async def test_our_own_messages_are_never_repaired(protocol: str) -> None:
    async with lab(protocol) as (bus, outlet):
        for number in range(20):
            outlet.values({"level": number / 10})
            outlet.offline(Offline("a moment"))
            outlet.online()
            await bus.clock.advance(0.5)
        await bus.clock.advance(3)
        mark = len(bus.broker.published)
        await bus.clock.advance(5 * PAUSE)
        again = {each.topic for each in bus.broker.published[mark:]}
        assert not [topic for topic in again if topic.startswith(f"{TOY}/")]


def pair(made: Bench) -> RetainedRepair:
    return RetainedRepair(lambda name: (made.device, None) if name == "psu" else None)


STATUS = Address("psu", "status", "")


async def test_an_older_message_of_ours_that_is_still_on_its_way_is_no_forgery():
    made = await bench()
    repair = pair(made)
    older = made.device.status_payload()
    made.device.online()
    newer = (await made.publish())[-1].payload
    repair.on_published(STATUS, older)
    repair.on_published(STATUS, newer)
    await made.clock.advance(2 * PAUSE)
    assert await made.publish() == []


async def test_a_flood_of_echoes_or_forgeries_is_one_repair_a_second():
    made = await bench()
    repair = pair(made)
    await made.clock.advance(PAUSE)
    for number in range(40):
        for text in range(25):
            repair.on_published(STATUS, b"forged %d" % text)
        repair.on_published(Address("psu", "state", f"x{number}"), b"1")
        await made.clock.advance(0.25)
    await made.clock.advance(2 * PAUSE)
    sent = topics(await made.publish())
    assert sent.count("status") == 1  # nobody has taken them in between
    made = await bench()
    repair, sent = pair(made), []
    for _ in range(40):
        repair.on_published(STATUS, b"forged")
        await made.clock.advance(0.25)
        sent += topics(await made.publish())
    assert 8 <= sent.count("status") <= 11


async def test_devices_that_are_not_ours_are_left_alone() -> None:
    made = await bench()
    repair = pair(made)
    repair.on_published(Address("gone", "status", ""), b"x")
    repair.on_published(Address("psu", "blob", "picture"), b"x")
    await made.clock.advance(2 * PAUSE)
    assert await made.publish() == []
