"""One device in a consumer's hands."""

import asyncio
import json
from typing import Any

import pytest

from busbar.client import (
    BadRequest,
    DeviceTimeout,
    Duplicate,
    Expired,
    Locked,
    OutOfRange,
    ReadOnly,
    Stale,
    UnknownTarget,
)
from busbar.client.calls import MARGIN, TTL
from busbar.client.device import ANSWER
from busbar.contract.messages import Change as WireChange
from busbar.contract.messages import ChangeEvent, Fault, Info
from busbar.testing.fakes import settle, until
from tests.client.memory import hand, lab
from tests.client.test_client import taken

FAMILY = {
    "digital/{join}": {
        "schema": {"type": "boolean"},
        "access": "rw",
        "default": False,
        "parameters": {"join": {"minimum": 1, "maximum": 9}},
    },
    "a": {"schema": {"type": "number"}, "access": "r"},
    "unread": {"schema": {"type": "number"}, "access": "r"},
}


# Reading.


async def test_a_value_has_its_time_and_the_device_its_description():
    async with lab() as (_, device, _, _):
        assert (device["level"], device["axes"]) == (1.0, {"RA": 1.0, "DEC": 2.0})
        assert isinstance(device.time("level"), float)
        assert isinstance(device.info, Info)
        assert device.info.properties["level"].unit == "V"
        assert (device.state, device.stale, repr(device)) == (
            "online",
            None,
            "<Device lab/toy online>",
        )
        with pytest.raises(KeyError, match="lab/toy has no property 'nothing'"):
            _ = device["nothing"]


async def test_a_property_never_read_is_marked_and_a_family_member_has_its_default():
    async with hand() as (_, device, made):
        made.info(properties=FAMILY)
        assert device["digital/5"] is False
        assert device.reading("unread").stale is not None
        with pytest.raises(Stale):
            _ = device["unread"]
        with pytest.raises(KeyError):
            _ = device["digital/10"]


async def test_the_default_of_a_family_does_not_hide_that_a_member_is_bad():
    async with hand() as (_, device, made):
        made.info(properties=FAMILY)
        fault = Fault("timeout", "no answer")
        made.publish(
            "event/change",
            ChangeEvent("b1", 1, 1.0, [WireChange("digital/5", 1.0, bad=fault)]),
        )
        assert device.reading("digital/5").stale == fault


async def test_the_default_of_a_family_is_not_claimed_where_the_snapshot_had_no_room():
    async with hand() as (_, device, made):
        made.info(properties=FAMILY, truncated=3)
        assert device.reading("digital/5").stale is not None


async def test_before_anything_is_known_every_value_is_unknown():
    async with hand() as (client, _, _):
        absent = client.device("lab/absent")
        assert (absent.state, absent.info, absent.reading("a").stale) == (
            "unknown",
            None,
            Fault("unknown", "nothing is known of it yet"),
        )
        with pytest.raises(Stale):
            _ = absent["a"]


async def test_wait_online_waits_for_device_and_bridge():
    async with hand() as (_, device, made):
        made.status("bridge", "offline")
        waiting = asyncio.create_task(device.wait_online(100))
        await settle()
        assert not waiting.done()
        made.status("bridge")
        await waiting
        made.status(state="offline")
        late = asyncio.create_task(device.wait_online(5))
        await settle()
        await made.clock.advance(6)
        with pytest.raises(TimeoutError):
            await late


# Watching.


async def test_watch_tells_every_transition_in_order_even_those_of_one_message():
    async with lab() as (_, device, toy, _):
        stream = device.watch("level", "name")
        assert {(each.path, each.value) for each in await taken(stream, 2)} == {
            ("level", 1.0),
            ("name", "x"),
        }
        outlet = toy.sessions[0].outlet
        for number in range(2, 30):
            outlet.values({"level": float(number), "on": bool(number % 2)})
        told = [await anext(stream) for _ in range(28)]
        assert [(each.path, each.value, each.old) for each in told] == [
            ("level", float(n), float(n - 1)) for n in range(2, 30)
        ]


async def test_watch_with_latest_tells_only_the_newest_of_each():
    async with hand() as (_, device, made):
        stream = device.watch(latest=True)
        for number in range(1, 100):
            made.change(number, a=number, b=-number)
        assert [(each.path, each.value) for each in await taken(stream, 2)] == [
            ("a", 99),
            ("b", -99),
        ]
        assert stream.dropped == 0


async def test_a_watcher_is_told_when_values_become_stale_and_good_again():
    async with hand() as (_, device, made):
        stream = device.watch()
        made.status(state="offline")
        made.status()
        made.status("bridge", "offline")
        made.status("bridge")
        assert [
            each.stale.code if each.stale else None for each in await taken(stream, 5)
        ] == [
            None,
            "offline",
            None,
            "offline",
            None,
        ]


async def test_a_device_has_callbacks_of_its_own():
    async with hand() as (_, device, made):
        seen: list[Any] = []
        end = device.subscribe(
            "#", lambda change: seen.append((change.path, change.value)), current=False
        )
        made.change(1, a=1)
        await until(lambda: seen == [("a", 1)], "the change")
        end()


# Commands.


async def test_set_writes_one_or_several():
    async with lab() as (_, device, toy, _):
        assert await device.set("level", 2.5) == 2.5
        await device.set({"level": 3, "mode": "b", "axes": {"RA": 1, "DEC": 1}})
        assert toy.did[-3:] == [("level", 3.0), ("mode", "b"), ("axes", toy.did[-1][1])]
        await until(lambda: device["mode"] == "b", "what came of it")


@pytest.mark.parametrize(
    ("path", "value", "error"),
    [
        ("level", 99, OutOfRange),
        ("level", "x", BadRequest),
        ("reading", 1, ReadOnly),
        ("nothing", 1, UnknownTarget),
        ("level", None, BadRequest),
    ],
)
async def test_a_wrong_write_is_refused_with_its_own_error(
    path: str, value: Any, error: type[Exception]
):
    async with lab() as (_, device, _, _):
        with pytest.raises(error):
            await device.set(path, value)


async def test_a_text_that_looks_like_something_else_is_written_as_it_is():
    async with lab() as (_, device, _, _):
        for text in ("123", "true", "{a", '"quoted"', "null", "", "ü"):
            assert await device.set("name", text) == text


async def test_call_takes_arguments_in_a_mapping():
    async with lab() as (_, device, _, _):
        assert await device.call("echo", {"text": "a", "times": 2}) == "aa"
        assert await device.call("echo", {"text": "b", "times": 3}) == "bbb"
        with pytest.raises(BadRequest):
            await device.call("echo", {"words": "a"})
        with pytest.raises(UnknownTarget):
            await device.call("nothing")


async def test_the_one_required_argument_may_be_a_bare_value():
    async with lab() as (_, device, _, _):
        for text in ("a", "", "123", "true", '{"text": "b"}', '"quoted"'):
            assert await device.call("echo", text) == text
        assert await device.call("work", 0) == 0
        with pytest.raises(BadRequest, match=r"lock takes a JSON object.*'me'"):
            await device.call("lock", "me")


async def test_arguments_and_options_of_one_name_do_not_meet():
    async with hand() as (_, device, made):
        arguments = {"wait": 3, "ttl": 4, "timeout": 5, "id": 6, "lease": 7}
        running = asyncio.create_task(device.call("work", arguments, wait=1, ttl=2))
        await until(made.commands, "the command")
        payload = json.loads(made.commands()[0].payload)
        assert payload.items() >= {**arguments, "_wait": 1, "_ttl": 2}.items()
        assert "_timeout" not in payload
        running.cancel()


async def test_a_misspelt_option_is_a_type_error():
    async with lab() as (_, device, _, _):
        with pytest.raises(TypeError, match="tmeout"):
            await device.set("level", 2, tmeout=1)
        with pytest.raises(TypeError, match="tmeout"):
            await device.call("echo", "a", tmeout=1)


async def test_the_options_travel_with_the_command():
    async with hand() as (_, device, made):
        running = asyncio.create_task(
            device.call(
                "work",
                {"seconds": 4},
                ttl=1,
                wait=2,
                timeout=3,
                id="mine",
                lease="token",
            )
        )
        await until(made.commands, "the command")
        payload = json.loads(made.commands()[0].payload)
        options = {
            key: payload[key]
            for key in ("_ttl", "_wait", "_timeout", "_id", "_lease", "seconds")
        }
        assert options == {
            "_ttl": 1,
            "_wait": 2,
            "_timeout": 2.7,  # the rest is for the way back
            "_id": "mine",
            "_lease": "token",
            "seconds": 4,
        }
        running.cancel()


async def test_without_an_outcome_a_command_ends_after_all_that_it_may_take():
    async with hand() as (_, device, made):
        running = asyncio.create_task(device.set("a", 1, wait=20))
        await until(made.commands, "the command")
        await made.clock.advance(TTL + ANSWER + MARGIN + 20 - 1)
        assert not running.done()
        await made.clock.advance(2)
        with pytest.raises(DeviceTimeout):
            await running


async def test_a_stated_timeout_is_that_of_the_whole_call():
    async with lab() as (_, device, _, bus):
        busy = asyncio.create_task(device.call("work", 50))
        await settle()
        for options in ({"timeout": 0.5}, {"timeout": 0.5, "ttl": 20, "wait": 20}):
            late = asyncio.create_task(device.set("level", 5, **options))
            await settle()
            await bus.clock.advance(0.6)
            with pytest.raises((DeviceTimeout, Expired)):
                await late
        await bus.clock.advance(50)
        assert await busy == 50
        await settle()
        assert device["level"] == 1.0, "it was done after its caller had gone"


async def test_several_commands_can_share_a_deadline():
    async with hand() as (_, device, made):
        deadline = asyncio.get_running_loop().time() + 50
        first = asyncio.create_task(device.set("a", 1, deadline=deadline))
        await until(made.commands, "the command")
        await made.clock.advance(41)
        second = asyncio.create_task(device.call("work", {}, deadline=deadline))
        await until(lambda: len(made.commands()) == 2, "the second command")
        payload = json.loads(made.commands()[1].payload)
        assert all(0 < payload[key] <= 9 for key in ("_timeout", "_ttl"))
        assert not first.done()
        await made.clock.advance(10)
        for running in (first, second):
            with pytest.raises(DeviceTimeout, match="it may have been done"):
                await running
        with pytest.raises(DeviceTimeout, match="it was not sent"):
            await device.set("a", 2, deadline=deadline)
        assert len(made.commands()) == 2


async def test_a_timeout_counts_for_a_device_of_which_nothing_has_come():
    async with hand() as (client, _, made):
        absent = client.device("lab/absent")
        running = asyncio.create_task(absent.set("a", 1, timeout=0.5))
        await settle()
        await made.clock.advance(0.6)
        with pytest.raises(DeviceTimeout, match="it was not sent"):
            await running


async def test_the_same_id_runs_once_and_with_other_arguments_not_at_all():
    async with lab() as (_, device, toy, _):
        assert [
            await device.call("echo", {"text": "a"}, id="twice is once")
            for _ in range(2)
        ] == ["a", "a"]
        assert toy.did.count("a") == 1
        with pytest.raises(Duplicate):
            await device.call("echo", {"text": "b"}, id="twice is once")


async def test_a_command_that_waits_too_long_expires():
    async with lab() as (_, device, _, bus):
        busy = asyncio.create_task(device.call("work", {"seconds": 20}))
        await settle()
        late = asyncio.create_task(device.set("level", 5, ttl=1))
        await settle()
        await bus.clock.advance(3)
        with pytest.raises(Expired):
            await late
        await bus.clock.advance(20)
        assert await busy == 20


async def test_a_locked_device_says_who_has_it():
    async with lab() as (_, device, _, _):
        await device.call("lock", {"owner": "bench 3"})
        with pytest.raises(Locked) as locked:
            await device.set("level", 5)
        assert locked.value.detail["owner"] == "bench 3"
        await until(lambda: device.locked, "the lock seen")
        assert device.locked is not None
        assert device.locked["owner"] == "bench 3"


async def test_patterns_that_overlap_bring_each_change_once():
    async with hand() as (_, device, made):
        stream = device.watch("#", "a")
        made.change(1, a=1)
        assert [(await anext(stream)).value for _ in range(2)] == [0, 1]
        made.change(2, a=2)
        assert (await anext(stream)).value == 2


async def test_a_callback_may_return_what_it_likes():
    async with hand() as (_, device, made):
        seen: list[Any] = []
        device.subscribe(
            "a", lambda change: seen.append(change.value) or 5, current=False
        )
        for seq in (1, 2):
            made.change(seq, a=seq)
        await until(lambda: seen == [1, 2], "both")


async def test_what_is_asked_of_a_closed_client_ends():
    async with hand() as (client, device, _):
        await client.close()
        assert [event async for event in device.events()] == []
