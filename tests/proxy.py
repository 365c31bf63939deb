"""A TCP proxy on loopback that can stall a direction and cut, for tests of broken links."""

import asyncio
import contextlib
from types import TracebackType


class Proxy:
    """Forwards to a port; `upstream` and `downstream` are events: cleared = that direction stalls."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = 0
        self.upstream, self.downstream = asyncio.Event(), asyncio.Event()
        self.upstream.set()
        self.downstream.set()
        self.accepting = True
        self.connections = 0
        self._writers: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> "Proxy":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        self.cut()

    def cut(self) -> None:
        """Break all connections at once."""
        for writer in list(self._writers):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self.accepting:
            writer.transport.abort()
            return
        self.connections += 1
        try:
            there_reader, there = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, there}
        pumps = [
            asyncio.create_task(_pump(reader, there, self.upstream)),
            asyncio.create_task(_pump(there_reader, writer, self.downstream)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            self._writers -= {writer, there}
            writer.transport.abort()
            there.transport.abort()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, flowing: asyncio.Event) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            await flowing.wait()
            writer.write(data)
            await writer.drain()
