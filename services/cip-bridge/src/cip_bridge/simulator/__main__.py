"""A processor on a TCP port of this machine only.

The server role with a little program, and faults on request.
"""

import argparse
import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime

from busbar.bridge.errors import TooLarge
from busbar.codecs import cip
from busbar.codecs.cip import Join, Style, Update
from busbar.testing import simulation
from cip_bridge.join_state import Value
from cip_bridge.processor_role.listener import Listener
from cip_bridge.processor_role.program import Seat, Shown
from cip_bridge.simulator.theatre import Theatre

HOST = "127.0.0.1"
IPID = 0x0A
TICK = 1.0  # s


class Processor(Listener):
    """A listener with the moods of a processor.

    It boots, refuses, takes its time, breaks off.
    """

    refusing = False  # every IP-ID is unknown
    slow = 0.0  # s before the answer to an update request
    asked = 0  # update requests since the start
    accepted = 0  # connections since the start

    def boot(self) -> None:
        """Let panels wait from here on."""
        self.state = cip.BOOTING

    def booted(self) -> None:
        """Greet those that wait."""
        self.state = cip.READY
        for panel in self._open.values():
            panel.greet()

    def drop(self) -> None:
        """Break all connections without a word."""
        for panel in list(self._open.values()):
            panel.abort()

    def find(self, ipid: int) -> Seat | None:
        return (
            None if self.refusing or self.state == cip.BOOTING else super().find(ipid)
        )

    def update(self, panel: Shown) -> None:
        self.asked += 1
        if self.slow:
            asyncio.get_running_loop().call_later(self.slow, panel.dump)
        else:
            panel.dump()

    def _connected(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.accepted += 1
        super()._connected(reader, writer)


class Simulator:
    """One processor whose program knows the IP-ID 0x0A.

    Entered = listening, left = gone.
    """

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
        style = Style(encoding="utf16")  # it says back whatever text it is given
        self.seat = Seat(
            ipid, self._told, credentials=credentials, room=room, style=style
        )
        self.theatre = Theatre(self._drive)
        self.listener = Processor(host, port, [self.seat], tls)
        self._stack = contextlib.AsyncExitStack()

    @property
    def address(self) -> str:
        """The address for the configuration of a bridge."""
        scheme = "cips" if self.listener.tls else "cip"
        return f"{scheme}::{self.listener.host}:{self.listener.port}"

    def unplug(self) -> None:
        """Break all connections and refuse new ones until plug()."""
        self.listener.refuse()
        self.listener.drop()

    async def plug(self) -> None:
        await self.listener.listen()

    async def boot(self, seconds: float) -> None:
        """Be booting for so long, then start the program."""
        self.listener.boot()
        await asyncio.sleep(seconds)
        self.theatre.start()
        self.listener.booted()

    async def tick(self) -> None:
        """Let the clock of the room go."""
        while True:
            self.theatre.tick(datetime.now())
            await asyncio.sleep(TICK)

    def _drive(self, join: Join, value: Value) -> None:
        # a text has grown by its encoding: there is no feedback for it
        with contextlib.suppress(TooLarge):
            self.seat.drive(join, value)

    def _told(self, updates: list[Update]) -> None:
        self.theatre.take(updates)

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
        prog="python -m cip_bridge.simulator", description=__doc__
    )
    parser.add_argument(
        "--cip-port",
        type=int,
        default=0,
        help=("port of the processor (default: any free one)"),
    )
    parser.add_argument(
        "--ipid",
        type=lambda text: int(text, 0),
        default=IPID,
        help="that its program knows (0x0A)",
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
    name, _, password = (arguments.login or "").partition(":")
    credentials = (name, password) if arguments.login else None
    async with Simulator(
        arguments.cip_port, ipid=arguments.ipid, credentials=credentials
    ) as simulator:
        simulator.listener.refusing = arguments.refuse
        async with simulation.beside(_live(simulator, arguments.boot), "program"):
            yield {"CIP_PORT": simulator.listener.port}


async def _live(simulator: Simulator, boot: float) -> None:
    """Boot, then let the clock go."""
    if boot:
        await simulator.boot(boot)
    await simulator.tick()


if __name__ == "__main__":
    main()
