"""Which outcome a set gets: pure logic, the clock is passed in. Source: reference 3.8 to 3.10 and 6, "Completion rule".

INDI has no acknowledgement: after a set the vector is Busy for a while and then Ok, Alert or Idle (aborted, or nothing
to do); or it is Ok at once. Meanwhile old values may still arrive: a mount sends its position four times a second.
"""

from typing import Literal

GRACE = 1.0  # s in which a set that changes nothing may still be an old one

End = Literal["Ok", "Alert", "Idle", "aborted", "superseded", "deleted", "gone", "timeout"]


class Completion:
    """Follows one vector from the moment (s) that a set of it was sent."""

    def __init__(self, state: str, now: float, deadline: float) -> None:
        self.busy = False  # the device has begun
        self._before = state
        self._sent, self._deadline = now, deadline
        self._candidate: str | None = None  # heard, and perhaps old

    def heard(self, state: str, reached: bool, now: float) -> End | None:
        """Take the state of the vector, and whether it has what was wanted; return the end if it is one."""
        if state == "Busy":
            self.busy = True
            return None
        if self.busy:
            return "aborted" if state == "Idle" and not reached else _end(state)
        proof = state != self._before or (reached and state == "Ok") or now - self._sent >= GRACE
        if proof:
            return _end(state)
        self._candidate = state
        return None

    def tick(self, now: float) -> End | None:
        """Return the end that time brings."""
        if self._candidate is not None and not self.busy and now >= self._sent + GRACE:
            return _end(self._candidate)
        return "timeout" if now >= self._deadline else None

    @property
    def due(self) -> float:
        """When `tick` should be asked next (s)."""
        grace = self._sent + GRACE
        return min(grace, self._deadline) if self._candidate is not None and not self.busy else self._deadline


def _end(state: str) -> End:
    assert state in ("Ok", "Alert", "Idle")
    return state  # type: ignore[return-value]  # it is one of these
