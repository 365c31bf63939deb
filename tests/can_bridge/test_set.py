"""Signals that are set: once, cyclically, several at once; what a frame cannot say."""

import shutil

import pytest

from busbar.codecs import can
from tests.can_bridge.peer import (
    BASE,
    EXAMPLE,
    FAST,
    cells,
    done,
    engine,
    failure,
    on_loopback,
)


async def test_a_set_encodes_and_sends_the_whole_message():
    async with on_loopback(BASE) as (bus, peer):
        assert done(await bus.set("can0", "Lamp/Brightness", 50)) == 50
        assert (await peer.receive())[0].data == b"\x64\0"
        assert await bus.value("can0", "Lamp/Brightness") == 50
        done(await bus.set("can0", "Lamp/On", "on"))
        assert (await peer.receive())[0].data == b"\x64\1"  # the other signal as it was
        done(await bus.set("can0", "EngineData/Gear", "reverse"))
        assert (await peer.receive())[0].data[3] == 0x0F


async def test_a_set_returns_what_the_bus_has():
    async with on_loopback(BASE) as (bus, peer):
        # steps of 0.5
        assert done(await bus.set("can0", "Lamp/Brightness", 12.3)) == 12.5
        assert (await peer.receive())[0].data == b"\x19\0"
        assert done(await bus.set("can0", "Lamp/On", "on")) is True
        assert done(await bus.set("can0", "EngineData/Gear", "reverse")) == "reverse"


async def test_a_set_goes_on_from_what_was_received():
    async with on_loopback(FAST) as (bus, peer):
        await peer.send(engine(100, 20, 2, True))
        await bus.value("can0", "EngineData/Speed")
        done(await bus.set("can0", "EngineData/Temperature", 30))
        assert (await peer.receive())[0].data == engine(100, 30, 2, True).data


async def test_a_set_of_a_multiplexed_signal_selects_its_page():
    async with on_loopback(BASE) as (bus, peer):
        done(await bus.set("can0", "Cells/Voltage1", 3.8))
        assert (await peer.receive())[0].data == cells(1, 3800).data
        done(await bus.set("can0", "Cells/Voltage0", 3.7))
        assert (await peer.receive())[0].data == cells(0, 3700).data


PAGED = """VERSION ""
BU_: A
BO_ 1 Paged: 3 A
 SG_ page M : 0|8@1+ (1,0) [0|0] "" A
 SG_ five m2 : 8|8@1+ (1,0) [0|0] "" A
 SG_ seven m3 : 8|8@1+ (1,0) [0|0] "" A
 SG_ plain : 16|8@1+ (1,0) [0|0] "" A
"""


async def test_a_message_that_has_no_page_0_begins_with_its_first_one(tmp_path):
    file = tmp_path / "paged.dbc"
    file.write_text(PAGED)
    async with on_loopback(f"    database: {file}\n    receive_own: false\n") as (
        bus,
        peer,
    ):
        for path, data in (
            ("plain", b"\2\0\x09"),
            ("seven", b"\3\x09\x09"),
            ("five", b"\2\x09\x09"),
        ):
            done(await bus.set("can0", f"Paged/{path}", 9))
            assert (await peer.receive())[0].data == data
        assert await bus.value("can0", "Paged/page", lambda page: page == 2) == 2


REFUSED = [
    ("Lamp/Brightness", 101, "out_of_range"),
    ("Lamp/Brightness", "bright", "bad_request"),
    ("EngineData/Gear", "fifth", "out_of_range"),
    ("EngineData/Gear", 99, "out_of_range"),
    ("Lamp/On", 2, "bad_request"),
    ("Lamp/Colour", 1, "unknown"),
    ("_load", 1, "read_only"),
]


@pytest.mark.parametrize(("path", "value", "code"), REFUSED)
async def test_values_that_a_signal_does_not_have(path, value, code):
    async with on_loopback(BASE) as (bus, peer):
        assert failure(await bus.set("can0", path, value))[0] == code
        done(await bus.call("can0", "cansend", "001#"))
        assert (await peer.receive())[0].id == 1  # nothing was sent before


async def test_a_set_can_be_cyclic():
    async with on_loopback(
        BASE + ("    signals: {rules: [{match: Lamp/*, cycle: 10}]}\n")
    ) as (bus, peer):
        done(await bus.set("can0", "Lamp/Brightness", 50))
        await peer.receive()
        await bus.clock.advance(10.5)
        assert (await peer.receive())[0].data == b"\x64\0"
        done(await bus.set("can0", "Lamp/Brightness", 10))
        await bus.clock.advance(12)
        assert (await peer.receive(2))[-1].data == b"\x14\0"
        done(await bus.call("can0", "stop_periodic", {"name": "message Lamp"}))


async def test_several_signals_at_once():
    async with on_loopback(BASE) as (bus, peer):
        done(
            await bus.call(
                "can0",
                "send_message",
                {"message": "Lamp", "signals": {"Brightness": 100, "On": True}},
            )
        )
        assert (await peer.receive())[0].data == b"\xc8\1"
        done(
            await bus.call(
                "can0", "send_message", {"message": "Lamp", "period": 5, "count": 2}
            )
        )
        await bus.clock.advance(20)
        assert [frame.data for frame in await peer.receive(2)] == [b"\xc8\1"] * 2
        found = failure(
            await bus.call(
                "can0", "send_message", {"message": "Lamp", "signals": {"Colour": 1}}
            )
        )
        assert found == (
            "bad_request",
            ("no signal 'Colour' in Lamp; there are: Brightness, On"),
        )
        assert (
            failure(await bus.call("can0", "send_message", {"message": "Lamps"}))[0]
            == "unknown"
        )
        wrong = await bus.call(
            "can0", "send_message", {"message": "Lamp", "signals": {"Brightness": 101}}
        )
        assert failure(wrong)[1].startswith("Lamp/Brightness: 101 is out of range")


PAGES = {
    "another page": (
        {"Page": 1, "Voltage0": 3},
        ("Cells/Voltage0 is not in the frame when Page is 1"),
    ),
    "two pages": (
        {"Voltage0": 3, "Voltage1": 3},
        ("Cells/Voltage0 is not in the frame when Page is 1"),
    ),
}


@pytest.mark.parametrize("what", PAGES)
async def test_signals_that_cannot_be_in_one_frame_are_refused_and_not_left_out(what):
    signals, why = PAGES[what]
    async with on_loopback(BASE) as (bus, peer):
        asked = await bus.call(
            "can0", "send_message", {"message": "Cells", "signals": signals}
        )
        assert failure(asked) == ("bad_request", why)
        done(
            await bus.call(
                "can0",
                "send_message",
                {"message": "Cells", "signals": {"Page": 1, "Voltage1": 3}},
            )
        )
        assert (await peer.receive())[0].data == cells(1, 3000).data


async def test_a_set_after_the_last_of_several_frames_is_sent():
    async with on_loopback(BASE) as (bus, peer):
        done(
            await bus.call(
                "can0", "send_message", {"message": "Lamp", "period": 1, "count": 2}
            )
        )
        await bus.clock.advance(5)
        await peer.receive(2)
        done(await bus.set("can0", "Lamp/Brightness", 50))
        assert (await peer.receive())[0].data == b"\x64\0"


CYCLIC = {
    "by a rule": (
        ("    signals: {rules: [{match: Lamp/*, cycle: 3600}]}\n"),
        "set",
        "Lamp/Brightness",
        50,
    ),
    "by a command": (
        "",
        "call",
        "send_message",
        {"message": "Lamp", "signals": {"Brightness": 50}, "period": 3600},
    ),
}


@pytest.mark.parametrize("how", CYCLIC)
async def test_a_set_of_a_cyclic_message_is_sent_at_once_and_from_then_on(how):
    more, verb, target, payload = CYCLIC[how]
    async with on_loopback(BASE + more) as (bus, peer):
        done(await getattr(bus, verb)("can0", target, payload))
        await peer.receive()
        done(await bus.set("can0", "Lamp/Brightness", 10))
        assert (await peer.receive())[0].data == b"\x14\0"
        await bus.clock.advance(3601)
        assert [frame.data for frame in await peer.receive()] == [b"\x14\0"]


@pytest.mark.parametrize("how", CYCLIC)
async def test_a_cyclic_message_follows_its_identifier_into_another_database(
    how, tmp_path
):
    more, verb, target, payload = CYCLIC[how]
    file = tmp_path / "vehicle.dbc"
    shutil.copy(EXAMPLE, file)
    base = f"    database: {file}\n    receive_own: false\n"
    async with on_loopback(base + more) as (bus, peer):
        done(await getattr(bus, verb)("can0", target, payload))
        await peer.receive()
        file.write_text(EXAMPLE.read_text().replace("BO_ 528 Lamp", "BO_ 529 Lamp"))
        done(await bus.call("can0", "reload_databases"))
        done(await bus.set("can0", "Lamp/Brightness", 60))
        assert [(frame.id, frame.data) for frame in await peer.receive()] == [
            (529, b"\x78\0")
        ]
        await bus.clock.advance(3601)
        assert (await peer.receive())[0].id == 529
        assert done(await bus.call("can0", "stop_periodic")) == ["message Lamp"]


async def test_the_other_signals_stay_as_they_were_when_databases_are_read_again(
    tmp_path,
):
    file = tmp_path / "vehicle.dbc"
    shutil.copy(EXAMPLE, file)
    async with on_loopback(
        f"    database: {file}\n    receive_own: false\n    signals: "
        f"{{min_interval: 0}}\n"
    ) as (
        bus,
        peer,
    ):
        done(await bus.set("can0", "Lamp/Brightness", 50))
        await peer.send(engine(100, 20, 1))
        await bus.value("can0", "EngineData/Gear")
        changed = (
            EXAMPLE.read_text()
            .replace("(0.5,0) [0|100]", "(1,0) [0|100]")
            .replace('"first"', '"one"')
        )
        file.write_text(changed)
        done(await bus.call("can0", "reload_databases"))
        done(await bus.set("can0", "Lamp/On", True))
        # the gear has a name that there is no more
        done(await bus.set("can0", "EngineData/Temperature", 30))
        assert [frame.data for frame in await peer.receive(3)][1:] == [
            b"\x32\1",
            engine(0, 30).data,
        ]


async def test_a_signal_that_came_outside_its_range_does_not_stop_a_set_of_another():
    async with on_loopback(FAST) as (bus, peer):
        await peer.send(engine(9000, 20))
        await bus.bad("can0", "EngineData/Speed", "out_of_range")
        done(await bus.set("can0", "EngineData/Temperature", 30))
        assert (await peer.receive())[0].data == engine(9000, 30).data


async def test_what_is_only_sent_is_published_when_it_is_set():
    async with on_loopback(BASE + "    direction: send\n") as (bus, peer):
        done(await bus.set("can0", "Lamp/Brightness", 50))
        assert await bus.value("can0", "Lamp/Brightness") == 50
        await peer.send(can.frame(528, b"\x14\0"))
        done(await bus.set("can0", "Lamp/On", True))
        assert (await peer.receive(2))[1].data == b"\x64\1"


DIALECT = """VERSION ""
BU_: A
BO_ 2566844926 Long: 100 A
 SG_ a : 0|8@1+ (1,0) [0|0] "" A
BO_ 1 Flat: 8 A
 SG_ nothing : 0|8@1+ (0,0) [0|0] "" A
BO_ 2 Narrow: 8 A
 SG_ wide : 0|8@1+ (1,0) [0|300] "" A
BO_ 3 Warm: 3 A
 SG_ low : 0|8@1+ (1,0) [10|20] "" A
 SG_ high : 8|8@1- (1,0) [-20|-10] "" A
 SG_ on : 16|1@1+ (1,0) [0|0] "" A
"""


async def test_what_a_database_says_and_a_frame_cannot_is_refused(tmp_path):
    file = tmp_path / "dialect.dbc"
    file.write_text(DIALECT)
    async with on_loopback(f"    database: {file}\n    receive_own: false\n") as (
        bus,
        peer,
    ):
        assert failure(await bus.set("can0", "Long/a", 1)) == (
            "bad_request",
            "Long: 100 bytes; a frame has up to 64",
        )
        assert failure(await bus.set("can0", "Flat/nothing", 0))[0] == "bad_request"
        assert failure(await bus.set("can0", "Narrow/wide", 300))[0] == "out_of_range"
        done(await bus.set("can0", "Narrow/wide", 255))
        assert (await peer.receive())[0].data == b"\xff" + bytes(7)


async def test_an_unknown_signal_is_sent_as_near_to_0_as_its_range_allows(
    tmp_path,
):
    file = tmp_path / "dialect.dbc"
    file.write_text(DIALECT)
    async with on_loopback(f"    database: {file}\n    receive_own: false\n") as (
        bus,
        peer,
    ):
        done(await bus.set("can0", "Warm/on", True))
        assert (await peer.receive())[0].data == b"\x0a\xf6\1"
