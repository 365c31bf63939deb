"""Joins, and the frames that carry their values. Source: docs/protocols/cip.md, 6.

A join is a signal: digital (boolean), analog (0 to 65535) or serial (text). Each smart
object and each slot of a device has its own joins.
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Literal, NamedTuple

from busbar.codecs.cip.frames import encode_frame
from busbar.codecs.cip.text import Encoding, encode_text
from busbar.errors import OutOfRange, TooLarge

# Frame types.
DATA = 0x05  # inner length of one byte
EXTENDED = 0x12  # inner length of two bytes
# Subtypes that wrap another record.
SMART = 0x38  # [2+][cap: E]
SMART_LONG = 0x39  # [1: R]
SLOT = 0x20  # [2+: Z, P]

Kind = Literal["digital", "analog", "serial"]
# join numbers begin at 1
HIGHEST: dict[Kind, int] = {"digital": 32768, "analog": 65536, "serial": 65536}
ANALOG_LIMIT = 0xFFFF
SHORT_LIMIT = 0xFF  # bytes of a record in DATA
EXTENDED_LIMIT = 0xFFFF - 4  # bytes of a record in EXTENDED: handle and length go off
RELEASED = 0x80  # of the high byte of a digital join: the state is inverted


class Form(IntEnum):
    """Subtype of the record that carries a value."""

    DIGITAL = 0x00  # [2+][cap]
    ANALOG_SHORT = 0x01  # [2+]
    LEGACY = 0x02  # ASCII lines [2+]
    CLIENT = 0x12  # text to the processor, joins up to 256 [2+: F, X, B]
    ANALOG = 0x14  # [2+]
    SERIAL_SHORT = 0x15  # [2+][cap: G]
    # a digital that releases itself unless repeated every 0.5 s [2+: F, X, K]
    BUTTON = 0x27
    SERIAL = 0x34  # [2+][cap: E]


class Join(NamedTuple):
    """One signal.

    `smart`: id of its smart object. `slots`: from the outermost inwards.
    """

    kind: Kind
    number: int
    smart: int | None = None
    slots: tuple[int, ...] = ()


class Update(NamedTuple):
    """A new value of a join.

    `append`: the text is added to what is there (legacy form).
    """

    join: Join
    value: bool | int | str
    form: Form
    append: bool = False


@dataclass(frozen=True)
class Style:
    """What the two sides of a connection agree on."""

    handle: int = 0
    encoding: Encoding = "latin1"  # of text beyond ASCII
    # wire number + offset = join, for analogs and serials of smart objects: M 1, R 0
    smart_offset: Literal[0, 1] = 1
    # text goes as SERIAL_SHORT where it fits: all readers but K's know it [2+]
    short_text: bool = False


PLAIN = Style()
FORMS: dict[Kind, Form] = {
    "digital": Form.DIGITAL,
    "analog": Form.ANALOG,
    "serial": Form.SERIAL,
}


def encode_update(update: Update, style: Style = PLAIN) -> bytes:
    """Return the frame of one value.

    Raise OutOfRange, TooLarge, or BadRequest for text that cannot be encoded.
    """
    check(update.join)
    if update.form is not Form.SERIAL:
        return _encode_as(update.form, update, style)
    if update.join.slots:  # a slot's record has a length of one byte
        return _encode_as(Form.SERIAL_SHORT, update, style)
    if style.short_text:
        with contextlib.suppress(TooLarge):
            return _encode_as(Form.SERIAL_SHORT, update, style)
    return _encode_as(Form.SERIAL, update, style)


def _encode_as(form: Form, update: Update, style: Style) -> bytes:
    join = update.join
    body = bytes((form,)) + _ENCODERS[form](update, style)
    if join.smart is not None:
        body = _smart(join.smart, body)
    for slot in reversed(join.slots):
        body = bytes((SLOT, slot)) + _short_length(body) + body
    return encode_body(body, style.handle)


def encode_body(body: bytes, handle: int = 0) -> bytes:
    """Return the frame of a record (subtype and data).

    Text goes in the extended form, everything else in the short one.
    """
    if body[0] not in (Form.SERIAL, SMART_LONG):
        return encode_frame(DATA, handle.to_bytes(2) + _short_length(body) + body)
    if len(body) > EXTENDED_LIMIT:
        raise TooLarge(
            f"{len(body)} bytes; a record has at most {EXTENDED_LIMIT}",
            limit=EXTENDED_LIMIT,
        )
    return encode_frame(EXTENDED, handle.to_bytes(2) + len(body).to_bytes(2) + body)


def check(join: Join) -> None:
    """Raise OutOfRange for a join that does not fit the wire."""
    highest = HIGHEST[join.kind]
    if not 1 <= join.number <= highest:
        raise OutOfRange(f"{join.kind} join {join.number} is not 1 to {highest}")
    if join.smart is not None and not 0 <= join.smart < 1 << 32:
        raise OutOfRange(f"smart object {join.smart} is not 0 to {(1 << 32) - 1}")
    for slot in join.slots:
        if not 0 <= slot <= 0xFF:
            raise OutOfRange(f"slot {slot} is not 0 to 255")


def _smart(smart: int, body: bytes) -> bytes:
    if body[0] == Form.SERIAL:
        return bytes((SMART_LONG,)) + smart.to_bytes(4) + len(body).to_bytes(2) + body
    return bytes((SMART,)) + smart.to_bytes(4) + _short_length(body) + body


def _short_length(body: bytes) -> bytes:
    """Return the length of a record in one byte; raise TooLarge."""
    if len(body) > SHORT_LIMIT:
        raise TooLarge(
            f"{len(body)} bytes; this form of a record has at most {SHORT_LIMIT}",
            limit=SHORT_LIMIT,
        )
    return bytes((len(body),))


def _digital(update: Update, style: Style) -> bytes:
    number = update.join.number - 1
    high = number >> 8
    if not update.value:
        high |= RELEASED
    return bytes((number & 0xFF, high))


def _analog(update: Update, style: Style) -> bytes:
    return _wire_number(update.join, style).to_bytes(2) + _level(update)


def _analog_short(update: Update, style: Style) -> bytes:
    number = _wire_number(update.join, style)
    size = 1 if number <= 0xFF else 2
    return number.to_bytes(size) + _level(update)


def _level(update: Update) -> bytes:
    value = int(update.value)
    if not 0 <= value <= ANALOG_LIMIT:
        raise OutOfRange(
            f"{value} is out of range; an analog join is 0 to {ANALOG_LIMIT}"
        )
    return value.to_bytes(2)


def _serial(update: Update, style: Style) -> bytes:
    flags, data = encode_text(str(update.value), style.encoding)
    return _wire_number(update.join, style).to_bytes(2) + bytes((flags,)) + data


def _client(update: Update, style: Style) -> bytes:
    number = _wire_number(update.join, style)
    if number > 0xFF:
        raise OutOfRange(
            f"serial join {update.join.number} is not 1 to 256, as this form has it"
        )
    _, data = encode_text(str(update.value), style.encoding)
    return bytes((number,)) + data


def _legacy(update: Update, style: Style) -> bytes:
    number = b"%d" % update.join.number
    _, text = encode_text(str(update.value), style.encoding)
    if update.append:
        return b"@%b,%b\r" % (number, text)
    return b"#%b,\r#%b,%b\r" % (number, number, text)


def _wire_number(join: Join, style: Style) -> int:
    if join.smart is None:
        return join.number - 1
    return join.number - style.smart_offset


_ENCODERS: dict[Form, Callable[[Update, Style], bytes]] = {
    Form.DIGITAL: _digital,
    Form.BUTTON: _digital,
    Form.ANALOG: _analog,
    Form.ANALOG_SHORT: _analog_short,
    Form.SERIAL: _serial,
    Form.SERIAL_SHORT: _serial,
    Form.CLIENT: _client,
    Form.LEGACY: _legacy,
}
