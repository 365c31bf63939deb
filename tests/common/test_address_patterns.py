"""Which addresses a pattern admits: hosts and ports apart, no foreign host."""

import ipaddress
import string
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from busbar.config.address_patterns import AddressPattern
from can_bridge.address import endpoint as usrcanet
from can_bridge.address import parse_address
from cip_bridge.settings import place as cip_place
from indi_bridge.settings import place as indi_place
from modbus_bridge.address import place as modbus_place
from scpi_bridge.settings import endpoint as scpi_endpoint

ADMITTED = [
    ("*", ["tcp::a:1", "/dev/ttyUSB0", "modbus::tcp::[::1]:502::1", ""]),
    ("toy::*", ["toy::a", "toy::a::b", "toy"]),
    ("can::virtual::*", ["can::virtual::lab"]),
    ("can::socket::can*", ["can::socket::can0", "can::socket::can"]),
    ("tcp::10.0.7.1:5025", ["tcp::10.0.7.1:5025"]),
    ("tcp::10.0.7.1:*", ["tcp::10.0.7.1:1", "tcp::10.0.7.1:5025"]),
    ("tcp::10.0.7.0/24:5025", ["tcp::10.0.7.0:5025", "tcp::10.0.7.255:5025"]),
    ("indi::10.0.7.0/24", ["indi::10.0.7.9"]),
    ("tcp::*:5025", ["tcp::10.0.7.1:5025", "tcp::bench:5025", "tcp::[::1]:5025"]),
    ("tcp::[::1]:5025", ["tcp::[::1]:5025", "tcp::[0:0::1]:5025"]),
    ("tcp::[fd00::/64]:*", ["tcp::[fd00::7]:80", "tcp::[fd00::]:5025"]),
    ("tcp::bench-*.lab:5025", ["tcp::bench-1.lab:5025", "tcp::bench-.lab:5025"]),
    ("tcp::*.lab:5025", ["tcp::psu.lab:5025"]),
    ("modbus::tcp::10.0.7.0/24:502::*", ["modbus::tcp::10.0.7.9:502::1"]),
    ("modbus::tcp::10.0.7.0/24:502::*", ["modbus::tcp::10.0.7.9:502"]),
    ("modbus::*::plc:502::1", ["modbus::tcp::plc:502::1", "modbus::udp::plc:502::1"]),
    ("modbus::rtu::/dev/ttyUSB*::*", ["modbus::rtu::/dev/ttyUSB1::9600::8N1::7"]),
    ("indi::@/tmp/*", ["indi::@/tmp/indi"]),
]
REFUSED = [
    ("tcp::bench*:5025", ["tcp::bench.evil.com:5025", "tcp::bench:5026", "tcp::bench"]),
    ("tcp::bench*:*", ["tcp::bench.evil.com:5025", "tcp::bench@evil.com:1"]),
    ("tcp::bench*:*", ["tcp::bench:1:2", "tcp::bench\u3002evil.com:1", "tcp::b:x"]),
    ("tcp::*.lab:5025", ["tcp::a.b.lab:5025", "tcp::lab:5025", "tcp::a.lab.:5025"]),
    ("tcp::*.*:5025", ["tcp::127.1:5025", "tcp::127.0x1:5025"]),
    ("tcp::b*:1", ["tcp::127.0.0.1:1"]),
    ("tcp::*0*:1", ["tcp::2130706433:1", "tcp::0x7f000001:1", "tcp::[::0]:1"]),
    ("tcp::10.0.7.0/24:5025", ["tcp::10.0.8.1:5025", "tcp::10.0.7.1:5026"]),
    ("tcp::10.0.7.0/24:5025", ["tcp::10.0.7.1.evil.com:5025", "tcp::10.0.7:5025"]),
    ("tcp::10.0.7.0/24:5025", ["tcp::localhost:5025", "tcp::010.0.7.1:5025"]),
    ("tcp::10.0.7.0/24:5025", ["tcp::[::ffff:10.0.7.1]:5025", "tcp::10.0.7.0/24:x"]),
    ("tcp::10.0.7.1:*", ["tcp::10.0.7.1", "tcp::10.0.7.10:1", "tcp::10.0.7.1:1:2"]),
    ("tcp::[fd00::/64]:*", ["tcp::[fd01::7]:80", "tcp::fd00::7:80", "tcp::[x]:80"]),
    ("toy::*", ["toys::a", "a::toy::a"]),
    ("modbus::*::plc:502", ["modbus::tcp::x::plc:502"]),
    ("modbus::rtu::/dev/ttyUSB*::*", ["modbus::rtu::/dev/../etc/x::1"]),
    ("indi::/run/*", ["indi::/run/a/b", "indi::/run/..", "indi::/run/."]),
    ("indi::/run/*/s", ["indi::/run/../s"]),
]


@pytest.mark.parametrize(("pattern", "addresses"), ADMITTED)
def test_a_pattern_admits_what_is_meant(pattern: str, addresses: list[str]) -> None:
    for address in addresses:
        assert AddressPattern(pattern).admits(address), address


@pytest.mark.parametrize(("pattern", "addresses"), REFUSED)
def test_a_pattern_admits_nothing_else(pattern: str, addresses: list[str]) -> None:
    for address in addresses:
        assert not AddressPattern(pattern).admits(address), address


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("tcp::10.0.7.*:5025", "as a network"),
        ("tcp::10.0.7.0/33:5025", "10.0.7.0/33"),
        ("tcp::10.0.7.1/24:5025", "host bits"),
        ("tcp::bench:scpi", "'scpi' is no port"),
        ("tcp::[bench]:5025", "no host"),
        ("tcp::bench*/24:5025", "does not appear to be"),
        ("tcp::bench-?:5025", "no wildcard"),
        ("tcp::bench-[0-9]:5025", "no host"),
    ],
)
def test_a_pattern_that_cannot_match_what_is_meant_is_refused(
    pattern: str, why: str
) -> None:
    with pytest.raises(ValueError, match=why) as error:
        AddressPattern(pattern)
    assert repr(pattern) in str(error.value)


LETTERS = string.ascii_lowercase + string.digits + "-_"
LABEL = st.text(LETTERS, min_size=1, max_size=8)
GLOB = st.text(LETTERS + "**", min_size=1, max_size=8).filter(str.islower)
HOSTILE = st.text(LETTERS + ".:*[]/@%\u3002\u2024 \n", max_size=20)
PORT = st.integers(1, 65535).map(str)


@st.composite
def patterns(draw: st.DrawFn) -> list[str]:
    """Labels of a host's name, some with `*`, the last one of letters."""
    return [*draw(st.lists(GLOB, max_size=3)), draw(st.sampled_from(["lab", "com"]))]


@given(patterns(), st.data(), PORT)
def test_no_name_pattern_admits_a_host_of_another_shape_or_domain(
    labels: list[str], data: st.DataObject, port: str
) -> None:
    pattern = AddressPattern(f"tcp::{'.'.join(labels)}:{port}")
    fitting = []
    for label in labels:
        pieces = label.split("*")
        filled = pieces[0]
        for piece in pieces[1:]:
            filled += data.draw(st.text(LETTERS, max_size=3)) + piece
        fitting.append(filled)
    own = ".".join(fitting)
    assert pattern.admits(f"tcp::{own}:{port}")
    for host in (
        f"{own}.{data.draw(LABEL)}",
        f"{data.draw(LABEL)}.{own}",
        own + data.draw(st.sampled_from([".", "@x", ":1", "\n", "\u3002x", "/x"])),
        ".".join([*fitting[:-1], f"x{fitting[-1]}"]),
        data.draw(st.ip_addresses(v=4).map(str)),
    ):
        assert not pattern.admits(f"tcp::{host}:{port}"), host


@given(patterns(), HOSTILE)
def test_what_a_name_pattern_admits_has_its_labels_and_its_domain(
    labels: list[str], host: str
) -> None:
    if AddressPattern(f"tcp::{'.'.join(labels)}:1").admits(f"tcp::{host}:1"):
        found = host.split(".")
        assert len(found) == len(labels)
        assert found[-1] == labels[-1]


NETWORKS = st.tuples(st.ip_addresses(), st.integers(0, 32)).map(
    lambda drawn: ipaddress.ip_network(f"{drawn[0]}/{drawn[1]}", strict=False)
)


def written(text: str, version: int) -> str:
    return f"[{text}]" if version == 6 else text


@given(NETWORKS, st.ip_addresses(), HOSTILE)
def test_a_network_admits_exactly_the_addresses_in_it_and_no_name(
    network: ipaddress.IPv4Network | ipaddress.IPv6Network,
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
    name: str,
) -> None:
    pattern = AddressPattern(f"tcp::{written(str(network), network.version)}:1")
    for each in (address, network[0], network[-1]):
        shown = f"tcp::{written(str(each), each.version)}:1"
        assert pattern.admits(shown) is (each in network)
    assert not pattern.admits(f"tcp::{name}x:1")


HOSTS: dict[str, Callable[[str], str]] = {
    "tcp::": lambda address: scpi_endpoint(address)[0],
    "indi::": lambda address: indi_place(address).host,
    "cip::": lambda address: cip_place(address).host,
    "modbus::tcp::": lambda address: modbus_place(address).host,
    "can::usrcanet::": lambda address: usrcanet(parse_address(address).channel)[0],
}
CHANGES = st.lists(
    st.tuples(st.integers(0, 40), st.sampled_from("0179.:*[]/@%x-\u3002 ")), max_size=3
)


def changed(text: str, changes: list[tuple[int, str]]) -> str:
    for place, letter in changes:
        text = text[:place] + letter + text[place:]
    return text


@pytest.mark.parametrize("scheme", HOSTS)
@given(changes=CHANGES, number=st.integers(0, 255))
def test_what_a_bridge_would_connect_to_is_what_the_pattern_admits(
    scheme: str, changes: list[tuple[int, str]], number: int
) -> None:
    network = ipaddress.ip_network("10.0.7.0/24")
    addresses = AddressPattern(f"{scheme}{network}:5025")
    names = AddressPattern(f"{scheme}bench-*.lab:5025")
    for host in (f"10.0.7.{number}", f"bench-{number}.lab"):
        address = changed(f"{scheme}{host}:5025", changes)
        try:
            goal = HOSTS[scheme](address)
        except ValueError:
            continue
        if addresses.admits(address):
            assert ipaddress.ip_address(goal) in network
        if names.admits(address):
            assert goal.startswith("bench-")
            assert goal.endswith(".lab")
            assert goal.count(".") == 1
