"""Simulated processor on a TCP port of this machine only, with faults on request."""

import argparse
import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime

from busbar.bridge.errors import TooLarge
from busbar.codecs import cip
from busbar.codecs.cip import Join, Style
from busbar.testing import simulation
from cip_bridge.join_state import Value
from cip_bridge.processor_role.listener import PanelListener
from cip_bridge.processor_role.program import Seat, SignedOnPanel
from cip_bridge.settings import parse_ipid
from cip_bridge.simulator.theatre import Theatre

HOST = "127.0.0.1"
IPID = 0x0A
TICK = 1.0  # s
DESCRIPTION = (
    "A processor on a TCP port of this machine only. The server role with a little "
    "program, and faults on request."
)


class SimulatedProgram:
    """A program with one IP-ID. It boots, refuses, and is slow on request."""

    def __init__(self, seat: Seat) -> None:
        self.state = cip.READY  # of the greeting
        self.refusing = False  # every IP-ID is unknown
        self.slow = 0.0  # s before the answer to an update request
        self.asked = 0  # update requests since the start
        self.seats = {seat.ipid: seat}

    def now(self) -> datetime:
        return datetime.now()

    def find(self, ipid: int) -> Seat | None:
        if self.refusing or self.state == cip.BOOTING:
            return None
        return self.seats.get(ipid)

    def answer_update(self, panel: SignedOnPanel) -> None:
        self.asked += 1
        if self.slow:
            asyncio.get_running_loop().call_later(self.slow, panel.request_update)
        else:
            panel.request_update()


class Simulator:
    """A processor whose program knows one IP-ID; entered = listening, left = gone."""

    def __init__(
        self,
        port: int = 0,
        *,
        host: str = HOST,
        ipid: int = IPID,
        credentials: tuple[str, str] | None = None,
        room: str | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.theatre = Theatre(self._drive)
        self.seat = Seat(
            ipid,
            self.theatre.take,
            credentials=credentials,
            room=room,
            style=Style(encoding="utf16"),  # it sends back whatever text it is given
        )
        self.program = SimulatedProgram(self.seat)
        self.listener = PanelListener(host, port, self.program, tls)
        self._stack = contextlib.AsyncExitStack()

    @property
    def address(self) -> str:
        """Address for the configuration of a bridge."""
        scheme = "cips" if self.listener.tls else "cip"
        return f"{scheme}::{self.listener.host}:{self.listener.port}"

    def drop(self) -> None:
        """Break all connections without a goodbye."""
        for connection in self.listener.connections:
            connection.abort()

    def unplug(self) -> None:
        """Break all connections and refuse new ones until plug()."""
        self.listener.refuse()
        self.drop()

    async def plug(self) -> None:
        await self.listener.listen()

    def begin_boot(self) -> None:
        """Let panels wait from here on."""
        self.program.state = cip.BOOTING

    def end_boot(self) -> None:
        """Greet the panels that wait."""
        self.program.state = cip.READY
        for connection in self.listener.connections:
            connection.greet()

    async def boot(self, seconds: float) -> None:
        """Be booting for so long, then start the program."""
        self.begin_boot()
        await asyncio.sleep(seconds)
        self.theatre.start()
        self.end_boot()

    async def tick(self) -> None:
        """Run the clock of the room."""
        while True:
            self.theatre.tick(datetime.now())
            await asyncio.sleep(TICK)

    def _drive(self, join: Join, value: Value) -> None:
        # a text has grown by its encoding: there is no feedback for it
        with contextlib.suppress(TooLarge):
            self.seat.drive(join, value)

    async def __aenter__(self) -> "Simulator":
        self.theatre.start()
        await self._stack.enter_async_context(self.listener)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()


def main() -> None:
    """Run the simulator of the command line until SIGTERM or SIGINT."""
    simulation.run(_simulated(_arguments()))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m cip_bridge.simulator", description=DESCRIPTION
    )
    parser.add_argument(
        "--cip-port",
        type=int,
        default=0,
        help="port of the processor (default: any free one)",
    )
    parser.add_argument(
        "--ipid",
        type=parse_ipid,
        default=IPID,
        help="that its program knows, in hex (0A)",
    )
    parser.add_argument(
        "--boot",
        type=float,
        default=0.0,
        metavar="S",
        help="seconds until its program has started",
    )
    parser.add_argument("--refuse", action="store_true", help="know no IP-ID")
    parser.add_argument("--login", metavar="NAME:PASSWORD", help="ask panels for these")
    return parser.parse_args()


@asynccontextmanager
async def _simulated(arguments: argparse.Namespace) -> AsyncIterator[dict[str, int]]:
    credentials = None
    if arguments.login:
        name, _, password = arguments.login.partition(":")
        credentials = (name, password)
    async with Simulator(
        arguments.cip_port, ipid=arguments.ipid, credentials=credentials
    ) as simulator:
        simulator.program.refusing = arguments.refuse
        async with simulation.beside(_live(simulator, arguments.boot), "program"):
            yield {"CIP_PORT": simulator.listener.port}


async def _live(simulator: Simulator, boot: float) -> None:
    """Boot, then run the clock."""
    if boot:
        await simulator.boot(boot)
    await simulator.tick()


if __name__ == "__main__":
    main()
