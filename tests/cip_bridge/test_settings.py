"""The configuration: what is taken, what is refused and in which words."""

from pathlib import Path

import msgspec
import pytest

from busbar.bridge import run
from busbar.config import loader
from busbar.config.loader import Bridge
from busbar.contract import messages
from busbar.errors import ConfigError
from cip_bridge.bridge import SERVICE, link, links
from cip_bridge.settings import Config, Device, place

GOOD = "{name: panel, address: 'cip::processor.local', ipid: 0x0A}"


def parse(devices):
    return loader.parse(
        f"bridge: {{name: theatre}}\ndevices:\n  - {devices}\n", Config, {}
    ).devices


def device(more):
    return parse(
        f"{{name: panel, address: 'cip::processor.local', ipid: 0x0A, {more}}}"
    )[0]


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
    (panel,) = loader.parse(text, Config, {}).devices
    assert (panel.ipid_number, panel.mode, panel.timeout, panel.sign_on) == (
        10,
        "panel",
        2.0,
        "long",
    )
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


@pytest.mark.parametrize(
    "address",
    [
        "",
        "tcp::h:1",
        "cip::",
        "cip::h:0",
        "cip::h:65536",
        "cip::a:b:1",
        "cip::user@h",
        "cip::a..b",
    ],
)
def test_any_other_address_is_refused(address):
    with pytest.raises(ConfigError, match="address: "):
        parse(f"{{name: panel, address: '{address}', ipid: 0x0A}}")


WRONG = [
    ("ipid: 0x0000", "ipid: .*0x03 to 0xFE|ipid"),
    ("mode: panle", "mode"),
    ("username: admin", "belong together"),
    ("password: x", "belong together"),
    ("username: a, password: x, password_file: y", "password_file"),
    ("username: 'a:b', password: x", "username"),
    ("room: ''", "room"),
    ("room: 'two words'", "room: .*1 to 32 characters of ASCII, no spaces"),
    ("ca_file: ca.pem", "ca_file: only with an address of cips::"),
    ("fingerprint: 00", "fingerprint"),
    ("insecure: true", "insecure: only with an address of cips::"),
    ("cert_file: a", "cert_file: only for mode: processor"),
    ("serial_encoding: ascii", "serial_encoding"),
    ("timeout: 0", "timeout"),
    ("timeout: 60", "timeout: .*at most 5 s"),
    ("room: A, sign_on: short", "sign_on: to a room"),
    ("result: '0003'", "result: only for mode: processor"),
    (
        "joins: [{join: digital/0, name: a}]",
        ("joins.0..join: digital join 0 is not 1 to 32768"),
    ),
    (
        "joins: [{join: analog/65537, name: a}]",
        ("join: analog join 65537 is not 1 to 65536"),
    ),
    ("joins: [{join: slot/256/digital/1, name: a}]", "join: slot 256 is not 0 to 255"),
    (
        ("joins: [{join: smart/4294967296/digital/1, name: a}]"),
        "join: smart object 4294967296",
    ),
    ("joins: [{join: serial/01, name: a}]", "join: .*such as digital/1"),
    ("joins: [{join: digital/0x1, name: a}]", "join"),
    ("joins: [{join: digital/1, name: digital/2}]", "name"),
    ("joins: [{join: digital/1, name: clock}]", "name"),
    (
        "joins: [{join: digital/1, name: '54'}]",
        ("name: .*no number, which would be that of a join"),
    ),
    ("joins: [{join: digital/1, name: _a}]", "name"),
    (
        ("joins: [{join: digital/1, name: a}, {join: digital/1, name: b}]"),
        "joins: 'digital/1' is there twice",
    ),
    (
        ("joins: [{join: digital/1, name: a}, {join: digital/2, name: a}]"),
        "joins: 'a' is there twice",
    ),
    (
        ("joins: [{join: digital/1, name: a, scale: [0, 1, 0, 1]}]"),
        "scale: only for an analog join",
    ),
    (
        ("joins: [{join: serial/1, name: a, signed: true}]"),
        "signed: only for an analog join",
    ),
    ("joins: [{join: analog/1, name: a, scale: [5, 5, 0, 1]}]", "scale: the first two"),
    ("joins: [{join: analog/1, name: a, scale: [-1, 5, 0, 1]}]", "from 0 to 65535"),
    (
        ("joins: [{join: analog/1, name: a, scale: [0, 5, 1, 1]}]"),
        "the last two are the same",
    ),
]


@pytest.mark.parametrize(("more", "why"), WRONG)
def test_what_cannot_be_is_refused_with_its_name(more, why):
    with pytest.raises(ConfigError, match=why):
        device(more)


def test_a_device_has_no_more_names_than_its_description_can_tell():
    joins = [
        {"join": f"digital/{number}", "name": f"a/room/{number}/on"}
        for number in range(1, 2002)
    ]
    made = {"name": "p", "address": "cip::h", "ipid": "03", "joins": joins[:2000]}
    description = link(msgspec.convert(made, Device)).devices["p"]
    info = description.info("theatre", "p", 1, "0")
    assert len(messages.encode(info)) < 1 << 20
    with pytest.raises(msgspec.ValidationError, match="length <= 2000"):
        msgspec.convert({**made, "joins": joins}, Device)


def test_ports_of_ours_need_a_certificate_for_tls():
    with pytest.raises(
        ConfigError, match=("cert_file: cips:: needs a certificate of ours")
    ):
        parse("{name: p, address: 'cips::0.0.0.0', ipid: 0x03, mode: processor}")


def test_names_and_ip_ids_are_there_once():
    with pytest.raises(ConfigError, match="two devices are named 'panel'"):
        parse(f"{GOOD}\n  - {GOOD}")
    seat = "address: 'cip::0.0.0.0', ipid: 0x03, mode: processor}"
    same_seat = seat.replace("0.0.0.0", "0.0.0.0:41794")
    with pytest.raises(
        ConfigError,
        match=r"two devices have IP-ID 0x03 at port 41794 of 0\.0\.0\.0",
    ):
        parse(f"{{name: a, {seat}\n  - {{name: b, {same_seat}")


def test_several_panels_may_share_a_processor_and_several_seats_an_address():
    both = parse(
        f"{GOOD}\n  - {GOOD.replace('panel', 'other').replace('0x0A', '0x0B')}"
    )
    assert [each.ipid_number for each in both] == [10, 11]


def test_one_address_written_in_two_ways_is_one_port():
    addresses = ("cip::Host.local", "cip::host.local:41794", "cip::host.local:5")
    found = tuple(
        Device(name=f"d{ipid}", address=address, ipid=f"{ipid:02X}", mode="processor")
        for ipid, address in enumerate(addresses, start=3)
    )
    ports = [
        set(link.devices)
        for link in links(Config(bridge=Bridge(name="b"), devices=found))
    ]
    assert ports == [{"d3", "d4"}, {"d5"}]


def test_files_are_sought_where_the_configuration_is():
    text = """
bridge: {name: theatre}
devices:
  - {name: p, address: 'cips::h', ipid: 0x03,
     username: u, password_file: secret, ca_file: ca.pem}
  - {name: q, address: 'cips::0.0.0.0', ipid: 0x03, mode: processor,
     cert_file: /etc/c.pem, key_file: k.pem}
"""
    one, other = loader.parse(text, Config, {}, folder=Path("/etc/busbar")).devices
    assert (one.password_file, one.ca_file) == (
        "/etc/busbar/secret",
        "/etc/busbar/ca.pem",
    )
    assert (other.cert_file, other.key_file, other.ca_file) == (
        "/etc/c.pem",
        "/etc/busbar/k.pem",
        None,
    )


SECURE = (
    "{{name: {name}, address: 'cips::0.0.0.0:{port}', ipid: {ipid}, mode: processor, "
    "cert_file: {cert}}}"
)


def test_one_port_has_one_certificate():
    first = SECURE.format(name="a", port=5, ipid="03", cert="a.pem")
    parse(f"{first}\n  - {SECURE.format(name='b', port=5, ipid='04', cert='a.pem')}")
    parse(f"{first}\n  - {SECURE.format(name='b', port=6, ipid='04', cert='b.pem')}")
    plain = "{name: b, address: 'cip::0.0.0.0:5', ipid: 0x04, mode: processor}"
    for other in (SECURE.format(name="b", port=5, ipid="04", cert="b.pem"), plain):
        with pytest.raises(
            ConfigError,
            match=(
                r"'a' and 'b' are at port 5 of 0\.0\.0\.0; "
                r"allowed: .*same cert_file"
            ),
        ):
            parse(f"{first}\n  - {other}")


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ("sign_on: short", "sign_on: only for mode: panel"),
        ("timeout: 3", "timeout: only for mode: panel"),
        ("insecure: true", "insecure: only for mode: panel"),
        ("key_file: k", "key_file: only with an address of cips::"),
    ],
)
def test_what_says_nothing_to_a_port_of_ours_is_refused(more, why):
    with pytest.raises(ConfigError, match=why):
        parse(
            f"{{name: p, address: 'cip::0.0.0.0', ipid: 0x03, mode: processor, {more}}}"
        )


def test_there_is_one_way_to_know_a_processor():
    for more in (
        "insecure: true, ca_file: a",
        (f"fingerprint: '{'00' * 32}', ca_file: a"),
    ):
        with pytest.raises(
            ConfigError, match=("there is ca_file, too; allowed: one of them")
        ):
            parse(f"{{name: p, address: 'cips::h', ipid: 0x03, {more}}}")


@pytest.mark.parametrize("written", ["0x14", '"14"', "14h", '"0x14"', "0X14", "0014h"])
def test_an_ip_id_is_written_as_crestron_writes_it(written):
    (panel,) = parse(f"{{name: p, address: 'cip::h', ipid: {written}}}")
    assert panel.ipid_number == 0x14
    (made,) = links(Config(bridge=Bridge(name="b"), devices=(panel,)))
    assert made.devices["p"].model == "IP-ID 0x14"


def test_an_ip_id_of_letters_needs_no_quotes():
    (panel,) = parse("{name: p, address: 'cip::h', ipid: 0A}")
    assert panel.ipid_number == 0x0A


def test_a_number_as_ip_id_is_refused_with_its_two_readings():
    why = "ipid: 20 is 0x14 if it is decimal, 0x20 as Crestron writes it; allowed: "
    with pytest.raises(ConfigError, match=why):
        parse("{name: p, address: 'cip::h', ipid: 20}")
    with pytest.raises(msgspec.ValidationError, match=why):  # the command `open`
        msgspec.convert({"name": "p", "address": "cip::h", "ipid": 20}, Device)
    with pytest.raises(ConfigError, match="ipid: "):
        parse("{name: p, address: 'cip::h', ipid: 0xFFFF}")
    with pytest.raises(ConfigError, match=r"ipid: .*\(text is hex\)"):
        parse("{name: p, address: 'cip::h', ipid: panel}")


def test_two_devices_are_not_the_same_panel():
    other = GOOD.replace("panel", "other").replace("0x0A", "0Ah")
    with pytest.raises(ConfigError, match="'panel' and 'other' are the same panel"):
        parse(f"{GOOD}\n  - {other}")


@pytest.mark.parametrize(
    ("more", "why"),
    [
        (
            ("address: 'cip::h', username: u, password_file: nowhere"),
            "p: password_file: cannot read nowhere",
        ),
        ("address: 'cips::h', ca_file: nowhere", "p: ca_file nowhere"),
        (
            ("address: 'cips::h', mode: processor, cert_file: nowhere"),
            "p: cert_file nowhere",
        ),
    ],
)
def test_a_file_that_is_not_there_names_the_device(more, why):
    devices = parse(f"{{name: p, ipid: 0x03, {more}}}")
    with pytest.raises(ConfigError, match=why):
        list(links(Config(bridge=Bridge(name="b"), devices=devices)))


def test_a_check_prints_the_ip_id_of_each_device(tmp_path, capsys):
    file = tmp_path / "theatre.yaml"
    file.write_text(f"bridge: {{name: theatre}}\ndevices:\n  - {GOOD}\n")
    assert run(SERVICE, ["--config", str(file), "--check"]) == 0
    assert capsys.readouterr().out == (
        f"{file}: fine; cip bridge 'theatre', 1 devices\n"
        "  panel: cip::processor.local, IP-ID 0x0A\n"
    )
