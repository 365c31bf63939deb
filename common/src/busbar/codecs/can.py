"""CAN frames as every part of the bridge has them.

Identifiers, flags, lengths, filters, error frames.

Source: ISO 11898-1 (identifiers, data length codes), linux/can.h and linux/can/error.h
(error frames).
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

from busbar.errors import BadRequest, OutOfRange

# bits of Frame.flags
EXTENDED, REMOTE, FD, BRS, ESI, ERROR, SENT = 1, 2, 4, 8, 16, 32, 64
STANDARD_IDS, EXTENDED_IDS = 0x7FF, 0x1FFFFFFF  # the highest of each
CLASSIC_BYTES = 8
FD_LENGTHS = (*range(9), 12, 16, 20, 24, 32, 48, 64)  # by data length code
CANSEND = re.compile(
    r"([0-9A-Fa-f]{3}|[0-9A-Fa-f]{8})#(?:(R)([0-8])?|(#)([0-9A-Fa-f])|)((?:[0-9A-Fa-f]{2}\.?)*)"
)


class Frame(NamedTuple):
    """One frame; the fields in this order are a row of a batch on the bus."""

    time: float  # Unix s
    id: int
    flags: int
    length: int  # bytes; of a remote frame those that it asks for
    data: bytes

    @property
    def key(self) -> int:
        """Identifier and format in one number, as routing tables have it."""
        return self.id | (self.flags & EXTENDED) << 31


class Mask(NamedTuple):
    """A filter as controllers have it.

    A frame passes when its identifier agrees in the bits of the mask.
    """

    id: int
    mask: int
    extended: bool

    def matches(self, frame: Frame) -> bool:
        """True if a data or remote frame passes."""
        return (
            not (frame.id ^ self.id) & self.mask
            and bool(frame.flags & EXTENDED) == self.extended
        )


def exactly(id: int, extended: bool) -> Mask:
    """Return the filter of one identifier."""
    return Mask(id, EXTENDED_IDS if extended else STANDARD_IDS, extended)


def accepts(masks: Iterable[Mask] | None, frame: Frame) -> bool:
    """True if one of the filters lets a frame pass, or there are none (None).

    Error frames always do.
    """
    return (
        masks is None
        or bool(frame.flags & ERROR)
        or any(mask.matches(frame) for mask in masks)
    )


def frame(
    id: int,
    data: bytes = b"",
    *,
    extended: bool = False,
    remote: bool = False,
    fd: bool = False,
    brs: bool = False,
    length: int | None = None,
    time: float = 0.0,
) -> Frame:
    """Return a frame that can be sent; raise OutOfRange or BadRequest.

    `length` is only for remote frames.
    """
    highest = EXTENDED_IDS if extended else STANDARD_IDS
    if not 0 <= id <= highest:
        hint = (
            "" if extended or id > EXTENDED_IDS else "; `extended: true` allows 29 bits"
        )
        raise OutOfRange(f"id: 0x{id:X} is not 0 to 0x{highest:X}{hint}")
    if remote and (fd or brs or data):
        raise BadRequest("remote: a remote frame has no data and is not CAN FD")
    if brs and not fd:
        raise BadRequest("brs: only CAN FD frames switch the bit rate")
    if length is not None and not remote and length != len(data):
        raise BadRequest(
            f"length: {length}, but data has {len(data)} bytes; only a remote "
            f"frame "
            f"needs it"
        )
    size = (length or 0) if remote else len(data)
    _check_length(size, fd)
    flags = EXTENDED * extended | REMOTE * remote | FD * fd | BRS * brs
    return Frame(time, id, flags, size, bytes(data))


def _check_length(size: int, fd: bool) -> None:
    if fd and size not in FD_LENGTHS:
        raise OutOfRange(
            f"data: {size} bytes; CAN FD has frames of "
            f"{', '.join(map(str, FD_LENGTHS))}"
        )
    if not fd and not 0 <= size <= CLASSIC_BYTES:
        more = "; `fd: true` allows 64" if size <= FD_LENGTHS[-1] else ""
        raise OutOfRange(
            f"data: {size} bytes; a classic frame has 0 to {CLASSIC_BYTES}{more}"
        )


def parse(text: str) -> Frame:
    """Return the frame of a text as `cansend` of can-utils takes it.

    123#DEADBEEF, 123#R4, 123##1DEADBEEF.
    """
    found = CANSEND.fullmatch(text.strip())
    if found is None:
        raise BadRequest(
            f"{text!r:.60} is not ID#DATA, ID#R or ID##FLAGSDATA, in hex, the ID "
            f"of 3 "
            f"or 8 digits"
        )
    id_, remote, asked, fd, flags, data = found.groups()
    payload = bytes.fromhex(data.replace(".", ""))
    return frame(
        int(id_, 16),
        payload,
        extended=len(id_) == 8,
        remote=remote is not None,
        fd=fd is not None,
        brs=bool(int(flags or "0", 16) & 1),
        length=int(asked or 0) if remote else None,
    )


def shown(frame: Frame) -> str:
    """Return a frame as `cansend` takes it."""
    id_ = f"{frame.id:08X}" if frame.flags & EXTENDED else f"{frame.id:03X}"
    if frame.flags & REMOTE:
        return f"{id_}#R{frame.length or ''}"
    if frame.flags & FD:
        return f"{id_}##{1 if frame.flags & BRS else 0}{frame.data.hex().upper()}"
    return f"{id_}#{frame.data.hex().upper()}"


# Bits on the wire without stuff bits, interframe space included. Source: ISO 11898-1,
# 10.4; CRC of FD 17 or 21 bits.
_STANDARD, _EXTENDED = 47, 67
# the last: between BRS and CRC delimiter, without data
_FD_STANDARD, _FD_EXTENDED, _FD_SWITCHED = 32, 51, 26


def bits(frame: Frame) -> tuple[int, int]:
    """Return the bits of a frame at the nominal bit rate and at that of the data phase, without stuff bits."""
    flags, count = frame.flags, 8 * len(frame.data)
    if not flags & FD:
        return (_EXTENDED if flags & EXTENDED else _STANDARD) + count, 0
    arbitration = _FD_EXTENDED if flags & EXTENDED else _FD_STANDARD
    data = _FD_SWITCHED + count + (4 if frame.length > 16 else 0)
    return (arbitration, data) if flags & BRS else (arbitration + data, 0)


class Trouble(NamedTuple):
    """What an error frame says; `state` where it tells the controller's."""

    text: str
    kinds: tuple[str, ...]
    state: str | None = None  # active, warning, passive, off
    tx_errors: int | None = None
    rx_errors: int | None = None


_KINDS = (
    (0x001, "tx_timeout", "no transmission in time"),
    (0x002, "lost_arbitration", "arbitration lost"),
    (0x004, "controller", "controller"),
    (0x008, "protocol", "protocol violation"),
    (0x010, "transceiver", "transceiver"),
    (0x020, "no_acknowledge", "nobody acknowledged"),
    (0x040, "bus_off", "bus off"),
    (0x080, "bus_error", "bus error"),
    (0x100, "restarted", "controller restarted"),
)
_CONTROLLER = (
    (0x01, "receive buffer overflow"),
    (0x02, "transmit buffer overflow"),
    (0x04, "receive warning"),
    (0x08, "transmit warning"),
    (0x10, "receive passive"),
    (0x20, "transmit passive"),
    (0x40, "active again"),
)
_PROTOCOL = (
    (0x01, "single bit"),
    (0x02, "frame format"),
    (0x04, "bit stuffing"),
    (0x08, "dominant bit not sent"),
    (0x10, "recessive bit not sent"),
    (0x20, "overload"),
    (0x40, "active error announcement"),
    (0x80, "on transmission"),
)
_CONTROLLER_KIND, _PROTOCOL_KIND, _OFF_KIND, _RESTARTED_KIND = (
    0x004,
    0x008,
    0x040,
    0x100,
)


def trouble(frame: Frame) -> Trouble:
    """Return what an error frame means. Source: linux/can/error.h."""
    id_, data = frame.id, frame.data.ljust(CLASSIC_BYTES, b"\0")
    details = {
        _CONTROLLER_KIND: (_CONTROLLER, data[1]),
        _PROTOCOL_KIND: (_PROTOCOL, data[2]),
    }
    kinds, texts = [], []
    for bit, kind, text in _KINDS:
        if id_ & bit:
            table, found = details.get(bit, ((), 0))
            more = ", ".join(words for value, words in table if found & value)
            kinds.append(kind)
            texts.append(f"{text}: {more}" if more else text)
    counted = bool(id_ & 0x200) or any(data[6:8])
    return Trouble(
        "; ".join(texts) or f"unknown error 0x{id_:X}",
        tuple(kinds),
        _state(id_, data[1]),
        data[6] if counted else None,
        data[7] if counted else None,
    )


def _state(id_: int, controller: int) -> str | None:
    if id_ & _OFF_KIND:
        return "off"
    if id_ & _CONTROLLER_KIND and controller & 0x30:
        return "passive"
    if id_ & _CONTROLLER_KIND and controller & 0x0C:
        return "warning"
    if id_ & _RESTARTED_KIND or (id_ & _CONTROLLER_KIND and controller & 0x40):
        return "active"
    return None
