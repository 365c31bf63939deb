"""The library's face for whoever writes a bridge.

Links, sessions, descriptions, the service that runs them.

Beside it: `busbar.bridge.config` and `.values` for a service's settings, `.streams` and
`.errors` for its device side.
"""

from busbar.bridge.errors import (
    BadRequest,
    BusbarError,
    Cancelled,
    ConfigError,
    DeviceRefused,
    DeviceTimeout,
    Forbidden,
    LinkLost,
    Locked,
    Offline,
    OutOfRange,
    Overloaded,
    ProtocolError,
    ReadOnly,
    Retry,
    TooLarge,
    UnknownTarget,
)
from busbar.contract.describe import (
    Blob,
    BlobValue,
    Command,
    Description,
    Event,
    NoArguments,
    Property,
    by_path,
    command,
    commands,
)
from busbar.contract.names import collisions, level
from busbar.link.arbiter import Turn
from busbar.link.session import Link, Outlet, Port, Session, leaf
from busbar.publish.blobs import BlobOutcome
from busbar.runtime.bridge_device import Found
from busbar.runtime.service import Service, run

__all__ = [
    "BadRequest",
    "Blob",
    "BlobOutcome",
    "BlobValue",
    "BusbarError",
    "Cancelled",
    "Command",
    "ConfigError",
    "Description",
    "DeviceRefused",
    "DeviceTimeout",
    "Event",
    "Forbidden",
    "Found",
    "Link",
    "LinkLost",
    "Locked",
    "NoArguments",
    "Offline",
    "OutOfRange",
    "Outlet",
    "Overloaded",
    "Port",
    "Property",
    "ProtocolError",
    "ReadOnly",
    "Retry",
    "Service",
    "Session",
    "TooLarge",
    "Turn",
    "UnknownTarget",
    "by_path",
    "collisions",
    "command",
    "commands",
    "leaf",
    "level",
    "run",
]
