"""`python -m tests.bench [NAME...]`: run the benchmarks. See docs/benchmarks.md."""

import argparse
import importlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.bench import machine, report
from tests.bench.figures import Row
from tests.bench.machine import Setup

# What every bridge has; after them comes the module named after each transport.
COMMON = ("values", "latency", "commands", "growth", "footprint", "sdk")
HERE = Path(__file__).parent


def _benchmarks() -> dict[str, Callable[[Setup], list[Row]]]:
    """Return the `run` of each benchmark."""
    bridges = sorted(each.name for each in HERE.parent.glob("*_bridge"))
    transports = [name.removesuffix("_bridge") for name in bridges]
    own = [name for name in transports if (HERE / f"{name}.py").exists()]
    modules = {
        name: importlib.import_module(f"tests.bench.{name}") for name in (*COMMON, *own)
    }
    return {name: module.run for name, module in modules.items()}


BENCHMARKS = _benchmarks()


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
