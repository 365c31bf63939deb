"""A broker, the simulator and a bridge, each a process, for all tests of one file.

And the command itself.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.broker import Mosquitto
from tests.cli.command import Bench, until
from tests.process import BENCH, BridgeProcess


@contextmanager
def simulator() -> Iterator[int]:
    """The port of a power supply."""
    process = subprocess.Popen(
        [sys.executable, "-m", "scpi_bridge.simulator.__main__"], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        yield int(json.loads(process.stdout.readline())["PSU_PORT"])
    finally:
        process.stdout.close()
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    folder: Path = tmp_path_factory.mktemp("bench")
    with (
        Mosquitto() as broker,
        simulator() as psu,
        BridgeProcess(BENCH.format(psu=psu), broker.url, folder) as bridge,
    ):
        found = Bench(broker, bridge)
        until(
            lambda: found("get", "bench/psu", "voltage", "output").code == 0,
            "the power supply",
        )
        yield found
