"""Exit codes of `busbar`: one for each answer to "who must act now?"."""

from collections.abc import Mapping

from busbar.cli.hints import hint
from busbar.client import LeaseLost, NotConnected, Stale
from busbar.errors import BusbarError, ConfigError
from busbar.mqtt.reconnect import BrokerLost

DONE, BUG, USAGE, REFUSED, BUSY, OFFLINE, BROKER, FOUND, INCOMPLETE = range(9)
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
    INCOMPLETE: (
        "incomplete: not all that the broker retains had come in time (--timeout); "
        "what was printed is a part"
    ),
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


class Incomplete(Exception):
    """Not all that the broker retains had come in time; the message says what not."""

    def __init__(self, missing: str) -> None:
        super().__init__(f"incomplete: {missing}")


Expected = BusbarError | Stale | LeaseLost | BrokerLost | ConfigError | Incomplete
EXPECTED = (BusbarError, Stale, LeaseLost, BrokerLost, ConfigError, Incomplete)

_CODES: Mapping[type[Exception], tuple[int, str]] = {
    Stale: (OFFLINE, "stale"),
    LeaseLost: (BUSY, "locked"),
    BrokerLost: (BROKER, "broker"),
    Incomplete: (INCOMPLETE, "incomplete"),
    ConfigError: (USAGE, "config"),
}


def exit_code(error: Expected) -> int:
    """Return the exit code of an expected error."""
    if isinstance(error, NotConnected):
        return BROKER
    if isinstance(error, BusbarError):
        return BY_ERROR[error.code]
    return _CODES[type(error)][0]


def said(error: Expected) -> str:
    """Return the message of an expected error, with what to do next if we know it."""
    message = str(error)
    if exit_code(error) == BROKER:
        advice = hint(message)
        if advice:
            return f"{message}; {advice}"
    return message


def described(error: Expected) -> dict[str, object]:
    """Return an expected error as `--json` shows it."""
    if isinstance(error, BusbarError):
        about = {
            "code": error.code,
            "message": said(error),
            "retryable": error.retryable,
            "detail": error.detail,
        }
    else:
        about = {"code": _CODES[type(error)][1], "message": said(error)}
    return {"ok": False, "error": about, "exit": exit_code(error)}


def unusable(message: str) -> dict[str, object]:
    """Return what is wrong with a command line as `--json` shows it."""
    return {"ok": False, "error": {"code": "usage", "message": message}, "exit": USAGE}
