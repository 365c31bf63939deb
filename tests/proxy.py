"""A TCP proxy on loopback for tests of broken links.

It can stall, slow down, delay, duplicate, freeze and cut.
"""

import asyncio
import contextlib
import random
import socket
from collections.abc import Callable
from types import TracebackType

CHUNK = 65536  # bytes
PUBLISH, DUP, QOS = 0x30, 0x08, 0x06


class Direction(asyncio.Event):
    """One direction: set = it flows, cleared = it stalls."""

    def __init__(self) -> None:
        super().__init__()
        self.set()
        self.delay = 0.0  # s, of each chunk
        self.rate: float | None = None  # bytes/s
        self.wander = 0.0  # share of the rate by which it changes from chunk to chunk
        # every MQTT PUBLISH of QoS 1 comes twice, the second time marked DUP
        self.duplicate = False
        self.duplicated = 0
        # what becomes of each MQTT packet; empty: it is dropped
        self.change: Callable[[bytes], bytes] = bytes
        self._chance = random.Random(1)

    @property
    def chunk(self) -> int:
        """Bytes to take at once."""
        return CHUNK if self.rate is None else max(1, int(self.rate / 20))

    async def hold(self, data: bytes) -> None:
        """Wait as long as these bytes need."""
        await self.wait()
        slower = 1 + self._chance.uniform(-self.wander, self.wander)
        await asyncio.sleep(
            self.delay + (len(data) / self.rate * slower if self.rate else 0.0)
        )

    def changed(self, packet: bytes) -> bytes:
        """Return a packet as it is to be forwarded."""
        packet = self.change(packet)
        return self._twice(packet) if packet else packet

    def _twice(self, packet: bytes) -> bytes:
        if not self.duplicate or packet[0] & 0xF0 != PUBLISH or not packet[0] & QOS:
            return packet
        self.duplicated += 1
        return packet + bytes([packet[0] | DUP]) + packet[1:]


class Proxy:
    """Forwards to a port; `upstream` and `downstream` are its directions.

    `buffer` (bytes) bounds what the system holds in between. With `packets` it knows
    MQTT and can duplicate and change.
    """

    def __init__(
        self, target: int, *, buffer: int | None = None, packets: bool = False
    ) -> None:
        self.target = target
        self.port = 0
        self.upstream, self.downstream = Direction(), Direction()
        self.accepting = True
        self.connections = 0
        self._buffer, self._packets = buffer, packets
        self._writers: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[None]] = set()
        self._frozen: set[asyncio.Task[None]] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()

    async def __aenter__(self) -> "Proxy":
        sock = socket.socket()
        if self._buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._buffer)
        sock.bind(("127.0.0.1", 0))
        self._server = await asyncio.start_server(self._accept, sock=sock)
        self.port = sock.getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.close()
        self.cut()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    @property
    def url(self) -> str:
        return f"mqtt://127.0.0.1:{self.port}"

    def cut(self) -> None:
        """Break all connections at once."""
        for writer in list(self._writers):
            writer.transport.abort()

    def freeze(self) -> None:
        """Forward nothing on the present connections any more, and tell nobody.

        New ones flow.
        """
        self._flowing.clear()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._frozen |= self._serving

    def bury(self) -> None:
        """Let go of the connections that are frozen."""
        for task in self._frozen:
            task.cancel()
        self._frozen.clear()

    def _accept(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        task = asyncio.create_task(self._serve(reader, writer), name="proxy")
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if not self.accepting:
            writer.transport.abort()
            return
        self.connections += 1
        flowing = self._flowing
        try:
            there_reader, there = await asyncio.open_connection(
                "127.0.0.1", self.target
            )
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, there}
        pumps = [
            asyncio.create_task(self._pump(reader, there, self.upstream, flowing)),
            asyncio.create_task(
                self._pump(there_reader, writer, self.downstream, flowing)
            ),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            self._writers -= {writer, there}
            writer.transport.abort()
            there.transport.abort()

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        direction: Direction,
        flowing: asyncio.Event,
    ) -> None:
        pass_on = Packets(direction.changed).pass_on if self._packets else bytes
        with contextlib.suppress(OSError):
            while data := await reader.read(direction.chunk):
                await flowing.wait()
                await direction.hold(data)
                await flowing.wait()
                writer.write(pass_on(data))
                await writer.drain()


class Packets:
    """Passes bytes on as whole MQTT packets, each through `change`."""

    def __init__(self, change: Callable[[bytes], bytes]) -> None:
        self._change = change
        self._buffer = bytearray()

    def pass_on(self, data: bytes) -> bytes:
        """Return the packets that are complete now."""
        self._buffer += data
        whole = []
        while size := self._size():
            whole.append(self._change(bytes(self._buffer[:size])))
            del self._buffer[:size]
        return b"".join(whole)

    def _size(self) -> int:
        """Return the bytes of the first packet, 0 while it is not complete.

        Source: MQTT 5, 2.1.4.
        """
        length = 0
        for position, byte in enumerate(self._buffer[1:5]):
            length |= (byte & 0x7F) << 7 * position
            if not byte & 0x80:
                size = 2 + position + length
                return size if size <= len(self._buffer) else 0
        return 0
