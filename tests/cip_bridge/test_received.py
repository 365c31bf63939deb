"""Messages as events: a text that comes twice has come twice."""

import asyncio

import pytest

from busbar.testing.fakes import until
from tests.cip_bridge.peer import END, QUERY, START, analog, digital, serial
from tests.cip_bridge.processor import processor

NEXT = serial(20, "NEXT")


def received(bus):
    return [(each["path"], each["value"]) for each in bus.events("panel", "received")]


async def test_equal_serial_texts_in_a_row_are_events():
    async with processor() as (bus, peer, _):
        await peer.says(NEXT, NEXT, NEXT, digital(3, True), digital(3, True))
        await until(lambda: len(received(bus)) == 3)
        assert received(bus) == [("serial/20", "NEXT")] * 3
        changes = [each["path"] for each in bus.changes("panel")]
        assert changes.count("serial/20") == 1
        assert bus.retained("panel", "info")["events"].keys() == {"received"}


async def test_each_transition_is_an_event_in_order_and_the_state_is_there_before():
    async with processor() as (bus, peer, _):
        await peer.says(serial(1, "a"), serial(1, "b"), serial(1, "b"))
        await until(lambda: len(received(bus)) == 3)
        assert received(bus) == [("serial/1", each) for each in "abb"]
        assert bus.good("panel")["serial/1"] == "b"


async def test_what_an_update_repeats_is_no_event():
    """Every sign-on of another panel makes the processor say it all again."""
    async with processor() as (bus, peer, _):
        await peer.says(NEXT)
        await until(lambda: received(bus) == [("serial/20", "NEXT")])
        await peer.says(START, NEXT, serial(21, "x"), END, QUERY, serial(22, "y"))
        asking = asyncio.create_task(bus.call("panel", "refresh"))
        await peer.hears(START)
        await peer.says(START, NEXT, END, QUERY)
        assert (await asking)["ok"]
        await until(lambda: len(received(bus)) == 2)
        assert received(bus) == [("serial/20", "NEXT"), ("serial/22", "y")]


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ("received: all", ["digital/3", "analog/1", "serial/20"]),
        ("received: none", []),
        ("joins: [{join: digital/3, name: key, received: true}]", ["key", "serial/20"]),
        ("joins: [{join: serial/20, name: ir, received: false}]", []),
    ],
)
async def test_which_messages_are_events_is_configured(more, expected):
    async with processor(more=f", {more}") as (bus, peer, _):
        await peer.says(digital(3, True), analog(1, 5), NEXT, digital(4, True))
        await bus.value("panel", "digital/4")
        wanted = [*expected, "digital/4"] if "all" in more else expected
        await until(lambda: [path for path, _ in received(bus)] == wanted)
