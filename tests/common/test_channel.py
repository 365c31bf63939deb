"""Devices that come and go while their link stays: found, or connected by command. Source: docs/contract.md, 2, 5.4."""

import json
from dataclasses import replace

import pytest

from busbar.channel import FOUND_LIMIT, SETTLED
from busbar.errors import BadRequest, LinkLost, Retry, TooLarge, UnknownTarget
from busbar.session import Port
from busbar.testing import until
from tests.running import Running, running
from tests.toy import ABOUT, Toy, service

FINDING = "bridge: {name: lab}\nfinds: true\n"


async def opened(bus: Running, toy: Toy, times: int = 1) -> Port:
    await until(lambda: toy.opened == times and toy.sessions, "the session")
    await bus.status("toy", "online")
    return toy.sessions[0].port


async def test_a_device_that_appears_is_on_the_bus_with_its_values_and_takes_commands() -> None:
    toy = Toy()
    async with running(service(toy), FINDING) as bus:
        port = await opened(bus, toy)
        port.appear("gadget", ABOUT).values({"level": 4.0})
        await bus.value("gadget", "level", lambda value: value == 4.0)
        await bus.status("gadget", "online")
        assert (await bus.call("gadget", "echo", {"text": "here"}))["result"] == "here"
        rows = (await bus.call("bridge", "list"))["result"]
        assert [row["device"] for row in rows] == ["toy", "gadget", "bridge"]


async def test_a_device_that_vanishes_leaves_nothing_on_the_broker_and_its_commands_fail() -> None:
    toy = Toy()
    async with running(service(toy), FINDING) as bus:
        port = await opened(bus, toy)
        port.appear("gadget", ABOUT).values({"level": 4.0})
        await bus.value("gadget", "level")
        port.vanish("gadget")
        await until(lambda: not [t for t in bus.broker.retained if "/gadget/" in t], "nothing left")
        assert (await bus.call("gadget", "echo", {"text": "x"}))["error"]["code"] == "unknown"


async def test_a_device_that_comes_back_goes_on_counting() -> None:
    toy = Toy()
    async with running(service(toy), FINDING) as bus:
        port = await opened(bus, toy)
        port.appear("gadget", ABOUT).values({"level": 4.0})
        await bus.value("gadget", "level")
        before = bus.retained("gadget", "state")["seq"], bus.retained("gadget", "info")["revision"]
        port.vanish("gadget")
        port.appear("gadget", ABOUT).values({"level": 5.0})
        await bus.value("gadget", "level", lambda value: value == 5.0)
        after = bus.retained("gadget", "state")["seq"], bus.retained("gadget", "info")["revision"]
        assert after[0] > before[0]
        assert after[1] > before[1]


async def test_a_device_is_offline_with_its_link_and_until_it_has_appeared_again() -> None:
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
        assert status["reason"]["message"] == "the link is back, the device has not appeared again"
        assert (await bus.call("gadget", "echo", {"text": "x"}))["error"]["code"] == "offline"
        port.appear("gadget", ABOUT)
        await bus.status("gadget", "online")


async def test_what_does_not_appear_again_is_cleared_when_the_link_has_been_quiet() -> None:
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
        await bus.clock.advance(SETTLED - 5)
        assert bus.retained("gadget", "status")["state"] == "offline"
        await bus.clock.advance(10)
        await until(lambda: not [t for t in bus.broker.retained if "/gadget/" in t], "nothing left")
        assert bus.retained("other", "status")["state"] == "online"


async def test_a_left_over_device_is_offline_until_it_could_have_appeared() -> None:
    toy = Toy()
    old = json.dumps({"state": "online", "since": 1.0, "boot": "00000000", "revision": 1, "seq": 7, "reason": None})
    left = dict.fromkeys(["busbar/lab/gadget/status", "busbar/lab/ghost/status"], old.encode())
    async with running(service(toy), FINDING, left) as bus:
        port = await opened(bus, toy)
        await until(lambda: bus.retained("ghost", "status")["boot"] != "00000000", "our word on it")
        assert bus.retained("ghost", "status")["reason"]["message"].startswith("the device has not appeared")
        port.appear("gadget", ABOUT)
        await bus.status("gadget", "online")
        await bus.clock.advance(SETTLED + 5)
        await until(lambda: "busbar/lab/ghost/status" not in bus.broker.retained, "the ghost gone")
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
    own = ABOUT.with_(commands={**ABOUT.commands, "connect": replace(ABOUT.commands["echo"], name="connect")})
    async with running(service(toy), FINDING) as bus:
        port = await opened(bus, toy)
        port.appear("gadget", own)
        await bus.status("gadget", "online")
        assert (await bus.call("gadget", "connect", {"text": "its own"}))["result"] == "its own"
        assert (await bus.call("toy", "connect"))["result"] is None


async def test_a_device_that_was_found_is_not_closed_by_command() -> None:
    toy = Toy()
    async with running(service(toy), FINDING) as bus:
        port = await opened(bus, toy)
        port.appear("gadget", ABOUT)
        reply = await bus.call("bridge", "close", {"name": "gadget"})
        assert reply["error"]["code"] == "forbidden"


async def test_when_the_link_is_disconnected_by_command_what_it_has_found_goes_with_it() -> None:
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


async def test_a_device_that_is_connected_again_while_others_kept_the_link_open_is_read_anew() -> None:
    toy = Toy()
    async with running(service(toy), "bridge: {name: lab}\ntwins: 1\n") as bus:
        await bus.value("toy", "level")
        await bus.call("toy", "disconnect")
        await bus.bad("toy", "level", "offline")
        toy.values["level"] = 9.0
        assert (await bus.call("toy", "connect"))["ok"]
        await bus.value("toy", "level", lambda value: value == 9.0)
        assert toy.opened == 1
