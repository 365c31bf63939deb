"""Outcome of a set, with a clock of the test.

Source: docs/protocols/indi.md, 4.8 to 4.10 and 5.
"""

import pytest

from indi_bridge.completion import GRACE, POLL, SETTLE, Completion, End
from indi_bridge.goal import Standing

AWAY = Standing(reached=False, way=0.0, at_rest=False, running=False)
THERE = AWAY._replace(reached=True, way=1.0)
BEFORE = THERE._replace(was_there=True)
NEARER = AWAY._replace(way=0.5)
REST = AWAY._replace(at_rest=True)
ON = THERE._replace(running=True)
BLIND = AWAY._replace(trusted=True)
WARNING = "a warning"
ABORT = "an abort"

# s after the set; state and how the vector stands, or something else that happens
Step = tuple[float, str, Standing] | tuple[float, str]


def follow(before: str, *steps: Step, deadline: float = 60.0) -> tuple[float, End]:
    """Return when and how it ends, asking at each due time in between."""
    made = Completion(before, 0.0, deadline)
    for step in steps:
        time = step[0]
        while made.due <= time:
            due = made.due
            end = made.on_time(due)
            if end:
                return due, end
        if step[1] == WARNING:
            made.on_complaint(time)
        elif step[1] == ABORT:
            made.on_abort()
        else:
            _, state, standing = step
            end = made.on_state(state, standing, time)
            if end:
                return time, end
    while True:
        due = made.due
        end = made.on_time(due)
        if end:
            return due, end


CASES: dict[str, tuple[str, list[Step], tuple[float, End]]] = {
    # after Busy
    "Busy, then Ok": ("Idle", [(0.1, "Busy", AWAY), (8, "Ok", THERE)], (8, "Ok")),
    "Busy, then Ok elsewhere: the sky turns": (
        "Idle",
        [(0.1, "Busy", AWAY), (8, "Ok", AWAY)],
        (8, "Ok"),
    ),
    "Busy, then Alert": ("Ok", [(0.1, "Busy", AWAY), (3, "Alert", AWAY)], (3, "Alert")),
    "Busy, then Idle: aborted": (
        "Ok",
        [(0.1, "Busy", AWAY), (1, "Idle", AWAY)],
        (1, "aborted"),
    ),
    "Busy, then Idle where it was wanted": (
        "Ok",
        [(0.1, "Busy", AWAY), (1, "Idle", THERE)],
        (1, "Idle"),
    ),
    "a pulse is Busy, then Idle with 0": (
        "Idle",
        [(0.01, "Busy", AWAY), (0.3, "Idle", REST)],
        (0.3, "Idle"),
    ),
    "a pulse that was aborted": (
        "Idle",
        [(0.01, "Busy", AWAY), (0.2, ABORT), (0.3, "Idle", REST)],
        (0.3, "aborted"),
    ),
    "a warning on the way is no refusal": (
        "Idle",
        [(0.1, "Busy", AWAY), (1, WARNING), (8, "Ok", THERE)],
        (8, "Ok"),
    ),
    # Busy as long as it is on
    "video has started": ("Idle", [(0.1, "Busy", ON)], (0.1, "started")),
    "video has not started yet": (
        "Idle",
        [(0.1, "Busy", AWAY), (0.4, "Busy", ON)],
        (0.4, "started"),
    ),
    # without Busy
    "Ok at once": ("Idle", [(0.01, "Ok", THERE)], (0.01, "Ok")),
    "Ok at once, as it was": ("Ok", [(0.01, "Ok", THERE)], (0.01, "Ok")),
    "Ok, clamped or rounded": ("Ok", [(0.01, "Ok", NEARER)], (0.01, "Ok")),
    "Ok, a button that is off again": ("Ok", [(0.01, "Ok", REST)], (0.01, "Ok")),
    "Ok of what cannot be read back": ("Ok", [(0.01, "Ok", BLIND)], (0.01, "Ok")),
    "Idle at once: nothing to do": ("Ok", [(0.01, "Idle", THERE)], (0.01, "Idle")),
    "Idle at once, there already, with a warning": (
        "Ok",
        [(0.01, WARNING), (0.01, "Idle", BEFORE)],
        (GRACE, "refused"),
    ),
    "Idle with the new values, and a warning of something else": (
        "Busy",
        [(0.01, WARNING), (0.01, "Idle", THERE)],
        (0.01, "Idle"),
    ),
    "Idle with the old values: refused": (
        "Idle",
        [(0.01, "Idle", AWAY)],
        (POLL, "refused"),
    ),
    "a warning, then Idle with the old values": (
        "Idle",
        [(0.01, WARNING), (0.02, "Idle", AWAY)],
        (GRACE, "refused"),
    ),
    "Idle with the old values, then a warning": (
        "Idle",
        [(0.01, "Idle", AWAY), (2, WARNING)],
        (2 + SETTLE, "refused"),
    ),
    "Ok with the old values: refused": ("Ok", [(0.01, "Ok", AWAY)], (POLL, "refused")),
    "old values, polled once a second": (
        "Ok",
        [(0.01, "Ok", AWAY), (1.1, "Ok", AWAY), (2.1, "Ok", THERE)],
        (2.1, "Ok"),
    ),
    "a mount that keeps sending where it is": (
        "Ok",
        [(each / 4, "Ok", AWAY) for each in range(1, 40)],
        (POLL, "refused"),
    ),
    "an old Idle, then Busy": (
        "Idle",
        [(0.01, "Idle", AWAY), (0.2, "Busy", AWAY), (9, "Ok", THERE)],
        (9, "Ok"),
    ),
    "an old Ok, then Busy": (
        "Ok",
        [(0.01, "Ok", AWAY), (0.2, "Busy", AWAY), (9, "Ok", THERE)],
        (9, "Ok"),
    ),
    "Alert at once": ("Ok", [(0.01, "Alert", AWAY)], (0.01, "Alert")),
    "Alert as it was": ("Alert", [(0.01, "Alert", AWAY)], (GRACE, "Alert")),
    "nothing": ("Ok", [], (60.0, "timeout")),
    "Busy for ever": (
        "Ok",
        [(0.1, "Busy", AWAY), (5, "Busy", AWAY)],
        (60.0, "timeout"),
    ),
    # while an older motion was under way
    "Busy before and after, then Ok": (
        "Busy",
        [(0.1, "Busy", AWAY), (5, "Ok", THERE)],
        (5, "Ok"),
    ),
    "Busy before, Ok of the old set, then ours": (
        "Busy",
        [(0.05, "Ok", AWAY), (0.2, "Busy", AWAY), (5, "Ok", THERE)],
        (5, "Ok"),
    ),
    "Busy before, Busy and Ok of the old set, then ours": (
        "Busy",
        [
            (0.05, "Busy", AWAY),
            (0.1, "Ok", AWAY),
            (0.2, "Busy", AWAY),
            (5, "Ok", THERE),
        ],
        (5, "Ok"),
    ),
    "Busy before, the old motion goes on and ends": (
        "Busy",
        [(0.1, "Busy", AWAY), (20, "Ok", NEARER)],
        (20, "refused"),
    ),
    "Busy before, Ok elsewhere, then nothing": (
        "Busy",
        [(0.05, "Ok", AWAY)],
        (POLL, "refused"),
    ),
    "Busy before, Ok where it was wanted": (
        "Busy",
        [(0.05, "Ok", THERE)],
        (0.05, "Ok"),
    ),
    "Busy before, Alert": ("Busy", [(0.05, "Alert", AWAY)], (0.05, "Alert")),
    "Busy before, Busy, then aborted at once": (
        "Busy",
        [(0.1, "Busy", AWAY), (0.5, "Idle", AWAY)],
        (GRACE, "aborted"),
    ),
}


@pytest.mark.parametrize(("before", "steps", "expected"), CASES.values(), ids=CASES)
def test_how_a_set_ends(
    before: str, steps: list[Step], expected: tuple[float, End]
) -> None:
    assert follow(before, *steps) == expected


def test_a_short_deadline_comes_before_the_grace() -> None:
    assert follow("Ok", (0.01, "Ok", AWAY), deadline=0.5) == (0.5, "timeout")


def test_the_end_after_the_timeout_is_still_known() -> None:
    made = Completion("Idle", 0.0, 1.0)
    made.on_state("Busy", AWAY, 0.1)
    assert made.on_time(1.0) == "timeout"
    assert made.on_state("Ok", THERE, 20.0) == "Ok"
