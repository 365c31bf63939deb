"""The little program: what the buttons and levels of the simulated theatre do."""

from datetime import datetime

import pytest

from busbar.codecs.cip import Form, Join, Update
from cip_bridge.simulator.theatre import (
    CLOCK,
    FULL,
    LIGHT_LEVEL,
    LIGHTS,
    MUTE,
    NAMES,
    ROOM,
    SCENE_OFF,
    SOURCE,
    SOURCES,
    STEP,
    VOLUME,
    VOLUME_DOWN,
    VOLUME_UP,
    Theatre,
)  # fmt: skip


@pytest.fixture
def driven():
    return []


@pytest.fixture
def theatre(driven):
    theatre = Theatre(lambda join, value: driven.append((join, value)))
    theatre.start()
    return theatre


def push(theatre, number):
    theatre.take(
        [
            Update(Join("digital", number), state, Form.BUTTON)
            for state in (True, True, False)
        ]
    )


def test_it_starts_with_names_a_source_and_half_the_volume(theatre):
    assert theatre.value("serial", ROOM) == "Theatre"
    assert [theatre.value("serial", 20 + place) for place in (1, 2, 3)] == list(NAMES)
    assert theatre.value("serial", SOURCE) == NAMES[0]
    assert theatre.value("analog", VOLUME) == FULL // 2


def test_the_light_button_toggles_once_however_often_it_is_repeated(theatre):
    push(theatre, LIGHTS)
    assert (theatre.value("digital", LIGHTS), theatre.value("analog", LIGHT_LEVEL)) == (
        True,
        FULL,
    )
    push(theatre, LIGHTS)
    assert (theatre.value("digital", LIGHTS), theatre.value("analog", LIGHT_LEVEL)) == (
        False,
        0,
    )


def test_the_level_switches_the_light(theatre):
    theatre.take([Update(Join("analog", LIGHT_LEVEL), 5, Form.ANALOG)])
    assert theatre.value("digital", LIGHTS) is True
    push(theatre, SCENE_OFF)
    assert (theatre.value("digital", LIGHTS), theatre.value("analog", LIGHT_LEVEL)) == (
        False,
        0,
    )


def test_volume_goes_in_steps_within_its_range_and_mute_toggles(theatre):
    push(theatre, VOLUME_UP)
    assert theatre.value("analog", VOLUME) == FULL // 2 + STEP
    for _ in range(30):
        push(theatre, VOLUME_DOWN)
    assert theatre.value("analog", VOLUME) == 0
    push(theatre, MUTE)
    assert theatre.value("digital", MUTE) is True


def test_one_source_is_selected_at_a_time(theatre):
    push(theatre, SOURCES[2])
    assert [theatre.value("digital", number) for number in SOURCES] == [
        False,
        False,
        True,
    ]
    assert theatre.value("serial", SOURCE) == NAMES[2]


def test_other_joins_are_fed_back_each_of_its_kind(theatre, driven):
    for update in (
        Update(Join("digital", 90), True, Form.DIGITAL),
        Update(Join("analog", 90), 5, Form.ANALOG),
        Update(Join("serial", 90), "x", Form.SERIAL),
        Update(Join("analog", 1, 3), 5, Form.ANALOG),
    ):
        theatre.take([update])
        assert driven[-1] == (update.join, update.value)


def test_nothing_is_driven_twice(theatre, driven):
    theatre.tick(datetime(2026, 1, 2, 20, 35, 1))
    theatre.tick(datetime(2026, 1, 2, 20, 35, 2))
    assert driven.count((Join("serial", CLOCK), "20:35")) == 1
