"""The availability of a link, row by row of its table."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from busbar.contract.messages import Fault
from busbar.link.availability import (
    DISCONNECTED_BY_COMMAND,
    NOT_YET,
    UNUSED,
    Availability,
    Happened,
    Phase,
    of_device,
    step,
)

FAULT = Fault("link", "the cable is out")
LATER = Fault("link", "booting")
ROWS = [
    # from, happened, to
    (Phase.UNTRIED, Happened.SERVES, Phase.SERVING),
    (Phase.UNTRIED, Happened.CLOSED, Phase.UNTRIED),
    (Phase.UNTRIED, Happened.RESTS, Phase.IDLE),
    (Phase.UNTRIED, Happened.UNWANTED, Phase.DISCONNECTED),
    (Phase.UNTRIED, Happened.WANTED, Phase.UNTRIED),
    (Phase.OPENING, Happened.CONVERSING, Phase.OPENING),
    (Phase.OPENING, Happened.SERVES, Phase.SERVING),
    (Phase.OPENING, Happened.CLOSED, Phase.OPENING),
    (Phase.OPENING, Happened.RESTS, Phase.IDLE),
    (Phase.SERVING, Happened.CLOSED, Phase.OPENING),
    (Phase.SERVING, Happened.RESTS, Phase.IDLE),
    (Phase.SERVING, Happened.CONVERSING, Phase.OPENING),
    (Phase.SERVING, Happened.UNWANTED, Phase.DISCONNECTED),
    (Phase.IDLE, Happened.ASKED, Phase.OPENING),
    (Phase.IDLE, Happened.CLOSED, Phase.IDLE),
    (Phase.IDLE, Happened.UNWANTED, Phase.DISCONNECTED),
    (Phase.LOST, Happened.RESTS, Phase.LOST),
    (Phase.LOST, Happened.CLOSED, Phase.LOST),
    (Phase.LOST, Happened.ASKED, Phase.OPENING),
    (Phase.LOST, Happened.SERVES, Phase.SERVING),
    (Phase.BACK_SOON, Happened.RESTS, Phase.IDLE),
    (Phase.BACK_SOON, Happened.CLOSED, Phase.BACK_SOON),
    (Phase.BACK_SOON, Happened.SERVES, Phase.SERVING),
    (Phase.DISCONNECTED, Happened.WANTED, Phase.OPENING),
    (Phase.DISCONNECTED, Happened.CLOSED, Phase.DISCONNECTED),
]


def at(phase: Phase) -> Availability:
    broken = phase in (Phase.LOST, Phase.BACK_SOON)
    return Availability(phase, FAULT if broken else None)


@pytest.mark.parametrize(("before", "happened", "after"), ROWS)
def test_each_row_of_the_table(before: Phase, happened: Happened, after: Phase) -> None:
    assert step(at(before), happened) == at(after)


@pytest.mark.parametrize("phase", Phase)
def test_a_link_that_breaks_says_why_wherever_it_was(phase: Phase) -> None:
    lost = step(at(phase), Happened.BROKE, LATER)
    soon = step(at(phase), Happened.BROKE_BRIEFLY, LATER)
    assert (lost.shown, lost.reason) == ("offline", LATER)
    assert (soon.shown, soon.reason) == ("connecting", LATER)


def test_what_each_phase_shows() -> None:
    shown = {phase: (at(phase).shown, at(phase).reason) for phase in Phase}
    assert shown == {
        Phase.UNTRIED: ("offline", NOT_YET),
        Phase.OPENING: ("connecting", None),
        Phase.SERVING: ("online", None),
        Phase.IDLE: ("online", UNUSED),
        Phase.LOST: ("offline", FAULT),
        Phase.BACK_SOON: ("connecting", FAULT),
        Phase.DISCONNECTED: ("offline", DISCONNECTED_BY_COMMAND),
    }


@given(st.lists(st.sampled_from(Happened)))
def test_only_a_link_that_serves_is_served_and_no_fault_outlives_it(
    story: list[Happened],
) -> None:
    link = Availability()
    for happened in story:
        broke = happened in (Happened.BROKE, Happened.BROKE_BRIEFLY)
        link = step(link, happened, FAULT if broke else None)
        assert link.serves == (link.phase is Phase.SERVING)
        assert (link.fault is not None) == (link.phase in (Phase.LOST, Phase.BACK_SOON))
        if link.shown == "offline":
            assert link.reason is not None, "whoever is offline says why"


def test_a_device_shows_its_own_trouble_before_that_of_its_link() -> None:
    silent = Fault("timeout", "no answer")
    serving = at(Phase.SERVING)
    assert of_device(serving, None, None) == ("online", None)
    assert of_device(serving, None, silent) == ("offline", silent)
    refused = DISCONNECTED_BY_COMMAND
    assert of_device(serving, refused, silent) == ("offline", refused)
    assert of_device(at(Phase.LOST), None, None) == ("offline", FAULT)
    assert of_device(at(Phase.LOST), refused, None) == ("offline", refused)
