"""What the Linux kernel tells of a CAN interface over rtnetlink: the request, and its answer. No I/O.

Source: linux/rtnetlink.h, linux/if_link.h, linux/can/netlink.h.
"""

import struct
from collections.abc import Iterator
from typing import Literal, NamedTuple

from busbar.errors import ProtocolError

State = Literal["active", "warning", "passive", "off", "stopped"]
_STATES: tuple[State, ...] = ("active", "warning", "passive", "off", "stopped", "stopped")

_NEWLINK, _GETLINK, _ERROR = 16, 18, 2
_REQUEST = 1
_HEAD = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_INFO = struct.Struct("=BxHiII")  # family, type, index, flags, change
_ATTRIBUTE = struct.Struct("=HH")
_UP = 1
_IFNAME, _LINKINFO, _INFO_KIND, _INFO_DATA = 3, 18, 1, 2
_BITTIMING, _STATE, _CTRLMODE, _RESTART_MS, _BERR_COUNTER, _DATA_BITTIMING = 1, 4, 5, 6, 8, 9
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
    text = name.encode() + b"\0"
    attribute = _ATTRIBUTE.pack(_ATTRIBUTE.size + len(text), _IFNAME) + text
    body = _INFO.pack(0, 0, 0, 0, 0) + attribute.ljust(_aligned(len(attribute)), b"\0")
    return _HEAD.pack(_HEAD.size + len(body), _GETLINK, _REQUEST, 1, 0) + body


def parse(answer: bytes) -> Interface:
    """Return the interface that an answer describes; raise OSError as the kernel says, ProtocolError."""
    try:
        _, kind, _, _, _ = _HEAD.unpack_from(answer)
        if kind == _ERROR:
            code = -struct.unpack_from("=i", answer, _HEAD.size)[0]
            raise OSError(code, "the kernel refuses")
        if kind != _NEWLINK:
            raise ProtocolError(f"rtnetlink answers with message {kind}")
        _, _, index, flags, _ = _INFO.unpack_from(answer, _HEAD.size)
        return _interface(index, flags, dict(_attributes(answer[_HEAD.size + _INFO.size :])))
    except struct.error as error:
        raise ProtocolError(f"rtnetlink: a short answer: {error}") from error


def _interface(index: int, flags: int, found: dict[int, bytes]) -> Interface:
    about = dict(_attributes(found.get(_LINKINFO, b"")))
    kind = about[_INFO_KIND].rstrip(b"\0").decode() if _INFO_KIND in about else None
    data = dict(_attributes(about.get(_INFO_DATA, b""))) if kind == "can" else {}
    state, restart = _number(data.get(_STATE)), _number(data.get(_RESTART_MS))
    counters = struct.unpack_from("=HH", data[_BERR_COUNTER]) if _BERR_COUNTER in data else (None, None)
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


def _number(data: bytes | None) -> int | None:
    return None if data is None else int(struct.unpack_from("=I", data)[0])


def _aligned(length: int) -> int:
    return (length + 3) & ~3
