"""The one rule of what may still be believed, row by row (contract, the reader)."""

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from busbar.client.freshness import (
    LIMIT,
    TOLERANCE,
    Freshness,
    Verdict,
    judge,
    shown,
)
from busbar.contract.messages import Fault

FRESH, UNCONFIRMED, LOST = Verdict.FRESH, Verdict.UNCONFIRMED, Verdict.LOST
NEVER = math.inf
NOW = 1_800_000_000.0  # Unix s

# silence, age, listened, tolerance: verdict
TABLE = [
    (0.0, None, 0.0, TOLERANCE, FRESH),
    (LIMIT, 1e9, 1e9, TOLERANCE, FRESH),
    (LIMIT, -1e9, 1e9, 0.0, FRESH),
    (NEVER, 0.0, 0.0, TOLERANCE, FRESH),
    (NEVER, -TOLERANCE, 0.0, TOLERANCE, FRESH),
    (NEVER, LIMIT + TOLERANCE, 0.0, TOLERANCE, FRESH),
    (NEVER, LIMIT, 1e9, 0.0, FRESH),
    (NEVER, LIMIT + TOLERANCE, 0.0, 0.0, UNCONFIRMED),
    (NEVER, LIMIT + TOLERANCE + 1, 0.0, TOLERANCE, UNCONFIRMED),
    (NEVER, -TOLERANCE - 1, LIMIT, TOLERANCE, UNCONFIRMED),
    (NEVER, None, LIMIT, TOLERANCE, UNCONFIRMED),
    (NEVER, None, LIMIT + 1, TOLERANCE, LOST),
    (NEVER, -TOLERANCE - 1, LIMIT + 1, TOLERANCE, LOST),
    (LIMIT + 1, LIMIT + 1, LIMIT + 1, 0.0, LOST),
    (LIMIT + 1, 3600.0, LIMIT, 0.0, UNCONFIRMED),
]


class Reader:
    """What a reader knows of `lab/toy`; `now` is its monotonic and its Unix clock."""

    def __init__(self) -> None:
        self.now = 0.0
        self.freshness = Freshness(lambda: self.now)
        self.toy = self.freshness.of("lab/toy")
        self.bridge = self.freshness.of("lab/bridge")

    def snapshot(
        self, time: float, *, kept: bool = False, seq: int = 1, boot: str = "1"
    ) -> None:
        """Take a snapshot of the bridge."""
        head = (self.bridge, boot, seq, NOW + time)
        self.freshness.take(*head, kept=kept)

    @property
    def code(self) -> str | None:
        fault = self.freshness.fault_of_bridge("lab")
        return fault and fault.code


@contextmanager
def reading() -> Iterator[Reader]:
    made = Reader()
    module = "busbar.client.freshness"
    with (
        patch(f"{module}.wall_clock", lambda: NOW + made.now),
        patch(f"{module}.asleep", lambda: 0.0),
    ):
        yield made


@pytest.fixture
def reader() -> Iterator[Reader]:
    with reading() as made:
        yield made


@pytest.mark.parametrize(("silence", "age", "listened", "tolerance", "verdict"), TABLE)
def test_each_row_of_the_rule(
    silence: float,
    age: float | None,
    listened: float,
    tolerance: float,
    verdict: Verdict,
):
    assert judge(silence, age, listened, tolerance) is verdict


def test_a_bridge_of_which_no_snapshot_has_come_is_not_confirmed(reader: Reader):
    assert reader.freshness.fault_of_bridge("lab") == Fault(
        "unconfirmed",
        "the bridge lab: not heard since we listen; waiting for a sign of life",
    )


def test_what_was_kept_says_since_when_it_was_not_heard(reader: Reader):
    reader.snapshot(-7200, kept=True)
    fault = reader.freshness.fault_of_bridge("lab")
    assert fault is not None
    assert "not heard since 2027-01-15 06:00:00 UTC" in fault.message
    reader.now = LIMIT + 1
    assert reader.code == "offline"


@pytest.mark.parametrize("differs", [-1e9, -3600.0, 0.0, 3600.0])
def test_a_sign_of_life_is_believed_by_any_clock(reader: Reader, differs: float):
    reader.snapshot(differs, kept=True)
    for reader.now in (10, 20):
        reader.snapshot(differs + reader.now)
    assert reader.code is None
    reader.now = 20 + LIMIT
    assert reader.code is None
    reader.now += 1
    assert reader.code == "offline"


def test_a_change_of_any_device_is_a_sign_of_life_of_its_bridge(reader: Reader):
    reader.snapshot(-7200, kept=True)
    reader.freshness.take(reader.toy, "1", 1, NOW - 3, kept=False)
    assert reader.code == "unconfirmed", "the first of a boot"
    reader.freshness.take(reader.toy, "1", 2, NOW - 2, kept=False)
    assert reader.code is None


def test_what_waited_in_a_queue_is_no_sign_of_life(reader: Reader):
    reader.snapshot(-7200, kept=True)
    for number in range(100):
        reader.now += 0.01
        head = ("1", number, NOW - 7000 + 10 * number)
        reader.freshness.take(reader.toy, *head, kept=False)
    reader.now += 10
    head = ("1", 101, NOW - 5000)
    reader.freshness.take(reader.toy, *head, kept=False)
    assert reader.code == "unconfirmed"


def test_what_a_restored_broker_sends_twice_is_no_sign_of_life(reader: Reader):
    reader.snapshot(-7200, kept=True, seq=9)
    for reader.now in (1.0, 4.0, 7.0):
        for seq in (7, 8, 9):
            reader.snapshot(-7210 + seq, seq=seq)
    assert reader.code == "unconfirmed"


def test_messages_that_keep_step_with_our_clock_show_life_and_how_far_it_differs(
    reader: Reader,
):
    reader.snapshot(-7200, kept=True)
    reader.now = 1
    reader.snapshot(-7199, seq=2)
    reader.now = 1.5
    reader.snapshot(-7198.5, seq=3)
    assert reader.code == "unconfirmed", "too soon"
    reader.now = 2
    reader.snapshot(-7198, seq=4)
    assert reader.code is None


def test_the_same_message_again_or_an_older_one_is_no_sign_of_life(reader: Reader):
    reader.snapshot(-7200, seq=5)
    reader.snapshot(-7200, seq=5)
    reader.snapshot(-9000, seq=4)
    assert reader.code == "unconfirmed"


def test_what_is_newer_but_was_kept_is_judged_by_its_time_alone(reader: Reader):
    reader.snapshot(-7200, kept=True)
    reader.snapshot(-7100, kept=True)
    assert reader.code == "unconfirmed"
    reader.snapshot(-20, kept=True)
    assert reader.code is None


def test_after_a_break_the_measured_clock_tells_how_old_a_kept_message_is(
    reader: Reader,
):
    reader.snapshot(-3600, kept=True)
    for reader.now in (5, 10):
        reader.snapshot(-3600 + reader.now)
    reader.now = 1000
    reader.freshness.listen()
    reader.snapshot(-3600 + 980, kept=True)
    assert reader.code is None
    assert reader.freshness.age(reader.bridge) == 20
    reader.now = 1200
    reader.freshness.listen()
    reader.snapshot(-3600 + 1000, kept=True)
    assert reader.code == "unconfirmed"


def test_another_boot_has_to_show_that_it_lives(reader: Reader):
    reader.snapshot(-10, kept=True)
    reader.now = 10
    reader.snapshot(10)
    reader.snapshot(-7200, boot="2")
    assert reader.code == "unconfirmed"
    reader.snapshot(-7190, boot="2")
    assert reader.code == "unconfirmed"
    reader.now = 20
    reader.snapshot(-7180, boot="2")
    assert reader.code is None


def test_a_device_is_judged_by_its_own_messages_on_its_bridges_clock(reader: Reader):
    fault = reader.freshness.fault_of_device
    assert fault(reader.toy) is None, "it has said nothing yet"
    head = ("1", 1, NOW - 3600)
    reader.freshness.take(reader.toy, *head, kept=True)
    assert fault(reader.toy) is not None
    reader.snapshot(-3600, kept=True)
    for reader.now in (5, 10):
        reader.snapshot(-3600 + reader.now)
    assert fault(reader.toy) is None
    reader.now = 141
    reader.snapshot(-3600 + 141)
    assert fault(reader.toy) is None
    reader.now = 160
    reader.snapshot(-3600 + 160)
    late = fault(reader.toy)
    assert late is not None
    assert late.message.startswith("no sign of life from lab/toy for 150 s")


def test_what_was_good_before_this_machine_slept_is_not_after_it(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
):
    reader.snapshot(-10, kept=True)
    reader.now = 10
    reader.snapshot(10)
    assert reader.code is None
    monkeypatch.setattr("busbar.client.freshness.asleep", lambda: 7200.0)
    assert reader.code == "offline"


# Whatever happens.

PAUSES = st.floats(5.0, 60.0)  # s between the messages of a bridge
CLOCKS = st.sampled_from([0.0, 4.0, -90.0, -3600.0, 3600.0, 1e8])  # s off ours


@given(st.lists(PAUSES, min_size=3, max_size=12), CLOCKS, st.data())
def test_a_bridge_that_died_is_never_believed_again_whatever_is_sent_again(
    pauses: list[float], off: float, data: st.DataObject
):
    with reading() as reader:
        sent = []
        for seq, pause in enumerate(pauses):
            reader.now += pause
            sent.append((reader.now + off, seq))
            reader.snapshot(sent[-1][0], seq=seq)
        reader.now += LIMIT + 1
        again = st.tuples(st.sampled_from(sent), st.booleans(), st.floats(0, 100))
        for (time, seq), kept, later in data.draw(st.lists(again, max_size=20)):
            reader.now += later
            reader.snapshot(time, seq=seq, kept=kept)
            assert reader.code is not None


@given(st.lists(PAUSES, min_size=1, max_size=12), st.data())
def test_who_comes_after_it_died_does_not_believe_it_whatever_is_sent_again(
    pauses: list[float], data: st.DataObject
):
    with reading() as reader:
        sent = [(sum(pauses[:seq]), seq) for seq in range(len(pauses))]
        reader.now = sum(pauses) + LIMIT + TOLERANCE + 1
        reader.freshness.listen()
        time, seq = sent[-1]
        reader.snapshot(time, seq=seq, kept=True)
        again = st.tuples(st.sampled_from(sent), st.booleans(), st.floats(0, 100))
        for (time, seq), kept, later in data.draw(st.lists(again, max_size=20)):
            reader.now += later
            reader.snapshot(time, seq=seq, kept=kept)
            assert reader.code is not None


@given(st.lists(st.tuples(PAUSES, CLOCKS, st.booleans()), min_size=1, max_size=8))
def test_a_bridge_that_lives_is_believed_whatever_its_clock_and_however_often_it_is_set(
    settings: list[tuple[float, float, bool]],
):
    with reading() as reader:
        seq = 0
        for pause, off, kept in settings:
            for number in range(3):
                reader.now += pause
                seq += 1
                # who reconnects gets the newest as a kept one first
                reader.snapshot(reader.now + off, seq=seq, kept=kept and not number)
            assert reader.code is None


@pytest.mark.parametrize("number", ["1e308", "-1e308", "1e18", "-1", "0"])
def test_any_time_can_be_shown(number: str):
    assert "(its clock)" in shown(json.loads(number))
