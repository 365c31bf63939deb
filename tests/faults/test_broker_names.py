"""Many bridges on one broker: two with one name, fifty that all come back at once."""

import asyncio
import os
import signal
import time
from contextlib import AbstractAsyncContextManager, AsyncExitStack

import pytest

from busbar.contract import messages
from busbar.contract.messages import Status
from busbar.runtime.broker_session import DuplicateName
from busbar.testing.fakes import until
from tests.broker import Mosquitto
from tests.faults.conftest import Record
from tests.faults.support import BRIDGE, TOY, Live, Reader, kept, live
from tests.proxy import Proxy
from tests.toy import Toy, service

STORM = 50


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
async def test_of_two_bridges_with_one_name_the_older_leaves_and_the_newer_serves(
    broker: Mosquitto, protocol: str, record: Record
) -> None:
    rounds, took = 2, []
    for _ in range(rounds):
        async with (
            Reader(broker.port) as reader,
            live(service(Toy()), broker.url, protocol=protocol) as old,
        ):
            old.expected = (DuplicateName,)
            await old.until(reader.online, "the first")
            began = time.monotonic()
            async with live(service(Toy()), broker.url, protocol=protocol) as new:
                await until(old.task.done, "the end of the older")
                took.append(time.monotonic() - began)
                assert isinstance(old.task.exception(), DuplicateName)
                await new.until(
                    lambda n=new, r=reader: answers(r) and n.bridge.connected.is_set(),
                    "the newer",
                )
                await until(
                    lambda n=new, r=reader: owner(r) == n.bridge.boot and r.online(),
                    "its own status",
                )
    record(
        f"two bridges with one name, {rounds} times, MQTT {protocol}",
        (
            "the one that was there first ends with `duplicate bridge name`; the newer "
            "serves; no reconnect war"
        ),
        (
            f"{rounds} of {rounds} decided after {max(took):.1f} s at most, the newer "
            f"served each time"
        ),
    )


def answers(reader: Reader) -> bool:
    reader.publish(f"{TOY}/call/echo", "anybody")
    return bool(reader.on(f"{TOY}/reply"))


def owner(reader: Reader) -> str:
    return str((reader.say(f"{BRIDGE}/status") or {}).get("boot"))


async def test_of_two_bridges_that_start_at_once_exactly_one_serves(
    broker: Mosquitto, record: Record
) -> None:
    rounds, wars = 2, []
    for _ in range(rounds):
        async with (
            Reader(broker.port) as reader,
            live(service(Toy()), broker.url, connects=False) as one,
            live(service(Toy()), broker.url, connects=False) as other,
        ):
            pair = (one, other)
            one.expected = other.expected = (DuplicateName,)
            await until(
                lambda p=pair: any(each.task.done() for each in p), "one to leave", 60
            )
            left = next(each for each in pair if not each.task.done())
            await until(
                lambda n=left, r=reader: owner(r) == n.bridge.boot and r.online(),
                "the other's status",
            )
            assert not left.task.done()
            wars.append(left.reconnects)
    record(
        f"two bridges with one name started in the same moment, {rounds} times",
        "one ends, one serves",
        f"{rounds} of {rounds} decided, after {max(wars)} reconnects at most",
    )


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
async def test_what_an_older_file_of_the_broker_holds_ends_no_bridge(
    protocol: str, record: Record
) -> None:
    dead = {
        "a will": Status("offline", None, "dead0001", 0, 0),
        "an older status": Status("online", 1e9, "dead0002", 1, 0),
        "a newer status": Status("online", 4e9, "dead0003", 1, 0),
    }
    took = {}
    for name, status in dead.items():
        with Mosquitto(*PERSISTENT) as broker:
            async with Reader(broker.port) as reader:
                payload = messages.encode(status)
                reader.publish(f"{BRIDGE}/status", payload, retain=True)
                await reader.abreast()
                os.kill(broker.pid, signal.SIGUSR1)
                await until((broker.directory / "kept.db").exists, "the file")
                async with live(service(Toy()), broker.url, protocol=protocol) as one:
                    await one.until(reader.online, "the bridge")
                    broker.kill()
                    await until(lambda o=one: not o.bridge.connected.is_set(), "lost")
                    broker.start()
                    took[name] = await back_again(one)
                    await until(
                        lambda o=one, r=reader: owner(r) == o.bridge.boot,
                        "its own status",
                    )
                    assert not one.task.done()
    record(
        "the broker comes back with a file older than the bridge, which holds "
        f"{', '.join(dead)} of a process that is dead, MQTT {protocol}",
        "a bridge that is alone never ends itself",
        "served again after "
        + ", ".join(f"{seconds:.0f}" for seconds in took.values())
        + " s (virtual)",
    )


PERSISTENT = (
    "persistence true",
    "persistence_file kept.db",
    "autosave_interval 3600",
)


async def back_again(one: Live) -> float:
    """Let time pass until a bridge serves again; return how much did (s)."""
    began = one.clock.now()
    while not one.bridge.connected.is_set():
        assert not one.task.done(), "it has ended itself"
        await one.clock.advance(0.25)
        await asyncio.sleep(0.05)
    return one.clock.now() - began


async def test_fifty_bridges_come_back_together_after_the_broker_was_killed(
    broker: Mosquitto, record: Record
) -> None:
    async with AsyncExitStack() as stack:
        reader = await stack.enter_async_context(
            Reader(broker.port, "busbar/+/+/status", "busbar/+/toy/reply")
        )
        proxy = await stack.enter_async_context(Proxy(broker.port))
        names = [f"lab{number}" for number in range(STORM)]
        bridges = await asyncio.gather(
            *(stack.enter_async_context(one(proxy.url, name)) for name in names)
        )
        await until(
            lambda: all(reader.online(f"busbar/{name}/toy") for name in names),
            "all online",
            60,
        )
        proxy.accepting = False
        broker.kill()
        await until(
            lambda: not any(each.bridge.connected.is_set() for each in bridges),
            "all lost",
            60,
        )
        subscribed = reader.subscribed
        broker.start()
        await until(lambda: reader.subscribed > subscribed, "the reader")
        mark, began = len(reader.seen), time.monotonic()
        proxy.accepting = True
        await until(lambda: back(reader, mark) == 2 * STORM, "all back online", 60)
        took = time.monotonic() - began
        await until(lambda: all(each.quiet for each in bridges), "quiet", 60)
        for name in names:
            reader.publish(f"busbar/{name}/toy/call/echo", "hello")
        await until(
            lambda: (
                len([s for s in reader.seen if s.topic.endswith("/reply")]) == STORM
            ),
            "all outcomes",
            60,
        )
        states = await kept(broker.port, "busbar/+/toy/state")
        assert len(states) == STORM
        assert {each.reconnects for each in bridges} == {1}
        record(
            f"the broker is killed under {STORM} bridges (all in one process)",
            "each comes back by itself, with jitter, once",
            f"{STORM} of {STORM} online again {took:.1f} s after the broker, 1 "
            f"reconnect each, "
            f"{STORM} of {STORM} commands answered",
        )


def one(url: str, name: str) -> AbstractAsyncContextManager[Live]:
    return live(service(Toy()), url, f"bridge: {{name: {name}}}\n")


def back(reader: Reader, mark: int) -> int:
    """Statuses that have been published again, online."""
    topics = {
        each.topic for each in reader.seen[mark:] if each.topic.endswith("/status")
    }
    return sum(
        1 for topic in topics if (reader.say(topic) or {}).get("state") == "online"
    )
