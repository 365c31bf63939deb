"""CPU of one changed value, from the outlet to the socket (leaf, change, snapshot),
against stock paho."""

from collections.abc import Callable
from functools import partial

from tests.bench.figures import Budget, Row, compare, in_turns
from tests.bench.load import Load
from tests.bench.machine import Setup
from tests.bench.processes import subject
from tests.broker import Mosquitto

PATTERNS = {
    "one value, 1000/s": (Load(), 30.0),
    "100 values in one call, every 50 ms": (Load(burst=100, pause=0.05), 20.0),
    "100 calls at once, every 50 ms": (Load(burst=100, pause=0.05, calls=True), 20.0),
}
AGAINST = "stock paho, loop_start, QoS 0"


def run(setup: Setup) -> list[Row]:
    """Return a row for each pattern."""
    with Mosquitto() as broker:
        return [
            _row(setup, broker.url, title, *pattern)
            for title, pattern in PATTERNS.items()
        ]


def _row(setup: Setup, url: str, title: str, load: Load, most: float) -> Row:
    load = Load(**{**vars(load), "seconds": setup.seconds(load.seconds)})

    def cost(role: str) -> float:
        return subject(role, url, load)["cpu"] * 1e6

    candidates: dict[str, Callable[[], float]] = {
        role: partial(cost, role) for role in ("bridge", "stock")
    }
    costs = in_turns(setup.repetitions, candidates)
    return compare(
        f"CPU per value: {title}",
        "us",
        costs["bridge"],
        costs["stock"],
        AGAINST,
        budget=Budget(most),
        short=not load.calls,
    )
