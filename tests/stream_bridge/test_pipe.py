"""Reads, questions and late answers over a real connection and a pty."""

import asyncio
import contextlib
import os
import tty

import pytest

from busbar.bridge.errors import LinkLost
from busbar.bridge.streams import open_serial, open_tcp
from busbar.codecs.framing import Lines
from busbar.errors import BadRequest
from busbar.testing.fakes import until
from stream_bridge.pipe import Exactly, Partial, Pipe, UpTo


class Far:
    """The other end of a connection: it keeps what it gets."""

    def __init__(self):
        self.got = b""
        self.connections = 0
        self.writer = None

    async def serve(self, reader, writer):
        self.connections += 1
        self.writer = writer
        with contextlib.suppress(OSError):
            while data := await reader.read(1000):
                self.got += data
        writer.close()


@contextlib.asynccontextmanager
async def tcp(**options):
    far, frames = Far(), []
    server = await asyncio.start_server(far.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]

    async def connect():
        return await open_tcp("127.0.0.1", port, "far")

    pipe = Pipe(connect, Lines(b"\n"), frames.extend, **options)
    await pipe.open()
    await until(lambda: far.writer is not None, "a connection")
    running = asyncio.create_task(pipe.run())
    try:
        yield pipe, far, frames
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await pipe.close()
        server.close()


async def test_what_nobody_waits_for_is_a_frame():
    async with tcp() as (_, far, frames):
        far.writer.write(b"one\ntwo\nthr")
        await until(lambda: frames == [b"one", b"two"], "two frames")


async def test_a_read_gets_its_bytes_and_the_rest_is_a_frame():
    async with tcp() as (pipe, far, frames):
        reading = asyncio.create_task(pipe.read(Exactly(3), 10))
        await asyncio.sleep(0)
        far.writer.write(b"abcrest\n")
        assert await reading == b"abc"
        await until(lambda: frames == [b"rest"], "the rest")


async def test_the_begin_of_a_line_goes_to_the_read_that_waits_for_its_end():
    async with tcp() as (pipe, far, frames):
        far.writer.write(b"a\nbegin")
        await until(lambda: frames == [b"a"] and pipe.framing.pending, "the begin")
        reading = asyncio.create_task(pipe.read(UpTo(b"\n"), 10))
        await asyncio.sleep(0)
        far.writer.write(b" and end\n")
        assert await reading == b"begin and end"


async def test_an_answer_that_came_before_the_read_is_kept_for_it():
    async with tcp() as (pipe, far, frames):
        await pipe.write(b"?")
        far.writer.write(b"answer\nmore\n")
        await until(lambda: len(frames) == 2, "both as frames, too")
        assert await pipe.read(UpTo(b"\n"), 10) == b"answer"
        assert await pipe.read_all() == b"more\n"


async def test_too_few_bytes_are_told_and_not_lost():
    async with tcp() as (pipe, far, _):
        reading = asyncio.create_task(pipe.read(Exactly(9), 0.3))
        await asyncio.sleep(0)
        far.writer.write(b"part")
        with pytest.raises(Partial) as caught:
            await reading
        assert caught.value.partial == b"part"


async def test_a_late_answer_is_never_that_to_the_next_question():
    async with tcp(reopens=True) as (pipe, far, _):
        with pytest.raises(Partial):
            await pipe.query(b"A?\n", UpTo(b"\n"), 0.05)
        late = far.writer
        asking = asyncio.create_task(pipe.query(b"B?\n", UpTo(b"\n"), 10))
        await until(lambda: far.connections == 2 and b"B?" in far.got, "a new one")
        late.write(b"answer A\n")
        far.writer.write(b"answer B\n")
        assert await asking == b"answer B"
        assert pipe.late == 1


async def test_without_reopening_a_late_answer_is_a_frame():
    async with tcp(settle=0.3) as (pipe, far, frames):
        with pytest.raises(Partial):
            await pipe.query(b"A?\n", UpTo(b"\n"), 0.05)
        asking = asyncio.create_task(pipe.query(b"B?\n", UpTo(b"\n"), 10))
        far.writer.write(b"answer A\n")
        await until(lambda: b"B?" in far.got, "the second question")
        far.writer.write(b"answer B\n")
        assert await asking == b"answer B"
        assert frames == [b"answer A"]


async def test_an_end_of_the_connection_fails_the_read_that_waits():
    async with tcp() as (pipe, far, _):
        reading = asyncio.create_task(pipe.read(Exactly(1), 10))
        await asyncio.sleep(0)
        far.writer.close()
        with pytest.raises(LinkLost):
            await reading


async def test_what_nobody_reads_is_bounded_counted_and_said():
    async with tcp() as (pipe, far, _):
        await pipe.write(b"?")
        far.writer.write(b"x" * 1000 * 100)
        await until(lambda: pipe.dropped > 65536, "the bound")
        with pytest.raises(Exception, match="nobody read them"):
            await pipe.read_all()


async def test_a_pty_carries_a_question_and_has_no_modem_lines():
    device, ours = os.openpty()
    tty.setraw(device)
    path, frames = os.ttyname(ours), []

    async def connect():
        return await open_serial(path, 9600, "pty", low_latency=True)

    pipe = Pipe(connect, Lines(b"\n"), frames.extend)
    await pipe.open()
    running = asyncio.create_task(pipe.run())
    try:
        asking = asyncio.create_task(pipe.query(b"Q\n", UpTo(b"\n"), 10))
        assert await asyncio.to_thread(os.read, device, 10) == b"Q\n"
        os.write(device, b"A\n")
        assert await asking == b"A"
        assert await pipe.pins() is None
        assert pipe.line_errors() == {}
        with pytest.raises(BadRequest, match="no modem lines"):
            await pipe.set_pin("dtr", True)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await pipe.close()
        os.close(ours)
        os.close(device)
