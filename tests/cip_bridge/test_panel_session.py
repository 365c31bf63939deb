"""What we drive as a panel, and updates."""

import asyncio

import pytest

from busbar.codecs import cip
from busbar.codecs.cip import Command, Form, Join, Update
from busbar.testing.fakes import Clock, settle, until
from cip_bridge import join_state
from cip_bridge.panel_role.commands import Press
from cip_bridge.panel_role.conversation import LEAVE_LIMIT
from cip_bridge.simulator.theatre import FULL, NAMES
from tests.cip_bridge.peer import END, QUERY, START, analog, digital, serial
from tests.cip_bridge.processor import processor
from tests.cip_bridge.session import TURN, session
from tests.cip_bridge.theatre import failure, hurried, seen, theatre


async def test_a_set_drives_the_join_towards_the_processor():
    async with theatre() as (bus, simulator):
        for path, payload, value in (
            ("digital/70", "on", True),
            ("analog/70", "65535", FULL),
            ("serial/70", "5", "5"),
        ):
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
        assert (
            await bus.value("panel", "_out/temperature", lambda value: value > 30)
            == 80.0
        )
        assert failure(await bus.set("panel", "temperature", 81)) == "out_of_range"


async def test_several_joins_are_set_in_order():
    async with theatre() as (bus, simulator):
        reply = await bus.set(
            "panel",
            "",
            {"digital/71": True, "smart/3/analog/1": 5, "slot/1/digital/2": True},
        )
        assert reply["ok"], reply
        await until(lambda: len(simulator.theatre.seen) == 3)
        assert list(simulator.theatre.seen) == [
            (Join("digital", 71), True),
            (Join("analog", 1, 3), 5),
            (Join("digital", 2, None, (1,)), True),
        ]


REFUSED = [
    ("set/digital/0", "1", "out_of_range"),
    ("set/digital/32769", "1", "out_of_range"),
    ("set/analog/65537", "1", "out_of_range"),
    ("set/slot/x/digital/1", "1", "unknown"),
    ("set/digital/01", "1", "unknown"),
    ("set/slot/256/digital/1", "1", "out_of_range"),
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
    ("call/pulse", '{"join": 1, "seconds": 11}', "out_of_range"),
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
                (
                    target,
                    payload,
                    failure(
                        await (bus.set if channel == "set" else bus.call)(
                            "panel", path, payload
                        )
                    ),
                )
            )
        assert codes == REFUSED
        await settle()
        assert list(simulator.theatre.seen) == []


async def test_what_is_refused_says_what_is_allowed():
    async with theatre() as (bus, _):
        error = (await bus.call("panel", "press", "dore"))["error"]
        assert error["message"].startswith(
            "no join 'dore'; allowed: lights/level, door, temperature, message, "
            "digital/1, "
        )
        error = (await bus.call("panel", "send", "xyz"))["error"]
        assert error["message"] == (
            "frames: 'xyz' is not hexadecimal, two digits for each byte"
        )


async def test_unencodable_text_names_the_character_and_the_encoding_can_be_chosen():
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
        found = [
            (await bus.call("panel", "get", {"join": join, "direction": way}))["result"]
            for join, way in asked
        ]
        assert found == [NAMES[0], 9, False, -20.0, False]


async def test_text_that_is_appended_is_told_as_a_whole():
    async with processor() as (bus, peer, _):
        for text in ("ab", "cd"):
            await peer.says(Update(Join("serial", 1), text, Form.LEGACY, append=True))
        assert (
            await bus.value("panel", "serial/1", lambda text: len(text) == 4) == "abcd"
        )


async def test_raw_frames_can_be_sent():
    async with theatre() as (bus, simulator):
        assert (
            await bus.call(
                "panel",
                "send",
                {"frames": ("0500080000051400000005 0500060000 03000600")},
            )
        )["ok"]
        await seen(simulator, Join("analog", 1), 5)
        await seen(simulator, Join("digital", 7), True)


@pytest.mark.parametrize(
    ("command", "end"),
    [("refresh", [END, QUERY]), ("update_request", [QUERY]), ("update_request", [END])],
)
async def test_refresh_and_update_request_ask_for_everything_and_wait_for_it(
    command, end
):
    async with processor() as (bus, peer, _):
        await peer.says(digital(4, True), analog(9, 5))
        await bus.value("panel", "analog/9")
        peer.heard.clear()
        peer._next = 0
        asking = asyncio.create_task(bus.call("panel", command))
        await peer.hears(START)
        assert not asking.done()
        # not all say the beginning, nor both ends
        await peer.says(digital(5, True), *end)
        assert (await asking)["ok"]
        await bus.value("panel", "digital/5")
        assert (bus.good("panel")["digital/4"], bus.good("panel")["analog/9"]) == (
            False,
            0,
        )


async def test_the_late_second_end_of_an_update_does_not_end_the_next():
    async with processor() as (bus, peer, _):
        await peer.says(START, digital(4, True), END)
        await bus.value("panel", "digital/4")
        asking = asyncio.create_task(bus.call("panel", "update_request"))
        await peer.hears(START)
        await peer.says(QUERY, analog(9, 5))
        await bus.value("panel", "analog/9")
        assert not asking.done()
        assert bus.good("panel")["digital/4"] is True
        await peer.says(digital(4, True), END, QUERY)
        assert (await asking)["ok"]
        assert bus.good("panel")["digital/4"] is True


async def test_what_came_of_an_update_before_the_next_was_asked_for_counts():
    async with processor() as (bus, peer, _):
        await peer.says(START, digital(4, True))
        await bus.value("panel", "digital/4")
        asking = asyncio.create_task(bus.call("panel", "update_request"))
        await peer.hears(START)
        await peer.says(END, QUERY, analog(9, 5))
        await bus.value("panel", "analog/9")
        assert bus.good("panel")["digital/4"] is True
        assert (await asking)["ok"]


async def test_an_update_that_does_not_come_times_out():
    async with theatre() as (bus, simulator):
        simulator.program.slow = 60.0
        asking = asyncio.create_task(
            bus.call("panel", "update_request", {"_timeout": 3})
        )
        await settle()
        assert failure(await hurried(bus, asking)) == "timeout"


async def test_too_many_joins_to_drive_are_refused_before_anything_is_sent(monkeypatch):
    monkeypatch.setattr(join_state, "JOINS_LIMIT", 1)
    async with processor() as (bus, peer, peers):
        assert (await bus.set("panel", "digital/1", False))["ok"]
        assert failure(await bus.set("panel", "digital/2", True)) == "too_large"
        assert failure(await bus.call("panel", "press", 2)) == "too_large"
        await bus.clock.advance(1)
        assert (await bus.set("panel", "digital/1", True))["ok"]  # the session lives
        await peer.hears(digital(1, True))
        assert {
            each.join.number for each in peer.heard if isinstance(each, Update)
        } == {1}
        assert len(peers) == 1


async def test_what_there_is_no_room_for_is_counted(monkeypatch):
    monkeypatch.setattr(join_state, "JOINS_LIMIT", 1)
    async with processor() as (bus, peer, _):
        await peer.says(digital(4, True), digital(5, True), bytes.fromhex("2a000101"))
        await bus.value("panel", "_skipped", lambda count: count == 2)
        assert bus.good("panel")["digital/4"] is True


async def test_everything_that_is_sent_has_the_handle_of_the_sign_on():
    async with processor(cip.ConnectResult(0x0102)) as (bus, peer, _):
        assert (await bus.set("panel", "digital/1", True))["ok"]
        assert (await bus.call("panel", "press", 2))["ok"]
        asking = asyncio.create_task(bus.call("panel", "update_request"))
        await peer.hears(START)
        await peer.says(END, QUERY)
        assert (await asking)["ok"]
        await peer.hears(Command(cip.ACKNOWLEDGE))
        handles = [
            frame.payload[:2] for frame in cip.split(peer.raw) if frame.type == 0x05
        ]
        # two requests for updates, their acknowledgements, a digital, a button
        assert len(handles) >= 6
        assert set(handles) == {b"\1\2"}


async def test_named_joins_that_were_never_driven_are_at_their_default():
    async with theatre() as (bus, _):
        good = bus.good("panel")
        sent = [
            good[f"_out/{name}"]
            for name in ("lights/level", "door", "temperature", "message")
        ]
        assert sent == [0.0, False, -20.0, ""]


async def test_an_update_that_ends_while_a_set_waits_moves_nothing():
    async with session() as (made, outlet, peer, _):
        sets, number = [], 0
        while not sets or sets[-1].done():  # until the processor takes no more
            number += 1
            sets.append(
                asyncio.create_task(
                    made.set("panel", "serial/1", f"{number}".ljust(30_000), TURN)
                )
            )
            await settle()
        late = asyncio.create_task(made.set("panel", "analog/1", 2, TURN))
        made._conversation._deliver([START, END, QUERY])
        await settle()
        after = asyncio.create_task(made.set("panel", "analog/1", 3, TURN))
        await peer.hears(analog(1, 3))
        await asyncio.gather(*sets, late, after)
        heard = [each for each in peer.heard if isinstance(each, Update)]
        texts = [int(each.value) for each in heard if each.join.kind == "serial"]
        assert texts == [*range(1, number + 1)]
        assert [each.value for each in heard if each.join.kind == "analog"] == [2, 3]
        assert outlet.known["_out/serial/1"].strip() == f"{number}"


async def test_leaving_does_not_wait_for_a_processor_that_does_not_read():
    async with session() as (made, outlet, *_):
        (commands,) = made.commands
        await commands.press("panel", Press(54, "forever"), TURN)
        sending = asyncio.create_task(
            made._conversation.send(cip.encode(serial(1, "x" * 60_000)) * 100)
        )
        leaving = asyncio.create_task(made.leave())
        await settle()
        assert not leaving.done()
        await Clock().advance(LEAVE_LIMIT + 0.5)
        assert leaving.done()
        assert outlet.known["_out/digital/54"] is False
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)


async def test_the_first_version_that_the_processor_tells_is_its_own():
    async with session() as (made, outlet, *_):
        for text in (
            "IPID=3",
            "some v2.0 of a joystick",
            "MC3 Cntrl Eng [v1.503.0027]",
            "TSW-760 [v2.0]",
        ):
            made.on_messages([cip.About(text)])
        assert outlet.description.firmware == "MC3 Cntrl Eng [v1.503.0027]"
