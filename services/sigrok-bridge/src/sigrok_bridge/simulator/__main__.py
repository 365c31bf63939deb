"""Demo device of sigrok, as a program that stays: sigrok-cli has the driver `demo`."""

import argparse
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from busbar.testing import simulation
from sigrok_bridge.simulator import NEEDS

DESCRIPTION = "Say where sigrok-cli is; its driver `demo` is the simulated instrument."


def main() -> None:
    """Run the simulator of the command line until SIGTERM or SIGINT."""
    simulation.run(_there(_arguments().sigrok_cli))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m sigrok_bridge.simulator", description=DESCRIPTION
    )
    parser.add_argument(
        "--sigrok-cli",
        default=NEEDS,
        metavar="PROGRAM",
        help="the program (default: the one that is installed)",
    )
    return parser.parse_args()


@asynccontextmanager
async def _there(program: str) -> AsyncIterator[dict[str, str]]:
    found = shutil.which(program)
    if found is None:
        sys.exit(f"simulator: {program} is missing; Debian has it in: {NEEDS}")
    yield {"SIGROK_CLI": found}


if __name__ == "__main__":
    main()
