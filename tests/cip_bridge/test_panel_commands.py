"""Buttons that we press as a panel."""

import asyncio

import pytest

from busbar.codecs import cip
from busbar.codecs.cip import Command, Form, Join
from busbar.errors import LinkLost
from busbar.testing.fakes import Clock, settle, until
from cip_bridge.arguments import Pulse
from cip_bridge.bridge import SERVICE
from cip_bridge.panel_role.commands import Button, Press
from cip_bridge.simulator.__main__ import Simulator
from cip_bridge.simulator.theatre import FULL, LIGHTS, STEP, VOLUME, VOLUME_UP
from tests.cip_bridge.peer import START, digital
from tests.cip_bridge.processor import processor
from tests.cip_bridge.session import TURN, session
from tests.cip_bridge.theatre import failure, hurried, of, reasons, seen, theatre
from tests.running import running


async def test_a_press_is_held_repeated_and_released():
    async with theatre() as (bus, simulator):
        assert (await bus.call("panel", "press", {"join": 90, "hold": 1.2}))["ok"]
        assert await bus.value("panel", "_out/digital/90") is True
        # holding does not hold the link
        assert (await bus.set("panel", "digital/91", True))["ok"]
        await bus.clock.advance(2)
        await seen(simulator, Join("digital", 90), True, True, True, False)
        assert await bus.value("panel", "_out/digital/90", lambda on: not on) is False


async def test_release_and_pulse():
    async with theatre() as (bus, simulator):
        await bus.call("panel", "press", {"join": "door", "hold": "forever"})
        await bus.clock.advance(0.25)
        assert (await bus.call("panel", "release", "door"))["ok"]
        await seen(simulator, Join("digital", 100), True, False)
        assert (await bus.call("panel", "pulse", LIGHTS))["ok"]
        await seen(simulator, Join("digital", LIGHTS), True, False)
        assert await bus.value("panel", f"digital/{LIGHTS}") is True


@pytest.mark.parametrize("how", ["unlock", "time"])
async def test_a_button_is_released_when_its_callers_lock_ends(how):
    async with theatre() as (bus, simulator):
        lease = (await bus.call("panel", "lock", {"ttl": 2}))["result"]["lease"]
        for _ in range(2):
            await bus.call(
                "panel", "press", {"join": 97, "hold": "forever", "_lease": lease}
            )
        await bus.call("panel", "press", {"join": 98, "hold": 60, "_lease": lease})
        if how == "unlock":
            assert (await bus.call("panel", "unlock", {"_lease": lease}))["ok"]
            await bus.clock.advance(0.25)
        else:
            await bus.clock.advance(2.5)
        for number in (97, 98):
            await until(
                lambda n=number: (Join("digital", n), False) in simulator.theatre.seen
            )
        assert await bus.value("panel", "_out/digital/97", lambda on: not on) is False


async def test_a_set_ends_a_hold():
    async with theatre() as (bus, simulator):
        await bus.call("panel", "press", {"join": 92, "hold": "forever"})
        await bus.set("panel", "digital/92", False)
        await bus.clock.advance(2)
        await seen(simulator, Join("digital", 92), True, False)


async def test_a_stopping_bridge_releases_what_it_holds_and_says_goodbye():
    async with Simulator() as simulator:
        async with running(SERVICE, of(simulator)) as bus:
            await bus.status("panel", "online")
            await bus.call("panel", "press", {"join": 93, "hold": "forever"})
            await bus.set("panel", "digital/94", True)
            await seen(simulator, Join("digital", 93), True)
        await seen(simulator, Join("digital", 93), True, False)
        await until(lambda: not simulator.seat.panels)


async def test_a_processor_that_reloads_its_program_releases_our_button_for_good():
    async with theatre() as (bus, simulator):
        await bus.set("panel", "analog/95", 7)
        await bus.call("panel", "press", {"join": 95, "hold": "forever"})
        await seen(simulator, Join("digital", 95), True)
        simulator.theatre.seen.clear()
        simulator.listener.end_program()
        await bus.status("panel", "offline")
        assert "its program stops" in reasons(bus)[-1]
        assert await bus.value("panel", "_out/digital/95", lambda on: not on) is False
        await hurried(bus, bus.status("panel", "online"))
        await seen(simulator, Join("analog", 95), 7)  # outputs are sent again
        await until(lambda: (Join("digital", 95), False) in simulator.theatre.seen)
        await bus.clock.advance(2)
        assert (Join("digital", 95), True) not in simulator.theatre.seen


async def test_a_pulse_and_a_hold_do_not_hold_the_link():
    async with theatre() as (bus, simulator):
        pulsing = asyncio.create_task(
            bus.call("panel", "pulse", {"join": 90, "seconds": 5})
        )
        await until(lambda: (Join("digital", 90), True) in simulator.theatre.seen)
        assert (await bus.set("panel", "digital/91", True))["ok"]
        assert not pulsing.done()
        assert (await hurried(bus, pulsing))["ok"]
        assert (Join("digital", 90), False) in simulator.theatre.seen


async def test_a_pulse_does_not_end_the_hold_of_another_caller():
    async with theatre() as (bus, simulator):
        await bus.call("panel", "press", {"join": 90, "hold": "forever"})
        error = (await bus.call("panel", "pulse", 90))["error"]
        assert (error["code"], error["message"]) == (
            "locked",
            ("digital/90 is held down already; `release` it first"),
        )
        await bus.clock.advance(2)
        assert (Join("digital", 90), False) not in simulator.theatre.seen
        await bus.call("panel", "release", 90)
        assert (await hurried(bus, bus.call("panel", "pulse", 90)))["ok"]


async def test_a_press_takes_a_button_over_from_a_pulse():
    async with theatre() as (bus, simulator):
        pulsing = asyncio.create_task(
            bus.call("panel", "pulse", {"join": 90, "seconds": 1})
        )
        await until(lambda: (Join("digital", 90), True) in simulator.theatre.seen)
        assert (await bus.call("panel", "press", {"join": 90, "hold": "forever"}))["ok"]
        assert (await pulsing)["ok"]
        await bus.clock.advance(3)
        assert (Join("digital", 90), False) not in simulator.theatre.seen


async def test_a_pulse_that_is_cancelled_releases():
    async with theatre() as (bus, simulator):
        pulsing = asyncio.create_task(
            bus.call("panel", "pulse", {"join": 90, "seconds": 10, "_id": "pulse-90"})
        )
        await until(lambda: (Join("digital", 90), True) in simulator.theatre.seen)
        await bus.call("panel", "cancel", {"id": "pulse-90"})
        assert failure(await pulsing) == "cancelled"
        await bus.clock.advance(0.25)  # its ten seconds are not over
        await until(
            lambda: (Join("digital", 90), False) in simulator.theatre.seen, limit=5.0
        )


def test_a_hold_for_ever_has_no_end():
    assert (Press("on").seconds, Press("on", "forever").seconds) == (10.0, float("inf"))


@pytest.mark.parametrize("how", ["pulse", "release", "expiry", "leaving"])
async def test_a_button_is_released_whatever_was_under_way_when_the_link_broke(how):
    async with session() as (made, outlet, peer, serving):
        (commands,) = made.commands
        if how == "pulse":
            pressing = asyncio.create_task(commands.pulse("panel", Pulse(54, 5), TURN))
        else:
            pressing = asyncio.create_task(commands.press("panel", Press(54, 5), TURN))
        await peer.hears(digital(54, True, Form.BUTTON))
        await settle()
        assert outlet.known["_out/digital/54"] is True
        peer.stream._writer.get_extra_info("socket")._sock.close()
        if how == "release":
            with pytest.raises(LinkLost):
                await commands.release("panel", Button(54), TURN)
        elif how == "expiry":
            await Clock().advance(6)
        if how == "pulse":
            pressing.cancel()  # as the library does when a session ends
        await asyncio.gather(pressing, return_exceptions=True)
        await asyncio.wait([serving])
        await made.leave()
        assert digital(54, False) in list(made._conversation.outputs())
        assert outlet.known["_out/digital/54"] is False


async def test_outputs_leave_out_what_is_held_and_a_hold_goes_on_after_an_update():
    async with processor() as (bus, peer, _):
        assert (await bus.call("panel", "press", {"join": 54, "hold": "forever"}))["ok"]
        await bus.set("panel", "analog/1", 7)
        await peer.says(START, Command(cip.END_OF_UPDATE), Command(cip.END_OF_QUERY))
        await peer.hears(Command(cip.ACKNOWLEDGE))
        await bus.clock.advance(0.75)
        assert await peer.hears(digital(54, True, Form.BUTTON))
        assert digital(54, False) not in peer.heard


async def test_ten_quick_pulses_of_one_button_are_ten_presses():
    async with theatre() as (bus, simulator):
        await bus.set("panel", "analog/2", FULL // 10)
        await until(lambda: simulator.theatre.value("analog", VOLUME) == FULL // 10)
        pulses = [
            asyncio.create_task(bus.call("panel", "pulse", VOLUME_UP))
            for _ in range(10)
        ]
        # others are not held up by those that wait
        assert (await bus.set("panel", "digital/91", True))["ok"]
        for each in pulses:
            assert (await hurried(bus, each))["ok"]
        await seen(simulator, Join("digital", VOLUME_UP), *[True, False] * 10)
        assert simulator.theatre.value("analog", VOLUME) == FULL // 10 + 10 * STEP


async def test_a_pulse_that_waits_can_be_cancelled_and_the_next_follows():
    async with theatre() as (bus, simulator):
        first, second, third = (
            asyncio.create_task(
                bus.call("panel", "pulse", {"join": 90, "seconds": 1, "_id": name})
            )
            for name in ("pulse-one", "pulse-two", "pulse-three")
        )
        await until(lambda: (Join("digital", 90), True) in simulator.theatre.seen)
        await bus.call("panel", "cancel", {"id": "pulse-two"})
        assert failure(await second) == "cancelled"
        await bus.call("panel", "cancel", {"id": "pulse-one"})
        assert failure(await first) == "cancelled"
        assert (await hurried(bus, third))["ok"]
        await seen(simulator, Join("digital", 90), True, False, True, True, False)


async def test_pulses_that_take_too_long_together_are_refused():
    async with theatre() as (bus, _):
        long = {"join": 90, "seconds": 10}
        waiting = [
            asyncio.create_task(bus.call("panel", "pulse", long)) for _ in range(2)
        ]
        await settle()
        error = (await bus.call("panel", "pulse", {"join": 90, "seconds": 1}))["error"]
        assert error["code"] == "overloaded"
        assert "2 pulses of digital/90 wait already" in error["message"]
        for each in waiting:
            assert (await hurried(bus, each))["ok"]
        assert (await hurried(bus, bus.call("panel", "pulse", 90)))["ok"]


async def test_pulses_that_wait_when_the_link_breaks_fail_and_are_never_pressed():
    async with processor() as (bus, peer, peers):
        pulses = [
            asyncio.create_task(bus.call("panel", "pulse", {"join": 5, "seconds": 1}))
            for _ in range(4)
        ]
        await peer.hears(digital(5, True, Form.BUTTON))
        await peer.says(cip.Disconnect())
        for each in pulses:
            assert failure(await hurried(bus, each)) in ("link", "offline")
        await hurried(bus, bus.status("panel", "online"))
        assert (await bus.set("panel", "digital/6", True))["ok"]
        await peers[-1].hears(digital(6, True))
        assert digital(5, True, Form.BUTTON) not in peers[-1].heard
