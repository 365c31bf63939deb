"""The command `busbar`."""

import argparse
import math
import os
import sys
from collections.abc import Sequence

from busbar.cli import demo


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    arguments = _parser().parse_args(argv)
    try:
        return demo.run(arguments.duration, arguments.port)
    except BrokenPipeError:  # `busbar ... | head`: nobody reads on, and the interpreter must not trip over it again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="busbar", description="devices on MQTT")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    shown = commands.add_parser("demo", help="a private broker, every installed bridge, and simulated devices")
    shown.add_argument("--for", dest="duration", type=seconds, metavar="SECONDS", help="end by itself")
    shown.add_argument("--port", type=_port, metavar="N", help="of the broker (default: 1883 if it is free)")
    return parser


def seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is no number of seconds")
    return seconds


def _port(text: str) -> int:
    port = int(text)
    if not 0 < port < 65536:
        raise argparse.ArgumentTypeError(f"{text} is not between 1 and 65535")
    return port
