"""One connection to one server: elements both ways, and whether anybody is there."""

import asyncio
import contextlib
import itertools
from collections.abc import Callable, Iterable

from busbar.bridge.errors import LinkLost
from busbar.bridge.streams import ByteStream, open_tcp, open_unix
from busbar.codecs import indi
from busbar.codecs.indi import Element, ElementReader, PingReply, PingRequest

BEAT = 10.0  # s of silence before we ask whether the server is there
ARRIVAL = 5.0  # s for the answer to a ping behind what was sent
PINGS = 8  # that may be unanswered
# s of silence before a server that has answered such a question once is gone
SILENCE = 20.0


async def open_stream(
    host: str, port: int, path: str, name: str, timeout: float
) -> ByteStream:
    """Connect within `timeout` seconds, to a unix socket if there is a path.

    Raise LinkLost.
    """
    if path:
        return await open_unix(path, name, timeout)
    return await open_tcp(host, port, name, timeout)


class Connection:
    """Gives what comes to `take`, in batches, in order.

    A server that is gone is noticed at once.
    """

    def __init__(
        self, stream: ByteStream, take: Callable[[list[Element]], None]
    ) -> None:
        self.reader = ElementReader()
        # s; None: the server answers no pings, or none was needed yet
        self.rtt: float | None = None
        self._stream, self._take = stream, take
        self._loop = asyncio.get_running_loop()
        self._heard = self._loop.time()
        # when it was sent, what tells of its answer
        self._pings: dict[str, tuple[float, asyncio.Event]] = {}
        self._numbers = itertools.count(1)

    async def send(self, *elements: Element) -> None:
        """Send elements; raise LinkLost."""
        await self._stream.write(b"".join(map(indi.encode, elements)))

    async def send_raw(self, data: bytes) -> None:
        """Send bytes as they are; raise LinkLost."""
        await self._stream.write(data)

    async def arrived(self) -> None:
        """Return when the server has read what was sent, if it can tell.

        Raise LinkLost.
        """
        if self.rtt is not None:
            answered = await self._ping()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ARRIVAL):
                    await answered.wait()

    async def serve(self) -> None:
        """Read and keep alive; raise LinkLost when the server is gone."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._read(), name="read")
            tasks.create_task(self._beat(), name="ping")

    async def close(self) -> None:
        await self._stream.close()

    async def _read(self) -> None:
        while True:
            self.reader.feed(await self._stream.read())
            self._heard = self._loop.time()
            elements = list(self.reader.elements())
            self._take_replies(elements)
            self._take(elements)

    def _take_replies(self, elements: Iterable[Element]) -> None:
        for each in elements:
            if type(each) is PingReply and each.uid in self._pings:
                sent, answered = self._pings.pop(each.uid)
                self.rtt = self._loop.time() - sent
                answered.set()

    async def _beat(self) -> None:
        """Ask when it is silent.

        Source: indiserver answers itself; a server that cannot is silent, too.
        """
        await self._ping()
        while True:
            await asyncio.sleep(BEAT)
            quiet = self._loop.time() - self._heard
            if self.rtt is not None and quiet >= SILENCE:
                raise LinkLost(
                    f"the server has been silent for {quiet:.0f} s and does not "
                    f"answer "
                    f"pings any more"
                )
            if quiet >= BEAT / 2:
                await self._ping()

    async def _ping(self) -> asyncio.Event:
        """Send a ping; return what is set with its answer."""
        uid, answered = f"busbar-{next(self._numbers)}", asyncio.Event()
        # those of a server that does not answer
        self._pings = dict(list(self._pings.items())[-PINGS:])
        self._pings[uid] = (self._loop.time(), answered)
        await self.send(PingRequest(uid))
        return answered
