"""python-cipclient through its public API.

`python -m tests.bench.cip_peer PORT SUBSCRIPTIONS`, a task per line.

Nothing of ours is imported here: the memory of this process is measured.
"""

import json
import logging
import random
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from cipclient import CIPSocketClient

IPID = 0x0A
JOINS = 3000  # analog joins that change; each in its turn
SILENCE = 1.5  # s without any more: the rest is lost
LIMIT = 60.0  # s
# s between single values: no step with the 10 ms of python-cipclient's loop
PAUSES = (0.005, 0.03)

Pair = tuple[int, int]  # join, value


def pairs(first: int, count: int, joins: int = JOINS) -> Iterator[Pair]:
    """Joins and values, numbered on and on.

    Each value differs from the one before of its join, none is the default.
    """
    for number in range(first, first + count):
        yield number % joins + 1, number * 7919 % 65535 + 1


def compared(found: Iterable[Pair], wanted: Iterable[Pair]) -> dict[str, int]:
    """Return how many are there in their order, and how many are that should not be.

    Strange, late, or there twice.
    """
    # no pair is there twice
    places = {pair: place for place, pair in enumerate(wanted)}
    delivered = wrong = 0
    last = -1
    for pair in found:
        place = places.get(pair, -1)
        if place > last:
            delivered, last = delivered + 1, place
        else:
            wrong += 1
    return {"delivered": delivered, "wrong": wrong}


def pauses(count: int) -> Iterator[int]:
    """Numbers, with a random pause before each."""
    for number in range(count):
        time.sleep(random.uniform(*PAUSES))
        yield number


class Inbox:
    """What comes in, and when the last of it came."""

    def __init__(self) -> None:
        self._found: list[Pair] = []
        self._last = 0

    def took(self, _kind: str, join: int, value: int) -> None:
        self._found.append((join, value))
        self._last = time.monotonic_ns()

    def came(self, first: int, count: int, joins: int = JOINS) -> dict[str, int]:
        """Wait for so many, or until no more come.

        Return what is right, what is wrong, and when the last came (ns).
        """
        began = time.monotonic_ns()
        while (
            len(self._found) < count
            and time.monotonic_ns() - max(began, self._last) < SILENCE * 1e9
        ):
            time.sleep(0.005)
        found, self._found = self._found, []
        return {**compared(found, pairs(first, count, joins)), "last": self._last}


def sets(client: Any, _inbox: Inbox, first: int, count: int) -> int:
    """Set joins as fast as it takes them; return when that began (ns)."""
    began = time.monotonic_ns()
    for join, value in pairs(first, count):
        client.set("a", join, value)
    return began


def texts(client: Any, _inbox: Inbox, count: int) -> None:
    """Set a text to the time of now, again and again."""
    for _ in pauses(count):
        client.set("s", 1, str(time.monotonic_ns()))


def came(_client: Any, inbox: Inbox, first: int, count: int) -> dict[str, int]:
    """Tell what the callbacks were given."""
    return inbox.came(first, count)


def holds(client: Any, _inbox: Inbox, count: int) -> dict[str, int]:
    """Wait until so many joins are there; compare all their values."""
    deadline = time.monotonic() + LIMIT
    while len(client.join["in"]["a"]) < count and time.monotonic() < deadline:
        time.sleep(0.05)
    found = [(join, client.get("a", join)) for join in range(1, count + 1)]
    return compared(found, pairs(0, count, count))


TASKS: dict[str, Callable[..., Any]] = {
    "sets": sets,
    "texts": texts,
    "came": came,
    "holds": holds,
}


def main(port: int, subscriptions: int) -> None:
    """Connect, then do what each line says."""
    logging.disable(logging.WARNING)  # of the burst that it loses
    client, inbox = CIPSocketClient("127.0.0.1", IPID, port), Inbox()
    for join in range(1, subscriptions + 1):
        client.subscribe("a", join, inbox.took)
    client.start()
    while not client.connected:
        time.sleep(0.01)
    print("ready", flush=True)
    for line in sys.stdin:
        task, *numbers = line.split()
        print(json.dumps(TASKS[task](client, inbox, *map(int, numbers))), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
