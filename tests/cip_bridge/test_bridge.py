"""The whole bridge in one process: a broker in memory on one side, the simulated processor on the other."""

import asyncio
import json
from contextlib import asynccontextmanager

import pytest

from busbar.codecs import cip
from busbar.codecs.cip import Form, Join, Update
from busbar.testing import settle, until
from cip_bridge.bridge import SERVICE
from cip_bridge.simulated import FULL, LIGHTS, NAMES, SOURCE, VOLUME
from cip_bridge.simulator import Simulator
from tests.cip_bridge.peer import analog, digital, serial
from tests.running import running

THEATRE = """
bridge: {{name: theatre}}
devices:
  - name: panel
    title: Theatre
    address: {address}
    ipid: 0x0A
    {more}
    joins:
      - {{join: analog/1, name: lights/level, title: Lights, scale: [0, 65535, 0, 100], unit: "%"}}
      - {{join: digital/100, name: door}}
      - {{join: analog/100, name: temperature, scale: [0, 1000, -20, 80], unit: °C}}
      - {{join: serial/100, name: message}}
"""


def of(simulator, more=""):
    return THEATRE.format(address=simulator.address, more=more)


@asynccontextmanager
async def theatre(more="", **options):
    """A panel on the bus, online, its values read. Gives (bus, simulator)."""
    async with (
        Simulator(**options) as simulator,
        running(SERVICE, of(simulator, more)) as bus,
    ):
        await bus.status("panel", "online")
        await bus.clock.advance(0.25)
        yield bus, simulator


async def seen(simulator, join, *values):
    """Wait until the processor has seen these values of a join, in order, and only these."""

    def found():
        return [value for each, value in simulator.theatre.seen if each == join]

    await until(lambda: found() == list(values), f"{join} {values}, not {found()}")


async def hurried(bus, doing):
    task = asyncio.ensure_future(doing)
    while not task.done():
        await bus.clock.advance(0.25)
    return await task


def failure(reply):
    assert not reply["ok"], reply
    return reply["error"]["code"]


def statuses(bus, device="panel"):
    return [json.loads(payload) for payload in bus.broker.payloads(f"{bus.base}/{device}/status")]


def reasons(bus):
    return [each["reason"]["message"] for each in statuses(bus) if each["state"] == "offline"]


# What the processor drives.


async def test_the_update_fills_the_state_and_named_joins_have_their_defaults():
    async with theatre() as (bus, _):
        good = bus.good("panel")
        assert good["serial/21"] == NAMES[0]
        assert good["digital/21"] is True
        assert (good["lights/level"], good["door"], good["message"], good["temperature"]) == (0.0, False, "", -20.0)
        assert "analog/1" not in good
        assert good["clock"].startswith("20")


async def test_the_description_has_families_names_and_commands():
    async with theatre() as (bus, simulator):
        info = await bus.info("panel", lambda info: True)
        assert (info["kind"], info["name"], info["address"]) == ("cip", "Theatre", simulator.address)
        assert info["properties"]["digital/{join}"]["parameters"] == {"join": {"minimum": 1, "maximum": 32768}}
        assert info["properties"]["lights/level"]["unit"] == "%"
        assert info["properties"]["lights/level"]["readback"] == "_out/lights/level"
        assert {"press", "release", "pulse", "update_request", "get", "send"} <= info["commands"].keys()


async def test_values_follow_the_processor_and_every_transition_is_told():
    async with theatre() as (bus, simulator):
        simulator.seat.send(b"".join(cip.encode(digital(50, state)) for state in (True, False, True)))
        simulator.seat.send(cip.encode(analog(100, 500)) + cip.encode(serial(100, "grüß")))
        assert await bus.value("panel", "temperature", lambda value: value > 0) == 30.0
        assert await bus.value("panel", "message", str) == "grüß"
        told = [change["value"] for change in bus.changes("panel") if change["path"] == "digital/50"]
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
        assert "2000 is outside the scale" in await bus.bad("panel", "temperature", "out_of_range")
        assert await bus.value("panel", "analog/101") == 5
        simulator.seat.send(cip.encode(analog(100, 1000)))
        assert await bus.value("panel", "temperature", lambda value: value > 0) == 80.0


async def test_what_falls_back_to_its_default_while_we_are_away_is_known_after_the_update():
    async with theatre() as (bus, simulator):
        simulator.theatre.change(Join("digital", 60), True)
        await bus.value("panel", "digital/60")
        simulator.unplug()
        await bus.status("panel", "offline")
        assert bus.faults("panel")["digital/60"]["code"] == "offline"
        simulator.seat.board.outs[Join("digital", 60)] = False
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
        simulator.seat.send(cip.encode_frame(5, b"\0\0" + bytes((len(about),)) + about) + bytes.fromhex("2a000101"))
        info = await hurried(bus, bus.info("panel", lambda info: "firmware" in info))
        assert info["firmware"] == "MC3 Cntrl Eng [v1.503.0027]"
        assert await bus.value("panel", "_skipped", int) == 1


# What we drive.


async def test_a_set_drives_the_join_towards_the_processor():
    async with theatre() as (bus, simulator):
        for path, payload, value in (("digital/70", "on", True), ("analog/70", "65535", FULL), ("serial/70", "5", "5")):
            reply = await bus.set("panel", path, payload)
            assert (reply["ok"], reply["result"]) == (True, value)
            kind, number = path.split("/")
            await seen(simulator, Join(kind, int(number)), value)
            assert await bus.value("panel", f"_out/{path}") == value


async def test_a_named_join_is_set_in_its_unit_by_name_and_raw_by_number():
    async with theatre() as (bus, simulator):
        assert (await bus.set("panel", "temperature", 30))["result"] == 30
        await seen(simulator, Join("analog", 100), 500)
        assert await bus.value("panel", "_out/temperature") == 30.0
        assert (await bus.set("panel", "analog/100", 1000))["result"] == 1000
        await seen(simulator, Join("analog", 100), 500, 1000)
        assert await bus.value("panel", "_out/temperature", lambda value: value > 30) == 80.0
        assert failure(await bus.set("panel", "temperature", 81)) == "out_of_range"


async def test_several_joins_are_set_in_order():
    async with theatre() as (bus, simulator):
        reply = await bus.set("panel", "", {"digital/71": True, "smart/3/analog/1": 5, "slot/1/digital/2": True})
        assert reply["ok"], reply
        await until(lambda: len(simulator.theatre.seen) == 3)
        assert list(simulator.theatre.seen) == [
            (Join("digital", 71), True), (Join("analog", 1, 3), 5), (Join("digital", 2, None, (1,)), True),
        ]  # fmt: skip


REFUSED = [
    ("set/digital/0", "1", "unknown"),
    ("set/digital/32769", "1", "unknown"),
    ("set/analog/65537", "1", "unknown"),
    ("set/slot/x/digital/1", "1", "unknown"),
    ("set/slot/256/digital/1", "1", "unknown"),
    ("set/analog/1", "-1", "out_of_range"),
    ("set/analog/1", "65536", "out_of_range"),
    ("set/analog/1", "1.5", "bad_request"),
    ("set/digital/1", "2", "bad_request"),
    ("set/serial/1", "cost €", "bad_request"),
    ("set/serial/1", "x" * 65528, "too_large"),
    ("set/_out/digital/1", "1", "read_only"),
    ("set/clock", "x", "read_only"),
    ("set/nothing", "1", "unknown"),
    ("call/press", "0", "out_of_range"),
    ("call/press", "32769", "out_of_range"),
    ("call/press", '{"join": "analog/1"}', "bad_request"),
    ("call/press", '{"join": 1, "hold": 0}', "out_of_range"),
    ("call/press", '{"join": 1, "hold": "never"}', "out_of_range"),
    ("call/pulse", '{"join": 1, "width": 11}', "out_of_range"),
    ("call/get", '{"join": "digital/1", "direction": "up"}', "out_of_range"),
    ("call/send", "xyz", "bad_request"),
    ("call/send", "0d0002", "bad_request"),
]


async def test_what_is_refused_never_reaches_the_processor():
    async with theatre() as (bus, simulator):
        codes = []
        for target, payload, _ in REFUSED:
            channel, _, path = target.partition("/")
            codes.append(
                (target, payload, failure(await (bus.set if channel == "set" else bus.call)("panel", path, payload)))
            )
        assert codes == REFUSED
        await settle()
        assert list(simulator.theatre.seen) == []


async def test_text_that_cannot_be_sent_names_the_character_and_the_encoding_can_be_chosen():
    async with theatre() as (bus, _):
        error = (await bus.set("panel", "serial/1", "cost €"))["error"]
        assert "'€' at position 5 cannot be sent as latin1" in error["message"]
    for encoding in ("utf8", "utf16"):
        async with theatre(f"serial_encoding: {encoding}") as (bus, simulator):
            assert (await bus.set("panel", "serial/1", "cost €"))["ok"]
            await seen(simulator, Join("serial", 1), "cost €")


async def test_get_reads_both_ways_and_unknown_joins_are_at_their_default():
    async with theatre() as (bus, _):
        await bus.set("panel", "analog/80", 9)
        asked = [
            ("serial/21", "in"),
            ("analog/80", "out"),
            ("analog/81", "out"),
            ("temperature", "in"),
            ("door", "out"),
        ]
        found = [(await bus.call("panel", "get", {"join": join, "direction": way}))["result"] for join, way in asked]
        assert found == [NAMES[0], 9, False, -20.0, False]


async def test_raw_frames_can_be_sent():
    async with theatre() as (bus, simulator):
        assert (await bus.call("panel", "send", {"frames": "0500080000051400000005 0500060000 03000600"}))["ok"]
        await seen(simulator, Join("analog", 1), 5)
        await seen(simulator, Join("digital", 7), True)


async def test_refresh_and_update_request_ask_for_everything_anew():
    async with theatre() as (bus, _):
        for command in ("refresh", "update_request"):
            before = len(bus.broker.payloads(f"{bus.base}/panel/state/clock"))
            assert (await bus.call("panel", command))["ok"]
            await until(lambda before=before: len(bus.broker.payloads(f"{bus.base}/panel/state/clock")) >= before)


async def test_an_update_that_does_not_come_times_out():
    async with theatre() as (bus, simulator):
        simulator.listener.slow = 60.0
        asking = asyncio.create_task(bus.call("panel", "update_request", {"_timeout": 3}))
        await settle()
        assert failure(await hurried(bus, asking)) == "timeout"


# Buttons.


async def test_a_press_is_held_repeated_and_released():
    async with theatre() as (bus, simulator):
        assert (await bus.call("panel", "press", {"join": 90, "hold": 1.2}))["ok"]
        assert await bus.value("panel", "_out/digital/90") is True
        assert (await bus.set("panel", "digital/91", True))["ok"]  # holding does not hold the link
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
            await bus.call("panel", "press", {"join": 97, "hold": "forever", "_lease": lease})
        await bus.call("panel", "press", {"join": 98, "hold": 60, "_lease": lease})
        if how == "unlock":
            assert (await bus.call("panel", "unlock", {"_lease": lease}))["ok"]
            await bus.clock.advance(0.25)
        else:
            await bus.clock.advance(2.5)
        for number in (97, 98):
            await until(lambda n=number: (Join("digital", n), False) in simulator.theatre.seen)
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


# The link.


async def test_commands_wait_for_a_processor_that_boots_which_is_tried_every_two_seconds():
    async with Simulator() as simulator:
        simulator.listener.boot()
        async with running(SERVICE, of(simulator)) as bus:
            booting = {"code": "link", "message": "the processor is booting"}
            await hurried(bus, until(lambda: bus.retained("panel", "status")["reason"] == booting))
            assert bus.retained("panel", "status")["state"] == "connecting"
            waiting = asyncio.create_task(bus.set("panel", "digital/77", {"_value": True, "_ttl": 60}))
            assert failure(await hurried(bus, bus.set("panel", "digital/78", {"_value": True, "_ttl": 1}))) == "expired"
            before = simulator.listener.accepted
            await bus.clock.advance(8)
            assert 1 <= simulator.listener.accepted - before <= 3  # 2 s to wait on each, 2 s between
            assert not waiting.done()
            simulator.listener.booted()
            assert (await hurried(bus, waiting))["ok"]
            await seen(simulator, Join("digital", 77), True)


async def test_commands_wait_while_it_connects():
    async with theatre() as (bus, simulator):
        before, simulator.listener.slow = simulator.listener.asked, 5.0
        await bus.call("panel", "reconnect")
        await until(lambda: simulator.listener.asked > before)
        assert (await bus.status("panel", "connecting"))["reason"] is None
        setting = asyncio.create_task(bus.set("panel", "digital/77", True))
        await settle()
        assert not setting.done()
        await bus.clock.advance(5.5)
        assert (await setting)["ok"]
        await seen(simulator, Join("digital", 77), True)


async def test_an_unknown_ip_id_is_tried_again_after_a_quarter_of_an_hour_or_by_reconnect():
    async with (
        Simulator(ipid=0x0B) as simulator,
        running(SERVICE, of(simulator)) as bus,
    ):
        await until(lambda: any("IP-ID 0x0A is not defined" in each for each in reasons(bus)))
        before = simulator.listener.accepted
        assert failure(await bus.set("panel", "digital/1", True)) == "offline"  # no reason to try earlier
        await bus.clock.advance(840)
        assert simulator.listener.accepted == before
        await bus.clock.advance(70)
        assert simulator.listener.accepted == before + 1
        simulator.listener.seats[0x0A] = simulator.seat
        await until(lambda: not simulator.listener._open)
        await bus.call("panel", "reconnect")
        await bus.status("panel", "online")


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
        await until(lambda: any("denies the password of 'admin'" in each for each in reasons(bus)))
        before = simulator.listener.accepted
        await bus.call("panel", "reconnect")
        assert failure(await bus.set("panel", "digital/1", True)) == "offline"
        await bus.clock.advance(120)
        assert simulator.listener.accepted == before
        assert "wrong" not in json.dumps(statuses(bus))
        assert (await bus.call("bridge", "reload"))["ok"]  # it may have been corrected on the other side
        await until(lambda: simulator.listener.accepted == before + 1)
        await until(lambda: sum("denies" in each for each in reasons(bus)) >= 2)
        secret.write_text("right\n")
        assert (await bus.call("bridge", "reload"))["ok"]
        await bus.status("panel", "online")


async def test_a_reload_leaves_what_has_not_changed_alone():
    async with theatre() as (bus, simulator):
        assert (await bus.call("bridge", "reload"))["result"] == {"stopped": [], "started": []}
        assert simulator.listener.accepted == 1


async def test_outputs_survive_a_lost_link():
    async with theatre() as (bus, simulator):
        await bus.set("panel", "analog/96", 7)
        simulator.theatre.seen.clear()
        simulator.listener.drop()
        await bus.status("panel", "offline")
        await hurried(bus, bus.status("panel", "online"))
        await seen(simulator, Join("analog", 96), 7)
        assert await bus.value("panel", "_out/analog/96") == 7


async def test_a_room_is_signed_on_to():
    async with theatre("room: boardroom1", room="BOARDROOM1") as (bus, _):
        assert await bus.value("panel", "serial/2") == NAMES[0]


async def test_the_short_form_of_sign_on_is_taken():
    async with theatre("sign_on: short") as (bus, _):
        assert await bus.value("panel", "serial/2") == NAMES[0]


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
