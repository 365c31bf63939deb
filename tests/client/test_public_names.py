"""What the client offers, so that nothing appears or disappears unnoticed, and that all
of it is documented."""

import inspect
from pathlib import Path
from typing import Any

import pytest

import busbar
import busbar.client
from busbar.client import Client, DeviceView, Stream
from busbar.errors import BY_CODE

NAMES = {
    "BadRequest",
    "Blob",
    "BusbarError",
    "Cancelled",
    "Change",
    "Client",
    "ConfigError",
    "DeviceView",
    "DeviceRefused",
    "DeviceTimeout",
    "Duplicate",
    "Endpoint",
    "Event",
    "Expired",
    "Forbidden",
    "Gap",
    "InternalError",
    "LeaseLost",
    "LinkLost",
    "Locked",
    "NotConnected",
    "Note",
    "Offline",
    "OutOfRange",
    "Overloaded",
    "Presence",
    "ProtocolError",
    "ReadOnly",
    "Reading",
    "RetainedCommand",
    "Snapshot",
    "Stale",
    "Stream",
    "TooLarge",
    "UnknownTarget",
    "default_url",
    "set_default",
}
MEMBERS: dict[type, set[str]] = {
    Client: {
        "blobs",
        "close",
        "device",
        "devices",
        "events",
        "incomplete",
        "overtaken",
        "report",
        "retained",
        "run",
        "save_blobs",
        "snapshot",
        "stream",
        "subscribe",
        "wait_closed",
        "wait_online",
        "watch_devices",
    },
    DeviceView: {
        "blobs",
        "call",
        "events",
        "info",
        "lock",
        "locked",
        "missed",
        "reading",
        "report",
        "set",
        "snapshot",
        "stale",
        "state",
        "subscribe",
        "time",
        "wait_online",
        "watch",
    },
    Stream: {"close", "dropped"},
}
FIELDS = {
    Client: {"endpoint", "gaps", "messages", "name", "notes", "root"},
    DeviceView: {"lock_time", "messages", "name", "notes"},
}
TUPLES = {
    "Change": ("device", "path", "value", "time", "old", "stale"),
    "Reading": ("value", "time", "stale"),
    "Event": ("device", "name", "time", "fields", "seq"),
    "Blob": ("device", "name", "data", "content_type", "time"),
    "Presence": ("device", "state", "reason"),
    "Gap": ("device", "channel", "missed", "reason"),
    "Note": ("time", "level", "text", "device"),
}


def public(of: type) -> dict[str, Any]:
    return {
        name: member for name, member in vars(of).items() if not name.startswith("_")
    }


def test_the_names_of_the_package_are_these():
    assert set(busbar.client.__all__) == NAMES
    assert sorted(busbar.client.__all__, key=str.lower) == sorted(NAMES, key=str.lower)
    assert all(hasattr(busbar.client, name) for name in NAMES)


def test_every_error_of_the_contract_is_among_them():
    assert {error.__name__ for error in BY_CODE.values()} <= NAMES


@pytest.mark.parametrize("of", MEMBERS, ids=lambda of: of.__name__)
def test_the_members_of_a_class_are_these(of: type):
    assert public(of).keys() == MEMBERS[of]


@pytest.mark.parametrize("of", FIELDS, ids=lambda of: of.__name__)
def test_the_fields_of_a_class_are_these_and_each_says_what_it_is(of: type):
    source = inspect.getsource(of.__init__)
    fields = {
        name.split()[0]
        for name in source.split("self.")[1:]
        if not name.startswith("_")
    }
    fields = {name.rstrip(":,)") for name in fields}
    assert fields == FIELDS[of]


@pytest.mark.parametrize("name", TUPLES)
def test_what_is_handed_out_has_these_fields(name: str):
    assert getattr(busbar.client, name)._fields == TUPLES[name]


@pytest.mark.parametrize(
    "name", sorted(NAMES - {error.__name__ for error in BY_CODE.values()})
)
def test_every_public_name_is_documented(name: str):
    thing = getattr(busbar.client, name)
    assert inspect.getdoc(thing), name
    assert not (inspect.getdoc(thing) or "").startswith(f"{name}("), (
        "only what NamedTuple makes"
    )


@pytest.mark.parametrize(
    ("of", "name"),
    [(of, name) for of, names in MEMBERS.items() for name in sorted(names)],
)
def test_every_public_member_is_documented(of: type, name: str):
    assert inspect.getdoc(public(of)[name]), name


def test_the_package_says_that_it_is_typed():
    assert (
        (Path(busbar.__file__ or "").parent / "py.typed").is_file()
        if busbar.__file__
        else True
    )
    assert (Path(inspect.getfile(busbar.client)).parents[1] / "py.typed").is_file()
