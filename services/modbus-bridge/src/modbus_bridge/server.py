"""The server's half of a line: requests come, a handler answers.

For other masters (`serve`) and for the simulator.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable

from busbar.bridge.errors import LinkLost
from busbar.bridge.streams import ByteStream
from busbar.codecs import modbus
from busbar.codecs.modbus import Frame, Framing

log = logging.getLogger("busbar.modbus")

# unit, PDU of a request -> of the answer; None: silence
Handler = Callable[[int, bytes], Awaitable[bytes | None]]
# s after which a client that says nothing is let go, so that it takes no other's place
IDLE = 600.0
QUIET = 0.05  # s that end a broken frame where frames have no lengths


async def converse(
    stream: ByteStream, framing: Framing, handle: Handler, idle: float | None = None
) -> None:
    """Answer requests one after another until the other side is gone or idle."""
    reader = modbus.reader(framing, lambda unit, head: modbus.request_length(head))
    while True:
        quiet = reader.pending and framing == "rtu"
        try:
            async with asyncio.timeout(QUIET if quiet else idle):
                data = await stream.read()
        except TimeoutError:
            if not quiet:
                return
            frames = reader.silence()
        except LinkLost:
            return
        else:
            frames = reader.feed(data)
        for frame in frames:
            answer = await handle(frame.unit, frame.pdu)
            if answer is not None:
                with contextlib.suppress(LinkLost):
                    await stream.write(
                        modbus.encode(
                            framing, Frame(frame.unit, answer, frame.transaction)
                        )
                    )


class Server:
    """A TCP listener for up to `clients` masters; more are turned away."""

    def __init__(self, handle: Handler, clients: int, framing: Framing = "tcp") -> None:
        self.turned_away = 0
        self._handle = handle
        self._clients = clients
        self._framing = framing
        self._streams: dict[asyncio.Task[None], ByteStream] = {}
        self._listener: asyncio.Server | None = None
        self.port = 0

    @property
    def connections(self) -> int:
        """How many masters are connected."""
        return len(self._streams)

    def drop(self) -> None:
        """Break all connections."""
        for task in self._streams:
            task.cancel()

    def refuse(self) -> None:
        """Listen no longer."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    async def listen(self, host: str, port: int) -> None:
        """Listen; raise LinkLost when the address cannot be had."""
        try:
            self._listener = await asyncio.start_server(self._connected, host, port)
        except (OSError, OverflowError) as error:
            reason = error.strerror if isinstance(error, OSError) else None
            raise LinkLost(
                f"cannot listen on {host}:{port}: {reason or error}"
            ) from error
        self.port = self._listener.sockets[0].getsockname()[1]

    @contextlib.asynccontextmanager
    async def listening(self, host: str, port: int) -> AsyncIterator["Server"]:
        """Entered = listening, left = closed with all connections.

        Raise LinkLost as `listen`.
        """
        await self.listen(host, port)
        try:
            yield self
        finally:
            self.refuse()
            self.drop()
            await asyncio.gather(*self._streams, return_exceptions=True)

    def _connected(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if self._listener is None or len(self._streams) >= self._clients:
            if not self.turned_away:
                log.warning(
                    (
                        "a master is turned away: %d are connected; of others nothing "
                        "is "
                        "said"
                    ),
                    len(self._streams),
                )
            self.turned_away += 1
            writer.transport.abort()
            return
        stream = ByteStream(reader, writer, "server")
        task = asyncio.create_task(self._serve(stream), name="a master")
        self._streams[task] = stream
        task.add_done_callback(self._streams.pop)

    async def _serve(self, stream: ByteStream) -> None:
        try:
            await converse(stream, self._framing, self._handle, IDLE)
        finally:
            await stream.close()
