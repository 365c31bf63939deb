"""Every way to a unit: TCP, TLS, UDP, serial ports, in every framing."""

import asyncio
import contextlib
import ssl

import pytest

from busbar.codecs import modbus
from busbar.codecs.modbus import Frame
from busbar.net.streams import ByteStream
from busbar.net.tls import server_context
from busbar.testing.fakes import until
from modbus_bridge.bridge import SERVICE
from modbus_bridge.server import converse
from modbus_bridge.simulator.__main__ import Simulator
from modbus_bridge.simulator.plant import Plant
from tests.certificates import fingerprint, self_signed
from tests.modbus_bridge.peers import cable
from tests.running import running

METER = """
bridge: {{name: plant}}
devices:
  - name: meter
    address: {address}
    unit: 17
    timeout: 2
    {more}
    properties: [{{path: energy, address: 100, type: float32, access: rw, every: 0.05}}]
"""


async def works(address, more=""):
    """See that a unit is read and written there."""
    async with running(SERVICE, METER.format(address=address, more=more)) as bus:
        assert await bus.value("meter", "energy") == 1234.5
        assert (await bus.set("meter", "energy", 2.5))["result"] == 2.5


@pytest.mark.parametrize("framing", ["rtu", "ascii", "tcp"])
async def test_a_unit_on_a_serial_port(framing, tmp_path):
    async with (
        cable(tmp_path) as (ours, theirs),
        Simulator() as simulator,
        simulator.on_serial(theirs, framing),
    ):
        await works(f"modbus::{framing}::{ours}::115200::8N1")


async def test_frames_on_a_serial_port_are_apart_by_its_speed(tmp_path):
    text = METER.partition("    properties")[0]
    loop = asyncio.get_running_loop()
    async with (
        cable(tmp_path) as (ours, theirs),
        Simulator() as simulator,
        simulator.on_serial(theirs),
        running(
            SERVICE, text.format(address=f"modbus::rtu::{ours}::300::8N1", more="")
        ) as bus,
    ):
        await bus.status("meter", "online")
        before = loop.time()
        for _ in range(2):
            assert (await bus.call("meter", "read", {"address": 100}))["ok"]
        assert loop.time() - before >= 3.5 * 10 / 300


async def test_an_adapter_that_is_unplugged_is_a_lost_link_until_it_is_back(tmp_path):
    """As with a USB adapter: reads fail, then the port is not there."""
    text = METER.format(
        address=f"modbus::rtu::{tmp_path / 'one'}::115200::8N1", more=""
    )
    async with Simulator() as simulator, contextlib.AsyncExitStack() as plugged:
        _, theirs = await plugged.enter_async_context(cable(tmp_path))
        serving = simulator.on_serial(theirs)
        await serving.__aenter__()
        async with running(SERVICE, text) as bus:
            await bus.value("meter", "energy")
            await plugged.aclose()
            assert (await bus.status("meter", "offline"))["reason"]["code"] == "link"
            await until(
                lambda: "cannot open" in str(bus.retained("meter", "status")["reason"]),
                "the reason",
            )
            async with cable(tmp_path) as (_, theirs), simulator.on_serial(theirs):
                await bus.status("meter", "online")
                await bus.value("meter", "energy")
        await serving.__aexit__(None, None, None)


class Datagrams(asyncio.DatagramProtocol):
    """A plant that is reached by UDP."""

    def __init__(self):
        self.plant, self.tasks = Plant(), set()

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, address):
        task = asyncio.create_task(self.answer(data, address))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def answer(self, data, address):
        for frame in modbus.reader("tcp", lambda unit, head: None).feed(data):
            answer = Frame(
                frame.unit,
                await self.plant.handle(frame.unit, frame.pdu),
                frame.transaction,
            )
            self.transport.sendto(modbus.encode("tcp", answer), address)


async def test_a_unit_by_udp():
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(Datagrams, ("127.0.0.1", 0))
    try:
        await works(f"modbus::udp::127.0.0.1:{transport.get_extra_info('sockname')[1]}")
    finally:
        transport.close()


async def test_a_udp_port_where_nobody_is_is_a_lost_link():
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(Datagrams, ("127.0.0.1", 0))
    port = transport.get_extra_info("sockname")[1]
    transport.close()
    async with running(
        SERVICE, METER.format(address=f"modbus::udp::127.0.0.1:{port}", more="")
    ) as bus:
        status = await bus.status("meter", "offline")
        assert status["reason"]["code"] in ("link", "offline")
        await until(
            lambda: "refused" in str(bus.retained("meter", "status")["reason"]),
            "the reason",
        )


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    return self_signed(tmp_path_factory.mktemp("tls"))


class Secure:
    """A plant inside TLS, which asks for a certificate, too."""

    def __init__(self, certificate):
        self.context = server_context(*certificate)
        self.context.load_verify_locations(certificate[0])
        self.context.verify_mode = ssl.CERT_REQUIRED
        self.plant = Plant()

    async def serve(self, reader, writer):
        stream = ByteStream(reader, writer, "secure")
        await converse(stream, "tcp", self.plant.handle)
        await stream.close()


async def test_a_unit_inside_tls_that_knows_us_by_our_certificate(certificate):
    plant = Secure(certificate)
    server = await asyncio.start_server(plant.serve, "127.0.0.1", 0, ssl=plant.context)
    address = f"modbus::tls::127.0.0.1:{server.sockets[0].getsockname()[1]}"
    cert, key = certificate
    await works(
        address,
        (
            f"fingerprint: {fingerprint(cert)}\n    "
            f"cert_file: {cert}\n    key_file: {key}"
        ),
    )
    async with running(SERVICE, METER.format(address=address, more="")) as bus:
        await until(
            lambda: "not trusted" in str(bus.retained("meter", "status")["reason"]),
            "the reason",
        )
    server.close()
    await server.wait_closed()
