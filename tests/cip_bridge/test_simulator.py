"""The simulator as a program, and its faults."""

import asyncio
import json
import signal
import sys
from contextlib import asynccontextmanager

from busbar.codecs import cip
from busbar.net.streams import open_tcp
from busbar.testing.fakes import Clock
from cip_bridge.processor_role.panel_connection import SIGN_ON_LIMIT
from cip_bridge.simulator.__main__ import Simulator
from tests.cip_bridge.peer import QUERY, START, Peer, serial

LIMIT = 30.0  # s; generous, only a failure needs it


@asynccontextmanager
async def program(*arguments):
    """python -m cip_bridge.simulator, ready. Gives its process and its port."""
    command = (sys.executable, "-m", "cip_bridge.simulator.__main__", *arguments)
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(LIMIT):
            ready = json.loads(await process.stdout.readline())
        yield process, ready["CIP_PORT"]
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@asynccontextmanager
async def panel(port):
    stream = await open_tcp("127.0.0.1", port, "panel")
    try:
        yield Peer(stream)
    finally:
        await stream.close()


async def test_it_serves_a_panel_and_ends_when_told():
    async with program() as (process, port):
        async with panel(port) as peer:
            await peer.hears(cip.Hello())
            await peer.says(cip.Connect(0x0A), START)
            await peer.hears(serial(1, "Theatre"))
            await peer.hears(QUERY)
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(LIMIT):
            assert await process.wait() == 0


async def test_while_it_boots_panels_wait_and_are_greeted_afterwards():
    async with Simulator() as simulator:
        simulator.begin_boot()
        async with panel(simulator.listener.port) as peer:
            assert await peer.hears(cip.Hello) == cip.Hello(cip.BOOTING)
            await Clock().advance(SIGN_ON_LIMIT * 2)
            simulator.end_boot()
            assert await peer.hears(cip.Hello) == cip.Hello(cip.READY)
            await Clock().advance(SIGN_ON_LIMIT / 2)
            await peer.says(cip.Connect(0x0A))
            assert (await peer.hears(cip.ConnectResult)).accepted


async def test_who_is_signed_on_is_not_greeted_again():
    async with Simulator() as simulator, panel(simulator.listener.port) as peer:
        await peer.says(cip.Connect(0x0A))
        await peer.hears(cip.ConnectResult)
        simulator.begin_boot()
        simulator.end_boot()
        await peer.says(cip.Ping())
        await peer.hears(cip.Pong)
        assert [each for each in peer.heard if isinstance(each, cip.Hello)] == [
            cip.Hello()
        ]


async def test_who_signs_on_while_it_boots_is_refused():
    async with Simulator() as simulator:
        simulator.begin_boot()
        async with panel(simulator.listener.port) as peer:
            await peer.says(cip.Connect(0x0A))
            assert await peer.hears(cip.ConnectResult) == cip.UNKNOWN_IPID


async def test_a_text_that_is_too_long_to_be_said_back_costs_its_feedback_only():
    async with Simulator() as simulator, panel(simulator.listener.port) as peer:
        # it answers in UTF-16
        await peer.says(cip.Connect(0x0A), serial(90, "é" * 60_000), serial(91, "x"))
        await peer.hears(serial(91, "x"))
        assert simulator.seat.panels


async def test_it_boots_for_a_while():
    async with program("--boot", "0.5") as (_, port), panel(port) as peer:
        assert await peer.hears(cip.Hello) == cip.Hello(cip.BOOTING)
        assert await peer.hears(cip.Hello) == cip.Hello(cip.READY)


async def test_it_refuses_and_asks_for_credentials_on_request():
    async with program("--refuse") as (_, port), panel(port) as peer:
        await peer.says(cip.Connect(0x0A))
        assert await peer.hears(cip.ConnectResult) == cip.UNKNOWN_IPID
    async with (
        program("--login", "admin:secret", "--ipid", "0x20") as (_, port),
        panel(port) as peer,
    ):
        await peer.says(cip.Connect(0x20), cip.Authenticate(0x20, "admin", "secret"))
        assert await peer.hears(cip.AuthResult) == cip.AuthResult(0x20, True)


async def test_a_port_that_is_taken_is_named():
    async with program() as (_, port):
        command = (
            sys.executable,
            "-m",
            "cip_bridge.simulator.__main__",
            "--cip-port",
            str(port),
        )
        process = await asyncio.create_subprocess_exec(
            *command, stderr=asyncio.subprocess.PIPE
        )
        _, error = await process.communicate()
        assert process.returncode == 1
        assert b"simulator: " in error
