"""What a device does while it is measured.

The same for the bridge and for whatever stands beside it.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

Publish = Callable[[str, dict[str, float]], None]  # device, readings (path -> value)


@dataclass(frozen=True)
class Load:
    """`burst` new values at once, then `pause` (s); in one call, or one each."""

    burst: int = 1
    pause: float = 0.001
    calls: bool = False
    properties: int = 100  # of one device
    devices: int = 1
    seconds: float = 2.0
    stamped: bool = False  # the value is the monotonic clock (ns), for latencies

    @property
    def names(self) -> list[str]:
        return [f"device{number}" for number in range(self.devices)]

    @property
    def paths(self) -> list[str]:
        return [f"group/value{number}" for number in range(self.properties)]


class Stream:
    """Endless readings, every one of them news.

    Each property of each device has its turn.
    """

    def __init__(self, load: Load) -> None:
        self._load = load
        self._names, self._paths = load.names, load.paths
        self._count = 0

    async def run(self, publish: Publish, seconds: float) -> int:
        """Produce for so long; return how many values.

        What is late is caught up with at once.
        """
        loop = asyncio.get_running_loop()
        shots = round(seconds / self._load.pause)
        started = loop.time()
        for shot in range(shots):
            await asyncio.sleep(
                max(0.0, started + shot * self._load.pause - loop.time())
            )
            for device, readings in self._shot():
                publish(device, readings)
        return shots * self._load.burst

    def everything(self) -> Iterator[tuple[str, dict[str, float]]]:
        """A first value for every property."""
        for name in self._names:
            yield name, dict.fromkeys(self._paths, -1.0)

    def _shot(self) -> Iterator[tuple[str, dict[str, float]]]:
        readings = [self._next() for _ in range(self._load.burst)]
        if self._load.calls:
            yield from ((device, {path: value}) for device, path, value in readings)
        else:
            yield readings[0][0], {path: value for _, path, value in readings}

    def _next(self) -> tuple[str, str, float]:
        number = self._count
        self._count += 1
        device = self._names[number % len(self._names)]
        path = self._paths[number // len(self._names) % len(self._paths)]
        return (
            device,
            path,
            time.monotonic_ns() if self._load.stamped else number / 1000,
        )
