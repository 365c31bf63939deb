"""A whole bridge on a broker in memory: connecting, leaving, links that come and go.

Sections of docs/contract.md.
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import msgspec

from busbar.contract.messages import Fault, Status
from busbar.mqtt.outbox import Message
from busbar.mqtt.reconnect import BrokerLost
from busbar.testing.fakes import settle, until
from tests.running import Running, running
from tests.toy import Toy, service

LAB = "bridge: {name: lab}\n"


@asynccontextmanager
async def lab(configuration: str = LAB) -> AsyncIterator[tuple[Running, Toy]]:
    toy = Toy()
    async with running(service(toy), configuration) as bus:
        yield bus, toy


def topics(bus: Running, since: int = 0) -> list[str]:
    return [
        message.topic.removeprefix("busbar/lab/")
        for message in bus.broker.published[since:]
    ]


async def test_status_info_and_state_of_devices_come_before_the_bridge_status() -> None:
    async with lab() as (bus, _):
        await bus.value("toy", "level")
        mark = len(bus.broker.published)
        bus.broker.cut()
        await until(
            lambda: "bridge/state/uptime" in topics(bus, mark), "the announcement"
        )
        names = [name for name in topics(bus, mark) if "/event/" not in name]
        bridge = len(names) - 1 - names[::-1].index("bridge/status")
        firsts = [
            names.index(f"toy/{channel}") for channel in ("status", "info", "state")
        ]
        assert firsts == sorted(firsts)
        assert firsts[-1] < bridge
        assert all(names.index(name) > bridge for name in names if "/state/" in name)


async def test_the_description_is_published_before_the_values_that_it_names() -> None:
    async with lab() as (bus, _):
        await bus.value("toy", "level")
        names = topics(bus)
        first = next(
            i
            for i, m in enumerate(bus.broker.published)
            if m.topic.endswith("toy/state") and b"level" in m.payload
        )
        assert names.index("toy/info") < first
        assert bus.retained("toy", "info")["properties"]["level"]["schema"] == {
            "type": "number", "minimum": 0, "maximum": 30,
        }  # fmt: skip


async def test_every_connect_publishes_everything_with_the_newest_values() -> None:
    async with lab() as (bus, toy):
        await bus.value("toy", "level")
        before = dict(bus.broker.retained)
        bus.broker.reachable = False
        bus.broker.cut()
        bus.broker.retained.clear()
        await until(lambda: not bus.bridge.connected.is_set(), "the loss")
        toy.sessions[0].outlet.values({"level": 7.0})
        bus.broker.reachable = True
        await until(
            lambda: before.keys() <= bus.broker.retained.keys(), "everything retained"
        )
        assert bus.retained("toy", "state")["values"]["level"] == 7.0
        assert bus.retained("bridge", "status")["state"] == "online"


async def test_what_was_not_acknowledged_never_comes_after_a_newer_value() -> None:
    async with lab() as (bus, toy):
        await bus.value("toy", "level")
        bus.broker.withhold = True
        outlet = toy.sessions[0].outlet
        outlet.values({"level": 2.0})
        await until(lambda: bus.good("toy")["level"] == 2.0, "the old value on its way")
        bus.broker.reachable = False
        bus.broker.cut()
        await until(lambda: not bus.bridge.connected.is_set(), "the loss")
        outlet.values({"level": 3.0})
        mark = len(bus.broker.published)
        bus.broker.withhold, bus.broker.reachable = False, True
        await until(
            lambda: (bus.retained("toy", "state") or {})["values"]["level"] == 3.0,
            "the new value",
        )
        await settle()
        states = [
            json.loads(m.payload)
            for m in bus.broker.published[mark:]
            if m.topic.endswith("toy/state")
        ]
        assert {each["values"]["level"] for each in states} == {3.0}
        assert (
            json.loads(bus.broker.retained["busbar/lab/toy/state/level"].payload) == 3.0
        )


async def test_unacknowledged_events_are_sent_again_in_order_without_a_gap() -> None:
    async with lab() as (bus, toy):
        await bus.value("toy", "level")
        bus.broker.withhold = True
        for number in range(20):
            toy.sessions[0].outlet.event("beep", {"number": number})
        await until(
            lambda: len(bus.events("toy", "beep")) == 20, "the events on their way"
        )
        bus.broker.withhold = False
        mark = len(bus.broker.published)
        bus.broker.cut()
        await until(
            lambda: topics(bus, mark).count("toy/event/beep") == 20, "all of them again"
        )
        assert [each["seq"] for each in bus.events("toy", "beep")[20:]] == list(
            range(1, 21)
        )


async def test_a_flood_without_a_broker_is_bounded_and_drops_are_counted() -> None:
    async with lab() as (bus, toy):
        await bus.value("toy", "level")
        bus.broker.reachable = False
        bus.broker.cut()
        await until(lambda: not bus.bridge.connected.is_set(), "the loss")
        for number in range(12_000):
            toy.sessions[0].outlet.event("beep", {"number": number})
        bus.broker.reachable = True
        await until(
            lambda: (
                bus.events("toy", "beep")
                and bus.events("toy", "beep")[-1]["seq"] == 12_000
            ),
            "the newest",
        )
        seqs = [each["seq"] for each in bus.events("toy", "beep")]
        assert seqs == list(range(seqs[0], 12_001))
        await bus.clock.advance(11)
        missing = 12_000 - len(seqs)
        dropped = await bus.value("bridge", "dropped", lambda count: count >= missing)
        assert missing > 0
        # other events of the bridge itself stood in the same queue
        assert dropped - missing <= 5


async def test_a_left_over_leaf_at_its_default_is_removed_once_online() -> None:
    toy = Toy()
    toy.reachable, toy.values["digital/7"] = False, True
    left = dict.fromkeys(
        ["busbar/lab/toy/state/digital/5", "busbar/lab/toy/state/digital/7"], b"true"
    )
    async with running(service(toy), LAB, left) as bus:
        await bus.status("toy", "offline")
        await bus.clock.advance(3)
        assert left.keys() <= bus.broker.retained.keys()  # nobody knows better yet
        toy.reachable = True
        await bus.call("toy", "connect")
        await bus.value("toy", "digital/7")
        await until(
            lambda: "busbar/lab/toy/state/digital/5" not in bus.broker.retained,
            "the left-over gone",
        )
        assert bus.broker.retained["busbar/lab/toy/state/digital/7"].payload == b"true"


async def test_left_over_topics_of_unknown_devices_and_leaves_are_removed() -> None:
    stale = [
        "old/status",
        "old/info",
        "old/state",
        "old/state/x",
        "toy/state/gone",
        "old/blob/b",
    ]
    elsewhere = "busbar/elsewhere/x/status"
    left = dict.fromkeys([elsewhere, *(f"busbar/lab/{name}" for name in stale)], b"{}")
    async with running(service(Toy()), LAB, left) as bus:
        await bus.value("toy", "level")
        await until(
            lambda: not [t for t in bus.broker.retained if "old" in t or "gone" in t],
            "the left-overs gone",
        )
        assert elsewhere in bus.broker.retained
        assert "busbar/lab/toy/state/level" in bus.broker.retained


async def test_our_own_offline_is_repaired() -> None:
    async with lab() as (bus, _):
        will = Status(
            "offline", None, bus.bridge.boot, 0, 0, Fault("link", "late will")
        )
        bus.broker.take(
            Message("busbar/lab/bridge/status", msgspec.json.encode(will), retain=True)
        )
        await until(
            lambda: bus.retained("bridge", "status")["state"] == "online", "the repair"
        )


async def test_a_clean_stop_says_stopped_for_every_device_and_leaves_no_will() -> None:
    async with lab() as (bus, _):
        await bus.value("toy", "level")
    states = {
        device: bus.retained(device, "status")["state"] for device in ("toy", "bridge")
    }
    assert states == {"toy": "stopped", "bridge": "stopped"}
    assert bus.retained("toy", "state")["bad"]["level"]["code"] == "offline"


async def test_a_stop_fails_what_still_runs() -> None:
    async with lab() as (bus, toy):
        work = asyncio.create_task(bus.call("toy", "work", {"seconds": 80}))
        await until(lambda: ("work", 80.0) in toy.did, "the start")
        bus.bridge.stop()
        assert (await work)["error"]["code"] == "cancelled"


async def test_snapshots_come_every_minute_and_the_bridge_tells_of_itself() -> None:
    async with lab() as (bus, _):
        await bus.value("toy", "level")
        await bus.clock.advance(3)
        mark = len(bus.broker.published)
        await bus.clock.advance(130)
        await until(lambda: topics(bus, mark).count("toy/state") >= 2, "two heartbeats")
        assert topics(bus, mark).count("toy/state/level") >= 2
        assert topics(bus, mark).count("bridge/state") >= 2
        uptime = await bus.value("bridge", "uptime", lambda seconds: seconds >= 130)
        assert uptime < 200


async def test_a_lost_link_makes_everything_bad_and_comes_back_by_itself() -> None:
    async with lab() as (bus, toy):
        await bus.value("toy", "level")
        toy.unplug("cable pulled")
        status = await bus.status("toy", "offline")
        assert status["reason"] == {"code": "link", "message": "cable pulled"}
        assert await bus.bad("toy", "level", "offline") == "cable pulled"
        toy.values["level"] = 9.0
        toy.reachable = True
        for _ in range(8):
            await bus.clock.advance(5)
        await bus.status("toy", "online")
        await bus.value("toy", "level", lambda value: value == 9.0)
        assert "level" not in bus.faults("toy")


async def test_connect_disconnect_and_reconnect_do_what_they_say() -> None:
    async with lab() as (bus, toy):
        await bus.value("toy", "level")
        await bus.call("toy", "disconnect")
        assert "connect" in (await bus.status("toy", "offline"))["reason"]["message"]
        await until(lambda: not toy.sessions, "the link closed")
        assert (await bus.call("toy", "echo", "x"))["error"]["code"] == "offline"
        await bus.call("toy", "connect")
        await bus.status("toy", "online")
        opened = toy.opened
        await bus.call("toy", "reconnect")
        await until(lambda: toy.opened == opened + 1, "the link again")
        await bus.status("toy", "online")


async def test_a_link_on_demand_is_idle_until_a_command_opens_it_and_closes_again() -> (
    None
):
    async with lab(LAB + "on_demand: true\nidle_close: 30\n") as (bus, toy):
        assert (await bus.status("toy", "online"))["reason"]["code"] == "idle"
        assert toy.opened == 0
        assert (await bus.call("toy", "echo", "hello"))["result"] == "hello"
        assert toy.opened == 1
        await until(lambda: bus.retained("toy", "status")["reason"] is None, "in use")
        await bus.clock.advance(31)
        await until(lambda: not toy.sessions, "the link closed")
        assert (await bus.status("toy", "online"))["reason"]["code"] == "idle"
        toy.reachable = False
        assert (await bus.call("toy", "echo", "hello"))["error"]["code"] == "offline"
        toy.reachable = True
        await bus.clock.advance(1)
        assert (await bus.call("toy", "echo", "again"))["result"] == "again"


async def test_the_bridge_lists_its_devices_with_who_locks_them() -> None:
    async with lab() as (bus, _):
        await bus.status("toy", "online")
        await bus.call("toy", "lock", {"owner": "me"})
        rows = (await bus.call("bridge", "list"))["result"]
        assert [
            (row["device"], row["kind"], row["status"], row["locked_by"])
            for row in rows
        ] == [
            ("toy", "toy", "online", "me"),
            ("bridge", "bridge", "online", None),
        ]


async def test_clean_removes_what_is_retained_and_publishes_what_lives_again() -> None:
    async with lab() as (bus, _):
        await bus.value("toy", "level")
        await until(
            lambda: "busbar/lab/toy/state/level" in bus.broker.retained, "the leaf"
        )
        bus.broker.take(Message("busbar/lab/dead/status", b"{}", retain=True))
        mark = len(bus.broker.published)
        clean = asyncio.create_task(bus.call("bridge", "clean"))
        while not clean.done():
            await bus.clock.advance(0.5)
        assert clean.result()["result"] > 5
        await until(
            lambda: "busbar/lab/toy/state/level" in bus.broker.retained, "the return"
        )
        assert "busbar/lab/dead/status" not in bus.broker.retained
        infos = [
            m.payload
            for m in bus.broker.published[mark:]
            if m.topic == "busbar/lab/toy/info"
        ]
        assert infos[0] == b""
        assert infos[-1] != b""


async def test_a_status_that_somebody_cleared_comes_back() -> None:
    async with lab() as (bus, _):
        await bus.value("toy", "level")
        for device in ("bridge", "toy"):
            bus.broker.take(Message(f"busbar/lab/{device}/status", b"", retain=True))
        await until(
            lambda: bus.retained("bridge", "status"), "the status of the bridge"
        )
        await bus.clock.advance(61)
        await until(lambda: bus.retained("toy", "status"), "the status of the toy")


async def test_shutdown_is_refused_unless_it_is_allowed() -> None:
    async with lab() as (bus, _):
        assert (await bus.call("bridge", "shutdown"))["error"]["code"] == "forbidden"
    async with lab("bridge: {name: lab, allow_shutdown: true}\n") as (bus, _):
        assert (await bus.call("bridge", "shutdown"))["ok"]
        await until(
            lambda: (bus.retained("bridge", "status") or {})["state"] == "stopped",
            "the end",
        )


async def test_warnings_become_events_of_the_bridge_at_a_limited_rate() -> None:
    async with lab() as (bus, _):
        for number in range(100):
            logging.getLogger("busbar.test").warning(
                "trouble %d", number, extra={"device": "toy"}
            )
        await until(lambda: len(bus.events("bridge", "log")) >= 5, "the events")
        await settle()
        events = bus.events("bridge", "log")
        assert len(events) <= 12
        assert {k: events[0][k] for k in ("level", "logger", "message", "device")} == {
            "level": "warning",
            "logger": "busbar.test",
            "message": "trouble 0",
            "device": "toy",
        }
        await bus.clock.advance(5)
        logging.getLogger("busbar.test").warning("later")
        await until(
            lambda: "left out" in bus.events("bridge", "log")[-1]["message"],
            "the count of the rest",
        )


async def test_the_level_of_a_logger_is_set_by_command() -> None:
    async with lab() as (bus, _):
        assert (
            await bus.call(
                "bridge", "log_level", {"level": "trace", "logger": "wire.toy"}
            )
        )["ok"]
        assert logging.getLogger("busbar.wire.toy").level == 5
        logging.getLogger("busbar.wire.toy").setLevel(logging.NOTSET)
        reply: dict[str, Any] = await bus.call("bridge", "log_level", {"level": "loud"})
        assert reply["error"]["code"] == "out_of_range"


async def test_blobs_can_have_a_connection_of_their_own_which_holds_up_nothing() -> (
    None
):
    toy = Toy()
    # max_message is for all else
    apart = replace(service(toy), blobs_apart=lambda config: 16 * 1024 * 1024)
    async with running(apart, LAB) as bus:
        await bus.value("toy", "level")
        await until(lambda: len(bus.broker._clients) == 2, "both connections")
        # more than events may have waiting
        outlet, image = toy.sessions[0].outlet, bytes(9 * 1024 * 1024)
        outlet.blob("picture", image, "image/png")
        await until(
            lambda: bus.broker.payloads("busbar/lab/toy/blob/picture") == [image],
            "the blob",
        )
        bus.broker._clients[1].lose("cut")
        outlet.blob("picture", b"while it is away", "image/png")
        outlet.values({"level": 9.0})
        await bus.value("toy", "level", lambda value: value == 9.0)
        await until(
            lambda: (
                b"while it is away"
                in bus.broker.payloads("busbar/lab/toy/blob/picture")
            ),
            "the next blob",
        )
        outlet.blob("picture", b"the last", "image/png")
    assert bus.broker.payloads("busbar/lab/toy/blob/picture")[-1] == b"the last"


async def test_a_clean_that_the_broker_interrupts_fails_with_link() -> None:
    async with lab() as (bus, _):
        await bus.value("toy", "level")
        reply = asyncio.create_task(bus.call("bridge", "clean"))
        await until(
            lambda: bus.bridge._broker._cleanup._found is not None, "the collecting"
        )
        bus.broker._clients[0].unsubscribe = refused  # type: ignore[method-assign]
        await bus.clock.advance(1.0)
        assert (await reply)["error"]["code"] == "link"


async def refused(filters: Any) -> None:
    raise BrokerLost("not connected")


async def test_a_connection_that_ends_soon_leaves_no_old_device_online() -> None:
    toy = Toy()
    left = {
        "busbar/lab/gone/status": msgspec.json.encode(
            Status("online", 1.0, "old", 1, 1)
        )
    }
    async with running(service(toy), LAB + "finds: true\n", left) as bus:
        bus.broker.window = 0  # nothing gets through any more
        await bus.clock.advance(2.0)
        bus.broker.cut()
        bus.broker.window = 100
        await bus.status("gone", "offline")


async def test_no_task_stays_behind_when_a_bridge_ends_by_itself() -> None:
    async with lab() as (bus, _):
        await bus.value("toy", "level")
        own = next(task for task in asyncio.all_tasks() if task.get_name() == "bridge")
        own.cancel()
        await until(
            lambda: all(
                t.get_name() != "bridge under test" for t in asyncio.all_tasks()
            ),
            "the end",
        )
        assert not [
            task for task in asyncio.all_tasks() if task.get_name() == "mqtt-serve"
        ]
