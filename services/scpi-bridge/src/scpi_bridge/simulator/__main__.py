"""Simulated power supply and multimeter on local TCP ports, with faults on request."""

import argparse
import asyncio
import socket
from collections import deque
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from types import TracebackType
from typing import Generic, Self, TypeVar

from busbar.testing import simulation
from scpi_bridge.simulator.bench import Multimeter, PowerSupply
from scpi_bridge.simulator.scpi_parser import Instrument

DESCRIPTION = (
    "A power supply and a multimeter on TCP ports of this machine only, with faults on "
    "request."
)

HOST = "127.0.0.1"
# bytes; beyond it real instruments report an input buffer overrun as well
LINE_LIMIT = 64 * 1024
LINES_KEPT = 1000  # of what was received, for tests to look at
# per connection; then the instrument stops reading, as one with a full output buffer
ANSWERS_WAITING = 1000

D = TypeVar("D", bound=Instrument)
# pause (s), not before (loop time), bytes; None: the end
Answers = asyncio.Queue[tuple[float, float, bytes] | None]


class Endpoint(Generic[D]):
    """One instrument on one port; the attributes are its faults and what it saw."""

    def __init__(self, device: D, port: int = 0) -> None:
        self.device = device
        self.port = port
        self.slow = 0.0  # s before each answer
        self.silent = False  # lines with a query are swallowed
        self.garbled = 0  # answers to come that are random bytes, none of them ASCII
        self.accepted = 0  # connections since the start
        # received, without terminator
        self.lines: deque[str] = deque(maxlen=LINES_KEPT)
        self._arrival = asyncio.Event()
        self._late: tuple[int, float] = (0, 0.0)
        self._tasks = asyncio.TaskGroup()
        self._connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._server: asyncio.Server | None = None

    @property
    def address(self) -> str:
        """The resource string of the bridge for this instrument."""
        return f"tcp::{HOST}:{self.port}"

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._connections)

    async def received(self, line: str) -> None:
        """Wait until this line was carried out (bound it by asyncio.timeout)."""
        while line not in self.lines:
            await self._arrival.wait()

    def late(self, count: int, delay: float) -> None:
        """Answer the next `count` queries only `delay` (s) after they came.

        Later answers queue up behind them.
        """
        self._late = (count, delay)

    def drop(self) -> None:
        """Close all connections at once, with whatever was still to be sent."""
        for task, writer in self._connections.items():
            writer.transport.abort()
            task.cancel()

    def refuse(self) -> None:
        """Refuse new connections until accept(); the port stays ours."""
        if self._server is not None:
            self._server.close()
            self._server = None
            self._socket = self._bind()

    async def accept(self) -> None:
        """Accept connections, as it is from the start."""
        if self._server is None:
            self._server = await asyncio.start_server(
                self._connected, sock=self._socket, limit=LINE_LIMIT
            )

    async def __aenter__(self) -> Self:
        self._socket = self._bind()
        self.port = self._socket.getsockname()[1]
        await self._tasks.__aenter__()
        await self.accept()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.refuse()
        self._socket.close()
        self.drop()
        # an error of the caller stays what it is, not a group
        await self._tasks.__aexit__(None, None, None)

    def _bind(self) -> socket.socket:
        # Bound and not listening refuses connections and keeps the port from being
        # given to anybody else.
        bound = socket.socket()
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind((HOST, self.port))
        except (OSError, OverflowError):
            bound.close()
            raise
        return bound

    def _connected(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if self._server is None:  # it came in while refuse() was being called
            writer.transport.abort()
            return
        self.accepted += 1
        writer.get_extra_info("socket").setsockopt(
            socket.IPPROTO_TCP, socket.TCP_NODELAY, 1
        )
        task = self._tasks.create_task(
            self._serve(reader, writer), name=f"{self.address} #{self.accepted}"
        )
        self._connections[task] = writer
        task.add_done_callback(self._connections.pop)

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        answers: Answers = asyncio.Queue(ANSWERS_WAITING)
        try:
            async with asyncio.TaskGroup() as tasks:
                reading = tasks.create_task(self._read(reader, answers), name="read")
                await self._answer(writer, answers)
                reading.cancel()
        finally:
            writer.close()

    async def _read(self, reader: asyncio.StreamReader, answers: Answers) -> None:
        while (line := await self._line(reader)) is not None:
            pause, due = self.slow, self._due(line)
            answer = None if self.silent and "?" in line else self.device.execute(line)
            if answer is not None:
                await answers.put((pause, due, self._garble(answer) + b"\n"))
        await answers.put(None)

    async def _answer(self, writer: asyncio.StreamWriter, answers: Answers) -> None:
        loop = asyncio.get_running_loop()
        while (item := await answers.get()) is not None:
            pause, due, answer = item
            await asyncio.sleep(max(pause, due - loop.time()))
            try:
                writer.write(answer)
                await writer.drain()
            except ConnectionError:
                return

    async def _line(self, reader: asyncio.StreamReader) -> str | None:
        """Return the next line, None at the end.

        A line above the limit is error -363 and dropped.
        """
        overrun = False
        while True:
            try:
                line = await reader.readuntil(b"\n")
            except asyncio.LimitOverrunError as error:
                await reader.readexactly(error.consumed)
                overrun = True
                continue
            except (asyncio.IncompleteReadError, ConnectionError):
                return None
            if overrun:
                self.device.report(-363)
                overrun = False
                continue
            return self._record(line.decode("latin-1").rstrip("\r\n"))

    def _record(self, line: str) -> str:
        self.lines.append(line)
        self._arrival.set()
        self._arrival = asyncio.Event()
        return line

    def _due(self, line: str) -> float:
        count, delay = self._late
        if not count or "?" not in line:
            return 0.0
        self._late = (count - 1, delay)
        return asyncio.get_running_loop().time() + delay

    def _garble(self, answer: bytes) -> bytes:
        if not self.garbled:
            return answer
        self.garbled -= 1
        return b"\xff" + bytes(
            self.device.random.randrange(0x80, 0x100) for _ in answer
        )


class Simulator:
    """Both instruments on one circuit; entered means listening, left means closed."""

    def __init__(self, psu_port: int = 0, dmm_port: int = 0, seed: int = 1) -> None:
        supply = PowerSupply(seed)
        self.psu = Endpoint(supply, psu_port)
        self.dmm = Endpoint(Multimeter(seed + 1, supply.channels[0]), dmm_port)
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self.psu)
            await stack.enter_async_context(self.dmm)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stack.__aexit__(kind, error, trace)


def main() -> None:
    """Run the simulator of the command line until SIGTERM or SIGINT."""
    simulation.run(_simulated(_arguments()))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m scpi_bridge.simulator", description=DESCRIPTION
    )
    parser.add_argument(
        "--psu-port",
        type=int,
        default=0,
        help=("port of the power supply (default: any free one)"),
    )
    parser.add_argument(
        "--dmm-port",
        type=int,
        default=0,
        help=("port of the multimeter (default: any free one)"),
    )
    parser.add_argument("--silent", action="store_true", help="swallow all queries")
    parser.add_argument(
        "--slow",
        type=float,
        default=0.0,
        metavar="S",
        help="seconds before each answer",
    )
    parser.add_argument(
        "--garbled", type=int, default=0, metavar="N", help="garble the first N answers"
    )
    return parser.parse_args()


@asynccontextmanager
async def _simulated(arguments: argparse.Namespace) -> AsyncIterator[dict[str, int]]:
    async with Simulator(arguments.psu_port, arguments.dmm_port) as simulator:
        for endpoint in (simulator.psu, simulator.dmm):
            endpoint.slow, endpoint.silent = arguments.slow, arguments.silent
            endpoint.garbled = arguments.garbled
        yield {"PSU_PORT": simulator.psu.port, "DMM_PORT": simulator.dmm.port}


if __name__ == "__main__":
    main()
