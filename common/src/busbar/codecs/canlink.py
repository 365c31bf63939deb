"""What the Linux kernel tells of a CAN interface over rtnetlink.

The request, and its answer. No I/O.

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

_NEWLINK, _GETLINK, _ERROR = 16, 18, 2
_REQUEST, _ACKNOWLEDGE = 1, 4
_HEAD = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_INFO = struct.Struct("=BxHiII")  # family, type, index, flags, change
_ATTRIBUTE = struct.Struct("=HH")
_UP = 1
_IFNAME, _LINKINFO, _INFO_KIND, _INFO_DATA = 3, 18, 1, 2
_BITTIMING, _STATE, _CTRLMODE, _RESTART_MS, _RESTART, _BERR_COUNTER, _DATA_BITTIMING = (
    1,
    4,
    5,
    6,
    7,
    8,
    9,
)
_LISTEN_ONLY = 0x02


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
    """Return the message that starts the controller of an interface again when it is off; it needs CAP_NET_ADMIN."""
    data = _attribute(_INFO_DATA, _attribute(_RESTART, struct.pack("=I", 1)))
    about = _attribute(_LINKINFO, _attribute(_INFO_KIND, b"can\0") + data)
    return _message(_NEWLINK, _REQUEST | _ACKNOWLEDGE, number, about)


def parse(answer: bytes) -> Interface:
    """Return the interface that an answer describes.

    Raise OSError as the kernel says, ProtocolError.
    """
    try:
        kind = _kind(answer)
        if kind != _NEWLINK:
            raise ProtocolError(f"rtnetlink answers with message {kind}")
        _, _, index, flags, _ = _INFO.unpack_from(answer, _HEAD.size)
        return _interface(
            index, flags, dict(_attributes(answer[_HEAD.size + _INFO.size :]))
        )
    except struct.error as error:
        raise ProtocolError(f"rtnetlink: a short answer: {error}") from error


def acknowledged(answer: bytes) -> None:
    """Return if the kernel has done what it was told.

    Raise OSError as it says, ProtocolError.
    """
    try:
        kind = _kind(answer)
    except struct.error as error:
        raise ProtocolError(f"rtnetlink: a short answer: {error}") from error
    if kind != _ERROR:
        raise ProtocolError(f"rtnetlink answers with message {kind}")


def _kind(answer: bytes) -> int:
    """Return the type of an answer.

    Raise OSError for an error, which has the code 0 where there is none.
    """
    kind: int = _HEAD.unpack_from(answer)[1]
    if kind == _ERROR and (code := -struct.unpack_from("=i", answer, _HEAD.size)[0]):
        raise OSError(code, "the kernel refuses")
    return kind


def _interface(index: int, flags: int, found: dict[int, bytes]) -> Interface:
    about = dict(_attributes(found.get(_LINKINFO, b"")))
    kind = about[_INFO_KIND].rstrip(b"\0").decode() if _INFO_KIND in about else None
    data = dict(_attributes(about.get(_INFO_DATA, b""))) if kind == "can" else {}
    state, restart = _number(data.get(_STATE)), _number(data.get(_RESTART_MS))
    counters = (
        struct.unpack_from("=HH", data[_BERR_COUNTER])
        if _BERR_COUNTER in data
        else (None, None)
    )
    modes = struct.unpack_from("=II", data[_CTRLMODE])[1] if _CTRLMODE in data else None
    return Interface(
        index,
        bool(flags & _UP),
        kind,
        None if state is None or state >= len(_STATES) else _STATES[state],
        _number(data.get(_BITTIMING)) or None,
        _number(data.get(_DATA_BITTIMING)) or None,
        None if restart is None else restart / 1000,
        None if modes is None else bool(modes & _LISTEN_ONLY),
        *counters,
    )


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(data)
        if length < _ATTRIBUTE.size:
            raise ProtocolError(f"rtnetlink: an attribute of {length} bytes")
        yield kind & 0x3FFF, data[_ATTRIBUTE.size : length]
        data = data[_aligned(length) :]


def _attribute(kind: int, data: bytes) -> bytes:
    length = _ATTRIBUTE.size + len(data)
    return (_ATTRIBUTE.pack(length, kind) + data).ljust(_aligned(length), b"\0")


def _message(kind: int, flags: int, number: int, attributes: bytes) -> bytes:
    body = _INFO.pack(0, 0, number, 0, 0) + attributes
    return _HEAD.pack(_HEAD.size + len(body), kind, flags, 1, 0) + body


def _number(data: bytes | None) -> int | None:
    return None if data is None else int(struct.unpack_from("=I", data)[0])


def _aligned(length: int) -> int:
    return (length + 3) & ~3
