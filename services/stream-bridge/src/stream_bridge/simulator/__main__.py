"""Simulated microcontroller on a local TCP port."""

import argparse
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from busbar.testing import simulation
from stream_bridge.simulator.mcu import Mcu


def main() -> None:
    """Run the simulator of the command line until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(
        prog="python -m stream_bridge.simulator",
        description="A microcontroller on a TCP port of this machine only.",
    )
    parser.add_argument("--mcu-port", type=int, default=0, help="default: any free one")
    simulation.run(_simulated(parser.parse_args().mcu_port))


@asynccontextmanager
async def _simulated(port: int) -> AsyncIterator[Mapping[str, object]]:
    async with Mcu(port) as mcu, simulation.beside(mcu.tick(), "reading"):
        yield {"MCU_PORT": mcu.port}


if __name__ == "__main__":
    main()
