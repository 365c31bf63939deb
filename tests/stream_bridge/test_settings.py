"""Addresses, ports, fields and keys."""

import pytest

from busbar.bridge.errors import LinkLost
from busbar.codecs.framing import CHECKS
from busbar.config import loader
from busbar.errors import ConfigError, ProtocolError
from stream_bridge import ports
from stream_bridge.address import Place, place
from stream_bridge.fields import ABSENT, Field, Frame
from stream_bridge.settings import Config

ADDRESSES = {
    "serial::/dev/ttyUSB0::9600::8N1": Place("serial", "/dev/ttyUSB0"),
    "SERIAL::ttyS1::19200::7o1": Place(
        "serial", "ttyS1", baudrate=19200, bits=7, parity="O"
    ),
    "serial::usb-0000:00:14.0-4::9600::8E2": Place(
        "serial", "usb-0000:00:14.0-4", parity="E", stop=2
    ),
    "ftdi::A50285BI::9600::8N1": Place("serial", "A50285BI", usb_serial=True),
    "tcp::mcu.local:4000": Place("tcp", "mcu.local", 4000),
    "tcp:1.2.3.4:1234": Place("tcp", "1.2.3.4", 1234),
    "tcp::[::1]:5025": Place("tcp", "::1", 5025),
    "tls::[fe80::1%eth0]:1": Place("tls", "fe80::1%eth0", 1),
    "listen::8080": Place("listen", "127.0.0.1", 8080),
    "udp::h:5": Place("udp", "h", 5),
    "unix::/run/x.sock": Place("unix", "/run/x.sock"),
    "rfc2217::h:2000::115200::8N1": Place("rfc2217", "h", 2000, baudrate=115200),
}


@pytest.mark.parametrize("address", ADDRESSES)
def test_an_address_says_where_a_stream_is(address):
    assert place(address) == ADDRESSES[address]


@pytest.mark.parametrize(
    "address",
    [
        *("", "tcp::h", "tcp::1234", "tcp::h:0", "tcp::h:70000", "tcp::h:1::9600"),
        *("serial::/dev/x", "serial::/dev/x::1::8N1", "serial::/dev/x::9600::9N1"),
    ],
)
def test_an_address_that_is_none_is_refused(address):
    with pytest.raises(ValueError, match="address: "):
        place(address)


def test_an_adapter_is_found_by_its_serial_number_and_its_place(tmp_path):
    usb = tmp_path / "sys/devices/0000:00:14.0/usb1/1-4"
    (usb / "1-4:1.0/ttyUSB3").mkdir(parents=True)
    for name, text in (("idVendor", "0403"), ("serial", "A50285BI\n")):
        (usb / name).write_text(text)
    entry = tmp_path / "sys/class/tty/ttyUSB3"
    entry.mkdir(parents=True)
    (entry / "device").symlink_to(usb / "1-4:1.0/ttyUSB3")
    expected = str(tmp_path / "dev/ttyUSB3")
    assert ports.find("A50285BI", True, tmp_path) == expected
    assert ports.find("usb-0000:00:14.0-4", False, tmp_path) == expected
    with pytest.raises(LinkLost, match=r"no serial port X; there are: .*A50285BI"):
        ports.find("X", False, tmp_path)


GGA = b"$GPGGA,123519,4807.038,N,01131.000,E,1,08,0.9,545.4,M,46.9,M,,*47"
VALUES = [
    (Field(path="a", column=2, starts="$GPGGA", convert="nmea_degrees"), GGA, 48.1173),
    (Field(path="a", column=7, type="integer"), GGA, 8),
    (Field(path="a", column=13), GGA, ABSENT),
    (Field(path="a", starts="$GPRMC", column=7), GGA, ABSENT),
    (Field(path="a", match=r"([\d.]+) *g"), b"S S   12.50 g", 12.5),
    (Field(path="a", match=r"(?P<w>\d+)kg", capture="w", scale=1000), b"2kg", 2000),
    (Field(path="a", struct_="<Hh", index=1, scale=0.5), b"\x01\x00\xfe\xff", -1),
    (Field(path="a", json_="s.0.door", type="boolean"), b'{"s":[{"door":true}]}', True),
    (Field(path="a", whole=True, type="string"), b" 4006381333931 ", "4006381333931"),
    (
        Field(path="a", whole=True, type="string", choices={"S": "stable"}),
        b"S",
        "stable",
    ),
]


@pytest.mark.parametrize(("field", "data", "expected"), VALUES)
def test_a_field_is_read_from_a_frame(field, data, expected):
    assert field.read(Frame(data, "utf-8")) == expected


@pytest.mark.parametrize(
    ("field", "data"),
    [
        (Field(path="a", whole=True), b"x"),
        (Field(path="a", whole=True), b"\xff"),
        (Field(path="a", json_="a"), b"{"),
        (Field(path="a", struct_="<H"), b"1"),
    ],
)
def test_a_field_that_cannot_be_read_says_so(field, data):
    with pytest.raises(ProtocolError):
        field.read(Frame(data, "utf-8"))


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ("framing: {type: nonsense}", "framing"),
        ("framing: {type: regex, pattern: '('}", "without its"),
        ("checksum: crc99", "crc16-modbus"),
        ("fields: [{path: a}]", "match, column"),
        ("fields: [{path: a, match: '(x)', capture: 2}]", "no group 2"),
        ("fields: [{path: a, struct: '<H', index: 1}]", "has 1 values"),
        ("fields: [{path: a, whole: true, set: '{other}'}]", "set"),
    ],
)
def test_what_cannot_be_is_refused_with_its_place(keys, said):
    text = f"bridge: {{name: b}}\ndevices:\n- name: d\n  address: tcp::h:1\n  {keys}\n"
    with pytest.raises(ConfigError, match=said):
        loader.parse(text, Config, {})


def test_every_checksum_can_be_configured():
    for name in CHECKS:
        text = (
            "bridge: {name: b}\n"
            f"devices: [{{name: d, address: 'tcp::h:1', checksum: {name}}}]"
        )
        assert loader.parse(text, Config, {}).devices[0].reader()
