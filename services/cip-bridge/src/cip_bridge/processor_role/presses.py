"""What one panel of ours holds pressed, so that nothing stays pressed when it is gone.

Source: docs/protocols/cip.md, 6.2.
"""

import asyncio
from collections.abc import Callable

from busbar.codecs.cip import Form, Join, Update

# s after which a button that is not pressed again is released; panels repeat every 0.5
# s
RELEASE = 1.5


class Presses:
    """The digital joins that one panel holds.

    `over` is called with a button that it no longer repeats.
    """

    def __init__(self, over: Callable[[Join], None]) -> None:
        self._over = over
        # None: not as a button, so not timed
        self._timers: dict[Join, asyncio.TimerHandle | None] = {}
        self._loop = asyncio.get_running_loop()

    def watch(self, update: Update) -> None:
        """Note what the panel says of a digital join."""
        self._forget(update.join)
        if update.value:
            timed = update.form is Form.BUTTON
            self._timers[update.join] = (
                self._loop.call_later(RELEASE, self._end, update.join)
                if timed
                else None
            )

    def holds(self, join: Join) -> bool:
        return join in self._timers

    def repeats(self, join: Join) -> bool:
        """Return whether it is held as a button, to come again in half a second."""
        return self._timers.get(join) is not None

    def clear(self) -> list[Join]:
        """Hold nothing any longer; return what was held."""
        held = list(self._timers)
        for join in held:
            self._forget(join)
        return held

    def _forget(self, join: Join) -> None:
        timer = self._timers.pop(join, None)
        if timer is not None:
            timer.cancel()

    def _end(self, join: Join) -> None:
        self._forget(join)
        self._over(join)
