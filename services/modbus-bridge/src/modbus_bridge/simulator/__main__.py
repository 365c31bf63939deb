"""Simulated plant with three units, on a local TCP port or on a serial port.

Faults come on request.
"""

import argparse
import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from busbar.bridge.errors import LinkLost
from busbar.bridge.streams import open_serial
from busbar.codecs.modbus import Framing
from busbar.testing import simulation
from modbus_bridge.server import Server, converse
from modbus_bridge.simulator.plant import Plant

DESCRIPTION = (
    "A plant with three units on a TCP port of this machine only, or on a serial port, "
    "with faults on request."
)

HOST = "127.0.0.1"
TICK = 1.0  # s
CLIENTS = 20


class Simulator:
    """The plant on a TCP port, in any framing; the attributes are its faults.

    Entered = listening, left = gone.
    """

    def __init__(self, port: int = 0, framing: Framing = "tcp", seed: int = 1) -> None:
        self.plant = Plant(seed)
        self.framing, self.port = framing, port
        self.slow = 0.0  # s before each answer
        self.silent: set[int] = set()  # units that do not answer
        self.late: list[float] = []  # s before the next answers, one after another
        self.nonsense = 0  # answers to come that answer nothing
        self.asked = 0  # requests so far
        self._server = Server(self._handle, CLIENTS, framing)
        self._stack = contextlib.AsyncExitStack()

    @property
    def address(self) -> str:
        """The address for the bridge."""
        return f"modbus::{self.framing}::{HOST}:{self.port}"

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return self._server.connections

    def unplug(self) -> None:
        """Break all connections and refuse new ones until plug()."""
        self._server.refuse()
        self._server.drop()

    async def plug(self) -> None:
        """Accept connections, as it is from the start."""
        await self._server.listen(HOST, self.port)
        self.port = self._server.port

    @asynccontextmanager
    async def on_serial(
        self, path: str, framing: Framing = "rtu", baudrate: int = 115200
    ) -> AsyncIterator[None]:
        """Answer on a serial port, too, until left."""
        stream = await open_serial(path, baudrate, "simulator")
        task = asyncio.create_task(
            converse(stream, framing, self._handle), name="simulator on a serial port"
        )
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await stream.close()

    async def tick(self) -> None:
        """Let the plant go."""
        while True:
            await asyncio.sleep(TICK)
            self.plant.tick(TICK)

    async def _handle(self, unit: int, pdu: bytes) -> bytes | None:
        self.asked += 1
        pause = self.late.pop(0) if self.late else self.slow
        if unit in self.silent:
            return None
        answer = await self.plant.handle(unit, pdu)
        if pause:
            await asyncio.sleep(pause)
        if self.nonsense and answer is not None:
            self.nonsense -= 1
            return answer[:1] + b"\xff"
        return answer

    async def __aenter__(self) -> "Simulator":
        await self._stack.enter_async_context(self._server.listening(HOST, self.port))
        self.port = self._server.port
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()


def main() -> None:
    """Run the simulator of the command line until SIGTERM or SIGINT."""
    try:
        simulation.run(_simulated(_arguments()))
    except LinkLost as error:  # a port that is taken, or no serial port
        sys.exit(f"simulator: {error}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m modbus_bridge.simulator", description=DESCRIPTION
    )
    parser.add_argument(
        "--modbus-port", type=int, default=0, help="TCP port (default: any free one)"
    )
    parser.add_argument(
        "--framing",
        choices=["tcp", "rtu", "ascii"],
        default="tcp",
        help="what is spoken there",
    )
    parser.add_argument(
        "--serial",
        metavar="PATH",
        help=("answer on this serial port, too, at 115200 8N1, by RTU"),
    )
    parser.add_argument(
        "--slow",
        type=float,
        default=0.0,
        metavar="S",
        help="seconds before each answer",
    )
    parser.add_argument(
        "--silent",
        type=int,
        action="append",
        default=[],
        metavar="UNIT",
        help="a unit that is dead",
    )
    return parser.parse_args()


@asynccontextmanager
async def _simulated(arguments: argparse.Namespace) -> AsyncIterator[dict[str, int]]:
    async with contextlib.AsyncExitStack() as stack:
        simulator = await stack.enter_async_context(
            Simulator(arguments.modbus_port, arguments.framing)
        )
        simulator.slow, simulator.silent = arguments.slow, set(arguments.silent)
        if arguments.serial:
            await stack.enter_async_context(simulator.on_serial(arguments.serial))
        await stack.enter_async_context(simulation.beside(simulator.tick(), "plant"))
        yield {"MODBUS_PORT": simulator.port}


if __name__ == "__main__":
    main()
