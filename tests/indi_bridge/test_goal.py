"""Goal of a set: reached, on the way, at rest again."""

import pytest

from busbar.codecs.indi import DefMember, DefVector, SetVector
from indi_bridge.goal import Goal
from indi_bridge.vectors import Vector, make_vector


def vector(kind: str, name: str, perm: str = "rw", **members: str) -> Vector:
    made = tuple(DefMember(each, each, value) for each, value in members.items())
    return make_vector(
        DefVector(kind, "Device", name, made, perm=perm, rule="AtMostOne"), 0.0
    )


def after(before: Vector, wanted: dict[str, str], *, on: bool = False, **now: str):
    """Return how a vector stands to what is wanted after an update."""
    goal = Goal(before, wanted, busy_while_on=on)
    before.apply(SetVector(before.kind, "Device", before.name, now, "Ok"), 1.0)
    return goal.standing(before)


@pytest.mark.parametrize(
    ("now", "way"),
    [("50000", 0.0), ("51000", 1000 / 1234), ("51234", 1.0), ("49000", -1000 / 1234)],
)
def test_how_much_of_the_way_a_number_has_done(now: str, way: float) -> None:
    focus = vector("Number", "ABS_FOCUS_POSITION", AT="50000")
    assert after(focus, {"AT": "51234"}, AT=now).way == pytest.approx(way)


def test_the_member_that_has_come_least_far_counts() -> None:
    mount = vector("Number", "EQUATORIAL_EOD_COORD", RA="1", DEC="10")
    standing = after(mount, {"RA": "2", "DEC": "20"}, RA="2", DEC="10")
    assert (standing.reached, standing.way) == (False, 0.0)


def test_members_that_stay_are_there_already() -> None:
    mount = vector("Number", "EQUATORIAL_EOD_COORD", RA="1", DEC="10")
    standing = after(mount, {"RA": "1", "DEC": "20"}, RA="1.001", DEC="19")
    assert standing.way == pytest.approx(0.9)


def test_a_text_that_the_driver_writes_in_its_own_way_has_changed() -> None:
    time = vector("Text", "TIME_UTC", UTC="2026-01-01T00:00:00")
    assert after(time, {"UTC": "2026-02-01 00:00"}, UTC="2026-02-01T00:00:00").way > 0
    assert after(time, {"UTC": "x"}, UTC="2026-02-01T00:00:00").way == 0


def test_a_switch_that_is_not_on_has_done_no_way() -> None:
    park = vector("Switch", "TELESCOPE_PARK", PARK="On", UNPARK="Off")
    standing = after(park, {"UNPARK": "On", "PARK": "Off"}, PARK="On", UNPARK="Off")
    assert not standing.reached
    assert standing.way <= 0


def test_a_button_is_at_rest_when_it_is_off_again() -> None:
    abort = vector("Switch", "TELESCOPE_ABORT_MOTION", ABORT="Off")
    assert after(abort, {"ABORT": "On"}, ABORT="Off").at_rest
    park = vector("Switch", "TELESCOPE_PARK", PARK="Off", UNPARK="On")
    assert not after(park, {"PARK": "On"}, PARK="Off", UNPARK="Off").at_rest


def test_only_pulses_and_countdowns_are_at_rest_with_0() -> None:
    pulse = vector("Number", "TELESCOPE_TIMED_GUIDE_NS", N="0", S="0")
    assert after(pulse, {"N": "300", "S": "0"}, N="0").at_rest
    level = vector("Number", "LEVEL", VALUE="0")
    assert not after(level, {"VALUE": "3"}, VALUE="0").at_rest


def test_what_is_busy_while_it_is_on_runs() -> None:
    video = vector("Switch", "CCD_VIDEO_STREAM", ON="Off", OFF="On")
    wanted = {"ON": "On", "OFF": "Off"}
    assert after(video, wanted, on=True, ON="On", OFF="Off").running
    assert not after(video, {"OFF": "Off", "ON": "On"}, ON="On", OFF="Off").running


def test_what_is_only_written_is_trusted() -> None:
    hidden = vector("Text", "SECRET", perm="wo", TEXT="")
    assert after(hidden, {"TEXT": "x"}, TEXT="").trusted
