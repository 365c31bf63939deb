"""Buttons that one panel of ours holds, released when it repeats them no longer.

Source: docs/protocols/cip.md, 6.2
"""

import asyncio
from collections.abc import Callable

from busbar.codecs.cip import Form, Join, Update

# s until a button that is not pressed again is released; panels repeat it every 0.5 s
RELEASE = 1.5


class Presses:
    """Digital joins that one panel holds.

    `on_expired` is called with a button that it no longer repeats.
    """

    def __init__(self, on_expired: Callable[[Join], None]) -> None:
        self._on_expired = on_expired
        # None: held, but not as a button, so not timed
        self._timers: dict[Join, asyncio.TimerHandle | None] = {}
        self._loop = asyncio.get_running_loop()

    def watch(self, update: Update) -> None:
        """Record a value of a digital join from the panel."""
        join = update.join
        self._forget(join)
        if not update.value:
            return
        timer = None
        if update.form is Form.BUTTON:
            timer = self._loop.call_later(RELEASE, self._expire, join)
        self._timers[join] = timer

    def holds(self, join: Join) -> bool:
        return join in self._timers

    def repeats(self, join: Join) -> bool:
        """Return whether a join is held as a button, and so repeated by the panel."""
        return self._timers.get(join) is not None

    def clear(self) -> list[Join]:
        """Forget all joins; return the buttons that were held.

        A digital that is no button stays as it is: the panel has set it.
        """
        held = [join for join in self._timers if self.repeats(join)]
        for join in list(self._timers):
            self._forget(join)
        return held

    def _forget(self, join: Join) -> None:
        timer = self._timers.pop(join, None)
        if timer is not None:
            timer.cancel()

    def _expire(self, join: Join) -> None:
        self._forget(join)
        self._on_expired(join)
