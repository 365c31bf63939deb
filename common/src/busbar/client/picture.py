"""One device as its messages tell: values, what is bad, whether anything is missing. No I/O, no clock.

A reader is in step once it holds a snapshot with seq >= n-1, n being the first change it saw; from then on each change
must follow the one before. Source: docs/contract.md, 3.1, 3.3, 3.4.
"""

from collections.abc import Iterable
from typing import Any

from msgspec import UNSET, UnsetType

from busbar.client.kinds import Change
from busbar.contract import ChangeEvent, Fault, Info, State, Status

EARLY_LIMIT = 1000  # changes kept while a snapshot is awaited
PATIENCE = 2.0  # s that a snapshot waits for the changes before it
GAP = Fault("gap", "messages were lost; waiting for a snapshot")
GONE = Fault("gone", "it was removed")
UNKNOWN = Fault("unknown", "nothing is known of it yet")


class Picture:
    """Takes messages in order of arrival; each method returns the changes that they bring."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.status: Status | None = None
        self.info: Info | None = None
        self.values: dict[str, Any] = {}
        self.times: dict[str, float] = {}
        self.bad: dict[str, Fault] = {}
        self.seq = 0
        self.missed = 0  # messages with changes that never came
        self.news: list[tuple[int | None, str]] = []  # gaps to report: how many messages, why
        self.outside: Fault = UNKNOWN  # set by the client: its link, the bridge
        self.reachable = False  # the client is connected and the bridge lives
        self._boot: str | None = None
        self._in_step = False
        self._early: list[ChangeEvent] = []
        self._ahead: State | None = None
        self._ahead_since = 0.0
        self._told: Fault | None = UNKNOWN

    @property
    def complete(self) -> bool:
        """True when all that the status promises has come."""
        if self.status is None or self.info is None or not self._in_step or self._boot != self.status.boot:
            return False
        return self.info.revision >= self.status.revision and self.seq >= self.status.seq

    @property
    def in_step(self) -> bool:
        return self._in_step

    def why(self, path: str | None = None) -> Fault | None:
        """Return why a value, or without a path any of them, is not to be trusted; None if it is."""
        if not self.reachable:
            return self.outside
        if self.status is None:
            return UNKNOWN
        if self.status.state != "online":
            return self.status.reason or Fault("offline", f"the device is {self.status.state}")
        if not self._in_step:
            return GAP if self._boot else UNKNOWN
        return None if path is None else self.bad.get(path)

    def take_status(self, status: Status | None) -> list[Change]:
        """Take a status; None = it was removed."""
        self.status = status
        return self._recheck()

    def take_info(self, info: Info | None) -> None:
        self.info = info

    def take_outside(self, fault: Fault | None) -> list[Change]:
        """Take how the way to the device is: None = good."""
        self.reachable = fault is None
        self.outside = fault or self.outside
        return self._recheck()

    def forget(self) -> None:
        """The connection is new: a snapshot comes first, what is between is missing."""
        self._in_step, self._ahead = False, None
        self._early.clear()

    def take_change(self, event: ChangeEvent) -> list[Change]:
        """Take a message with changes."""
        if event.boot != self._boot or not self._in_step:
            if event.boot != self._boot:
                self._in_step, self._ahead = False, None
            self._early.append(event)
            del self._early[:-EARLY_LIMIT]
            return self._recheck()
        if event.seq <= self.seq:
            return []
        if event.seq == self.seq + 1:
            return self._apply(event)
        return self._jump(event)

    def take_state(self, state: State, now: float) -> list[Change]:
        """Take a snapshot, at monotonic time `now` (s)."""
        if state.boot == self._boot and self._in_step:
            if state.seq < self.seq:
                return []
            if state.seq > self.seq:
                if self._ahead is None:
                    self._ahead_since = now
                self._ahead = state
                return []
        return self._adopt(state)

    def age(self, now: float) -> list[Change]:
        """Take the time: a snapshot that waits too long for the changes before it shows that they are lost."""
        if self._ahead is not None and now - self._ahead_since > PATIENCE:
            return self._adopt(self._ahead)
        return []

    def remove(self) -> list[Change]:
        """Take that the device is gone: all of its retained topics were removed."""
        changes = [
            Change(self.device, path, None, self.times.get(path, 0.0), value, GONE)
            for path, value in self.values.items()
        ]
        self.values, self.times, self.bad, self.status, self.info = {}, {}, {}, None, None
        self._boot, self._in_step, self._ahead, self._told = None, False, None, UNKNOWN
        self._early.clear()
        return changes

    def current(self, paths: Iterable[str]) -> list[Change]:
        """Return what is known of properties, as changes without a past."""
        return [
            Change(self.device, path, self.values[path], self.times.get(path, 0.0), None, self.why(path))
            for path in paths
            if path in self.values
        ]

    def _jump(self, event: ChangeEvent) -> list[Change]:
        """Changes are missing before this one: a snapshot that covers them heals it, if it is here."""
        if self._ahead is not None and self._ahead.seq >= event.seq - 1:
            changes = self._adopt(self._ahead)
            return changes if event.seq <= self.seq else changes + self._apply(event)
        self._in_step, self._ahead = False, None
        self._early = [event]
        return self._recheck()

    def _apply(self, event: ChangeEvent) -> list[Change]:
        self.seq = event.seq
        changes = []
        for change in event.changes:
            path, old = change.path, self.values.get(change.path)
            fault: Fault | None
            if change.gone is True:
                value, fault = self._drop(path)
            else:
                value, fault = self._take(path, change.value, change.bad, change.time)
            changes.append(Change(self.device, path, value, change.time, old, fault or self._told))
        if self._ahead is not None and self.seq >= self._ahead.seq:
            self._ahead = None
        return changes

    def _drop(self, path: str) -> tuple[None, Fault]:
        self.values.pop(path, None)
        self.times.pop(path, None)
        self.bad.pop(path, None)
        return None, GONE

    def _take(self, path: str, value: Any, bad: Fault | UnsetType | None, time: float) -> tuple[Any, Fault | None]:
        if value is not UNSET:
            self.values[path] = value
            self.times[path] = time
        if bad is None:
            self.bad.pop(path, None)
        elif bad is not UNSET:
            self.bad[path] = bad
        return self.values.get(path), self.bad.get(path)

    def _adopt(self, state: State) -> list[Change]:
        """Take a snapshot as the truth; what differs are changes whose history is missing."""
        if state.boot == self._boot:
            if state.seq < self.seq:
                return []  # an old one, retained
            lost = state.seq - self.seq
            if lost:
                self.missed += lost
                self.news.append((lost, "messages did not reach us"))
        elif self._boot is not None:
            self.news.append((None, "the bridge was restarted"))
        before, was_bad = self.values, self.bad
        kept = self._left_out(state)
        self._boot, self.seq, self._in_step, self._ahead = state.boot, state.seq, True, None
        self.values, self.bad = {**kept, **state.values}, {**dict.fromkeys(kept, GAP), **state.bad}
        self._stamp(state, before)
        changes = self._differences(before, was_bad, state.time)
        early, self._early = self._early, []
        for event in early:
            changes += self.take_change(event)
        return changes

    def _left_out(self, state: State) -> dict[str, Any]:
        """Return values for which the snapshot had no room: not gone, but no longer certain."""
        if self.info is None or not self.info.truncated:
            return {}
        return {path: value for path, value in self.values.items() if path not in state.values}

    def _stamp(self, state: State, before: dict[str, Any]) -> None:
        if state.times is not UNSET:
            self.times = dict(state.times)
            return
        same = {path for path, value in self.values.items() if path in before and before[path] == value}
        self.times = {path: self.times.get(path, state.time) if path in same else state.time for path in self.values}

    def _differences(self, before: dict[str, Any], was_bad: dict[str, Fault], time: float) -> list[Change]:
        told, self._told = self._told, self.why()
        changes = []
        for path, value in self.values.items():
            same = path in before and before[path] == value and was_bad.get(path) == self.bad.get(path)
            if not same or told != self._told:
                stamp = self.times.get(path, time)
                changes.append(Change(self.device, path, value, stamp, before.get(path), self.why(path)))
        gone = [path for path in before if path not in self.values]
        return changes + [Change(self.device, path, None, time, before[path], GONE) for path in gone]

    def _recheck(self) -> list[Change]:
        """Tell of all values when whether they can be trusted has changed."""
        fault = self.why()
        if fault == self._told:
            return []
        self._told = fault
        return self.current(path for path in self.values if path not in self.bad)
