"""Outcome of a set: pure logic, the clock is passed in.

Source: docs/protocols/indi.md, 4.8 to 4.10 and 5.

INDI has no acknowledgement: after a set the vector is Busy for a while and then Ok,
Alert or Idle (aborted, or nothing to do); or it is Ok at once. Meanwhile old values may
still arrive: a mount sends its position four times a second.
"""

from typing import Literal, cast

GRACE = 1.0  # s in which an unchanged state may still be from before the set

End = Literal[
    "Ok", "Alert", "Idle", "aborted", "superseded", "deleted", "gone", "timeout"
]


class Completion:
    """Follows one vector from the moment (s) that a set of it was sent."""

    def __init__(self, state: str, now: float, deadline: float) -> None:
        self.busy = False  # the device has begun
        self._before = state
        self._grace_ends = now + GRACE
        self._deadline = deadline
        self._candidate: End | None = None  # an end that is perhaps old

    def on_state(self, state: str, reached: bool, now: float) -> End | None:
        """Take a state, and whether the vector has the wanted values.

        Return the end if it is one.
        """
        if state == "Busy":
            self.busy = True
            self._candidate = None
            return None
        end = cast("End", state)
        if state == "Idle" and self.busy and not reached:
            end = "aborted"
        if now < self._grace_ends and self._perhaps_old(state, reached):
            self._candidate = end
            return None
        return end

    def on_time(self, now: float) -> End | None:
        """Return the end that time brings."""
        if self._candidate is not None and now >= self._grace_ends:
            return self._candidate
        return "timeout" if now >= self._deadline else None

    @property
    def due(self) -> float:
        """When `on_time` has to be called next (s)."""
        if self._candidate is None:
            return self._deadline
        return min(self._grace_ends, self._deadline)

    def _perhaps_old(self, state: str, reached: bool) -> bool:
        """Return whether a state may be from before the set.

        It is the same state, or the end of a motion that was under way then.
        """
        if self._before == "Busy":
            return state != "Alert" and not reached
        if self.busy or state != self._before:
            return False
        return not (reached and state == "Ok")
