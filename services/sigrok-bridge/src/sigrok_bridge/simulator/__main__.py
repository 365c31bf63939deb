"""Demo device of sigrok behind a program of its own, which can be taken away.

sigrok-cli has a driver `demo`; what is simulated here is a plug that can be pulled.
"""

import argparse
import shlex
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from busbar.testing import simulation
from sigrok_bridge.simulator import NEEDS

DESCRIPTION = (
    "A program that runs sigrok-cli, as long as this one lives. The driver `demo` of "
    "sigrok is the simulated instrument."
)


def main() -> None:
    """Run the simulator of the command line until SIGTERM or SIGINT."""
    found = shutil.which(NEEDS)
    if found is None:
        sys.exit(f"simulator: {NEEDS} is missing; Debian has it in: {NEEDS}")
    simulation.run(_plugged(_arguments(), found))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m sigrok_bridge.simulator", description=DESCRIPTION
    )
    parser.add_argument(
        "--sigrok-cli",
        type=Path,
        metavar="FILE",
        help="the program to make (default: in a folder of its own)",
    )
    parser.add_argument(
        "--slow",
        type=float,
        default=0.0,
        metavar="S",
        help="seconds until the program begins",
    )
    return parser.parse_args()


@asynccontextmanager
async def _plugged(
    arguments: argparse.Namespace, found: str
) -> AsyncIterator[dict[str, str]]:
    """Make the program; it is gone when left."""
    with tempfile.TemporaryDirectory(prefix="busbar-sigrok-") as folder:
        path = arguments.sigrok_cli or Path(folder) / NEEDS
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(script(found, arguments.slow))
        path.chmod(0o755)
        try:
            yield {"SIGROK_CLI": str(path)}
        finally:
            path.unlink(missing_ok=True)


def script(program: str, slow: float = 0.0) -> str:
    """Return a shell script that runs the program, after so many seconds."""
    pause = f"sleep {slow:g}\n" if slow else ""
    return f'#!/bin/sh\n{pause}exec {shlex.quote(program)} "$@"\n'


if __name__ == "__main__":
    main()
