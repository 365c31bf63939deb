"""Keys that every bridge has for a property."""

import msgspec
import pytest

from busbar.config.property_keys import Reported, check_choices


def test_the_key_class_is_class():
    assert msgspec.convert({"class": "voltage"}, Reported).class_ == "voltage"


@pytest.mark.parametrize("key", ["deadband", "min_interval", "max_silence"])
def test_what_filters_readings_is_not_negative(key: str):
    assert getattr(msgspec.convert({}, Reported), key) == 0
    with pytest.raises(msgspec.ValidationError, match=key):
        msgspec.convert({key: -1}, Reported)


def test_two_numbers_of_one_name_are_refused():
    check_choices({0: "off", 1: "on"})
    with pytest.raises(ValueError, match="same name"):
        check_choices({0: "off", 1: "off"})
