"""The client on a real Mosquitto, both versions of MQTT, with a toy in this process and
the SCPI bridge as another."""

import asyncio
import itertools
import json
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from busbar.client import (
    Change,
    Client,
    DeviceView,
    Gap,
    LeaseLost,
    LinkLost,
    Offline,
    OutOfRange,
    Stale,
)
from busbar.config import loader
from busbar.contract import messages
from busbar.contract.messages import Info, State, Status
from busbar.errors import BusbarError
from busbar.mqtt.outbox import Message
from busbar.net.endpoint import Endpoint
from busbar.runtime.bridge import Bridge
from busbar.runtime.bridge_spec import BridgeSpec
from busbar.runtime.service import plan
from busbar.testing.fakes import until
from scpi_bridge.simulator.__main__ import Simulator
from tests.broker import Mosquitto
from tests.process import BENCH, BridgeProcess
from tests.proxy import Proxy
from tests.toy import Toy, service
from tests.watcher import Watcher

LAB = "bridge: {name: lab}\n"
ROOT = Path(__file__).parents[2]
NARROW = (
    "max_queued_messages 100",
    "max_queued_bytes 1000000",
    "max_inflight_messages 20",
)


@pytest.fixture
def broker() -> Iterator[Mosquitto]:
    with Mosquitto() as mosquitto:
        yield mosquitto


@pytest.fixture(params=["5", "3.1.1"])
def protocol(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@asynccontextmanager
async def lab(broker: Mosquitto, protocol: str = "5") -> AsyncIterator[Toy]:
    """A toy's bridge, with the broker's url in its configuration."""
    toy = Toy()
    toys, text = (
        service(toy),
        LAB + f"broker: {{url: '{broker.url}', protocol: '{protocol}'}}\n",
    )

    def planned() -> BridgeSpec:
        return plan(toys, loader.parse(text, toys.config, {}), None, {})

    bridge = Bridge(planned(), planned, time.time, lambda: True)
    task = asyncio.create_task(bridge.run(), name="bridge under test")
    try:
        await until(
            lambda: bridge.connected.is_set() or task.done(), "the announcement"
        )
        yield toy
    finally:
        bridge.stop()
        await task


@asynccontextmanager
async def client(
    broker: Mosquitto | Proxy, protocol: str = "5", **options: Any
) -> AsyncIterator[Client]:
    async with Client(Endpoint(broker.url, protocol=protocol), **options) as made:
        yield made


async def usable(bus: Client, name: str = "lab/toy") -> DeviceView:
    device = bus.device(name)
    await device.wait_online(20)
    await until(lambda: "level" in device.snapshot().values, "the first values")
    return device


def good(device: DeviceView, path: str) -> Any:
    """The value, None while it is marked."""
    reading = device.reading(path)
    return None if reading.stale else reading.value


# Two clients.


async def test_what_one_client_sets_another_sees_and_both_get_their_own_outcomes(
    broker: Mosquitto, protocol: str
) -> None:
    async with (
        lab(broker, protocol),
        client(broker, protocol) as one,
        client(broker, protocol) as other,
    ):
        here, there = await usable(one), await usable(other)
        changes = there.watch("level", current=False)
        assert await here.set("level", 7.5) == 7.5
        change = await anext(changes)
        assert (change.device, change.path, change.value, change.old, change.stale) == (
            "lab/toy",
            "level",
            7.5,
            1.0,
            None,
        )
        assert there["level"] == 7.5
        answers = await asyncio.gather(
            here.call("echo", {"text": "here"}), there.call("echo", {"text": "there"})
        )
        assert answers == ["here", "there"]
        assert one._connection.calls.strays == other._connection.calls.strays == 0


async def test_an_error_of_the_device_is_typed_and_has_its_facts(
    broker: Mosquitto, protocol: str
) -> None:
    async with lab(broker, protocol), client(broker, protocol) as bus:
        device = await usable(bus)
        with pytest.raises(OutOfRange):
            await device.set("level", 99)
        with pytest.raises(BusbarError, match="bad luck") as refused:
            await device.set("level", 13)
        assert (refused.value.code, refused.value.detail) == ("device", {"number": 13})


async def test_a_hundred_calls_at_once_all_get_their_own_outcome(
    broker: Mosquitto, protocol: str
) -> None:
    async with lab(broker, protocol) as toy, client(broker, protocol) as bus:
        device = await usable(bus)
        answers = await asyncio.gather(
            *(device.call("echo", {"text": str(number)}) for number in range(100))
        )
        assert answers == [str(number) for number in range(100)]
        assert sorted(
            did for did in toy.did if isinstance(did, str) and did.isdigit()
        ) == sorted(answers)


# What is lost.


async def test_a_stalled_reader_ends_on_the_right_value_when_the_newest_was_dropped(
    protocol: str,
) -> None:
    gaps: list[Gap] = []
    with Mosquitto(*NARROW) as broker:
        async with (
            lab(broker, protocol) as toy,
            Proxy(broker.port, buffer=4096) as proxy,
            client(proxy, protocol, on_gap=gaps.append) as bus,
            client(broker, protocol) as other,
        ):
            device, witness = await usable(bus), await usable(other)
            proxy.downstream.clear()
            number = 0
            while "Outgoing messages are being dropped" not in broker.log:
                number += 1
                toy.sessions[0].outlet.values({"name": f"{number:05}" + "x" * 2000})
                await until(
                    lambda: good(witness, "name")[:5] == f"{number:05}",  # noqa: B023
                    "the witness",
                )
            toy.sessions[0].outlet.values({"name": "last"})
            await until(
                lambda: good(witness, "name") == "last", "the witness at the end"
            )
            proxy.downstream.set()
            await until(lambda: good(device, "name") == "last", "the right value", 90)
            await until(lambda: gaps, "the report", 30)
            assert bus.gaps == len(gaps)
            assert device.missed == sum(gap.missed or 0 for gap in gaps)


async def test_a_broken_bridge_process_marks_its_values_and_a_new_one_makes_them_good(
    broker: Mosquitto, tmp_path: Path, protocol: str
) -> None:
    async with Simulator() as simulator, client(broker, protocol) as bus:
        with BridgeProcess(
            BENCH.format(psu=simulator.psu.port), broker.url, tmp_path
        ) as bridge:
            psu = bus.device("bench/psu")
            await psu.wait_online(30)
            await until(
                lambda: psu.snapshot().values.get("setpoint/voltage") is not None,
                "a reading",
            )
            assert isinstance(psu["setpoint/voltage"], int | float)
            assert bridge._process is not None
            bridge._process.kill()
            await until(lambda: psu.stale, "the mark")
            with pytest.raises(Stale):
                _ = psu["setpoint/voltage"]
            with pytest.raises(Offline):
                await psu.set("output", True)
            bridge.start()
            await psu.wait_online(30)
            await psu.set("setpoint/voltage", 3.5)
            await until(
                lambda: good(psu, "setpoint/voltage") == 3.5,
                "the value of the new process",
            )


# The broker goes and comes back.


async def test_calls_under_way_fail_when_the_broker_goes_and_can_be_repeated_by_id(
    broker: Mosquitto, protocol: str
) -> None:
    async with lab(broker, protocol) as toy, client(broker, protocol) as bus:
        device = await usable(bus)
        running = [
            asyncio.create_task(
                device.call("wait", {"seconds": 1}, id=f"number {n:04}")
            )
            for n in range(20)
        ]
        running.append(
            asyncio.create_task(
                device.call("echo", {"text": "done"}, id="already done")
            )
        )
        assert await running.pop() == "done"
        await until(lambda: len(bus._connection.calls) == 20, "the calls on their way")
        broker.kill()
        for ended in await asyncio.gather(*running, return_exceptions=True):
            assert isinstance(ended, LinkLost)
        with pytest.raises(LinkLost):
            await device.call("echo", {"text": "not connected"})
        assert device.stale is not None
        broker.start()
        await bus.wait_online("lab/toy", timeout=60)
        assert await device.call("echo", {"text": "done"}, id="already done") == "done"
        assert (
            await asyncio.gather(
                *(
                    device.call("wait", {"seconds": 1}, id=f"number {n:04}")
                    for n in range(20)
                )
            )
            == [1] * 20
        )
        assert [did for did in toy.did if did in ("done", "not connected")] == ["done"]


async def test_after_the_broker_was_away_everything_is_followed_again(
    broker: Mosquitto, protocol: str
) -> None:
    async with lab(broker, protocol) as toy, client(broker, protocol) as bus:
        device = await usable(bus)
        events, changes = (
            bus.events("lab/toy", "beep"),
            device.watch("level", current=False),
        )
        broker.restart()
        await until(lambda: device.stale, "the mark")
        await device.wait_online(60)
        toy.sessions[0].outlet.values({"level": 9.0})
        async for change in changes:
            if change.value == 9.0 and change.stale is None:
                break
        toy.sessions[0].outlet.event("beep", {"pitch": 440})
        assert dict((await anext(events)).fields) == {"pitch": 440}


async def test_a_client_without_a_broker_says_so(broker: Mosquitto) -> None:
    broker.kill()
    with pytest.raises(
        LinkLost, match=(f"no broker at mqtt://127.0.0.1:{broker.port}: cannot connect")
    ):
        async with client(broker, timeout=1.0):
            pass


async def test_a_filter_that_is_given_up_at_the_end_is_no_warning(
    broker: Mosquitto, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(5):
        async with client(broker) as bus:
            bus.events("lab/toy", "beep").close()
    assert not [each for each in caplog.records if each.name.startswith("busbar")]


# Many topics, late.


def picture(number: int) -> list[Message]:
    """What is retained of one device."""
    name, about = f"d{number:04}", {"schema": {"type": "number"}, "access": "r"}
    description = {
        "contract": 1,
        "bridge": "crowd",
        "device": name,
        "kind": "toy",
        "revision": 1,
        "boot": "b1",
        "properties": {"n": about},
        "commands": {},
        "events": {},
        "blobs": {},
    }
    state, status = (
        State("b1", 0, time.time() - 10, {"n": number}, {}),
        Status("online", time.time() - 20, "b1", 1, 0),
    )
    payloads = {
        "status": messages.encode(status),
        "info": messages.encode(description),
        "state": messages.encode(state),
    }
    return [
        Message(f"busbar/crowd/{name}/{channel}", data, retain=True)
        for channel, data in payloads.items()
    ]


async def test_a_late_joiner_knows_thousands_of_retained_topics_when_it_is_entered(
    broker: Mosquitto, protocol: str
) -> None:
    assert msgspec.json.decode(picture(1)[1].payload, type=Info).device == "d0001"
    devices = 5000 // 3
    messages = [message for number in range(devices) for message in picture(number)]
    messages += [
        Message(
            "busbar/crowd/bridge/" + m.topic.rpartition("/")[2], m.payload, retain=True
        )
        for m in picture(0)
    ]
    async with Watcher(broker.port, "busbar/crowd/bridge/#") as watcher:
        for message in messages:
            watcher.publish(message.topic, message.payload, retain=True)
        await until(
            lambda: len(watcher.on("busbar/crowd/bridge/state")) == 1, "all of them", 60
        )
        begin = time.monotonic()
        async with client(broker, protocol) as bus:
            took = time.monotonic() - begin
            print(
                f"{len(messages)} retained topics joined in {took:.2f} s on MQTT "
                f"{protocol}"
            )
            assert len(bus.devices()) == devices + 1
            assert bus.incomplete == ""
            for number in range(devices):
                assert bus.device(f"crowd/d{number:04}")["n"] == number
            assert bus.gaps == 0


# Slow callbacks.


async def test_a_stalled_callback_delays_nobody_else(
    broker: Mosquitto, protocol: str
) -> None:
    never = asyncio.Event()
    seen: list[Any] = []

    async def stalled(change: Change) -> None:
        await never.wait()

    async with lab(broker, protocol) as toy, client(broker, protocol) as bus:
        device = await usable(bus)
        end = device.subscribe("level", stalled)
        device.subscribe(
            "level", lambda change: seen.append(change.value), current=False
        )
        for number in range(100):
            toy.sessions[0].outlet.values({"level": number / 10 + 2})
            await asyncio.sleep(0)
        await until(lambda: seen[-1:] == [11.9], "the last value")
        assert seen == [number / 10 + 2 for number in range(100)]
        assert await device.call("echo", {"text": "alive"}) == "alive"
        end()


async def test_wide_reading_that_ends_at_once_takes_nothing_from_the_others(
    broker: Mosquitto, protocol: str
) -> None:
    async with lab(broker, protocol) as toy, client(broker, protocol) as bus:
        device = await usable(bus)
        beeps = device.events("beep")
        for _ in range(3):
            bus.events().close()  # everything, also what others read
        changes = device.watch("level", current=False)
        for number in range(2, 12):
            assert await device.set("level", number) == number
            assert (await anext(changes)).value == number
            toy.sessions[0].outlet.event("beep", {"number": number})
            assert (await anext(beeps)).fields == {"number": number}
        assert bus.gaps == 0


# Locks.

CONTENDER = """
import asyncio, sys
from busbar.client import Client

async def main() -> None:
    name, url, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])
    async with Client(url) as bus:
        toy = bus.device("lab/toy")
        await toy.wait_online(30)
        for number in range(rounds):
            async with toy.lock(ttl=5, owner=name, wait=60):
                await toy.call("echo", f"{name} in")
                await asyncio.sleep(0.05)  # the other one is back in the queue
                await toy.call("echo", f"{name} out")

asyncio.run(main())
"""


async def contend(name: str, url: str, rounds: int) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-c", CONTENDER, name, url, str(rounds), cwd=ROOT
    )


async def test_two_processes_take_turns_with_a_lock_and_neither_starves(
    broker: Mosquitto,
) -> None:
    async with lab(broker) as toy:
        rounds = 15
        processes = [
            await contend(name, broker.url, rounds) for name in ("left", "right")
        ]
        assert [await process.wait() for process in processes] == [0, 0]
        steps = [
            did
            for did in toy.did
            if isinstance(did, str) and did.split()[-1] in ("in", "out")
        ]
        assert len(steps) == 4 * rounds
        owners = [step.split()[0] for step in steps[::2]]
        assert steps == [
            f"{owner} {step}" for owner in owners for step in ("in", "out")
        ], "nobody between in and out"
        begin = next(
            number for number, owner in enumerate(owners) if owner != owners[0]
        )
        end = min(len(owners) - owners[::-1].index(name) for name in ("left", "right"))
        contended = owners[begin:end]  # both were there
        assert all(one != two for one, two in itertools.pairwise(contended)), owners


async def test_a_lock_is_lost_when_its_holder_hears_nothing_any_more(
    broker: Mosquitto, protocol: str
) -> None:
    async with (
        lab(broker, protocol),
        Proxy(broker.port) as proxy,
        client(proxy, protocol) as bus,
        client(broker, protocol) as other,
    ):
        device, there = await usable(bus), await usable(other)
        entered = asyncio.Event()

        async def hold() -> None:
            async with device.lock(ttl=2, owner="first"):
                entered.set()
                await asyncio.Event().wait()

        holding = asyncio.create_task(hold())
        await entered.wait()
        await until(
            lambda: (there.locked or {}).get("owner") == "first",
            "the lock seen by the other",
        )
        proxy.freeze()
        async with there.lock(owner="second", wait=30):
            with pytest.raises(LeaseLost):
                await holding
            assert await there.set("level", 4) == 4
        proxy.cut()


async def test_a_device_is_the_same_to_the_client_as_on_the_bus(
    broker: Mosquitto, protocol: str
) -> None:
    async with (
        lab(broker, protocol),
        client(broker, protocol) as bus,
        Watcher(broker.port) as watcher,
    ):
        device = await usable(bus)
        await device.set({"level": 3, "on": True, "mode": "b"})

        def alike() -> bool:
            state = watcher.last("busbar/lab/toy/state")
            snapshot = json.loads(device.snapshot().dumps())
            return bool(state) and (state["values"], state["times"]) == (
                snapshot["values"],
                snapshot["times"],
            )

        await until(alike, "the snapshot of the broker")


async def test_who_joins_reads_the_values_of_now_and_no_false_gap(
    broker: Mosquitto, protocol: str
) -> None:
    async with lab(broker, protocol), client(broker, protocol) as writer:
        device = await usable(writer)
        for level in range(10):
            await device.set("level", level)
            async with client(broker, protocol) as late:
                there = late.device("lab/toy")
                assert (there["level"], there.stale) == (level, None)
                await there.set("name", f"n{level}")
                assert (there["level"], there["name"]) == (level, f"n{level}")
                assert (late.gaps, there.missed) == (0, 0)


async def test_two_tasks_of_one_client_never_hold_one_lock_together(
    broker: Mosquitto,
) -> None:
    async with lab(broker), client(broker) as bus:
        device = await usable(bus)
        inside: list[str] = []

        async def work(name: str) -> None:
            async with device.lock(owner=name, wait=20):
                inside.append(name)
                await device.set("name", name)
                assert inside[-1] == name
                inside.append(name)

        await asyncio.gather(work("one"), work("two"))
        assert inside[0] == inside[1] != inside[2] == inside[3]
        async with device.lock():
            await device.set("name", "later")
