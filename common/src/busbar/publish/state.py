"""One device's values, times and quality: report by exception.

Source: docs/contract.md, 3.3 and 3.4.

Every transition becomes a `Change`; the changes taken so far and the snapshot always
agree.
"""

import asyncio
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from msgspec import UNSET

from busbar.contract import messages
from busbar.contract.describe import Property
from busbar.contract.messages import Change, Fault

TIMES_LIMIT = 1000  # properties; above, the snapshot leaves out `times`
_PLAIN = (bool, int, str, type(None))
_MISSING = object()
NOT_A_NUMBER = Fault(
    "not_a_number", ("the device sent a value that JSON has no number for")
)
UNSAYABLE = Fault("not_a_number", "the device sent a value that JSON cannot say")


class State:
    """What is known of one device; calls `changed` when there are changes to take."""

    def __init__(
        self, find: Callable[[str], Property | None], changed: Callable[[], None]
    ) -> None:
        self.values: dict[str, Any] = {}
        self.times: dict[str, float] = {}
        self.bad: dict[str, Fault] = {}
        self.suppressed = 0
        self._find, self._changed = find, changed
        self._loop = asyncio.get_running_loop()
        self.changes: list[Change] = []
        self._properties: dict[str, Property] = {}
        # loop time of the last report, of properties that limit reports
        self._reported: dict[str, float] = {}
        # loop time of the last reading, of properties with max_age
        self._confirmed: dict[str, float] = {}
        self._held: dict[str, tuple[Any, float, asyncio.TimerHandle]] = {}

    def read(self, readings: Mapping[str, Any], time: float) -> None:
        """Take readings (path -> JSON value; NaN and infinity become null and bad), acquired at Unix `time`."""
        before = len(self.changes)
        for path, value in readings.items():
            self._read(path, value, time)
        if len(self.changes) > before:
            self._changed()

    def mark_bad(self, paths: Iterable[str], fault: Fault, time: float) -> None:
        """Say why values are not to be trusted; they stay as they are."""
        before = len(self.changes)
        for path in paths:
            self._release(path)
            if self.bad.get(path) != fault:
                self.bad[path] = fault
                self.changes.append(Change(path, time, bad=fault))
        if len(self.changes) > before:
            self._changed()

    def remove(self, paths: Iterable[str], time: float) -> None:
        """Forget properties that are gone."""
        for path in list(paths):
            self._discard(path)
            known = path in self.values or path in self.bad
            tables = (
                self.values,
                self.times,
                self.bad,
                self._properties,
                self._reported,
                self._confirmed,
            )
            for table in tables:
                table.pop(path, None)
            if known:
                self.changes.append(Change(path, time, gone=True))
        if self.changes:
            self._changed()

    def described(self) -> None:
        """Look properties up anew: the description has changed."""
        self._properties.clear()

    def take_changes(self) -> list[Change]:
        """Return what happened since the last call, in order."""
        changes, self.changes = self.changes, []
        return changes

    def sayable(self, changes: Iterable[Change]) -> list[Change]:
        """Return changes in which values that JSON cannot say are null and bad.

        Of the state, too.
        """
        return [
            change if _can_be_said(change) else self._unsayable(change)
            for change in changes
        ]

    def snapshot(self, boot: str, seq: int, time: float) -> messages.State:
        """Return the whole state.

        Take the changes first, `seq` is that of the last message with changes.
        """
        times = dict(self.times) if len(self.values) <= TIMES_LIMIT else UNSET
        return messages.State(boot, seq, time, dict(self.values), dict(self.bad), times)

    def age(self, time: float) -> None:
        """Mark as stale what was not confirmed within its `max_age`."""
        now = self._loop.time()
        for path, confirmed in self._confirmed.items():
            limit = self._property(path).max_age
            if now - confirmed > limit and path not in self.bad:
                self.mark_bad(
                    [path],
                    Fault("stale", f"no reading for more than {limit:g} s"),
                    time,
                )

    def _property(self, path: str) -> Property:
        found = self._properties.get(path)
        if found is None:
            found = self._find(path)
            if found is None:
                raise ValueError(f"property {path!r} is not described")
            self._properties[path] = found
        return found

    def _read(self, path: str, value: Any, time: float) -> None:
        fault, kind = None, type(value)
        if kind not in _PLAIN and (kind is not float or not math.isfinite(value)):
            value, finite = _finite(value)
            fault = None if finite else NOT_A_NUMBER
        declared = self._properties.get(path) or self._property(path)
        if declared.limited:
            self._read_limited(declared, path, value, time, fault)
        elif self._is_same(path, value, fault):
            self.suppressed += 1
        else:
            if self._held:
                self._discard(path)  # of before it was described anew
            self._report(declared, path, value, time, fault)

    def _is_same(self, path: str, value: Any, fault: Fault | None) -> bool:
        known = self.values.get(path, _MISSING)
        return (
            known == value
            and type(known) is type(value)
            and self.bad.get(path) == fault
        )

    def _read_limited(
        self,
        declared: Property,
        path: str,
        value: Any,
        time: float,
        fault: Fault | None,
    ) -> None:
        if declared.max_age:
            self._confirmed[path] = self._loop.time()
        if not self._is_news(declared, path, value, fault):
            return
        if fault is not None:
            self._release(path)
        elif self._hold(declared, path, value, time):
            return
        self._discard(path)  # its timer is late: it must not follow a newer value
        self._report(declared, path, value, time, fault)

    def _is_news(
        self, declared: Property, path: str, value: Any, fault: Fault | None
    ) -> bool:
        near = declared.deadband and _near(
            self.values.get(path, _MISSING), value, declared.deadband
        )
        if self._is_same(path, value, fault) or (near and self.bad.get(path) == fault):
            self._discard(path)  # it went and came back within min_interval
            if not self._silent(declared, path):
                self.suppressed += 1
                return False
        return True

    def _silent(self, declared: Property, path: str) -> bool:
        if not declared.max_silence:
            return False
        return (
            self._loop.time() - self._reported.get(path, -math.inf)
            >= declared.max_silence
        )

    def _hold(self, declared: Property, path: str, value: Any, time: float) -> bool:
        """Keep a value back until min_interval has passed; the newest one follows then."""
        if not declared.min_interval or path in self.bad:
            return False
        due = self._reported.get(path, -math.inf) + declared.min_interval
        if self._loop.time() >= due:
            return False
        held = self._held.get(path)
        timer = held[2] if held else self._loop.call_at(due, self._released, path)
        self._held[path] = (value, time, timer)
        self.suppressed += held is not None
        return True

    def _released(self, path: str) -> None:
        self._release(path)
        self._changed()

    def _release(self, path: str) -> None:
        held = self._held.pop(path, None)
        if held is not None:
            value, time, timer = held
            timer.cancel()
            self._report(self._property(path), path, value, time, None)

    def _discard(self, path: str) -> None:
        held = self._held.pop(path, None)
        if held is not None:
            held[2].cancel()

    def _unsayable(self, change: Change) -> Change:
        if self.values.get(change.path) is change.value:
            self.values[change.path], self.bad[change.path] = None, UNSAYABLE
        return Change(change.path, change.time, None, UNSAYABLE)

    def _report(
        self,
        declared: Property,
        path: str,
        value: Any,
        time: float,
        fault: Fault | None,
    ) -> None:
        if declared.min_interval or declared.max_silence:
            self._reported[path] = self._loop.time()
        self.values[path] = value
        self.times[path] = time
        was = self.bad.pop(path, None) if self.bad else None
        if fault is not None:
            self.bad[path] = fault
        self.changes.append(Change(path, time, value, fault if fault or was else UNSET))


def _can_be_said(change: Change) -> bool:
    try:
        messages.encode(change)
    except (TypeError, ValueError, RecursionError):
        return False
    return True


def _near(known: Any, value: Any, deadband: float) -> bool:
    if (
        bool in (type(known), type(value))
        or not isinstance(known, int | float)
        or not isinstance(value, int | float)
    ):
        return False
    return abs(value - known) < deadband


def _finite(value: Any) -> tuple[Any, bool]:
    """Return a copy in which what JSON cannot say is null, and whether all of it could be said."""
    if isinstance(value, float):
        return (value, True) if math.isfinite(value) else (None, False)
    if isinstance(value, Mapping):
        pairs = {key: _finite(item) for key, item in value.items()}
        return {key: item for key, (item, _) in pairs.items()}, all(
            fine for _, fine in pairs.values()
        )
    if isinstance(value, list | tuple):
        items = [_finite(item) for item in value]
        return [item for item, _ in items], all(fine for _, fine in items)
    return value, True
