"""Devices that come and go while their link stays: found, or connected by command.

Source: docs/contract.md, 2 and 5.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from busbar.errors import BadRequest, LinkLost, Retry, TooLarge, UnknownTarget
from busbar.link.found_devices import QUIET
from busbar.link.open_link import FOUND_LIMIT
from busbar.link.session import Link, Port, Session
from busbar.testing.fakes import until
from tests.running import Running, running
from tests.toy import ABOUT, Toy, service

FINDING = "bridge: {name: lab}\nfinds: true\n"


async def opened(bus: Running, toy: Toy, times: int = 1) -> Port:
    await until(lambda: toy.opened == times and toy.sessions, "the session")
    await bus.status("toy", "online")
    return toy.sessions[0].port


async def test_a_device_that_appears_is_on_the_bus_and_takes_commands() -> None:
    toy = Toy()
    async with running(service(toy), FINDING) as bus:
        port = await opened(bus, toy)
        port.appear("gadget", ABOUT).values({"level": 4.0})
        await bus.value("gadget", "level", lambda value: value == 4.0)
        await bus.status("gadget", "online")
        assert (await bus.call("gadget", "echo", {"text": "here"}))["result"] == "here"
        rows = (await bus.call("bridge", "list"))["result"]
        assert [row["device"] for row in rows] == ["toy", "gadget", "bridge"]


async def test_a_device_that_vanishes_leaves_nothing_and_its_commands_fail() -> None:
    toy = Toy()
    async with running(service(toy), FINDING) as bus:
        port = await opened(bus, toy)
        port.appear("gadget", ABOUT).values({"level": 4.0})
        await bus.value("gadget", "level")
        port.vanish("gadget")
        await until(
            lambda: not [t for t in bus.broker.retained if "/gadget/" in t],
            "nothing left",
        )
        assert (await bus.call("gadget", "echo", {"text": "x"}))["error"][
            "code"
        ] == "unknown"
        with pytest.raises(UnknownTarget):
            port.vanish("gadget")


async def test_a_device_that_comes_back_goes_on_counting() -> None:
    toy = Toy()
    async with running(service(toy), FINDING) as bus:
        port = await opened(bus, toy)
        port.appear("gadget", ABOUT).values({"level": 4.0})
        await bus.value("gadget", "level")
        before = (
            bus.retained("gadget", "state")["seq"],
            bus.retained("gadget", "info")["revision"],
        )
        port.vanish("gadget")
        port.appear("gadget", ABOUT).values({"level": 5.0})
        await bus.value("gadget", "level", lambda value: value == 5.0)
        after = (
            bus.retained("gadget", "state")["seq"],
            bus.retained("gadget", "info")["revision"],
        )
        assert after[0] > before[0]
        assert after[1] > before[1]


async def test_a_device_is_offline_with_its_link_and_until_it_has_appeared_again() -> (
    None
):
    toy = Toy()
    async with running(service(toy), FINDING) as bus:
        port = await opened(bus, toy)
        port.appear("gadget", ABOUT)
        await bus.status("gadget", "online")
        toy.unplug()
        await bus.status("gadget", "offline")
        toy.reachable = True
        port = await opened(bus, toy, 2)
        status = await bus.status("gadget", "offline")
        assert status["reason"]["message"] == (
            "the link is back, the device has not appeared again"
        )
        assert (await bus.call("gadget", "echo", {"text": "x"}))["error"][
            "code"
        ] == "offline"
        port.appear("gadget", ABOUT)
        await bus.status("gadget", "online")


async def test_what_does_not_appear_again_is_cleared_when_the_link_has_been_quiet() -> (
    None
):
    toy = Toy()
    async with running(service(toy), FINDING) as bus:
        port = await opened(bus, toy)
        port.appear("gadget", ABOUT)
        port.appear("other", ABOUT)
        await bus.status("gadget", "online")
        toy.unplug()
        toy.reachable = True
        port = await opened(bus, toy, 2)
        port.appear("other", ABOUT)
        await bus.clock.advance(QUIET - 5)
        assert bus.retained("gadget", "status")["state"] == "offline"
        await bus.clock.advance(10)
        await until(
            lambda: not [t for t in bus.broker.retained if "/gadget/" in t],
            "nothing left",
        )
        assert bus.retained("other", "status")["state"] == "online"


async def test_a_left_over_device_is_offline_until_it_could_have_appeared() -> None:
    toy = Toy()
    old = json.dumps(
        {
            "state": "online",
            "since": 1.0,
            "boot": "00000000",
            "revision": 1,
            "seq": 7,
            "reason": None,
        }
    )
    left = dict.fromkeys(
        ["busbar/lab/gadget/status", "busbar/lab/ghost/status"], old.encode()
    )
    async with running(service(toy), FINDING, left) as bus:
        port = await opened(bus, toy)
        await until(
            lambda: bus.retained("ghost", "status")["boot"] != "00000000",
            "our word on it",
        )
        assert bus.retained("ghost", "status")["reason"]["message"].startswith(
            "the device has not appeared"
        )
        port.appear("gadget", ABOUT)
        await bus.status("gadget", "online")
        await bus.clock.advance(QUIET + 5)
        await until(
            lambda: "busbar/lab/ghost/status" not in bus.broker.retained,
            "the ghost gone",
        )
        assert bus.retained("gadget", "status")["state"] == "online"


async def test_a_name_that_is_taken_or_no_level_or_one_too_many_is_refused() -> None:
    toy = Toy()
    async with running(service(toy), FINDING) as bus:
        port = await opened(bus, toy)
        with pytest.raises(BadRequest, match="there is a device 'bridge'"):
            port.appear("bridge", ABOUT)
        with pytest.raises(BadRequest, match="'a b' cannot be a device"):
            port.appear("a b", ABOUT)
        with pytest.raises(UnknownTarget, match="no device 'toy' has appeared"):
            port.vanish("toy")
        bare = ABOUT.with_(properties={}, commands={}, events={}, blobs={})
        for number in range(FOUND_LIMIT - 1):
            port.appear(f"d{number}", bare)
        with pytest.raises(TooLarge, match="1000 devices"):
            port.appear("more", bare)


class Soon(LinkLost):
    retry = Retry(0.2, 0.2, firm=True, soon=True)


async def test_commands_wait_for_a_link_that_will_be_there_in_a_moment() -> None:
    toy = Toy()
    async with running(service(toy), "bridge: {name: lab}\n") as bus:
        await opened(bus, toy)
        toy.reachable, session = False, toy.sessions.pop()
        session.broken.set_exception(Soon("booting"))
        status = await bus.status("toy", "connecting")
        assert status["reason"]["message"] == "booting"
        toy.reachable = True
        assert (await bus.call("toy", "echo", {"text": "waited"}))["result"] == "waited"


async def test_a_device_may_have_a_connect_of_its_own() -> None:
    toy = Toy()
    own = ABOUT.with_(
        commands={
            **ABOUT.commands,
            "connect": replace(ABOUT.commands["echo"], name="connect"),
        }
    )
    async with running(service(toy), FINDING) as bus:
        port = await opened(bus, toy)
        port.appear("gadget", own)
        await bus.status("gadget", "online")
        assert (await bus.call("gadget", "connect", {"text": "its own"}))[
            "result"
        ] == "its own"
        assert (await bus.call("toy", "connect"))["result"] is None


async def test_a_device_that_was_found_is_not_closed_by_command() -> None:
    toy = Toy()
    async with running(service(toy), FINDING) as bus:
        port = await opened(bus, toy)
        port.appear("gadget", ABOUT)
        reply = await bus.call("bridge", "close", {"name": "gadget"})
        assert reply["error"]["code"] == "forbidden"
    async with running(
        service(toy), ("bridge: {name: lab, allow_open: ['*']}\nfinds: true\n")
    ) as bus:
        port = await opened(bus, toy, 2)
        port.appear("gadget", ABOUT)
        reply = await bus.call("bridge", "close", {"name": "gadget"})
        assert reply["error"]["code"] == "bad_request"
        assert toy.sessions


async def test_what_a_link_has_found_goes_when_it_is_disconnected() -> None:
    toy = Toy()
    async with running(service(toy), FINDING) as bus:
        port = await opened(bus, toy)
        port.appear("gadget", ABOUT)
        await bus.status("gadget", "online")
        assert (await bus.call("toy", "disconnect"))["ok"]
        status = await bus.status("gadget", "offline")
        assert status["reason"]["message"].startswith("disconnected by command")
        assert (await bus.call("toy", "connect"))["ok"]
        port = await opened(bus, toy, 2)
        port.appear("gadget", ABOUT)
        await bus.status("gadget", "online")


async def test_a_device_connected_again_on_an_open_link_is_read_again() -> None:
    toy = Toy()
    async with running(service(toy), "bridge: {name: lab}\ntwins: 1\n") as bus:
        await bus.value("toy", "level")
        await bus.call("toy", "disconnect")
        await bus.bad("toy", "level", "offline")
        toy.values["level"] = 9.0
        assert (await bus.call("toy", "connect"))["ok"]
        await bus.value("toy", "level", lambda value: value == 9.0)
        assert toy.opened == 1


async def test_a_device_that_vanishes_before_it_is_read_costs_no_link() -> None:
    toy = Toy()
    async with running(service(toy), FINDING) as bus:
        port = await opened(bus, toy)
        port.appear("gadget", ABOUT)
        await bus.status("gadget", "online")
        asked = len(toy.did)
        assert (await bus.call("toy", "lock", {"scope": "device", "polls": False}))[
            "ok"
        ]
        assert (await bus.call("gadget", "disconnect"))["ok"]
        assert (await bus.call("gadget", "connect"))["ok"]
        port.vanish("gadget")
        await bus.clock.advance(11.0)
        assert (await bus.call("toy", "echo", {"text": "here"}))["ok"]
        assert "refresh" not in toy.did[asked:]
        assert toy.opened == 1


async def test_a_device_that_appears_under_a_lock_of_its_channel_shows_it() -> None:
    toy = Toy()
    async with running(service(toy), FINDING) as bus:
        port = await opened(bus, toy)
        assert (await bus.call("toy", "lock", {"scope": "channel", "owner": "me"}))[
            "ok"
        ]
        port.appear("gadget", ABOUT)
        assert (await bus.value("gadget", "_lock", bool))["owner"] == "me"
        assert (await bus.call("gadget", "echo", {"text": "x"}))["error"][
            "code"
        ] == "locked"


async def test_a_silent_device_says_disconnected_and_is_silent_again() -> None:
    toy = Toy()
    async with running(service(toy), FINDING) as bus:
        port = await opened(bus, toy)
        gadget = port.appear("gadget", ABOUT)
        gadget.values({"level": 1.0})
        await bus.call("gadget", "disconnect")
        gadget.offline(LinkLost("no answer"))
        gadget.bad(["level"], LinkLost("no answer"))
        reply = await bus.call("gadget", "echo", {"text": "x"})
        assert reply["error"]["message"].startswith("disconnected by command")
        assert bus.retained("gadget", "status")["reason"]["message"].startswith(
            "disconnected by command"
        )
        await bus.bad("gadget", "level", "offline")
        await bus.call("gadget", "connect")
        assert (await bus.status("gadget", "offline"))["reason"][
            "message"
        ] == "no answer"
        gadget.online()
        await bus.status("gadget", "online")


async def test_a_command_for_a_disconnected_device_does_not_open_a_link_on_demand() -> (
    None
):
    toy = Toy()
    async with running(service(toy), FINDING + "on_demand: true\ntwins: 1\n") as bus:
        await bus.call("toy", "disconnect")
        assert (await bus.call("toy", "echo", {"text": "x"}))["error"][
            "code"
        ] == "offline"
        await bus.clock.advance(1.0)
        assert toy.opened == 0
        assert bus.retained("twin1", "status")["reason"]["code"] == "idle"


async def test_a_link_on_demand_stays_open_while_a_command_runs() -> None:
    toy = Toy()
    async with running(
        service(toy), ("bridge: {name: lab}\non_demand: true\nidle_close: 30\n")
    ) as bus:
        reply = asyncio.create_task(bus.call("toy", "work", {"seconds": 50}))
        await until(lambda: ("work", 50.0) in toy.did, "the work")
        await bus.clock.advance(60.0)
        assert (await reply)["ok"]
        assert toy.sessions
        await bus.clock.advance(31.0)
        assert (await bus.status("toy", "online"))["reason"]["code"] == "idle"
        assert (toy.opened, toy.sessions) == (1, [])


async def test_connect_does_not_open_an_idle_open_link_again() -> None:
    toy = Toy()
    async with running(
        service(toy), ("bridge: {name: lab}\non_demand: true\nidle_close: 30\n")
    ) as bus:
        assert (await bus.call("toy", "echo", {"text": "x"}))["ok"]
        assert (await bus.call("toy", "connect"))["ok"]
        await bus.clock.advance(40.0)
        assert (toy.opened, toy.sessions) == (1, [])


async def test_what_an_idle_link_has_found_stays() -> None:
    toy = Toy()
    async with running(
        service(toy), FINDING + "on_demand: true\nidle_close: 5\n"
    ) as bus:
        assert (await bus.call("toy", "echo", {"text": "x"}))["ok"]
        toy.sessions[0].port.appear("gadget", ABOUT)
        await bus.status("gadget", "online")
        await bus.clock.advance(QUIET + 15.0)
        assert not toy.sessions
        assert bus.retained("gadget", "status")["reason"]["code"] == "idle"


async def test_a_thousand_comings_and_goings_leave_nothing_and_their_counts_go_on() -> (
    None
):
    toy = Toy()
    async with running(service(toy), FINDING) as bus:
        port = await opened(bus, toy)
        for number in range(1000):
            level = number / 100
            port.appear("gadget", ABOUT).values({"level": level})
            if number % 100 == 0:
                await bus.value(
                    "gadget", "level", lambda value, wanted=level: value == wanted
                )
            port.vanish("gadget")
        await until(
            lambda: not [t for t in bus.broker.retained if "/gadget/" in t],
            "nothing left",
        )
        seqs = [event["seq"] for event in bus.events("gadget", "change")]
        assert seqs == list(range(1, len(seqs) + 1))


async def test_what_comes_from_a_device_that_has_vanished_is_not_published() -> None:
    toy = Toy()
    async with running(service(toy), FINDING) as bus:
        port = await opened(bus, toy)
        gadget = port.appear("gadget", ABOUT)
        await bus.status("gadget", "online")
        port.vanish("gadget")
        gadget.blob("picture", b"late", "image/png", retain=True)
        gadget.bad(["level"], LinkLost("late"))
        gadget.event("beep", {})
        await bus.call("toy", "echo", {"text": "x"})
        assert not [t for t in bus.broker.retained if "/gadget/" in t]
        assert bus.broker.payloads("busbar/lab/gadget/blob/picture") == []


async def test_after_a_reconnect_by_command_a_device_must_appear_again() -> None:
    toy = Toy()
    async with running(service(toy), FINDING) as bus:
        port = await opened(bus, toy)
        port.appear("gadget", ABOUT)
        await bus.status("gadget", "online")
        assert (await bus.call("toy", "reconnect"))["ok"]
        await until(lambda: toy.opened == 2, "the link again")
        assert (
            "not appeared again"
            in (await bus.status("gadget", "offline"))["reason"]["message"]
        )


async def test_while_devices_still_appear_nobody_is_given_up() -> None:
    toy = Toy()
    async with running(service(toy), FINDING) as bus:
        port = await opened(bus, toy)
        port.appear("gadget", ABOUT)
        await bus.status("gadget", "online")
        assert (await bus.call("toy", "reconnect"))["ok"]
        await until(lambda: toy.opened == 2 and toy.sessions, "the link again")
        await bus.status("toy", "online")
        await bus.clock.advance(QUIET - 5)
        toy.sessions[0].port.appear("another", ABOUT)
        await bus.clock.advance(10.0)
        assert bus.retained("gadget", "status")["state"] == "offline"
        await bus.clock.advance(QUIET)
        assert bus.retained("gadget", "status") is None


async def test_after_a_firm_pause_a_command_opens_a_link_on_demand_as_ever() -> None:
    toy = Toy()
    async with running(service(toy), "bridge: {name: lab}\non_demand: true\n") as bus:
        assert (await bus.call("toy", "echo", {"text": "x"}))["ok"]
        toy.sessions.pop().broken.set_exception(Soon("booting"))
        await bus.status("toy", "connecting")
        await bus.clock.advance(1.0)
        assert (await bus.status("toy", "online"))["reason"]["code"] == "idle"
        assert (await bus.call("toy", "echo", {"text": "y", "_ttl": 2}))["ok"]


async def test_what_appeared_on_a_link_that_failed_to_open_must_appear_again() -> None:
    toy = Toy()

    @asynccontextmanager
    async def failing(port: Port) -> AsyncIterator[Session]:
        port.appear("gadget", ABOUT)
        raise LinkLost("not quite open")
        yield

    def links(settings: Any) -> list[Link]:
        (link,) = service(toy).links(settings)
        attempts = iter([failing])
        return [replace(link, open=lambda port: next(attempts, link.open)(port))]

    async with running(replace(service(toy), links=links), FINDING) as bus:
        await bus.clock.advance(5.0)
        await opened(bus, toy)
        assert (
            "not appeared again"
            in (await bus.status("gadget", "offline"))["reason"]["message"]
        )


async def test_what_a_session_says_after_its_link_was_lost_is_not_heard() -> None:
    toy = Toy()
    async with running(service(toy), "bridge: {name: lab}\n") as bus:
        await bus.value("toy", "level")
        late = toy.sessions[0].outlet
        toy.unplug()
        await bus.status("toy", "offline")
        late.values({"level": 5.0, "on": True})
        late.bad(["mode"], LinkLost("late"))
        await bus.clock.advance(2)
        assert {fault["code"] for fault in bus.faults("toy").values()} == {"offline"}
        toy.reachable = True
        await bus.call("toy", "connect")
        await bus.value("toy", "level", lambda value: value == 1.0)
