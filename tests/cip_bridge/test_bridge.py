"""A panel on the bus: what the processor drives, and the link.

Source: docs/protocols/cip.md, 5 and 7
"""

import asyncio
import json

import pytest

from busbar.codecs import cip
from busbar.codecs.cip import Form, Join, Update
from busbar.testing.fakes import settle, until
from cip_bridge.bridge import SERVICE
from cip_bridge.simulator.__main__ import Simulator
from cip_bridge.simulator.theatre import NAMES, SOURCE, VOLUME
from tests.cip_bridge.peer import ACCEPTED, START, analog, digital, serial
from tests.cip_bridge.processor import served
from tests.cip_bridge.theatre import (
    failure,
    hurried,
    of,
    reasons,
    seen,
    statuses,
    theatre,
)
from tests.running import running

# What the processor drives.


async def test_the_update_fills_the_state_and_named_joins_have_their_defaults():
    async with theatre() as (bus, _):
        good = bus.good("panel")
        assert good["serial/21"] == NAMES[0]
        assert good["digital/21"] is True
        assert (
            good["lights/level"],
            good["door"],
            good["message"],
            good["temperature"],
        ) == (0.0, False, "", -20.0)
        assert "analog/1" not in good
        assert good["clock"].startswith("20")


async def test_the_description_has_families_names_and_commands():
    async with theatre() as (bus, simulator):
        info = await bus.info("panel", lambda info: True)
        assert (info["kind"], info["name"], info["address"]) == (
            "cip",
            "Theatre",
            simulator.address,
        )
        assert info["properties"]["digital/{join}"]["parameters"] == {
            "join": {"minimum": 1, "maximum": 32768}
        }
        assert info["model"] == "IP-ID 0x0A"
        assert info["events"].keys() == {"received"}
        assert info["properties"]["lights/level"]["unit"] == "%"
        assert info["properties"]["_out/lights/level"]["title"] == (
            "Lights: what we sent (resend: changed)"
        )
        assert info["properties"]["lights/level"]["readback"] == "_out/lights/level"
        assert {"press", "release", "pulse", "update_request", "get", "send"} <= info[
            "commands"
        ].keys()


async def test_values_follow_the_processor_and_every_transition_is_told():
    async with theatre() as (bus, simulator):
        simulator.seat.send(
            b"".join(cip.encode(digital(50, state)) for state in (True, False, True))
        )
        simulator.seat.send(
            cip.encode(analog(100, 500)) + cip.encode(serial(100, "grüß"))
        )
        assert await bus.value("panel", "temperature", lambda value: value > 0) == 30.0
        assert await bus.value("panel", "message", str) == "grüß"
        told = [
            change["value"]
            for change in bus.changes("panel")
            if change["path"] == "digital/50"
        ]
        assert told == [True, False, True]


async def test_smart_objects_and_slots_have_paths_of_their_own():
    async with theatre() as (bus, simulator):
        simulator.seat.send(
            cip.encode(Update(Join("digital", 1, 3), True, Form.DIGITAL))
            + cip.encode(Update(Join("analog", 2, None, (1,)), 7, Form.ANALOG))
            + cip.encode(Update(Join("serial", 3, 4, (1, 2)), "x", Form.SERIAL))
        )
        assert await bus.value("panel", "smart/3/digital/1") is True
        assert await bus.value("panel", "slot/1/analog/2") == 7
        assert await bus.value("panel", "slot/1/slot/2/smart/4/serial/3") == "x"


async def test_a_value_outside_its_scale_costs_that_join_only():
    async with theatre() as (bus, simulator):
        simulator.seat.send(cip.encode(analog(100, 2000)) + cip.encode(analog(101, 5)))
        message = await bus.bad("panel", "temperature", "out_of_range")
        assert "allowed: at least -20 and at most 80" in message
        values = [
            each["value"]
            for each in bus.changes("panel")
            if each["path"] == "temperature" and "value" in each
        ]
        assert values[-1] == 180.0
        assert await bus.value("panel", "analog/101") == 5
        simulator.seat.send(cip.encode(analog(100, 1000)))
        assert await bus.value("panel", "temperature", lambda value: value > 0) == 80.0


async def test_what_falls_back_to_its_default_meanwhile_is_known_after_the_update():
    async with theatre() as (bus, simulator):
        simulator.theatre.change(Join("digital", 60), True)
        await bus.value("panel", "digital/60")
        simulator.unplug()
        await bus.status("panel", "offline")
        assert bus.faults("panel")["digital/60"]["code"] == "offline"
        simulator.seat.joins.drive(digital(60, False))
        await simulator.plug()
        await hurried(bus, bus.status("panel", "online"))
        assert await bus.value("panel", "digital/60") is False
        await until(lambda: bus.faults("panel") == {}, "all good")


async def test_all_clear_puts_everything_to_its_default():
    async with theatre() as (bus, simulator):
        assert await bus.value("panel", "digital/21") is True
        simulator.seat.send(cip.encode(cip.Command(cip.ALL_CLEAR)))
        assert await bus.value("panel", "digital/21", lambda on: not on) is False
        assert await bus.value("panel", "serial/2", lambda text: not text) == ""


async def test_the_firmware_and_what_means_nothing_are_told():
    async with theatre() as (bus, simulator):
        about = b"\x03\x30MC3 Cntrl Eng [v1.503.0027]"
        simulator.seat.send(
            cip.encode_frame(5, b"\0\0" + bytes((len(about),)) + about)
            + bytes.fromhex("2a000101")
        )
        info = await hurried(bus, bus.info("panel", lambda info: "firmware" in info))
        assert info["firmware"] == "MC3 Cntrl Eng [v1.503.0027]"
        assert await bus.value("panel", "_skipped", int) == 1


# The link.


async def test_commands_wait_for_a_booting_processor_that_is_tried_every_two_seconds():
    async with Simulator() as simulator:
        simulator.begin_boot()
        async with running(SERVICE, of(simulator)) as bus:
            booting = {"code": "link", "message": "the processor is booting"}
            await hurried(
                bus, until(lambda: bus.retained("panel", "status")["reason"] == booting)
            )
            assert bus.retained("panel", "status")["state"] == "connecting"
            waiting = asyncio.create_task(
                bus.set("panel", "digital/77", {"_value": True, "_ttl": 60})
            )
            assert (
                failure(
                    await hurried(
                        bus, bus.set("panel", "digital/78", {"_value": True, "_ttl": 1})
                    )
                )
                == "expired"
            )
            before = simulator.listener.accepted
            await bus.clock.advance(8)
            # 2 s to wait on each, 2 s between
            assert 1 <= simulator.listener.accepted - before <= 3
            assert not waiting.done()
            simulator.end_boot()
            assert (await hurried(bus, waiting))["ok"]
            await seen(simulator, Join("digital", 77), True)


async def test_commands_wait_while_it_connects():
    async with theatre() as (bus, simulator):
        before, simulator.program.slow = simulator.program.asked, 5.0
        await bus.call("panel", "reconnect")
        await until(lambda: simulator.program.asked > before)
        assert (await bus.status("panel", "connecting"))["reason"] is None
        setting = asyncio.create_task(bus.set("panel", "digital/77", True))
        await settle()
        assert not setting.done()
        await bus.clock.advance(5.5)
        assert (await setting)["ok"]
        await seen(simulator, Join("digital", 77), True)


async def test_an_unknown_ip_id_is_tried_again_soon_and_by_reconnect():
    async with (
        Simulator(ipid=0x0B) as simulator,
        running(SERVICE, of(simulator)) as bus,
    ):
        await until(
            lambda: any("IP-ID 0x0A is not defined" in each for each in reasons(bus))
        )
        before = simulator.listener.accepted
        # no reason to try earlier
        assert failure(await bus.set("panel", "digital/1", True)) == "offline"
        await bus.clock.advance(4.5)
        assert simulator.listener.accepted == before
        await bus.clock.advance(600)
        assert 30 <= simulator.listener.accepted - before <= 75  # 5 to 20 s between
        simulator.program.seats[0x0A] = simulator.seat
        await until(lambda: not simulator.listener._connections)
        await bus.call("panel", "reconnect")
        await bus.status("panel", "online")


@pytest.mark.parametrize("away", [0, 200])
async def test_after_a_power_cut_the_link_is_back_within_half_a_minute(away):
    """The processor says for a minute that it knows no such IP-ID."""
    async with theatre() as (bus, simulator):
        simulator.unplug()
        await bus.status("panel", "offline")
        await bus.clock.advance(away)
        simulator.program.refusing = True
        await simulator.plug()
        await bus.clock.advance(60)
        assert bus.retained("panel", "status")["state"] != "online"
        simulator.program.refusing = False
        await bus.clock.advance(30)
        assert bus.retained("panel", "status")["state"] == "online"


async def test_a_processor_that_is_starting_with_us_is_served_when_it_is_ready():
    async with Simulator() as simulator:
        simulator.program.refusing = True
        async with running(SERVICE, of(simulator)) as bus:
            await bus.status("panel", "offline")
            await bus.clock.advance(20)
            simulator.program.refusing = False
            await bus.clock.advance(30)
            assert bus.retained("panel", "status")["state"] == "online"


async def test_the_status_does_not_flicker_while_the_processor_boots():
    async with Simulator() as simulator:
        simulator.begin_boot()
        async with running(SERVICE, of(simulator)) as bus:
            booting = {"code": "link", "message": "the processor is booting"}
            await hurried(
                bus, until(lambda: bus.retained("panel", "status")["reason"] == booting)
            )
            before = len(statuses(bus))
            await bus.clock.advance(50)
            assert [each["reason"] for each in statuses(bus)[before:]] == []
            simulator.end_boot()
            await hurried(bus, bus.status("panel", "online"))


async def test_a_refused_connection_is_tried_ever_more_slowly():
    async with theatre() as (bus, simulator):
        simulator.unplug()
        await bus.status("panel", "offline")
        await bus.clock.advance(60)
        assert any("cannot connect" in each for each in reasons(bus))
        await simulator.plug()
        await hurried(bus, bus.status("panel", "online"))


async def test_wrong_credentials_are_tried_once_and_again_after_a_reload(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("wrong\n")
    more = f"username: admin\n    password_file: {secret}"
    async with (
        Simulator(credentials=("admin", "right")) as simulator,
        running(SERVICE, of(simulator, more)) as bus,
    ):
        await until(
            lambda: any(
                "denies the password of 'admin'" in each for each in reasons(bus)
            )
        )
        before = simulator.listener.accepted
        assert failure(await bus.set("panel", "digital/1", True)) == "offline"
        await bus.clock.advance(120)
        assert simulator.listener.accepted == before
        await bus.call("panel", "reconnect")  # somebody wants it: once
        await until(lambda: simulator.listener.accepted == before + 1)
        await bus.clock.advance(120)
        assert simulator.listener.accepted == before + 1
        before += 1
        assert "wrong" not in json.dumps(statuses(bus))
        # it may have been corrected on the other side
        assert (await bus.call("bridge", "reload"))["ok"]
        await until(lambda: simulator.listener.accepted == before + 1)
        await until(lambda: sum("denies" in each for each in reasons(bus)) >= 2)
        secret.write_text("right\n")
        assert (await bus.call("bridge", "reload"))["ok"]
        await bus.status("panel", "online")


async def test_a_reload_leaves_what_has_not_changed_alone():
    async with theatre() as (bus, simulator):
        assert (await bus.call("bridge", "reload"))["result"] == {
            "stopped": [],
            "started": [],
        }
        assert simulator.listener.accepted == 1


async def test_outputs_survive_a_lost_link():
    async with theatre() as (bus, simulator):
        await bus.set("panel", "analog/96", 7)
        simulator.theatre.seen.clear()
        simulator.drop()
        await bus.status("panel", "offline")
        await hurried(bus, bus.status("panel", "online"))
        await seen(simulator, Join("analog", 96), 7)
        assert await bus.value("panel", "_out/analog/96") == 7


async def test_a_room_is_signed_on_to():
    async with theatre("room: boardroom1", room="BOARDROOM1") as (bus, _):
        assert await bus.value("panel", "serial/2") == NAMES[0]


@pytest.mark.parametrize(
    ("more", "sign_on"),
    [
        ("", cip.Connect(0x0A)),
        ("sign_on: short", cip.Connect.short(0x0A)),
        ("room: hall", cip.RoomConnect(0x0A, "HALL")),
        ("username: admin, password: hunter2", cip.Connect(0x0A)),
    ],
)
async def test_it_signs_on_in_the_form_that_is_configured(more, sign_on):
    async def serve(peer):
        await peer.says(cip.Hello())
        await peer.hears(type(sign_on))
        await peer.says(ACCEPTED)
        await peer.hears(START)

    async with served(serve, f", {more}" if more else "") as (_, peers):
        await until(lambda: peers and START in peers[0].heard)
        # a password only when it is asked for
        assert peers[0].heard == [sign_on, START]


async def test_several_processors_in_one_bridge_do_not_hold_each_other_up():
    async with Simulator() as one, Simulator(ipid=0x0B) as other:
        text = of(one)
        text += f"  - {{name: hall, address: '{other.address}', ipid: 0x0B}}\n"
        text += f"  - {{name: foyer, address: '{other.address}', ipid: 0x0C}}\n"
        async with running(SERVICE, text) as bus:
            await bus.status("panel", "online")
            await bus.status("hall", "online")
            await bus.status("foyer", "offline")
            other.unplug()
            await bus.status("hall", "offline")
            assert (await bus.set("panel", "analog/2", 100))["ok"]
            assert one.theatre.value("analog", VOLUME) == 100
            assert one.theatre.value("serial", SOURCE) == NAMES[0]
