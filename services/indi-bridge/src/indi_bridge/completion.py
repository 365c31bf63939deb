"""Which outcome a set gets: pure logic, the clock is passed in.

Source: docs/protocols/indi.md, 4.8 to 4.10 and 5.

INDI has no acknowledgement: after a set the vector is Busy for a while and then Ok,
Alert or Idle (aborted, or nothing to do); or it is Ok at once. Meanwhile old values may
still arrive: a mount sends its position four times a second.
"""

from typing import Literal

GRACE = 1.0  # s in which a set that changes nothing may still be an old one

End = Literal[
    "Ok", "Alert", "Idle", "aborted", "superseded", "deleted", "gone", "timeout"
]


class Completion:
    """Follows one vector from the moment (s) that a set of it was sent."""

    def __init__(self, state: str, now: float, deadline: float) -> None:
        self.busy = False  # the device has begun
        self._before = state
        self._sent, self._deadline = now, deadline
        self._candidate: End | None = None  # heard, and perhaps old

    def heard(self, state: str, reached: bool, now: float) -> End | None:
        """Take the state of the vector, and whether it has what was wanted.

        Return the end if it is one.
        """
        if state == "Busy":
            self.busy, self._candidate = True, None
            return None
        end: End = (
            "aborted" if state == "Idle" and self.busy and not reached else _end(state)
        )
        if now - self._sent < GRACE and self._perhaps_old(state, reached):
            self._candidate = end
            return None
        return end

    def tick(self, now: float) -> End | None:
        """Return the end that time brings."""
        if self._candidate is not None and now >= self._sent + GRACE:
            return self._candidate
        return "timeout" if now >= self._deadline else None

    @property
    def due(self) -> float:
        """When `tick` should be asked next (s)."""
        return (
            self._deadline
            if self._candidate is None
            else min(self._sent + GRACE, self._deadline)
        )

    def _perhaps_old(self, state: str, reached: bool) -> bool:
        """Return whether it may be from before the set.

        The same state, or the end of what was Busy then.
        """
        if self._before == "Busy":
            return state != "Alert" and not reached
        return (
            not self.busy and state == self._before and not (reached and state == "Ok")
        )


def _end(state: str) -> End:
    assert state in ("Ok", "Alert", "Idle")
    return state  # type: ignore[return-value]  # it is one of these
