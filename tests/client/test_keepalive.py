"""How long a cut link can deceive: the keepalive of bridge, client and command line."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from busbar.client import Client, DeviceView, NotConnected
from busbar.net.endpoint import KEEPALIVES, Endpoint
from busbar.testing.fakes import until
from scpi_bridge.simulator.__main__ import Simulator
from tests.broker import Mosquitto
from tests.cli.command import busbar
from tests.process import BENCH, BridgeProcess
from tests.proxy import Proxy

LIMIT = 60.0  # s; generous, only something broken needs it
CONNECT = 0x10
KEPT = "bridge: {{name: bench}}\nbroker: {{keepalive: {keepalive}}}\ndevices: []\n"


async def asked(connect: Callable[[str], Awaitable[object]]) -> int:
    """Return the keepalive (s) with which a client connects to a url.

    Source: MQTT 5, 3.1.2: after the flags.
    """
    came: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.set_result(await reader.readexactly(16))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        connecting = asyncio.ensure_future(connect(f"mqtt://127.0.0.1:{port}"))
        packet = await came
        await asyncio.gather(connecting, return_exceptions=True)
    assert packet[0] == CONNECT
    flags = packet.index(b"MQTT") + 5
    return int.from_bytes(packet[flags + 1 : flags + 3])


async def test_a_client_asks_for_the_keepalive_of_its_endpoint():
    async def connect(url: str) -> None:
        with pytest.raises(NotConnected):
            async with Client(Endpoint(url, keepalive=7), timeout=0.2):
                pass

    assert await asked(connect) == 7


async def test_the_command_line_asks_for_the_one_that_was_given():
    def connect(*options: str) -> Callable[[str], Awaitable[object]]:
        def run(url: str) -> Awaitable[object]:
            return asyncio.to_thread(busbar, "ls", "-b", url, *options)

        return run

    assert await asked(connect("--keepalive", "7")) == 7
    assert await asked(connect()) == Endpoint.keepalive


@pytest.mark.parametrize("seconds", ["0", "4", "121", "x"])
def test_a_keepalive_that_would_not_do_is_refused(seconds: str):
    done = busbar("ls", "--keepalive", seconds)
    assert done.code == 2
    least, most = KEEPALIVES
    assert f"{least}<=x<={most}" in done.err or "not a valid integer" in done.err


async def test_a_bridge_asks_for_the_one_of_its_configuration(tmp_path: Path):
    async def connect(url: str) -> None:
        with BridgeProcess(KEPT.format(keepalive=7), url, tmp_path) as bridge:
            await until(lambda: bridge.log, "the connection", LIMIT)

    assert await asked(connect) == 7


async def test_readers_are_told_of_a_bridge_whose_link_was_cut_without_a_word(
    tmp_path: Path,
):
    text = BENCH + "broker: {{keepalive: 5}}\n"
    with Mosquitto() as broker:
        async with Proxy(broker.port) as proxy, Simulator() as simulator:
            configuration = text.format(psu=simulator.psu.port)
            with BridgeProcess(configuration, proxy.url, tmp_path):
                async with Client(broker.url) as bus:
                    psu = bus.device("bench/psu")
                    await psu.wait_online(LIMIT)
                    proxy.accepting = False
                    proxy.freeze()
                    await until(lambda: psu.stale, "the will", LIMIT)
                    assert psu.stale is not None
                    assert psu.stale.message == "the bridge bench is offline"


async def test_a_reader_notices_that_its_own_link_was_cut_without_a_word():
    with Mosquitto() as broker:
        async with Proxy(broker.port) as proxy:
            endpoint = Endpoint(proxy.url, keepalive=1)
            async with Client(endpoint, settled=False) as bus:
                device = bus.device("bench/psu")
                await bus.wait_online(timeout=LIMIT)
                proxy.accepting = False
                proxy.freeze()
                await until(lambda: _code(device) == "link", "the mark", LIMIT)


def _code(device: DeviceView) -> str | None:
    fault = device.stale
    if fault is None:
        return None
    return fault.code
