"""Byte streams to devices: TCP, TLS, UDP, unix sockets.

Serial ports are in `serial_port`; nothing else opens a stream.
"""

import asyncio
import contextlib
import os
import socket
import ssl
from typing import cast

from busbar.errors import LinkLost, ProtocolError
from busbar.net.tls import Trust
from busbar.net.trace import Wire

CHUNK = 65536  # bytes
WRITE_TIMEOUT = 10.0  # s until the other side must have taken what we wrote
# that wait to be read; more are dropped, as the system does with its own buffer
DATAGRAMS = 64


class ByteStream:
    """An open stream of bytes; every failure of the link is LinkLost.

    Reads keep what they did not return.
    """

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, name: str
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._name = name
        self._wire = Wire(name)
        self._buffer = bytearray()
        self._overlong = False  # inside a line that has been refused

    async def write(self, data: bytes) -> None:
        """Write all; raise LinkLost when the other side does not take it."""
        self._wire.sent(data)
        try:
            self._writer.write(data)
            # else the system has all of it
            if self._writer.transport.get_write_buffer_size():
                async with asyncio.timeout(WRITE_TIMEOUT):
                    await self._writer.drain()
            # asyncio says nothing when we closed it ourselves
            if self._writer.transport.is_closing():
                raise ConnectionError("the link was closed")
        except OSError as error:  # TimeoutError is one
            raise LinkLost(f"cannot write: {str(error) or 'timeout'}") from error

    async def read(self) -> bytes:
        """Return what has arrived, at least one byte."""
        if not self._buffer:
            await self._fill()
        return self._take_all()

    async def read_until(self, terminator: bytes, limit: int) -> bytes:
        """Return bytes up to and without the terminator.

        Raise ProtocolError for more than `limit` bytes before it.

        A line that is too long costs itself only: the next call goes on behind its
        terminator.
        """
        start = 0
        while (end := self._buffer.find(terminator, start)) < 0:
            start = max(0, len(self._buffer) - len(terminator) + 1)
            if start > limit:
                del self._buffer[:start]
                start = 0
                if not self._overlong:
                    self._overlong = True
                    raise self._too_long(terminator, limit)
            await self._fill()
        line = bytes(self._buffer[:end])
        del self._buffer[: end + len(terminator)]
        if self._overlong:
            self._overlong = False
            return await self.read_until(terminator, limit)
        if end > limit:
            raise self._too_long(terminator, limit)
        return line

    async def take_stray(self) -> bytes:
        """Return what has arrived already, without waiting."""
        # the loop looks at the socket, then hands over what it found
        for _ in range(2):
            await asyncio.sleep(0)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0):
                while True:
                    await self._fill()
        return self._take_all()

    async def close(self) -> None:
        """Close; what has not been written yet is given up."""
        self._writer.transport.abort()
        try:
            await self._writer.wait_closed()
        except OSError:
            return  # it broke before: closed all the same

    def _take_all(self) -> bytes:
        data = bytes(self._buffer)
        self._buffer.clear()
        self._overlong = False
        return data

    def _too_long(self, terminator: bytes, limit: int) -> ProtocolError:
        return ProtocolError(
            f"more than {limit} bytes without the terminator {terminator!r}"
        )

    async def _fill(self) -> None:
        try:
            data = await self._reader.read(CHUNK)
        except OSError as error:
            raise LinkLost(f"cannot read: {error}") from error
        if not data:
            raise LinkLost("the other side closed the connection")
        self._wire.received(data)
        self._buffer += data


async def open_tcp(
    host: str, port: int, name: str, timeout: float = 5.0, trust: Trust | None = None
) -> ByteStream:
    """Connect to host and port within `timeout` seconds; raise LinkLost.

    `name` is for logs and errors.

    With a trust, inside TLS.
    """
    try:
        async with asyncio.timeout(timeout):
            reader, writer = await asyncio.open_connection(
                host, port, ssl=trust.context if trust else None
            )
    except TimeoutError as error:
        what = "TLS connection" if trust else "connection"
        raise LinkLost(f"no {what} to {host}:{port} within {timeout:g} s") from error
    except (OSError, ValueError, OverflowError) as error:
        # not an OSError: a host or port that cannot exist
        raise LinkLost(_why_not(error, f"{host}:{port}")) from error
    if trust and (
        found := trust.refused(
            writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        )
    ):
        writer.transport.abort()
        raise LinkLost(
            f"the certificate of {host}:{port} has the fingerprint {found}, not "
            f"the "
            f"one configured"
        )
    sock: socket.socket = writer.get_extra_info("socket")
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    _keep_alive(sock)
    return ByteStream(reader, writer, name)


async def open_unix(path: str, name: str, timeout: float = 5.0) -> ByteStream:
    """Connect to a unix socket, an abstract one if the path begins with `@`.

    Raise LinkLost.
    """
    try:
        async with asyncio.timeout(timeout):
            address = f"\0{path[1:]}" if path.startswith("@") else path
            return ByteStream(*await asyncio.open_unix_connection(address), name)
    except TimeoutError as error:
        raise LinkLost(f"no connection to {path} within {timeout:g} s") from error
    except (OSError, ValueError) as error:
        raise LinkLost(_why_not(error, path)) from error


def _why_not(error: Exception, where: str) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        allowed = "allowed: what ca_file signed, `fingerprint`, `insecure: true`"
        return (
            f"the certificate of {where} is not trusted: {error.verify_message}; "
            f"{allowed}"
        )
    if isinstance(error, ssl.SSLError):
        return f"no TLS with {where}: {error.reason or error}"
    why: object = error
    if isinstance(error, socket.gaierror):  # its numbers are not those of the system
        why = error.strerror
    elif isinstance(error, OSError) and error.errno:
        why = os.strerror(error.errno)
    return f"cannot connect to {where}: {why}"


def _keep_alive(sock: socket.socket) -> None:
    """Notice a dead peer on an idle link within about a minute.

    The system's default is two hours.
    """
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (
        ("TCP_KEEPIDLE", 30),
        ("TCP_KEEPINTVL", 10),
        ("TCP_KEEPCNT", 3),
    ):
        if hasattr(socket, option):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


async def open_udp(host: str, port: int, name: str) -> ByteStream:
    """Send to host and port, and hear from there only; each write is one datagram.

    Raise LinkLost.

    Nothing tells whether anybody is there before the first answer.
    """
    loop = asyncio.get_running_loop()
    try:
        _, both = await loop.create_datagram_endpoint(
            _Datagrams, remote_addr=(host, port)
        )
    except (OSError, ValueError, OverflowError) as error:
        raise LinkLost(_why_not(error, f"{host}:{port}")) from error
    return ByteStream(
        cast("asyncio.StreamReader", both), cast("asyncio.StreamWriter", both), name
    )


class _Datagrams(asyncio.DatagramProtocol):
    """Reader and writer of a ByteStream over datagrams."""

    def __init__(self) -> None:
        self._came: asyncio.Queue[bytes | Exception] = asyncio.Queue(DATAGRAMS)
        self._closed = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.DatagramTransport", transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._closed.set()
        self._put(error or b"")  # as the end of a stream

    def datagram_received(self, data: bytes, address: object) -> None:
        if data:  # an empty one is not the end
            self._put(data)

    def error_received(self, error: Exception) -> None:
        self._put(error)  # the host says that nobody listens there

    async def read(self, limit: int) -> bytes:
        if self._closed.is_set() and self._came.empty():
            return b""
        found = await self._came.get()
        if isinstance(found, Exception):
            raise found
        return found

    def write(self, data: bytes) -> None:
        self.transport.sendto(data)

    async def drain(self) -> None:
        """Datagrams are sent or dropped at once."""

    async def wait_closed(self) -> None:
        await self._closed.wait()

    def _put(self, found: bytes | Exception) -> None:
        with contextlib.suppress(asyncio.QueueFull):
            self._came.put_nowait(found)
