"""Exit codes of `busbar`: one for each answer to "who must act now?"."""

from collections.abc import Mapping

from busbar.client import LeaseLost, NotConnected, Stale
from busbar.errors import BusbarError, ConfigError
from busbar.mqtt.reconnect import BrokerLost

DONE, BUG, USAGE, REFUSED, BUSY, OFFLINE, BROKER, FOUND = range(8)
# 128 + SIGINT, SIGPIPE, SIGTERM, as shells have it
INTERRUPTED = 130
PIPE = 141
TERMINATED = 143

MEANINGS: Mapping[int, str] = {
    DONE: "done",
    BUG: "a bug, ours or the bridge's",
    USAGE: "wrong usage: options, names, files, the configuration",
    REFUSED: (
        "refused by the description, the bridge or the device; repeating it changes "
        "nothing"
    ),
    BUSY: "not now: locked, overloaded, expired, cancelled",
    OFFLINE: (
        "the device did not answer: offline, timeout, a broken link, a stale value"
    ),
    BROKER: "no connection to the broker",
    FOUND: "a check found problems (doctor, conformance, config check)",
    INTERRUPTED: "ended by Ctrl-C",
}

BY_ERROR: Mapping[str, int] = {
    "bad_request": REFUSED,
    "unknown": REFUSED,
    "read_only": REFUSED,
    "out_of_range": REFUSED,
    "too_large": REFUSED,
    "retained": REFUSED,
    "forbidden": REFUSED,
    "duplicate": REFUSED,
    "device": REFUSED,
    "protocol": REFUSED,
    "locked": BUSY,
    "overloaded": BUSY,
    "expired": BUSY,
    "cancelled": BUSY,
    "offline": OFFLINE,
    "timeout": OFFLINE,
    "link": OFFLINE,
    "internal": BUG,
}

Expected = BusbarError | Stale | LeaseLost | BrokerLost | ConfigError
EXPECTED = (BusbarError, Stale, LeaseLost, BrokerLost, ConfigError)

_CODES: Mapping[type[Exception], tuple[int, str]] = {
    Stale: (OFFLINE, "stale"),
    LeaseLost: (BUSY, "locked"),
    BrokerLost: (BROKER, "broker"),
    ConfigError: (USAGE, "config"),
}


def exit_code(error: Expected) -> int:
    """Return the exit code of an expected error."""
    if isinstance(error, NotConnected):
        return BROKER
    if isinstance(error, BusbarError):
        return BY_ERROR[error.code]
    return _CODES[type(error)][0]


def described(error: Expected) -> dict[str, object]:
    """Return an expected error as `--json` shows it."""
    if isinstance(error, BusbarError):
        about = {
            "code": error.code,
            "message": error.message,
            "retryable": error.retryable,
            "detail": error.detail,
        }
    else:
        about = {"code": _CODES[type(error)][1], "message": str(error)}
    return {"ok": False, "error": about, "exit": exit_code(error)}


def unusable(message: str) -> dict[str, object]:
    """Return what is wrong with a command line as `--json` shows it."""
    return {"ok": False, "error": {"code": "usage", "message": message}, "exit": USAGE}
