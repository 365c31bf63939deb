"""The commands of a unit, through a broker in memory."""

import json

import pytest

from busbar.codecs import modbus
from busbar.codecs.modbus import Identify, Objects, Read, WriteCoils, WriteRegisters
from busbar.testing.fakes import until
from modbus_bridge.bridge import SERVICE
from modbus_bridge.simulator.__main__ import Simulator
from tests.modbus_bridge.test_bridge import error, plant
from tests.running import running

LINE = """
bridge: {{name: plant}}
channels: [{{name: line1, address: "{address}"}}]
devices: [{{name: meter, channel: line1, unit: 17, timeout: 0.5}}]
"""


async def call(bus, name, **arguments):
    reply = await bus.call("meter", name, arguments)
    assert reply["ok"], reply
    return reply["result"]


@pytest.mark.parametrize(
    ("arguments", "result"),
    [
        ({"address": 100, "type": "float32"}, 1234.5),
        ({"address": 100, "type": "float32", "count": 1}, [1234.5]),
        ({"address": 300, "count": 3}, [1, 2, 3]),
        ({"address": 300, "type": "uint32", "order": "little_swap"}, 0x00020001),
        ({"address": 300, "bit": 0}, True),
        ({"address": 302, "bit": 0, "width": 2}, 3),
        ({"address": 301, "scale": 0.1}, 0.2),
        ({"address": 110, "type": "string", "length": 8}, "BB-0017"),
        ({"address": 300, "type": "raw", "length": 2}, "AAEAAg=="),
        ({"table": "coil", "address": 5}, True),
        ({"table": "coil", "address": 4, "count": 3}, [False, True, False]),
        ({"table": "discrete", "address": 1, "count": 11}, [True] + [False] * 10),
    ],
)
async def test_read_reads_anything(arguments, result):
    async with plant(text=LINE_PLANT) as (simulator, bus):
        meter = simulator.plant.meter
        for number in range(3):
            meter.put("holding", 300 + number, number + 1)
        meter.bits["coil"][5] = meter.bits["discrete"][1] = True
        assert await call(bus, "read", **arguments) == result


LINE_PLANT = LINE.replace(
    "timeout: 0.5}}]", ("timeout: 0.5}}, {{name: heating, channel: line1, unit: 18}}]")
)


async def test_a_caller_may_be_more_patient_than_the_configuration():
    async with plant(text=LINE_PLANT.replace("timeout: 0.5", "timeout: 0.05")) as (
        simulator,
        bus,
    ):
        simulator.slow = 0.1
        assert (
            error(await bus.call("meter", "read", {"address": 100}))["code"]
            == "timeout"
        )
        assert await call(bus, "read", address=300, _timeout=20) == 0


async def test_bits_come_in_exactly_the_number_that_was_asked():
    """docs/protocols/modbus.md, 10: comsrv returns as many as there are bytes."""
    async with plant(text=LINE_PLANT) as (_, bus):
        for table in ("coil", "discrete"):
            for count in (1, 7, 8, 9, 17, 999):
                assert (
                    len(await call(bus, "read", table=table, address=0, count=count))
                    == count
                )


async def test_write_writes_anything_by_one_request():
    async with plant(text=LINE_PLANT) as (simulator, bus):
        meter = simulator.plant.meter
        await call(bus, "write", address=400, type="float64", value=1.5)
        assert meter.get("holding", 400, "float64") == 1.5
        await call(bus, "write", address=410, value=[1, 2, 3])
        assert meter.requests[-1] == WriteRegisters(410, bytes.fromhex("000100020003"))
        await call(bus, "write", table="coil", address=10, value=[True, False, True])
        assert meter.requests[-1] == WriteCoils(10, (True, False, True))
        await call(bus, "write", address=420, bit=3, value=True)
        assert meter.get("holding", 420) == 8


@pytest.mark.parametrize(
    ("command", "arguments", "code", "says"),
    [
        ("read", {"address": 0, "count": 126}, "out_of_range", "allowed: 1 to 125"),
        (
            "read",
            {"address": 0, "type": "float64", "count": 32},
            "out_of_range",
            "128 holding registers to read",
        ),
        (
            "read",
            {"table": "coil", "address": 0, "count": 2001},
            "out_of_range",
            "at most 2000",
        ),
        ("read", {"address": 65536}, "out_of_range", "at most 65535"),
        ("read", {"address": 0, "type": "bool"}, "bad_request", "needs its `bit`"),
        (
            "write",
            {"address": 0, "value": 65536},
            "out_of_range",
            "65536 is out of range",
        ),
        (
            "write",
            {"address": 0, "value": "x"},
            "bad_request",
            "expected a whole number",
        ),
        (
            "write",
            {"address": 0, "value": [0] * 124},
            "out_of_range",
            "allowed: 1 to 123",
        ),
        (
            "write",
            {"table": "coil", "address": 0, "value": [True] * 1969},
            "out_of_range",
            "allowed: 1 to 1968",
        ),
        (
            "write",
            {"table": "input", "address": 0, "value": 1},
            "bad_request",
            "input can only be read",
        ),
        (
            "write",
            {"address": 0, "bit": 1, "value": [True]},
            "bad_request",
            "a bit field takes one value",
        ),
        (
            "request",
            {"pdu": "0"},
            "bad_request",
            ("pdu: '0' is not hexadecimal, two digits for each byte"),
        ),
        ("request", {"pdu": " "}, "bad_request", "pdu: empty"),
        (
            "ddp",
            {"sub_command": 1, "command": 1, "data": "xy"},
            "bad_request",
            "data: 'xy' is not hexadecimal",
        ),
        (
            "diagnostics",
            {"data": "abc"},
            "bad_request",
            "data: 'abc' is not hexadecimal",
        ),
        ("request", {"pdu": "81"}, "out_of_range", "function 129 is not 1 to 127"),
        ("scan_units", {"first": 9, "last": 3}, "bad_request", "9 is above last, 3"),
        (
            "scan_registers",
            {"first": 9, "last": 3},
            "bad_request",
            "9 is above last, 3",
        ),
    ],
)
async def test_what_cannot_be_is_refused_before_anything_is_sent(
    command, arguments, code, says
):
    async with plant(text=LINE_PLANT) as (simulator, bus):
        failed = error(await bus.call("meter", command, json.dumps(arguments)))
        assert failed["code"] == code
        assert says in failed["message"]
        assert not simulator.plant.meter.requests


async def test_every_function_can_be_requested_with_raw_bytes():
    async with plant(text=LINE_PLANT) as (_, bus):
        assert await call(bus, "request", pdu="03 0064 0002") == "0304449a5000"
        assert (await bus.call("meter", "request", "0300640001"))[
            "result"
        ] == "0302449a"
        assert (
            error(await bus.call("meter", "request", "65aabb"))["detail"]["code"] == 1
        )
        assert await call(bus, "request", pdu="440502850a") == "4405010a"


async def test_the_other_functions():
    async with plant(text=LINE_PLANT) as (simulator, bus):
        meter = simulator.plant.meter
        assert await call(bus, "diagnostics", data="a537") == "a537"
        assert await call(bus, "ddp", sub_command=5, command=5, data="0a") == "0a"
        meter.put("holding", 4, 0x12)
        await call(bus, "mask_write", address=4, and_mask=0xF2, or_mask=0x25)
        assert meter.get("holding", 4) == 0x17
        assert await call(
            bus, "read_write", address=4, count=2, write_address=5, values=[7]
        ) == [0x17, 7]


async def test_identify_tells_who_it_is_in_parts_and_with_its_own_objects():
    async with plant(text=LINE_PLANT) as (simulator, bus):
        simulator.plant.meter.identity[0x80] = b"\x01\x02"
        assert await call(bus, "identify") == {
            "vendor": "Busbar",
            "product_code": "EM",
            "revision": "1.0",
            "product": "Plant",
            "model": "Meter",
            "url": None,
            "application": None,
            "others": {"128": "0102"},
        }
        info = await bus.info("meter", lambda info: info.get("model"))
        assert (info["manufacturer"], info["model"], info["firmware"]) == (
            "Busbar",
            "Meter",
            "1.0",
        )


async def test_a_unit_that_has_no_extended_objects_tells_the_basic_ones():
    async with plant(text=LINE_PLANT) as (simulator, bus):
        execute = simulator.plant.meter.execute
        simulator.plant.meter.execute = lambda pdu: (
            b"\xab\x02" if pdu[2] > 1 else execute(pdu)
        )
        assert (await call(bus, "identify"))["vendor"] == "Busbar"


async def test_an_identification_without_end_is_nonsense():
    async with plant(text=LINE_PLANT) as (simulator, bus):
        endless = Identify().reply(Objects({0: b"x"}, 1))
        simulator.plant.meter.execute = lambda pdu: endless
        assert (
            "more than 32 parts"
            in error(await bus.call("meter", "identify"))["message"]
        )


async def test_a_unit_that_a_gateway_does_not_find_is_not_found():
    async with plant(text=LINE_PLANT) as (simulator, bus):
        for number, unit in simulator.plant.units.items():
            # 9, 10 and 11
            unit.execute = lambda pdu, code=number - 8: modbus.exception(pdu[0], code)
        found = await call(bus, "scan_units", first=17, last=19)
        assert found == [
            {"unit": 17, "answer": ("exception 9: unknown exception (function 3)")}
        ]


async def test_a_scan_takes_less_at_once_where_the_unit_does():
    async with plant(text=LINE_PLANT) as (simulator, bus):
        meter = simulator.plant.meter
        execute = meter.execute
        meter.execute = lambda pdu: (
            modbus.exception(3, modbus.ILLEGAL_VALUE) if pdu[4] > 30 else execute(pdu)
        )
        assert await call(bus, "scan_registers", last=199) == [
            {"address": 0, "count": 200}
        ]


async def test_a_scan_does_not_ask_all_units_at_once():
    async with plant("rtu", LINE_PLANT) as (simulator, bus):
        asked = simulator.asked
        assert await call(bus, "scan_units", first=0, last=0) == []
        assert simulator.asked == asked
    async with plant("tcp", LINE_PLANT) as (simulator, bus):
        asked = simulator.asked
        await call(bus, "scan_units", first=0, last=0, timeout=0.01)
        assert simulator.asked == asked + 1  # there 0 is a unit like others


async def test_a_scan_finds_the_units_of_a_line_and_tells_how_far_it_is():
    # polled meanwhile
    text = LINE.replace(
        "timeout: 0.5", "properties: [{{path: energy, address: 100, every: 0.01}}]"
    )
    async with (
        Simulator(framing="rtu") as simulator,
        running(SERVICE, text.format(address=simulator.address)) as bus,
    ):
        await bus.status("meter", "online")
        found = await call(bus, "scan_units", first=15, last=20, timeout=0.1)
        assert [each["unit"] for each in found] == [17, 18, 19]
        told = bus.events("meter", "progress")
        assert [each["message"] for each in told] == [
            f"unit {number}" for number in range(15, 21)
        ]
        assert told[-1]["fraction"] == pytest.approx(5 / 6)


async def test_units_that_are_not_there_are_no_sign_of_a_dead_connection():
    text = LINE.replace(
        "timeout: 0.5", ("properties: [{{path: energy, address: 100, every: 2}}]")
    )
    async with (
        Simulator(framing="rtu") as simulator,
        running(SERVICE, text.format(address=simulator.address)) as bus,
    ):
        await bus.value("meter", "energy")
        before = len(bus.broker.payloads(f"{bus.base}/meter/status"))
        assert await call(bus, "scan_units", first=30, last=40, timeout=0.01) == []
        asked = simulator.asked
        await bus.clock.advance(3)
        await until(lambda: simulator.asked > asked, "the next poll")
        told = [
            json.loads(each)["state"]
            for each in bus.broker.payloads(f"{bus.base}/meter/status")[before:]
        ]
        assert set(told) <= {"online"}


async def test_others_have_their_turn_during_a_scan():
    async with plant(text=LINE_PLANT) as (simulator, bus):
        simulator.slow = 0.02
        mark = len(bus.broker.published)
        bus.broker.publish(
            f"{bus.base}/meter/call/scan_registers",
            (b'{"last": 999, "size": 1, "_id": "scan"}'),
        )
        await until(lambda: bus.events("meter", "progress"), "the scan")
        assert (await bus.call("heating", "read", {"address": 40}))["ok"]
        assert (await bus.call("meter", "cancel", {"id": "scan"}))["ok"]
        replies = [
            each.payload
            for each in bus.broker.published[mark:]
            if each.topic.endswith("meter/reply")
        ]
        await until(lambda: replies, "the outcomes")
        assert b"cancelled" in b"".join(replies)


async def test_a_scan_survives_an_answer_that_is_lost_but_not_a_unit_that_is():
    async with plant(text=LINE_PLANT) as (simulator, bus):
        simulator.nonsense = 1
        assert await call(bus, "scan_registers", last=399) == [
            {"address": 0, "count": 400}
        ]
        assert len(simulator.plant.meter.requests) == 5
        simulator.nonsense = 2
        assert (
            error(await bus.call("meter", "scan_registers", {"last": 399}))["code"]
            == "protocol"
        )


async def test_a_scan_finds_what_can_be_read():
    async with plant(text=LINE_PLANT) as (simulator, bus):
        meter = simulator.plant.meter
        meter.missing = {
            ("holding", each) for each in (*range(0, 90), 95, *range(120, 1000))
        }
        found = await call(bus, "scan_registers", last=1500)
        assert found == [{"address": 90, "count": 5}, {"address": 96, "count": 24}]
        meter.missing = set()
        meter.requests.clear()
        assert await call(bus, "scan_registers", last=999) == [
            {"address": 0, "count": 1000}
        ]
        assert list(meter.requests) == [
            Read("holding", 100 * each, 100) for each in range(10)
        ]
