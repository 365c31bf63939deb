"""The configuration: what is taken, what is refused and in which words."""

import pytest

from busbar import config
from busbar.errors import ConfigError
from cip_bridge.settings import Config, place

GOOD = "{name: panel, address: 'cip::processor.local', ipid: 0x0A}"


def parse(devices):
    return config.parse(f"bridge: {{name: theatre}}\ndevices:\n  - {devices}\n", Config, {}).devices


def device(more):
    return parse(f"{{name: panel, address: 'cip::processor.local', ipid: 0x0A, {more}}}")[0]


def test_the_example_of_the_issue_is_taken():
    text = """
bridge: {name: theatre}
devices:
  - name: panel
    address: cip::processor.local:41794
    ipid: 0x0A
    username: admin
    password_file: secret
    room: BOARDROOM1
    serial_encoding: latin1
    joins:
      - {join: digital/1, name: lights/on, title: Lights}
      - {join: analog/12, name: lights/level, scale: [0, 65535, 0, 100], unit: "%"}
"""
    (panel,) = config.parse(text, Config, {}).devices
    assert (panel.ipid, panel.mode, panel.timeout, panel.sign_on) == (10, "panel", 2.0, "long")
    assert panel.joins[1].scale == (0, 65535, 0, 100)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("cip::processor.local", ("processor.local", 41794, False)),
        ("cip::192.168.1.2:41795", ("192.168.1.2", 41795, False)),
        ("cips::processor.local", ("processor.local", 41796, True)),
        ("cips::[fe80::1%eth0]:5", ("fe80::1%eth0", 5, True)),
        ("cip::[::1]", ("::1", 41794, False)),
    ],
)
def test_an_address_has_a_port_of_its_own(address, expected):
    found = place(address)
    assert (found.host, found.port, found.tls) == expected


@pytest.mark.parametrize("address", ["", "tcp::h:1", "cip::", "cip::h:0", "cip::h:65536", "cip::a:b:1", "cip::user@h"])
def test_any_other_address_is_refused(address):
    with pytest.raises(ConfigError, match="address: "):
        parse(f"{{name: panel, address: '{address}', ipid: 10}}")


WRONG = [
    ("ipid: 0", "ipid: .*0x03 to 0xFE|ipid"),
    ("mode: panle", "mode"),
    ("username: admin", "belong together"),
    ("password: x", "belong together"),
    ("username: a, password: x, password_file: y", "password_file"),
    ("username: 'a:b', password: x", "username"),
    ("room: ''", "room"),
    ("room: 'two words'", "room"),
    ("ca_file: ca.pem", "ca_file: only for mode: panel with an address of cips::"),
    ("fingerprint: 00", "fingerprint"),
    ("insecure: true", "insecure: only for mode: panel with an address of cips::"),
    ("cert_file: a", "cert_file: only for mode: processor with an address of cips::"),
    ("serial_encoding: ascii", "serial_encoding"),
    ("timeout: 0", "timeout"),
    ("joins: [{join: digital/0x1, name: a}]", "join"),
    ("joins: [{join: digital/1, name: digital/2}]", "name"),
    ("joins: [{join: digital/1, name: clock}]", "name"),
    ("joins: [{join: digital/1, name: _a}]", "name"),
    ("joins: [{join: digital/1, name: a}, {join: digital/1, name: b}]", "joins: 'digital/1' is there twice"),
    ("joins: [{join: digital/1, name: a}, {join: digital/2, name: a}]", "joins: 'a' is there twice"),
    ("joins: [{join: digital/1, name: a, scale: [0, 1, 0, 1]}]", "scale: only for an analog join"),
    ("joins: [{join: serial/1, name: a, signed: true}]", "signed: only for an analog join"),
    ("joins: [{join: analog/1, name: a, scale: [5, 5, 0, 1]}]", "scale: the first two"),
    ("joins: [{join: analog/1, name: a, scale: [-1, 5, 0, 1]}]", "from 0 to 65535"),
    ("joins: [{join: analog/1, name: a, scale: [0, 5, 1, 1]}]", "the last two are the same"),
]


@pytest.mark.parametrize(("more", "why"), WRONG)
def test_what_cannot_be_is_refused_with_its_name(more, why):
    with pytest.raises(ConfigError, match=why):
        device(more)


def test_ports_of_ours_need_a_certificate_for_tls():
    with pytest.raises(ConfigError, match="cert_file: cips:: needs a certificate of ours"):
        parse("{name: p, address: 'cips::0.0.0.0', ipid: 3, mode: processor}")


def test_names_and_ip_ids_are_there_once():
    with pytest.raises(ConfigError, match="two devices are named 'panel'"):
        parse(f"{GOOD}\n  - {GOOD}")
    seat = "address: 'cip::0.0.0.0', ipid: 3, mode: processor}"
    with pytest.raises(ConfigError, match=r"two devices have IP-ID 0x03 at cip::0\.0\.0\.0"):
        parse(f"{{name: a, {seat}\n  - {{name: b, {seat}")


def test_several_panels_may_share_a_processor_and_several_seats_an_address():
    both = parse(f"{GOOD}\n  - {GOOD.replace('panel', 'other').replace('0x0A', '0x0B')}")
    assert [each.ipid for each in both] == [10, 11]
