"""The client on a broker in memory.

What it knows, what it says when it does not, what it hands on.
"""

import asyncio
import json
import logging
from pathlib import Path
from typing import Any

import msgspec
import pytest

from busbar.client import (
    Blob,
    Change,
    Client,
    ConfigError,
    Gap,
    LinkLost,
    Offline,
    Presence,
    Snapshot,
    Stale,
    UnknownTarget,
    default_url,
    set_default,
)
from busbar.client import client as module
from busbar.client.freshness import LIMIT as LOST
from busbar.client.queues import LIMIT
from busbar.client.types import Event
from busbar.contract import messages
from busbar.contract.messages import Fault, State
from busbar.testing.fakes import MemoryBus, settle, until
from tests.client.memory import URL, hand, lab

SCHEMA = {"frames": {"title": "frames", "encoding": "msgpack"}}


async def taken(stream: Any, count: int) -> list[Any]:
    return [await anext(stream) for _ in range(count)]


# Joining.


async def test_when_it_is_entered_it_knows_its_devices():
    async with lab() as (client, device, _, _):
        assert set(client.devices()) == {"lab/bridge", "lab/toy"}
        assert client.devices()["lab/toy"] is device
        assert len(client.devices()) == 2
        assert "lab/other" not in client.devices()
        with pytest.raises(KeyError):
            client.devices()["lab/other"]
        assert device["level"] == 1.0


async def test_only_the_devices_in_its_scope_are_known_until_another_is_asked_for():
    async with hand(devices=["other/+"]) as (_, device, _):
        assert await device.wait_online(20) is None
        assert device["a"] == 0


async def test_without_a_broker_it_says_so():
    bus = MemoryBus()
    bus.reachable = False
    with pytest.raises(
        LinkLost,
        match=(
            r"no broker at mqtt://127\.0\.0\.1.*: "
            r"unreachable"
        ),
    ):
        async with Client(URL, connect=bus.connection, timeout=0.3):
            pass


@pytest.mark.parametrize(
    "name", ["", "lab", "lab/", "/toy", "lab/toy/x", "lab/+", "#", "+/+"]
)
async def test_what_is_no_name_of_a_device_is_refused(name: str):
    async with hand() as (client, _, _):
        with pytest.raises(ValueError, match="is not the name of a device"):
            client.device(name)


async def test_a_wrong_url_is_refused_before_anything_happens():
    with pytest.raises(ConfigError):
        Client("nonsense://x")


def test_the_default_broker_is_the_one_set_then_the_environment_then_this_machine(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(module, "_default", {"url": ""})
    monkeypatch.delenv("BUSBAR_URL", raising=False)
    assert default_url() == "mqtt://127.0.0.1"
    monkeypatch.setenv("BUSBAR_URL", "mqtt://lab")
    assert Client().endpoint.host == "lab"
    set_default("mqtt://bench:1884")
    assert default_url() == "mqtt://bench:1884"
    with pytest.raises(ConfigError):
        set_default("nonsense://x")
    assert default_url() == "mqtt://bench:1884"


# A value is never silently old.


async def test_values_say_why_they_are_stale():
    async with hand() as (_, device, made):
        assert device["a"] == 0
        made.status(state="offline")
        with pytest.raises(Stale) as stale:
            _ = device["a"]
        assert stale.value.fault.code == "offline"
        assert device.reading("a")[::2] == (0, stale.value.fault)
        made.status()
        assert device["a"] == 0
        made.publish(
            "event/change",
            messages.ChangeEvent(
                "b1", 1, 1.0, [messages.Change("a", 1.0, bad=Fault("timeout", "x"))]
            ),
        )
        assert device.reading("a").stale == Fault("timeout", "x")
        assert device.stale is None


@pytest.mark.parametrize("state", ["offline", "stopped"])
async def test_a_lost_bridge_marks_its_devices(state: str):
    async with hand() as (_, device, made):
        made.status("bridge", state)
        with pytest.raises(Stale, match=f"the bridge lab is {state}"):
            _ = device["a"]
        with pytest.raises(Offline, match=f"the bridge lab is {state}"):
            await device.set("a", 1)
        made.status("bridge")
        assert device["a"] == 0


async def test_a_bridge_whose_status_was_removed_marks_its_devices():
    async with hand() as (_, device, made):
        made.retain("bridge", "status", b"")
        assert device.stale is not None


async def test_a_bridge_that_is_silent_for_too_long_marks_its_devices():
    async with hand() as (_, device, made):
        await made.clock.advance(LOST / 2)
        made.state("bridge")
        made.state(a=0)
        await made.clock.advance(LOST - 2)
        assert device["a"] == 0
        await made.clock.advance(4)
        with pytest.raises(
            Stale, match=("no sign of life from the bridge lab for 150 s")
        ):
            _ = device["a"]
        made.state("bridge")
        made.state(a=0)
        assert device["a"] == 0


async def test_a_lost_connection_marks_everything_until_all_is_told_again():
    async with lab() as (client, device, toy, bus):
        bus.broker.reachable = False
        bus.broker.cut()
        await until(lambda: device.stale, "the mark")
        assert device.stale == Fault("link", "not connected to the broker")
        toy.sessions[0].outlet.values({"level": 8.0})
        bus.broker.reachable = True
        await client.wait_online("lab/toy", timeout=20)
        await until(
            lambda: device.reading("level") and device["level"] == 8.0, "the new value"
        )


async def test_a_gap_is_found_counted_reported_and_healed_by_subscribing_again():
    gaps: list[Gap] = []
    async with hand(on_gap=gaps.append) as (client, device, made):
        made.change(1, a=1)
        made.change(4, b=4)
        assert gaps == [Gap("lab/toy", "event/change", 2, "messages did not reach us")]
        assert (client.gaps, device.missed, device["b"]) == (1, 2, 4)
        with pytest.raises(Stale, match="messages were lost"):
            _ = device["a"]
        made.keep("state", State("b1", 4, 4.0, {"a": 3, "b": 4}, {}))
        await made.clock.advance(4)
        assert device["a"] == 3
        assert client.gaps == 1


async def test_a_gap_that_only_the_status_shows_is_healed():
    async with hand() as (_, device, made):
        made.change(1, a=1)
        made.keep("state", State("b1", 3, 3.0, {"a": 3}, {}))
        made.status(seq=3)
        await made.clock.advance(6)
        assert device["a"] == 3
        assert device.missed == 2


async def test_a_report_of_a_gap_that_fails_costs_nothing_else(
    caplog: pytest.LogCaptureFixture,
):
    def fails(gap: Gap) -> None:
        raise ZeroDivisionError("a bug of theirs")

    async with hand(on_gap=fails) as (_, device, made):
        made.change(1, a=1)
        made.change(3, a=3)
        assert device["a"] == 3
        assert "a bug of theirs" in caplog.text


async def test_a_device_that_is_removed_is_gone_and_may_come_back():
    async with hand() as (client, device, made):
        news = client.watch_devices()
        assert {(each.device, each.state) for each in await taken(news, 2)} == {
            ("lab/bridge", "online"),
            ("lab/toy", "online"),
        }
        for channel in ("status", "info", "state"):
            made.retain("toy", channel, b"")
        assert await anext(news) == Presence("lab/toy", "gone")
        assert set(client.devices()) == {"lab/bridge"}
        assert device.reading("a").stale is not None
        for tell in (made.status, made.info, made.state):
            tell()
        assert await anext(news) == Presence("lab/toy", "online")
        assert set(client.devices()) == {"lab/bridge", "lab/toy"}


async def test_a_device_that_was_removed_while_we_were_away_is_gone():
    async with hand() as (client, _, made):
        made.bus.reachable = False
        made.bus.cut()
        for topic in [topic for topic in made.bus.retained if "/toy/" in topic]:
            del made.bus.retained[topic]
        made.bus.reachable = True
        await until(lambda: set(client.devices()) == {"lab/bridge"}, "the rest", 20)


HOSTILE: list[Any] = [
    b"",
    b"{",
    b"[]",
    b"null",
    b"\xff\xfe",
    b"\x81",
    b"[" * 100_000,
    b'{"boot": 1}',
    b'{"boot": "b1", "seq": "x", "time": 1}',
    b'{"boot": "b1", "seq": 1e99, "time": 1, "changes": 5}',
    b'{"boot": "b1", "seq": 1, "time": 1, "changes": [{}]}',
    b"\x81\x01\x02",
    b'{"boot": null, "seq": null, "time": null}',
    b'{"state": "on fire", "since": 1, "boot": "b1"}',
]


@pytest.mark.parametrize("payload", HOSTILE)
async def test_nonsense_on_any_topic_is_counted_and_harms_nothing(payload: bytes):
    async with hand() as (client, device, made):
        events = client.events()
        await settle()
        for path in (
            "event/change",
            "event/x",
            "state",
            "info",
            "status",
            "event/log",
            "blob/x",
            "state/leaf",
            "what",
            "",
        ):
            if payload or not path.endswith(("status", "info")):
                made.publish(path, payload)
                made.bus.publish(f"busbar/lab/bridge/{path}", payload)
        made.bus.publish(f"busbar/reply/{client.name}/outcome", payload)
        made.change(1, a=1)
        assert device["a"] == 1
        made.event("beep", 1, pitch=440)
        names: list[str] = []
        while "beep" not in names:
            names.append((await anext(events)).name)


# Commands.


async def test_nothing_is_sent_while_not_connected_and_the_command_fails_at_once():
    async with hand() as (client, device, made):
        made.bus.reachable = False
        made.bus.cut()
        await until(lambda: device.stale, "the mark")
        for command in (
            device.set("a", 1),
            device.call("echo", {"text": "x"}),
            client.run("lab/toy", "set/a", {}, 1.0),
        ):
            with pytest.raises(LinkLost, match="not connected"):
                await command
        made.bus.reachable = True
        await client.wait_online("lab/toy", timeout=20)
        await made.clock.advance(5)
        assert made.commands() == []


async def test_a_command_under_way_fails_with_the_connection_and_repeated_runs_once():
    async with lab() as (client, device, toy, bus):
        running = asyncio.create_task(
            device.call("work", {"seconds": 5}, id="once only")
        )
        await until(lambda: ("work", 5.0) in toy.did, "the start")
        bus.broker.cut()
        with pytest.raises(LinkLost, match="it may have been done"):
            await running
        await client.wait_online("lab/toy", timeout=20)
        again = asyncio.create_task(device.call("work", {"seconds": 5}, id="once only"))
        await settle()
        await bus.clock.advance(6)
        assert await again == 5.0
        assert toy.did.count(("work", 5.0)) == 1


async def test_an_unknown_device_is_named_with_those_that_are_known():
    async with hand() as (client, _, made):
        asked = asyncio.create_task(client.device("lab/psu").set("a", 1))
        await settle()
        await made.clock.advance(2)
        with pytest.raises(
            UnknownTarget,
            match=("there is no device lab/psu; known are: lab/bridge, lab/toy"),
        ):
            await asked


async def test_outcomes_of_others_are_counted_and_ignored():
    async with hand() as (client, device, made):
        running = asyncio.create_task(device.set("a", 1))
        await until(made.commands, "the command")
        reply = {
            "bridge": "lab",
            "device": "toy",
            "id": "x",
            "target": "set/a",
            "ok": True,
            "result": 1,
            "time": 1,
            "took": 1,
        }
        made.bus.publish(f"busbar/reply/{client.name}/outcome", json.dumps(reply))
        assert not running.done()
        assert client._connection.calls.strays == 1
        running.cancel()


# News.


async def test_events_are_decoded_whatever_their_encoding():
    async with hand() as (_client, device, made):
        made.info(events=SCHEMA)
        stream = device.events()
        await settle()
        body = {"boot": "b1", "seq": 1, "time": 1.5, "id": 7, "data": b"\x01"}
        made.publish(
            "event/frames",
            msgspec.msgpack.encode(body),
            content_type="application/msgpack",
        )
        made.publish("event/frames", msgspec.msgpack.encode({**body, "seq": 2}))
        made.event("beep", 1, pitch=440)
        found = await taken(stream, 3)
        assert [
            (each.device, each.name, each.seq, each.time, dict(each.fields))
            for each in found
        ] == [
            ("lab/toy", "frames", 1, 1.5, {"id": 7, "data": b"\x01"}),
            ("lab/toy", "frames", 2, 1.5, {"id": 7, "data": b"\x01"}),
            ("lab/toy", "beep", 1, 1.5, {"pitch": 440}),
        ]
        with pytest.raises(TypeError):
            found[0].fields["id"] = 8


async def test_a_batch_can_be_read_by_its_elements():
    async with hand() as (client, _, made):
        one, all_ = (
            client.events("lab/toy", "frames", items=True),
            client.events("lab/+", "frames"),
        )
        await settle()
        made.event("frames", 1, frames=[{"id": 1}, {"id": 2}], lost=0)
        assert [each.fields for each in await taken(one, 2)] == [{"id": 1}, {"id": 2}]
        assert (await anext(all_)).fields == {
            "frames": [{"id": 1}, {"id": 2}],
            "lost": 0,
        }


async def test_missing_events_are_a_gap_and_doubled_ones_come_once():
    gaps: list[Gap] = []
    async with hand(on_gap=gaps.append) as (client, device, made):
        stream = device.events("beep")
        await settle()
        for seq in (5, 5, 6, 9, 9, 6):
            made.event("beep", seq)
        made.event("beep", 1, boot="b2")
        assert [each.seq for each in await taken(stream, 4)] == [5, 6, 9, 1]
        assert gaps == [Gap("lab/toy", "event/beep", 2, "messages did not reach us")]
        assert client.gaps == 1


async def test_events_that_nobody_read_are_no_gap():
    async with hand() as (client, device, made):
        with_ = device.events("beep")
        await settle()
        made.event("beep", 1)
        assert (await anext(with_)).seq == 1
        with_.close()
        await settle()
        made.event("beep", 2)
        again = device.events("beep")
        await settle()
        made.event("beep", 3)
        assert (await anext(again)).seq == 3
        assert client.gaps == 0


async def test_a_gap_in_the_changes_is_reported_once_even_to_who_reads_events():
    gaps: list[Gap] = []
    async with hand(on_gap=gaps.append) as (_client, device, made):
        stream = device.events()
        await settle()
        made.change(1, a=1)
        made.change(3, a=3)
        assert [each.seq for each in await taken(stream, 2)] == [1, 3]
        assert [gap.missed for gap in gaps] == [1]


async def test_blobs_are_handed_on_and_saved(tmp_path: Path):
    saved: list[tuple[Blob, Path]] = []
    async with hand() as (client, device, made):
        stream = device.blobs()
        end = client.save_blobs(
            tmp_path, saved=lambda blob, path: saved.append((blob, path))
        )
        await settle()
        made.publish("blob/image", b"\x89PNG", content_type="image/png")
        made.publish("blob/image", b"")
        blob = await anext(stream)
        assert (blob.device, blob.name, blob.data, blob.content_type) == (
            "lab/toy",
            "image",
            b"\x89PNG",
            "image/png",
        )
        await until(lambda: saved, "the file")
        assert saved[0][1].read_bytes() == b"\x89PNG"
        end()
        with pytest.raises(NotADirectoryError):
            client.save_blobs(tmp_path / "nowhere")
        with pytest.raises(ValueError, match="blob"):
            client.save_blobs(tmp_path, "+/+/state/#")


async def test_a_callback_gets_what_is_known_then_every_transition():
    async with hand() as (client, _, made):
        seen: list[Change] = []
        end = client.subscribe("lab/toy/state/a", seen.append)
        made.change(1, a=1)
        made.change(2, a=2, b=2)
        await until(lambda: len(seen) == 3, "the changes")
        assert [(each.value, each.old, each.stale) for each in seen] == [
            (0, None, None),
            (1, 0, None),
            (2, 1, None),
        ]
        end()
        made.change(3, a=3)
        await settle()
        assert len(seen) == 3


async def test_a_callback_may_be_for_events_and_for_presence():
    async with hand() as (client, _, made):
        seen: list[Any] = []
        client.subscribe("+/+/event/beep", seen.append)
        client.subscribe("+/toy/status", seen.append)
        await settle()
        made.event("beep", 1)
        made.status(state="offline")
        await until(lambda: len(seen) == 2, "both")
        assert {type(each) for each in seen} == {Event, Presence}
        with pytest.raises(ValueError, match="is not"):
            client.subscribe("lab/toy/level", seen.append)


async def test_a_stalled_callback_loses_its_own_oldest_and_nobody_else_anything(
    caplog: pytest.LogCaptureFixture,
):
    async with hand() as (client, device, made):
        gate, slow = asyncio.Event(), list[Any]()

        async def stalled(change: Change) -> None:
            await gate.wait()
            slow.append(change.value)

        client.subscribe("lab/toy/state/a", stalled)
        stream = device.watch("a", current=False)
        await settle()
        for number in range(1, LIMIT + 101):
            made.change(number, a=number)
            assert (await anext(stream)).value == number
        gate.set()
        await until(lambda: slow[-1:] == [LIMIT + 100], "the last")
        assert slow == [0, *range(101, LIMIT + 101)]
        assert "is too slow: 100 items dropped" in caplog.text
        assert stream.dropped == 0


@pytest.mark.parametrize("wrong", ["a#", "a/#/b", "a b", "x\x00"])
async def test_a_name_that_no_event_can_have_is_refused_and_leaves_nothing(wrong: str):
    async with hand() as (client, device, made):
        with pytest.raises(ValueError, match="a level is"):
            device.events(wrong)
        assert client._dispatcher.subscriptions._subscriptions == []
        with pytest.raises(ValueError):  # which of the two checks, does not matter
            client.device(f"lab/{wrong}")
        made.bus.cut()
        await client.wait_online("lab/toy", timeout=20)


# Notes and messages.


async def test_the_last_eight_messages_are_kept_newest_first_for_client_and_device():
    async with hand() as (client, device, made):
        for number in range(1, 11):
            line = {
                "boot": "b1",
                "seq": number,
                "time": 1.0,
                "level": "warning",
                "logger": "x",
                "message": f"line {number}",
            }
            made.bus.publish(
                "busbar/lab/bridge/event/log",
                messages.encode({**line, "device": "toy" if number % 2 else None}),
            )
        device.report("mine", "error")
        client.report("everybody's")
        assert [note.text for note in client.messages] == [
            "everybody's",
            "mine",
            *(f"line {n}" for n in range(10, 4, -1)),
        ]
        assert [note.text for note in device.messages] == [
            "mine",
            "line 9",
            "line 7",
            "line 5",
            "line 3",
            "line 1",
        ]
        assert (device.messages[0].level, device.messages[0].device) == (
            "error",
            "lab/toy",
        )


async def test_a_report_is_logged_too(caplog: pytest.LogCaptureFixture):
    async with hand() as (client, _, _):
        with caplog.at_level(logging.INFO):
            client.report("the lamp is on", "warning")
        assert (
            "busbar.client",
            logging.WARNING,
            "the lamp is on",
        ) in caplog.record_tuples


async def test_a_snapshot_of_all_devices_is_a_copy_that_never_changes():
    async with hand() as (client, device, made):
        device.notes["a"] = "the left one"
        before = client.snapshot(notes=True)
        made.change(1, a=1, b=2)
        assert (before["lab/toy"].values, before["lab/toy"].notes) == (
            {"a": 0},
            {"a": "the left one"},
        )
        assert client.snapshot()["lab/toy"].values == {"a": 1, "b": 2}
        assert Snapshot.loads(before["lab/toy"].dumps()) == before["lab/toy"]


# The end.


async def test_when_it_is_closed_series_end_commands_fail_and_nothing_is_left_running():
    before = asyncio.all_tasks()
    async with hand() as (client, device, made):
        changes, events = device.watch(current=False), client.events()
        client.subscribe("+/+/state/#", lambda change: None)
        running = asyncio.create_task(device.set("a", 1))
        waiting = asyncio.create_task(client.wait_closed())
        await until(made.commands, "the command")
        await client.close()
        assert [each.stale.code async for each in changes if each.stale] == ["link"]
        assert [each async for each in events] == []
        with pytest.raises(LinkLost):
            await running
        await waiting
        with pytest.raises(LinkLost):
            await device.set("a", 1)
        await client.close()
    assert asyncio.all_tasks() == before


async def test_a_callback_may_close_the_client():
    async with hand() as (client, _, made):

        async def close(change: Change) -> None:
            await client.close()

        client.subscribe("lab/toy/state/a", close, current=False)
        made.change(1, a=1)
        async with asyncio.timeout(20):
            await client.wait_closed()
