"""A device in the reader's eyes, whatever happens to its messages.

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

from busbar.client.device_view import GONE, PATIENCE, Picture
from busbar.client.types import Change
from busbar.contract import messages
from busbar.contract.messages import ChangeEvent, Fault, Info, State, Status

PATHS = ["a", "b", "c/d"]
VALUES: list[Any] = [0, 1, True, 1.0, "x", None, {"RA": 1}]
BROKEN, STALE, AWAY = (
    Fault("timeout", "no answer"),
    Fault("stale", "old"),
    Fault("link", "not connected"),
)


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
    told: list[tuple[str, Any, Fault | None]] = field(default_factory=list)

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
            self.told.append((path, None, GONE))
            return messages.Change(path, now, gone=True)
        if kind == "bad":
            self.bad[path] = BROKEN
            self.told.append((path, self.values.get(path), BROKEN))
            return messages.Change(path, now, bad=BROKEN)
        was = self.bad.pop(path, None)
        self.values[path] = value
        self.told.append((path, value, None))
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
    """A publisher, a reader, and between them one queue of changes and one of retained
    topics, each in order."""

    def __init__(self) -> None:
        self.publisher, self.picture, self.now = Publisher(), Picture("lab/toy"), 0.0
        self.changes: deque[ChangeEvent] = deque()
        self.others: deque[State | Status] = deque()
        self.retained_state: State = self.publisher.state()
        self.retained_status: Status = self.publisher.status()
        self.heard: dict[str, int] = {}  # boot -> the highest change that has come
        self.came: set[int] = set()
        self.newest_boot = "1"
        self.watched: list[Change] = []
        self.view: dict[str, Change] = {}  # what somebody who watches believes
        self.reported: list[tuple[int | None, str]] = []
        self.see(self.picture.take_outside(None))
        self.picture.take_info(info())

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
            self.heard[what.boot] = max(self.heard.get(what.boot, 0), what.seq)
            self.came.add(what.seq)
            self.see(self.picture.take_change(what))
        elif isinstance(what, State):
            self.see(self.picture.take_state(what, self.now))
        else:
            self.see(self.picture.take_status(what))

    def see(self, changes: list[Change]) -> None:
        self.reported += self.picture.news
        self.picture.news.clear()
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
                self.see(self.picture.age(self.now))
            case "restart", fate:
                self.flow_all() if fate == "ok" else (
                    self.changes.clear(),
                    self.others.clear(),
                )
                self.publisher.restart()
                self.retain(self.publisher.status(), fate)
                self.retain(self.publisher.state(), fate)
            case "reconnect", fate:
                self.flow_all() if fate == "ok" else (
                    self.changes.clear(),
                    self.others.clear(),
                )
                self.see(self.picture.take_outside(AWAY))
                self.picture.forget()
                self.join()
                self.see(self.picture.take_outside(None))

    def settle(self) -> None:
        """All that waits comes, then the heartbeat, then time passes."""
        self.flow_all()
        self.retain(self.publisher.status(), "ok")
        self.retain(self.publisher.state(), "ok")
        self.flow_all()
        for _ in range(3):
            self.do(("age", PATIENCE + 1))

    def good(self) -> dict[str, Any]:
        return {
            path: value
            for path, value in self.picture.values.items()
            if self.picture.why(path) is None
        }

    def check(self) -> None:
        """What is not marked is the truth, and the newest that the reader can know of."""
        picture = self.picture
        good = self.good()
        if good or picture.why() is None:
            assert picture.status is not None
            boot = picture.status.boot
            assert boot == self.newest_boot or not self.heard.get(self.newest_boot)
            assert picture.seq >= self.heard.get(boot, 0)
            values, bad = self.publisher.history[boot, picture.seq]
            assert same(good, {path: values[path] for path in good})
            assert not good.keys() & bad.keys()
            if picture.why() is None:
                assert same(
                    good,
                    {path: value for path, value in values.items() if path not in bad},
                )
                assert picture.bad == bad
        for path, value in picture.values.items():
            assert same(self.view[path].value, value), path
            assert (self.view[path].stale is None) == (path in good), path
        assert all(
            self.view[path].stale for path in self.view.keys() - picture.values.keys()
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
ALL = st.lists(
    st.one_of(CHANGES, CHANGES, ARRIVALS, ARRIVALS, RETAINED, AGES, ENDS), max_size=40
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
    assert world.picture.complete
    assert world.picture.why() is None
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
    told = [(change.path, change.value, change.stale) for change in world.watched]
    assert same(
        [list(each) for each in told], [list(each) for each in world.publisher.told]
    )
    assert world.picture.missed == 0
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
    assert world.picture.missed == len(missing)
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


def at(
    seq: int, boot: str = "1", bad: dict[str, Fault] | None = None, **values: Any
) -> State:
    return State(boot, seq, float(seq), values, bad or {})


def news(seq: int, boot: str = "1", **values: Any) -> ChangeEvent:
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
def picture() -> Picture:
    """A device in step at seq 5, where a is 5."""
    made = Picture("lab/toy")
    made.take_outside(None)
    made.take_info(info())
    made.take_status(status(5))
    made.take_state(at(4, a=4), 0.0)
    made.take_change(news(5, a=5))
    assert made.complete
    assert made.why("a") is None
    return made


def test_a_device_of_which_nothing_has_come_is_unknown():
    made = Picture("lab/toy")
    made.take_outside(None)
    assert made.why("a") == Fault("unknown", "nothing is known of it yet")


def test_a_gap_marks_what_is_not_known_since_and_a_snapshot_heals_it(picture: Picture):
    picture.take_change(news(6, b=6))
    told = picture.take_change(news(8, b=8))
    assert {(c.path, c.value, c.stale.code if c.stale else None) for c in told} == {
        ("a", 5, "gap"),
        ("b", 8, None),
    }
    assert picture.news == [(1, "messages did not reach us")]
    healed = picture.take_state(at(8, a=7, b=8), 0.0)
    assert [(c.path, c.value, c.old, c.stale) for c in healed] == [("a", 7, 5, None)]
    assert picture.missed == 1


def test_changes_after_a_gap_are_newer_than_the_snapshot(picture: Picture):
    for seq in (7, 8, 9):
        picture.take_change(news(seq, a=seq))
    picture.take_state(at(7, a=7, b=1), 0.0)
    assert (picture.values, picture.seq, picture.missed) == ({"a": 9, "b": 1}, 9, 1)


def test_a_second_gap_marks_what_was_good_since_the_first(picture: Picture):
    picture.take_change(news(7, b=7))
    told = picture.take_change(news(9, c=9))
    assert {(c.path, c.stale.code if c.stale else None) for c in told} == {
        ("b", "gap"),
        ("c", None),
    }
    assert picture.why("b") is not None


def test_a_snapshot_older_than_the_gap_heals_nothing(picture: Picture):
    picture.take_change(news(9, b=9))
    assert picture.take_state(at(7, a=7), 0.0) == []
    assert picture.why("a") is not None
    picture.take_state(at(8, a=8), 0.0)
    assert (picture.why("a"), picture.values) == (None, {"a": 8, "b": 9})


def test_a_snapshot_waits_for_the_changes_before_it(picture: Picture):
    assert picture.take_state(at(7, a=7), 0.0) == []
    assert [c.value for c in picture.take_change(news(6, a=6))] == [6]
    assert [c.value for c in picture.take_change(news(7, a=7))] == [7]
    assert picture.age(100.0) == []
    assert picture.missed == 0


def test_a_snapshot_whose_changes_never_come_is_taken_after_a_while(picture: Picture):
    picture.take_state(at(7, a=7), 0.0)
    assert picture.age(PATIENCE) == []
    assert [(c.value, c.old) for c in picture.age(PATIENCE + 0.1)] == [(7, 5)]
    assert picture.missed == 2


def test_changes_that_come_late_and_ever_later_are_no_gap(picture: Picture):
    for second in range(1, 20):
        picture.take_state(at(5 + 2 * second, a=0), float(second))
        picture.age(float(second))
        assert len(picture.take_change(news(5 + second, a=second))) == 1
    assert picture.missed == 0


def test_a_lost_change_is_healed_by_the_snapshot_that_is_here_already(picture: Picture):
    picture.take_state(at(8, a=8, b=6), 0.0)
    picture.take_change(news(7, a=7))
    assert [c.value for c in picture.take_change(news(8, a=8)) if c.path == "a"] == [8]
    assert (picture.values, picture.why("b"), picture.missed) == (
        {"a": 8, "b": 6},
        None,
        1,
    )


def test_an_old_snapshot_changes_nothing(picture: Picture):
    picture.take_change(news(6, a=6))
    assert picture.take_state(at(4, a=4), 0.0) == []
    assert picture.values == {"a": 6}


def test_after_a_break_in_which_nothing_was_lost_every_transition_is_told(
    picture: Picture,
):
    picture.forget()
    assert picture.why("a") is not None
    told = picture.take_change(news(6, a=6)) + picture.take_change(news(7, a=7))
    assert [c.value for c in told if c.stale is None][-2:] == [6, 7]
    picture.take_state(at(7, a=7), 0.0)
    assert picture.missed == 0


def test_after_a_restart_values_are_those_of_the_new_process(picture: Picture):
    picture.take_status(status(0, "2"))
    assert picture.why("a") is not None, "the values are of the process before"
    picture.take_state(at(0, "2", b=1), 0.0)
    assert (picture.values, picture.why("b")) == ({"b": 1}, None)
    assert picture.news == [(None, "the bridge was restarted")]


def test_changes_of_a_new_process_do_not_vouch_for_the_values_of_the_old_one(
    picture: Picture,
):
    picture.take_change(news(1, "2", b=1))
    assert picture.why("a") is not None
    picture.take_status(status(0, "2"))
    assert (picture.why("a") is None, picture.why("b")) == (False, None)
    picture.take_state(at(0, "2", a=0), 0.0)
    assert (picture.values, picture.why("a")) == ({"a": 0, "b": 1}, None)


def test_a_late_change_of_the_process_before_does_no_lasting_harm(picture: Picture):
    picture.take_status(status(0, "2"))
    picture.take_state(at(0, "2", a=0), 0.0)
    picture.take_change(news(6, "1", a=6))
    assert picture.why("a") is not None
    picture.take_state(at(1, "2", a=1), 0.0)
    assert (picture.values, picture.why("a")) == ({"a": 1}, None)


def test_a_value_that_python_takes_for_equal_but_json_does_not_is_a_change(
    picture: Picture,
):
    picture.forget()
    told = picture.take_state(at(6, a=5.0), 0.0) + picture.take_state(at(6, a=5.0), 0.0)
    assert repr(picture.values["a"]) == "5.0"
    assert len([c for c in told if repr(c.value) == "5.0"]) == 1


def test_a_property_that_has_gone_meanwhile_is_told_as_gone(picture: Picture):
    picture.forget()
    assert [
        (c.path, c.old, c.stale)
        for c in picture.take_state(at(6), 0.0)
        if c.stale == GONE
    ] == [("a", 5, GONE)]


def test_a_device_that_is_away_says_why(picture: Picture):
    picture.take_status(status(5, state="offline", reason=BROKEN))
    assert picture.why("a") == BROKEN
    told = picture.take_status(status(5))
    assert [(c.path, c.value, c.stale) for c in told] == [("a", 5, None)]


def test_a_bad_property_says_why_and_recovers(picture: Picture):
    picture.take_change(
        ChangeEvent("1", 6, 6.0, [messages.Change("a", 6.0, bad=STALE)])
    )
    assert (picture.values["a"], picture.why("a"), picture.why()) == (5, STALE, None)
    picture.take_change(ChangeEvent("1", 7, 7.0, [messages.Change("a", 7.0, 8, None)]))
    assert (picture.values["a"], picture.why("a")) == (8, None)


def test_a_device_that_was_removed_leaves_nothing(picture: Picture):
    assert [(c.path, c.old, c.stale) for c in picture.remove()] == [("a", 5, GONE)]
    assert (picture.values, picture.status, picture.why("a") is None) == (
        {},
        None,
        False,
    )
    picture.take_status(status(5))
    picture.take_state(at(5, a=5), 0.0)
    assert picture.why("a") is None


# Truncated snapshots (contract 3: `info.truncated`).


def test_a_snapshot_without_room_for_all_takes_nothing_from_a_reader_in_step(
    picture: Picture,
):
    picture.take_info(info(truncated=1))
    assert picture.take_state(at(5), 0.0) == []
    assert (picture.values, picture.why("a")) == ({"a": 5}, None)


def test_after_a_gap_what_such_a_snapshot_leaves_out_is_kept_and_marked_until_it_changes(
    picture: Picture,
):
    picture.take_info(info(truncated=1))
    picture.take_change(news(7, b=7))
    picture.take_state(at(7, b=7), 0.0)
    fault = picture.why("a")
    assert (picture.values, picture.why("b")) == ({"a": 5, "b": 7}, None)
    assert fault is not None
    assert fault.code == "gap"
    picture.take_change(news(8, a=8))
    assert (picture.values["a"], picture.why("a")) == (8, None)


def test_times_are_kept_where_the_snapshot_has_none():
    made = Picture("lab/toy")
    made.take_state(State("1", 1, 1.0, {"a": 1, "b": 1}, {}, {"a": 0.5, "b": 0.6}), 0.0)
    made.forget()
    made.take_state(State("1", 2, 2.0, {"a": 1, "b": 2}, {}), 0.0)
    assert made.times == {"a": 0.5, "b": 2.0}
