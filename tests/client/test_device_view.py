"""The client's view of one device, row by row (contract 3.1-3.4)."""

import itertools

from busbar.client.device_view import (
    GAP,
    IN_STEP,
    JOINING,
    UNKNOWN,
    Happened,
    Phase,
    View,
    step,
)

# phase: after NEXT_CHANGE, LATER_CHANGE, SNAPSHOT, YOUNG_SNAPSHOT, TIME_PASSED,
# RECONNECTED, OTHER_BOOT, REMOVED
TABLE = """
UNKNOWN   : UNKNOWN   RESYNCING CURRENT RECENT UNKNOWN   UNKNOWN  UNKNOWN UNKNOWN
RESYNCING : RESYNCING RESYNCING CURRENT RECENT RESYNCING BEHIND   UNKNOWN UNKNOWN
RECENT    : CURRENT   RESYNCING CURRENT RECENT CURRENT   REJOINED UNKNOWN UNKNOWN
CURRENT   : CURRENT   RESYNCING CURRENT RECENT CURRENT   REJOINED UNKNOWN UNKNOWN
REJOINED  : CURRENT   RESYNCING CURRENT RECENT REJOINED  REJOINED UNKNOWN UNKNOWN
BEHIND    : RESYNCING RESYNCING CURRENT RECENT BEHIND    BEHIND   UNKNOWN UNKNOWN
"""
# what happened: from which phases a view that has not followed changes has, after it
BEGINS_TO_FOLLOW = {
    Happened.NEXT_CHANGE: {Phase.RECENT, Phase.CURRENT, Phase.REJOINED},
    Happened.SNAPSHOT: {Phase.RESYNCING, Phase.BEHIND},
    Happened.YOUNG_SNAPSHOT: {Phase.RESYNCING, Phase.BEHIND},
}


def rows() -> dict[tuple[Phase, Happened], Phase]:
    table = {}
    for line in TABLE.strip().splitlines():
        before, _, after = line.partition(":")
        for happened, name in zip(Happened, after.split(), strict=True):
            table[Phase[before.strip()], happened] = Phase[name]
    return table


def test_the_table_has_a_row_for_all_that_can_happen_in_every_phase():
    assert rows().keys() == set(itertools.product(Phase, Happened))


def test_what_happens_leads_where_the_table_says():
    for (before, happened), after in rows().items():
        for followed in (False, True):
            row = (before, happened, followed)
            assert step(View(before, followed), happened).phase is after, row


def test_changes_are_followed_once_one_has_come_while_nothing_was_missing():
    for before, happened in itertools.product(Phase, Happened):
        begins = before in BEGINS_TO_FOLLOW.get(happened, set())
        assert step(View(before), happened).followed is begins, (before, happened)


def test_changes_stay_followed_until_another_process_of_the_bridge_or_removal():
    for before, happened in itertools.product(Phase, Happened):
        after = step(View(before, followed=True), happened)
        assert after.followed is (after.phase is not Phase.UNKNOWN), (before, happened)


def test_each_phase_says_why_values_are_not_to_be_trusted():
    shown = {phase: (View(phase).fault, View(phase, True).fault) for phase in Phase}
    assert shown == {
        Phase.UNKNOWN: (UNKNOWN, UNKNOWN),
        Phase.RESYNCING: (JOINING, GAP),
        Phase.RECENT: (JOINING, JOINING),
        Phase.CURRENT: (None, None),
        Phase.REJOINED: (JOINING, GAP),
        Phase.BEHIND: (JOINING, GAP),
    }


def test_nothing_is_missing_only_where_the_next_change_makes_or_keeps_it_current():
    for phase in IN_STEP:
        assert step(View(phase), Happened.NEXT_CHANGE).phase is Phase.CURRENT


def test_a_join_while_values_change_is_no_gap_but_what_is_lost_later_is_one():
    view = View()
    for happened in (Happened.LATER_CHANGE, Happened.NEXT_CHANGE):
        view = step(view, happened)
        assert view.fault == JOINING
    view = step(view, Happened.SNAPSHOT)
    assert view.fault is None
    view = step(view, Happened.LATER_CHANGE)
    assert view.fault == GAP
