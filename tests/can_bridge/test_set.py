"""Signals that are set: once, cyclically, several at once; what a frame cannot say."""

import shutil

import pytest

from busbar.codecs import can
from tests.can_bridge.peer import BASE, EXAMPLE, FAST, cells, done, engine, failure, on_loopback


async def test_a_set_encodes_and_sends_the_whole_message():
    async with on_loopback(BASE) as (bus, peer):
        assert done(await bus.set("can0", "Lamp/Brightness", 50)) == 50
        assert (await peer.hear())[0].data == b"\x64\0"
        assert await bus.value("can0", "Lamp/Brightness") == 50
        done(await bus.set("can0", "Lamp/On", "on"))
        assert (await peer.hear())[0].data == b"\x64\1"  # the other signal as it was
        done(await bus.set("can0", "EngineData/Gear", "reverse"))
        assert (await peer.hear())[0].data[3] == 0x0F


async def test_a_set_goes_on_from_what_was_received():
    async with on_loopback(FAST) as (bus, peer):
        await peer.send(engine(100, 20, 2, True))
        await bus.value("can0", "EngineData/Speed")
        done(await bus.set("can0", "EngineData/Temperature", 30))
        assert (await peer.hear())[0].data == engine(100, 30, 2, True).data


async def test_a_set_of_a_multiplexed_signal_selects_its_page():
    async with on_loopback(BASE) as (bus, peer):
        done(await bus.set("can0", "Cells/Voltage1", 3.8))
        assert (await peer.hear())[0].data == cells(1, 3800).data
        done(await bus.set("can0", "Cells/Voltage0", 3.7))
        assert (await peer.hear())[0].data == cells(0, 3700).data


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
        assert (await peer.hear())[0].id == 1  # nothing was sent before


async def test_a_set_can_be_cyclic():
    async with on_loopback(BASE + "    signals: {rules: [{match: Lamp/*, cycle: 10}]}\n") as (bus, peer):
        done(await bus.set("can0", "Lamp/Brightness", 50))
        await peer.hear()
        await bus.clock.advance(10.5)
        assert (await peer.hear())[0].data == b"\x64\0"
        done(await bus.set("can0", "Lamp/Brightness", 10))
        await bus.clock.advance(12)
        assert (await peer.hear(2))[-1].data == b"\x14\0"
        done(await bus.call("can0", "stop_periodic", {"name": "message Lamp"}))


async def test_several_signals_at_once():
    async with on_loopback(BASE) as (bus, peer):
        done(await bus.call("can0", "send_message", {"message": "Lamp", "signals": {"Brightness": 100, "On": True}}))
        assert (await peer.hear())[0].data == b"\xc8\1"
        done(await bus.call("can0", "send_message", {"message": "Lamp", "period": 5, "count": 2}))
        await bus.clock.advance(20)
        assert [frame.data for frame in await peer.hear(2)] == [b"\xc8\1"] * 2
        found = failure(await bus.call("can0", "send_message", {"message": "Lamp", "signals": {"Colour": 1}}))
        assert found == ("bad_request", "Lamp has no signal 'Colour'; allowed: Brightness, On")
        assert failure(await bus.call("can0", "send_message", {"message": "Lamps"}))[0] == "unknown"


async def test_a_set_after_the_last_of_several_frames_is_sent():
    async with on_loopback(BASE) as (bus, peer):
        done(await bus.call("can0", "send_message", {"message": "Lamp", "period": 1, "count": 2}))
        await bus.clock.advance(5)
        await peer.hear(2)
        done(await bus.set("can0", "Lamp/Brightness", 50))
        assert (await peer.hear())[0].data == b"\x64\0"


CYCLIC = {
    "by a rule": ("    signals: {rules: [{match: Lamp/*, cycle: 3600}]}\n", "set", "Lamp/Brightness", 50),
    "by a command": ("", "call", "send_message", {"message": "Lamp", "signals": {"Brightness": 50}, "period": 3600}),
}


@pytest.mark.parametrize("how", CYCLIC)
async def test_a_set_of_a_cyclic_message_is_sent_at_once_and_from_then_on(how):
    more, verb, target, payload = CYCLIC[how]
    async with on_loopback(BASE + more) as (bus, peer):
        done(await getattr(bus, verb)("can0", target, payload))
        await peer.hear()
        done(await bus.set("can0", "Lamp/Brightness", 10))
        assert (await peer.hear())[0].data == b"\x14\0"
        await bus.clock.advance(3601)
        assert [frame.data for frame in await peer.hear()] == [b"\x14\0"]


@pytest.mark.parametrize("how", CYCLIC)
async def test_a_cyclic_message_follows_its_identifier_into_another_database(how, tmp_path):
    more, verb, target, payload = CYCLIC[how]
    file = tmp_path / "vehicle.dbc"
    shutil.copy(EXAMPLE, file)
    base = f"    database: {file}\n    receive_own: false\n"
    async with on_loopback(base + more) as (bus, peer):
        done(await getattr(bus, verb)("can0", target, payload))
        await peer.hear()
        file.write_text(EXAMPLE.read_text().replace("BO_ 528 Lamp", "BO_ 529 Lamp"))
        done(await bus.call("can0", "reload_databases"))
        done(await bus.set("can0", "Lamp/Brightness", 60))
        assert [(frame.id, frame.data) for frame in await peer.hear()] == [(529, b"\x78\0")]
        await bus.clock.advance(3601)
        assert (await peer.hear())[0].id == 529
        assert done(await bus.call("can0", "stop_periodic")) == ["message Lamp"]


async def test_a_signal_that_came_outside_its_range_does_not_stop_a_set_of_another():
    async with on_loopback(FAST) as (bus, peer):
        await peer.send(engine(9000, 20))
        await bus.bad("can0", "EngineData/Speed", "out_of_range")
        done(await bus.set("can0", "EngineData/Temperature", 30))
        assert (await peer.hear())[0].data == engine(9000, 30).data


async def test_what_is_only_sent_is_published_when_it_is_set():
    async with on_loopback(BASE + "    direction: send\n") as (bus, peer):
        done(await bus.set("can0", "Lamp/Brightness", 50))
        assert await bus.value("can0", "Lamp/Brightness") == 50
        await peer.send(can.frame(528, b"\x14\0"))
        done(await bus.set("can0", "Lamp/On", True))
        assert (await peer.hear(2))[1].data == b"\x64\1"


DIALECT = """VERSION ""
BU_: A
BO_ 2566844926 Long: 100 A
 SG_ a : 0|8@1+ (1,0) [0|0] "" A
BO_ 1 Flat: 8 A
 SG_ nothing : 0|8@1+ (0,0) [0|0] "" A
BO_ 2 Narrow: 8 A
 SG_ wide : 0|8@1+ (1,0) [0|300] "" A
"""


async def test_what_a_database_says_and_a_frame_cannot_is_refused(tmp_path):
    file = tmp_path / "dialect.dbc"
    file.write_text(DIALECT)
    async with on_loopback(f"    database: {file}\n    receive_own: false\n") as (bus, peer):
        assert failure(await bus.set("can0", "Long/a", 1)) == ("bad_request", "Long: 100 bytes; a frame has up to 64")
        assert failure(await bus.set("can0", "Flat/nothing", 0))[0] == "bad_request"
        assert failure(await bus.set("can0", "Narrow/wide", 300))[0] == "out_of_range"
        done(await bus.set("can0", "Narrow/wide", 255))
        assert (await peer.hear())[0].data == b"\xff" + bytes(7)
