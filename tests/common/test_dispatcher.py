"""Commands from message to outcome, on a toy and a broker in memory.

The numbers are sections of docs/contract.md.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from busbar.errors import BusbarError, DeviceRefused, LinkLost
from busbar.testing.fakes import settle, until
from tests.running import Running, running
from tests.toy import Toy, service

TOY = "bridge: {name: lab}\n"


@asynccontextmanager
async def lab(extra: str = "") -> AsyncIterator[tuple[Running, Toy]]:
    toy = Toy()
    async with running(service(toy), TOY + extra) as bus:
        await bus.value("toy", "level")
        yield bus, toy


def start(
    bus: Running, device: str, target: str, payload: Any
) -> "asyncio.Task[dict[str, Any]]":
    """Send a command without waiting for its outcome."""
    kind, _, name = target.partition("/")
    send: Callable[..., Any] = bus.call if kind == "call" else bus.set
    return asyncio.create_task(send(device, name, payload))


def code(reply: dict[str, Any]) -> str:
    assert not reply["ok"], reply
    return str(reply["error"]["code"])


@pytest.mark.parametrize(
    ("path", "payload", "expected"),
    [
        ("level", "5", 5.0),
        ("level", '{"_value": 5.5}', 5.5),
        ("on", "ON", True),
        ("on", "0", False),
        ("name", "123", "123"),
        ("name", "{a", "{a"),
        ("name", '"quoted"', "quoted"),
        ("mode", "b", "b"),
        ("axes", '{"RA": 5, "DEC": -3}', {"RA": 5.0, "DEC": -3.0}),
        ("level", msgspec.msgpack.encode({"_value": 7}), 7.0),
        ("digital/17", "true", True),
    ],
)
async def test_a_set_takes_every_form_of_2(
    path: str, payload: Any, expected: Any
) -> None:
    async with lab() as (bus, toy):
        reply = await bus.set("toy", path, payload)
        assert reply["ok"], reply
        assert reply["result"] == expected
        assert msgspec.to_builtins(toy.did[-1][1]) == expected


@pytest.mark.parametrize(
    ("target", "payload", "expected"),
    [
        ("set/level", "31", "out_of_range"),
        ("set/level", "abc", "bad_request"),
        ("set/level", '{"value": 3}', "bad_request"),
        ("set/level", '{"_value": 3, "_tll": 1}', "bad_request"),
        ("set/level", '{"_value": 3, "_ttl": "soon"}', "bad_request"),
        ("set/mode", "c", "out_of_range"),
        ("set/reading", "1", "read_only"),
        ("set/nothing", "1", "unknown"),
        ("set/digital/101", "1", "out_of_range"),
        ("set/digital/07", "1", "unknown"),
        ("set", '{"level": 3, "mode": "c"}', "out_of_range"),
        ("set", "3", "bad_request"),
        ("set", "{}", "bad_request"),
        ("call/nothing", "{}", "unknown"),
        ("call/echo", '{"txt": "a"}', "bad_request"),
        ("call/echo", '{"text": "a", "times": "b"}', "bad_request"),
        ("call/work", '{"seconds": 101}', "out_of_range"),
        ("call/stop", "now", "bad_request"),
        ("call/echo", '{"text": "a", "_reply": "elsewhere/x"}', "forbidden"),
        ("set/level", "13", "device"),
        ("call/fail", "{}", "internal"),
        ("call/nonsense", "{}", "internal"),
    ],
)
async def test_what_cannot_be_done_is_refused_with_its_code(
    target: str, payload: str, expected: str
) -> None:
    async with lab() as (bus, toy):
        before = list(toy.did)
        reply = await start(bus, "toy", target, payload)
        assert code(reply) == expected, reply
        assert reply["error"]["message"]
        assert toy.did == before, "the device was touched"


async def test_a_device_that_is_not_there_is_unknown() -> None:
    async with lab() as (bus, _):
        assert code(await bus.call("tyo", "stop")) == "unknown"


async def test_a_set_of_several_is_in_order_and_stops_at_the_first_failure() -> None:
    async with lab() as (bus, toy):
        reply = await bus.set("toy", "", {"on": True, "level": 3, "mode": "b"})
        assert reply["result"] == {"on": True, "level": 3.0, "mode": "b"}
        reply = await bus.set("toy", "", {"mode": "a", "level": 13, "on": False})
        assert code(reply) == "device"
        assert reply["error"]["detail"] == {
            "number": 13,
            "applied": ["mode"],
            "failed": "level",
        }
        assert toy.values["on"] is True


async def test_an_empty_payload_is_ignored() -> None:
    async with lab() as (bus, toy):
        bus.broker.publish("busbar/lab/toy/call/stop", b"")
        assert (await bus.call("toy", "echo", "after"))["ok"]
        assert "stop" not in toy.did


async def test_a_replayed_retained_command_is_refused_and_cleared() -> None:
    async with lab() as (bus, toy):
        assert code(await bus.set("toy", "level", "3", retain=True)) == "retained"
        assert ("level", 3.0) not in toy.did
        await until(
            lambda: bus.broker.payloads("busbar/lab/toy/set/level")[-1:] == [b""],
            "the clearing",
        )


async def test_the_same_id_runs_once_and_its_outcome_is_sent_again() -> None:
    async with lab() as (bus, toy):
        first = await bus.call("toy", "echo", {"text": "once", "_id": "12345678"})
        second = await bus.call("toy", "echo", {"_id": "12345678", "text": "once"})
        assert first == second
        assert toy.did.count("once") == 1
        assert (
            code(await bus.call("toy", "echo", {"text": "twice", "_id": "12345678"}))
            == "duplicate"
        )
        await bus.call("toy", "echo", {"text": "short", "_id": "1"})
        await bus.call("toy", "echo", {"text": "short", "_id": "1"})
        assert toy.did.count("short") == 2


async def test_the_same_id_while_it_runs_waits_for_the_one_outcome() -> None:
    async with lab() as (bus, toy):
        both = [
            start(bus, "toy", "call/work", {"seconds": 5, "_id": "12345678"})
            for _ in range(2)
        ]
        await until(lambda: ("work", 5.0) in toy.did, "the start")
        await bus.clock.advance(6)
        replies = [await each for each in both]
        assert replies[0] == replies[1]
        assert toy.did.count(("work", 5.0)) == 1


async def test_a_command_refused_before_it_started_may_reuse_its_id() -> None:
    async with lab() as (bus, _):
        lease = (await bus.call("toy", "lock", {"ttl": 60, "owner": "me"}))["result"][
            "lease"
        ]
        assert (
            code(await bus.set("toy", "level", {"_value": 4, "_id": "12345678"}))
            == "locked"
        )
        await bus.call("toy", "unlock", {"_lease": lease})
        assert (await bus.set("toy", "level", {"_value": 4, "_id": "12345678"}))["ok"]


async def test_a_command_that_waits_longer_than_its_ttl_expires_and_never_runs() -> (
    None
):
    async with lab() as (bus, toy):
        working = start(bus, "toy", "call/work", {"seconds": 50})
        await until(lambda: ("work", 50.0) in toy.did, "the start")
        waiting = [
            start(bus, "toy", "call/echo", {"text": "late", "_ttl": ttl})
            for ttl in (5, 20)
        ]
        default = start(bus, "toy", "call/echo", "late")
        await settle()
        await bus.clock.advance(12)
        assert code(await waiting[0]) == "expired"
        assert code(await default) == "expired"
        await bus.clock.advance(10)
        assert code(await waiting[1]) == "expired"
        await bus.clock.advance(40)
        assert (await working)["ok"]
        assert "late" not in toy.did


async def test_message_expiry_is_the_ttl_unless_the_payload_says_otherwise() -> None:
    async with lab() as (bus, toy):
        start(bus, "toy", "call/work", {"seconds": 50})
        await until(lambda: ("work", 50.0) in toy.did, "the start")
        mirrored = asyncio.create_task(bus.call("toy", "echo", "a", expiry=3.0))
        overruled = asyncio.create_task(
            bus.call("toy", "echo", {"text": "b", "_ttl": 60}, expiry=3.0)
        )
        await settle()
        await bus.clock.advance(4)
        assert code(await mirrored) == "expired"
        await bus.clock.advance(50)
        assert (await overruled)["ok"]


async def test_a_command_sent_long_ago_is_expired_while_our_clock_is_synchronised() -> (
    None
):
    async with lab() as (bus, toy):
        sent = bus.clock.now() - 20
        assert (
            code(await bus.call("toy", "echo", {"text": "old", "_sent": sent}))
            == "expired"
        )
        assert (
            await bus.call("toy", "echo", {"text": "ok", "_sent": sent, "_ttl": 60})
        )["ok"]
        assert (
            await bus.call("toy", "echo", {"text": "ok", "_sent": bus.clock.now()})
        )["ok"]
        assert "old" not in toy.did


async def test_replies_go_to_the_private_topic_too_and_large_results_only_there() -> (
    None
):
    async with lab() as (bus, _):
        await bus.call(
            "toy", "echo", {"text": "ab", "_reply": "busbar/reply/me/1", "_id": "i"}
        )
        private = bus.broker.payloads("busbar/reply/me/1")
        assert json.loads(private[0])["result"] == "ab"
        public = await bus.call(
            "toy",
            "echo",
            {"text": "x", "times": 5000},
            response_topic="busbar/reply/me/2",
        )
        assert "result" not in public
        assert public["size"] > 5000
        large = json.loads(bus.broker.payloads("busbar/reply/me/2")[0])
        assert large["result"] == "x" * 5000
        own = await bus.call("toy", "echo", "y", response_topic="busbar/lab/toy/reply")
        assert own["result"] == "y"


async def test_a_result_that_cannot_be_sent_is_too_large() -> None:
    async with lab() as (bus, _):
        reply = await bus.call("toy", "echo", {"text": "x" * 1000, "times": 1100})
        assert code(reply) == "too_large"
        assert reply["error"]["detail"]["size"] > 1_100_000


async def test_a_command_above_the_limit_is_too_large() -> None:
    async with lab() as (bus, toy):
        assert (
            code(await bus.call("toy", "echo", "x" * (256 * 1024 + 1))) == "too_large"
        )
        assert not [
            each for each in toy.did if isinstance(each, str) and each.startswith("xx")
        ]


async def test_commands_run_one_after_the_other_in_order_of_arrival() -> None:
    async with lab() as (bus, toy):
        tasks = [start(bus, "toy", "call/echo", str(number)) for number in range(50)]
        await asyncio.gather(*tasks)
        assert [
            each for each in toy.did if isinstance(each, str) and each.isdigit()
        ] == [str(n) for n in range(50)]


async def test_a_command_that_only_waits_does_not_hold_the_link() -> None:
    async with lab() as (bus, _):
        waiting = start(bus, "toy", "call/wait", {"seconds": 20})
        assert (await bus.call("toy", "echo", "meanwhile"))["ok"]
        assert not waiting.done()
        await bus.clock.advance(21)
        assert (await waiting)["result"] == 20.0


async def test_a_safe_command_goes_first_passes_a_lock_and_interrupts() -> None:
    async with lab() as (bus, toy):
        await bus.call("toy", "lock", {"ttl": 60, "owner": "me"})
        lease = bus.retained("toy", "state") and (
            await bus.call("toy", "lock", {"ttl": 60})
        ).get("result")
        assert lease is None  # a second lock without the lease is refused
        assert (await bus.call("toy", "stop"))["ok"]
    async with lab() as (bus, toy):
        working = start(bus, "toy", "call/work", {"seconds": 50})
        await until(lambda: ("work", 50.0) in toy.did, "the start")
        queued = start(bus, "toy", "call/echo", "queued")
        stopping = start(bus, "toy", "call/stop", "{}")
        assert code(await working) == "cancelled"
        assert (await stopping)["ok"]
        assert (await queued)["ok"]
        assert toy.did.index("stop") < toy.did.index("queued")


async def test_cancel_ends_a_waiting_and_a_running_command() -> None:
    async with lab() as (bus, toy):
        working = start(bus, "toy", "call/work", {"seconds": 50, "_id": "w"})
        await until(lambda: ("work", 50.0) in toy.did, "the start")
        waiting = start(bus, "toy", "call/echo", {"text": "never", "_id": "e"})
        await settle()
        assert (await bus.call("toy", "cancel", {"id": "e"}))["result"] == {
            "cancelled": 1
        }
        assert code(await waiting) == "cancelled"
        assert (await bus.call("toy", "cancel", "w"))["ok"]
        assert code(await working) == "cancelled"
        assert code(await bus.call("toy", "cancel", "w")) == "unknown"
        assert "never" not in toy.did
        assert (await bus.call("toy", "echo", "after"))["ok"]


async def test_a_command_and_its_cancel_in_one_breath_still_have_two_outcomes() -> None:
    async with lab() as (bus, _):
        for _attempt in range(20):
            echo = start(bus, "toy", "call/echo", {"text": "a", "_id": "e"})
            cancel = start(bus, "toy", "call/cancel", {"id": "e"})
            reply, cancelled = await echo, await cancel
            assert reply["ok"] != cancelled["ok"]


async def test_progress_is_reported_with_the_id() -> None:
    async with lab() as (bus, _):
        await bus.call("toy", "work", {"seconds": 0, "_id": "w"})
        progress = bus.events("toy", "progress")[0]
        assert {
            k: progress[k] for k in ("id", "target", "fraction", "message", "seq")
        } == {
            "id": "w",
            "target": "call/work",
            "fraction": 0.5,
            "message": "half done",
            "seq": 1,
        }


async def test_a_command_longer_than_its_timeout_fails_and_frees_the_link() -> None:
    async with lab() as (bus, toy):
        working = start(bus, "toy", "call/work", {"seconds": 50, "_timeout": 5})
        await until(lambda: ("work", 50.0) in toy.did, "the start")
        await bus.clock.advance(6)
        assert code(await working) == "timeout"
        assert (await bus.call("toy", "echo", "after"))["ok"]


async def test_the_timeout_of_the_caller_is_capped_by_the_description() -> None:
    async with lab() as (bus, _):
        assert (await bus.call("toy", "asked"))["result"] is None
        assert (await bus.call("toy", "asked", {"_timeout": 0.5}))["result"] == 0.5
        assert (await bus.call("toy", "asked", {"_timeout": 100}))["result"] == 1.5


async def test_the_queue_is_bounded() -> None:
    async with lab() as (bus, toy):
        working = start(bus, "toy", "call/work", {"seconds": 5})
        await until(lambda: ("work", 5.0) in toy.did, "the start")
        tasks = [start(bus, "toy", "call/echo", "x") for _ in range(110)]
        done = await asyncio.gather(*tasks[100:])
        assert {code(each) for each in done} == {"overloaded"}
        assert done[0]["error"]["retryable"]
        await bus.clock.advance(6)
        assert (await working)["ok"]
        assert all(each["ok"] for each in await asyncio.gather(*tasks[:100]))


async def test_a_safe_command_and_a_cancel_get_through_a_crowd(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("busbar.command.dispatcher.PENDING_LIMIT", 20)
    async with lab() as (bus, _):
        waiting = [
            start(bus, "toy", "call/wait", {"seconds": 50, "_id": f"w{number}"})
            for number in range(20)
        ]
        await settle()
        assert code(await bus.call("toy", "echo", "x")) == "overloaded"
        assert (await bus.call("toy", "cancel", "w0"))["ok"]
        assert (await bus.call("toy", "stop"))["ok"]
        # the safe one interrupts
        assert {code(reply) for reply in await asyncio.gather(*waiting)} == {
            "cancelled"
        }


async def test_the_changes_of_a_command_come_before_its_outcome() -> None:
    async with lab() as (bus, _):
        bus.broker.withhold = True  # a change is in flight, the next would gather
        for level in (2.0, 3.0):
            assert (await bus.set("toy", "level", level))["ok"]
            sent = [
                message.topic.rpartition("toy/")[2]
                for message in bus.broker.published
                if message.qos
            ]
            assert bus.changes("toy")[-1]["value"] == level
            assert sent[-2:] == ["event/change", "reply"]


async def test_a_broken_link_fails_the_running_command_not_the_waiting_ones() -> None:
    async with lab() as (bus, toy):
        working = start(bus, "toy", "call/work", {"seconds": 50})
        await until(lambda: ("work", 50.0) in toy.did, "the start")
        waiting = start(bus, "toy", "call/echo", "never")
        await settle()
        toy.unplug()
        assert code(await working) == "link"
        assert code(await waiting) in ("offline", "link")
        assert code(await bus.call("toy", "echo", "never")) == "offline"
        assert "never" not in toy.did


async def test_a_lock_keeps_others_out_until_it_ends_and_shows_its_owner() -> None:
    async with lab() as (bus, _):
        result = (await bus.call("toy", "lock", {"ttl": 30, "owner": "bench 3"}))[
            "result"
        ]
        refused = await bus.set("toy", "level", "3")
        assert code(refused) == "locked"
        assert refused["error"]["detail"]["owner"] == "bench 3"
        assert (await bus.value("toy", "_lock", lambda lock: lock))[
            "owner"
        ] == "bench 3"
        assert (
            await bus.set("toy", "level", {"_value": 3, "_lease": result["lease"]})
        )["ok"]
        again = (await bus.call("toy", "lock", {"ttl": 60, "_lease": result["lease"]}))[
            "result"
        ]
        assert again["until"] > result["until"]
        assert code(await bus.call("toy", "unlock")) == "locked"
        await bus.clock.advance(61)
        assert (await bus.set("toy", "level", "4"))["ok"]
        await bus.value("toy", "_lock", lambda lock: lock is None)


async def test_waiters_for_a_lock_are_served_first_come_first_served() -> None:
    async with lab() as (bus, toy):
        lease = (await bus.call("toy", "lock", {"ttl": 600}))["result"]["lease"]
        tasks = [
            start(bus, "toy", "call/echo", {"text": f"w{number}", "_wait": 100})
            for number in range(5)
        ]
        await settle()
        # longer than the ttl, which waiting does not use up
        await bus.clock.advance(30)
        assert not any(task.done() for task in tasks)
        await bus.call("toy", "unlock", {"_lease": lease})
        assert all(each["ok"] for each in await asyncio.gather(*tasks))
        assert [
            each for each in toy.did if isinstance(each, str) and each[0] == "w"
        ] == [f"w{n}" for n in range(5)]


async def test_a_lock_granted_while_a_command_is_queued_stops_it() -> None:
    async with lab() as (bus, toy):
        working = start(bus, "toy", "call/work", {"seconds": 5})
        await until(lambda: ("work", 5.0) in toy.did, "the start")
        queued = start(bus, "toy", "call/echo", "queued")
        await settle()
        assert (await bus.call("toy", "lock", {"ttl": 600}))["ok"]
        await bus.clock.advance(6)
        assert (await working)["ok"]
        assert code(await queued) == "locked"
        assert "queued" not in toy.did


async def test_a_lock_on_the_channel_covers_all_its_devices() -> None:
    async with lab("shared: true\ntwins: 1\n") as (bus, _):
        assert (await bus.call("twin1", "lock", {"ttl": 60, "owner": "me"}))["ok"]
        assert code(await bus.call("toy", "echo", "x")) == "locked"
    async with lab("shared: true\ntwins: 1\n") as (bus, _):
        assert (await bus.call("twin1", "lock", {"ttl": 60, "scope": "device"}))["ok"]
        assert (await bus.call("toy", "echo", "x"))["ok"]
        assert code(await bus.call("toy", "lock", {"scope": "channel"})) == "locked"


@pytest.mark.parametrize(
    "error",
    [
        DeviceRefused("no", cause=object()),
        DeviceRefused("\udcff no", text="\ud800"),
        LinkLost("\ud800"),
    ],
)
async def test_an_error_that_json_cannot_say_is_an_outcome_too(
    error: BusbarError, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*given: Any) -> None:
        raise error

    async with lab() as (bus, toy):
        monkeypatch.setattr(toy.sessions[0], "set", refuse)
        reply = await bus.set("toy", "level", {"_value": 3, "_id": "said once"})
        assert (code(reply), reply["error"]["detail"]) == (error.code, {})
        assert (
            code(await bus.set("toy", "level", {"_value": 3, "_id": "said once"}))
            == error.code
        )


async def test_a_command_that_comes_while_the_bridge_stops_is_told() -> None:
    async with lab() as (bus, _):
        await bus.bridge._commands.close(0.0)
        assert code(await bus.call("toy", "echo", "too late")) == "offline"


async def test_a_command_that_ran_at_the_close_may_have_been_executed() -> None:
    async with lab() as (bus, toy):
        working = start(bus, "toy", "call/work", {"seconds": 50})
        await until(lambda: ("work", 50.0) in toy.did, "the start")
        waiting = start(bus, "toy", "call/echo", "never")
        await settle()
        bus.bridge._commands.on_device_closed("toy")
        assert code(await working) == "link"
        assert code(await waiting) == "offline"
