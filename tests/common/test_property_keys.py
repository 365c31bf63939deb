"""Keys that every bridge has for a property."""

import msgspec
import pytest

from busbar.config.property_keys import Reported, check_choices, joined


def test_the_key_class_is_class():
    assert msgspec.convert({"class": "voltage"}, Reported).class_ == "voltage"


@pytest.mark.parametrize("key", ["deadband", "min_interval", "max_silence"])
def test_what_filters_readings_is_not_negative(key: str):
    assert getattr(msgspec.convert({}, Reported), key) == 0
    with pytest.raises(msgspec.ValidationError, match=key):
        msgspec.convert({key: -1}, Reported)


class Place(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    address: int

    def doubled(self) -> int:
        return 2 * self.address


def test_a_struct_with_keys_of_its_own_can_have_the_shared_ones_too():
    both = joined("Both", Place, Reported)
    made = msgspec.convert({"address": 4, "class": "voltage", "deadband": 1}, both)
    assert (made.doubled(), made.class_, made.deadband, made.unit) == (
        8,
        "voltage",
        1.0,
        None,
    )
    for wrong in ({"address": 4, "deadband": -1}, {"address": 4, "class_": "x"}, {}):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(wrong, both)


def test_two_numbers_of_one_name_are_refused():
    check_choices({0: "off", 1: "on"})
    with pytest.raises(ValueError, match="same name"):
        check_choices({0: "off", 1: "off"})
