"""indipyclient through its public API.

`python -m tests.bench.indi_peer PORT VECTORS`, a task per line.

Nothing of ours is imported here: CPU and memory of this process are measured.
"""

import asyncio
import hashlib
import json
import logging
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

from indipyclient import IPyClient

SILENCE = 2.0  # s without any more: the rest is lost
POLL = 0.02  # s between looks: rare enough to cost nothing


class Client(IPyClient):  # type: ignore[misc]  # it has no types
    """Keeps what comes, and when it came."""

    def __init__(self, port: int, vectors: int) -> None:
        super().__init__("127.0.0.1", port)
        self.enableBLOBdefault = "Also"
        self._left = vectors
        self._last = 0  # ns
        self._defined = 0  # ns
        self._sets: list[tuple[str, float]] = []
        self._ages: list[float] = []  # us, of values that are the time
        self._image = b""  # the last
        self._seen = 0  # images

    async def rxevent(self, event: Any) -> None:
        """Take an event."""
        if event.eventtype == "Set":
            self._last = time.monotonic_ns()
            value = float(event["M0"])
            self._sets.append((event.vectorname, value))
            self._ages.append(self._last / 1000 - value)
        elif event.eventtype == "SetBLOB":
            self._last = time.monotonic_ns()
            self._image = event["M0"]
            self._seen += 1
        elif event.eventtype in ("Define", "DefineBLOB"):
            self._left -= 1
            if self._left == 0:
                self._defined = time.monotonic_ns()

    async def defined(self) -> dict[str, Any]:
        """Return when all vectors were there (ns), and what they hold."""
        while not self._defined:  # noqa: ASYNC110  # rare enough
            await asyncio.sleep(POLL)
        values: dict[str, dict[str, Any]] = {}
        for device, vectors in self.items():
            values[device] = {}
            for name, vector in vectors.items():
                values[device][name] = dict(vector)
        return {"at": self._defined, "values": values}

    async def came(self, count: int) -> list[tuple[str, float]]:
        """Wait for so many sets, or until no more come; return them."""
        await self._until(lambda: len(self._sets) >= count)
        found = self._sets
        self._forget()
        return found

    async def aged(self, count: int) -> list[float]:
        """Return how old so many values were (us)."""
        await self._until(lambda: len(self._ages) >= count)
        found = self._ages
        self._forget()
        return found

    async def images(self, count: int) -> int:
        """Wait for so many images, or until no more come; return how many."""
        await self._until(lambda: self._seen >= count)
        seen = self._seen
        self._seen = 0
        return seen

    async def sum(self) -> str:
        """Return the SHA-256 of the last image."""
        return hashlib.sha256(self._image).hexdigest()

    def _forget(self) -> None:
        self._sets = []
        self._ages = []

    async def _until(self, complete: Callable[[], bool]) -> None:
        began = time.monotonic_ns()
        while not complete():
            silence = time.monotonic_ns() - max(began, self._last)
            if silence >= SILENCE * 1e9:
                return
            await asyncio.sleep(POLL)


async def main(port: int, vectors: int) -> None:
    """Connect, then do what each line says."""
    logging.disable(logging.WARNING)
    client = Client(port, vectors)
    running = asyncio.create_task(client.asyncrun())
    tasks: dict[str, Callable[..., Awaitable[Any]]] = {
        "defined": client.defined,
        "came": client.came,
        "aged": client.aged,
        "images": client.images,
        "sum": client.sum,
    }
    while line := await asyncio.to_thread(sys.stdin.readline):
        task, *numbers = line.split()
        found = await tasks[task](*map(int, numbers))
        print(json.dumps(found), flush=True)
    client.shutdown()
    await running


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
