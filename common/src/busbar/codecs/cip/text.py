"""Text of serial joins: its encodings, its fragments.

Source: docs/protocols/cip.md, 6.5. Of the flags byte, a whole text and UTF-16
are [2+], the first and the last part [1: L], those between [inf].
"""

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Literal

from busbar.errors import BadRequest

LAST, FIRST, UTF16 = 0x01, 0x02, 0x04
WHOLE = FIRST | LAST
ENCODING_MASK = 0x1C  # 0 = 8 bits a character, UTF16 = UTF-16LE

OPEN_LIMIT = 64  # texts arriving in fragments at once
# bytes of one that arrives in fragments; four of the largest frames
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
    try:
        return WHOLE | (UTF16 if encoding == "utf16" else 0), text.encode(
            _CODECS[encoding]
        )
    except UnicodeEncodeError as error:
        wrong = text[error.start]
        raise BadRequest(
            f"the character {wrong!r} at position {error.start} cannot be sent as "
            f"{encoding}"
        ) from error


def decode_text(data: bytes, flags: int = WHOLE) -> str:
    """Return text.

    8 bits are UTF-8 (H) if they can be, else Latin-1 (R, M), so that every byte has a
    meaning.
    """
    if flags & ENCODING_MASK == UTF16:
        return data.decode("utf-16-le", errors="replace")
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")


@dataclass
class _Begun:
    """A text of which the end has not come."""

    # of all fragments so far: some mark the encoding on the first one only
    flags: int = 0
    data: bytearray = field(default_factory=bytearray)


class Fragments:
    """Puts the fragments of texts together, by join; bounded in number and size."""

    def __init__(self) -> None:
        self._open: dict[Hashable, _Begun] = {}

    def add(self, join: Hashable, flags: int, data: bytes) -> str | None:
        """Return the text once it is whole, None before.

        Raise ValueError for what does not fit.
        """
        if flags & WHOLE == WHOLE:
            self._open.pop(join, None)
            return decode_text(data, flags)
        if flags & FIRST:
            self._begin(join)
        begun = self._open.get(join)
        if begun is None:
            raise ValueError("a fragment without its beginning")
        begun.flags |= flags
        begun.data += data
        if len(begun.data) > TEXT_LIMIT:
            del self._open[join]
            raise ValueError(f"a text above {TEXT_LIMIT} bytes")
        if flags & LAST:
            del self._open[join]
            return decode_text(bytes(begun.data), begun.flags)
        self._make_room()
        return None

    def _begin(self, join: Hashable) -> None:
        self._open.pop(join, None)
        self._open[join] = _Begun()

    def _make_room(self) -> None:
        """Forget the oldest, which will hardly be finished, while there is too much."""
        while (
            len(self._open) > OPEN_LIMIT
            or sum(len(each.data) for each in self._open.values()) > FRAGMENTS_LIMIT
        ):
            del self._open[next(iter(self._open))]
