"""Byte streams.

Whatever happens to a link is LinkLost, lines come out whole however they arrive.
"""

import asyncio
import contextlib
import itertools
import os
import socket
import tty
from collections.abc import AsyncIterator

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from busbar.errors import LinkLost, ProtocolError
from busbar.net import streams
from busbar.net.serial_port import open_serial
from busbar.net.streams import ByteStream, open_tcp, open_udp, open_unix
from busbar.testing.fakes import Clock, null_modem, settle, until


@contextlib.asynccontextmanager
async def cable() -> AsyncIterator[tuple[ByteStream, ByteStream]]:
    here, there = await null_modem()
    try:
        yield here, there
    finally:
        await here.close()
        await there.close()


async def arrived(stream: ByteStream, count: int) -> None:
    """Wait until `count` bytes have come through the cable."""
    await until(lambda: len(stream._reader._buffer) >= count)  # type: ignore[attr-defined]


async def read_all(stream: ByteStream, count: int) -> bytes:
    data = b""
    while len(data) < count:
        data += await stream.read()
    return data


async def test_a_null_modem_carries_bytes_both_ways():
    async with cable() as (here, there):
        await here.write(b"ping")
        assert await there.read() == b"ping"
        await there.write(b"pong")
        assert await here.read() == b"pong"


async def test_a_large_write_arrives_whole():
    data = bytes(range(256)) * 8192
    async with cable() as (here, there):
        writing = asyncio.create_task(here.write(data))
        assert await read_all(there, len(data)) == data
        await writing


async def test_what_goes_over_the_wire_is_traced(caplog):
    with caplog.at_level(5, "busbar.wire"):
        async with cable() as (here, there):
            await here.write(b"ping")
            await there.read()
    assert caplog.messages == ["-> 'ping'", "<- 'ping'"]


# read_until


async def test_a_line_is_returned_without_its_terminator():
    async with cable() as (here, there):
        await here.write(b"one\r\ntwo\r\nthr")
        assert await there.read_until(b"\r\n", 100) == b"one"
        assert await there.read_until(b"\r\n", 100) == b"two"
        assert await there.read() == b"thr"


async def test_a_read_that_was_cancelled_has_lost_nothing():
    async with cable() as (here, there):
        await here.write(b"par")
        await arrived(there, 3)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await there.read_until(b"\n", 100)
        await here.write(b"tial\n")
        assert await there.read_until(b"\n", 100) == b"partial"


async def feed(chunks: list[bytes]) -> ByteStream:
    """Return a stream to which the chunks come one by one, and then the end."""
    reader, lines = asyncio.StreamReader(), iter(chunks)
    stream = ByteStream(reader, None, "fed")  # type: ignore[arg-type]  # nothing is written

    async def read(_: int) -> bytes:
        return next(lines, b"")

    reader.read = read  # type: ignore[method-assign]
    return stream


async def lines_of(
    chunks: list[bytes], terminator: bytes, limit: int
) -> list[bytes | None]:
    """Read to the end; None stands for a line that was too long."""
    stream, found = await feed(chunks), []
    with contextlib.suppress(LinkLost):
        while True:
            try:
                found.append(await stream.read_until(terminator, limit))
            except ProtocolError:
                found.append(None)
    return found


def cut(data: bytes, places: list[int]) -> list[bytes]:
    ends = sorted({place % (len(data) + 1) for place in places} | {0, len(data)})
    return [data[start:end] for start, end in itertools.pairwise(ends)]


terminators = st.sampled_from([b"\n", b"\r\n", b"aa", b"aab"])
raw_lines = st.lists(st.text("ab\r\n", max_size=12).map(str.encode), max_size=6)


@given(
    raw_lines,
    terminators,
    st.integers(0, 8),
    st.lists(st.integers(0, 100), max_size=10),
)
@example([b"abcde"], b"\r\n", 5, [6])  # the terminator in two pieces, just at the limit
@example([b"abcdef", b"x"], b"\n", 5, [])  # too long, in one piece with the next
@example([b"abcdef" * 4, b"x"], b"\n", 5, [6, 12, 18])
@settings(deadline=None)
async def test_lines_are_the_same_however_they_arrive(raw, terminator, limit, places):
    """And one line that is too long costs one line."""
    data = b"".join(line + terminator for line in raw)
    wanted = [
        line if len(line) <= limit else None for line in data.split(terminator)[:-1]
    ]
    tail = data.split(terminator)[-1]
    found = await lines_of(cut(data, places), terminator, limit)
    assert found[: len(wanted)] == wanted
    assert found[len(wanted) :] in ([], [None] if len(tail) > limit else [])


@pytest.mark.parametrize("chunks", [[b"x" * 11], [b"x"] * 11, [b"x" * 10, b"x" * 500]])
async def test_an_endless_line_is_refused_as_soon_as_it_is_too_long(chunks):
    stream = await feed(chunks)
    with pytest.raises(
        ProtocolError,
        match=(
            r"more than 10 bytes without the "
            r"terminator b'\\n'"
        ),
    ):
        await stream.read_until(b"\n", 10)
    assert len(stream._buffer) == 0  # nothing of it is kept


async def test_after_a_line_that_was_too_long_the_bytes_can_be_read_as_they_come():
    stream = await feed([b"x" * 11, b"xx\nab\n"])
    with pytest.raises(ProtocolError):
        await stream.read_until(b"\n", 10)
    assert await stream.read() == b"xx\nab\n"


async def test_after_the_rest_was_read_a_line_is_a_line_again():
    stream = await feed([b"x" * 11, b"xx", b"ab\n"])
    with pytest.raises(ProtocolError):
        await stream.read_until(b"\n", 10)
    assert await stream.read() == b"xx"
    assert await stream.read_until(b"\n", 10) == b"ab"


# take_stray


async def test_there_is_nothing_stray_on_a_quiet_link():
    async with cable() as (here, there):
        assert await there.take_stray() == b""
        await here.write(b"later")
        assert await there.read() == b"later"


async def test_what_the_system_has_received_is_stray_too():
    """A late answer must not be taken for the answer to the next question."""
    async with cable() as (here, there):
        await here.write(b"late answer\n")
        assert await there.take_stray() == b"late answer\n"
        assert await there.take_stray() == b""


async def test_all_of_it_is_taken():
    async with cable() as (here, there):
        await here.write(b"x" * 100_000)
        await arrived(there, 100_000)
        assert len(await there.take_stray()) == 100_000
        assert await there.take_stray() == b""


async def test_what_read_until_left_is_stray():
    async with cable() as (here, there):
        await here.write(b"line\nrest")
        await there.read_until(b"\n", 100)
        assert await there.take_stray() == b"rest"


async def test_a_closed_link_is_noticed_without_losing_what_came_before():
    async with cable() as (here, there):
        await here.write(b"last words")
        here._writer.write_eof()
        await until(lambda: there._reader._eof)  # type: ignore[attr-defined]
        with pytest.raises(LinkLost, match="closed"):
            await there.take_stray()
        assert await there.read() == b"last words"


# Every failure of the link is LinkLost


@pytest.mark.parametrize(
    "read", [ByteStream.read, lambda stream: stream.read_until(b"\n", 10)]
)
async def test_the_end_of_the_stream_is_a_lost_link(read):
    here, there = await null_modem("psu")
    await here.close()
    with pytest.raises(LinkLost, match="the other side closed"):
        await read(there)
    await there.close()


async def pair_over_tcp() -> tuple[ByteStream, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        stream = await open_tcp(*server.getsockname(), "psu")
        peer, _ = server.accept()
    return stream, peer


def reset(peer: socket.socket) -> None:
    """Close with RST, as a device that lost its power does when it is back."""
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    peer.close()


async def test_a_reset_while_reading_is_a_lost_link():
    stream, peer = await pair_over_tcp()
    reading = asyncio.create_task(stream.read())
    await settle()
    reset(peer)
    with pytest.raises(LinkLost, match="cannot read"):
        await reading
    await stream.close()


async def test_a_write_on_a_broken_link_is_a_lost_link():
    stream, peer = await pair_over_tcp()
    reset(peer)
    await until(stream._writer.transport.is_closing)
    with pytest.raises(LinkLost, match=r"cannot write: \S"):
        await stream.write(b"x")
    await stream.close()


async def test_a_device_that_takes_nothing_any_more_is_a_lost_link():
    clock = Clock()
    stream, peer = await pair_over_tcp()
    writing = asyncio.create_task(stream.write(b"x" * 50_000_000))
    await settle()
    await clock.advance(streams.WRITE_TIMEOUT + 1)
    with pytest.raises(LinkLost, match=r"cannot write: timeout"):
        await writing
    await stream.close()
    peer.close()


async def test_close_gives_up_what_has_not_been_written_and_can_be_repeated():
    stream, peer = await pair_over_tcp()
    writing = asyncio.create_task(stream.write(b"x" * 50_000_000))
    await settle()
    await asyncio.wait_for(stream.close(), 5)
    await asyncio.wait_for(stream.close(), 5)
    with pytest.raises(LinkLost):
        await writing
    peer.close()


# Opening


async def test_tcp_connects_without_delay_and_notices_a_dead_peer():
    stream, peer = await pair_over_tcp()
    sock = stream._writer.get_extra_info("socket")
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    peer.sendall(b"hello\n")
    assert await stream.read_until(b"\n", 10) == b"hello"
    await stream.write(b"you")
    assert peer.recv(10) == b"you"
    await stream.close()
    peer.close()


async def test_a_refused_connection_names_host_and_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(LinkLost, match=f"cannot connect to 127.0.0.1:{port}: .*"):
        await open_tcp("127.0.0.1", port, "psu")


async def test_a_host_that_does_not_answer_names_host_and_port(monkeypatch):
    async def never(host: str, port: int, ssl: None) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(asyncio, "open_connection", never)
    clock = Clock()
    opening = asyncio.create_task(open_tcp("10.0.0.5", 5025, "psu", timeout=3))
    await settle()
    await clock.advance(4)
    with pytest.raises(LinkLost, match=r"no connection to 10.0.0.5:5025 within 3 s"):
        await opening


@pytest.mark.parametrize(
    ("host", "port"), [("a" * 70, 1), ("a\0b", 1), ("127.0.0.1", 99999)]
)
async def test_a_host_or_port_that_cannot_exist_is_a_lost_link(host, port):
    with pytest.raises(LinkLost, match=f"cannot connect to {host}:{port}: ."):
        await open_tcp(host, port, "psu")


async def test_a_host_that_nobody_knows_is_told_in_words():
    with pytest.raises(LinkLost, match=r"cannot connect to a b:1: \w.* not known"):
        await open_tcp("a b", 1, "psu")


@contextlib.contextmanager
def terminal() -> object:
    """Open a serial line: the device's end, and the path of ours."""
    device, ours = os.openpty()
    tty.setraw(device)
    try:
        yield device, os.ttyname(ours)
    finally:
        os.close(ours)
        with contextlib.suppress(OSError):
            os.close(device)


async def test_a_serial_port_carries_bytes_both_ways():
    data = bytes(range(256))
    with terminal() as (device, path):
        stream = await open_serial(path, 9600, "psu")
        await stream.write(data)
        assert os.read(device, 1000) == data
        os.write(device, data)
        assert await read_all(stream, 256) == data
        await stream.close()


async def test_a_serial_line_is_read_by_lines():
    with terminal() as (device, path):
        stream = await open_serial(
            path, 115200, "psu", bits=7, parity="E", stop=2, flow="software"
        )
        os.write(device, b"one\r\ntwo\r\n")
        assert await stream.read_until(b"\r\n", 100) == b"one"
        assert await stream.read_until(b"\r\n", 100) == b"two"
        await stream.close()


async def test_an_adapter_that_is_pulled_out_is_a_lost_link():
    with terminal() as (device, path):
        stream = await open_serial(path, 9600, "psu")
        reading = asyncio.create_task(stream.read())
        await settle()
        os.close(device)
        with pytest.raises(LinkLost, match=r"read|closed|serial|Input"):
            await asyncio.wait_for(reading, 10)
        with pytest.raises(LinkLost, match="cannot write"):
            await stream.write(b"x")
        await stream.close()


@pytest.mark.parametrize("path", ["/dev/there-is-no-such-port", "/", "/etc/hostname"])
async def test_a_serial_port_that_cannot_be_opened_is_named(path):
    with pytest.raises(LinkLost, match=f"cannot open {path}: "):
        await open_serial(path, 9600, "psu")


# UDP


class Echo(asyncio.DatagramProtocol):
    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, address):
        self.transport.sendto(data.upper(), address)


@contextlib.asynccontextmanager
async def echoing():
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(Echo, ("127.0.0.1", 0))
    try:
        yield transport.get_extra_info("sockname")[1]
    finally:
        transport.close()


async def test_datagrams_go_both_ways_and_stray_ones_are_taken():
    async with echoing() as port:
        stream = await open_udp("127.0.0.1", port, "udp")
        await stream.write(b"ping")
        assert await stream.read() == b"PING"
        assert await stream.take_stray() == b""
        for _ in range(3 * streams.DATAGRAMS):
            await stream.write(b"x")
        await until(lambda: stream._reader._came.full(), "more than is kept")
        assert await stream.take_stray() == b"X" * streams.DATAGRAMS
        await stream.close()
        with pytest.raises(LinkLost):
            await stream.write(b"ping")


async def test_a_port_where_nobody_listens_is_told_by_the_host():
    async with echoing() as port:
        pass
    stream = await open_udp("127.0.0.1", port, "udp")
    await stream.write(b"ping")
    with pytest.raises(LinkLost, match="refused"):
        await stream.read()
    await stream.close()


async def test_a_host_that_cannot_be_is_told():
    with pytest.raises(LinkLost, match="cannot connect to"):
        await open_udp("host.invalid", 502, "udp")


@pytest.mark.parametrize("abstract", [False, True])
async def test_a_unix_socket_is_a_stream_too(abstract, tmp_path):
    path = (
        f"@busbar-{tmp_path.name}-{id(tmp_path)}"
        if abstract
        else str(tmp_path / "socket")
    )
    with pytest.raises(LinkLost, match=f"cannot connect to {path}"):
        await open_unix(path, "server")

    async def echo(reader, writer):
        writer.write(await reader.read(100))
        writer.close()

    server = await asyncio.start_unix_server(
        echo, f"\0{path[1:]}" if abstract else path
    )
    async with server:
        stream = await open_unix(path, "server")
        await stream.write(b"hello")
        assert await stream.read() == b"hello"
        await stream.close()


async def test_an_empty_datagram_is_not_the_end():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as there:
        there.bind(("127.0.0.1", 0))
        stream = await open_udp("127.0.0.1", there.getsockname()[1], "udp")
        here = stream._writer.transport.get_extra_info("sockname")
        there.sendto(b"", here)
        there.sendto(b"ping", here)
        assert await stream.read() == b"ping"
        await stream.close()


async def test_a_closed_udp_link_says_so_at_each_read():
    async with echoing() as port:
        stream = await open_udp("127.0.0.1", port, "udp")
        for _ in range(2 * streams.DATAGRAMS):
            await stream.write(b"x")
        await until(lambda: stream._reader._came.full(), "more than is kept")
        await stream.close()
        for _ in range(streams.DATAGRAMS):
            await stream.read()
        for _ in range(2):
            with pytest.raises(LinkLost, match="closed"):
                await stream.read()
