"""Meters and inverters as they are.

Each test is a fault that owners have met; the unit is a fake that has it.
"""

from collections.abc import Callable
from contextlib import asynccontextmanager

import pytest

from busbar.codecs import modbus
from busbar.codecs.modbus import Read, WriteRegister
from busbar.codecs.modbus.values import Plain
from busbar.testing.fakes import until
from modbus_bridge.bridge import SERVICE
from modbus_bridge.server import Server
from modbus_bridge.simulator.plant import Unit
from tests.running import running

HEAD = """
bridge: {{name: plant}}
devices:
  - name: meter
    address: modbus::tcp::127.0.0.1:{port}::7
    timeout: 0.2
"""


class Fake:
    """A unit on TCP; `answer` may change or withhold what it says."""

    def __init__(self):
        self.unit = Unit()
        self.asked = []
        self.answer: Callable[[bytes, bytes], bytes | None] = lambda pdu, said: said

    async def handle(self, unit, pdu):
        self.asked.append(modbus.decode(pdu))
        return self.answer(pdu, self.unit.execute(pdu))

    def put(self, address, value, type_="uint16"):
        self.unit.put("holding", address, value, type_)


@asynccontextmanager
async def plant(text, prepare=lambda fake: None):
    fake = Fake()
    prepare(fake)
    server = Server(fake.handle, 5)
    async with (
        server.listening("127.0.0.1", 0),
        running(SERVICE, (HEAD + text).format(port=server.port)) as bus,
    ):
        yield fake, bus


def withhold(*addresses):
    """Return an answer that ignores reads of any of these addresses."""

    def answer(pdu, said):
        request = modbus.decode(pdu)
        if isinstance(request, Read):
            span = range(request.address, request.address + request.count)
            if any(each in span for each in addresses):
                return None
        return said

    return answer


ABSENT = """
    properties:
      - {{path: volts, address: 0, scale: 0.1, absent: 0xFFFF, every: 0.05}}
      - {{path: amps, address: 1, type: int16, scale: 0.1, absent: 0x8000, every: 0.05}}
      - {{path: power, address: 2, type: int32, order: little_swap,
         absent: [0x7FFFFFFF, -1], every: 0.05}}
      - {{path: level, address: 4, type: float32, absent: 0x7FC00000, every: 0.05}}
      - {{path: mode, address: 6, choices: {{0: run}}, absent: 255, every: 0.05}}
"""


async def test_a_value_that_means_none_is_null_and_bad():
    """M1: 6553.5 V is none."""

    def prepare(fake):
        fake.put(0, 0xFFFF)
        fake.put(1, -32768, "int16")
        words = Plain("int32", "little_swap").encode(2**31 - 1)
        fake.unit.words["holding"][4:8] = words
        fake.put(4, float("nan"), "float32")
        fake.put(6, 255)

    async with plant(ABSENT, prepare) as (fake, bus):
        for path in ("volts", "amps", "power", "level", "mode"):
            assert "not available: the unit says" in await bus.bad(
                "meter", path, "device"
            )
        told = {each["path"]: each for each in bus.changes("meter")}
        assert told["volts"]["value"] is None
        assert told["mode"]["value"] is None
        fake.put(0, 2301)
        fake.put(6, 0)
        assert await bus.value("meter", "volts") == 230.1
        assert await bus.value("meter", "mode") == "run"
        before = len(bus.changes("meter"))
        await bus.clock.advance(1)
        changed = bus.changes("meter")[before:]
        assert not [each for each in changed if each["path"] != "_counts"]


SILENT = """
    probe: 5
    properties:
      - {{path: a, address: 10, every: 0.05}}
      - {{path: b, address: 11, every: 0.05}}
      - {{path: c, address: 12, every: 0.05}}
      - {{path: d, address: 14, every: 0.05}}
"""


@pytest.mark.parametrize("first", [(), (12, 13)], ids=["later", "from the start"])
async def test_a_silent_address_costs_its_value_only(first):
    """M2: addresses 12 and 13 are ignored, and the unit stays."""

    def prepare(fake):
        for address in (10, 11, 12, 14):
            fake.put(address, address)
        fake.answer = withhold(*first)

    async with plant(SILENT, prepare) as (fake, bus):
        await bus.value("meter", "d")
        fake.answer = withhold(12, 13)
        said = await bus.bad("meter", "c", "timeout")
        assert said == "holding 12: unit 7 did not answer within 0.2 s"
        for path, value in (("a", 10), ("b", 11), ("d", 14)):
            assert await bus.value("meter", path) == value
        assert bus.retained("meter", "status")["state"] == "online"
        assert bus.faults("meter").keys() == {"c"}
        fake.answer = lambda pdu, said: said
        await bus.clock.advance(6)
        assert await bus.value("meter", "c") == 12


async def test_a_short_answer_to_a_block_is_followed_to_its_address():
    def short(pdu, said):
        request = modbus.decode(pdu)
        end = request.address + request.count
        return said if not request.address <= 12 < end else said[:1] + b"\x00"

    def prepare(fake):
        fake.answer = short

    async with plant(SILENT, prepare) as (_, bus):
        assert "holding 12: " in await bus.bad("meter", "c", "protocol")
        await bus.value("meter", "d")
        assert bus.faults("meter").keys() == {"c"}


async def test_a_unit_that_is_silent_is_offline_and_comes_back():
    async with plant(SILENT) as (fake, bus):
        await bus.value("meter", "a")
        fake.answer = lambda pdu, said: None
        await bus.status("meter", "offline")
        fake.answer = lambda pdu, said: said
        await bus.clock.advance(60)
        await bus.status("meter", "online")


async def test_a_lost_answer_is_asked_for_again():
    """M4: each fifth answer is lost, and no value is bad."""
    lost = iter(range(1, 10_000))

    def every_fifth(pdu, said):
        return None if next(lost) % 5 == 0 else said

    def prepare(fake):
        fake.answer = every_fifth

    async with plant(SILENT, prepare) as (fake, bus):
        await until(lambda: len(fake.asked) > 60, "polls", 60)
        assert not bus.faults("meter")
        assert bus.retained("meter", "status")["state"] == "online"


async def test_an_address_of_a_data_sheet_is_explained():
    """M13: 40001 is an address of the wire, too."""
    text = "    properties: [{{path: a, address: 40001, every: 0.1}}]\n"
    async with plant(text) as (_, bus):
        said = await bus.bad("meter", "a", "device")
        assert said.startswith("holding 40001: ")
        assert said.endswith("40001 of a data sheet that counts so is holding 0")


async def test_a_device_is_online_when_its_unit_has_answered():
    def prepare(fake):
        fake.answer = lambda pdu, said: None

    async with plant(SILENT, prepare) as (_, bus):
        base = f"{bus.base}/meter/status"
        said = b"unit 7 did not answer within 0.2 s"
        await until(
            lambda: any(said in each for each in bus.broker.payloads(base)), "offline"
        )
        assert not [x for x in bus.broker.payloads(base) if b'"online"' in x]


SCALED = """
    properties:
      - {{path: watts, address: 0, type: int16, scale_from: watts_sf, absent: 0x8000,
         access: rw, every: 0.05}}
      - {{path: watts_sf, address: 100, type: int16, absent: 0x8000, every: 0.05}}
      - {{path: high, address: 2, scale: 65536, every: 0.05}}
      - {{path: low, address: 50, every: 0.05}}
      - {{path: third, address: 3, scale: 0.333333, precision: 2, every: 0.05}}
    sums: [{{path: total, of: [high, low]}}, {{path: less, of: [low, -high]}}]
"""


async def test_a_scale_factor_is_in_another_register():
    """M8: SunSpec and alike."""

    def prepare(fake):
        fake.put(0, 1234, "int16")
        fake.put(100, -1, "int16")

    async with plant(SCALED, prepare) as (fake, bus):
        assert await bus.value("meter", "watts") == 123.4
        assert (await bus.set("meter", "watts", 50))["result"] == 50
        assert fake.unit.get("holding", 0) == 500
        fake.put(100, 1, "int16")
        await bus.value("meter", "watts", lambda value: value == 5000)
        fake.put(100, -32768, "int16")
        assert "watts_sf has no value" in await bus.bad("meter", "watts", "device")


async def test_sums_and_precision():
    def prepare(fake):
        fake.put(2, 1)
        fake.put(3, 2)
        fake.put(50, 5)

    async with plant(SCALED, prepare) as (fake, bus):
        assert await bus.value("meter", "total") == 65541
        assert await bus.value("meter", "less") == 5 - 65536
        assert await bus.value("meter", "third") == 0.67
        fake.answer = withhold(50)
        assert "holding 50: " in await bus.bad("meter", "low", "timeout")
        assert "holding 50: " in await bus.bad("meter", "total", "timeout")


DOGS = """
    properties:
      - {{path: remote, address: 5, access: rw, every: 10}}
      - {{path: limit, address: 6, access: rw, every: 10}}
    watch_dog:
      - {{path: remote, value: 1, every: 2}}
      - {{path: limit, every: 2, lapse: 7, fallback: 100}}
"""


async def test_a_watchdog_is_fed_and_what_nobody_sets_any_more_falls_back():
    """M9: remote control ends unless it is written again and again."""

    def written(fake, address):
        found = [each for each in fake.asked if isinstance(each, WriteRegister)]
        return [int.from_bytes(x.data) for x in found if x.address == address]

    async with plant(DOGS) as (fake, bus):
        await until(lambda: written(fake, 5), "the first")
        await bus.clock.advance(2)
        await until(lambda: len(written(fake, 5)) > 1, "the second")
        assert set(written(fake, 5)) == {1}
        assert not written(fake, 6)
        assert (await bus.set("meter", "limit", 3000))["ok"]
        await bus.clock.advance(3)
        await until(lambda: written(fake, 6)[-2:] == [3000, 3000], "again")
        await bus.clock.advance(8)
        await until(lambda: written(fake, 6)[-1] == 100, "the fall-back")
        count = len(written(fake, 6))
        await bus.clock.advance(20)
        assert len(written(fake, 6)) == count


async def test_the_outcome_of_a_write_whose_answer_is_lost_is_a_timeout():
    def prepare(fake):
        fake.answer = lambda pdu, said: None if pdu[0] == 6 else said

    async with plant(DOGS, prepare) as (_, bus):
        await bus.value("meter", "limit")
        assert (await bus.set("meter", "limit", 5))["error"]["code"] == "timeout"


SUNSPEC = """
    properties:
      - {{path: watts, sunspec: [101, 103], address: 14, type: int16,
         scale_from: watts_sf, every: 0.1}}
      - {{path: watts_sf, sunspec: [101, 103], address: 15, type: int16, every: 0.1}}
      - {{path: meter, sunspec: [203], address: 18, type: int16, every: 0.1}}
"""


@pytest.mark.parametrize("base", [0, 40000])
async def test_models_of_sunspec_are_found(base, monkeypatch):
    monkeypatch.setattr("modbus_bridge.simulator.plant.SIZE", 41000)

    def prepare(fake):
        fake.unit = Unit()
        words = [0x5375, 0x6E53, 1, 4, 0, 0, 0, 0, 103, 50]
        for at, word in enumerate(words):
            fake.put(base + at, word)
        start = base + 8
        fake.put(start + 14, 4321, "int16")
        fake.put(start + 15, -2, "int16")
        fake.put(start + 52, 0xFFFF)

    async with plant(SUNSPEC, prepare) as (_, bus):
        assert await bus.value("meter", "watts") == 43.21
        await bus.info("meter", lambda info: "meter" not in info["properties"])
        assert "watts" in bus.retained("meter", "info")["properties"]


async def test_a_unit_without_sunspec_says_so():
    async with plant(SUNSPEC) as (_, bus):
        assert "no SunSpec: holding 40000" in await bus.bad(
            "meter", "watts", "protocol"
        )
