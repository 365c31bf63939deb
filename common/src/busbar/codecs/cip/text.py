"""Text of serial joins: its encodings, its fragments. Source: reference 1.5, the flags byte."""

from collections.abc import Hashable
from typing import Literal

from busbar.errors import BadRequest

LAST, FIRST, UTF16 = 0x01, 0x02, 0x04
WHOLE = FIRST | LAST
ENCODING_MASK = 0x1C  # 0 = 8 bits a character, UTF16 = UTF-16LE

OPEN_LIMIT = 64  # texts arriving in fragments at once
TEXT_LIMIT = 256 * 1024  # bytes of one that arrives in fragments; four of the largest frames

Encoding = Literal["latin1", "utf8", "utf16"]
_CODECS = {"latin1": "latin-1", "utf8": "utf-8", "utf16": "utf-16-le"}


def encode_text(text: str, encoding: Encoding) -> tuple[int, bytes]:
    """Return flags and bytes; ASCII is the same in all but utf16. Raise BadRequest, naming the character."""
    if text.isascii():
        return WHOLE, text.encode("ascii")
    try:
        return WHOLE | (UTF16 if encoding == "utf16" else 0), text.encode(_CODECS[encoding])
    except UnicodeEncodeError as error:
        wrong = text[error.start]
        raise BadRequest(f"the character {wrong!r} at position {error.start} cannot be sent as {encoding}") from error


def decode_text(data: bytes, flags: int = WHOLE) -> str:
    """Return text; 8 bits are UTF-8 if they can be, else Latin-1, so that every byte has a meaning."""
    if flags & ENCODING_MASK == UTF16:
        return data.decode("utf-16-le", errors="replace")
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")


class Fragments:
    """Puts the fragments of texts together, by join; bounded in number and size."""

    def __init__(self) -> None:
        self._open: dict[Hashable, bytearray] = {}

    def add(self, join: Hashable, flags: int, data: bytes) -> bytes | None:
        """Return the whole text's bytes once they are there, None before; raise ValueError for what does not fit."""
        if flags & WHOLE == WHOLE:
            self._open.pop(join, None)
            return data
        if flags & FIRST:
            self._begin(join)
        kept = self._open.get(join)
        if kept is None:
            raise ValueError("a fragment without its beginning")
        kept += data
        if len(kept) > TEXT_LIMIT:
            del self._open[join]
            raise ValueError(f"a text above {TEXT_LIMIT} bytes")
        return bytes(self._open.pop(join)) if flags & LAST else None

    def _begin(self, join: Hashable) -> None:
        self._open.pop(join, None)
        if len(self._open) >= OPEN_LIMIT:
            del self._open[next(iter(self._open))]  # the oldest will hardly be finished
        self._open[join] = bytearray()
