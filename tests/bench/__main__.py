"""`python -m tests.bench [NAME...]`: run the benchmarks. See docs/benchmarks.md."""

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.bench import (
    can,
    cip,
    commands,
    footprint,
    gpio,
    growth,
    indi,
    latency,
    machine,
    modbus,
    report,
    sdk,
    values,
)
from tests.bench.figures import Row
from tests.bench.machine import Setup

# A bridge adds its own with a module and a line here.
BENCHMARKS: dict[str, Callable[[Setup], list[Row]]] = {
    "values": values.run,
    "latency": latency.run,
    "commands": commands.run,
    "growth": growth.run,
    "footprint": footprint.run,
    "sdk": sdk.run,
    "can": can.run,
    "cip": cip.run,
    "gpio": gpio.run,
    "indi": indi.run,
    "modbus": modbus.run,
}


def main(argv: Sequence[str] | None = None) -> None:
    """Run, print, and do with the figures what was asked for."""
    arguments = _arguments(argv)
    found = run(arguments.names or list(BENCHMARKS), Setup(arguments.quick))
    print(f"\n{report.markdown(report.rows(found))}")
    committed = report.read(report.COMMITTED)
    if arguments.short:
        print(report.markdown(report.rows(found), short=True))
    if arguments.json:
        report.save(found, arguments.json)
    if arguments.check:
        print("against the committed figures (for information, nothing fails):")
        print("\n".join(report.differences(committed, found)))
    if arguments.commit:
        whole = report.merged(committed, found)
        report.save(whole, report.COMMITTED)
        report.page(whole)


def run(names: Sequence[str], setup: Setup) -> dict[str, Any]:
    """Run benchmarks.

    Return the figures and what the machine was like before and after each.
    """
    print(machine.describe())
    found = {}
    for name in names:
        began, before = time.monotonic(), machine.mood()
        rows = [row.json() for row in BENCHMARKS[name](setup)]
        moods = [before, machine.mood()]
        found[name] = {"moods": moods, "rows": rows}
        print(
            (f"{name}: {time.monotonic() - began:.0f} s; before and after: {moods}"),
            flush=True,
        )
    return {"machine": machine.describe(), "benchmarks": found}


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench", description="benchmarks, as ratios in one run"
    )
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help=(f"which: {', '.join(BENCHMARKS)}; default all"),
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help=("one short repetition: does it work at all"),
    )
    parser.add_argument(
        "--short",
        action="store_true",
        help=("print the short table of the README, too"),
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help=("compare the ratios with the committed ones"),
    )
    parser.add_argument(
        "--commit", action="store_true", help="make these figures the committed ones"
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write the figures to a file"
    )
    arguments = parser.parse_args(argv)
    if unknown := set(arguments.names) - set(BENCHMARKS):
        parser.error(
            f"there is no benchmark {', '.join(sorted(unknown))}; there are: "
            f"{', '.join(BENCHMARKS)}"
        )
    return arguments


if __name__ == "__main__":
    main()
