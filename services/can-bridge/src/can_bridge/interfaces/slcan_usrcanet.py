"""Adapters at the end of a byte stream.

Slcan on a serial port, the USR-CANET200 on TCP. No thread.

python-can's slcan costs 125 us of CPU a frame, this about 5 (measured): it reads its
port byte by byte.
"""

import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Protocol

from busbar.bridge import streams
from busbar.bridge.errors import LinkLost
from busbar.bridge.streams import ByteStream
from busbar.codecs import slcan, usrcanet
from busbar.codecs.can import Frame, Mask
from can_bridge.interfaces.interface import Health


class Reader(Protocol):
    """Frames in a stream of bytes."""

    skipped: int
    refused: int

    def feed(self, data: bytes, time: float) -> list[Frame]:
        """Take bytes; return the frames that are whole now."""


class Streamed:
    """One adapter; the stream's own buffers are the queue, and nothing is dropped here."""

    echoes = False
    dropped = 0

    def __init__(
        self,
        stream: ByteStream,
        reader: Reader,
        encode: Callable[[Frame], bytes],
        health: Health,
        fd: bool,
    ) -> None:
        self._stream, self._reader, self._encode, self._health, self._fd = (
            stream,
            reader,
            encode,
            health,
            fd,
        )

    @property
    def skipped(self) -> int:
        return self._reader.skipped

    @property
    def refused(self) -> int:
        """Commands and frames of ours that the adapter did not take."""
        return self._reader.refused

    async def receive(self) -> Sequence[Frame]:
        while True:
            frames = self._reader.feed(await self._stream.read(), round(time.time(), 6))
            if frames:
                return frames

    async def send(self, frame: Frame) -> None:
        await self._stream.write(self._encode(frame))

    def accept(self, masks: Sequence[Mask] | None) -> None:
        """Do nothing: such adapters send everything."""

    def cyclic(self, frame: Frame, period: float, count: int) -> None:
        """It has no clock."""

    async def health(self) -> Health:
        return self._health


@contextlib.asynccontextmanager
async def open_slcan(
    path: str,
    name: str,
    *,
    bitrate: int | None,
    data_bitrate: int | None,
    listen_only: bool,
    baudrate: int,
) -> AsyncIterator[Streamed]:
    """Open a serial adapter and its channel; raise LinkLost."""
    stream = await streams.open_serial(path, baudrate, name)
    try:
        await stream.write(slcan.opening(bitrate, data_bitrate, listen_only))
        yield Streamed(
            stream,
            slcan.SlcanReader(),
            slcan.encode,
            Health(None, bitrate, data_bitrate),
            fd=True,
        )
        with contextlib.suppress(LinkLost):
            await stream.write(slcan.CLOSING)
    finally:
        await stream.close()


@contextlib.asynccontextmanager
async def open_usrcanet(
    host: str, port: int, name: str, *, bitrate: int | None
) -> AsyncIterator[Streamed]:
    """Connect to a USR-CANET200; raise LinkLost."""
    stream = await streams.open_tcp(host, port, name)
    try:
        yield Streamed(
            stream, usrcanet.UsrCanetReader(), usrcanet.encode, Health(None, bitrate), fd=False
        )
    finally:
        await stream.close()
