"""Joins and their properties, by number and by name."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from busbar.codecs.cip import Join
from busbar.errors import BadRequest, OutOfRange, UnknownTarget
from cip_bridge.joins import generic, parse
from cip_bridge.named_joins import NamedJoin
from cip_bridge.paths import JoinPaths, JoinProperty

BOTH = [
    ("digital/1", Join("digital", 1)),
    ("analog/65536", Join("analog", 65536)),
    ("smart/3/serial/2", Join("serial", 2, 3)),
    ("slot/1/digital/5", Join("digital", 5, None, (1,))),
    ("slot/1/slot/2/smart/4294967295/analog/5", Join("analog", 5, 2**32 - 1, (1, 2))),
]


def named(join="analog/12", **more):
    about = msgspec.convert({"join": join, "name": "level", **more}, NamedJoin)
    return JoinProperty(about, parse(about.join))


@pytest.mark.parametrize(("path", "join"), BOTH)
def test_a_path_and_a_join_are_the_same(path, join):
    assert parse(path) == join
    assert generic(join) == path


@pytest.mark.parametrize(
    "path",
    [
        "",
        "digital",
        "digital/x",
        "Digital/1",
        "smart/digital/1",
        "slot/a/digital/1",
        "d/1",
    ],
)
def test_what_is_no_join_is_none(path):
    assert parse(path) is None


@pytest.mark.parametrize(
    "path", ["digital/0", "digital/32769", "analog/65537", "slot/256/serial/1"]
)
def test_a_join_off_the_wire_is_out_of_range(path):
    with pytest.raises(OutOfRange, match=" is not "):
        parse(path)


def test_every_join_is_described_once_and_in_range():
    properties = JoinPaths().properties()
    about = properties["digital/{join}"].info()
    assert about.access == "rw"
    assert about.default is False
    assert about.readback == "_out/digital/{join}"
    assert about.parameters == {"join": {"minimum": 1, "maximum": 32768}}
    for path, _ in BOTH:
        assert sum(each.matches(path) for each in properties.values()) == 1
        assert sum(each.matches(f"_out/{path}") for each in properties.values()) == 1
    assert not any(
        each.matches("digital/0") or each.matches("smart/4294967296/digital/1")
        for each in properties.values()
    )


def test_a_name_replaces_the_number_and_the_number_can_still_be_set():
    more = {"title": "Level", "unit": "%", "group": "Hall", "class": "power_factor"}
    paths = JoinPaths((named(scale=(0, 65535, 0, 100), **more).settings,))
    join = Join("analog", 12)
    assert paths.path(join) == "level"
    assert paths.path(Join("analog", 13)) == "analog/13"
    assert paths.find("level")[0] == paths.find("analog/12")[0] == join
    about = paths.properties()["level"].info()
    assert (about.title, about.unit, about.readback, about.original) == (
        "Level",
        "%",
        "_out/level",
        "analog/12",
    )
    assert (about.group, about.class_) == ("Hall", "power_factor")
    assert about.schema == {"type": "number", "minimum": 0.0, "maximum": 100.0}
    sent = paths.properties()["_out/level"].info()
    assert (sent.title, sent.unit, sent.access, sent.schema) == (
        "Level: what we sent",
        "%",
        "r",
        about.schema,
    )


@pytest.mark.parametrize(
    ("scale", "raw", "shown"),
    [
        ((0, 65535, 0, 100), 65535, 100.0),
        ((0, 65535, 0, 100), 32768, 50.0),
        ((0, 65535, -80, 0), 0, -80.0),
        ((0, 100, 1, 0), 25, 0.75),
        ((0, 1000, 0, 100000), 3, 300.0),
    ],
)
def test_a_scale_has_as_many_digits_as_its_steps_need(scale, raw, shown):
    one = named(scale=scale)
    assert one.shown(raw) == shown
    assert one.raw(shown) == raw


@pytest.mark.parametrize("value", [0, 10, 30, 33.3, 50, 99.5, 100])
def test_a_value_that_was_set_comes_back_as_it_was_set(value):
    one = named(scale=(0, 65535, 0, 100))
    assert one.shown(one.raw(value)) == value


@given(st.integers(0, 65535), st.booleans())
def test_every_raw_value_comes_back_through_its_scale(raw, signed):
    low, high = (-32768, 32767) if signed else (0, 65535)
    for scale in ((low, high, 0, 1), (low, high, 100, -100)):
        one = named(scale=scale, signed=signed)
        assert one.raw(one.shown(raw)) == raw


def test_a_signed_analog_is_shown_with_its_sign():
    one = named(signed=True)
    assert [one.shown(raw) for raw in (0, 32767, 32768, 65535)] == [
        0,
        32767,
        -32768,
        -1,
    ]
    assert [one.raw(value) for value in (-1, -32768, 5)] == [65535, 32768, 5]


def test_a_raw_value_outside_the_scale_is_shown_as_it_is():
    assert named(scale=(0, 100, 0, 1)).shown(200) == 2


@pytest.mark.parametrize("scale", [(0, 3, 0.0, 0.16), (0, 7, -0.16, 0.123456)])
def test_rounding_never_leaves_the_range(scale):
    one = named(scale=scale)
    low, high = scale[2:]
    for raw in range(scale[0], scale[1] + 1):
        assert low <= one.shown(raw) <= high


def test_buttons_are_digital_joins_by_number_path_or_name():
    paths = JoinPaths((named(join="digital/3").settings,))
    three = Join("digital", 3)
    assert [paths.button(each) for each in (3, "digital/3", "level")] == [three] * 3
    assert paths.button("smart/1/digital/3") == Join("digital", 3, 1)
    with pytest.raises(BadRequest, match="only digital joins"):
        paths.button("analog/3")
    with pytest.raises(UnknownTarget, match="allowed: level, digital/1"):
        paths.button("nothing")
