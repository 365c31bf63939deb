"""The subscribe-style client for consumers.

`async with Client("mqtt://127.0.0.1") as bus: ...`; see the README.
"""

from busbar.client.client import Client, default_url, set_default
from busbar.client.device import DeviceView
from busbar.client.queues import Stream
from busbar.client.types import (
    Blob,
    Change,
    Event,
    Gap,
    LeaseLost,
    NotConnected,
    Note,
    Presence,
    Reading,
    Snapshot,
    Stale,
)
from busbar.errors import (
    BadRequest,
    BusbarError,
    Cancelled,
    ConfigError,
    DeviceRefused,
    DeviceTimeout,
    Duplicate,
    Expired,
    Forbidden,
    InternalError,
    LinkLost,
    Locked,
    Offline,
    OutOfRange,
    Overloaded,
    ProtocolError,
    ReadOnly,
    RetainedCommand,
    TooLarge,
    UnknownTarget,
)
from busbar.net.endpoint import Endpoint

__all__ = [
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
]
