"""CPU of one changed value as a bridge grows: more properties, more devices."""

from functools import partial

from tests.bench.figures import Row, compare, in_turns
from tests.bench.load import Load
from tests.bench.machine import Setup
from tests.bench.processes import subject
from tests.broker import Mosquitto

FEW = "10 properties"
# s: long enough for each value to be a message of its own, on one device as on a
# hundred
PAUSE = 0.002
SIZES = {
    FEW: Load(pause=PAUSE, properties=10),
    "100 properties": Load(pause=PAUSE, properties=100),
    "1000 properties": Load(pause=PAUSE, properties=1000),
    # its snapshots are 4 s apart: see several
    "10 000 properties": Load(pause=PAUSE, properties=10_000, seconds=10.0),
    "10 devices of 10 properties": Load(pause=PAUSE, properties=10, devices=10),
    "100 devices of 10 properties": Load(pause=PAUSE, properties=10, devices=100),
}
REPETITIONS = 3  # they are long


def run(setup: Setup) -> list[Row]:
    """Return a row for each size, beside the smallest."""
    with Mosquitto() as broker:
        costs = in_turns(
            min(REPETITIONS, setup.repetitions),
            {
                size: partial(_cost, broker.url, setup, load)
                for size, load in SIZES.items()
            },
        )
    return [
        compare(
            f"CPU per value at 500/s: {size}",
            "us",
            costs[size],
            costs[FEW],
            FEW,
            short="10 000" in size,
        )
        for size in SIZES
        if size != FEW
    ]


def _cost(url: str, setup: Setup, load: Load) -> float:
    seconds = setup.seconds(load.seconds)
    return (
        subject("bridge", url, Load(**{**vars(load), "seconds": seconds}))["cpu"] * 1e6
    )
