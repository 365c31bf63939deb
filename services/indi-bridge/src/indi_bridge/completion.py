"""Outcome of a set: pure logic, the clock is passed in.

Source: docs/protocols/indi.md, 4.8 to 4.10 and 5.

INDI has no acknowledgement: after a set the vector is Busy for a while and then Ok,
Alert or Idle; or it is Ok at once. Meanwhile old values may still arrive (a mount sends
its position four times a second), and a refusal is often nothing but a warning and the
old values once more. What an update means:

    state      before Busy came                       after Busy
    Busy       begun; started where on means Busy     the same
    Ok         Ok if it has what was wanted, has      Ok; of a vector that was Busy
               come nearer or is at rest again;       before the set only if it came
               else perhaps refused                   most of the way, else refused
    Idle       Idle if it has what was wanted; not    Idle if it has what was wanted
               if it had it before and the driver     or is at rest again and nobody
               complains: perhaps refused             sent an abort; else aborted
    Alert      Alert, of an old Alert perhaps         Alert

"Perhaps" is decided by time: a later update may say more.
"""

from typing import Literal

from indi_bridge.goal import Standing

GRACE = 1.0  # s in which an unchanged state may still be from before the set
# s that values which are not the wanted ones are waited for without a complaint of the
# driver: some poll their hardware once a second, some every few seconds
POLL = 5.0
SETTLE = 0.5  # s in which more may follow a complaint
NEARER = 0.1  # of the way: the driver has clamped or rounded what was wanted
MOST = 0.9  # of the way: the end is that of our motion, not of an older one

End = Literal[
    "Ok",
    "Idle",
    "started",
    "Alert",
    "refused",
    "aborted",
    "superseded",
    "deleted",
    "gone",
    "timeout",
]
GOOD = frozenset({"Ok", "Idle", "started"})


class Completion:
    """Follows one vector from the moment (s) that a set of it was sent."""

    def __init__(self, state: str, now: float, deadline: float) -> None:
        self.busy = False  # the device has begun
        self._before = state
        self._grace_ends = now + GRACE
        self._poll_ends = now + POLL
        self._deadline = deadline
        self._complained = False
        self._abort_sent = False
        self._candidate: End | None = None  # an end that may be overtaken
        self._candidate_due = 0.0

    def on_state(self, state: str, standing: Standing, now: float) -> End | None:
        """Take an update; return the end if it is one."""
        self._candidate = None
        if state == "Busy":
            self.busy = True
            return "started" if standing.running else None
        end = self._end(state, standing)
        wait = self._wait(end, state, standing)
        if now >= wait:
            return end
        self._candidate = end
        self._candidate_due = wait
        return None

    def on_complaint(self, now: float) -> None:
        """Take a warning or error of the driver."""
        self._complained = True
        if self._candidate == "refused":
            self._candidate_due = min(self._candidate_due, now + SETTLE)

    def on_abort(self) -> None:
        """Note that an abort was sent to the device."""
        self._abort_sent = True

    def on_time(self, now: float) -> End | None:
        """Return the end that time brings."""
        if self._candidate is not None and now >= self._candidate_due:
            return self._candidate
        return "timeout" if now >= self._deadline else None

    @property
    def due(self) -> float:
        """When `on_time` has to be called next (s)."""
        if self._candidate is None:
            return self._deadline
        return min(self._candidate_due, self._deadline)

    def _end(self, state: str, standing: Standing) -> End:
        """Return what an update means that is not Busy."""
        if state == "Alert":
            return "Alert"
        if state == "Ok":
            return "Ok" if self._is_ok(standing) else "refused"
        if not self.busy:
            in_doubt = standing.was_there and self._complained
            return "Idle" if standing.reached and not in_doubt else "refused"
        rests = standing.at_rest and not self._abort_sent
        return "Idle" if standing.reached or rests else "aborted"

    def _is_ok(self, standing: Standing) -> bool:
        """Return whether an Ok is that of this set."""
        if standing.reached or standing.trusted:
            return True
        if self._before == "Busy":
            return standing.way >= MOST or standing.at_rest
        return self.busy or standing.at_rest or standing.way >= NEARER

    def _wait(self, end: End, state: str, standing: Standing) -> float:
        """Return until when (s) another update may say that an end is none."""
        if end == "refused":
            return self._grace_ends if self._complained else self._poll_ends
        if self._before == "Busy" and state != "Alert" and not standing.reached:
            return self._grace_ends
        if end == "Alert" and state == self._before and not self.busy:
            return self._grace_ends
        return 0.0
