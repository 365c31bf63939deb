"""Sets that wait for their end, one for each vector."""

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from busbar.bridge import (
    BusbarError,
    Cancelled,
    DeviceRefused,
    DeviceTimeout,
    LinkLost,
    Turn,
)
from busbar.codecs.indi import NewVector
from indi_bridge.completion import GOOD, Completion, End
from indi_bridge.events import is_complaint
from indi_bridge.goal import ABORTS, COUNTDOWNS, Goal
from indi_bridge.vectors import Vector, number

USUAL = 60.0  # s for a vector without a timeout
# s in which the driver's text may follow its Alert (measured: 40 ms).
# Source: docs/protocols/indi.md, 4.8
TEXT_DELAY = 0.2
TEXT_FOLLOWS = ("Alert", "refused")
# s for what takes long, where the vector says what all of them say
SLOW = {
    "ABS_DOME_POSITION": 900.0,
    "ABS_FOCUS_POSITION": 900.0,
    "ABS_ROTATOR_ANGLE": 900.0,
    "CCD_TEMPERATURE": 3600.0,
    "DOME_PARK": 900.0,
    "DOME_SHUTTER": 900.0,
    "EQUATORIAL_COORD": 900.0,
    "EQUATORIAL_EOD_COORD": 900.0,
    "FILTER_SLOT": 900.0,
    "HORIZONTAL_COORD": 900.0,
    "TELESCOPE_HOME": 900.0,
    "TELESCOPE_PARK": 900.0,
}
PROGRESS = 1.0  # s between reports
LATE_LIMIT = 200  # sets whose end is still awaited after their timeout
MESSAGES = 8  # kept of one set
SHOWN = 4  # members in a report

Fraction = Callable[[Vector], float | None]  # how much of a set is done
Key = tuple[str, str]  # device, vector


class LateEnd(NamedTuple):
    """How a set ended after its timeout; `took` in s."""

    vector: Vector
    end: End
    took: float
    messages: list[str]


@dataclass(frozen=True)
class SetOptions:
    """How a set is awaited."""

    timeout: float | None = None  # s; None: that of the vector
    fraction: Fraction | None = None  # for its progress
    begun: bool = False  # True: done once the device is Busy with it


DEFAULTS = SetOptions()


@dataclass(eq=False)
class PendingSet:
    """One set that is under way."""

    vector: Vector
    goal: Goal
    completion: Completion
    sent: float  # loop time
    report: Callable[[Vector], None]
    ended: End | None = None
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    answered: bool = False  # an element of the vector has come since
    messages: deque[str] = field(default_factory=lambda: deque(maxlen=MESSAGES))
    silence: asyncio.TimerHandle | None = None  # reports that no element has come

    def end(self, end: End) -> None:
        self.ended = self.ended or end
        self.changed.set()

    def on_vector(self, vector: Vector, now: float) -> None:
        """Take a new state of the vector."""
        self.vector = vector
        self.answered = True
        standing = self.goal.standing(vector)
        end = self.completion.on_state(vector.state, standing, now)
        self.ended = self.ended or end
        self.changed.set()  # the time to look again may have changed

    def on_message(self, text: str, now: float, *, own: bool) -> None:
        """Keep a message; `own`: it is of the vector's device."""
        if text not in self.messages:
            self.messages.append(text)
        if own and is_complaint(text):
            self.completion.on_complaint(now)
            self.changed.set()

    def stop_silence(self) -> None:
        if self.silence is not None:
            self.silence.cancel()


class PendingSets:
    """All sets of one server."""

    def __init__(
        self,
        on_late: Callable[[LateEnd], None],
        on_silence: Callable[[Vector, float], None],
        # from the vector's timeout (s): silence after a set that is reported
        patience: Callable[[float], float | None],
        busy_while_on: Callable[[Vector], bool],
    ) -> None:
        self._on_late = on_late
        self._on_silence = on_silence
        self._patience = patience
        self._busy_while_on = busy_while_on
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[Key, PendingSet] = {}
        self._late: dict[Key, PendingSet] = {}
        self._watched: set[PendingSet] = set()

    async def run(
        self,
        vector: Vector,
        new: NewVector,
        send: Callable[[], Awaitable[None]],
        turn: Turn,
        options: SetOptions,
    ) -> None:
        """Send a set and return when it has ended well.

        Raise how it ended otherwise, DeviceTimeout after its timeout.
        """
        seconds = turn.asked or options.timeout or _usual(vector, new)
        if vector.name in ABORTS:
            self.on_abort(vector.device)
        pending = self._pending(vector, new, seconds, turn, options)
        key = (vector.device, vector.name)
        self._supersede(key)
        self._waiting[key] = pending
        try:
            await send()
            self._watch(pending)
            turn.release()
            end = await self._end_of(pending)
            if end == "timeout":
                self._keep_late(key, pending)
            if end in TEXT_FOLLOWS and not pending.messages:
                await asyncio.sleep(TEXT_DELAY)
        finally:
            self._forget(key, pending)
        for text in filter(is_complaint, pending.messages):
            turn.message(text)
        if end not in GOOD:
            raise _error(pending, end, seconds)

    def on_vector(self, vector: Vector) -> None:
        """Take a set or definition of a vector."""
        key = (vector.device, vector.name)
        pending = self._waiting.get(key)
        if pending is not None:
            self._take(pending, vector)
            if vector.state == "Busy":
                pending.report(vector)
        late = self._late.get(key)
        if late is not None:
            self._take(late, vector)
            if late.ended is not None:
                del self._late[key]
                self._report_late(late, late.ended)

    def on_message(self, device: str, text: str) -> None:
        """Keep a message with the sets that it may be about; device "": with all."""
        now = self._loop.time()
        for sets in (self._waiting, self._late):
            for key, pending in sets.items():
                if device in ("", key[0]):
                    pending.on_message(text, now, own=device == key[0])

    def on_foreign_set(self, device: str, vector: str) -> None:
        """End our set: another client has set the vector."""
        self._end((device, vector), "superseded")
        if vector in ABORTS:
            self.on_abort(device)

    def on_abort(self, device: str) -> None:
        """Tell the sets of a device that an abort was sent to it."""
        for sets in (self._waiting, self._late):
            for key, pending in sets.items():
                if key[0] == device:
                    pending.completion.on_abort()

    def on_deleted(self, device: str, vector: str) -> None:
        """End the sets of a vector that is gone, or with "" of a device."""
        end: End = "deleted" if vector else "gone"
        for key in [*self._waiting, *self._late]:
            if key[0] == device and vector in ("", key[1]):
                self._end_late(key, end)
                self._end(key, end)

    def close(self) -> None:
        """Stop all timers: the connection is over."""
        for pending in self._watched:
            pending.stop_silence()
        self._watched.clear()

    def _pending(
        self,
        vector: Vector,
        new: NewVector,
        seconds: float,
        turn: Turn,
        options: SetOptions,
    ) -> PendingSet:
        now = self._loop.time()
        running = self._busy_while_on(vector)
        goal = Goal(vector, new.members, busy_while_on=running, begun=options.begun)
        return PendingSet(
            vector,
            goal,
            Completion(vector.state, now, now + seconds),
            now,
            _reporter(turn, options.fraction, self._loop.time),
        )

    def _supersede(self, key: Key) -> None:
        self._end(key, "superseded")
        late = self._late.pop(key, None)
        if late is not None:
            self._unwatch(late)

    def _forget(self, key: Key, pending: PendingSet) -> None:
        """Remove a set that has ended, unless it is kept or replaced."""
        if self._waiting.get(key) is pending:
            del self._waiting[key]
        if self._late.get(key) is not pending:
            self._unwatch(pending)

    def _take(self, pending: PendingSet, vector: Vector) -> None:
        self._unwatch(pending)
        pending.on_vector(vector, self._loop.time())

    def _watch(self, pending: PendingSet) -> None:
        """Report it if no element of the vector comes."""
        seconds = self._patience(pending.vector.timeout)
        if seconds is None or pending.answered:
            return
        self._watched.add(pending)
        pending.silence = self._loop.call_later(
            seconds, self._report_silence, pending, seconds
        )

    def _unwatch(self, pending: PendingSet) -> None:
        pending.stop_silence()
        self._watched.discard(pending)

    def _report_silence(self, pending: PendingSet, seconds: float) -> None:
        self._watched.discard(pending)
        self._on_silence(pending.vector, seconds)

    def _report_late(self, late: PendingSet, end: End) -> None:
        took = round(self._loop.time() - late.sent, 3)
        self._on_late(LateEnd(late.vector, end, took, list(late.messages)))

    def _end(self, key: Key, end: End) -> None:
        if key in self._waiting:
            self._waiting[key].end(end)

    def _end_late(self, key: Key, end: End) -> None:
        late = self._late.pop(key, None)
        if late is not None:
            self._unwatch(late)
            self._report_late(late, end)

    async def _end_of(self, pending: PendingSet) -> End:
        while pending.ended is None:
            pending.changed.clear()
            try:
                async with asyncio.timeout_at(pending.completion.due):
                    await pending.changed.wait()
            except TimeoutError:
                end = pending.completion.on_time(self._loop.time())
                if end is not None:
                    return end
        return pending.ended

    def _keep_late(self, key: Key, pending: PendingSet) -> None:
        if len(self._late) >= LATE_LIMIT:
            del self._late[next(iter(self._late))]
        self._late[key] = pending


def _reporter(
    turn: Turn, fraction: Fraction | None, clock: Callable[[], float]
) -> Callable[[Vector], None]:
    """Return what reports the progress of a set, once a second."""
    last = -PROGRESS

    def report(vector: Vector) -> None:
        nonlocal last
        now = clock()
        if now - last < PROGRESS:
            return
        last = now
        members = list(vector.members.items())[:SHOWN]
        values = ", ".join(f"{name} {member.value}" for name, member in members)
        done = fraction(vector) if fraction else None
        turn.progress(done, f"{vector.name} is Busy: {values}")

    return report


def _usual(vector: Vector, new: NewVector) -> float:
    """Return the time (s) that a set has where nobody says another.

    Most drivers say 60 s of everything; that is no time for a motion.
    """
    seconds = vector.timeout or USUAL
    if vector.name in COUNTDOWNS:
        asked = map(number, new.members.values())
        seconds += max(filter(math.isfinite, asked), default=0.0)
    if seconds == USUAL:
        return SLOW.get(vector.name, USUAL)
    return seconds


def _error(pending: PendingSet, end: End, seconds: float) -> BusbarError:
    """Return the error of an end, with the driver's messages."""
    vector = pending.vector
    messages = list(pending.messages)
    state = "deleted" if end == "deleted" else vector.state
    detail: dict[str, Any] = {
        "vector": vector.name,
        "state": state,
        "messages": messages,
    }
    text = f": {'; '.join(messages)}" if messages else ""
    match end:
        case "Alert":
            return DeviceRefused(f"{vector.name}: Alert{text}", **detail)
        case "refused":
            lacking = pending.goal.lacking(vector)
            why = f"{vector.name}: not done, {lacking or vector.state}{text}"
            return DeviceRefused(why, **detail)
        case "aborted":
            why = f"{vector.name}: aborted before it was done{text}"
            return Cancelled(why, **detail)
        case "superseded":
            return Cancelled(f"{vector.name}: superseded by another set", **detail)
        case "deleted":
            why = f"{vector.name}: deleted by the driver{text}"
            return DeviceRefused(why, **detail)
        case "gone":
            why = "the driver is gone; the set may have been executed"
            return LinkLost(f"{vector.device}: {why}{text}", **detail)
    how = f"{_missing(pending)} after {seconds:g} s"
    return DeviceTimeout(f"{vector.name}: {how}{text}", **detail)


def _missing(pending: PendingSet) -> str:
    """Return what a set that timed out still lacks."""
    if pending.completion.busy:
        return "still Busy"
    if pending.answered:
        return "not done"
    return "no answer of the driver"
