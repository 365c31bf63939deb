"""The configuration of a device: what is refused and where, what a field reads."""

import pytest
from msgspec import UNSET

from busbar.config import loader
from busbar.errors import ConfigError, OutOfRange
from hid_bridge import address
from hid_bridge.address import HidNode
from hid_bridge.models import applied
from hid_bridge.points import ConfiguredPoint
from hid_bridge.settings import Config

START = 'bridge: {name: b}\ndevices: [{name: d, address: "hid::1:2"%s}]'


def device(more=""):
    (found,) = loader.parse(START % more, Config, {}).devices
    return found


def point(more):
    given = device(f", fields: [{{path: p, {more}}}]")
    return ConfiguredPoint(given.fields[0], given)


@pytest.mark.parametrize(
    ("more", "text"),
    [
        (", timout: 1", "timout"),
        (", backend: libusb", "backend"),
        (", model: toaster", "model"),
        (", checksum: {first: 3, last: 1, byte: 4}", "last"),
        (", init: [{}]", "feature"),
        (', init: [{feature: "0g"}]', "feature"),
        (", fields: [{path: p}, {path: p}]", "twice"),
        (", fields: [{path: p, exponent: q}]", "no field 'q'"),
        (", fields: [{path: p, order: big, bits: 4}]", "order"),
        (", fields: [{path: p, scale: 0}]", "scale"),
        (", fields: [{path: p, choices: {1: a, 2: a}}]", "choices"),
        (", fields: [{path: p, minimum: 2, maximum: 1}]", "minimum"),
        (", keyboard: {}, backend: hidapi", "backend"),
        (", keyboard: {}, model: scale", "keyboard"),
        (", keyboard: {layout: dvorak}", "layout"),
    ],
)
def test_what_cannot_be_is_refused_with_its_key(more, text):
    with pytest.raises(ConfigError, match=text):
        device(more)


@pytest.mark.parametrize(
    "text",
    ["usb::1:2", "hid::", "hid::x", "hid::1:2::1:3", "hid::page=x", "hid::port="],
)
def test_an_address_that_names_nothing_is_refused(text):
    with pytest.raises(ValueError, match="address: "):
        address.parse(text)


def test_vendor_and_product_are_not_swapped():
    # comsrv's HidDevice(vid, pid) swaps them
    node = HidNode("/dev/hidraw0", 0x0922, 0x8003)
    assert address.parse("hid::0922:8003").fits(node)
    assert not address.parse("hid::8003:0922").fits(node)


def test_the_shortest_address_that_tells_devices_apart_is_shown():
    one = HidNode("a", 1, 2, serial="7", interface=0, port="1-1")
    two = HidNode("b", 1, 2, serial="7", interface=1, port="1-1")
    three = HidNode("c", 1, 2, interface=0, port="1-2")
    nodes = [one, two, three]
    for node in nodes:
        found = address.parse(address.short(node, nodes))
        assert [each for each in nodes if found.fits(each)] == [node]
    assert address.short(one, [one]) == "hid::0001:0002"


@pytest.mark.parametrize(
    ("more", "payload", "value"),
    [
        ("byte: 1, bits: 16", "00 34 12", 0x1234),
        ("byte: 1, bits: 16, order: big", "00 12 34", 0x1234),
        ("bits: 16, order: big, signed: true", "FF FE", -2),
        ("bit: 3, bits: 2", "18", 3),
        ("type: boolean, bit: 7, bits: 1", "80", True),
        ("scale: 0.1, add: -1", "0B", 0.1),
        ("type: integer", "07", 7),
        ("choices: {1: on, 2: off}", "02", "off"),
        ("byte: 1, when: {byte: 0, equals: 5}", "05 09", 9),
        ("byte: 1, when: {byte: 0, equals: 5}", "06 09", UNSET),
    ],
)
def test_a_field_reads_its_bits_and_writes_them(more, payload, value):
    made, data = point(more), bytes.fromhex(payload)
    assert made.read(made.places[0], data) == value
    if value is not UNSET:
        buffer = bytearray(len(data))
        made.write(made.places[0], buffer, value)
        assert made.read(made.places[0], bytes(buffer)) == value


def test_a_number_without_a_name_is_out_of_range():
    made = point("choices: {1: a}")
    with pytest.raises(OutOfRange):
        made.read(made.places[0], b"\x07")


def test_a_model_leaves_what_the_configuration_says():
    given = device(", model: co2monitor, title: Air, fields: [{path: co2, byte: 6}]")
    made = applied(given)
    assert made.title == "Air"
    assert {each.path for each in made.fields} == {"temperature", "humidity", "co2"}
    assert [each.byte for each in made.fields if each.path == "co2"] == [6]
