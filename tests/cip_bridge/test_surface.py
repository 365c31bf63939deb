"""What both roles show on the bus of the joins of one device."""

import pytest

from busbar.codecs.cip import Form, Join, Update
from busbar.errors import BadRequest, OutOfRange, UnknownTarget
from cip_bridge.join_publisher import Get, Press, Surface, firmware, frames_of
from cip_bridge.join_state import Board
from cip_bridge.paths import Paths
from cip_bridge.settings import NamedJoin
from tests.cip_bridge.outlet import Outlet
from tests.cip_bridge.peer import analog, digital, serial

JOINS = (
    NamedJoin(join="analog/1", name="level", scale=(0, 1000, 0, 100)),
    NamedJoin(join="digital/1", name="on"),
    NamedJoin(join="serial/1", name="text"),
)


@pytest.fixture
def surface():
    return Surface(Outlet(), Board(), Paths(JOINS))


def test_values_come_together_and_every_transition_of_a_join_counts(surface):
    surface.came(
        [
            digital(1, True),
            analog(2, 7),
            digital(1, True),
            digital(1, False),
            serial(3, "x"),
        ]
    )
    assert surface.outlet.told == [
        {"on": True, "analog/2": 7},
        {"on": False, "serial/3": "x"},
    ]


def test_nothing_came_nothing_is_told(surface):
    surface.came([])
    assert surface.outlet.told == []


def test_a_value_outside_its_scale_costs_itself_only(surface):
    surface.came([analog(1, 2000), digital(1, True)])
    assert surface.outlet.told == [{"on": True}]
    assert "2000 is outside the scale" in surface.outlet.faults["level"]
    surface.went(Join("analog", 1), 2000)
    assert "2000 is outside the scale" in surface.outlet.faults["_out/level"]


def test_all_that_is_known_and_all_that_has_a_name_is_told_each_way(surface):
    surface.board.take(digital(5, True))
    surface.board.take(analog(1, 500))
    surface.came_all()
    assert surface.outlet.known == {
        "level": 50.0,
        "on": False,
        "text": "",
        "digital/5": True,
    }
    surface.outlet.told.clear()
    surface.board.drive(serial(1, "hi"))
    surface.went_all()
    assert surface.outlet.known == {
        "_out/level": 0.0,
        "_out/on": False,
        "_out/text": "hi",
    }


def test_a_counter_is_told_when_it_has_changed(surface):
    for skipped in (0, 0, 2, 2):
        surface.count(skipped)
    assert surface.outlet.told == [{"_skipped": 0}, {"_skipped": 2}]


def test_a_set_means_a_join_in_the_unit_of_its_name_or_raw(surface):
    assert surface.wanted("level", 50) == (Join("analog", 1), 500)
    assert surface.wanted("analog/1", 50) == (Join("analog", 1), 50)
    for path, error in (
        ("nothing", UnknownTarget),
        ("digital/01", UnknownTarget),
        ("digital/0", OutOfRange),
    ):
        with pytest.raises(error):
            surface.wanted(path, True)


def test_both_ways_can_be_read_a_button_as_long_as_it_is_pressed(surface):
    surface.board.take(analog(1, 500))
    assert surface.read(Get("level")) == 50.0
    assert surface.read(Get("analog/1")) == 500
    assert surface.read(Get("level", "out")) == 0.0
    surface.board.drive(Update(Join("digital", 1), True, Form.BUTTON))
    assert surface.read(Get("on", "out")) is True
    surface.board.let_go()
    assert surface.read(Get("on", "out")) is False


def test_a_hold_for_ever_has_no_end():
    assert (Press("on").seconds, Press("on", "forever").seconds) == (10.0, float("inf"))


@pytest.mark.parametrize("text", ["xyz", "", "0d0002", "0d0002000000"])
def test_what_is_no_whole_frame_is_not_sent(text):
    with pytest.raises(BadRequest, match="frames: "):
        frames_of(text)


@pytest.mark.parametrize(
    ("text", "known"),
    [
        ("MC3 Cntrl Eng [v1.503.0027]", True),
        ("CP3 Cntrl Eng [v1.601.0050 (Mar 16 2020), #00000000]", True),
        ("some v2.0 of a joystick", False),
        ("IPID=3", False),
    ],
)
def test_a_version_stands_in_brackets(text, known):
    assert firmware(text) == (text if known else None)
