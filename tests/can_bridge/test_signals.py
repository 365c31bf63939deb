"""Signals of databases: received, multiplexed, limited in their rate.

Decoding and encoding, reloading.
"""

import base64
import json
import shutil
import struct

from busbar.codecs import can
from busbar.testing.fakes import until
from tests.can_bridge.peer import (
    BASE,
    EXAMPLE,
    FAST,
    cells,
    done,
    engine,
    failure,
    on_loopback,
    rows,
)


async def test_each_signal_is_a_property_with_unit_range_and_names():
    async with on_loopback(FAST) as (bus, peer):
        await peer.send(engine(2500.25, 90, 1, True))
        assert await bus.value("can0", "EngineData/Speed") == 2500.25
        good = bus.good("can0")
        assert (
            good["EngineData/Temperature"],
            good["EngineData/Gear"],
            good["EngineData/Running"],
        ) == (
            90,
            "first",
            True,
        )
        about = (await bus.info("can0", bool))["properties"]
        speed, gear = about["EngineData/Speed"], about["EngineData/Gear"]
        assert (speed["unit"], speed["title"], speed["group"]) == (
            "rpm",
            "Crankshaft speed",
            "EngineData",
        )
        assert speed["original"] == "EngineData/Speed"
        assert (speed["schema"]["minimum"], speed["schema"]["maximum"]) == (0, 8000)
        assert all(
            f'"{name}"' in json.dumps(gear["schema"])
            for name in ("neutral", "first", "reverse")
        )


async def test_the_time_of_a_value_is_that_of_its_frame():
    async with on_loopback(FAST) as (bus, peer):
        await peer.send(engine(1))
        await bus.value("can0", "EngineData/Speed")
        await until(lambda: rows(bus))
        change = next(
            each for each in bus.changes("can0") if each["path"] == "EngineData/Speed"
        )
        assert change["time"] == rows(bus)[0][0]


async def test_a_number_without_a_name_stays_a_number():
    async with on_loopback(FAST) as (bus, peer):
        await peer.send(engine(gear=7))
        assert await bus.value("can0", "EngineData/Gear") == 7


async def test_multiplexed_signals_are_those_of_their_page():
    async with on_loopback(FAST) as (bus, peer):
        await peer.send(cells(0, 3700), cells(1, 3800), cells(0, 3701))
        assert await bus.value("can0", "Cells/Voltage1") == 3.8
        assert (
            await bus.value("can0", "Cells/Voltage0", lambda value: value > 3.7)
            == 3.701
        )
        await peer.send(can.frame(0x200, b"\x05\0\0\0"))
        assert "expected multiplexer id 0 or 1" in await bus.bad(
            "can0", "Cells/Voltage0", "protocol"
        )


async def test_a_value_outside_its_range_costs_that_signal_only():
    async with on_loopback(FAST) as (bus, peer):
        await peer.send(engine(9000, 20))
        message = await bus.bad("can0", "EngineData/Speed", "out_of_range")
        assert "allowed: at least 0 and at most 8000" in message
        [change] = [
            each for each in bus.changes("can0") if each["path"] == "EngineData/Speed"
        ]
        assert change["value"] == 9000
        assert await bus.value("can0", "EngineData/Temperature") == 20
        await peer.send(engine(100, 20))
        assert await bus.value("can0", "EngineData/Speed") == 100


async def test_ranges_of_a_database_that_are_placeholders_are_ignored():
    ignoring = FAST.replace("min_interval: 0", "min_interval: 0, ranges: ignore")
    async with on_loopback(ignoring) as (bus, peer):
        await peer.send(engine(9000, 20))
        assert await bus.value("can0", "EngineData/Speed") == 9000
        about = (await bus.info("can0", bool))["properties"]["EngineData/Speed"]
        # what the bits of the signal can hold
        assert about["schema"]["maximum"] > 9000
        done(await bus.set("can0", "EngineData/Speed", 8001))


async def test_all_that_the_bits_can_hold_is_within_the_range_that_they_make(tmp_path):
    file = tmp_path / "steps.dbc"
    lines = ['VERSION ""', "BU_: A"]
    scales = ("0.1,0", "0.3,-40", "-0.7,0.05", "1e-05,0", "2.0,1", "0.0078125,-250")
    for number, scale in enumerate(scales, start=1):
        lines += [f"BO_ {number} M{number}: 8 A"]
        lines += [f' SG_ up : 0|16@1+ ({scale}) [0|0] "" A']
        lines += [f' SG_ signed : 16|16@1- ({scale}) [0|0] "" A']
    file.write_text("\n".join(lines) + "\n")
    fast = f"    database: {file}\n    signals: {{min_interval: 0}}\n"
    async with on_loopback(fast) as (bus, peer):
        for raw in (0, 1, 0x7FFF, 0x8000, 0xFFFF):
            data = struct.pack("<HHI", raw, raw, 0)
            for number in range(1, len(scales) + 1):
                await peer.send(can.frame(number, data))
            await bus.value("can0", f"M{len(scales)}/up")
        assert bus.faults("can0") == {}


async def test_a_frame_that_is_too_short_says_so_and_the_whole_frame_is_good_again():
    async with on_loopback(FAST) as (bus, peer):
        await peer.send(engine(100))
        await bus.value("can0", "EngineData/Speed")
        await peer.send(can.frame(0x100, b"\1\2\3"))
        why = await bus.bad("can0", "EngineData/Speed", "protocol")
        assert why == "EngineData: 3 bytes, the database says 8"
        await peer.send(engine(100))
        assert await bus.value("can0", "EngineData/Speed") == 100
        await bus.clock.advance(1.2)
        assert await bus.value("can0", "_unreadable", int) == 1


async def test_unknown_identifiers_are_counted():
    async with on_loopback(FAST) as (bus, peer):
        await peer.send(
            can.frame(0x555), can.frame(0x556), can.frame(0x100, extended=True)
        )
        await bus.clock.advance(1.2)
        assert await bus.value("can0", "_unknown", int) == 3


async def test_reports_are_limited_and_the_newest_value_always_comes():
    async with on_loopback(BASE + "    signals: {min_interval: 10}\n") as (bus, peer):
        await peer.send(*(engine(speed) for speed in range(100)))
        await until(lambda: "EngineData/Speed" in bus.good("can0"))
        await bus.clock.advance(11)
        published = [
            each["value"]
            for each in bus.changes("can0")
            if each["path"] == "EngineData/Speed"
        ]
        assert published == [0, 99]


async def test_an_unchanged_value_is_reported_again_after_its_silence():
    async with on_loopback(
        BASE + ("    signals: {min_interval: 0, max_silence: 5}\n")
    ) as (bus, peer):
        for _ in range(2):
            await peer.send(engine(7))
            await bus.value("can0", "EngineData/Speed")
            await bus.clock.advance(6)
        await peer.send(engine(7))
        path = "EngineData/Speed"
        await until(
            lambda: (
                len([each for each in bus.changes("can0") if each["path"] == path]) >= 2
            )
        )


async def test_rules_hold_for_what_they_match():
    more = """\
    signals:
      min_interval: 0
      rules:
        - {match: EngineData/Speed, deadband: 100}
        - {match: "Engine*", direction: receive}
        - {match: Cells/*, direction: send}
"""
    async with on_loopback(BASE + more) as (bus, peer):
        await peer.send(engine(1000), engine(1050), engine(1200), cells(0, 3700))
        await bus.value("can0", "EngineData/Speed", lambda value: value == 1200)
        assert [
            each["value"]
            for each in bus.changes("can0")
            if each["path"] == "EngineData/Speed"
        ] == [1000, 1200]
        assert "Cells/Voltage0" not in bus.good("can0")
        assert (
            failure(await bus.set("can0", "EngineData/Temperature", 5))[0]
            == "read_only"
        )


async def test_a_message_that_is_only_sent_is_not_received():
    more = (
        "    frames: {publish: none}\n    signals: {rules: [{match: Cells/*, "
        "direction: send}]}\n"
    )
    async with on_loopback(BASE + more) as (bus, peer):
        await peer.send(cells(0, 3700), engine(7))
        await bus.value("can0", "EngineData/Speed")
        await bus.clock.advance(1.2)
        assert await bus.value("can0", "_received", int) == 1


async def test_decode_and_encode_without_the_bus():
    async with on_loopback(BASE) as (bus, _):
        data = base64.b64encode(engine(2500, 90, 1, True).data).decode()
        found = done(await bus.call("can0", "decode", {"id": 0x100, "data": data}))
        assert found == {
            "message": "EngineData",
            "signals": {
                "Speed": 2500,
                "Temperature": 90,
                "Gear": "first",
                "Running": True,
            },
        }
        made = done(
            await bus.call(
                "can0", "encode", {"message": "EngineData", "signals": found["signals"]}
            )
        )
        assert made == {"id": 0x100, "extended": False, "data": data}
        assert (
            failure(await bus.call("can0", "decode", {"id": 0x101, "data": data}))[0]
            == "unknown"
        )
        assert (
            failure(await bus.call("can0", "decode", {"id": 0x100, "data": "AQ=="}))[0]
            == "protocol"
        )
        wrong = {"message": "Lamp", "signals": {"Brightness": 200}}
        assert failure(await bus.call("can0", "encode", wrong))[0] == "out_of_range"


async def test_j1939_messages_are_found_by_their_parameter_group_from_any_source():
    async with on_loopback(FAST + "    frames: {publish: none}\n") as (bus, peer):
        await peer.send(
            *(
                can.frame(id_, bytes(8), extended=True)
                for id_ in (0x18FEF217, 0x18FFF117)
            )
        )  # no filter wants
        await peer.send(
            can.frame(0x0CFEF117, struct.pack("<xH5x", 80 * 256), extended=True)
        )
        assert await bus.value("can0", "CruiseControl/WheelSpeed") == 80
        about = (await bus.info("can0", bool))["properties"]["CruiseControl/WheelSpeed"]
        assert about["group"] == "CruiseControl (PGN 65265, any source)"
        data = base64.b64encode(bytes(8)).decode()
        found = done(await bus.call("can0", "decode", {"id": 0x18FEF117, "data": data}))
        assert (found["pgn"], found["source"]) == (65265, 0x17)
        await bus.clock.advance(1.2)
        assert await bus.value("can0", "_received", int) == 1


async def test_databases_are_read_again_while_frames_go_on(tmp_path):
    file = tmp_path / "vehicle.dbc"
    shutil.copy(EXAMPLE, file)
    more = f"    database: {file}\n    signals: {{min_interval: 0}}\n"
    async with on_loopback(more) as (bus, peer):
        await peer.send(engine(100))
        await bus.value("can0", "EngineData/Speed")
        file.write_text(
            EXAMPLE.read_text().replace("(0.25,0) [0|8000]", "(0.5,0) [0|9000]")
        )
        assert done(await bus.call("can0", "reload_databases")) == 4
        await peer.send(engine(100))
        assert (
            await bus.value("can0", "EngineData/Speed", lambda value: value > 100)
            == 200
        )
        file.write_text(EXAMPLE.read_text().replace("BO_ 512 Cells:", "BO_ 512 Cells"))
        line = file.read_text().partition("BO_ 512")[0].count("\n") + 1
        code, why = failure(await bus.call("can0", "reload_databases"))
        assert code == "bad_request"
        assert f"{file}:{line}:15: " in why
        await peer.send(engine(150))
        assert (
            await bus.value("can0", "EngineData/Speed", lambda value: value > 200)
            == 300
        )
        assert [
            status
            for status in bus.broker.payloads(f"{bus.base}/can0/status")
            if b"offline" in status
        ][1:] == []


async def test_what_the_databases_want_after_a_reload_is_received(tmp_path):
    file = tmp_path / "vehicle.dbc"
    shutil.copy(EXAMPLE, file)
    more = (
        f"    database: {file}\n    frames: {{publish: none}}\n    signals: "
        f"{{min_interval: 0}}\n"
    )
    async with on_loopback(more) as (bus, peer):
        file.write_text(
            EXAMPLE.read_text().replace(" 256 ", " 257 ").replace("EngineData", "Motor")
        )
        done(await bus.call("can0", "reload_databases"))
        await peer.send(engine(100), engine(100)._replace(id=257))
        assert await bus.value("can0", "Motor/Speed") == 100
        await bus.clock.advance(1.2)
        assert await bus.value("can0", "_received", int) == 1
        assert "Motor/Speed" in (await bus.info("can0", bool))["properties"]


async def test_messages_of_the_configuration_need_no_database():
    more = """\
    messages:
      - name: Fan
        id: 0x321
        signals:
          - {name: Speed, start: 0, length: 16, scale: 0.1,
             minimum: 0, maximum: 3000, unit: rpm}
          - {name: Angle, start: 23, length: 16, byte_order: big, type: signed}
          - {name: Mode, start: 32, length: 8, choices: {0: idle, 2: fast}}
    signals: {min_interval: 0}
"""
    async with on_loopback(more) as (bus, peer):
        await peer.send(can.frame(0x321, bytes.fromhex("e803fffe02000000")))
        assert await bus.value("can0", "Fan/Speed") == 100
        assert (bus.good("can0")["Fan/Angle"], bus.good("can0")["Fan/Mode"]) == (
            -2,
            "fast",
        )


async def test_a_whole_number_of_64_bits_stays_whole_whatever_its_scale():
    signal = "{name: count, start: 0, length: 64, scale: 1, offset: 0}"
    more = (
        f"    messages: [{{name: Total, id: 1, signals: [{signal}]}}]\n    "
        f"receive_own: false\n"
    )
    async with on_loopback(more) as (bus, peer):
        await peer.send(can.frame(1, b"\xfe" + b"\xff" * 7))
        assert await bus.value("can0", "Total/count") == 2**64 - 2
        done(await bus.set("can0", "Total/count", str(2**64 - 3)))
        assert (await peer.receive())[0].data == b"\xfd" + b"\xff" * 7


async def test_names_that_meet_are_served_neither_until_they_are_separated(
    tmp_path, caplog
):
    file = tmp_path / "twins.dbc"
    file.write_text(
        'VERSION ""\nBU_: A\nBO_ 1 M: 8 A\n SG_ a : 0|8@1+ (1,0) [0|0] "" A\n SG_ b : '
        '8|8@1+ (1,0) [0|0] "" A\n'
    )
    more = f"    database: {file}\n    names: {{M/a: M/b}}\n"
    async with on_loopback(more) as (bus, peer):
        await peer.send(can.frame(1, bytes(8)))
        await until(lambda: rows(bus))
        assert not {"M/a", "M/b"} & (await bus.info("can0", bool))["properties"].keys()
        assert "M/a would be M/b" in caplog.text
    async with on_loopback(more.replace("M/a: M/b", "M/a: first")) as (bus, peer):
        await peer.send(can.frame(1, b"\1\2" + bytes(6)))
        assert await bus.value("can0", "first") == 1
        assert await bus.value("can0", "M/b") == 2


async def test_a_signal_whose_message_stays_away_is_stale():
    async with on_loopback(BASE + ("    signals: {min_interval: 0, max_age: 5}\n")) as (
        bus,
        peer,
    ):
        for _ in range(3):
            await peer.send(engine(7))
            await bus.value("can0", "EngineData/Speed")
            await bus.clock.advance(3)
        assert "EngineData/Speed" in bus.good("can0")  # the same value each time
        await bus.clock.advance(7)
        assert "for more than 5 s" in await bus.bad("can0", "EngineData/Speed", "stale")


async def test_the_newest_of_several_sources_counts_also_if_its_value_is_the_same():
    def cruise(source, speed):
        return can.frame(
            0x18FEF100 | source, struct.pack("<xH5x", speed * 256), extended=True
        )

    async with on_loopback(FAST) as (bus, peer):
        for source, speed in ((1, 10), (2, 20), (1, 10)):
            await peer.send(cruise(source, speed))
            await bus.value(
                "can0",
                "CruiseControl/WheelSpeed",
                lambda value, speed=speed: value == speed,
            )


async def test_of_two_messages_with_one_id_the_first_counts_and_the_other_is_named(
    tmp_path, caplog
):
    file = tmp_path / "other.dbc"
    file.write_text(
        'VERSION ""\nBU_: A\nBO_ 528 Light: 2 A\n SG_ a : 0|8@1+ (1,0) [0|0] "" A\n'
    )
    async with on_loopback(
        f"    database: [{EXAMPLE}, {file}]\n    receive_own: false\n"
    ) as (bus, peer):
        await peer.send(can.frame(528, b"\x64\0"))
        assert await bus.value("can0", "Lamp/Brightness") == 50
        assert "Light/a" not in (await bus.info("can0", bool))["properties"]
        assert f"{file}: 'Light' is left out, 0x210 is 'Lamp' already" in caplog.text


async def test_only_what_a_database_knows_is_received_where_nothing_else_wants_more():
    more = "    frames: {publish: none}\n    signals: {min_interval: 0}\n"
    messages = (
        "    messages: [{name: Fan, id: 0x321, signals: [{name: Speed, start: 0, "
        "length: 8}]}]\n"
    )
    async with on_loopback(more + messages + "    receive_own: false\n") as (bus, peer):
        await peer.send(can.frame(0x322, bytes(8)), can.frame(0x321, b"\2" + bytes(7)))
        assert await bus.value("can0", "Fan/Speed") == 2
        await bus.clock.advance(1.2)
        assert await bus.value("can0", "_received", int) == 1
