"""One device as its messages tell: values, what is bad, whether anything is missing.

No I/O, no clock.

A snapshot comes at most once a second, so at the beginning, and after a gap, changes
may follow that are not the next: what they name is right, everything else waits for a
snapshot that covers the hole. Source: docs/contract.md, 3.
"""

import math
from collections.abc import Container, Iterable
from typing import Any

from msgspec import UNSET, UnsetType

from busbar.client.types import Change
from busbar.contract.messages import ChangeEvent, Fault, Info, State, Status

PATIENCE = 2.0  # s that a snapshot waits for the next of the changes before it
FRESH = 1.1  # s; a snapshot is published within a second of a change (contract 3.3)
GAP = Fault("gap", "messages were lost; waiting for a snapshot")
JOINING = Fault("joining", "we have just connected; the newest values are on their way")
RESTARTED = Fault("gap", "the bridge was restarted; waiting for its messages")
GONE = Fault("gone", "it was removed")
UNKNOWN = Fault("unknown", "nothing is known of it yet")


class Picture:
    """Takes messages in order of arrival.

    Each method returns the changes that they bring.
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
        self.news: list[tuple[int | None, str]] = []
        self._outside: Fault | None = UNKNOWN  # why the way to the device is not good
        # what the receivers of changes know of all values
        self._told: Fault | None = UNKNOWN
        self._begin(None, 0)

    def _begin(self, boot: str | None, hole: int) -> None:
        """Start with a process of the bridge.

        Nothing of it is known before a snapshot with seq >= hole.
        """
        self._boot, self.seq = boot, 0
        self._hole: int | None = hole  # None: in step
        # path -> seq of its last change behind the hole
        self._fresh: dict[str, int] = {}
        # a snapshot that came before the changes it covers
        self._ahead: State | None = None
        # seq and monotonic time (s) when the last of them came
        self._waiting = (0, 0.0)
        self._live = False  # a change has come
        self._counted = False  # we have been in step: what is missing is a gap
        self._rejoined = False  # nothing has come since the client has connected anew
        self._intact = False  # and nothing was missing before
        # monotonic time (s) until which a retained snapshot may be behind
        self._doubt: float | None = None

    @property
    def complete(self) -> bool:
        """True when all that the status promises has come."""
        if (
            self.status is None
            or self.info is None
            or self._hole is not None
            or self._boot != self.status.boot
        ):
            return False
        return (
            self.info.revision >= self.status.revision and self.seq >= self.status.seq
        )

    @property
    def settled(self) -> bool:
        """True when it is complete and no newer message can be on its way."""
        return self.complete and self._doubt is None

    def why(self, path: str | None = None) -> Fault | None:
        """Return why a value, or without a path any of them, is not to be trusted.

        None if it is.
        """
        if self._outside is not None:
            return self._outside
        if self.status is None:
            return UNKNOWN
        if self.status.state != "online":
            return self.status.reason or Fault(
                "offline", f"the device is {self.status.state}"
            )
        if self._boot != self.status.boot:
            return RESTARTED if self._boot else UNKNOWN
        if self._hole is not None and path not in self._fresh:
            return GAP if self._counted else JOINING
        if self._doubt is not None:
            return JOINING
        return None if path is None else self.bad.get(path)

    def current(self, paths: Iterable[str]) -> list[Change]:
        """Return what is known of properties, as changes without a past."""
        known = [path for path in paths if path in self.values]
        return [
            Change(
                self.device,
                path,
                self.values[path],
                self.times.get(path, 0.0),
                None,
                self.why(path),
            )
            for path in known
        ]

    def take_outside(self, fault: Fault | None) -> list[Change]:
        """Take how the way to the device is: None = good."""
        self._outside = fault
        return self._recheck()

    def take_status(self, status: Status) -> list[Change]:
        """Take a status."""
        self.status = status
        return self._recheck()

    def take_info(self, info: Info | None) -> None:
        """Take a description; None = it was removed."""
        self.info = info

    def take_change(self, event: ChangeEvent) -> list[Change]:
        """Take a message with changes."""
        # what was told as good since the last gap, and may have changed in this one
        doubtful: list[Change] = []
        if event.boot != self._boot:
            self._restarted()
            self._begin(event.boot, event.seq - 1)
        elif event.seq <= self.seq:
            return []
        elif event.seq > self.seq + 1:
            self._miss(event.seq - 1)
            self._hole = event.seq - 1
            fresh, self._fresh = self._fresh, {}
            doubtful = self.current(path for path in fresh if path not in self.bad)
        elif self._rejoined and self._intact:
            self._hole = None
        self._rejoined, self._doubt = False, None
        return (
            doubtful
            + self._apply(event)
            + self._catch_up()
            + self._recheck(self._fresh.keys())
        )

    def take_state(
        self, state: State, now: float, age: float = math.inf
    ) -> list[Change]:
        """Take a snapshot, at monotonic time `now` (s).

        `age`: of a retained one, by the clocks (s).
        """
        first = state.boot != self._boot or self._rejoined
        if state.boot != self._boot:
            if self.status is not None and self.status.boot == self._boot:
                return []  # of a process that is gone
            self._restarted()
            self._begin(state.boot, 0)
        elif state.seq <= self.seq if self._hole is None else state.seq < self._hole:
            return []  # it says what is known, or is an old one, retained
        elif state.seq > self.seq and not self._rejoined and self._doubt is None:
            self._waiting = (self.seq, now) if self._ahead is None else self._waiting
            self._ahead = state
            return []
        self._doubt = now + FRESH if first and age < FRESH else None
        return self._merge(state)

    def age(self, now: float) -> list[Change]:
        """Take the time.

        A snapshot that waits too long for the changes before it shows that they are
        lost.
        """
        seq, since = self._waiting
        if self._ahead is not None and self.seq > seq:
            self._waiting = (self.seq, now)  # they come, only late
        elif self._ahead is not None and now - since > PATIENCE:
            return self._merge(self._ahead)
        if self._doubt is not None and now >= self._doubt:
            self._doubt = None
            return self._recheck()
        return []

    def forget(self) -> None:
        """The connection is new: whatever comes next tells what was between."""
        if self._boot is not None:
            self._intact = self._hole is None or (self._rejoined and self._intact)
            self._hole, self._ahead, self._rejoined = self.seq, None, True
            self._fresh.clear()

    def remove(self) -> list[Change]:
        """Take that the device is gone: its retained topics were removed."""
        known, times = self.values, self.times
        changes = [
            Change(self.device, path, None, times.get(path, 0.0), known[path], GONE)
            for path in known
        ]
        self.values, self.times, self.bad, self.status, self.info = (
            {},
            {},
            {},
            None,
            None,
        )
        self._told = self._outside or UNKNOWN
        self._begin(None, 0)
        return changes

    def _restarted(self) -> None:
        if self._boot is not None:
            self.news.append((None, "the bridge was restarted"))

    def _miss(self, last: int) -> None:
        """Count the messages after those that we have, up to `last`, as missing."""
        if self._counted and last > self.seq:
            self.missed += last - self.seq
            self.news.append((last - self.seq, "messages did not reach us"))

    def _apply(self, event: ChangeEvent) -> list[Change]:
        self.seq = event.seq
        self._live, self._counted = True, self._counted or self._hole is None
        changes = []
        for change in event.changes:
            path, old = change.path, self.values.get(change.path)
            if self._hole is not None:
                self._fresh[path] = event.seq
            if change.gone is True:
                self._drop(path)
            else:
                self._take(path, change.value, change.bad, change.time)
            stale = GONE if change.gone is True else self.why(path)
            changes.append(
                Change(
                    self.device, path, self.values.get(path), change.time, old, stale
                )
            )
        return changes

    def _take(
        self, path: str, value: Any, bad: Fault | UnsetType | None, time: float
    ) -> None:
        if value is not UNSET:
            self.values[path] = value
            self.times[path] = time
        if bad is not UNSET and bad is not None:
            self.bad[path] = bad
        elif bad is None or value is not UNSET:
            self.bad.pop(path, None)

    def _drop(self, path: str) -> None:
        self.values.pop(path, None)
        self.times.pop(path, None)
        self.bad.pop(path, None)

    def _catch_up(self) -> list[Change]:
        """Use a snapshot that was waiting for these changes."""
        ahead = self._ahead
        if ahead is None or self.seq < ahead.seq:
            return []
        self._ahead = None
        return (
            self._merge(ahead)
            if self._hole is not None and ahead.seq >= self._hole
            else []
        )

    def _merge(self, state: State) -> list[Change]:
        """Take a snapshot as the truth, but for what has changed after it.

        Differences are changes without history.
        """
        self._miss(state.seq)
        later = {path for path, seq in self._fresh.items() if seq > state.seq}
        before, was_bad = self.values, self.bad
        kept = {path: value for path, value in before.items() if path in later}
        lost = self._left_out(state) - later
        self.values = {
            path: value for path, value in state.values.items() if path not in later
        } | kept
        self.values |= {path: before[path] for path in lost}
        self.bad = {
            path: fault for path, fault in state.bad.items() if path not in later
        }
        self.bad |= {
            path: was_bad[path] for path in later if path in was_bad
        } | dict.fromkeys(lost, GAP)
        self._stamp(state, before, later)
        self.seq, self._hole, self._ahead = max(self.seq, state.seq), None, None
        self._counted, self._rejoined = self._counted or self._live, False
        return self._differences(before, was_bad, state.time)

    def _left_out(self, state: State) -> set[str]:
        """Return properties for which the snapshot had no room.

        Not gone, but no longer certain.
        """
        if self.info is None or not self.info.truncated:
            return set()
        return {path for path in self.values if path not in state.values}

    def _stamp(self, state: State, before: dict[str, Any], later: set[str]) -> None:
        told, times = {} if state.times is UNSET else state.times, self.times
        self.times = {}
        for path, value in self.values.items():
            known = path in later or (
                path not in told and path in before and _equal(before[path], value)
            )
            self.times[path] = (
                times.get(path, state.time) if known else told.get(path, state.time)
            )

    def _differences(
        self, before: dict[str, Any], was_bad: dict[str, Fault], time: float
    ) -> list[Change]:
        told, self._told = self._told, self.why()
        changes = []
        for path, value in self.values.items():
            same = (
                path in before
                and _equal(before[path], value)
                and was_bad.get(path) == self.bad.get(path)
            )
            if not same or not (
                told == self._told or (told in (GAP, JOINING) and path in self._fresh)
            ):
                changes.append(
                    Change(
                        self.device,
                        path,
                        value,
                        self.times[path],
                        before.get(path),
                        self.why(path),
                    )
                )
        self._fresh.clear()
        gone = [path for path in before if path not in self.values]
        return changes + [
            Change(self.device, path, None, time, before[path], GONE) for path in gone
        ]

    def _recheck(self, told: Container[str] = ()) -> list[Change]:
        """Tell of all values, but those just told, when whether they can be trusted has changed."""
        fault = self.why()
        if fault == self._told:
            return []
        self._told = fault
        return self.current(
            path for path in self.values if path not in self.bad and path not in told
        )


def _equal(one: Any, other: Any) -> bool:
    """True if two values are one in JSON, where 1 is not true."""
    return type(one) is type(other) and bool(one == other)
