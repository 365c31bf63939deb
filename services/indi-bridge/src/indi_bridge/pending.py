"""Sets that wait for their end.

One for each vector, with what the device says meanwhile.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from busbar.bridge import (
    BusbarError,
    Cancelled,
    DeviceRefused,
    DeviceTimeout,
    LinkLost,
    Turn,
)
from busbar.codecs.indi import NewVector
from indi_bridge.completion import Completion, End
from indi_bridge.vectors import Vector

UNSAID = 60.0  # s for a vector that names no timeout
# s in which the driver's text may follow its Alert (measured: 40 ms).
# Source: docs/protocols/indi.md, 4.8
TALK = 0.2
PROGRESS = 1.0  # s between reports
LATE_LIMIT = 200  # sets whose end is still awaited after their timeout
SAID = 8  # messages kept of one set

Fraction = Callable[[Vector], float | None]
Key = tuple[str, str]  # device, vector


@dataclass(eq=False)
class Waiting:
    """One set that is under way."""

    vector: Vector
    wanted: dict[str, str]
    completion: Completion
    sent: float  # loop time
    ended: End | None = None
    news: asyncio.Event = field(default_factory=asyncio.Event)
    heard: bool = False  # anything of the vector since
    said: deque[str] = field(default_factory=lambda: deque(maxlen=SAID))
    report: Callable[[Vector], None] = lambda vector: None
    unheard: asyncio.TimerHandle | None = None  # tells that nothing has come

    def end(self, end: End) -> None:
        self.ended = self.ended or end
        self.news.set()


class Pending:
    """All sets of one server."""

    def __init__(
        self,
        late: Callable[[Vector, str, float, list[str]], None],
        unheard: Callable[[Vector, float], None],
        # from the vector's timeout: s until a set counts as not heard
        patience: Callable[[float], float | None],
    ) -> None:
        self._unheard, self._patience = unheard, patience
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[Key, Waiting] = {}
        self._late: dict[Key, Waiting] = {}
        self._watched: set[Waiting] = set()
        self._tell_late = late

    async def run(
        self, vector: Vector, new: NewVector, send: Callable[[], Awaitable[None]], turn: Turn, timeout: float | None,
        fraction: Fraction | None = None,
    ) -> None:  # fmt: skip
        """Send and return when it has ended well, within `timeout` (s).

        Raise how it ended otherwise.
        """
        now = self._loop.time()
        seconds = turn.asked or timeout or vector.timeout or UNSAID
        completion = Completion(vector.state, now, now + seconds)
        waiting = Waiting(vector, dict(new.members), completion, now)
        waiting.report = _reporter(turn, fraction, self._loop.time)
        key = (vector.device, vector.name)
        self._end(key, "superseded")
        if (late := self._late.pop(key, None)) is not None:
            self._unwatch(late)
        self._waiting[key] = waiting
        try:
            await send()
            self._watch(waiting)
            turn.release()
            end = await self._end_of(waiting)
            if end == "timeout":
                self._keep_late(key, waiting)
            if end == "Alert" and not waiting.said:
                await asyncio.sleep(TALK)
        finally:
            if self._waiting.get(key) is waiting:
                del self._waiting[key]
            if self._late.get(key) is not waiting:
                self._unwatch(waiting)
        if (error := _error(waiting, end, seconds)) is not None:
            raise error

    def heard(self, vector: Vector) -> None:
        """Take note of a set or definition of a vector."""
        key = (vector.device, vector.name)
        waiting = self._waiting.get(key)
        late = self._late.get(key)
        for each in (waiting, late):
            if each is not None:
                each.vector, each.heard = vector, True
                self._unwatch(each)
                end = each.completion.heard(
                    vector.state, vector.has(each.wanted), self._loop.time()
                )
                each.ended = each.ended or end
                each.news.set()  # when to look again may have changed
        if waiting is not None and vector.state == "Busy":
            waiting.report(vector)
        if late is not None and late.ended is not None:
            del self._late[key]
            self._end_late(late, late.ended)

    def close(self) -> None:
        """The connection is over."""
        for waiting in list(self._watched):
            self._unwatch(waiting)

    def asked_by_another(self, device: str, vector: str) -> None:
        """Another client has set the vector: what we wanted counts no more."""
        self._end((device, vector), "superseded")

    def deleted(self, device: str, vector: str) -> None:
        """A vector, or with "" a device, is gone."""
        for key in [*self._waiting, *self._late]:
            if key[0] == device and vector in ("", key[1]):
                end: End = "deleted" if vector else "gone"
                if (late := self._late.pop(key, None)) is not None:
                    self._unwatch(late)
                    self._end_late(late, end)
                self._end(key, end)

    def said(self, device: str, text: str) -> None:
        """A message has come."""
        for key, waiting in [*self._waiting.items(), *self._late.items()]:
            if device in ("", key[0]) and text not in waiting.said:
                waiting.said.append(text)

    def _watch(self, waiting: Waiting) -> None:
        """See to it that somebody learns of it if nothing of the vector comes."""
        seconds = self._patience(waiting.vector.timeout)
        if seconds is not None and not waiting.heard:
            self._watched.add(waiting)
            waiting.unheard = self._loop.call_later(
                seconds, self._not_heard, waiting, seconds
            )

    def _unwatch(self, waiting: Waiting) -> None:
        if waiting.unheard is not None:
            waiting.unheard.cancel()
        self._watched.discard(waiting)

    def _not_heard(self, waiting: Waiting, seconds: float) -> None:
        self._watched.discard(waiting)
        self._unheard(waiting.vector, seconds)

    def _end_late(self, late: Waiting, end: End) -> None:
        self._tell_late(
            late.vector, end, round(self._loop.time() - late.sent, 3), list(late.said)
        )

    def _end(self, key: Key, end: End) -> None:
        if key in self._waiting:
            self._waiting[key].end(end)

    async def _end_of(self, waiting: Waiting) -> End:
        while waiting.ended is None:
            waiting.news.clear()
            try:
                async with asyncio.timeout_at(waiting.completion.due):
                    await waiting.news.wait()
            except TimeoutError:
                if (end := waiting.completion.tick(self._loop.time())) is not None:
                    return end
        return waiting.ended

    def _keep_late(self, key: Key, waiting: Waiting) -> None:
        if len(self._late) >= LATE_LIMIT:
            del self._late[next(iter(self._late))]
        self._late[key] = waiting


def _reporter(
    turn: Turn, fraction: Fraction | None, clock: Callable[[], float]
) -> Callable[[Vector], None]:
    last = -PROGRESS

    def report(vector: Vector) -> None:
        nonlocal last
        if clock() - last >= PROGRESS:
            last = clock()
            values = ", ".join(
                f"{name} {member.value}"
                for name, member in list(vector.members.items())[:4]
            )
            turn.progress(
                fraction(vector) if fraction else None,
                f"{vector.name} is Busy: {values}",
            )

    return report


def _error(waiting: Waiting, end: End, seconds: float) -> BusbarError | None:
    vector, said = waiting.vector, list(waiting.said)
    detail: dict[str, Any] = {
        "vector": vector.name,
        "state": vector.state,
        "messages": said,
    }
    text = f": {'; '.join(said)}" if said else ""
    match end:
        case "Ok" | "Idle":
            return None
        case "Alert":
            return DeviceRefused(f"{vector.name}: Alert{text}", **detail)
        case "aborted":
            return Cancelled(
                (f"{vector.name}: aborted before it was done{text}"), **detail
            )
        case "superseded":
            return Cancelled(f"{vector.name}: superseded by another set", **detail)
        case "deleted":
            return DeviceRefused(
                (f"{vector.name}: deleted by the driver{text}"),
                **(detail | {"state": "deleted"}),
            )
        case "gone":
            return LinkLost(
                (
                    f"{vector.device}: the driver is gone; the set may have been "
                    f"executed{text}"
                ),
                **detail,
            )
    how = (
        "still Busy"
        if waiting.completion.busy
        else "not done"
        if waiting.heard
        else "no answer of the driver"
    )
    return DeviceTimeout(f"{vector.name}: {how} after {seconds:g} s{text}", **detail)
