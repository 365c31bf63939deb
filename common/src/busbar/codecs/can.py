"""CAN frames: identifiers, flags, lengths, filters, error frames.

Source: ISO 11898-1 (identifiers, data length codes), linux/can.h and linux/can/error.h
(error frames).
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

from busbar.errors import BadRequest, OutOfRange

# bits of Frame.flags
EXTENDED = 1
REMOTE = 2
FD = 4
BRS = 8
ESI = 16
ERROR = 32
SENT = 64
STANDARD_IDS = 0x7FF  # the highest identifier
EXTENDED_IDS = 0x1FFFFFFF
CLASSIC_BYTES = 8
FD_LENGTHS = (*range(9), 12, 16, 20, 24, 32, 48, 64)  # by data length code
CANSEND = re.compile(
    r"([0-9A-Fa-f]{3}|[0-9A-Fa-f]{8})#"
    r"(?:(R)([0-8])?|(#)([0-9A-Fa-f])|)"
    r"((?:[0-9A-Fa-f]{2}\.?)*)"
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
        """Identifier and format in one number, for routing tables."""
        return self.id | (self.flags & EXTENDED) << 31


class Mask(NamedTuple):
    """A filter: a frame passes if its identifier agrees in the bits of `mask`."""

    id: int
    mask: int
    extended: bool

    def matches(self, frame: Frame) -> bool:
        """True if a data or remote frame passes."""
        if (frame.id ^ self.id) & self.mask:
            return False
        return bool(frame.flags & EXTENDED) == self.extended


def highest_id(extended: bool) -> int:
    """Return the highest identifier of a format, which is also its whole mask."""
    return EXTENDED_IDS if extended else STANDARD_IDS


def is_extended(id: int, extended: bool | None) -> bool:
    """Return `extended`; where that is None, whether the identifier needs 29 bits."""
    return id > STANDARD_IDS if extended is None else extended


def id_text(frame: Frame) -> str:
    """Return the identifier in hex: 3 digits, 8 of an extended one."""
    if frame.flags & EXTENDED:
        return f"{frame.id:08x}"
    return f"{frame.id:03x}"


def exactly(id: int, extended: bool) -> Mask:
    """Return the filter of one identifier."""
    return Mask(id, highest_id(extended), extended)


def accepts(masks: Iterable[Mask] | None, frame: Frame) -> bool:
    """True if a frame passes one of the filters; None lets all pass.

    Error frames always pass.
    """
    if masks is None or frame.flags & ERROR:
        return True
    return any(mask.matches(frame) for mask in masks)


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
    _check_id(id, extended)
    if remote and (fd or brs or data):
        raise BadRequest("remote: a remote frame has no data and is not CAN FD")
    if brs and not fd:
        raise BadRequest("brs: only CAN FD frames switch the bit rate")
    if length is not None and not remote and length != len(data):
        raise BadRequest(
            f"length: {length}, but data has {len(data)} bytes; "
            "only a remote frame needs it"
        )
    size = (length or 0) if remote else len(data)
    _check_length(size, fd)
    flags = EXTENDED * extended | REMOTE * remote | FD * fd | BRS * brs
    return Frame(time, id, flags, size, bytes(data))


def _check_id(id: int, extended: bool) -> None:
    highest = highest_id(extended)
    if 0 <= id <= highest:
        return
    fits = not extended and id <= EXTENDED_IDS
    hint = "; `extended: true` allows 29 bits" if fits else ""
    raise OutOfRange(f"id: 0x{id:X} is not 0 to 0x{highest:X}{hint}")


def _check_length(size: int, fd: bool) -> None:
    if fd and size not in FD_LENGTHS:
        allowed = ", ".join(map(str, FD_LENGTHS))
        raise OutOfRange(f"data: {size} bytes; CAN FD has frames of {allowed}")
    if not fd and not 0 <= size <= CLASSIC_BYTES:
        more = "; `fd: true` allows 64" if size <= FD_LENGTHS[-1] else ""
        raise OutOfRange(
            f"data: {size} bytes; a classic frame has 0 to {CLASSIC_BYTES}{more}"
        )


def parse(text: str) -> Frame:
    """Return the frame of a text of `cansend`: 123#DEADBEEF, 123#R4, 123##1DEAD."""
    found = CANSEND.fullmatch(text.strip())
    if found is None:
        raise BadRequest(
            f"{text!r:.60} is not ID#DATA, ID#R or ID##FLAGSDATA, in hex, "
            "the ID of 3 or 8 digits"
        )
    id_, remote, asked, fd, flags, data = found.groups()
    payload = bytes.fromhex(data.replace(".", ""))
    switched = int(flags or "0", 16) & 1
    return frame(
        int(id_, 16),
        payload,
        extended=len(id_) == 8,
        remote=remote is not None,
        fd=fd is not None,
        brs=bool(switched),
        length=int(asked or 0) if remote else None,
    )


def cansend_text(frame: Frame) -> str:
    """Return a frame as `cansend` takes it."""
    id_ = id_text(frame).upper()
    data = frame.data.hex().upper()
    if frame.flags & REMOTE:
        return f"{id_}#R{frame.length or ''}"
    if frame.flags & FD:
        switched = int(bool(frame.flags & BRS))
        return f"{id_}##{switched}{data}"
    return f"{id_}#{data}"


# Bits on the wire without stuff bits, interframe space included. Source: ISO 11898-1,
# 10.4; CRC of FD 17 or 21 bits.
_STANDARD = 47
_EXTENDED = 67
_FD_STANDARD = 32
_FD_EXTENDED = 51
_FD_SWITCHED = 26  # between BRS and CRC delimiter, without data
_FD_LONG_CRC = 4  # more bits of CRC where there are more than 16 bytes


def bits(frame: Frame) -> tuple[int, int]:
    """Return the bits of a frame at the nominal and at the data bit rate.

    Stuff bits are not counted.
    """
    flags = frame.flags
    data = 8 * len(frame.data)
    if not flags & FD:
        head = _EXTENDED if flags & EXTENDED else _STANDARD
        return head + data, 0
    arbitration = _FD_EXTENDED if flags & EXTENDED else _FD_STANDARD
    data += _FD_SWITCHED
    if frame.length > 16:
        data += _FD_LONG_CRC
    if flags & BRS:
        return arbitration, data
    return arbitration + data, 0


class ErrorReport(NamedTuple):
    """What an error frame says; `state` where it has the controller's."""

    text: str
    kinds: tuple[str, ...]
    state: str | None = None  # active, warning, passive, off
    tx_errors: int | None = None
    rx_errors: int | None = None


_CONTROLLER_KIND = 0x004
_PROTOCOL_KIND = 0x008
_OFF_KIND = 0x040
_RESTARTED_KIND = 0x100
_COUNTERS = 0x200  # the frame has the error counters
_KINDS = (
    (0x001, "tx_timeout", "no transmission in time"),
    (0x002, "lost_arbitration", "arbitration lost"),
    (_CONTROLLER_KIND, "controller", "controller"),
    (_PROTOCOL_KIND, "protocol", "protocol violation"),
    (0x010, "transceiver", "transceiver"),
    (0x020, "no_acknowledge", "nobody acknowledged"),
    (_OFF_KIND, "bus_off", "bus off"),
    (0x080, "bus_error", "bus error"),
    (_RESTARTED_KIND, "restarted", "controller restarted"),
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
# kind -> words of its bits, and the byte of the data that has them
_DETAILS = {_CONTROLLER_KIND: (_CONTROLLER, 1), _PROTOCOL_KIND: (_PROTOCOL, 2)}


def error_report(frame: Frame) -> ErrorReport:
    """Return what an error frame means. Source: linux/can/error.h."""
    id_ = frame.id
    data = frame.data.ljust(CLASSIC_BYTES, b"\0")
    kinds = []
    texts = []
    for bit, kind, text in _KINDS:
        if id_ & bit:
            kinds.append(kind)
            texts.append(text + _details(bit, data))
    text = "; ".join(texts) or f"unknown error 0x{id_:X}"
    report = ErrorReport(text, tuple(kinds), _state(id_, data[1]))
    if id_ & _COUNTERS or any(data[6:8]):
        return report._replace(tx_errors=data[6], rx_errors=data[7])
    return report


def _details(kind: int, data: bytes) -> str:
    if kind not in _DETAILS:
        return ""
    table, byte = _DETAILS[kind]
    words = [text for bit, text in table if data[byte] & bit]
    return ": " + ", ".join(words) if words else ""


def _state(id_: int, controller: int) -> str | None:
    """Return the state of the controller; `controller` is byte 1 of the data."""
    if not id_ & _CONTROLLER_KIND:
        controller = 0
    if id_ & _OFF_KIND:
        return "off"
    if controller & 0x30:
        return "passive"
    if controller & 0x0C:
        return "warning"
    if id_ & _RESTARTED_KIND or controller & 0x40:
        return "active"
    return None
