"""The bridge on a recorded conversation: it hears what a real driver has said."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from busbar.contract.names import level
from busbar.testing.fakes import until
from indi_bridge.bridge import SERVICE
from tests.indi_bridge.stage import CONFIG
from tests.running import Running, running
from tests.traces.indi_text import IndiDialect, parsed
from tests.traces.replay import Replay
from tests.traces.trace import FROM_PEER, load

STEP = 0.05  # s; sockets have to keep up with the clock
LIMIT = 600.0  # s of the clock


class Replayed:
    """The bridge, and the driver that says what was recorded."""

    def __init__(self, bus: Running, peer: Replay, device: str) -> None:
        self.bus = bus
        self.peer = peer
        self.device = device

    async def set(self, path: str, payload: Any) -> dict[str, Any]:
        """Set a property while time flies; return the outcome."""
        return await self.hurried(self.bus.set(self.device, path, payload))

    async def call(self, command: str, **arguments: Any) -> dict[str, Any]:
        """Run a command while time flies; return the outcome."""
        return await self.hurried(self.bus.call(self.device, command, arguments))

    async def hurried(self, doing: Coroutine[Any, Any, Any]) -> Any:
        task = asyncio.ensure_future(doing)
        await self.fly(task.done)
        return await task

    async def end(self) -> None:
        """Let time fly until all that was recorded has been said."""
        await self.fly(self.peer.finished.is_set)
        assert not self.peer.unexpected

    async def fly(self, condition: Any) -> None:
        left = LIMIT
        while not condition():
            await self.bus.clock.advance(STEP)
            await asyncio.sleep(0.0005)
            left -= STEP
            assert left > 0, f"it did not come; the trace is at {self.peer.place}"

    def value(self, vector: str) -> dict[str, Any]:
        """Return the value of a property."""
        return dict(self.bus.good(self.device)[vector])


@asynccontextmanager
async def replayed(name: str, more: str = "steps: false") -> AsyncIterator[Replayed]:
    """The bridge on a trace, with what is defined before the first command."""
    trace = load(f"indi/{name}")
    lines = [each for each in trace.lines if each.direction == FROM_PEER]
    first = parsed(lines[0].data)[0]
    device = level(getattr(first, "device", ""))
    async with Replay(trace, IndiDialect) as peer:
        address = f"indi::127.0.0.1:{peer.port}"
        async with running(SERVICE, CONFIG.format(address=address, more=more)) as bus:
            made = Replayed(bus, peer, device)
            good = lambda: bus.good("pi").get("definitions_complete")  # noqa: E731
            await made.fly(good)
            await until(lambda: bus.retained(device, "info"), device)
            yield made
