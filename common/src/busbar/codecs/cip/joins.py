"""Joins, and the frames that carry their values. Source: docs/protocols/cip.md, 6.

A join is a signal: digital (boolean), analog (0 to 65535) or serial (text). Smart
objects have joins of their own, so have the slots of a device.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Literal, NamedTuple

from busbar.codecs.cip.frames import encode_frame
from busbar.codecs.cip.text import Encoding, encode_text
from busbar.errors import OutOfRange, TooLarge

DATA, EXTENDED = 0x05, 0x12  # frame types: inner length of one byte, of two bytes
# subtypes that wrap another record: [2+][cap: E], [1: R], [2+: Z, P]
SMART, SMART_LONG, SLOT = 0x38, 0x39, 0x20

Kind = Literal["digital", "analog", "serial"]
# join numbers begin at 1
HIGHEST: dict[Kind, int] = {"digital": 32768, "analog": 65536, "serial": 65536}
ANALOG_LIMIT = 0xFFFF
SHORT_LIMIT = 0xFF  # bytes of a record in DATA
RELEASED = 0x80  # of the high byte of a digital join: the state is inverted


class Form(IntEnum):
    """How a value travels: the subtype of its record."""

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
    """One signal; `slots` from the outermost in, `smart` the id of a smart object."""

    kind: Kind
    number: int
    smart: int | None = None
    slots: tuple[int, ...] = ()


class Update(NamedTuple):
    """One join has this value.

    `append`: the text is to be added to what is there (legacy form).
    """

    join: Join
    value: bool | int | str
    form: Form
    append: bool = False


@dataclass(frozen=True)
class Style:
    """What two sides agree on.

    The connection handle, the encoding of text beyond ASCII.
    """

    handle: int = 0
    encoding: Encoding = "latin1"
    # wire number + offset = join, for analogs and serials of smart objects: M 1, R 0
    smart_offset: Literal[0, 1] = 1


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
    join, form = update.join, update.form
    check(join)
    if join.slots and form is Form.SERIAL:
        form = Form.SERIAL_SHORT  # a slot's record has a length of one byte
    body = bytes((form,)) + _ENCODERS[form](update, style)
    if join.smart is not None:
        body = _smart(join.smart, body)
    for slot in reversed(join.slots):
        body = bytes((SLOT, slot, _short(body))) + body
    return encode_body(body, style.handle)


def encode_body(body: bytes, handle: int = 0) -> bytes:
    """Return the frame of a record (subtype and data).

    Text records and long ones in the extended form.
    """
    if body[0] in (Form.SERIAL, SMART_LONG):
        if len(body) > 0xFFFF - 4:
            raise TooLarge(
                (f"{len(body)} bytes; a record has at most {0xFFFF - 4}"),
                limit=0xFFFF - 4,
            )
        return encode_frame(EXTENDED, handle.to_bytes(2) + len(body).to_bytes(2) + body)
    return encode_frame(DATA, handle.to_bytes(2) + bytes((_short(body),)) + body)


def check(join: Join) -> None:
    """Raise OutOfRange for a join that does not fit the wire."""
    highest = HIGHEST[join.kind]
    if not 1 <= join.number <= highest:
        raise OutOfRange(f"{join.kind} join {join.number} is not 1 to {highest}")
    if join.smart is not None and not 0 <= join.smart < 1 << 32:
        raise OutOfRange(f"smart object {join.smart} is not 0 to {(1 << 32) - 1}")
    if any(not 0 <= slot <= 0xFF for slot in join.slots):
        raise OutOfRange(f"slot {max(join.slots)} is not 0 to 255")


def _smart(smart: int, body: bytes) -> bytes:
    if body[0] == Form.SERIAL:
        return bytes((SMART_LONG,)) + smart.to_bytes(4) + len(body).to_bytes(2) + body
    return bytes((SMART,)) + smart.to_bytes(4) + bytes((_short(body),)) + body


def _short(body: bytes) -> int:
    if len(body) > SHORT_LIMIT:
        raise TooLarge(
            (f"{len(body)} bytes; this form of a record has at most {SHORT_LIMIT}"),
            limit=SHORT_LIMIT,
        )
    return len(body)


def _digital(update: Update, style: Style) -> bytes:
    number = update.join.number - 1
    return bytes((number & 0xFF, number >> 8 | (0 if update.value else RELEASED)))


def _analog(update: Update, style: Style) -> bytes:
    return _wire_number(update.join, style).to_bytes(2) + _level(update)


def _analog_short(update: Update, style: Style) -> bytes:
    number = _wire_number(update.join, style)
    return number.to_bytes(1 if number <= 0xFF else 2) + _level(update)


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
    return bytes((number,)) + encode_text(str(update.value), style.encoding)[1]


def _legacy(update: Update, style: Style) -> bytes:
    number = b"%d" % update.join.number
    text = encode_text(str(update.value), style.encoding)[1]
    return (
        b"@%b,%b\r" % (number, text)
        if update.append
        else b"#%b,\r#%b,%b\r" % (number, number, text)
    )


def _wire_number(join: Join, style: Style) -> int:
    return join.number - (1 if join.smart is None else style.smart_offset)


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
