"""Buttons that are held down.

Pressed again every half second, for a processor releases what is not.

Source: docs/protocols/cip.md, 6.2.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from busbar.bridge.errors import BusbarError
from busbar.codecs.cip import Join

REPEAT = 0.5  # s


@dataclass(eq=False)
class Hold:
    """One button that is held."""

    ends: float  # loop time
    due: float  # loop time of the next press
    # set when it is released, or somebody else's
    over: asyncio.Event = field(default_factory=asyncio.Event)


class Holds:
    """The held buttons of one session; `send` sends a press (True) or a release."""

    def __init__(self, send: Callable[[Join, bool], Awaitable[None]]) -> None:
        self._send = send
        self._held: dict[Join, Hold] = {}
        self._changed = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    @property
    def joins(self) -> set[Join]:
        return set(self._held)

    async def press(self, join: Join, seconds: float) -> Hold:
        """Press, or renew a hold, for so long; math.inf = until release."""
        now = self._loop.time()
        hold = Hold(now + seconds, now + REPEAT)
        self.forget(join)
        self._held[join] = hold
        self._changed.set()
        try:
            await self._send(join, True)
        except BusbarError:  # it was not pressed
            if self._held.get(join) is hold:
                self.forget(join)
            raise
        except asyncio.CancelledError:  # it may have been
            self.end(hold)
            raise
        return hold

    async def release(self, join: Join) -> None:
        """Let go, whether it was held or not."""
        hold = self._held.pop(join, None)
        try:
            await self._send(join, False)
        finally:
            if hold is not None:
                hold.over.set()

    async def release_all(self) -> None:
        for join in list(self._held):
            await self.release(join)

    def end(self, hold: Hold) -> None:
        """Let go as soon as may be, if it still holds."""
        hold.ends = self._loop.time()
        self._changed.set()

    def forget(self, join: Join) -> None:
        """Hold it no longer, without a word: somebody has set it otherwise."""
        hold = self._held.pop(join, None)
        if hold is not None:
            hold.over.set()

    async def run(self) -> None:
        """Repeat the presses and end them in time."""
        while True:
            self._changed.clear()
            next_ = min(
                (min(hold.due, hold.ends) for hold in self._held.values()),
                default=math.inf,
            )
            try:
                async with asyncio.timeout_at(next_):
                    await self._changed.wait()
            except TimeoutError:
                await self._carry_on()

    async def _carry_on(self) -> None:
        now = self._loop.time()
        for join, hold in list(self._held.items()):
            if self._held.get(join) is not hold:
                continue  # released or renewed while we were sending
            if now >= hold.ends:
                await self.release(join)
            elif now >= hold.due:
                hold.due = now + REPEAT
                await self._send(join, True)
