"""Devices that type: lines as events, taken for us alone."""

import pytest

from busbar.testing.fakes import until
from hid_bridge.layouts import LineReader
from hid_bridge.simulator import devices
from tests.hid_bridge.stage import stage

READER = """
bridge: {name: counter}
devices: [{name: codes, address: "hid::0c2e:0200", keyboard: {layout: us%s}}]
"""


def lines(there):
    found = there.bus.events("codes", "line")
    return [(each["text"], each["complete"]) for each in found]


async def test_a_line_is_an_event_and_nobody_else_gets_its_keys():
    reader = devices.barcodes()
    async with stage(READER % "", reader, online="codes") as there:
        assert reader.grabbed
        reader.type(2, 3, -42, 30, 1042, 48, 28)
        await until(lambda: lines(there), "the line")
        assert lines(there) == [("12Ab", True)]
        assert await there.bus.value("codes", "lines", lambda count: count == 1)
        assert (await there.ok("codes", "info"))["grabbed"] is True


async def test_lost_events_make_a_line_incomplete():
    reader = devices.barcodes()
    async with stage(READER % "", reader, online="codes") as there:
        reader.type(2)
        reader.event(0, 3, 0)  # SYN_DROPPED
        reader.type(4, 28, 5, 28)
        await until(lambda: len(lines(there)) == 2, "the lines")
        assert lines(there) == [("13", False), ("4", True)]


async def test_a_pause_ends_a_line_where_no_key_does():
    reader = devices.barcodes()
    async with stage(READER % ", pause: 0.05", reader, online="codes") as there:
        reader.type(2, 3)
        await until(lambda: lines(there), "the line")
        assert lines(there) == [("12", True)]


async def test_a_reader_that_another_program_has_is_said():
    reader = devices.barcodes()
    reader.grabbed = True
    async with stage(READER % "", reader) as there:
        await until(
            lambda: "another program has" in str(there.bus.retained("codes", "status")),
            "the reason",
        )


async def test_a_reader_that_is_unplugged_is_offline_and_comes_back():
    reader = devices.barcodes()
    async with stage(READER % "", reader, online="codes") as there:
        reader.unplug()
        await there.bus.status("codes", "offline")
        reader.plug(there.root, 5)
        await there.bus.status("codes", "online")


@pytest.mark.parametrize(
    ("layout", "codes", "text"),
    [
        ("us", (21, 44, 12), "yz-"),
        ("de", (21, 44, 12, 26), "zyßü"),
        ("fr", (16, 30, 2), "aq&"),
    ],
)
def test_a_layout_says_what_a_key_is(layout, codes, text):
    reader = LineReader(layout, "enter", 100)
    for code in codes:
        assert reader.key(code, 1) is None
    assert reader.key(28, 1) == (text, True)


def test_a_line_that_is_too_long_is_cut_and_said():
    reader = LineReader("us", "enter", 3)
    for _ in range(5):
        reader.key(2, 1)
    assert reader.key(28, 1) == ("111", False)
