"""Recorder of conversations: a tee between a client and its peer.

    python -m tests.traces.record tcp --listen 17624 --to 127.0.0.1:7624 > trace.jsonl
    python -m tests.traces.record pty --to /dev/ttyUSB0 > trace.jsonl

The client connects to the port (of this machine only), or opens the terminal that is
printed on standard error. Each piece of data is written as one line; see README.md.
"""

import argparse
import asyncio
import contextlib
import itertools
import os
import signal
import sys
import tty
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from tests.traces.trace import FROM_PEER, OPEN, TO_PEER, Line, row

HOST = "127.0.0.1"
PIECE = 64 * 1024  # bytes

Write = Callable[[Line], None]


class Recorder:
    """Passes on what both sides say and writes it down."""

    def __init__(self, write: Write) -> None:
        self._write = write
        self._clock = asyncio.get_running_loop().time
        self._start = self._clock()
        self._numbers = itertools.count(1)
        self._closed: set[int] = set()  # connections that one side has ended

    def line(self, direction: str, connection: int = 1, data: bytes = b"") -> None:
        t = self._clock() - self._start
        self._write(Line(t, direction, data, connection))

    @contextlib.asynccontextmanager
    async def tcp(
        self, port: int, host: str, peer: int, listen: str = HOST
    ) -> AsyncIterator[int]:
        """Listen on a port (0: any); yield it. Each client has its own connection."""
        tasks: set[asyncio.Task[None]] = set()

        async def serve(
            reader: asyncio.StreamReader, writer: asyncio.StreamWriter
        ) -> None:
            task = asyncio.current_task()
            assert task is not None
            tasks.add(task)
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await self._join(reader, writer, host, peer)

        server = await asyncio.start_server(serve, listen, port)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _join(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        host: str,
        peer: int,
    ) -> None:
        number = next(self._numbers)
        far_reader, far_writer = await asyncio.open_connection(host, peer)
        self.line(OPEN, number)
        try:
            await asyncio.gather(
                self._pass(TO_PEER, number, reader, far_writer),
                self._pass(FROM_PEER, number, far_reader, writer),
            )
        finally:
            writer.close()
            far_writer.close()

    async def _pass(
        self,
        direction: str,
        number: int,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        while data := await reader.read(PIECE):
            self.line(direction, number, data)
            writer.write(data)
            await writer.drain()
        if number not in self._closed:
            self._closed.add(number)
            self.line(f"{direction}|", number)
        writer.close()

    async def pty(self, device: Path, on_path: Callable[[str], None]) -> None:
        """Stand between a new terminal and a serial device (or a pty) for ever."""
        near, terminal = os.openpty()
        far = os.open(device, os.O_RDWR | os.O_NOCTTY)
        for each in (near, terminal, far):
            with contextlib.suppress(OSError):
                tty.setraw(each)
        on_path(os.ttyname(terminal))
        loop = asyncio.get_running_loop()
        loop.add_reader(near, self._copy, TO_PEER, near, far)
        loop.add_reader(far, self._copy, FROM_PEER, far, near)
        await asyncio.get_running_loop().create_future()

    def _copy(self, direction: str, source: int, target: int) -> None:
        data = os.read(source, PIECE)
        self.line(direction, 1, data)
        os.write(target, data)


def main() -> None:
    """Record what the command line asks for until SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m tests.traces.record")
    parser.add_argument("--hex", action="store_true", help="data are no text")
    kinds = parser.add_subparsers(dest="kind", required=True)
    tcp = kinds.add_parser("tcp")
    tcp.add_argument("--listen", type=int, default=0, metavar="PORT")
    tcp.add_argument("--to", required=True, metavar="HOST:PORT")
    pty = kinds.add_parser("pty")
    pty.add_argument("--to", required=True, type=Path, metavar="DEVICE")
    asyncio.run(_until_told(parser.parse_args()))


async def _until_told(arguments: argparse.Namespace) -> None:
    """Record until a signal, also in the background of a script."""
    recording = asyncio.create_task(_run(arguments))
    loop = asyncio.get_running_loop()
    for each in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(each, recording.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await recording


async def _run(arguments: argparse.Namespace) -> None:
    def write(line: Line) -> None:
        print(row(line, arguments.hex), flush=True)

    def tell(where: object) -> None:
        print(f"recording on {where}", file=sys.stderr, flush=True)

    recorder = Recorder(write)
    about = '{"encoding": "hex"}' if arguments.hex else "{}"
    print(about, flush=True)
    if arguments.kind == "pty":
        await recorder.pty(arguments.to, tell)
        return
    host, _, port = arguments.to.rpartition(":")
    async with recorder.tcp(arguments.listen, host, int(port)) as listening:
        tell(f"{HOST}:{listening}")
        await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    main()
