"""What is sent for a set, and what is refused before anything is."""

from typing import Any

import pytest

from busbar.codecs.indi import DefMember, DefVector, NewBlob, NewVector, SetVector
from busbar.errors import BadRequest, BusbarError, OutOfRange, ReadOnly
from indi_bridge.validate import Upload, new_vector
from indi_bridge.vectors import Vector, make_vector

COORDINATES = (
    DefMember("RA", "", "5 06 00", "%010.6m", "0", "24", "0"),
    DefMember("DEC", "", "-3:30:00", "%010.6m", "-90", "90", "0"),
)
STEPS = (
    DefMember("AT", "", "0", "%g", "0", "100", "10"),
    DefMember("FREE", "", "junk", "%g", "0", "0", "0"),
)


def vector(kind: Any, members: tuple[DefMember, ...], **more: Any) -> Vector:
    return make_vector(DefVector(kind, "D", "V", members, **more), 0.0)


def switches(rule: str, **values: str) -> Vector:
    return vector(
        "Switch",
        tuple(DefMember(name, "", value) for name, value in values.items()),
        rule=rule,
    )


def sent(of: Vector, given: dict[str, Any], *, steps: bool = False) -> dict[str, str]:
    new = new_vector(of, given, None, steps=steps)
    assert (new.device, new.name, new.timestamp) == ("D", "V", "")
    return new.members


def test_numbers_and_texts_that_are_not_given_are_filled_in_numbers_as_decimals() -> (
    None
):
    assert sent(vector("Number", COORDINATES), {"RA": 6.25}) == {
        "RA": "6.25",
        "DEC": "-3.5",
    }
    texts = vector("Text", (DefMember("A", "", "one"), DefMember("B", "", "two")))
    assert sent(texts, {"B": "<&>"}) == {"A": "one", "B": "<&>"}
    assert sent(vector("Number", STEPS), {"AT": 5}) == {"AT": "5.0", "FREE": "junk"}


def test_switches_go_as_they_are_given_those_off_first() -> None:
    three = {"A": "On", "B": "Off", "C": "Off"}
    assert sent(switches("OneOfMany", **three), {"B": True}) == {"A": "Off", "B": "On"}
    assert list(
        sent(switches("OneOfMany", **three), {"B": True, "A": False}).items()
    ) == [("A", "Off"), ("B", "On")]
    assert sent(switches("AnyOfMany", **three), {"A": False, "C": True}) == {
        "A": "Off",
        "C": "On",
    }
    assert sent(switches("AtMostOne", **three), {"A": False}) == {"A": "Off"}
    assert sent(switches("OneOfMany", **three), {"B": False}) == {}  # it is off


def test_the_time_of_a_set_is_its_timestamp() -> None:
    new = new_vector(
        switches("OneOfMany", A="On", B="Off"), {"B": True}, 60.0, steps=False
    )
    switched = {"A": "Off", "B": "On"}
    assert new == NewVector("Switch", "D", "V", switched, "1970-01-01T00:01:00")


def test_a_blob_is_sent_with_its_format() -> None:
    new = new_vector(
        vector("BLOB", (DefMember("UP"),)),
        {"UP": Upload(".bin", 0, b"123")},
        None,
        steps=False,
    )
    assert new.blobs == {"UP": NewBlob(b"123", ".bin", 3)}


REFUSED: list[tuple[Vector, dict[str, Any], type[BusbarError], str]] = [
    (
        vector("Number", COORDINATES),
        {"RA": 24.5},
        OutOfRange,
        "RA: 24.5 is out of range; allowed: 0 to 24",
    ),
    (
        vector("Number", COORDINATES),
        {"RA": float("nan")},
        BadRequest,
        "RA: nan is no number",
    ),
    (vector("Number", COORDINATES), {}, BadRequest, "V: no member; there are: RA, DEC"),
    (
        vector("Number", COORDINATES),
        {"ALT": 1},
        BadRequest,
        "V has no member ALT; there are: RA, DEC",
    ),
    (
        vector("Number", STEPS),
        {"AT": 15},
        OutOfRange,
        "AT: 15 is no whole number of steps of 10 from 0, which `steps: true` asks for",
    ),
    (vector("Text", (DefMember("A"),)), {"A": "\0"}, BadRequest, "control characters"),
    (
        vector("Text", (DefMember("A"),)),
        {"A": "x" * 70_000},
        BadRequest,
        "70000 characters; allowed: 65536",
    ),
    (
        vector("Text", (DefMember("A"),), perm="ro"),
        {"A": "x"},
        ReadOnly,
        "V is read-only",
    ),
    (
        switches("OneOfMany", A="On", B="Off", C="Off"),
        {"A": False},
        BadRequest,
        "exactly one of A, B, C is on",
    ),
    (
        switches("OneOfMany", A="On", B="Off"),
        {"A": True, "B": True},
        BadRequest,
        "exactly one of A, B is on",
    ),
    (
        switches("AtMostOne", A="On", B="Off"),
        {"A": True, "B": True},
        BadRequest,
        "at most one of A, B",
    ),
    (
        vector("BLOB", (DefMember("UP"),)),
        {"UP": Upload(".bin")},
        BadRequest,
        "UP: no data",
    ),
]


@pytest.mark.parametrize(
    ("of", "given", "error", "said"), REFUSED, ids=[each[3] for each in REFUSED]
)
def test_what_is_refused(
    of: Vector, given: dict[str, Any], error: type[BusbarError], said: str
) -> None:
    with pytest.raises(error) as raised:
        new_vector(of, given, None, steps=True)
    assert said in raised.value.message


def test_steps_count_from_the_minimum_unless_they_are_configured_as_hints() -> None:
    assert sent(vector("Number", STEPS), {"AT": 15})["AT"] == "15.0"
    assert sent(vector("Number", STEPS), {"AT": 30}, steps=True)["AT"] == "30.0"
    odd = vector("Number", (DefMember("AT", "", "-0.7", "%g", "-1", "1", "0.1"),))
    assert sent(odd, {"AT": 0.3}, steps=True)["AT"] == "0.3"


def test_what_a_driver_did_before_changes_no_validation() -> None:
    focuser = vector("Number", STEPS)
    focuser.apply(SetVector("Number", "D", "V", {"AT": "35"}, "Ok"), 0.0)
    with pytest.raises(OutOfRange):
        sent(focuser, {"AT": 15}, steps=True)


def test_of_two_switches_off_means_the_other_one() -> None:
    light = switches("OneOfMany", ON="On", OFF="Off")
    assert sent(light, {"ON": False}) == {"ON": "Off", "OFF": "On"}
    assert sent(light, {"OFF": False, "ON": True}) == {"ON": "On", "OFF": "Off"}


def test_who_was_on_goes_off_first_for_drivers_that_take_members_as_they_come() -> None:
    speed = switches("OneOfMany", SLOW="On", FAST="Off", MAX="Off")
    assert list(sent(speed, {"MAX": True}).items()) == [("SLOW", "Off"), ("MAX", "On")]
