"""Simulator of an observatory behind an INDI server, as a program."""

import argparse
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from busbar.testing import simulation
from indi_bridge.simulator.server import SimulatedServer

DESCRIPTION = (
    "A small INDI server on a TCP port of this machine only, with a simulated "
    "observatory, and faults on request."
)


def main() -> None:
    """Run the simulator of the command line until SIGTERM or SIGINT."""
    simulation.run(_simulated(_arguments()))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m indi_bridge.simulator", description=DESCRIPTION
    )
    parser.add_argument(
        "--indi-port",
        type=int,
        default=0,
        help="port of the server (default: any free one)",
    )
    parser.add_argument(
        "--slow",
        type=float,
        default=0.0,
        metavar="S",
        help="seconds until definitions are sent",
    )
    return parser.parse_args()


@asynccontextmanager
async def _simulated(arguments: argparse.Namespace) -> AsyncIterator[dict[str, int]]:
    async with SimulatedServer(arguments.indi_port) as server:
        server.slow = arguments.slow
        server.add_observatory()
        yield {"INDI_PORT": server.port}


if __name__ == "__main__":
    main()
