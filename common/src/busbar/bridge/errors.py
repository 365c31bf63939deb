"""The errors that a bridge raises; each class is the code of a command's outcome."""

from busbar.errors import (
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
from busbar.link.session import leaf

__all__ = [
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
    "leaf",
]
