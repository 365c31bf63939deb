"""A bridge on processors in the hands of a test."""

import asyncio
from contextlib import asynccontextmanager

from busbar.codecs import cip
from busbar.codecs.cip import Command
from busbar.net.streams import ByteStream
from cip_bridge.bridge import SERVICE
from tests.cip_bridge.peer import ACCEPTED, Peer
from tests.running import running

PANEL = (
    "bridge: {{name: theatre}}\ndevices: [{{name: panel, address: '{address}', ipid: "
    "0x0A{more}}}]"
)


@asynccontextmanager
async def served(serve, more=""):
    """A bridge whose processor is what `serve(peer)` does with each connection.

    Gives (bus, peers so far).
    """
    peers = []

    async def connected(reader, writer):
        peers.append(Peer(ByteStream(reader, writer, f"processor{len(peers)}")))
        await serve(peers[-1])

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        async with running(
            SERVICE, PANEL.format(address=f"cip::127.0.0.1:{port}", more=more)
        ) as bus:
            yield bus, peers
    finally:
        server.close()
        for peer in peers:
            await peer.stream.close()


@asynccontextmanager
async def processor(result=ACCEPTED, more=""):
    """A bridge, online on a processor in the hands of the test.

    Gives (bus, peer, peers so far).
    """
    async with served(lambda peer: peer.accepts(result=result), more) as (bus, peers):
        await bus.status("panel", "online")
        await peers[0].hears(Command(cip.ACKNOWLEDGE))
        yield bus, peers[0], peers
