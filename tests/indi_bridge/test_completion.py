"""Outcome of a set, with a clock of the test.

Source: docs/protocols/indi.md, 4.8 to 4.10 and 5.
"""

import pytest

from indi_bridge.completion import GRACE, Completion, End

# s after the set, state, whether it has what was wanted
State = tuple[float, str, bool]


def follow(
    before: str, *states: State, deadline: float = 60.0
) -> tuple[float, End | None]:
    """Return when and how it ends, asking at each due time in between."""
    made = Completion(before, 0.0, deadline)
    for time, state, reached in states:
        while made.due <= time:
            due = made.due
            end = made.on_time(due)
            if end:
                return due, end
        end = made.on_state(state, reached, time)
        if end:
            return time, end
    while True:
        due = made.due
        end = made.on_time(due)
        if end:
            return due, end


CASES: dict[str, tuple[str, list[State], tuple[float, End]]] = {
    "Busy, then Ok": ("Idle", [(0.1, "Busy", False), (8, "Ok", True)], (8, "Ok")),
    "Busy, then Ok elsewhere: the sky turns": (
        "Idle",
        [(0.1, "Busy", False), (8, "Ok", False)],
        (8, "Ok"),
    ),
    "Busy, then Alert": (
        "Ok",
        [(0.1, "Busy", False), (3, "Alert", False)],
        (3, "Alert"),
    ),
    "Busy, then Idle: aborted": (
        "Ok",
        [(0.1, "Busy", False), (1, "Idle", False)],
        (1, "aborted"),
    ),
    "Busy, then Idle where it was wanted": (
        "Ok",
        [(0.1, "Busy", False), (1, "Idle", True)],
        (1, "Idle"),
    ),
    "Ok at once": ("Idle", [(0.01, "Ok", True)], (0.01, "Ok")),
    "Ok at once, as it was": ("Ok", [(0.01, "Ok", True)], (0.01, "Ok")),
    "Idle at once: nothing to do": ("Ok", [(0.01, "Idle", True)], (0.01, "Idle")),
    "Alert at once": ("Ok", [(0.01, "Alert", False)], (0.01, "Alert")),
    "an old Idle, then Busy": (
        "Idle",
        [(0.01, "Idle", False), (0.2, "Busy", False), (9, "Ok", True)],
        (9, "Ok"),
    ),
    "an old Ok, then Busy": (
        "Ok",
        [(0.01, "Ok", False), (0.2, "Busy", False), (9, "Ok", True)],
        (9, "Ok"),
    ),
    "an old Ok, then nothing": ("Ok", [(0.01, "Ok", False)], (GRACE, "Ok")),
    "Alert as it was": ("Alert", [(0.01, "Alert", False)], (GRACE, "Alert")),
    "Ok elsewhere, late": ("Ok", [(3, "Ok", False)], (3, "Ok")),
    "nothing": ("Ok", [], (60.0, "timeout")),
    "Busy for ever": (
        "Ok",
        [(0.1, "Busy", False), (5, "Busy", False)],
        (60.0, "timeout"),
    ),
    "Busy before and after, then Ok": (
        "Busy",
        [(0.1, "Busy", False), (5, "Ok", True)],
        (5, "Ok"),
    ),
    "Busy before, Ok of the old set, then ours": (
        "Busy",
        [(0.05, "Ok", False), (0.2, "Busy", False), (5, "Ok", True)],
        (5, "Ok"),
    ),
    "Busy before, Busy and Ok of the old set, then ours": (
        "Busy",
        [
            (0.05, "Busy", False),
            (0.1, "Ok", False),
            (0.2, "Busy", False),
            (5, "Ok", True),
        ],
        (5, "Ok"),
    ),
    ("Busy before, Ok elsewhere, then nothing"): (
        "Busy",
        [(0.05, "Ok", False)],
        (GRACE, "Ok"),
    ),
    "Busy before, Ok where it was wanted": ("Busy", [(0.05, "Ok", True)], (0.05, "Ok")),
    "Busy before, Alert": ("Busy", [(0.05, "Alert", False)], (0.05, "Alert")),
    "Busy before, Busy, then aborted at once": (
        "Busy",
        [(0.1, "Busy", False), (0.5, "Idle", False)],
        (GRACE, "aborted"),
    ),
}


@pytest.mark.parametrize(("before", "states", "expected"), CASES.values(), ids=CASES)
def test_how_a_set_ends(
    before: str, states: list[State], expected: tuple[float, End]
) -> None:
    assert follow(before, *states) == expected


def test_a_short_deadline_comes_before_the_grace() -> None:
    assert follow("Ok", (0.01, "Ok", False), deadline=0.5) == (0.5, "timeout")


def test_the_end_after_the_timeout_is_still_told() -> None:
    made = Completion("Idle", 0.0, 1.0)
    made.on_state("Busy", False, 0.1)
    assert made.on_time(1.0) == "timeout"
    assert made.on_state("Ok", True, 20.0) == "Ok"
