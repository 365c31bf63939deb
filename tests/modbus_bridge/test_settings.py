"""Configurations: what is taken, and what is refused with which words."""

import re

import pytest

from busbar.config import loader
from busbar.errors import ConfigError
from busbar.runtime.service import plan
from modbus_bridge.address import listen, place
from modbus_bridge.bridge import SERVICE
from modbus_bridge.settings import Config

ADDRESSES = {
    "modbus::tcp::plc:502": ("tcp", "tcp", "plc", 502, None),
    "modbus::tcp::plc": ("tcp", "tcp", "plc", 502, None),
    "modbus::tcp::10.0.0.7:1502::3": ("tcp", "tcp", "10.0.0.7", 1502, 3),
    "modbus::tcp::[fe80::1%eth0]:502::9": ("tcp", "tcp", "fe80::1%eth0", 502, 9),
    "modbus::tls::plc": ("tcp", "tls", "plc", 802, None),
    "modbus::udp::plc:502": ("tcp", "udp", "plc", 502, None),
    "modbus::rtu::gateway:4001": ("rtu", "tcp", "gateway", 4001, None),
    "modbus::ascii::gateway:4001::7": ("ascii", "tcp", "gateway", 4001, 7),
}
LINES = {
    "modbus::rtu::/dev/ttyUSB0::9600::8N1": (
        "rtu",
        "/dev/ttyUSB0",
        9600,
        8,
        "N",
        1,
        None,
    ),
    "modbus::rtu::/dev/ttyUSB0::19200::8e1::17": (
        "rtu",
        "/dev/ttyUSB0",
        19200,
        8,
        "E",
        1,
        17,
    ),
    "modbus::ascii::/dev/ttyS0::1200::7O2": (
        "ascii",
        "/dev/ttyS0",
        1200,
        7,
        "O",
        2,
        None,
    ),
    # MBAP over serial
    "modbus::tcp::COM3::115200::8N1.5": ("tcp", "COM3", 115200, 8, "N", 1.5, None),
}


@pytest.mark.parametrize("address", ADDRESSES)
def test_addresses_on_a_network(address):
    found = place(address)
    assert (
        found.framing,
        found.transport,
        found.host,
        found.port,
        found.unit,
    ) == ADDRESSES[address]
    assert found.character == 0


@pytest.mark.parametrize("address", LINES)
def test_addresses_on_a_serial_line(address):
    found = place(address)
    assert found.transport == "serial"
    got = (
        found.framing,
        found.host,
        found.baudrate,
        found.bits,
        found.parity,
        found.stop,
        found.unit,
    )
    assert got == LINES[address]


def test_a_character_takes_its_bits():
    assert place("modbus::rtu::/dev/ttyS0::9600::8N1").character == pytest.approx(
        10 / 9600
    )
    assert place("modbus::rtu::/dev/ttyS0::9600::8E1").character == pytest.approx(
        11 / 9600
    )


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("tcp::plc:502", "is not modbus::tcp::HOST:PORT"),
        ("modbus::plus::plc", "allowed: tcp, tls, udp, rtu and ascii"),
        ("modbus::tcp::plc:70000", "port 70000 is not 1 to 65535"),
        ("modbus::tcp::plc:502::256", "unit 256 is not 0 to 255"),
        ("modbus::rtu::/dev/ttyS0::9600", "is neither HOST"),
        ("modbus::rtu::/dev/ttyS0::9600::9N1", "is neither HOST"),
        ("modbus::rtu::/dev/ttyS0::10::8N1", "baud 10 is not 50"),
        ("modbus::tls::/dev/ttyS0::9600::8N1", "tls is not spoken on a serial line"),
        ("modbus::tcp::user:secret@plc:502", "is neither HOST"),
    ],
)
def test_a_wrong_address_says_what_is_allowed(address, says):
    with pytest.raises(ValueError, match=re.escape(says)):
        place(address)


def test_where_others_may_connect():
    assert listen("127.0.0.1:1502") == ("127.0.0.1", 1502)
    assert listen("[::1]:0") == ("::1", 0)
    with pytest.raises(ValueError, match="is not HOST:PORT"):
        listen("1502")


def parsed(text):
    return loader.parse("bridge: {name: plant}\n" + text, Config, {})


ONE = "devices: [{name: m, address: 'modbus::tcp::plc', %s}]"
PROPERTY = ONE % "properties: [{path: p, address: 1, %s}]"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (ONE % "channel: c", "a device has a channel or an address of its own"),
        ("devices: [{name: m}]", "a device has a channel or an address of its own"),
        (
            ("devices: [{name: m, channel: c, unit: 1}]"),
            "'m' is on 'c', which is not among `channels`",
        ),
        ("devices: [{name: m, channel: c, gap: 1}]", "gap: belongs to the channel 'c'"),
        (
            ("devices: [{name: bridge, address: 'modbus::tcp::plc'}]"),
            "is the bridge itself",
        ),
        (
            ("devices: [{name: m, address: 'modbus::rtu::plc:4001'}]"),
            "'m' needs one on a line of rtu",
        ),
        (
            ("devices: [{name: m, address: 'modbus::tcp::plc::3', unit: 4}]"),
            "4 here, 3 in the address",
        ),
        (
            (
                "devices: [{name: m, address: 'modbus::rtu::plc:1', unit: 0, "
                "properties: "
                "[{path: p, address: 1}]}]"
            ),
            "only access: w",
        ),
        (ONE % "unit: 256", "unit: 256 is out of range"),
        (ONE % "insecure: true", "only with an address of modbus::tls::"),
        (
            ("devices: [{name: m, address: 'modbus::tls::plc', key_file: k}]"),
            "a key without a cert_file",
        ),
        (ONE % "serve: {listen: here}", "is not HOST:PORT"),
        (
            ONE % ("connect: on_demand, serve: {listen: '0.0.0.0:1502'}"),
            "serve: not with `connect: on_demand`",
        ),
        (
            "channels: [{name: c, address: 'modbus::tcp::a', serve: {listen: "
            "'0.0.0.0:1502'}}]\n" + ONE % "serve: {listen: '0.0.0.0:1502'}",
            "devices: 0.0.0.0:1502 is listened on twice",
        ),
        (
            (
                "channels: [{name: c, address: 'modbus::tcp::a'}, {name: c, address: "
                "'modbus::tcp::b'}]"
            ),
            "the same name",
        ),
        (
            "devices: [{name: a, address: 'modbus::rtu::/dev/x::9600::8N1', unit: 1},"
            " {name: b, address: 'modbus::rtu::/dev/x::9600::8N1', unit: 2}]",
            "/dev/x is opened twice",
        ),
        (
            ONE % ("properties: [{path: p, address: 1}, {path: p, address: 2}]"),
            "'p' is there twice",
        ),
        (PROPERTY % "table: coil, type: int16", "a coil is a bool"),
        (PROPERTY % "table: coil, bit: 1", "only in a register"),
        (PROPERTY % "type: bool", "needs its `bit`"),
        (PROPERTY % "bit: 1, type: float32", "a bit field cannot be float32"),
        (PROPERTY % "width: 2", "needs `bit`"),
        (PROPERTY % "bit: 15, width: 2", "end beyond bit 15"),
        (PROPERTY % "length: 2", "only of a string or raw"),
        (PROPERTY % "type: string, order: little", "big or big_swap"),
        (PROPERTY % "bit: 1, order: little", "order: not of a bit"),
        (PROPERTY % "table: coil, order: little", "order: not of a bit"),
        (PROPERTY % "type: raw, order: little", "order: not of a bit or raw"),
        (PROPERTY % "encoding: utf-8", "encoding: only of a string"),
        (PROPERTY % "type: raw, padding: space", "padding: only of a string"),
        (
            PROPERTY % "choices: {1: a, 70000: b}",
            ("choices: 70000 is not within 0 to 65535"),
        ),
        (PROPERTY % "scale: 0", "0 cannot be undone"),
        (PROPERTY % "type: string, scale: 2", "scale: not of a string"),
        (
            ONE % ("properties: [{path: p, address: 65535, type: int32}]"),
            "end beyond 65535",
        ),
        (PROPERTY % "table: input, access: rw", "the table input can only be read"),
        (PROPERTY % "type: float32, choices: {1: a}", "only of a whole number"),
        (PROPERTY % "choices: {1: a, 2: a}", "the same name"),
        (PROPERTY % "minimum: 1.5", "1.5 is not a whole number"),
        (PROPERTY % "maximum: 70000", "is not within 0 to 65535"),
        (PROPERTY % "minimum: 5, maximum: 4", "5 is above the maximum of 4"),
        (PROPERTY % "table: coil, minimum: 1", "minimum: only of a number"),
        (PROPERTY % "type: int20", "allowed"),
        (PROPERTY % "colour: red", "colour"),
    ],
)
def test_a_wrong_configuration_says_what_is_wrong(text, says):
    with pytest.raises(ConfigError, match=re.escape(says)):
        parsed(text)


def test_a_unit_is_255_unless_it_is_told():
    found = parsed(
        "devices: [{name: m, address: 'modbus::tcp::plc'}, {name: n, address: "
        "'modbus::tcp::plc::3'}]"
    )
    assert [each.number(place(each.address)) for each in found.devices] == [255, 3]


def test_links_are_channels_and_devices_of_their_own():
    found = parsed("""
channels:
  - {name: line, address: 'modbus::rtu::/dev/ttyUSB0::9600::8N1'}
  - {name: unused, address: 'modbus::tcp::x'}
devices:
  - {name: a, channel: line, unit: 1}
  - {name: b, channel: line, unit: 2}
  - {name: c, address: 'modbus::tcp::plc'}
""")
    links = plan(SERVICE, found, None, {}).links
    assert [(each.name, list(each.devices), each.shared) for each in links] == [
        ("line", ["a", "b"], True),
        ("c", ["c"], False),
    ]


def schema(text):
    return (
        SERVICE.links(parsed(PROPERTY % text))
        .__next__()
        .devices["m"]
        .properties["p"]
        .info()
        .schema
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("type: int16", {"type": "integer", "minimum": -32768, "maximum": 32767}),
        (
            "type: int16, scale: 0.1, minimum: 5",
            {"type": "number", "minimum": 5.0, "maximum": 3276.7},
        ),
        ("type: uint64", {"type": "integer", "minimum": 0}),
        ("type: float32", {"type": "number"}),
        (
            "type: uint16, scale: 10",
            {"type": "integer", "minimum": 0, "maximum": 655350},
        ),
        (
            "type: uint16, offset: 0.5",
            {"type": "number", "minimum": 0.5, "maximum": 65535.5},
        ),
        ("bit: 4", {"type": "boolean"}),
        ("bit: 4, width: 2", {"type": "integer", "minimum": 0, "maximum": 3}),
        ("type: bcd16", {"type": "integer", "minimum": 0, "maximum": 9999}),
        (
            'choices: {0: "off", 1: "on"}',
            {
                "anyOf": [
                    {"enum": ["off", "on"]},
                    {"type": "integer", "minimum": 0, "maximum": 65535},
                ]
            },
        ),
        ("type: string, length: 3", {"type": "string"}),
        ("type: raw", {"type": "string", "contentEncoding": "base64"}),
    ],
)
def test_a_property_says_what_fits_its_registers(text, expected):
    assert schema(text) == expected


def test_files_are_found_beside_the_configuration(tmp_path):
    file = tmp_path / "plant.yaml"
    file.write_text(
        "bridge: {name: plant}\n"
        "channels: [{name: c, address: 'modbus::tls::plc', ca_file: ca.pem}]\n"
        "devices: [{name: m, address: 'modbus::tls::plc', cert_file: us.pem, "
        "key_file: /etc/key.pem}]"
    )
    found = loader.load(file, Config, {})
    assert found.channels[0].ca_file == str(tmp_path / "ca.pem")
    assert (found.devices[0].cert_file, found.devices[0].key_file) == (
        str(tmp_path / "us.pem"),
        "/etc/key.pem",
    )


def test_a_model_is_a_file_beside_the_configuration(tmp_path):
    (tmp_path / "mine.yaml").write_text(
        "title: Mine\nproperties: [{path: volts, address: 1}, {path: amps, address: 2}]"
    )
    file = tmp_path / "plant.yaml"
    text = (
        "bridge: {name: plant}\ndevices: [{name: m, address: 'modbus::tcp::plc', "
        "model: %s, properties: [{path: amps, address: 9}]}]"
    )
    file.write_text(text % "mine.yaml")
    found = loader.load(file, Config, {}).devices[0]
    assert {each.path: each.address for each in found.all_properties} == {
        "volts": 1,
        "amps": 9,
    }
    file.write_text(text % "other.yaml")
    with pytest.raises(ConfigError, match="cannot read the file"):
        loader.load(file, Config, {})
