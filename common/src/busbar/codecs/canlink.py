"""Requests to the Linux kernel about a CAN interface (rtnetlink), and its answers.

Source: linux/rtnetlink.h, linux/if_link.h, linux/can/netlink.h.
"""

import struct
from collections.abc import Iterator
from typing import Literal, NamedTuple

from busbar.errors import ProtocolError

State = Literal["active", "warning", "passive", "off", "stopped"]
_STATES: tuple[State, ...] = (
    "active",
    "warning",
    "passive",
    "off",
    "stopped",
    "stopped",
)

_ERROR = 2
_NEWLINK = 16
_GETLINK = 18
_REQUEST = 1
_ACKNOWLEDGE = 4
_HEAD = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_INFO = struct.Struct("=BxHiII")  # family, type, index, flags, change
_ATTRIBUTE = struct.Struct("=HH")
_NUMBER = struct.Struct("=I")
_COUNTERS = struct.Struct("=HH")
_MODES = struct.Struct("=II")  # mask, flags
_UP = 1
_LISTEN_ONLY = 0x02
# attributes of a link
_IFNAME = 3
_LINKINFO = 18
# of its LINKINFO
_INFO_KIND = 1
_INFO_DATA = 2
# of INFO_DATA of a CAN interface
_BITTIMING = 1
_STATE = 4
_CTRLMODE = 5
_RESTART_MS = 6
_RESTART = 7
_BERR_COUNTER = 8
_DATA_BITTIMING = 9


class Interface(NamedTuple):
    """A CAN interface; None where its driver does not tell (a virtual one)."""

    number: int  # the kernel's
    up: bool
    kind: str | None = None  # can, vcan
    state: State | None = None
    bitrate: int | None = None  # bit/s
    data_bitrate: int | None = None  # bit/s
    restart: float | None = None  # s after bus-off; 0 = never
    listen_only: bool | None = None
    tx_errors: int | None = None
    rx_errors: int | None = None


def request(name: str) -> bytes:
    """Return the message that asks for an interface by its name."""
    return _message(_GETLINK, _REQUEST, 0, _attribute(_IFNAME, name.encode() + b"\0"))


def restart(number: int) -> bytes:
    """Return the message that restarts a controller that is bus-off.

    The kernel wants CAP_NET_ADMIN for it.
    """
    data = _attribute(_INFO_DATA, _attribute(_RESTART, _NUMBER.pack(1)))
    about = _attribute(_LINKINFO, _attribute(_INFO_KIND, b"can\0") + data)
    return _message(_NEWLINK, _REQUEST | _ACKNOWLEDGE, number, about)


def parse(answer: bytes) -> Interface:
    """Return the interface of an answer; raise OSError as the kernel, ProtocolError."""
    try:
        _check(answer, _NEWLINK)
        _, _, index, flags, _ = _INFO.unpack_from(answer, _HEAD.size)
        attributes = dict(_attributes(answer[_HEAD.size + _INFO.size :]))
        return _interface(Interface(index, bool(flags & _UP)), attributes)
    except struct.error as error:
        raise ProtocolError(f"rtnetlink: a short answer: {error}") from error


def check_acknowledged(answer: bytes) -> None:
    """Raise OSError if the kernel has refused, ProtocolError for another answer."""
    try:
        _check(answer, _ERROR)
    except struct.error as error:
        raise ProtocolError(f"rtnetlink: a short answer: {error}") from error


def _check(answer: bytes, expected: int) -> None:
    """Raise OSError for an error, ProtocolError for a message of another type.

    An acknowledgement is an error with the code 0.
    """
    kind: int = _HEAD.unpack_from(answer)[1]
    if kind == _ERROR:
        code: int = -struct.unpack_from("=i", answer, _HEAD.size)[0]
        if code:
            raise OSError(code, "the kernel refuses")
    if kind != expected:
        raise ProtocolError(f"rtnetlink answers with message {kind}")


def _interface(found: Interface, attributes: dict[int, bytes]) -> Interface:
    """Return an interface with what its attributes say."""
    about = dict(_attributes(attributes.get(_LINKINFO, b"")))
    if _INFO_KIND not in about:
        return found
    kind = about[_INFO_KIND].rstrip(b"\0").decode(errors="replace")
    if kind != "can":
        return found._replace(kind=kind)
    data = dict(_attributes(about.get(_INFO_DATA, b"")))
    tx_errors, rx_errors = _counters(data.get(_BERR_COUNTER))
    return found._replace(
        kind=kind,
        state=_state(data.get(_STATE)),
        bitrate=_number(data.get(_BITTIMING)) or None,
        data_bitrate=_number(data.get(_DATA_BITTIMING)) or None,
        restart=_seconds(data.get(_RESTART_MS)),
        listen_only=_listen_only(data.get(_CTRLMODE)),
        tx_errors=tx_errors,
        rx_errors=rx_errors,
    )


def _state(data: bytes | None) -> State | None:
    state = _number(data)
    if state is None or state >= len(_STATES):
        return None
    return _STATES[state]


def _seconds(data: bytes | None) -> float | None:
    milliseconds = _number(data)
    return None if milliseconds is None else milliseconds / 1000


def _listen_only(data: bytes | None) -> bool | None:
    if data is None:
        return None
    _, modes = _MODES.unpack_from(data)
    return bool(modes & _LISTEN_ONLY)


def _counters(data: bytes | None) -> tuple[int | None, int | None]:
    if data is None:
        return None, None
    sending, receiving = _COUNTERS.unpack_from(data)
    return sending, receiving


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    start = 0
    while len(data) - start >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(data, start)
        if length < _ATTRIBUTE.size:
            raise ProtocolError(f"rtnetlink: an attribute of {length} bytes")
        yield kind & 0x3FFF, data[start + _ATTRIBUTE.size : start + length]
        start += _aligned(length)


def _attribute(kind: int, data: bytes) -> bytes:
    length = _ATTRIBUTE.size + len(data)
    return (_ATTRIBUTE.pack(length, kind) + data).ljust(_aligned(length), b"\0")


def _message(kind: int, flags: int, number: int, attributes: bytes) -> bytes:
    body = _INFO.pack(0, 0, number, 0, 0) + attributes
    return _HEAD.pack(_HEAD.size + len(body), kind, flags, 1, 0) + body


def _number(data: bytes | None) -> int | None:
    return None if data is None else int(_NUMBER.unpack_from(data)[0])


def _aligned(length: int) -> int:
    return (length + 3) & ~3
