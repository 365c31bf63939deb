"""The other GCT nodes on a bus, for tests."""

import asyncio
import base64
from contextlib import asynccontextmanager

from busbar.codecs import can, gct
from tests.can_bridge.peer import on_loopback

OURS, NODE = 0x7E, 18
GCT = "    protocols: [gct]\n    receive_own: false\n"


def b64(data):
    return base64.b64encode(data).decode()


class Nodes:
    """The other nodes on the bus."""

    def __init__(self, peer):
        self._peer, self._decoder = peer, gct.Decoder()

    async def say(self, *messages):
        for message in messages:
            await self._peer.send(
                *(
                    can.frame(id_, data, extended=True)
                    for id_, data in gct.encode(message)
                )
            )

    async def put(self, id_, data):
        """Send one frame."""
        await self._peer.send(can.frame(id_, data, extended=True))

    async def receive(self):
        """Return the next message of the bridge."""
        while True:
            (frame,) = await self._peer.receive()
            if (message := self._decoder.feed(frame.id, frame.data, 0.0)) is not None:
                return message


@asynccontextmanager
async def nodes(more=""):
    async with on_loopback(GCT + more) as (bus, peer):
        yield bus, Nodes(peer)


async def ask(bus, command, arguments, device="can0"):
    """Start a command; its outcome is awaited later."""
    return asyncio.create_task(bus.call(device, command, {"timeout": 30, **arguments}))


def events(bus):
    return [
        {key: each[key] for key in each if key not in ("boot", "seq", "time")}
        for each in bus.events("can0", "gct")
    ]
