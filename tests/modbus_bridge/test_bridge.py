"""The bridge on the simulated plant, through a broker in memory: what a client sees."""

import asyncio
import math
from contextlib import asynccontextmanager
from functools import partial

import pytest

from busbar.codecs import modbus
from busbar.codecs.modbus import (
    Identify,
    MaskWrite,
    Read,
    WriteCoil,
    WriteCoils,
    WriteRegister,
    WriteRegisters,
)
from busbar.testing.fakes import settle, until
from modbus_bridge.bridge import SERVICE
from modbus_bridge.simulator.__main__ import Simulator
from tests.running import running

PLANT = """
bridge: {{name: plant}}
channels: [{{name: line1, address: "{address}"}}]
devices:
  - name: meter
    channel: line1
    unit: 17
    timeout: 0.5
    properties:
      - {{path: energy, address: 100, type: float32, every: 0.05, unit: kWh}}
      - {{path: power, table: input, address: 0, type: float32, every: 0.05}}
      - {{path: label, address: 110, type: string, length: 8, access: rw, every: 0}}
      - {{path: blob, address: 200, type: raw, length: 2, access: rw, every: 0}}
  - name: heating
    channel: line1
    unit: 18
    timeout: 0.5
    properties:
      - {{path: relay, table: coil, address: 3, access: rw, every: 0.05}}
      - {{path: setpoint, address: 40, type: int16, scale: 0.1, access: rw,
         minimum: 5, maximum: 30, every: 0.05}}
      - {{path: overheat, address: 50, bit: 4, access: rw, every: 0.05}}
      - {{path: level, address: 50, bit: 8, width: 3, access: rw, every: 0.05}}
      - {{path: mode, address: 60, choices: {{0: "off", 2: boost}}, access: rw,
         every: 0.05}}
      - {{path: total, address: 70, type: uint32, order: little_swap, access: rw,
         every: 0.05}}
      - {{path: guarded, address: 80, access: rw, every: 0.05}}
      - {{path: trigger, table: coil, address: 9, access: w}}
"""


@asynccontextmanager
async def plant(framing="tcp", text=PLANT):
    async with (
        Simulator(framing=framing) as simulator,
        running(SERVICE, text.format(address=simulator.address)) as bus,
    ):
        await bus.status("heating", "online")
        yield simulator, bus


async def in_a_while(bus, condition):
    """Let virtual time go on until something is so."""
    for _ in range(200):
        if condition():
            return
        await bus.clock.advance(1)
    raise AssertionError("it did not come true within 200 s")


def error(reply):
    assert not reply["ok"]
    return reply["error"]


@pytest.mark.parametrize("framing", ["tcp", "rtu", "ascii"])
async def test_values_are_read_and_written_in_every_framing(framing):
    async with plant(framing) as (simulator, bus):
        heating = simulator.plant.heating
        assert await bus.value("meter", "energy") == 1234.5
        assert await bus.value("meter", "label") == "BB-0017"
        assert await bus.value("heating", "setpoint") == 21.5
        assert (await bus.set("heating", "setpoint", 5.3))["result"] == 5.3
        assert heating.get("holding", 40) == 53
        assert (await bus.set("heating", "relay", "on"))["result"] is True
        assert heating.bits["coil"][3]
        assert (await bus.set("heating", "total", 70000))["result"] == 70000
        assert heating.words["holding"][140:144].hex() == "11700001"
        assert (await bus.set("meter", "label", "new"))["result"] == "new"
        assert (await bus.set("meter", "blob", '"AQIDBA=="'))["result"] == "AQIDBA=="
        heating.put("holding", 40, 99)
        await bus.value("heating", "setpoint", lambda value: value == 9.9)


@pytest.mark.parametrize("framing", ["tcp", "rtu"])
async def test_no_older_value_follows_a_write_while_the_unit_is_polled_at_full_rate(
    framing,
):
    async with plant(framing, PLANT.replace("every: 0.05", "every: 0.0001")) as (
        _,
        bus,
    ):
        await bus.value("heating", "total")
        for number in range(1, 51):
            assert (await bus.set("heating", "total", number))["result"] == number
        seen = [
            each["value"]
            for each in bus.changes("heating")
            if each["path"] == "total" and "value" in each
        ]
        assert seen == list(range(51))


async def test_each_value_goes_by_the_function_that_is_meant_for_it():
    async with plant() as (simulator, bus):
        requests = simulator.plant.heating.requests
        await bus.set("heating", "relay", True)
        await bus.set("heating", "setpoint", 6)
        await bus.set("heating", "total", 1)  # several registers: by one request
        await bus.set("heating", "overheat", True)
        sent = [each for each in requests if not isinstance(each, Read)]
        assert sent == [
            WriteCoil(3, True),
            WriteRegister(40, b"\x00\x3c"),
            WriteRegisters(70, b"\x00\x01\x00\x00"),
            MaskWrite(50, 0xFFEF, 0x0010),
        ]


async def test_single_writes_can_go_by_functions_15_and_16():
    text = PLANT.replace(
        "    unit: 18\n", ("    unit: 18\n    single: false\n    mask_write: never\n")
    )
    async with plant(text=text) as (simulator, bus):
        requests = simulator.plant.heating.requests
        for path, value in (("relay", True), ("setpoint", 6), ("overheat", True)):
            assert (await bus.set("heating", path, value))["ok"]
        sent = [each for each in requests if not isinstance(each, Read)]
        assert sent == [
            WriteCoils(3, (True,)),
            WriteRegisters(40, b"\x00\x3c"),
            WriteRegisters(50, b"\x00\x10"),
        ]


async def test_a_bit_is_written_without_its_neighbours_with_and_without_function_22():
    async with plant() as (simulator, bus):
        heating = simulator.plant.heating
        for without in (set(), {22}):
            heating.without = without
            heating.put("holding", 50, 0b1000_0000_0000_0001)
            assert (await bus.set("heating", "overheat", True))["result"] is True
            assert (await bus.set("heating", "level", 5))["result"] == 5
            assert heating.get("holding", 50) == 0b1000_0101_0001_0001
        # then it was known
        assert sum(isinstance(each, MaskWrite) for each in heating.requests) == 3


async def test_an_enumeration_has_names_and_a_number_without_one_is_shown_as_it_is():
    async with plant() as (simulator, bus):
        assert await bus.value("heating", "mode") == "off"
        assert (await bus.set("heating", "mode", "boost"))["result"] == "boost"
        assert simulator.plant.heating.get("holding", 60) == 2
        assert error(await bus.set("heating", "mode", "eco"))["code"] == "out_of_range"
        simulator.plant.heating.put("holding", 60, 7)
        assert await bus.value("heating", "mode", lambda value: value != "boost") == 7
        simulator.plant.heating.put("holding", 60, 0)
        await bus.value("heating", "mode", lambda value: value == "off")


async def test_a_reading_outside_its_range_is_published_and_bad():
    async with plant() as (simulator, bus):
        simulator.plant.heating.put("holding", 40, 500)
        message = await bus.bad("heating", "setpoint", "out_of_range")
        assert "allowed: at least 5 and at most 30" in message
        changes = [
            each for each in bus.changes("heating") if each["path"] == "setpoint"
        ]
        assert changes[-1]["value"] == 50.0
        simulator.plant.heating.put("holding", 40, 300)
        assert await bus.value("heating", "setpoint", lambda value: value > 22) == 30


@pytest.mark.parametrize(
    ("device", "path", "value", "says"),
    [
        ("heating", "setpoint", 31, "at most 30"),
        ("heating", "level", 8, "at most 7"),
        ("heating", "total", -1, "at least 0"),
        ("meter", "label", "longer than sixteen", "there is room for 16"),
        ("meter", "blob", '"AQ=="', "2 registers have 4"),
    ],
)
async def test_a_bad_value_is_out_of_range_before_anything_is_sent(
    device, path, value, says
):
    async with plant() as (simulator, bus):
        failed = error(await bus.set(device, path, value))
        assert failed["code"] == "out_of_range"
        assert says in failed["message"]
        for unit in simulator.plant.units.values():
            assert all(isinstance(each, Read) for each in unit.requests)


async def test_a_refusal_has_its_number_and_name():
    async with plant() as (simulator, bus):
        simulator.plant.heating.guarded = {80}
        failed = error(await bus.set("heating", "guarded", 1))
        assert failed["code"] == "device"
        assert failed["detail"] == {
            "code": 4,
            "text": "server device failure",
            "function": 6,
        }


async def test_nonsense_is_a_protocol_error_and_costs_one_exchange():
    async with plant() as (simulator, bus):
        lease = (await bus.call("meter", "lock", {"polls": False}))["result"]["lease"]
        simulator.nonsense = 1
        assert (
            error(await bus.call("meter", "read", {"address": 100, "_lease": lease}))[
                "code"
            ]
            == "protocol"
        )
        assert (await bus.call("meter", "read", {"address": 100, "_lease": lease}))[
            "ok"
        ]


async def test_an_unchanged_answer_is_confirmed_before_it_is_stale():
    text = """
bridge: {{name: plant}}
devices:
  - name: meter
    address: "{address}::17"
    timeout: 10
    properties: [{{path: energy, address: 100, type: float32, every: 0.02}}]
"""
    async with (
        Simulator() as simulator,
        running(SERVICE, text.format(address=simulator.address)) as bus,
    ):
        await bus.value("meter", "energy")
        for _ in range(2):  # together longer than its max_age of 10.06 s
            asyncio.get_running_loop().shift += 8
            asked = simulator.asked
            await until(lambda n=asked: simulator.asked > n + 3, "more polls")
        bus.bridge._tick()
        assert not any(
            each.get("bad") for each in bus.changes("meter") if each["path"] == "energy"
        )


async def test_a_value_not_read_for_three_periods_is_stale_until_it_is_read_again():
    async with plant() as (_, bus):
        await bus.value("heating", "setpoint")
        lease = (await bus.call("heating", "lock", {"polls": False, "ttl": 60}))[
            "result"
        ]["lease"]
        await bus.clock.advance(2)
        assert "no reading for more than 1.15 s" in await bus.bad(
            "heating", "setpoint", "stale"
        )
        assert (await bus.call("heating", "unlock", {"_lease": lease}))["ok"]
        assert await bus.value("heating", "setpoint") == 21.5


async def test_what_is_no_number_is_null_and_bad():
    async with plant() as (simulator, bus):
        await bus.value("meter", "energy")
        simulator.plant.meter.put("holding", 100, math.nan, "float32")
        told = {"path": "energy", "value": None}
        await until(
            lambda: any(told.items() <= each.items() for each in bus.changes("meter")),
            "null",
        )
        assert "energy" in bus.faults("meter")


async def test_a_write_only_property_is_told_and_not_read():
    async with plant() as (simulator, bus):
        assert (await bus.set("heating", "trigger", True))["result"] is None
        assert simulator.plant.heating.bits["coil"][9]
        assert "trigger" not in bus.good("heating")


async def test_refresh_reads_everything_again():
    async with plant() as (simulator, bus):
        await bus.value("meter", "label")
        simulator.plant.meter.put("holding", 110, "changed")
        assert (await bus.call("meter", "refresh"))["ok"]
        assert bus.good("meter")["label"] == "changed"


async def test_a_refresh_of_a_unit_that_does_not_answer_fails():
    async with plant() as (simulator, bus):
        await bus.value("meter", "label")
        lease = (await bus.call("meter", "lock", {"polls": False}))["result"]["lease"]
        simulator.silent = {17}
        failed = error(await bus.call("meter", "refresh", {"_lease": lease}))
        assert failed["code"] == "timeout"


def refusing(execute, *codes):
    """Return what refuses the first reads of holding registers with these codes."""
    left = list(codes)
    return lambda pdu: (
        modbus.exception(pdu[0], left.pop(0)) if left and pdu[0] == 3 else execute(pdu)
    )


async def test_what_is_read_once_is_read_later_by_a_unit_that_is_busy_now():
    async with Simulator() as simulator:
        meter = simulator.plant.meter
        meter.execute = refusing(meter.execute, modbus.BUSY)
        async with running(SERVICE, ONCE.format(address=simulator.address)) as bus:
            assert "exception 6" in await bus.bad("meter", "label", "device")
            await bus.clock.advance(11)
            assert await bus.value("meter", "label") == "BB-0017"


ONCE = """
bridge: {{name: plant}}
devices:
  - name: meter
    address: "{address}::17"
    every: 0
    properties:
      - {{path: label, address: 110, type: string, length: 8, access: rw}}
      - {{path: b, address: 300}}
"""


async def test_a_refresh_reads_the_rest_of_a_unit_that_is_busy_and_fails():
    async with (
        Simulator() as simulator,
        running(SERVICE, ONCE.format(address=simulator.address)) as bus,
    ):
        await bus.value("meter", "b")
        meter = simulator.plant.meter
        meter.put("holding", 110, "changed")
        meter.execute = refusing(meter.execute, modbus.BUSY)
        assert (
            error(await bus.call("meter", "refresh"))["detail"]["code"] == modbus.BUSY
        )
        assert bus.good("meter")["label"] == "changed"


async def test_a_write_that_cannot_be_read_back_is_told_as_written():
    async with (
        Simulator() as simulator,
        running(SERVICE, ONCE.format(address=simulator.address)) as bus,
    ):
        await bus.value("meter", "b")
        meter = simulator.plant.meter
        meter.execute = refusing(meter.execute, modbus.ILLEGAL_ADDRESS)
        failed = error(await bus.set("meter", "label", "new"))
        assert (failed["code"], failed["detail"]["code"]) == ("device", 2)
        assert failed["message"].startswith("written, but not read back: exception 2")
        assert meter.words["holding"][220:224] == b"new\0"


async def test_polls_read_a_block_in_the_parts_that_a_refresh_took_it_into():
    text = (
        "bridge: {{name: plant}}\n"
        "devices: [{{name: meter, address: '{address}::17', every: 5,"
        " properties: [{{path: a, address: 100}}, {{path: b, address: 102}}]}}]"
    )
    async with (
        Simulator() as simulator,
        running(SERVICE, text.format(address=simulator.address)) as bus,
    ):
        await bus.value("meter", "b")
        meter = simulator.plant.meter
        meter.missing = {("holding", 101)}
        assert (await bus.call("meter", "refresh"))["ok"]
        meter.requests.clear()
        await bus.clock.advance(6)
        # the whole, then its parts
        await until(lambda: len(meter.requests) == 3, "the polls")
        await bus.value("meter", "b")
        meter.requests.clear()
        assert (await bus.call("meter", "refresh"))["ok"]
        assert sorted(each.address for each in meter.requests) == [100, 102]


async def test_neighbours_are_read_together_and_apart_where_the_unit_refuses():
    async with Simulator() as simulator:
        simulator.plant.meter.missing = {("holding", 104)}
        paths = "\n".join(
            f"      - {{path: r{address}, address: {address}, every: 0.05}}"
            for address in (100, 102, 104, 106)
        )
        text = f"""
bridge: {{name: plant}}
devices:
  - name: meter
    address: {simulator.address}::17
    properties:
{paths}
"""
        async with running(SERVICE, text) as bus:
            for address in (100, 102, 106):
                await bus.value("meter", f"r{address}")
            assert "illegal data address" in await bus.bad("meter", "r104", "device")
            assert simulator.plant.meter.requests[0] == Read("holding", 100, 7)
            assert (await bus.call("meter", "refresh"))["ok"]


async def test_a_silent_unit_goes_offline_and_its_mates_go_on_and_it_comes_back():
    text = PLANT + "      - {{path: serial, address: 300, every: 0}}\n"
    async with plant(text=text) as (simulator, bus):
        simulator.plant.heating.put("holding", 300, 9)
        assert (await bus.call("heating", "refresh"))["ok"]
        await bus.value("heating", "setpoint")
        assert await bus.value("heating", "serial") == 9
        simulator.silent = {18}
        status = await bus.status("heating", "offline")
        assert ("unit 18 did not answer within 0.5 s; 2 times in a row") in status[
            "reason"
        ]["message"]
        assert (await bus.value("heating", "_counts", lambda value: value["silences"]))[
            "silences"
        ] == 5  # two polls, each asked again, and one for what it has answered before
        assert error(await bus.set("heating", "relay", True))["code"] == "offline"
        before = len(simulator.plant.meter.requests)
        await until(
            lambda: len(simulator.plant.meter.requests) > before + 5, "the mate"
        )
        assert bus.retained("meter", "status")["state"] == "online"
        simulator.silent = set()
        await bus.clock.advance(10)
        await bus.status("heating", "online")
        await bus.value("heating", "setpoint")
        await bus.value("heating", "serial")  # what is read once, too


THREE = """
bridge: {{name: plant}}
channels: [{{name: line1, address: "{address}"}}]
devices:
  - {{name: meter, channel: line1, unit: 17, every: 0.5,
     properties: [{{path: energy, address: 100, type: float32}}]}}
  - {{name: heating, channel: line1, unit: 18, every: 0.5,
     properties: [{{path: setpoint, address: 40, scale: 0.1}}]}}
  - {{name: pump, channel: line1, unit: 19, every: 0.5,
     properties: [{{path: speed, table: input, address: 0}}]}}
"""


async def reads_in(seconds, *units):
    """Let virtual time go on; return how many requests each unit has had."""
    loop = asyncio.get_running_loop()
    for unit in units:
        unit.requests.clear()
    end = loop.time() + seconds
    while loop.time() < end:
        loop.shift += 0.02
        await settle()
    return [len(unit.requests) for unit in units]


@pytest.mark.parametrize("framing", ["tcp", "rtu"])
async def test_a_dead_unit_leaves_its_mates_nine_tenths_of_their_rate_and_comes_back(
    framing,
):
    """The whole bridge in virtual time.

    The plan of polling by itself is in test_polling.
    """
    async with (
        Simulator(framing=framing) as simulator,
        running(SERVICE, THREE.format(address=simulator.address)) as bus,
    ):
        simulator.slow = 0.05
        plant = simulator.plant
        mates = plant.meter, plant.heating
        await bus.value("pump", "speed")
        before = await reads_in(60, *mates)
        simulator.silent = {19}
        after = await reads_in(60, *mates)
        assert bus.retained("pump", "status")["state"] == "offline"
        assert all(
            now >= 0.9 * then for now, then in zip(after, before, strict=True)
        ), (before, after)
        simulator.silent = set()
        plant.pump.put("input", 0, 7)
        assert (await reads_in(32, plant.pump))[0] > 0  # a probe later at the latest
        assert bus.retained("pump", "status")["state"] == "online"
        assert bus.good("pump")["speed"] == 7
        again = await reads_in(60, *mates, plant.pump)
        assert all(
            now >= 0.9 * then
            for now, then in zip(again, [*before, before[0]], strict=True)
        ), (before, again)
        for name in ("meter", "heating"):
            assert bus.retained(name, "status")["state"] == "online"


async def test_a_unit_whose_answers_cannot_be_read_is_left_alone_like_a_silent_one():
    async with plant("rtu") as (simulator, bus):
        await bus.value("heating", "setpoint")
        simulator.plant.heating.execute, execute = (
            lambda pdu: b"\x65\x00",
            simulator.plant.heating.execute,
        )
        assert (
            "2 times in a row"
            in (await bus.status("heating", "offline"))["reason"]["message"]
        )
        before = len(simulator.plant.meter.requests)
        await until(
            lambda: len(simulator.plant.meter.requests) > before + 5, "the mate"
        )
        simulator.plant.heating.execute = execute
        await bus.clock.advance(10)
        await bus.status("heating", "online")


@pytest.mark.parametrize("code", [10, 11])
async def test_a_gateway_that_says_the_unit_is_silent_is_believed(code):
    async with plant() as (simulator, bus):
        simulator.plant.heating.execute = lambda pdu: modbus.exception(pdu[0], code)
        await bus.status("heating", "offline")
        # the unit's own
        simulator.plant.heating.execute = lambda pdu: modbus.exception(
            pdu[0], modbus.ILLEGAL_ADDRESS
        )
        await bus.clock.advance(10)
        await bus.status("heating", "online")


async def test_a_lost_connection_is_told_and_made_again():
    async with plant() as (simulator, bus):
        simulator.unplug()
        assert (await bus.status("meter", "offline"))["reason"]["code"] == "link"
        await simulator.plug()
        await bus.status("meter", "online")
        await bus.value("meter", "energy")


async def test_a_connection_that_is_closed_while_nobody_is_polled_is_noticed():
    text = (
        "bridge: {{name: plant}}\ndevices: [{{name: heating, address: "
        "'{address}::18'}}]"
    )
    async with plant(text=text) as (simulator, bus):
        simulator.unplug()
        await bus.clock.advance(2)
        assert (await bus.status("heating", "offline"))["reason"]["code"] == "link"


async def test_a_connection_that_only_seems_open_is_made_again():
    """Half-open TCP: it has answered before, and now nobody does."""
    async with plant() as (simulator, bus):
        await bus.value("meter", "energy")
        simulator.silent = {17, 18}
        said = partial(bus.broker.payloads, f"{bus.base}/meter/status")
        await in_a_while(
            bus, lambda: any(b"the connection is dead" in each for each in said())
        )
        simulator.silent = set()
        await in_a_while(
            bus, lambda: bus.retained("meter", "status")["state"] == "online"
        )


async def test_units_of_a_line_share_its_locks_and_its_name():
    async with plant() as (_, bus):
        assert bus.retained("meter", "info")["channel"] == "line1"
        assert (await bus.call("meter", "lock", {"ttl": 5}))["ok"]
        assert error(await bus.set("heating", "relay", True))["code"] == "locked"


async def test_what_happened_with_a_unit_is_told():
    async with plant() as (_, bus):
        await bus.call("meter", "refresh")
        told = await bus.value("meter", "_counts")
        assert told["requests"] > 0
        assert told["silences"] == told["garbled"] == told["late"] == 0


BROADCAST = """
bridge: {{name: plant}}
channels: [{{name: line1, address: "{address}", turnaround: 0.01}}]
devices:
  - name: heating
    channel: line1
    unit: 18
    properties: [{{path: relay, table: coil, address: 3, every: 0.05}}]
  - name: everyone
    channel: line1
    unit: 0
    properties: [{{path: relay, table: coil, address: 3, access: w}}]
"""


async def test_a_broadcast_reaches_all_units_and_waits_for_none():
    async with plant("rtu", BROADCAST) as (simulator, bus):
        await bus.value("heating", "relay", lambda value: value is False)
        assert (await bus.set("everyone", "relay", True))["result"] is None
        await bus.value("heating", "relay", lambda value: value is True)
        assert all(unit.bits["coil"][3] for unit in simulator.plant.units.values())
        assert (
            error(await bus.call("everyone", "read", {"address": 1}))["code"]
            == "bad_request"
        )


async def test_identification_goes_into_info():
    text = PLANT.replace("    unit: 17\n", "    unit: 17\n    identify: true\n")
    async with plant(text=text) as (simulator, bus):
        info = await bus.info("meter", lambda info: info.get("manufacturer"))
        assert (info["manufacturer"], info["model"], info["firmware"]) == (
            "Busbar",
            "Meter",
            "1.0",
        )
        requests = simulator.plant.meter.requests
        await until(
            lambda: sum(isinstance(each, Read) for each in requests) > 10, "more polls"
        )
        assert sum(each == Identify(3, 0) for each in requests) == 1


async def test_a_unit_that_does_not_know_who_it_is_works_all_the_same():
    text = PLANT.replace("    unit: 17\n", "    unit: 17\n    identify: true\n")
    async with Simulator() as simulator:
        simulator.plant.meter.identity.clear()
        async with running(SERVICE, text.format(address=simulator.address)) as bus:
            await bus.value("meter", "energy")
            assert error(await bus.call("meter", "identify"))["detail"]["code"] == 1


async def test_a_device_on_demand_is_opened_by_a_command():
    text = (
        "bridge: {{name: plant}}\n"
        "devices: [{{name: meter, address: '{address}::17', connect: on_demand, "
        "idle_close: 0.2,"
        " properties: [{{path: energy, address: 100, type: float32}}]}}]"
    )
    async with (
        Simulator() as simulator,
        running(SERVICE, text.format(address=simulator.address)) as bus,
    ):
        assert (await bus.status("meter", "online"))["reason"]["code"] == "idle"
        assert simulator.connections == 0
        assert (await bus.call("meter", "read", {"address": 100, "type": "float32"}))[
            "result"
        ] == 1234.5
        await bus.clock.advance(1)
        await until(lambda: simulator.connections == 0, "the end of the connection")
