"""The recorder and the replay of tests/traces, on a peer that echoes."""

import asyncio
import os
import signal
import sys
import tty
from collections.abc import Iterable
from pathlib import Path

from busbar.testing.fakes import until
from tests.traces.record import Recorder
from tests.traces.replay import Replay
from tests.traces.trace import (
    CLIENT_CLOSED,
    FROM_PEER,
    OPEN,
    PEER_CLOSED,
    TO_PEER,
    Line,
    Trace,
    hexadecimal,
    load,
    names,
    row,
    rows,
)


class LineDialect:
    """Lines of text; `ping` is answered at any time."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterable[bytes]:
        *whole, self._rest = (self._rest + data).split(b"\n")
        return whole

    def same(self, recorded: bytes, said: bytes) -> bool:
        return recorded.lower() == said.lower()

    def answer(self, said: bytes) -> bytes | None:
        return b"pong\n" if said == b"ping" else None

    def adapted(self, data: bytes, asked: bytes | None) -> bytes:
        return data.replace(b"?", asked or b"")


async def test_both_sides_of_a_tcp_connection_are_recorded_and_its_end() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((await reader.readline()).upper())
        await writer.drain()
        writer.close()

    lines: list[Line] = []
    peer = await asyncio.start_server(echo, "127.0.0.1", 0)
    port = peer.sockets[0].getsockname()[1]
    async with Recorder(lines.append).tcp(0, "127.0.0.1", port) as listening:
        reader, writer = await asyncio.open_connection("127.0.0.1", listening)
        writer.write(b"abc\n")
        assert await reader.read() == b"ABC\n"
        writer.close()
        await until(lambda: len(lines) == 4, "the end")
    peer.close()
    assert [(each.direction, each.data) for each in lines] == [
        (OPEN, b""),
        (TO_PEER, b"abc\n"),
        (FROM_PEER, b"ABC\n"),
        (PEER_CLOSED, b""),
    ]
    times = [each.t for each in lines]
    assert times == sorted(times)


async def test_both_sides_of_a_terminal_are_recorded() -> None:
    far, device = os.openpty()
    tty.setraw(device)
    lines: list[Line] = []
    paths: list[str] = []
    recorder = Recorder(lines.append)
    task = asyncio.create_task(recorder.pty(Path(os.ttyname(device)), paths.append))
    await until(lambda: paths, "the terminal")
    client = os.open(paths[0], os.O_RDWR | os.O_NOCTTY)
    try:
        os.write(client, b"\x01\xff")
        await until(lambda: lines, "what the client says")
        assert os.read(far, 10) == b"\x01\xff"
        os.write(far, b"\x02")
        await until(lambda: len(lines) == 2, "the answer")
        assert os.read(client, 10) == b"\x02"
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        for each in (far, device, client):
            os.close(each)
    assert [(each.direction, each.data) for each in lines] == [
        (TO_PEER, b"\x01\xff"),
        (FROM_PEER, b"\x02"),
    ]


async def test_the_program_records_until_it_is_told(tmp_path: Path) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readline())
        await writer.drain()
        writer.close()

    peer = await asyncio.start_server(echo, "127.0.0.1", 0)
    port = peer.sockets[0].getsockname()[1]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.traces.record", "--hex"),
        *("tcp", "--to", f"127.0.0.1:{port}"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    assert process.stderr is not None
    try:
        told = (await process.stderr.readline()).decode()
        place = told.removeprefix("recording on 127.0.0.1:")
        reader, writer = await asyncio.open_connection("127.0.0.1", int(place))
        writer.write(b"\x01\n")
        assert await reader.read() == b"\x01\n"
        writer.close()
    finally:
        process.send_signal(signal.SIGTERM)
    written, _ = await process.communicate()
    peer.close()
    assert process.returncode == 0
    path = tmp_path / "one.jsonl"
    path.write_bytes(written)
    lines = load(str(path.with_suffix(""))).lines
    assert [(each.direction, each.data) for each in lines[:3]] == [
        (OPEN, b""),
        (TO_PEER, b"\x01\n"),
        (FROM_PEER, b"\x01\n"),
    ]


def test_a_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    for about in ({"about": "text"}, {"about": "bytes", "encoding": "hex"}):
        lines = (
            Line(0.0, OPEN),
            Line(0.5, TO_PEER, "°\n".encode() + b"\xe9"),
            Line(1.25, FROM_PEER, b"\x00<", 2),
            Line(2.0, CLIENT_CLOSED),
        )
        path = tmp_path / "one.jsonl"
        path.write_text("\n".join(rows(about, lines)) + "\n")
        found = load(str(path.with_suffix("")))
        assert found.about == about
        assert found.lines == lines
    assert row(Line(0.1, FROM_PEER, b"\x01\xa0"), hexadecimal({"encoding": "hex"})) == (
        '{"t": 0.1, "direction": "<", "data": "01 a0"}'
    )
    assert "mount-goto" in names("indi")


def conversation(*lines: Line) -> Trace:
    return Trace("test", {}, lines)


async def test_a_replay_waits_for_the_client_and_answers_what_always_is() -> None:
    trace = conversation(
        Line(0.0, OPEN),
        Line(0.0, FROM_PEER, b"hello\n"),
        Line(0.1, TO_PEER, b"a\n"),
        Line(0.2, FROM_PEER, b"to ?\n"),
        Line(0.3, TO_PEER, b"b\n"),
        Line(0.3, PEER_CLOSED),
    )
    async with Replay(trace, LineDialect) as peer:
        reader, writer = await asyncio.open_connection("127.0.0.1", peer.port)
        assert await reader.readline() == b"hello\n"
        writer.write(b"ping\n")
        assert await reader.readline() == b"pong\n"
        writer.write(b"x\nA\n")
        assert await reader.readline() == b"to A\n"
        assert peer.unexpected == [b"x"]
        assert not peer.finished.is_set()
        writer.write(b"b\n")
        assert await reader.read() == b""
        await until(peer.finished.is_set, "the end")
        writer.close()


async def test_what_was_under_way_comes_before_the_answer_to_a_ping() -> None:
    trace = conversation(
        Line(0.0, OPEN),
        Line(0.0, OPEN, b"", 2),
        Line(1.0, TO_PEER, b"go\n"),
        Line(1.01, FROM_PEER, b"an old image\n", 2),
        Line(2.0, FROM_PEER, b"a new image\n", 2),
    )
    async with Replay(trace, LineDialect) as peer:
        _, first = await asyncio.open_connection("127.0.0.1", peer.port)
        await until(lambda: peer.place and peer.place.connection == 2, "one")
        reader, second = await asyncio.open_connection("127.0.0.1", peer.port)
        await until(lambda: peer.place and peer.place.t == 1.0, "both")
        second.write(b"ping\n")
        assert await reader.readline() == b"an old image\n"
        assert await reader.readline() == b"pong\n"
        first.write(b"go\n")
        assert await reader.readline() == b"a new image\n"
        first.close()
        second.close()
