"""Byte streams to devices: TCP and serial. The only module that opens one."""

import asyncio
import socket
from typing import Any, Literal

from busbar.errors import LinkLost, ProtocolError
from busbar.trace import Wire

CHUNK = 65536  # bytes
WRITE_TIMEOUT = 10.0  # s until the other side must have taken what we wrote


class ByteStream:
    """An open stream of bytes; every failure of the link is LinkLost. Reads keep what they did not return."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, name: str) -> None:
        self._reader, self._writer, self._name = reader, writer, name
        self._wire = Wire(name)
        self._buffer = bytearray()

    async def write(self, data: bytes) -> None:
        """Write all; raise LinkLost when the other side does not take it."""
        self._wire.sent(data)
        try:
            self._writer.write(data)
            async with asyncio.timeout(WRITE_TIMEOUT):
                await self._writer.drain()
        except OSError as error:  # TimeoutError is one
            raise LinkLost(f"{self._name}: cannot write: {error or 'timeout'}") from error

    async def read(self) -> bytes:
        """Return what has arrived, at least one byte."""
        if not self._buffer:
            await self._fill()
        data = bytes(self._buffer)
        self._buffer.clear()
        return data

    async def read_until(self, terminator: bytes, limit: int) -> bytes:
        """Return bytes up to and without the terminator; raise ProtocolError above `limit` bytes without one."""
        start = 0
        while (end := self._buffer.find(terminator, start)) < 0:
            if len(self._buffer) > limit:
                self._buffer.clear()
                raise ProtocolError(f"{self._name}: more than {limit} bytes without the terminator {terminator!r}")
            start = max(0, len(self._buffer) - len(terminator) + 1)
            await self._fill()
        data = bytes(self._buffer[:end])
        del self._buffer[: end + len(terminator)]
        return data

    async def take_stray(self) -> bytes:
        """Return what has arrived already, without waiting."""
        try:
            async with asyncio.timeout(0):
                await self._fill()
        except TimeoutError:
            pass
        data = bytes(self._buffer)
        self._buffer.clear()
        return data

    async def close(self) -> None:
        """Close; what has not been written yet is given up."""
        self._writer.transport.abort()
        try:
            await self._writer.wait_closed()
        except OSError:
            return  # it broke before: closed all the same

    async def _fill(self) -> None:
        try:
            data = await self._reader.read(CHUNK)
        except OSError as error:
            raise LinkLost(f"{self._name}: cannot read: {error}") from error
        if not data:
            raise LinkLost(f"{self._name}: the other side closed the connection")
        self._wire.received(data)
        self._buffer += data


async def open_tcp(host: str, port: int, name: str, timeout: float = 5.0) -> ByteStream:
    """Connect to host and port within `timeout` seconds; raise LinkLost. `name` is for logs and errors."""
    try:
        async with asyncio.timeout(timeout):
            reader, writer = await asyncio.open_connection(host, port)
    except TimeoutError as error:
        raise LinkLost(f"{name}: no connection to {host}:{port} within {timeout:g} s") from error
    except OSError as error:
        raise LinkLost(f"{name}: cannot connect to {host}:{port}: {error.strerror or error}") from error
    sock: socket.socket = writer.get_extra_info("socket")
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    _keep_alive(sock)
    return ByteStream(reader, writer, name)


def _keep_alive(sock: socket.socket) -> None:
    """Notice a dead peer on an idle link within about a minute; the system's default is two hours."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, option):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


async def open_serial(
    path: str,
    baudrate: int,
    name: str,
    *,
    bits: Literal[5, 6, 7, 8] = 8,
    parity: Literal["N", "E", "O", "M", "S"] = "N",
    stop: float = 1,  # 1, 1.5 or 2
    flow: Literal["none", "hardware", "software"] = "none",
) -> ByteStream:
    """Open a serial port (needs the extra `serial`); raise LinkLost."""
    import serialx  # an extra: bridges without serial ports do not install it

    settings: dict[str, Any] = {
        "byte_size": bits,
        "parity": serialx.Parity(parity),
        "stopbits": serialx.StopBits(stop),
        "rtscts": flow == "hardware",
        "xonxoff": flow == "software",
    }
    try:
        reader, writer = await serialx.open_serial_connection(path, baudrate, **settings)
    except (OSError, serialx.SerialException) as error:
        raise LinkLost(f"{name}: cannot open {path}: {error}") from error
    return ByteStream(reader, writer, name)
