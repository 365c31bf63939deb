"""Report descriptors, fields and values; bytes of the specification and of devices.

Source: docs/protocols/hid.md.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from busbar.codecs import hid
from busbar.codecs.hid.controls import read
from busbar.errors import OutOfRange, ProtocolError

# HID 1.11, appendix E.10: a mouse of three buttons, and E.6: a keyboard
MOUSE = bytes.fromhex(
    "05010902A1010901A100050919012903150025019503750181029501750581010501"
    "09300931158125 7F750895028106C0C0".replace(" ", "")
)
KEYBOARD = bytes.fromhex(
    "05010906A101050719E029E71500250175019508810295017508810195057501050819012905"
    "910295017503910195067508150025650507190029658100C0"
)
VOLTS = bytes.fromhex(
    "0584 0904 A101 0912 A100 8507 0930 6721D1F000 5505 1500 27FFFF0000 7510 9501 8103"
    "C0 091C A100 8508 0930 8103 C0 C0".replace(" ", "")
)
HAT = bytes.fromhex(
    "0501 0905 A101 0939 1500 2507 3500 463B01 6514 7504 9501 8142 7504 8101 C0"
)


def values(descriptor: bytes, payload: bytes, report: int = 0) -> dict[str, object]:
    parsed = hid.parse(descriptor)
    assert parsed.problems == ()
    found = {}
    for each in hid.controls(parsed):
        for source in each.sources:
            if (source.field.kind, source.field.report) == ("input", report):
                found[each.path] = read(each, source, payload)
    return found


def test_a_mouse_has_buttons_and_movements_that_are_no_state() -> None:
    parsed = hid.parse(MOUSE)
    assert parsed.length("input", 0) == 3
    assert not parsed.numbered
    assert parsed.applications == (0x10002,)
    assert values(MOUSE, b"\x05\x7f\x00") == {
        "button/1": True,
        "button/2": False,
        "button/3": True,
    }


def test_a_keyboard_has_keys_and_lights() -> None:
    parsed = hid.parse(KEYBOARD)
    assert (parsed.length("input", 0), parsed.length("output", 0)) == (8, 1)
    found = values(KEYBOARD, bytes((0x02, 0, 0x04, 0x1E, 0, 0, 0, 0)))
    assert found["keys"] == ["a", "1"]
    assert found["key/left_shift"] is True
    paths = [each.path for each in hid.controls(parsed)]
    assert "led/num_lock" in paths
    assert "led/caps_lock" in paths


def test_units_are_si_and_two_voltages_are_named_by_what_is_around_them() -> None:
    found = {each.path: each for each in hid.controls(hid.parse(VOLTS))}
    assert list(found) == ["battery/voltage", "output/voltage"]
    assert found["battery/voltage"].unit == "V"
    value = read(
        found["battery/voltage"],
        found["battery/voltage"].sources[0],
        (1371).to_bytes(2, "little"),
    )
    assert value == pytest.approx(13.71)


def test_a_hat_at_rest_has_no_value_and_else_degrees() -> None:
    assert values(HAT, b"\x02") == {"hat_switch": 90}
    assert values(HAT, b"\x08") == {"hat_switch": None}


def test_a_maximum_has_a_sign_only_with_a_negative_minimum() -> None:
    plain = bytes.fromhex("05010904A1010930150025FF75089501 8102C0".replace(" ", ""))
    (field,) = hid.parse(plain).fields
    assert field.logical == (0, 255)
    signed = plain.replace(b"\x15\x00\x25\xff", b"\x15\x81\x25\x7f")
    (field,) = hid.parse(signed).fields
    assert field.logical == (-127, 127)


def test_what_makes_no_sense_is_left_out_and_named() -> None:
    problems = {
        bytes.fromhex("C0"): "an end of a collection",
        bytes.fromhex("B4"): "Pop without Push",
        bytes.fromhex("A101"): "a collection without an end",
        bytes.fromhex("0501 26FF"): "the item at byte 2 is cut off",
        bytes.fromhex("75FF 96FFFF 8102"): "longer than 16384 bytes",
        bytes.fromhex("0509 1905 2901"): "usages from 0x90005 to 0x90001",
    }
    for data, text in problems.items():
        (problem,) = hid.parse(data).problems
        assert text in problem


def test_a_descriptor_that_no_device_may_have_is_refused() -> None:
    with pytest.raises(ProtocolError, match="4097 bytes"):
        hid.parse(bytes(4097))


@given(st.binary(max_size=4096), st.binary(max_size=64))
def test_any_bytes_are_a_descriptor_and_any_report_is_read_or_too_short(
    data: bytes, payload: bytes
) -> None:
    parsed = hid.parse(data)
    found = hid.controls(parsed)
    assert len({each.path for each in found}) == len(found)
    for each in found:
        for source in each.sources:
            try:
                read(each, source, payload)
            except ProtocolError:
                assert (source.offset + source.field.size + 7) // 8 > 0


@given(
    st.binary(min_size=16, max_size=16),
    st.integers(0, 60),
    st.integers(1, 64),
    st.booleans(),
    st.data(),
)
def test_bits_that_were_written_are_read_and_others_stay(
    data: bytes, offset: int, size: int, signed: bool, drawn: st.DataObject
) -> None:
    least = -(1 << size - 1) if signed else 0
    most = (1 << size - 1) - 1 if signed else (1 << size) - 1
    value = drawn.draw(st.integers(least, most))
    buffer = bytearray(data)
    hid.write_bits(buffer, offset, size, value, signed)
    assert hid.read_bits(bytes(buffer), offset, size, signed) == value
    if offset:
        assert hid.read_bits(bytes(buffer), 0, offset) == hid.read_bits(data, 0, offset)
    rest = 128 - offset - size
    after = hid.read_bits(bytes(buffer), offset + size, rest)
    assert after == hid.read_bits(data, offset + size, rest)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(OutOfRange, match="allowed: 0 to 15"):
        hid.write_bits(bytearray(1), 0, 4, 16)
    with pytest.raises(ProtocolError, match="has no bits 4 to 11"):
        hid.read_bits(b"\x00", 4, 8)


@pytest.mark.parametrize(
    ("code", "unit", "power"),
    [
        (0x00F0D121, "V", -7),
        (0x00100001, "A", 0),
        (0xF001, "Hz", 0),
        (0x00101001, "As", 0),
        (0x11, "m", -2),
        (0x101, "kg", -3),
        (0x14, "°", 0),
        (0x010003, "°F", 0),
        (0x00FFFFF1, None, 0),
        (0, None, 0),
    ],
)
def test_unit_codes(code: int, unit: str | None, power: int) -> None:
    assert (hid.unit(code).symbol, hid.unit(code).power) == (unit, power)
