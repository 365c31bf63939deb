"""A line offered to other masters: one connection to the device, many to us.

And the server's half by itself.
"""

import asyncio
from contextlib import asynccontextmanager

import pytest

from busbar.codecs import modbus
from busbar.codecs.modbus import Frame, Raw, Read, WriteCoil, WriteRegister
from busbar.errors import DeviceRefused, LinkLost
from busbar.net.streams import ByteStream, open_tcp
from busbar.testing.fakes import Clock, null_modem, until
from modbus_bridge.bridge import SERVICE
from modbus_bridge.master import ModbusMaster, Unit
from modbus_bridge.server import Server, converse
from modbus_bridge.simulator.__main__ import Simulator
from tests.broker import free_port
from tests.modbus_bridge.test_bridge import in_a_while
from tests.running import running

PLANT = """
bridge: {{name: plant}}
channels:
  - {{name: line1, address: "{address}",
     serve: {{listen: "127.0.0.1:{port}", access: {access}, clients: 2}}}}
devices:
  - name: meter
    channel: line1
    unit: 17
    timeout: 0.5
    properties: [{{path: energy, address: 100, type: float32, every: 0.05}}]
  - {{name: heating, channel: line1, unit: 18, timeout: 0.5}}
"""


@asynccontextmanager
async def offered(access="rw", framing="rtu"):
    port = free_port()
    async with Simulator(framing=framing) as simulator:
        text = PLANT.format(address=simulator.address, port=port, access=access)
        async with running(SERVICE, text) as bus:
            await bus.value("meter", "energy")
            yield simulator, bus, port


@asynccontextmanager
async def master(port):
    made = ModbusMaster(lambda: open_tcp("127.0.0.1", port, "master"), "tcp")
    await made.open()
    try:
        yield made
    finally:
        await made.close()


async def test_other_masters_use_the_one_connection():
    async with offered() as (simulator, _, port):
        async with master(port) as first, master(port) as second:
            answers = await asyncio.gather(
                first.ask(Unit(17, 20), Read("holding", 100, 2)),
                second.ask(Unit(18, 20), Read("coil", 3, 1)),
            )
            assert answers == [bytes.fromhex("449a5000"), [False]]
            await first.ask(Unit(18, 20), WriteCoil(3, True))
            assert simulator.plant.heating.bits["coil"][3]
            assert await first.ask(
                Unit(17, 20), Raw(0x44, bytes.fromhex("0502850a"))
            ) == bytes.fromhex("05010a")
        assert simulator.connections == 1


async def refused(made, unit, request):
    with pytest.raises(DeviceRefused) as caught:
        await made.ask(Unit(unit, 20), request)
    return caught.value.detail["code"]


async def test_exceptions_tell_masters_what_is_wrong():
    async with offered() as (simulator, _, port), master(port) as made:
        assert await refused(made, 17, Read("holding", 5000, 1)) == 2
        assert await refused(made, 99, Read("holding", 0, 1)) == 10  # not one of ours
        simulator.silent = {18}
        assert await refused(made, 18, Read("holding", 0, 1)) == 11


async def test_a_master_that_asks_a_unit_in_quarantine_does_not_hold_up_the_line():
    async with offered() as (simulator, bus, port), master(port) as made:
        simulator.silent = {17}
        await bus.status("meter", "offline")
        asked = simulator.asked
        assert await refused(made, 17, Read("holding", 100, 2)) == 11
        assert simulator.asked == asked  # nobody was asked
        simulator.silent = set()
        await bus.clock.advance(10)
        await bus.status("meter", "online")
        assert await made.ask(Unit(17, 20), Read("holding", 100, 2)) == bytes.fromhex(
            "449a5000"
        )


async def test_masters_leave_a_silent_unit_alone_that_nobody_polls():
    async with offered() as (simulator, bus, port), master(port) as made:
        heating, asked = simulator.plant.heating, []
        heating.execute, execute = asked.append, heating.execute  # silent
        for _ in range(5):
            assert await refused(made, 18, Read("coil", 3, 1)) == 11
        assert len(asked) == 2
        await bus.clock.advance(5)  # ten timeouts
        assert await refused(made, 18, Read("coil", 3, 1)) == 11
        assert len(asked) == 3
        heating.execute = execute
        await bus.clock.advance(5)
        assert await made.ask(Unit(18, 20), Read("coil", 3, 1)) == [False]


async def test_masters_only_read_unless_they_may_write():
    async with offered("r") as (simulator, _, port), master(port) as made:
        assert await refused(made, 18, WriteCoil(3, True)) == 1
        assert not simulator.plant.heating.bits["coil"][3]
        assert await made.ask(Unit(17, 20), Read("holding", 100, 2)) == bytes.fromhex(
            "449a5000"
        )


@pytest.mark.parametrize(
    "request_",
    [Raw(8, b"\0\4\0\0"), Raw(8, b"\0\1\xff\0"), Raw(43, b"\x0d\0"), Raw(22, b"\0")],
)
async def test_masters_that_only_read_cannot_make_a_unit_deaf(request_):
    async with offered("r") as (simulator, _, port), master(port) as made:
        before = list(simulator.plant.heating.requests)
        assert await refused(made, 18, request_) == 1
        assert list(simulator.plant.heating.requests) == before
        assert await made.ask(Unit(18, 20), Raw(8, b"\0\0\x12\x34")) == b"\0\0\x12\x34"
        assert (await made.ask(Unit(18, 20), Raw(43, b"\x0e\1\0")))[:2] == b"\x0e\1"


@pytest.mark.parametrize(
    ("pdu", "code"),
    [("0300", 3), ("030000007e", 3), ("03fffe0003", 2), ("1000000001", 3), ("00", 1)],
)
async def test_half_a_request_does_not_reach_the_line(pdu, code):
    async with offered() as (simulator, _, port):
        heard = []
        execute = simulator.plant.heating.execute
        simulator.plant.heating.execute = lambda asked: (
            heard.append(asked) or execute(asked)
        )
        stream = await open_tcp("127.0.0.1", port, "master")
        for frame in (
            Frame(18, bytes.fromhex(pdu), 1),
            Frame(18, Read("coil", 3, 1).encode(), 2),
        ):
            await stream.write(modbus.encode("tcp", frame))
        reader, got = modbus.reader("tcp", lambda unit, head: None), []
        while len(got) < 2:
            got += reader.feed(await stream.read())
        assert got[0].pdu == modbus.exception(int(pdu[:2], 16), code)
        assert got[1].pdu.hex() == "010100"
        assert heard == [Read("coil", 3, 1).encode()]
        await stream.close()


async def test_a_crowd_is_told_of_once(caplog):
    server = Server(echo, 1)
    async with server.listening("127.0.0.1", 0):
        streams = [await open_tcp("127.0.0.1", server.port, "client") for _ in range(4)]
        await until(lambda: server.turned_away == 3, "the crowd")
        assert caplog.text.count("turned away") == 1
        for each in streams:
            await each.close()


async def test_a_lock_that_pauses_polls_pauses_masters():
    async with offered() as (simulator, bus, port):
        lease = (await bus.call("heating", "lock", {"polls": False, "ttl": 60}))[
            "result"
        ]["lease"]
        async with master(port) as made:
            asked = asyncio.create_task(
                made.ask(Unit(18, 60), WriteRegister(40, b"\0\x07"))
            )
            await bus.call("heating", "read", {"address": 40, "_lease": lease})
            assert simulator.plant.heating.get("holding", 40) == 215
            await bus.call("heating", "unlock", {"_lease": lease})
            await asked
            assert simulator.plant.heating.get("holding", 40) == 7


async def test_a_locked_unit_is_read_by_masters_and_not_written():
    async with offered() as (simulator, bus, port), master(port) as made:
        lease = (await bus.call("heating", "lock", {"scope": "device", "ttl": 60}))[
            "result"
        ]["lease"]
        assert await refused(made, 18, WriteRegister(40, b"\0\x07")) == modbus.BUSY
        assert await made.ask(Unit(18, 20), Read("holding", 40, 1)) == b"\0\xd7"
        # the lock is not on this one
        await made.ask(Unit(17, 20), WriteRegister(40, b"\0\x07"))
        await bus.call("heating", "unlock", {"_lease": lease})
        await made.ask(Unit(18, 20), WriteRegister(40, b"\0\x07"))
        assert simulator.plant.heating.get("holding", 40) == 7


async def test_a_master_that_has_waited_too_long_is_told_to_come_again():
    async with offered() as (_, bus, port), master(port) as made:
        await bus.call("heating", "lock", {"polls": False, "ttl": 600})
        asked = asyncio.create_task(made.ask(Unit(18, 200), Read("holding", 40, 1)))
        await in_a_while(bus, asked.done)
        with pytest.raises(DeviceRefused, match="exception 6"):
            await asked


async def test_too_many_masters_are_turned_away_and_all_are_let_go_with_the_line():
    async with (
        offered() as (simulator, bus, port),
        master(port) as first,
        master(port) as second,
    ):
        for made in (first, second):
            await made.ask(Unit(17, 20), Read("holding", 100, 2))
        async with master(port) as third:
            with pytest.raises(LinkLost):
                await third.ask(Unit(17, 20), Read("holding", 100, 2))
        simulator.unplug()
        await bus.status("meter", "offline")
        with pytest.raises(LinkLost):
            await first.ask(Unit(17, 20), Read("holding", 100, 2))


async def test_an_address_that_cannot_be_had_is_told():
    async with Simulator() as simulator:
        text = PLANT.format(address=simulator.address, port=simulator.port, access="r")
        async with running(SERVICE, text) as bus:
            status = await bus.status("meter", "offline")
            await until(
                lambda: (
                    "cannot listen on" in str(bus.retained("meter", "status")["reason"])
                ),
                "the reason",
            )
            assert status["reason"]["code"] in ("link", "offline")


async def echo(unit, pdu):
    return pdu


@pytest.mark.parametrize("framing", ["rtu", "ascii"])
async def test_a_server_goes_on_behind_noise(framing):
    here, there = await null_modem()
    serving = asyncio.create_task(converse(there, framing, echo))
    await here.write(b"\x01\x03\xff" if framing == "rtu" else b":0103\r\nxx:")
    if framing == "rtu":
        await Clock().advance(0.25)  # the silence that ends the noise
    frame = Frame(1, Read("holding", 1, 1).encode())
    await here.write(modbus.encode(framing, frame))
    reader = modbus.reader(framing, lambda unit, head: 5)
    assert reader.feed(await here.read()) == [frame]
    await here.close()
    await serving
    await there.close()


async def test_a_master_that_says_nothing_is_let_go():
    here, there = await null_modem()
    await asyncio.wait_for(converse(there, "tcp", echo, idle=0.01), 20)
    for each in (here, there):
        await each.close()


async def test_a_master_that_says_nothing_gives_its_place_to_another():
    server = Server(echo, 1)
    async with server.listening("127.0.0.1", 0):
        stream = await open_tcp("127.0.0.1", server.port, "client")
        await until(lambda: server.connections == 1, "the connection")
        asyncio.get_running_loop().shift += 601
        await until(lambda: server.connections == 0, "its end")
        await stream.close()


async def test_a_server_closes_what_is_connected_when_it_ends():
    server = Server(echo, 2)
    async with server.listening("127.0.0.1", 0):
        stream: ByteStream = await open_tcp("127.0.0.1", server.port, "client")
        await until(lambda: server.connections == 1, "the connection")
    assert server.connections == 0
    with pytest.raises(LinkLost):
        await stream.read()
    await stream.close()
