"""Records inside data frames: joins, commands, the clock, texts about the device.

Source: docs/protocols/cip.md, 6.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from busbar.codecs.cip.frames import Skipped
from busbar.codecs.cip.joins import (
    HIGHEST,
    RELEASED,
    SLOT,
    SMART,
    SMART_LONG,
    Form,
    Join,
    Kind,
    Update,
    encode_body,
)
from busbar.codecs.cip.text import Fragments, decode_text

# slots within slots: a card in a frame has cards; one frame has room for 80 wrappers
DEPTH_LIMIT = 2
# Codes of a command.
START = 0x00  # of an update, or the request for one [2+][cap]
END_OF_UPDATE = 0x16  # [2+][cap]
END_OF_QUERY = 0x1C  # [2+][cap]
ACKNOWLEDGE = 0x1D  # of the end of the query [2+]
REFRESH = 0x1E
ALL_CLEAR = 0x1F
_UNNAMED = (0x02, 0x03, 0x19, 0x1A, 0x1B)  # seen; what they mean nobody says
_TEXTS = (0x30, 0x31)  # commands that are followed by text [1: R]
_COMMANDS = frozenset(
    (START, END_OF_UPDATE, END_OF_QUERY, ACKNOWLEDGE, REFRESH, ALL_CLEAR, *_UNNAMED)
)
_LEGACY = re.compile(rb"([#@])(\d{1,5}),(.*)", re.DOTALL)
_CENTURY = 2000


@dataclass(frozen=True)
class Command:
    """Start of an update or the request for one, its end, its acknowledgement, ..."""

    code: int
    data: bytes = b""


@dataclass(frozen=True)
class Clock:
    """Date and time of the processor, without a zone [2+][cap]."""

    time: datetime


@dataclass(frozen=True)
class About:
    """A text about the device itself, such as its firmware [1: R; subtype 1c: L]."""

    text: str


Record = Update | Command | Clock | About | Skipped


def encode_command(command: Command, handle: int = 0) -> bytes:
    return encode_body(bytes((0x03, command.code)) + command.data, handle)


def encode_clock(clock: Clock, handle: int = 0) -> bytes:
    time = clock.time
    # decimal digits, one in each half of a byte
    digits = f"{time:%H%M%S%m%d}{time.year % 100:02}"
    return encode_body(b"\x08\x0e" + bytes.fromhex(digits), handle)


@dataclass(frozen=True)
class _Scope:
    """Smart object and slots that a record belongs to."""

    smart: int | None = None
    slots: tuple[int, ...] = ()

    def join(self, form: Form, number: int) -> Join:
        return Join(_KINDS[form], number, self.smart, self.slots)


_OUTER = _Scope()


class Records:
    """Reads the payload of data frames; keeps the fragments of texts in between."""

    def __init__(self, smart_offset: int = 1) -> None:
        self.smart_offset = smart_offset
        self._fragments = Fragments()
        self._found: list[Record] = []
        self._readers: dict[int, Callable[[bytes, _Scope], None]] = {
            Form.DIGITAL: lambda data, scope: self._digitals(Form.DIGITAL, data, scope),
            Form.BUTTON: lambda data, scope: self._digitals(Form.BUTTON, data, scope),
            Form.ANALOG: self._analogs,
            Form.ANALOG_SHORT: self._analog_short,
            Form.SERIAL: lambda data, scope: self._serial(Form.SERIAL, data, scope),
            Form.SERIAL_SHORT: lambda data, scope: self._serial(
                Form.SERIAL_SHORT, data, scope
            ),
            Form.CLIENT: self._client,
            Form.LEGACY: self._legacy,
            SMART: lambda data, scope: self._smart(1, data, scope),
            SMART_LONG: lambda data, scope: self._smart(2, data, scope),
            SLOT: self._slot,
            0x03: self._command,
            0x08: self._clock,
            0x1C: self._config,
        }

    def read(self, payload: bytes, size: int) -> list[Record]:
        """Return the records of a payload whose inner length has `size` bytes.

        What is wrong comes as Skipped.
        """
        self._found = []
        if len(payload) < 2 + size:
            return [Skipped("a data frame that ends before its record", payload)]
        self._sized(payload[2:], size, _OUTER)
        return self._found

    def _sized(self, data: bytes, size: int, scope: _Scope) -> None:
        """Read one record behind its length.

        A length that is wrong costs what is missing or too much.
        """
        length = int.from_bytes(data[:size])
        rest = data[size:]
        if length > len(rest):
            self._skip(
                f"a record of {length} bytes of which {len(rest)} are there", data
            )
        elif length < len(rest):
            self._skip(f"{len(rest) - length} bytes behind a record", rest[length:])
        self._body(rest[:length], scope)

    def _body(self, body: bytes, scope: _Scope) -> None:
        if not body:
            self._skip("an empty record", body)
            return
        reader = self._readers.get(body[0])
        if reader is None:
            self._skip(f"a record of the unknown subtype 0x{body[0]:02x}", body)
        else:
            reader(body[1:], scope)

    def _digitals(self, form: Form, data: bytes, scope: _Scope) -> None:
        for start in range(0, len(data) - 1, 2):
            low = data[start]
            high = data[start + 1]
            join = scope.join(form, ((high & ~RELEASED) << 8 | low) + 1)
            self._add(Update(join, not high & RELEASED, form))
        self._leftover(data, 2)

    def _analogs(self, data: bytes, scope: _Scope) -> None:
        for start in range(0, len(data) - 3, 4):
            number = int.from_bytes(data[start : start + 2])
            value = int.from_bytes(data[start + 2 : start + 4])
            join = self._join(Form.ANALOG, number, scope)
            self._add(Update(join, value, Form.ANALOG))
        self._leftover(data, 4)

    def _analog_short(self, data: bytes, scope: _Scope) -> None:
        if len(data) not in (3, 4):
            self._skip("an analog record of another size", data)
            return
        join = self._join(Form.ANALOG_SHORT, int.from_bytes(data[:-2]), scope)
        self._add(Update(join, int.from_bytes(data[-2:]), Form.ANALOG_SHORT))

    def _serial(self, form: Form, data: bytes, scope: _Scope) -> None:
        if len(data) < 3:
            self._skip("a text record that ends within its head", data)
            return
        join = self._join(form, int.from_bytes(data[:2]), scope)
        try:
            text = self._fragments.add(join, data[2], data[3:])
        except ValueError as error:
            self._skip(str(error), data)
            return
        if text is not None:
            self._add(Update(join, text, form))

    def _client(self, data: bytes, scope: _Scope) -> None:
        if not data:
            self._skip("a text record that ends within its head", data)
            return
        join = self._join(Form.CLIENT, data[0], scope)
        self._add(Update(join, decode_text(data[1:]), Form.CLIENT))

    def _legacy(self, data: bytes, scope: _Scope) -> None:
        """Read lines `#1,` (clear), `#1,text` (set), `@1,text` (append).

        Any other line continues the text before it.
        """
        texts: dict[Join, list[bytes]] = {}  # in parts
        appended: set[Join] = set()
        parts: list[bytes] = []
        for line in data.removesuffix(b"\r").split(b"\r"):
            found = _LEGACY.fullmatch(line)
            if found is None and not texts:
                self._skip("a text record without a join", data)
                return
            if found is None:
                parts += (b"\r", line)
                continue
            join = scope.join(Form.LEGACY, int(found[2]))
            if found[1] == b"#":
                texts[join] = []
                appended.discard(join)
            elif join not in texts:
                texts[join] = []
                appended.add(join)
            parts = texts[join]
            parts.append(found[3])
        for join, parts in texts.items():
            text = decode_text(b"".join(parts))
            self._add(Update(join, text, Form.LEGACY, join in appended))

    def _smart(self, size: int, data: bytes, scope: _Scope) -> None:
        if len(data) < 4 + size or scope.smart is not None:
            self._skip("a smart object without its record, or in another one", data)
            return
        self._sized(data[4:], size, _Scope(int.from_bytes(data[:4]), scope.slots))

    def _slot(self, data: bytes, scope: _Scope) -> None:
        if len(data) < 2 or len(scope.slots) >= DEPTH_LIMIT:
            self._skip("a slot without its record, or too deep", data)
            return
        self._sized(data[1:], 1, _Scope(scope.smart, (*scope.slots, data[0])))

    def _command(self, data: bytes, scope: _Scope) -> None:
        if not data:
            self._skip("a command without its code", data)
        elif data[0] in _TEXTS:
            self._found.append(About(_printable(data[1:])))
        elif data[0] in _COMMANDS:
            self._found.append(Command(data[0], data[1:]))
        else:
            self._skip(f"the unknown command 0x{data[0]:02x}", data)

    def _clock(self, data: bytes, scope: _Scope) -> None:
        # decimal digits, one in each half of a byte
        fields = [data[place : place + 1].hex() for place in range(1, 7)]
        try:
            hour, minute, second, month, day, year = map(int, fields)
            time = datetime(_CENTURY + year, month, day, hour, minute, second)
        except ValueError:  # not decimal digits, too few, or no such day
            self._skip("a date or time that cannot be", data)
            return
        self._found.append(Clock(time))

    def _config(self, data: bytes, scope: _Scope) -> None:
        # behind 05 00 00, whose meaning is unknown
        self._found.append(About(_printable(data[3:])))

    def _join(self, form: Form, number: int, scope: _Scope) -> Join:
        offset = 1 if scope.smart is None else self.smart_offset
        return scope.join(form, number + offset)

    def _add(self, update: Update) -> None:
        if 1 <= update.join.number <= HIGHEST[update.join.kind]:
            self._found.append(update)
        else:
            kind, number, *_ = update.join
            self._skip(f"a {kind} join {number}, which cannot be", b"")

    def _leftover(self, data: bytes, size: int) -> None:
        if not data or len(data) % size:
            self._skip(f"a record that is no multiple of {size} bytes", data)

    def _skip(self, why: str, data: bytes) -> None:
        self._found.append(Skipped(why, data))


def _printable(data: bytes) -> str:
    return "".join(filter(str.isprintable, decode_text(data))).strip()


_KINDS: dict[Form, Kind] = {
    Form.DIGITAL: "digital",
    Form.BUTTON: "digital",
    Form.ANALOG: "analog",
    Form.ANALOG_SHORT: "analog",
    Form.SERIAL: "serial",
    Form.SERIAL_SHORT: "serial",
    Form.CLIENT: "serial",
    Form.LEGACY: "serial",
}
