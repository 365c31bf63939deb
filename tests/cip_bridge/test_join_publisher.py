"""What both roles show on the bus of the joins of one device."""

import pytest

from busbar.codecs.cip import Form, Join, Update
from busbar.errors import BadRequest, OutOfRange, UnknownTarget
from cip_bridge.arguments import Get, parse_frames
from cip_bridge.join_publisher import JoinPublisher, firmware
from cip_bridge.join_state import JoinState
from cip_bridge.named_joins import NamedJoin
from cip_bridge.paths import JoinPaths
from tests.cip_bridge.outlet import Outlet
from tests.cip_bridge.peer import analog, digital, serial

JOINS = (
    NamedJoin(join="analog/1", name="level", scale=(0, 1000, 0, 100)),
    NamedJoin(join="digital/1", name="on"),
    NamedJoin(join="serial/1", name="text"),
)


@pytest.fixture
def publisher():
    return JoinPublisher(Outlet(), JoinState(), JoinPaths(JOINS))


def test_values_come_together_and_every_transition_of_a_join_counts(publisher):
    publisher.publish_received(
        [
            digital(1, True),
            analog(2, 7),
            digital(1, True),
            digital(1, False),
            serial(3, "x"),
        ]
    )
    assert publisher.outlet.told == [
        {"on": True, "analog/2": 7},
        {"on": False, "serial/3": "x"},
    ]


def test_nothing_came_nothing_is_told(publisher):
    publisher.publish_received([])
    assert publisher.outlet.told == []


def test_a_value_outside_its_scale_is_published_as_it_is(publisher):
    publisher.publish_received([analog(1, 2000), digital(1, True)])
    assert publisher.outlet.told == [{"level": 200.0, "on": True}]
    publisher.publish_sent(Join("analog", 1), 2000)
    assert publisher.outlet.told[-1] == {"_out/level": 200.0}


def test_all_that_is_known_and_all_that_has_a_name_is_told_each_way(publisher):
    publisher.joins.receive(digital(5, True))
    publisher.joins.receive(analog(1, 500))
    publisher.publish_all_received()
    assert publisher.outlet.known == {
        "level": 50.0,
        "on": False,
        "text": "",
        "digital/5": True,
    }
    publisher.outlet.told.clear()
    publisher.joins.drive(serial(1, "hi"))
    publisher.publish_all_sent()
    assert publisher.outlet.known == {
        "_out/level": 0.0,
        "_out/on": False,
        "_out/text": "hi",
    }


def test_a_counter_is_told_when_it_has_changed(publisher):
    for skipped in (0, 0, 2, 2):
        publisher.publish_skipped(skipped)
    assert publisher.outlet.told == [{"_skipped": 0}, {"_skipped": 2}]


def test_a_set_means_a_join_in_the_unit_of_its_name_or_raw(publisher):
    assert publisher.resolve("level", 50) == (Join("analog", 1), 500)
    assert publisher.resolve("analog/1", 50) == (Join("analog", 1), 50)
    for path, error in (
        ("nothing", UnknownTarget),
        ("digital/01", UnknownTarget),
        ("digital/0", OutOfRange),
    ):
        with pytest.raises(error):
            publisher.resolve(path, True)


def test_both_ways_can_be_read_a_button_as_long_as_it_is_pressed(publisher):
    publisher.joins.receive(analog(1, 500))
    assert publisher.read(Get("level")) == 50.0
    assert publisher.read(Get("analog/1")) == 500
    assert publisher.read(Get("level", "out")) == 0.0
    publisher.joins.drive(Update(Join("digital", 1), True, Form.BUTTON))
    assert publisher.read(Get("on", "out")) is True
    publisher.joins.release_pressed()
    assert publisher.read(Get("on", "out")) is False


@pytest.mark.parametrize("text", ["xyz", "", "0d0002", "0d0002000000"])
def test_what_is_no_whole_frame_is_not_sent(text):
    with pytest.raises(BadRequest, match="frames: "):
        parse_frames(text)


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
