"""The arbiter of one physical channel: who may exchange next.

Source: docs/contract.md, 2.

Safe commands first, then commands, then polls, each in order of arrival; one exchange
at a time. Leases (locks) decide who may ask at all, see `leases`.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable, Hashable
from enum import IntEnum

from busbar.errors import Overloaded

# commands waiting for one channel; at 10 s of ttl more could hardly be served
QUEUE_LIMIT = 100


class Priority(IntEnum):
    """Order of service."""

    SAFE = 0
    COMMAND = 1
    POLL = 2


class Arbiter:
    """Hands the channel to one exchange after the other."""

    def __init__(self) -> None:
        self._waiting: dict[Priority, deque[asyncio.Future[None]]] = {
            priority: deque() for priority in Priority
        }
        self._taken = False
        self._polls_allowed = asyncio.Event()
        self._polls_allowed.set()

    @property
    def waiting(self) -> int:
        """Commands in the queue."""
        return len(self._waiting[Priority.SAFE]) + len(self._waiting[Priority.COMMAND])

    async def acquire(self, priority: Priority) -> None:
        """Wait for the channel; raise Overloaded when too many wait already."""
        if not self._taken:
            self._taken = True
            return
        if priority is not Priority.POLL and self.waiting >= QUEUE_LIMIT:
            raise Overloaded(f"{QUEUE_LIMIT} commands wait for this channel already")
        turn = asyncio.get_running_loop().create_future()
        self._waiting[priority].append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.release()  # it was our turn already
            elif turn in self._waiting[priority]:
                # else `release` has passed it over already
                self._waiting[priority].remove(turn)
            raise

    def release(self) -> None:
        """Let the next one go."""
        for queue in self._waiting.values():
            while queue:
                turn = queue.popleft()
                if not turn.done():
                    turn.set_result(None)
                    return
        self._taken = False

    @contextlib.asynccontextmanager
    async def poll(self) -> AsyncIterator[None]:
        """The channel for one poll.

        After all commands, and not while a lease pauses polling.
        """
        await self._acquire_poll()
        try:
            yield
        finally:
            self.release()

    async def _acquire_poll(self) -> None:
        while True:
            await self._polls_allowed.wait()
            await self.acquire(Priority.POLL)
            if self._polls_allowed.is_set():
                return
            self.release()  # paused while it waited

    def pause_polls(self, paused: bool) -> None:
        """Stop or resume polling; a running exchange ends first."""
        if paused:
            self._polls_allowed.clear()
        else:
            self._polls_allowed.set()


class Turn:
    """The rights of a running command.

    Report progress and messages, let the channel go early.
    """

    def __init__(
        self,
        asked: float | None,
        release: Callable[[], None],
        progress: Callable[[float | None, str], None],
        when_unlocked: Callable[
            [Hashable, Callable[[], None]], None
        ] = lambda key, then: None,
        message: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.asked = asked  # s for the device's answer, where the caller said so
        self._release = release
        self._progress = progress
        self._when_unlocked = when_unlocked
        self._message = message

    def progress(self, fraction: float | None, message: str = "") -> None:
        """Report how far the command is: 0 to 1, None = unknown."""
        self._progress(fraction, message)

    def message(self, text: str) -> None:
        """Let the outcome, good or bad, carry what the device said meanwhile.

        The first 8 messages go with it, each cut to 1000 characters.
        """
        self._message(text)

    def release(self) -> None:
        """Let others exchange on the channel: what follows only waits for an event."""
        self._release()

    def when_unlocked(self, key: Hashable, then: Callable[[], None]) -> None:
        """Call `then` when the caller's own lock ends, whatever ends it.

        Of one `key` the last counts.
        """
        self._when_unlocked(key, then)


@contextlib.asynccontextmanager
async def held(arbiter: Arbiter) -> AsyncIterator[Callable[[], None]]:
    """The channel that has been acquired, until the end.

    Yields a function that lets it go early.
    """
    mine = True

    def release() -> None:
        nonlocal mine
        if mine:
            mine = False
            arbiter.release()

    try:
        yield release
    finally:
        release()
