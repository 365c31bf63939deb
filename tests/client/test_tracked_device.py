"""What is known of a device, whatever happens to its messages.

Never wrong without being marked (contract 3.1-3.4).

The model is a publisher that keeps every state it ever had, and a wire that loses,
doubles and delays.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import UNSET

from busbar.client.tracked_device import GONE, PATIENCE, TrackedDevice
from busbar.client.types import Change
from busbar.contract import messages
from busbar.contract.messages import ChangeEvent, Fault, Info, State, Status

PATHS = ["a", "b", "c/d"]
VALUES: list[Any] = [0, 1, True, 1.0, "x", None, {"RA": 1}]
BROKEN = Fault("timeout", "no answer")
STALE = Fault("stale", "old")
AWAY = Fault("link", "not connected")
OLD = Fault("unconfirmed", "not heard since yesterday")


def info(truncated: int = 0) -> Info:
    return Info(
        contract=1,
        bridge="lab",
        device="toy",
        boot="1",
        kind="toy",
        revision=1,
        properties={},
        commands={},
        events={},
        blobs={},
        truncated=truncated or UNSET,
    )


@dataclass
class Publisher:
    """What a bridge does with one device; `history` is the truth of every seq."""

    boot: int = 1
    seq: int = 0
    values: dict[str, Any] = field(default_factory=dict)
    bad: dict[str, Fault] = field(default_factory=dict)
    history: dict[tuple[str, int], tuple[dict[str, Any], dict[str, Fault]]] = field(
        default_factory=dict
    )
    # each transition: path, value, stale
    published: list[tuple[str, Any, Fault | None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.remember()

    def remember(self) -> None:
        self.history[str(self.boot), self.seq] = (dict(self.values), dict(self.bad))

    def change(self, steps: list[tuple[str, str, Any]]) -> ChangeEvent:
        changes = [self.step(*step) for step in steps]
        self.seq += 1
        self.remember()
        return ChangeEvent(str(self.boot), self.seq, float(self.seq), changes)

    def step(self, kind: str, path: str, value: Any) -> messages.Change:
        now = float(self.seq)
        if kind == "gone":
            self.values.pop(path, None)
            self.bad.pop(path, None)
            self.published.append((path, None, GONE))
            return messages.Change(path, now, gone=True)
        if kind == "bad":
            self.bad[path] = BROKEN
            self.published.append((path, self.values.get(path), BROKEN))
            return messages.Change(path, now, bad=BROKEN)
        was = self.bad.pop(path, None)
        self.values[path] = value
        self.published.append((path, value, None))
        return messages.Change(path, now, value, None if was else UNSET)

    def state(self) -> State:
        return State(
            str(self.boot), self.seq, float(self.seq), dict(self.values), dict(self.bad)
        )

    def status(self) -> Status:
        return Status("online", 1.0, str(self.boot), 1, self.seq)

    def restart(self) -> None:
        self.boot += 1
        self.seq = 0
        self.values, self.bad = {}, {}
        self.remember()


class World:
    """A publisher, a reader, and two queues between them.

    One of changes and one of retained topics, each in order.
    """

    def __init__(self) -> None:
        self.publisher = Publisher()
        self.tracked = TrackedDevice("lab/toy")
        self.now = 0.0
        self.changes: deque[ChangeEvent] = deque()
        self.others: deque[State | Status] = deque()
        self.retained_state: State = self.publisher.state()
        self.retained_status: Status = self.publisher.status()
        self.highest: dict[str, int] = {}  # boot -> the highest change that has come
        self.came: set[int] = set()
        self.newest_boot = "1"
        self.watched: list[Change] = []
        self.view: dict[str, Change] = {}  # what somebody who watches believes
        self.reported: list[tuple[int | None, str]] = []
        self.see(self.tracked.take_upstream(None))
        self.tracked.take_info(info())

    def join(self) -> None:
        """The reader subscribes: what is retained comes."""
        self.deliver(self.retained_status)
        self.deliver(self.retained_state)

    def publish(self, event: ChangeEvent, fate: str) -> None:
        self.changes.extend([event] * {"lost": 0, "ok": 1, "twice": 2}[fate])

    def retain(self, what: State | Status, fate: str) -> None:
        if isinstance(what, State):
            self.retained_state = what
        else:
            self.retained_status = what
        self.others.extend([what] * {"lost": 0, "ok": 1, "twice": 2}[fate])

    def deliver(self, what: ChangeEvent | State | Status) -> None:
        self.newest_boot = what.boot
        if isinstance(what, ChangeEvent):
            self.highest[what.boot] = max(self.highest.get(what.boot, 0), what.seq)
            self.came.add(what.seq)
            self.see(self.tracked.take_change(what))
        elif isinstance(what, State):
            self.see(self.tracked.take_state(what, self.now))
        else:
            self.see(self.tracked.take_status(what))

    def see(self, changes: list[Change]) -> None:
        self.reported += self.tracked.gaps
        self.tracked.gaps.clear()
        self.watched += changes
        for change in changes:
            if change.stale == GONE:
                self.view.pop(change.path, None)
            else:
                self.view[change.path] = change

    def flow(self, queue: deque[Any], count: int) -> None:
        while queue and count:
            self.deliver(queue.popleft())
            count -= 1

    def flow_all(self) -> None:
        self.flow(self.others, len(self.others))
        self.flow(self.changes, len(self.changes))

    def flow_or_lose(self, fate: str) -> None:
        if fate == "ok":
            self.flow_all()
        self.changes.clear()
        self.others.clear()

    def do(self, operation: tuple[Any, ...]) -> None:
        match operation:
            case "change", steps, fate:
                self.publish(self.publisher.change(steps), fate)
            case "snapshot", fate:
                self.retain(self.publisher.state(), fate)
            case "status", fate:
                self.retain(self.publisher.status(), fate)
            case "changes", count:
                self.flow(self.changes, count)
            case "others", count:
                self.flow(self.others, count)
            case "age", seconds:
                self.now += seconds
                self.see(self.tracked.take_time(self.now))
            case "old", old:
                self.tracked.late = old
                self.see(self.tracked.recheck())
            case "contract", version:
                self.see(self.tracked.take_contract(version))
            case "restart", fate:
                self.flow_or_lose(fate)
                self.publisher.restart()
                self.retain(self.publisher.status(), fate)
                self.retain(self.publisher.state(), fate)
            case "reconnect", fate:
                self.flow_or_lose(fate)
                self.see(self.tracked.take_upstream(AWAY))
                self.tracked.reconnect()
                self.join()
                self.see(self.tracked.take_upstream(None))

    def settle(self) -> None:
        """All that waits comes, then the heartbeat, then time passes."""
        self.do(("old", None))
        self.do(("contract", 1))
        self.flow_all()
        self.retain(self.publisher.status(), "ok")
        self.retain(self.publisher.state(), "ok")
        self.flow_all()
        for _ in range(3):
            self.do(("age", PATIENCE + 1))

    def good(self) -> dict[str, Any]:
        return {
            path: value
            for path, value in self.tracked.values.items()
            if self.tracked.why(path) is None
        }

    def check(self) -> None:
        """What is not marked is the truth, and the newest that can be known."""
        tracked = self.tracked
        good = self.good()
        if good or tracked.why() is None:
            assert tracked.status is not None
            boot = tracked.status.boot
            assert boot == self.newest_boot or not self.highest.get(self.newest_boot)
            assert tracked.seq >= self.highest.get(boot, 0)
            values, bad = self.publisher.history[boot, tracked.seq]
            assert same(good, {path: values[path] for path in good})
            assert not good.keys() & bad.keys()
            if tracked.why() is None:
                assert same(
                    good,
                    {path: value for path, value in values.items() if path not in bad},
                )
                assert tracked.bad == bad
        for path, value in tracked.values.items():
            assert same(self.view[path].value, value), path
            assert (self.view[path].stale is None) == (path in good), path
        assert all(
            self.view[path].stale for path in self.view.keys() - tracked.values.keys()
        )


def same(one: Any, other: Any) -> bool:
    """True if two values are written alike in JSON."""
    return messages.canonical(one) == messages.canonical(other)


FATES = st.sampled_from(["ok", "ok", "ok", "lost", "twice"])
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["set", "set", "set", "bad", "gone"]),
        st.sampled_from(PATHS),
        st.sampled_from(VALUES),
    ),
    min_size=1,
    max_size=3,
)
CHANGES = st.tuples(st.just("change"), STEPS, FATES)
ARRIVALS = st.one_of(
    st.tuples(st.just("changes"), st.integers(1, 4)),
    st.tuples(st.just("others"), st.integers(1, 2)),
)
RETAINED = st.tuples(st.sampled_from(["snapshot", "status"]), FATES)
AGES = st.tuples(st.just("age"), st.sampled_from([0.5, PATIENCE + 0.1]))
ENDS = st.tuples(
    st.sampled_from(["restart", "reconnect"]), st.sampled_from(["ok", "lost"])
)
DOUBTS = st.one_of(
    st.tuples(st.just("old"), st.sampled_from([OLD, None])),
    st.tuples(st.just("contract"), st.integers(1, 2)),
)
ALL = st.lists(
    st.one_of(CHANGES, CHANGES, ARRIVALS, ARRIVALS, RETAINED, AGES, ENDS, DOUBTS),
    max_size=40,
)


@settings(max_examples=500, deadline=None)
@given(ALL)
def test_a_value_is_never_wrong_without_being_marked_whatever_happens(
    operations: list[Any],
):
    world = World()
    world.check()
    world.join()
    for operation in operations:
        world.do(operation)
        world.check()
    world.settle()
    world.check()
    assert world.tracked.complete
    assert world.tracked.why() is None
    assert same(
        world.good(),
        {
            path: v
            for path, v in world.publisher.values.items()
            if path not in world.publisher.bad
        },
    )


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.one_of(STEPS, st.just("snapshot"), ARRIVALS), max_size=40),
    st.booleans(),
)
def test_when_nothing_is_lost_every_transition_is_told_once_and_in_order(
    operations: list[Any], twice: bool
):
    fate = "twice" if twice else "ok"
    world = World()
    world.join()
    for operation in operations:
        if isinstance(operation, list):
            world.do(("change", operation, fate))
        elif operation == "snapshot":
            world.do(("snapshot", fate))
        else:
            world.do(operation)
    world.settle()
    watched = [(change.path, change.value, change.stale) for change in world.watched]
    assert same(
        [list(each) for each in watched],
        [list(each) for each in world.publisher.published],
    )
    assert world.tracked.missed == 0
    assert world.reported == []


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.one_of(CHANGES, CHANGES, ARRIVALS, st.tuples(st.just("snapshot"), FATES)),
        max_size=40,
    )
)
def test_the_gaps_that_are_reported_are_what_is_missing(operations: list[Any]):
    world = World()
    world.join()
    world.do(("change", [("set", "a", 0)], "ok"))
    # before the first change that comes differences are no gaps (contract 3.4)
    world.flow_all()
    for operation in operations:
        world.do(operation)
    world.settle()
    missing = set(range(1, world.publisher.seq + 1)) - world.came
    assert world.tracked.missed == len(missing)
    assert sum(count or 0 for count, _ in world.reported) == len(missing)


@settings(max_examples=200, deadline=None)
@given(ALL)
def test_the_old_value_of_a_change_is_the_one_told_before(operations: list[Any]):
    world = World()
    world.join()
    for operation in operations:
        world.do(operation)
    known: dict[str, Any] = {}
    for change in world.watched:
        if change.old is not None:
            assert same(change.old, known[change.path])
        known[change.path] = change.value


# One case each, for people.


def snapshot(
    seq: int, boot: str = "1", bad: dict[str, Fault] | None = None, **values: Any
) -> State:
    return State(boot, seq, float(seq), values, bad or {})


def change(seq: int, boot: str = "1", **values: Any) -> ChangeEvent:
    return ChangeEvent(
        boot,
        seq,
        float(seq),
        [messages.Change(path, float(seq), value) for path, value in values.items()],
    )


def status(
    seq: int = 0, boot: str = "1", state: Any = "online", reason: Fault | None = None
) -> Status:
    return Status(state, 1.0, boot, 1, seq, reason)


@pytest.fixture
def tracked() -> TrackedDevice:
    """A device in step at seq 5, where a is 5."""
    made = TrackedDevice("lab/toy")
    made.take_upstream(None)
    made.take_info(info())
    made.take_status(status(5))
    made.take_state(snapshot(4, a=4), 0.0)
    made.take_change(change(5, a=5))
    assert made.complete
    assert made.why("a") is None
    return made


def test_a_device_of_which_nothing_has_come_is_unknown():
    made = TrackedDevice("lab/toy")
    made.take_upstream(None)
    assert made.why("a") == Fault("unknown", "nothing is known of it yet")


def test_a_gap_marks_what_is_not_known_since_and_a_snapshot_heals_it(
    tracked: TrackedDevice,
):
    tracked.take_change(change(6, b=6))
    changes = tracked.take_change(change(8, b=8))
    assert {(c.path, c.value, c.stale.code if c.stale else None) for c in changes} == {
        ("a", 5, "gap"),
        ("b", 8, None),
    }
    assert tracked.gaps == [(1, "messages did not reach us")]
    healed = tracked.take_state(snapshot(8, a=7, b=8), 0.0)
    assert [(c.path, c.value, c.old, c.stale) for c in healed] == [("a", 7, 5, None)]
    assert tracked.missed == 1


def test_changes_after_a_gap_are_newer_than_the_snapshot(tracked: TrackedDevice):
    for seq in (7, 8, 9):
        tracked.take_change(change(seq, a=seq))
    tracked.take_state(snapshot(7, a=7, b=1), 0.0)
    assert (tracked.values, tracked.seq, tracked.missed) == ({"a": 9, "b": 1}, 9, 1)


def test_a_second_gap_marks_what_was_good_since_the_first(tracked: TrackedDevice):
    tracked.take_change(change(7, b=7))
    changes = tracked.take_change(change(9, c=9))
    assert {(c.path, c.stale.code if c.stale else None) for c in changes} == {
        ("b", "gap"),
        ("c", None),
    }
    assert tracked.why("b") is not None


def test_a_snapshot_older_than_the_gap_heals_nothing(tracked: TrackedDevice):
    tracked.take_change(change(9, b=9))
    assert tracked.take_state(snapshot(7, a=7), 0.0) == []
    assert tracked.why("a") is not None
    tracked.take_state(snapshot(8, a=8), 0.0)
    assert (tracked.why("a"), tracked.values) == (None, {"a": 8, "b": 9})


def test_a_snapshot_waits_for_the_changes_before_it(tracked: TrackedDevice):
    assert tracked.take_state(snapshot(7, a=7), 0.0) == []
    assert [c.value for c in tracked.take_change(change(6, a=6))] == [6]
    assert [c.value for c in tracked.take_change(change(7, a=7))] == [7]
    assert tracked.take_time(100.0) == []
    assert tracked.missed == 0


def test_a_snapshot_whose_changes_never_come_is_taken_after_a_while(
    tracked: TrackedDevice,
):
    tracked.take_state(snapshot(7, a=7), 0.0)
    assert tracked.take_time(PATIENCE) == []
    assert [(c.value, c.old) for c in tracked.take_time(PATIENCE + 0.1)] == [(7, 5)]
    assert tracked.missed == 2


def test_changes_that_come_late_and_ever_later_are_no_gap(tracked: TrackedDevice):
    for second in range(1, 20):
        tracked.take_state(snapshot(5 + 2 * second, a=0), float(second))
        tracked.take_time(float(second))
        assert len(tracked.take_change(change(5 + second, a=second))) == 1
    assert tracked.missed == 0


def test_a_lost_change_is_healed_by_the_snapshot_that_is_here_already(
    tracked: TrackedDevice,
):
    tracked.take_state(snapshot(8, a=8, b=6), 0.0)
    tracked.take_change(change(7, a=7))
    assert [c.value for c in tracked.take_change(change(8, a=8)) if c.path == "a"] == [
        8
    ]
    assert (tracked.values, tracked.why("b"), tracked.missed) == (
        {"a": 8, "b": 6},
        None,
        1,
    )


def test_an_old_snapshot_changes_nothing(tracked: TrackedDevice):
    tracked.take_change(change(6, a=6))
    assert tracked.take_state(snapshot(4, a=4), 0.0) == []
    assert tracked.values == {"a": 6}


def test_after_a_break_in_which_nothing_was_lost_every_transition_is_told(
    tracked: TrackedDevice,
):
    tracked.reconnect()
    assert tracked.why("a") is not None
    changes = tracked.take_change(change(6, a=6)) + tracked.take_change(change(7, a=7))
    assert [c.value for c in changes if c.stale is None][-2:] == [6, 7]
    tracked.take_state(snapshot(7, a=7), 0.0)
    assert tracked.missed == 0


def test_after_a_restart_values_are_those_of_the_new_process(tracked: TrackedDevice):
    tracked.take_status(status(0, "2"))
    assert tracked.why("a") is not None, "the values are of the process before"
    tracked.take_state(snapshot(0, "2", b=1), 0.0)
    assert (tracked.values, tracked.why("b")) == ({"b": 1}, None)
    assert tracked.gaps == [(None, "the bridge was restarted")]


def test_changes_of_a_new_process_do_not_vouch_for_the_values_of_the_old_one(
    tracked: TrackedDevice,
):
    tracked.take_change(change(1, "2", b=1))
    assert tracked.why("a") is not None
    tracked.take_status(status(0, "2"))
    assert (tracked.why("a") is None, tracked.why("b")) == (False, None)
    tracked.take_state(snapshot(0, "2", a=0), 0.0)
    assert (tracked.values, tracked.why("a")) == ({"a": 0, "b": 1}, None)


def test_a_late_change_of_the_process_before_does_no_lasting_harm(
    tracked: TrackedDevice,
):
    tracked.take_status(status(0, "2"))
    tracked.take_state(snapshot(0, "2", a=0), 0.0)
    tracked.take_change(change(6, "1", a=6))
    assert tracked.why("a") is not None
    tracked.take_state(snapshot(1, "2", a=1), 0.0)
    assert (tracked.values, tracked.why("a")) == ({"a": 1}, None)


def test_a_value_that_python_takes_for_equal_but_json_does_not_is_a_change(
    tracked: TrackedDevice,
):
    tracked.reconnect()
    changes = tracked.take_state(snapshot(6, a=5.0), 0.0) + tracked.take_state(
        snapshot(6, a=5.0), 0.0
    )
    assert repr(tracked.values["a"]) == "5.0"
    assert len([c for c in changes if repr(c.value) == "5.0"]) == 1


def test_a_property_that_has_gone_meanwhile_is_told_as_gone(tracked: TrackedDevice):
    tracked.reconnect()
    assert [
        (c.path, c.old, c.stale)
        for c in tracked.take_state(snapshot(6), 0.0)
        if c.stale == GONE
    ] == [("a", 5, GONE)]


def test_a_device_that_is_away_says_why(tracked: TrackedDevice):
    tracked.take_status(status(5, state="offline", reason=BROKEN))
    assert tracked.why("a") == BROKEN
    changes = tracked.take_status(status(5))
    assert [(c.path, c.value, c.stale) for c in changes] == [("a", 5, None)]


def test_a_bad_property_says_why_and_recovers(tracked: TrackedDevice):
    tracked.take_change(
        ChangeEvent("1", 6, 6.0, [messages.Change("a", 6.0, bad=STALE)])
    )
    assert (tracked.values["a"], tracked.why("a"), tracked.why()) == (5, STALE, None)
    tracked.take_change(ChangeEvent("1", 7, 7.0, [messages.Change("a", 7.0, 8, None)]))
    assert (tracked.values["a"], tracked.why("a")) == (8, None)


def test_a_device_that_was_removed_leaves_nothing(tracked: TrackedDevice):
    assert [(c.path, c.old, c.stale) for c in tracked.remove()] == [("a", 5, GONE)]
    assert (tracked.values, tracked.status, tracked.why("a") is None) == (
        {},
        None,
        False,
    )
    tracked.take_status(status(5))
    tracked.take_state(snapshot(5, a=5), 0.0)
    assert tracked.why("a") is None


# Truncated snapshots (contract 3: `info.truncated`).


def test_a_snapshot_without_room_for_all_takes_nothing_from_a_reader_in_step(
    tracked: TrackedDevice,
):
    tracked.take_info(info(truncated=1))
    assert tracked.take_state(snapshot(5), 0.0) == []
    assert (tracked.values, tracked.why("a")) == ({"a": 5}, None)


def test_after_a_gap_what_a_truncated_snapshot_lacks_is_marked_until_it_changes(
    tracked: TrackedDevice,
):
    tracked.take_info(info(truncated=1))
    tracked.take_change(change(7, b=7))
    tracked.take_state(snapshot(7, b=7), 0.0)
    fault = tracked.why("a")
    assert (tracked.values, tracked.why("b")) == ({"a": 5, "b": 7}, None)
    assert fault is not None
    assert fault.code == "gap"
    tracked.take_change(change(8, a=8))
    assert (tracked.values["a"], tracked.why("a")) == (8, None)


def test_times_are_kept_where_the_snapshot_has_none():
    made = TrackedDevice("lab/toy")
    made.take_state(State("1", 1, 1.0, {"a": 1, "b": 1}, {}, {"a": 0.5, "b": 0.6}), 0.0)
    made.reconnect()
    made.take_state(State("1", 2, 2.0, {"a": 1, "b": 2}, {}), 0.0)
    assert made.times == {"a": 0.5, "b": 2.0}
