"""Text of serial joins: its encodings, its fragments.

Source: docs/protocols/cip.md, 6.5. Flags: whole text and UTF-16 [2+], first and last
fragment [1: L], those between [inf].
"""

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Literal

from busbar.errors import BadRequest

LAST = 0x01
FIRST = 0x02
UTF16 = 0x04
WHOLE = FIRST | LAST
ENCODING_MASK = 0x1C  # 0 = 8 bits a character, UTF16 = UTF-16LE

OPEN_LIMIT = 64  # texts arriving in fragments at once
# bytes of one text in fragments; four of the largest frames
TEXT_LIMIT = 256 * 1024
FRAGMENTS_LIMIT = 1024 * 1024  # bytes of all of them

Encoding = Literal["latin1", "utf8", "utf16"]
_CODECS = {"latin1": "latin-1", "utf8": "utf-8", "utf16": "utf-16-le"}


def encode_text(text: str, encoding: Encoding) -> tuple[int, bytes]:
    """Return flags and bytes; ASCII is the same in all but utf16.

    Raise BadRequest, naming the character.
    """
    if text.isascii():
        return WHOLE, text.encode("ascii")
    flags = WHOLE | UTF16 if encoding == "utf16" else WHOLE
    try:
        return flags, text.encode(_CODECS[encoding])
    except UnicodeEncodeError as error:
        wrong = text[error.start]
        raise BadRequest(
            f"the character {wrong!r} at position {error.start} cannot be sent as "
            f"{encoding}"
        ) from error


def decode_text(data: bytes, flags: int = WHOLE) -> str:
    """Return text; 8 bits are UTF-8 (H) if they can be, else Latin-1 (R, M)."""
    if flags & ENCODING_MASK == UTF16:
        return data.decode("utf-16-le", errors="replace")
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")


@dataclass
class _Begun:
    """A text whose end has not come."""

    # of all fragments so far: some mark the encoding on the first one only
    flags: int = 0
    data: bytearray = field(default_factory=bytearray)


class Fragments:
    """Texts that arrive in fragments, by join; bounded in number and size."""

    def __init__(self) -> None:
        self._open: dict[Hashable, _Begun] = {}
        # Which flag begins a text: that of the first fragment that has one. L says
        # FIRST, pycrestron-cip takes them the other way round [1: N].
        self._first = 0

    def add(self, join: Hashable, flags: int, data: bytes) -> str | None:
        """Return the text once it is whole, None before; raise ValueError."""
        if flags & WHOLE == WHOLE:
            self._open.pop(join, None)
            return decode_text(data, flags)
        edge = flags & WHOLE  # 0 in the middle
        self._first = self._first or edge
        if edge and edge == self._first:
            self._begin(join)
        begun = self._open.get(join)
        if begun is None:
            raise ValueError("a fragment without its beginning")
        begun.flags |= flags
        begun.data += data
        if len(begun.data) > TEXT_LIMIT:
            del self._open[join]
            raise ValueError(f"a text above {TEXT_LIMIT} bytes")
        if edge and edge != self._first:
            del self._open[join]
            return decode_text(bytes(begun.data), begun.flags)
        self._make_room()
        return None

    def _begin(self, join: Hashable) -> None:
        self._open.pop(join, None)
        self._open[join] = _Begun()

    def _make_room(self) -> None:
        """Drop the oldest, which will hardly be finished, while there is too much."""
        while len(self._open) > OPEN_LIMIT or self._size() > FRAGMENTS_LIMIT:
            del self._open[next(iter(self._open))]

    def _size(self) -> int:
        return sum(len(each.data) for each in self._open.values())
