"""Buttons that are held down.

They are pressed again every half second; a processor releases a button that is not.
Source: docs/protocols/cip.md, 6.2
"""

import asyncio
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from busbar.bridge import BusbarError, Locked
from busbar.codecs.cip import Join
from cip_bridge.joins import generic

REPEAT = 0.5  # s


@dataclass(eq=False)
class Hold:
    """One button that is held."""

    ends: float  # loop time
    due: float  # loop time of the next press
    pulse: bool = False  # it ends by itself in a moment
    # set when it is released, or another hold has taken over
    over: asyncio.Event = field(default_factory=asyncio.Event)


class Holds:
    """Held buttons of one session; `send` sends a press (True) or a release."""

    def __init__(self, send: Callable[[Join, bool], Awaitable[None]]) -> None:
        self._send = send
        self._held: dict[Join, Hold] = {}
        self._changed = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    @property
    def joins(self) -> set[Join]:
        return set(self._held)

    async def wait_free(self, join: Join) -> None:
        """Return when no pulse holds a button; raise Locked if it is pressed."""
        while hold := self._held.get(join):
            if not hold.pulse:
                name = generic(join)
                raise Locked(f"{name} is held down already; `release` it first")
            await hold.over.wait()

    async def press(self, join: Join, seconds: float, pulse: bool = False) -> Hold:
        """Press, or renew a hold, for `seconds`; math.inf = until release."""
        now = self._loop.time()
        hold = Hold(now + seconds, now + REPEAT, pulse)
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
        """Release a button, whether it was held or not."""
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
        """Let `run` release a button now, if this hold still is the one."""
        hold.ends = self._loop.time()
        self._changed.set()

    def forget(self, join: Join) -> None:
        """End a hold without a release: the join was set by other means."""
        hold = self._held.pop(join, None)
        if hold is not None:
            hold.over.set()

    async def run(self) -> None:
        """Repeat the presses and end them in time."""
        while True:
            self._changed.clear()
            try:
                async with asyncio.timeout_at(self._next_time()):
                    await self._changed.wait()
            except TimeoutError:
                await self._send_due()

    def _next_time(self) -> float:
        """Return the loop time of the next press or release."""
        times = (min(hold.due, hold.ends) for hold in self._held.values())
        return min(times, default=math.inf)

    async def _send_due(self) -> None:
        now = self._loop.time()
        for join, hold in list(self._held.items()):
            if self._held.get(join) is not hold:
                continue  # released or renewed while we were sending
            if now >= hold.ends:
                await self.release(join)
            elif now >= hold.due:
                hold.due = now + REPEAT
                await self._send(join, True)
