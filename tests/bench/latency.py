"""Time from the device to a subscriber at 1000 values/s, against a bare publish."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.bench.bridge import BASE
from tests.bench.figures import Budget, Row, compare, in_turns
from tests.bench.load import Load
from tests.bench.machine import Setup
from tests.bench.processes import finished, python, ready, started, subject
from tests.broker import Mosquitto

PAUSE = 0.001  # s
BUDGETS = {"p50": Budget(2.0, ratio=True), "p99": Budget(3.0, ratio=True)}
FILTERS = {"leaf": f"{BASE}/device0/state/#", "change": f"{BASE}/device0/event/change"}
SOURCE = Path(__file__).with_name("hop.c")

Ages = dict[str, float]


def run(setup: Setup) -> list[Row]:
    """Return p50 and p99 of both ways that a value takes."""
    with TemporaryDirectory(prefix="busbar-bench-") as folder, Mosquitto() as broker:
        hop = _built(Path(folder))
        against = "bare publish, " + ("paho" if hop is None else "C")
        command = hop or python("hop")
        load = Load(pause=PAUSE, seconds=setup.seconds(4.0), stamped=True)
        ages = in_turns(
            setup.repetitions,
            {
                "bare": partial(
                    _bare, command, broker.port, round(load.seconds / PAUSE)
                ),
                **{
                    name: partial(_ours, command, broker, load, name)
                    for name in FILTERS
                },
            },
        )
    return [
        _row(ages, name, percentile, against)
        for name in FILTERS
        for percentile in BUDGETS
    ]


def _row(ages: dict[str, list[Ages]], name: str, percentile: str, against: str) -> Row:
    ours, bare = (
        [each[percentile] / 1000 for each in ages[which]] for which in (name, "bare")
    )
    title = f"device to subscriber at 1000/s, {name}, {percentile}"
    return compare(
        title,
        "us",
        ours,
        bare,
        against,
        budget=BUDGETS[percentile],
        short=(name, percentile) == ("leaf", "p50"),
    )


def _bare(hop: Sequence[str], port: int, count: int) -> Ages:
    with started([*hop, "listen", str(port), "bare", str(count), "0"]) as listener:
        ready(listener)
        with started(
            [*hop, "publish", str(port), "bare", str(count), str(round(PAUSE * 1e9))]
        ) as publisher:
            finished(publisher)
        return _complete(finished(listener), count)


def _ours(hop: Sequence[str], broker: Mosquitto, load: Load, name: str) -> Ages:
    count = round(load.seconds / PAUSE)
    with started(
        [*hop, "listen", str(broker.port), FILTERS[name], str(count), "0"]
    ) as listener:
        ready(listener)
        subject("flow", broker.url, load)
        return _complete(finished(listener), count if name == "change" else 1)


def _complete(ages: Ages, least: int) -> Ages:
    if ages["seen"] < least:
        raise RuntimeError(f"{ages['seen']:g} of {least} values came")
    return ages


def _built(folder: Path) -> list[str] | None:
    """Build the hop in C; None, and the reason said, where that cannot be done."""
    program = folder / "hop"
    command = ["gcc", "-O2", "-Wall", "-o", str(program), str(SOURCE), "-lmosquitto"]
    for prepare in (lambda: None, _install):
        prepare()
        if (
            shutil.which("gcc")
            and subprocess.run(
                command, stderr=subprocess.DEVNULL, check=False
            ).returncode
            == 0
        ):
            return [str(program)]
    print(
        ("gcc or libmosquitto-dev is missing: the bare publish is paho's, not C's"),
        file=sys.stderr,
    )
    return None


def _install() -> None:
    if os.geteuid() == 0 and shutil.which("apt-get"):
        wanted = ["gcc", "libc6-dev", "libmosquitto-dev"]
        command = ["apt-get", "install", "--yes", "--no-install-recommends", *wanted]
        subprocess.run(command, stdout=sys.stderr, check=False)
