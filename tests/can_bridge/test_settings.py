"""The configuration.

Addresses, what is refused and how it is said, databases that cannot be read.
"""

import shutil

import pytest

from busbar.config import loader
from busbar.errors import ConfigError
from busbar.runtime.service import plan, run
from busbar.testing.fakes import until
from can_bridge import database
from can_bridge.address import CanAddress, parse_address
from can_bridge.bridge import SERVICE
from can_bridge.settings import Config
from tests.can_bridge.peer import EXAMPLE, configuration
from tests.running import running

ADDRESSES = {
    "can::socket::can0": CanAddress("socket", "can0"),
    "can::socketcan::vcan0": CanAddress("socket", "vcan0"),
    "can::slcan::/dev/ttyACM0::500000": CanAddress("slcan", "/dev/ttyACM0", 500000),
    "can::pcan::usb1::125000": CanAddress("pcan", "PCAN_USBBUS1", 125000),
    "can::pcan::PCAN_PCIBUS2::125000": CanAddress("pcan", "PCAN_PCIBUS2", 125000),
    "can::usrcanet::gateway:20001": CanAddress("usrcanet", "gateway:20001"),
    "can::usrcanet::gateway::20001": CanAddress("usrcanet", "gateway:20001"),
    "can::loopback": CanAddress("loopback", ""),
    "can::virtual::name": CanAddress("virtual", "name"),
    "can::kvaser::0::500000": CanAddress("kvaser", "0", 500000),
}


@pytest.mark.parametrize("address", ADDRESSES)
def test_an_address(address):
    assert parse_address(address) == ADDRESSES[address]


SIGNAL, SCALE = (
    "{name: a, start: 0, length: 8}",
    ("{name: a, start: 0, length: 8, scale: 0}"),
)
NAMES = "{name: a, start: 0, length: 8, choices: {0: idle, 1: idle}}"
FLOAT, READING = (
    ("{name: a, start: 0, length: 8, type: float}"),
    "{group: 0, reading: 0, name: t,",
)
WRONG = [
    ("address: 'can0'", "is not can::socket::can0"),
    ("address: 'can::'", "is not can::socket::can0"),
    ("address: 'can::socket'", "no channel"),
    ("address: 'can::loopback::x'", "there is one loopback"),
    ("address: 'can::socket::an interface'", "no name of a network interface"),
    ("address: 'can::slcan::/dev/x::fast'", "bit rate 'fast' is not 1000 to 20000000"),
    ("address: 'can::slcan::/dev/x::123456'", "an slcan adapter has no 123456 bit/s"),
    ("address: 'can::usrcanet::host:0'", "'host:0' is not HOST:PORT"),
    (
        "address: 'can::slcan::/dev/x::500000', bitrate: 250000",
        "250000, and the address says 500000",
    ),
    ("address: 'can::usrcanet::h:1', fd: true", "no CAN FD"),
    ("address: 'can::loopback', data_bitrate: 2000000", "only with fd: true"),
    (
        ("address: 'can::loopback', frames: {publish: sometimes}"),
        "batched, single, none|batched",
    ),
    ("address: 'can::loopback', frames: {filters: [{id: 0x20000000}]}", "id"),
    (
        ("address: 'can::loopback', frames: {groups: [{name: a}, {name: a}]}"),
        "groups: two are named 'a'",
    ),
    ("address: 'can::loopback', protocols: [canopen]", "gct"),
    (
        ("address: 'can::loopback', messages: [{name: M, id: 0x800}]"),
        "0x800 has more than 11 bits",
    ),
    (
        ("address: 'can::loopback', messages: [{name: M, id: 1, length: 9}]"),
        "length: 9 is not one of",
    ),
    ("address: 'can::loopback', name: bridge", "bridge"),
    (
        (
            "address: 'can::loopback', frames: {filters: "
            "[{id: 0x1000, extended: false}]}"
        ),
        "0x1000 has more than 11 bits",
    ),
    (
        ("address: 'can::loopback', messages: [{name: M, id: 1}, {name: M, id: 2}]"),
        "messages: two are named 'M'",
    ),
    ("address: 'can::loopback', messages: [{name: '', id: 1}]", "name"),
    (
        (
            f"address: 'can::loopback', messages: "
            f"[{{name: M, id: 1, signals: [{SIGNAL}, {SIGNAL}]}}]"
        ),
        "two are named 'a'",
    ),
    (
        (
            f"address: 'can::loopback', messages: "
            f"[{{name: M, id: 1, signals: [{SCALE}]}}]"
        ),
        "scale: 0",
    ),
    (
        (
            f"address: 'can::loopback', messages: "
            f"[{{name: M, id: 1, signals: [{NAMES}]}}]"
        ),
        "two numbers have the same name",
    ),
    (
        (
            f"address: 'can::loopback', messages: "
            f"[{{name: M, id: 1, signals: [{FLOAT}]}}]"
        ),
        "16, 32, 64 bits, not 8",
    ),
    *(
        (
            (
                f"address: 'can::loopback', gct: "
                f"{{readings: [{READING} format: {form}}}]}}"
            ),
            why,
        )
        for form, why in {
            "x": "not one number",
            "9xq": "not one number",
            "4s": "not one number",
            "<2f": "not one number",
            "'999s'": "not one number",
            "zz": "bad char in struct format",
        }.items()
    ),
    (
        (
            f"address: 'can::loopback', gct: {{readings: [{READING} format: f}}, "
            f"{READING} "
            f"format: f}}]}}"
        ),
        "two are named",
    ),
    (
        (
            "address: 'can::loopback', gct: {readings: [{group: 0, reading: 0, name: "
            "product, format: f}]}"
        ),
        "product id",
    ),
]


@pytest.mark.parametrize(("keys", "why"), WRONG)
def test_what_is_refused_and_why(keys, why):
    name = "" if "name: bridge" in keys else "name: can0, "
    with pytest.raises(ConfigError) as caught:
        loader.parse(
            (f"bridge: {{name: truck}}\ndevices:\n  - {{{name}{keys}}}\n"),
            Config,
            {},
            "truck.yaml",
        )
    assert str(caught.value).startswith("truck.yaml:3:")
    assert any(each in str(caught.value) for each in why.split("|")), caught.value


def test_two_devices_on_one_bus():
    text = configuration("can::socket::can0") + (
        "  - {name: again, address: 'can::socket::can0'}\n"
    )
    with pytest.raises(ConfigError, match="'can0' and 'again' have one address"):
        loader.parse(text, Config, {})


def test_an_interface_that_nobody_drives():
    with pytest.raises(
        ConfigError,
        match=(
            r"there is no interface 'carrier_pigeon'; "
            r"allowed: .*kvaser.*slcan.*socket"
        ),
    ):
        plan(
            SERVICE,
            loader.parse(configuration("can::carrier_pigeon::1"), Config, {}),
            None,
            {},
        )


def test_the_shape_that_is_documented():
    text = """
bridge: {name: truck}
devices:
  - name: can0
    address: can::socket::can0
    fd: false
    frames:
      publish: batched
      flush: 0.02
      encoding: msgpack
      filters: [{id: 0x100, mask: 0x700}]
    database: vehicle.dbc
    protocols: [gct]
"""
    (device,) = loader.parse(text, Config, {}).devices
    assert device.frames.filters[0].read == (0x100, 0x700, False)
    assert device.databases == ("vehicle.dbc",)


def test_a_database_is_looked_for_beside_the_configuration(tmp_path):
    shutil.copy(EXAMPLE, tmp_path / "vehicle.dbc")
    (tmp_path / "truck.yaml").write_text(
        configuration(more="    database: [vehicle.dbc]\n")
    )
    (device,) = loader.load(tmp_path / "truck.yaml", Config, {}).devices
    assert len(database.load(device, device.databases).entries) == 4


BROKEN = [
    (
        "a.dbc",
        ('VERSION ""\nBU_: A\nBO_ 512 Cells 4 A\n'),
        ":3:15: cannot read the database",
    ),
    (
        "a.kcd",
        "<NetworkDefinition>\n<x",
        (":2:0: cannot read the database: unclosed token"),
    ),
    ("a.sym", "FormatVersion=6.0\n{{", ":2:1: cannot read the database"),
    ("a.arxml", "<AUTOSAR>\n<x", ":2:0: cannot read the database"),
    ("a.txt", "", ": a database is one of .dbc, .kcd, .sym, .arxml"),
    (
        "a.dbc",
        'VERSION ""\nBU_: A\nBO_ 1 M: 1 A\n SG_ a : 4|8@1+ (1,0) [0|0] "" A\n',
        "signal a does not fit in message M",
    ),
    ("none.dbc", None, ": cannot read the database: No such file"),
]


@pytest.mark.parametrize(("name", "text", "why"), BROKEN)
def test_a_database_that_cannot_be_read_names_file_and_line(tmp_path, name, text, why):
    file = tmp_path / name
    if text is not None:
        file.write_text(text)
    (device,) = loader.parse(
        configuration(more=f"    database: {file}\n"), Config, {}
    ).devices
    with pytest.raises(ConfigError) as caught:
        database.load(device, device.databases)
    assert str(caught.value).startswith(str(file))
    assert why in str(caught.value)


def test_one_message_with_two_identifiers_in_two_databases(tmp_path):
    other = tmp_path / "other.dbc"
    other.write_text(EXAMPLE.read_text().replace("BO_ 528 Lamp", "BO_ 529 Lamp"))
    (device,) = loader.parse(
        configuration(more=f"    database: [{EXAMPLE}, {other}]\n"), Config, {}
    ).devices
    with pytest.raises(
        ConfigError, match=("'Lamp' has the id 0x211 here, 0x210 elsewhere")
    ):
        database.load(device, device.databases)
    assert len(database.load(device, [str(EXAMPLE), str(EXAMPLE)]).entries) == 4


async def test_a_broken_database_costs_its_bus_only_and_is_fine_once_mended(tmp_path):
    file = tmp_path / "vehicle.dbc"
    file.write_text("nonsense")
    more = f"    database: {file}\n  - {{name: other, address: 'can::virtual::fine'}}\n"
    async with running(SERVICE, configuration(more=more)) as bus:
        await bus.status("other", "online")
        await until(
            lambda: (
                f"{file}:1:1: "
                in (bus.retained("can0", "status")["reason"] or {})["message"]
            )
        )
        shutil.copy(EXAMPLE, file)
        await bus.call("can0", "reconnect")
        await bus.status("can0", "online")
        await bus.clock.advance(1.2)
        assert "Lamp/On" in (await bus.info("can0", bool))["properties"]


async def test_a_database_that_has_changed_is_taken_by_a_reload_of_the_bridge(tmp_path):
    file = tmp_path / "vehicle.dbc"
    shutil.copy(EXAMPLE, file)
    async with running(SERVICE, configuration(more=f"    database: {file}\n")) as bus:
        await bus.status("can0", "online")
        assert (await bus.call("bridge", "reload"))["result"] == {
            "stopped": [],
            "started": [],
        }
        file.write_text(EXAMPLE.read_text().replace("Brightness", "Level"))
        assert (await bus.call("bridge", "reload"))["result"] == {
            "stopped": ["can0"],
            "started": ["can0"],
        }
        await bus.status("can0", "online")
        assert "Lamp/Level" in (await bus.info("can0", bool))["properties"]


def test_a_check_finds_what_is_wrong_with_a_database(tmp_path, capsys):
    (tmp_path / "vehicle.dbc").write_text("nonsense")
    file = tmp_path / "truck.yaml"
    file.write_text(configuration(more="    database: vehicle.dbc\n"))
    assert run(SERVICE, ["--config", str(file), "--check"]) == 78
    assert f"{tmp_path / 'vehicle.dbc'}:1:1: " in capsys.readouterr().err


async def test_a_bus_can_be_opened_at_run_time_without_files():
    text = "bridge: {name: truck, allow_open: ['can::virtual::*']}\n"
    async with running(SERVICE, text) as bus:
        opened = await bus.call(
            "bridge", "open", {"name": "more", "address": "can::virtual::opened"}
        )
        assert opened["ok"], opened
        await bus.status("more", "online")
        wrong = {
            "name": "m2",
            "address": "can::virtual::opened",
            "database": "/etc/passwd",
        }
        assert (await bus.call("bridge", "open", wrong))["error"][
            "code"
        ] == "bad_request"


async def test_an_interface_of_the_kernel_that_is_not_there():
    async with running(SERVICE, configuration("can::socket::nocan7")) as bus:
        await until(
            lambda: (
                "there is no interface nocan7; of CAN there are: "
                in (bus.retained("can0", "status")["reason"] or {})["message"]
            )
        )


def test_a_database_that_is_too_large(monkeypatch):
    monkeypatch.setattr(database, "FILE_LIMIT", 100)
    (device,) = loader.parse(
        configuration(more=f"    database: {EXAMPLE}\n"), Config, {}
    ).devices
    with pytest.raises(
        ConfigError,
        match=(
            r"example\.dbc: the file is too large; "
            r"allowed: 100 bytes"
        ),
    ):
        database.load(device, device.databases)
