"""Every error of Busbar on one page: who must act, its code, whether to try again.

The sender of the command    BadRequest UnknownTarget ReadOnly OutOfRange TooLarge
                             RetainedCommand Forbidden Duplicate
Nobody, try again later      Locked Overloaded Expired Offline DeviceTimeout Cancelled
                             LinkLost
The person at the device     DeviceRefused ProtocolError
Whoever runs the bridge      ConfigError
We                           any other exception: it is `internal` and a bug

Source: docs/contract.md, 3.5.
"""

from typing import Any, ClassVar, NamedTuple


class Retry(NamedTuple):
    """How soon a link is tried again after an error.

    After `first` seconds, doubling, never later than `most`.

    `firm`: also when somebody sends a command meanwhile; `connect`, `reconnect` and
    `reload` try at once. `soon`: the other side says that it will be there in a moment;
    the device is `connecting` and commands wait.
    """

    first: float
    most: float
    firm: bool = False
    soon: bool = False


class BusbarError(Exception):
    """Base of all errors with a code on the wire.

    `detail` holds JSON-ready facts for programs.
    """

    code: ClassVar[str] = "internal"
    retryable: ClassVar[bool] = False
    # of a link that ended so; None: as links usually are
    retry: ClassVar[Retry | None] = None

    def __init__(self, message: str, **detail: Any) -> None:
        super().__init__(message)
        # a device may send what is no text
        self.message = message.encode(errors="backslashreplace").decode()
        self.detail = detail


class BadRequest(BusbarError):
    code = "bad_request"


class UnknownTarget(BusbarError):
    code = "unknown"


class ReadOnly(BusbarError):
    code = "read_only"


class OutOfRange(BusbarError):
    code = "out_of_range"


class TooLarge(BusbarError):
    code = "too_large"


class RetainedCommand(BusbarError):
    code = "retained"


class Forbidden(BusbarError):
    code = "forbidden"


class Locked(BusbarError):
    code = "locked"
    retryable = True


class Overloaded(BusbarError):
    code = "overloaded"
    retryable = True


class Expired(BusbarError):
    code = "expired"
    retryable = True


class Duplicate(BusbarError):
    code = "duplicate"


class Offline(BusbarError):
    code = "offline"
    retryable = True


class DeviceTimeout(BusbarError):
    """The device did not answer in time; the link itself may be fine."""

    code = "timeout"
    retryable = True


class Cancelled(BusbarError):
    """The command was cancelled by its sender, by a safe command, or by a stop.

    Not asyncio's CancelledError.
    """

    code = "cancelled"
    retryable = True


class LinkLost(BusbarError):
    """The link to the device broke; a command that ran may have been executed."""

    code = "link"
    retryable = True


class ProtocolError(BusbarError):
    """The device sent bytes that its protocol does not allow."""

    code = "protocol"


class DeviceRefused(BusbarError):
    """The device understood and said no; its own code and text are in `detail`."""

    code = "device"


class InternalError(BusbarError):
    """Our bug; the message names the exception, the log has the traceback."""


class ConfigError(Exception):
    """The configuration cannot be used.

    The message names file, line, column, key and what is allowed.
    """


_ALL: tuple[type[BusbarError], ...] = (
    BadRequest,
    UnknownTarget,
    ReadOnly,
    OutOfRange,
    TooLarge,
    RetainedCommand,
    Forbidden,
    Locked,
    Overloaded,
    Expired,
    Duplicate,
    Offline,
    DeviceTimeout,
    Cancelled,
    LinkLost,
    ProtocolError,
    DeviceRefused,
    InternalError,
)
BY_CODE = {error.code: error for error in _ALL}
