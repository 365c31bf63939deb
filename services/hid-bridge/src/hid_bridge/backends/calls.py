"""Calls that may block, in a thread of their own, each with a limit.

A call to a device that hangs cannot be ended from outside: its thread is given up, and
the device is not opened again before the call has come back.
"""

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from busbar.bridge.errors import LinkLost, Overloaded

T = TypeVar("T")
WAITING_LIMIT = 16  # calls; the arbiter lets one after the other through

_hanging: set[str] = set()  # names of what has been given up


class Hung(LinkLost):
    """A call did not come back."""


class Calls:
    """The thread of one device."""

    def __init__(self, name: str) -> None:
        if name in _hanging:
            raise Hung(f"a call to {name} still hangs; unplug the device")
        self._name = name
        self._given_up = False
        self._last: Callable[[], None] = lambda: None
        self._waiting: queue.Queue[Callable[[], None] | None] = queue.Queue(
            WAITING_LIMIT
        )
        self._thread = threading.Thread(
            target=self._run, name=f"hid {name}", daemon=True
        )
        self._thread.start()

    async def run(self, limit: float, function: Callable[..., T], *given: Any) -> T:
        """Return what a call returns; raise Hung after the limit (s)."""
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[T] = loop.create_future()

        def work() -> None:
            try:
                _tell(loop, outcome, function(*given), None)
            except BaseException as error:
                _tell(loop, outcome, None, error)

        if self._given_up:
            raise Hung(f"a call to {self._name} hangs")
        try:
            self._waiting.put_nowait(work)
        except queue.Full:
            raise Overloaded(f"{WAITING_LIMIT} calls wait for {self._name}") from None
        try:
            async with asyncio.timeout(limit):
                return await outcome
        except TimeoutError:
            if outcome.done() and not outcome.cancelled():
                raise
            self._give_up()
            raise Hung(f"{self._name} did not come back within {limit:g} s") from None

    def end(self, last: Callable[[], None] = lambda: None) -> None:
        """Let the thread end after what it does; `last` closes what it works with."""
        self._last = last
        if not self._thread.is_alive():
            last()
            return
        with contextlib.suppress(queue.Full):
            self._waiting.put_nowait(None)

    def _give_up(self) -> None:
        self._given_up = True
        _hanging.add(self._name)
        self.end()

    def _run(self) -> None:
        while (work := self._waiting.get()) is not None:
            work()
        self._last()
        _hanging.discard(self._name)


def _tell(
    loop: asyncio.AbstractEventLoop,
    outcome: "asyncio.Future[Any]",
    value: Any,
    error: BaseException | None,
) -> None:
    def settle() -> None:
        if outcome.done():
            return
        if error is None:
            outcome.set_result(value)
        else:
            outcome.set_exception(error)

    with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
        loop.call_soon_threadsafe(settle)
