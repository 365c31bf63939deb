"""The simulated instruments over plain sockets.

What a bridge, a demo and the tests of the bridge rely on.
"""

import asyncio
import json
import signal
import struct
import sys
from contextlib import asynccontextmanager

import pytest

from busbar.codecs.ieee488 import BlockReader, parse_error, parse_number
from scpi_bridge.simulator.__main__ import HOST, LINE_LIMIT, Simulator


class Peer:
    """A client that knows lines and nothing else."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer

    def send(self, *lines):
        self.writer.write(b"".join(line.encode() + b"\n" for line in lines))

    async def line(self):
        async with asyncio.timeout(10):
            return (await self.reader.readuntil(b"\n"))[:-1]

    async def ask(self, *lines):
        """Send the lines and return the answer to the last one."""
        self.send(*lines)
        return (await self.line()).decode()

    async def error(self, *lines):
        return parse_error(await self.ask(*lines, "SYST:ERR?"))[0]

    async def closed(self):
        """Wait for the other side to close, gently or not."""
        async with asyncio.timeout(10):
            try:
                return await self.reader.read() == b""
            except ConnectionError:
                return True


@asynccontextmanager
async def connected(endpoint):
    reader, writer = await asyncio.open_connection(HOST, endpoint.port)
    try:
        yield Peer(reader, writer)
    finally:
        writer.close()


async def received(endpoint, line):
    async with asyncio.timeout(10):
        await endpoint.received(line)


async def assert_unanswered(simulator, peer):
    """Another connection is served; this one has its answer still to come."""
    answer = asyncio.ensure_future(peer.line())
    async with connected(simulator.psu) as other:
        assert await other.ask("*OPC?") == "1"
    assert not answer.done()
    answer.cancel()


@pytest.fixture
async def simulator():
    async with Simulator() as running:
        yield running


@pytest.fixture
async def psu(simulator):
    async with connected(simulator.psu) as peer:
        yield peer


@pytest.fixture
async def dmm(simulator):
    async with connected(simulator.dmm) as peer:
        yield peer


async def test_both_instruments_say_who_they_are(psu, dmm):
    assert await psu.ask("*IDN?") == "BUSBAR,PSU-SIM 30-5,SIM0001,1.0"
    assert await dmm.ask("*IDN?") == "BUSBAR,DMM-SIM 6,SIM0002,1.0"


async def test_the_address_names_the_loopback_port(simulator):
    assert simulator.psu.address == f"tcp::127.0.0.1:{simulator.psu.port}"
    assert simulator.dmm.address == f"tcp::127.0.0.1:{simulator.dmm.port}"


async def test_the_same_seed_gives_the_same_readings():
    readings = []
    for _ in range(2):
        async with Simulator(seed=5) as simulator, connected(simulator.psu) as peer:
            readings.append(await peer.ask("VOLT 5;:OUTP ON", "MEAS:VOLT?;:MEAS:VOLT?"))
    assert readings[0] == readings[1]
    assert len(set(readings[0].split(";"))) == 2


async def test_the_trace_is_a_block_of_big_endian_floats(psu):
    psu.send("SOUR2:VOLT 9;:OUTP2 ON", "TRAC2:POIN 300", "TRAC2:DATA?")
    blocks = BlockReader()
    async with asyncio.timeout(10):
        while (payload := blocks.message()) is None:
            blocks.feed(await psu.reader.read(100))
        while not blocks.terminated:
            blocks.feed(await psu.reader.read(100))
            blocks.message()
    assert struct.unpack(">300f", payload) == pytest.approx([9.0] * 300, rel=0.01)
    assert blocks.rest == b""
    assert await psu.ask("TRAC2:POIN?") == "300"


async def test_both_measure_the_same_circuit(simulator, psu, dmm):
    simulator.psu.device.channels[0].load = 24.0
    assert await psu.ask("VOLT 12;CURR 5;:OUTP ON;*OPC?") == "1"
    assert parse_number(await psu.ask("MEAS:CURR?")) == pytest.approx(0.5, rel=0.01)
    assert parse_number(await dmm.ask("MEAS:CURR?")) == pytest.approx(0.5, rel=0.01)


async def test_a_line_above_the_limit_is_dropped_with_an_error(psu):
    assert await psu.error("x" * (3 * LINE_LIMIT)) == -363
    assert await psu.ask("*OPC?") == "1"


async def test_random_bytes_do_not_stop_it(psu):
    psu.writer.write(
        bytes(range(256)) * 20 + b"\n;;;:\n*\n:?\n?\n'\"\n" + "é?\n".encode()
    )
    psu.send("*CLS")
    assert await psu.ask("SYST:ERR:COUN?") == "0"


async def test_several_connections_share_one_instrument(simulator, psu):
    async with connected(simulator.psu) as other:
        assert await other.ask("VOLT 8;*OPC?") == "1"
        assert await psu.ask("VOLT?") == "8.0000"
        assert (
            simulator.psu.accepted,
            simulator.psu.connections,
            simulator.dmm.accepted,
        ) == (2, 2, 0)


async def test_it_keeps_what_it_received(simulator, psu):
    await psu.ask("VOLT 3", "volt?")
    assert list(simulator.psu.lines) == ["VOLT 3", "volt?"]
    psu.send(*["*CLS"] * 2000)
    await psu.ask("*OPC?")
    assert len(simulator.psu.lines) == 1000


async def test_a_silent_instrument_swallows_queries_and_takes_commands(simulator, psu):
    simulator.psu.silent = True
    psu.send("VOLT 6", "*IDN?")
    await received(simulator.psu, "*IDN?")
    simulator.psu.silent = False
    assert await psu.ask("VOLT?") == "6.0000"


async def test_a_slow_answer_holds_up_its_connection_and_no_other(simulator, psu):
    simulator.psu.slow = 3600
    psu.send("*IDN?")
    await received(simulator.psu, "*IDN?")
    simulator.psu.slow = 0
    await assert_unanswered(simulator, psu)


async def test_a_late_answer_still_comes_first(simulator, psu):
    simulator.psu.late(1, 0.05)
    psu.send("*IDN?", "*OPC?", "VOLT?")
    assert [await psu.line() for _ in range(3)] == [
        b"BUSBAR,PSU-SIM 30-5,SIM0001,1.0",
        b"1",
        b"0.0000",
    ]


async def test_only_the_next_queries_are_late(simulator, psu):
    simulator.psu.late(1, 3600)
    psu.send("*IDN?")
    await received(simulator.psu, "*IDN?")
    await assert_unanswered(simulator, psu)


async def test_garbled_answers_are_lines_outside_utf8(simulator, psu):
    simulator.psu.garbled = 2
    psu.send("*IDN?", "VOLT?", "*OPC?")
    for _ in range(2):
        with pytest.raises(UnicodeDecodeError):
            (await psu.line()).decode()
    assert await psu.line() == b"1"


async def test_drop_closes_all_connections_and_new_ones_are_accepted(simulator, psu):
    async with connected(simulator.psu) as other:
        assert await psu.ask("VOLT 3;*OPC?") == await other.ask("*OPC?")
        simulator.psu.drop()
        assert await psu.closed()
        assert await other.closed()
    async with connected(simulator.psu) as again:
        assert await again.ask("VOLT?") == "3.0000"


async def test_refuse_keeps_connections_and_refuses_new_ones_until_accept(
    simulator, psu
):
    port = simulator.psu.port
    await psu.ask("*OPC?")
    simulator.psu.refuse()
    simulator.psu.refuse()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(HOST, port)
    assert await psu.ask("*OPC?") == "1"
    await simulator.psu.accept()
    async with connected(simulator.psu) as other:
        assert await other.ask("*OPC?") == "1"
    assert simulator.psu.port == port


async def test_leaving_closes_everything_and_leaves_no_task_behind():
    before = asyncio.all_tasks()
    async with Simulator() as simulator, connected(simulator.psu) as peer:
        simulator.psu.late(1, 3600)
        peer.send("*IDN?")
        await received(simulator.psu, "*IDN?")
        port = simulator.psu.port
        await simulator.__aexit__(None, None, None)
        assert await peer.closed()
        assert asyncio.all_tasks() == before
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(HOST, port)


async def test_an_error_of_the_caller_comes_out_as_it_is():
    with pytest.raises(KeyError):
        async with Simulator():
            raise KeyError("mine")


async def test_a_port_that_is_taken_is_an_error_and_the_other_one_is_released(
    simulator,
):
    other = Simulator(dmm_port=simulator.psu.port)
    with pytest.raises(OSError, match="already in use"):
        await other.__aenter__()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(HOST, other.psu.port)


async def test_a_client_that_closes_its_half_still_gets_its_answers(psu):
    psu.send("*OPC?", "VOLT?")
    psu.writer.write_eof()
    async with asyncio.timeout(10):
        assert await psu.reader.read() == b"1\n0.0000\n"


@asynccontextmanager
async def program(*arguments):
    """Run the command line and end it whatever happens."""
    pipe = asyncio.subprocess.PIPE
    command = (sys.executable, "-m", "scpi_bridge.simulator.__main__", *arguments)
    process = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe)
    try:
        async with asyncio.timeout(60):
            yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_the_program_prints_its_ports_and_ends_cleanly_on_a_signal(number):
    async with program("--slow", "0") as process:
        ports = json.loads(await process.stdout.readline())
        assert set(ports) == {"PSU_PORT", "DMM_PORT"}
        reader, writer = await asyncio.open_connection(HOST, ports["DMM_PORT"])
        writer.write(b"*IDN?\n")
        assert await reader.readuntil(b"\n") == b"BUSBAR,DMM-SIM 6,SIM0002,1.0\n"
        process.send_signal(number)
        assert await process.communicate() == (b"", b"")
        assert process.returncode == 0
        writer.close()


async def test_the_program_says_in_one_line_that_a_port_is_taken(simulator):
    async with program("--psu-port", str(simulator.psu.port)) as process:
        output, complaint = await process.communicate()
        assert (output, complaint.count(b"\n"), process.returncode) == (b"", 1, 1)
