"""The face for whoever writes a bridge: nothing appears or disappears unnoticed."""

import importlib
import inspect
from pathlib import Path

import pytest

from busbar import bridge
from busbar.bridge import config, errors, streams, values

ROOT = Path(__file__).parents[2]
ERRORS = {
    "BadRequest",
    "BusbarError",
    "Cancelled",
    "ConfigError",
    "DeviceRefused",
    "DeviceTimeout",
    "Forbidden",
    "LinkLost",
    "Locked",
    "Offline",
    "OutOfRange",
    "Overloaded",
    "ProtocolError",
    "ReadOnly",
    "Retry",
    "TooLarge",
    "UnknownTarget",
}
NAMES = {
    bridge: ERRORS
    | {
        "Blob",
        "BlobOutcome",
        "BlobValue",
        "Command",
        "Description",
        "Event",
        "Found",
        "Link",
        "NoArguments",
        "Outlet",
        "Port",
        "Property",
        "Service",
        "Session",
        "Turn",
        "by_path",
        "collisions",
        "command",
        "commands",
        "leaf",
        "level",
        "run",
    },
    errors: ERRORS | {"leaf"},
    config: {
        "Config",
        "Fingerprint",
        "Labels",
        "Name",
        "Reported",
        "Size",
        "check_choices",
        "check_names",
        "joined",
        "load",
        "secret",
    },
    values: {
        "Encoding",
        "Reader",
        "choice",
        "from_text",
        "integer",
        "number",
        "reading",
        "to_text",
    },
    streams: {
        "TRACE",
        "ByteStream",
        "Debt",
        "LineErrors",
        "Pins",
        "SerialStream",
        "Trust",
        "open_serial",
        "open_tcp",
        "open_udp",
        "open_unix",
        "readable",
        "server_context",
        "trust",
    },
}


@pytest.mark.parametrize("module", NAMES, ids=lambda module: module.__name__)
def test_the_face_has_these_names(module) -> None:
    assert set(module.__all__) == NAMES[module]
    assert len(module.__all__) == len(NAMES[module])
    for name in module.__all__:
        assert hasattr(module, name)


def test_what_the_face_offers_is_documented() -> None:
    for name in bridge.__all__:
        each = getattr(bridge, name)
        if inspect.isclass(each) and issubclass(each, Exception):
            continue  # the page of errors documents them together
        assert inspect.getdoc(each), name


def test_every_service_brings_its_declaration() -> None:
    for folder in ROOT.glob("services/*/src/*_bridge"):
        service = importlib.import_module(f"{folder.name}.bridge").SERVICE
        assert isinstance(service, bridge.Service)
        assert folder.name == f"{service.kind}_bridge"
