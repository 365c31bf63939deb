"""Connection to a server: elements both ways, and pings in silence."""

import asyncio
import contextlib
import itertools
from collections.abc import Awaitable, Callable, Iterable

from busbar.bridge.errors import LinkLost
from busbar.bridge.streams import ByteStream, open_tcp, open_unix
from busbar.codecs import indi
from busbar.codecs.indi import Element, ElementReader, PingReply, PingRequest
from indi_bridge.settings import Server, place

BEAT = 10.0  # s of silence before a ping
ARRIVAL = 5.0  # s for the answer to a ping behind what was sent
PINGS = 8  # that may be unanswered
# s of silence before a server that has answered a ping counts as gone
SILENCE = 20.0


async def open_stream(server: Server) -> ByteStream:
    """Connect to a server; raise LinkLost."""
    where = place(server.address)
    if where.path:
        return await open_unix(where.path, server.name, server.timeout)
    return await open_tcp(where.host, where.port, server.name, server.timeout)


# takes a batch; the next one is read when what it returns is done
OnElements = Callable[[list[Element]], Awaitable[None] | None]


class IndiConnection:
    """Gives the elements that come to `on_elements`, in batches, in order."""

    def __init__(self, stream: ByteStream, on_elements: OnElements) -> None:
        self.reader = ElementReader()
        # s; None: the server has not answered a ping yet
        self.rtt: float | None = None
        self._stream = stream
        self._on_elements = on_elements
        self._loop = asyncio.get_running_loop()
        self._last_read = self._loop.time()
        # uid -> when it was sent, and what is set with its answer
        self._pings: dict[str, tuple[float, asyncio.Event]] = {}
        self._numbers = itertools.count(1)

    async def send(self, *elements: Element) -> None:
        """Send elements; raise LinkLost."""
        await self._stream.write(b"".join(map(indi.encode, elements)))

    async def send_raw(self, data: bytes) -> None:
        """Send bytes as they are; raise LinkLost."""
        await self._stream.write(data)

    async def arrived(self, limit: float = ARRIVAL) -> None:
        """Return when the server has read what was sent, if it answers pings.

        What it had sent before has come then, too. `limit` (s) is for the answer.
        Raise LinkLost.
        """
        if self.rtt is None:
            return
        answered = await self._ping()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit):
                await answered.wait()

    async def serve(self) -> None:
        """Read and keep alive; raise LinkLost when the server is gone."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._read(), name="read")
            tasks.create_task(self._keep_alive(), name="ping")

    async def close(self) -> None:
        await self._stream.close()

    async def _read(self) -> None:
        while True:
            self.reader.feed(await self._stream.read())
            self._last_read = self._loop.time()
            elements = list(self.reader.elements())
            self._take_replies(elements)
            taken = self._on_elements(elements)
            if taken is not None:
                await taken

    def _take_replies(self, elements: Iterable[Element]) -> None:
        for each in elements:
            if type(each) is PingReply and each.uid in self._pings:
                sent, answered = self._pings.pop(each.uid)
                self.rtt = self._loop.time() - sent
                answered.set()

    async def _keep_alive(self) -> None:
        """Ping a silent server.

        Only one that has answered a ping can be found dead. Source:
        docs/protocols/indi.md, 2.3 (a server without pings is silent, too).
        """
        await self._ping()
        while True:
            await asyncio.sleep(BEAT)
            silence = self._loop.time() - self._last_read
            if self.rtt is not None and silence >= SILENCE:
                raise LinkLost(
                    f"the server has been silent for {silence:.0f} s and does not "
                    f"answer pings any more"
                )
            if silence >= BEAT / 2:
                await self._ping()

    async def _ping(self) -> asyncio.Event:
        """Send a ping; return what is set with its answer."""
        uid = f"busbar-{next(self._numbers)}"
        answered = asyncio.Event()
        while len(self._pings) > PINGS:  # of a server that does not answer
            del self._pings[next(iter(self._pings))]
        self._pings[uid] = (self._loop.time(), answered)
        await self.send(PingRequest(uid))
        return answered
