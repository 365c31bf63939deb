"""One device's values, times and quality: report by exception.

Source: docs/contract.md, 3.3 and 3.4.

Every transition becomes a `Change`; the changes taken so far and the snapshot always
agree.
"""

import asyncio
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from msgspec import UNSET

from busbar.contract import messages
from busbar.contract.checks import Check, Rule, fault_of
from busbar.contract.describe import Property
from busbar.contract.messages import Change, Fault
from busbar.errors import BusbarError, InternalError

TIMES_LIMIT = 1000  # properties; above, the snapshot leaves out `times`
_MISSING = object()
NOT_A_NUMBER = Fault(
    "not_a_number", ("the device sent a value that JSON has no number for")
)
UNSAYABLE = Fault("not_a_number", "the device sent a value that JSON cannot say")


class UndescribedError(Exception):
    """A reading of what the device's description does not have."""


class _Known(NamedTuple):
    """A property, and what is looked at in each of its readings."""

    declared: Property
    check: Check
    rules: Mapping[type, Rule | None]
    limited: bool


def _ignore(path: str, error: Exception) -> None:
    """Nobody counts the errors of the session."""


class State:
    """Values of one device; calls `changed` when there are changes to take.

    `failed` is called with the path for a reading that is our own error: of a type that
    is not the declared one, or of no property.
    """

    def __init__(
        self,
        find: Callable[[str], Property | None],
        changed: Callable[[], None],
        failed: Callable[[str, Exception], None] = _ignore,
    ) -> None:
        self.values: dict[str, Any] = {}
        self.times: dict[str, float] = {}
        self.bad: dict[str, Fault] = {}
        self.suppressed = 0
        self._find = find
        self._changed = changed
        self._failed = failed
        self._loop = asyncio.get_running_loop()
        self.changes: list[Change] = []
        self._known: dict[str, _Known] = {}
        # loop time of the last report, of properties that limit reports
        self._reported: dict[str, float] = {}
        # loop time of the last reading, of properties with max_age
        self._confirmed: dict[str, float] = {}
        self._held: dict[str, tuple[Any, float, asyncio.TimerHandle]] = {}

    def read(self, readings: Mapping[str, Any], time: float) -> None:
        """Take readings (path -> JSON value), acquired at Unix `time`.

        NaN and infinity become null and bad, what is out of range is bad.
        """
        before = len(self.changes)
        for path, value in readings.items():
            try:
                self._read(path, value, time)
            except (InternalError, UndescribedError) as error:  # it costs this one
                self._refuse(path, error, time)
        if len(self.changes) > before:
            self._changed()

    def mark_bad(self, paths: Iterable[str], fault: Fault, time: float) -> None:
        """Say why values are not to be trusted; they stay as they are."""
        before = len(self.changes)
        for path in paths:
            self._mark_bad(path, fault, time)
        if len(self.changes) > before:
            self._changed()

    def _mark_bad(self, path: str, fault: Fault, time: float) -> None:
        self._release(path)
        if self.bad.get(path) != fault:
            self.bad[path] = fault
            self.changes.append(Change(path, time, bad=fault))

    def remove(self, paths: Iterable[str], time: float) -> None:
        """Forget properties that are gone."""
        for path in list(paths):
            self._discard(path)
            known = path in self.values or path in self.bad
            tables = (
                self.values,
                self.times,
                self.bad,
                self._known,
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
        """Look properties up again: the description has changed."""
        self._known.clear()

    def take_changes(self) -> list[Change]:
        """Return what happened since the last call, in order."""
        changes, self.changes = self.changes, []
        return changes

    def sayable(self, changes: Iterable[Change]) -> list[Change]:
        """Return changes in which values that JSON cannot say are null and bad.

        Of the state, too.
        """
        said = []
        for change in changes:
            if not _can_be_said(change):
                change = self._unsayable(change)
            said.append(change)
        return said

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
            limit = self._declared(path).max_age
            if now - confirmed > limit and path not in self.bad:
                fault = Fault("stale", f"no reading for more than {limit:g} s")
                self.mark_bad([path], fault, time)

    def _refuse(self, path: str, error: Exception, time: float) -> None:
        """Have a reading that is our own error cost this one, and say so."""
        if isinstance(error, BusbarError):
            self._mark_bad(path, Fault(error.code, error.message), time)
        self._failed(path, error)

    def _declared(self, path: str) -> Property:
        return (self._known.get(path) or self._look_up(path)).declared

    def _look_up(self, path: str) -> _Known:
        found = self._find(path)
        if found is None:
            raise UndescribedError(f"property {path!r} is not described")
        check = found.check
        known = _Known(found, check, check.rules, found.limited)
        self._known[path] = known
        return known

    def _read(self, path: str, value: Any, time: float) -> None:
        known = self._known.get(path) or self._look_up(path)
        kind = type(value)
        fault = None
        if kind not in known.rules or (kind is float and not math.isfinite(value)):
            value, fault = _examined(known.check, value)
        else:
            rule = known.rules[kind]
            if rule is not None:
                fault = rule(value)
        if known.limited:
            self._read_limited(known.declared, path, value, time, fault)
        elif self._is_same(path, value, fault):
            self.suppressed += 1
        else:
            if self._held:
                self._discard(path)  # from before it was described again
            self._report(known.declared, path, value, time, fault)

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
        if self._repeats(declared, path, value, fault):
            self._discard(path)  # it went and came back within min_interval
            if not self._was_silent(declared, path):
                self.suppressed += 1
                return
        if fault is not None:
            self._release(path)
        elif self._hold(declared, path, value, time):
            return
        self._discard(path)  # its timer is late: it must not follow a newer value
        self._report(declared, path, value, time, fault)

    def _repeats(
        self, declared: Property, path: str, value: Any, fault: Fault | None
    ) -> bool:
        """Return whether a reading is what was reported, or within its deadband."""
        if self._is_same(path, value, fault):
            return True
        if not declared.deadband or self.bad.get(path) != fault:
            return False
        known = self.values.get(path, _MISSING)
        return _near(known, value, declared.deadband)

    def _was_silent(self, declared: Property, path: str) -> bool:
        """Return whether an unchanged value is due for another report."""
        if not declared.max_silence:
            return False
        last = self._reported.get(path, -math.inf)
        return self._loop.time() - last >= declared.max_silence

    def _hold(self, declared: Property, path: str, value: Any, time: float) -> bool:
        """Keep a value back until min_interval has passed; return whether it is kept.

        The newest one follows then.
        """
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
            self._report(self._declared(path), path, value, time, None)

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
        bad = fault if fault or was else UNSET
        self.changes.append(Change(path, time, value, bad))


def _can_be_said(change: Change) -> bool:
    try:
        messages.encode(change)
    except (TypeError, ValueError, RecursionError):
        return False
    return True


def _examined(check: Check, value: Any) -> tuple[Any, Fault | None]:
    """Return a value as it is published, and why it is not good.

    An error in its place says that the device has none. Raise InternalError for one of
    another type.
    """
    if isinstance(value, BusbarError):
        return None, fault_of(value)
    value, finite = _finite(value)
    return value, check.fault(value) if finite else NOT_A_NUMBER


def _near(known: Any, value: Any, deadband: float) -> bool:
    if bool in (type(known), type(value)):
        return False
    if isinstance(known, int | float) and isinstance(value, int | float):
        return abs(value - known) < deadband
    return False


def _finite(value: Any) -> tuple[Any, bool]:
    """Return a copy with null where JSON has no number, and if it is complete."""
    if isinstance(value, float):
        finite = math.isfinite(value)
        return (value if finite else None), finite
    if isinstance(value, Mapping):
        items, complete = _all_finite(value.values())
        return dict(zip(value, items, strict=True)), complete
    if isinstance(value, list | tuple):
        return _all_finite(value)
    return value, True


def _all_finite(values: Iterable[Any]) -> tuple[list[Any], bool]:
    items = []
    complete = True
    for value in values:
        item, finite = _finite(value)
        items.append(item)
        complete = complete and finite
    return items, complete
