"""One device as its messages show it: values, what is bad, whether anything is missing.

No I/O, no clock: messages come in their order of arrival, monotonic times (s) with
them; what one brings is returned as changes. A snapshot that is ahead of the changes
waits for them, PATIENCE at most. Source: docs/contract.md, 3.
"""

import math
from collections.abc import Container, Iterable
from typing import Any

from msgspec import UNSET, UnsetType

from busbar.client.device_view import (
    GAP,
    IN_STEP,
    JOINING,
    RECONNECTED,
    UNKNOWN,
    Happened,
    Phase,
    View,
    step,
)
from busbar.client.types import Change
from busbar.contract import messages
from busbar.contract.messages import (
    CONTRACT,
    ChangeEvent,
    Fault,
    Info,
    State,
    Status,
)

PATIENCE = 2.0  # s that a snapshot waits for the next of the changes before it
FRESH = 1.1  # s; a snapshot is published within a second of a change (contract 3.3)
RESTARTED = Fault("gap", "the bridge was restarted; waiting for its messages")
GONE = Fault("gone", "it was removed")
OTHER_CONTRACT = "contract"  # code of what speaks another version of it


class TrackedDevice:
    """What is known of one device.

    Takes messages in order of arrival; each method returns the changes that they bring.
    """

    def __init__(self, device: str) -> None:
        self.device = device
        self.status: Status | None = None
        self.info: Info | None = None
        self.values: dict[str, Any] = {}
        self.times: dict[str, float] = {}
        self.bad: dict[str, Fault] = {}
        self.seq = 0
        self.missed = 0  # messages with changes that never came
        # gaps to report: how many messages, why
        self.gaps: list[tuple[int | None, str]] = []
        # why its values are too old, of a bridge that lives; `recheck` reports it
        self.late: Fault | None = None
        # why connection or bridge keep the device from us
        self._upstream: Fault | None = UNKNOWN
        # why no value was to be trusted when changes were last reported
        self._reported: Fault | None = UNKNOWN
        self._other: Fault | None = None  # why we do not understand it
        self._recent_until = 0.0  # monotonic time (s) of the end of RECENT
        # sequence and monotonic time (s) of the last change while a snapshot waits
        self._progress = (0, 0.0)
        self._start_over(None, Happened.OTHER_BOOT)

    def _start_over(self, boot: str | None, happened: Happened) -> None:
        """Begin with a process of the bridge, of which nothing is known."""
        self._boot = boot
        self.seq = 0
        # what is missing is covered by a snapshot from this sequence on
        self._needed = 0
        # path -> sequence of its last change since messages are missing
        self._changed: dict[str, int] = {}
        # a snapshot that came before the changes it covers
        self._ahead: State | None = None
        self._view = step(View(), happened)
        self._fault = self._view.fault

    @property
    def complete(self) -> bool:
        """True when all that the status promises has come."""
        if self.status is None or self.info is None:
            return False
        if self._view.phase not in IN_STEP or self._boot != self.status.boot:
            return False
        described = self.info.revision >= self.status.revision
        return described and self.seq >= self.status.seq

    @property
    def lacking(self) -> bool:
        """True while something retained must still come: its parts do not fit."""
        status = self.status
        if status is None:
            return self.info is not None or self._boot is not None
        if self.info is None or self.info.revision < status.revision:
            return True
        return self._boot != status.boot or self.seq < status.seq

    @property
    def settled(self) -> bool:
        """True when it is complete and no newer message can be on its way."""
        return self.complete and self._view.phase is Phase.CURRENT

    def why(self, path: str | None = None) -> Fault | None:
        """Return why a value, or without a path any of them, is not to be trusted.

        None if it is.
        """
        if self._upstream is not None:
            return self._upstream
        status = self.status
        if status is None:
            return UNKNOWN
        if status.state != "online":
            return status.reason or Fault("offline", f"the device is {status.state}")
        if self._boot != status.boot:
            return RESTARTED if self._boot else UNKNOWN
        if self.late is not None:
            return self.late
        if self._other is not None:
            return self._other
        if self._fault is not None and path not in self._changed:
            return self._fault
        if path is None:
            return None
        return self.bad.get(path)

    def current(self, paths: Iterable[str]) -> list[Change]:
        """Return what is known of properties, as changes without a past."""
        changes = []
        for path in paths:
            if path in self.values:
                value = self.values[path]
                time = self.times.get(path, 0.0)
                stale = self.why(path)
                changes.append(Change(self.device, path, value, time, None, stale))
        return changes

    def take_upstream(self, fault: Fault | None) -> list[Change]:
        """Take why connection or bridge keep the device from us; None = they do not."""
        self._upstream = fault
        return self.recheck()

    def take_status(self, status: Status) -> list[Change]:
        """Take a status."""
        self.status = status
        return self.recheck()

    def take_info(self, info: Info | None) -> None:
        """Take a description; None = it was removed."""
        self.info = info

    def take_contract(self, version: int) -> list[Change]:
        """Take which version of the contract the device is published by."""
        self._other = None
        if version != CONTRACT:
            text = f"it speaks version {version} of the contract, we {CONTRACT}"
            self._other = Fault(OTHER_CONTRACT, text)
        return self.recheck()

    def take_change(self, event: ChangeEvent) -> list[Change]:
        """Take a message with changes."""
        # what was reported as good since the last gap, and may have changed in this one
        doubtful: list[Change] = []
        if event.boot != self._boot:
            self._restart(event.boot)
            self._fall_behind(event.seq - 1)
        elif event.seq <= self.seq:
            return []
        elif event.seq > self.seq + 1:
            self._report_gap(event.seq - 1)
            doubtful = self._fall_behind(event.seq - 1)
        elif self._fault is not None or not self._view.followed:
            self._move(Happened.NEXT_CHANGE)
        changes = self._apply(event)
        if doubtful:
            changes = doubtful + changes
        if self._ahead is not None:
            changes += self._catch_up(self._ahead)
        if self.why() != self._reported:
            changes += self.recheck(self._changed.keys())
        return changes

    def take_state(
        self, state: State, now: float, age: float = math.inf
    ) -> list[Change]:
        """Take a snapshot, at monotonic time `now` (s).

        `age`: of a retained one, by the clocks (s).
        """
        phase = self._view.phase
        first = phase in RECONNECTED
        if state.boot != self._boot:
            if self.status is not None and self.status.boot == self._boot:
                return []  # of a process that is gone
            self._restart(state.boot)
            first = True
        elif self._is_old(state):
            return []
        elif state.seq > self.seq and phase in (Phase.CURRENT, Phase.RESYNCING):
            if self._ahead is None:
                self._progress = (self.seq, now)
            self._ahead = state
            return []
        if first and age < FRESH:
            self._recent_until = now + FRESH
            return self._merge(state, Happened.YOUNG_SNAPSHOT)
        return self._merge(state)

    def take_time(self, now: float) -> list[Change]:
        """Take the monotonic time (s).

        A snapshot that waits too long for the changes before it shows that they are
        lost; and values may have become too old.
        """
        if self._ahead is not None:
            seq, since = self._progress
            if self.seq > seq:
                self._progress = (self.seq, now)  # they come, only late
            elif now - since > PATIENCE:
                return self._merge(self._ahead)
        if self._view.phase is Phase.RECENT and now >= self._recent_until:
            self._move(Happened.TIME_PASSED)
        return self.recheck()

    def reconnect(self) -> None:
        """Take that the connection is new: the next message shows what was missed."""
        if self._boot is None:
            return
        self._move(Happened.RECONNECTED)
        self._needed = self.seq
        self._ahead = None
        self._changed.clear()

    def remove(self) -> list[Change]:
        """Take that the device is gone: its retained topics were removed."""
        changes = []
        for path, value in self.values.items():
            time = self.times.get(path, 0.0)
            changes.append(Change(self.device, path, None, time, value, GONE))
        self.values = {}
        self.times = {}
        self.bad = {}
        self.status = None
        self.info = None
        self._reported = self._upstream or UNKNOWN
        self._start_over(None, Happened.REMOVED)
        return changes

    def recheck(self, reported: Container[str] = ()) -> list[Change]:
        """Report all values when whether they can be trusted has changed.

        Except those `reported` just now, and bad ones.
        """
        fault = self.why()
        if fault == self._reported:
            return []
        self._reported = fault
        skipped = self.bad
        return self.current(
            path for path in self.values if path not in skipped and path not in reported
        )

    def _move(self, happened: Happened) -> None:
        self._view = step(self._view, happened)
        self._fault = self._view.fault

    def _restart(self, boot: str) -> None:
        """Begin with another process of the bridge, and report it."""
        if self._boot is not None:
            self.gaps.append((None, "the bridge was restarted"))
        self._start_over(boot, Happened.OTHER_BOOT)

    def _fall_behind(self, needed: int) -> list[Change]:
        """Take that messages are missing; return what was good since the last time."""
        self._move(Happened.LATER_CHANGE)
        self._needed = needed
        changed = self._changed
        self._changed = {}
        return self.current(path for path in changed if path not in self.bad)

    def _report_gap(self, last: int) -> None:
        """Count the messages after those that we have, up to `last`, as missing."""
        if self._view.followed and last > self.seq:
            self.missed += last - self.seq
            self.gaps.append((last - self.seq, "messages did not reach us"))

    def _is_old(self, state: State) -> bool:
        """Return whether a snapshot says nothing new, or is too old to cover a gap."""
        if self._view.phase in IN_STEP:
            return state.seq <= self.seq
        return state.seq < self._needed

    def _apply(self, event: ChangeEvent) -> list[Change]:
        self.seq = event.seq
        incomplete = self._view.phase is Phase.RESYNCING
        changes = []
        for change in event.changes:
            path = change.path
            old = self.values.get(path)
            if incomplete:
                self._changed[path] = event.seq
            stale: Fault | None = GONE
            if change.gone is True:
                self._drop(path)
            else:
                self._take(path, change)
                stale = self.why(path)
            value = self.values.get(path)
            changes.append(Change(self.device, path, value, change.time, old, stale))
        return changes

    def _take(self, path: str, change: messages.Change) -> None:
        bad: Fault | UnsetType | None = change.bad
        if change.value is not UNSET:
            self.values[path] = change.value
            self.times[path] = change.time
        if bad is not UNSET and bad is not None:
            self.bad[path] = bad
        elif bad is None or change.value is not UNSET:
            self.bad.pop(path, None)

    def _drop(self, path: str) -> None:
        self.values.pop(path, None)
        self.times.pop(path, None)
        self.bad.pop(path, None)

    def _catch_up(self, ahead: State) -> list[Change]:
        """Use the snapshot that waits, when the changes before it have come."""
        if self.seq < ahead.seq:
            return []
        self._ahead = None
        if self._view.phase is Phase.RESYNCING and ahead.seq >= self._needed:
            return self._merge(ahead)
        return []

    def _merge(
        self, state: State, happened: Happened = Happened.SNAPSHOT
    ) -> list[Change]:
        """Take a snapshot as the truth, except for what has changed after it.

        Differences are changes without history.
        """
        self._report_gap(state.seq)
        before = self.values
        was_bad = self.bad
        newer = {path for path, seq in self._changed.items() if seq > state.seq}
        left_out = self._left_out(state) - newer
        self.values = _without(state.values, newer)
        self.values |= _only(before, newer)
        for path in left_out:
            self.values[path] = before[path]
        self.bad = _without(state.bad, newer)
        self.bad |= _only(was_bad, newer)
        self.bad |= dict.fromkeys(left_out, GAP)
        self.times = self._times(state, before, newer)
        self.seq = max(self.seq, state.seq)
        self._ahead = None
        self._move(happened)
        return self._differences(before, was_bad, state.time)

    def _left_out(self, state: State) -> set[str]:
        """Return properties for which the snapshot had no room.

        Not gone, but no longer certain.
        """
        if self.info is None or not self.info.truncated:
            return set()
        return {path for path in self.values if path not in state.values}

    def _times(
        self, state: State, before: dict[str, Any], newer: set[str]
    ) -> dict[str, float]:
        """Return when the values changed: kept where the snapshot has no time."""
        given: dict[str, float] = {}
        if state.times is not UNSET:
            given = state.times
        times = {}
        for path, value in self.values.items():
            kept = path in newer
            if not kept and path not in given and path in before:
                kept = _equal(before[path], value)
            if kept:
                times[path] = self.times.get(path, state.time)
            else:
                times[path] = given.get(path, state.time)
        return times

    def _differences(
        self, before: dict[str, Any], was_bad: dict[str, Fault], time: float
    ) -> list[Change]:
        reported = self._reported
        fault = self._reported = self.why()
        # values that changed since the gap were reported as good
        incomplete = reported in (GAP, JOINING)
        changes = []
        for path, value in self.values.items():
            same = (
                path in before
                and _equal(before[path], value)
                and was_bad.get(path) == self.bad.get(path)
            )
            trusted_alike = reported == fault or (incomplete and path in self._changed)
            if not same or not trusted_alike:
                since = self.times[path]
                old = before.get(path)
                stale = self.why(path)
                changes.append(Change(self.device, path, value, since, old, stale))
        self._changed.clear()
        for path, old in before.items():
            if path not in self.values:
                changes.append(Change(self.device, path, None, time, old, GONE))
        return changes


def _without(values: dict[str, Any], paths: set[str]) -> dict[str, Any]:
    return {path: value for path, value in values.items() if path not in paths}


def _only(values: dict[str, Any], paths: set[str]) -> dict[str, Any]:
    return {path: value for path, value in values.items() if path in paths}


def _equal(one: Any, other: Any) -> bool:
    """True if two values are one in JSON, where 1 is not true."""
    return type(one) is type(other) and bool(one == other)
