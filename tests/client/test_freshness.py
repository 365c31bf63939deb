"""The one rule of what may still be believed, row by row (contract, the reader)."""

import json
import math

import pytest

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

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.freshness = Freshness(lambda: self.now)
        self.toy = self.freshness.of("lab/toy")
        self.bridge = self.freshness.of("lab/bridge")
        wall_clock = "busbar.client.freshness.wall_clock"
        monkeypatch.setattr(wall_clock, lambda: NOW + self.now)
        monkeypatch.setattr("busbar.client.freshness.asleep", lambda: 0.0)

    def snapshot(
        self, time: float, *, kept: bool = False, seq: int = 1, boot: str = "1"
    ) -> None:
        """Take a snapshot of the bridge."""
        head = (self.bridge, boot, seq, NOW + time)
        self.freshness.take_snapshot(*head, kept=kept)

    @property
    def code(self) -> str | None:
        fault = self.freshness.fault_of_bridge("lab")
        return fault and fault.code


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> Reader:
    return Reader(monkeypatch)


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
    reader.now = 10
    reader.snapshot(differs + 10)
    assert reader.code is None
    reader.now = 10 + LIMIT
    assert reader.code is None
    reader.now += 1
    assert reader.code == "offline"


def test_a_change_of_any_device_is_a_sign_of_life_of_its_bridge(reader: Reader):
    reader.snapshot(-7200, kept=True)
    reader.freshness.take_change(reader.toy, "1", 1, NOW - 7200)
    assert reader.code == "unconfirmed"
    reader.freshness.take_change(reader.toy, "1", 2, NOW - 7200)
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
    reader.now = 10
    reader.snapshot(-3590)
    reader.now = 1000
    reader.freshness.listen()
    reader.snapshot(-3600 + 980, kept=True)
    assert reader.code is None
    assert reader.freshness.age(reader.bridge) == 20
    reader.snapshot(-3600 + 800, kept=True)
    assert reader.code == "unconfirmed"


def test_another_boot_has_to_show_that_it_lives(reader: Reader):
    reader.snapshot(-10, kept=True)
    reader.now = 10
    reader.snapshot(10)
    reader.snapshot(-7200, boot="2")
    assert reader.code == "unconfirmed"
    reader.snapshot(-7190, boot="2")
    assert reader.code is None


def test_a_device_is_judged_by_its_own_messages_on_its_bridges_clock(reader: Reader):
    fault = reader.freshness.fault_of_device
    assert fault(reader.toy) is None, "it has said nothing yet"
    head = ("1", 1, NOW - 3600)
    reader.freshness.take_snapshot(reader.toy, *head, kept=True)
    assert fault(reader.toy) is not None
    reader.snapshot(-3600, kept=True)
    reader.now = 10
    reader.snapshot(-3590)
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


@pytest.mark.parametrize("number", ["1e308", "-1e308", "1e18", "-1", "0"])
def test_any_time_can_be_shown(number: str):
    assert "(its clock)" in shown(json.loads(number))
