"""The BLOBs of one vector, decoded as they come.

No more than a piece of an image is ever held here.
"""

import binascii
import re

from msgspec.structs import replace

from busbar.codecs.indi.elements import (
    BlobData,
    BlobEnd,
    BlobStart,
    Element,
    NewVector,
    SetVector,
    Skipped,
)
from busbar.codecs.indi.parse import ATTRIBUTES, attributes_of
from busbar.codecs.indi.text import Text

_ONE = re.compile(rb"<oneBLOB" + ATTRIBUTES.encode() + rb">")
_ONE_END = re.compile(rb"</oneBLOB\s*>")
SPACE = re.compile(rb"(?:\s+|<!--.*?-->)*", re.DOTALL)  # comments, too
_BLANKS, _PADDING = b" \t\r\n", 0x3D
_TAG_LIMIT = 4096  # bytes of one tag here


class BlobReader:
    """Reads on from behind the start tag of a vector until it is `over`.

    `lost`: its end was not found.
    """

    def __init__(self, vector: Element, end: re.Pattern[bytes], read: Text) -> None:
        assert isinstance(vector, SetVector | NewVector)
        self.over = self.lost = False
        self._vector, self._end, self._read = vector, end, read
        self._open = False  # within a oneBLOB
        self._empty = False  # that has no end tag
        self._failed = ""
        self._padded = False  # there has been a "="
        self._carry = b""  # characters of an unfinished group of four

    def step(self, buffer: bytes, start: int) -> tuple[int, Element | None]:
        """Return where to go on and the next element.

        None: more bytes are needed, or it is over.
        """
        return (
            self._content(buffer, start) if self._open else self._between(buffer, start)
        )

    def _between(self, buffer: bytes, start: int) -> tuple[int, Element | None]:
        position = SPACE.match(buffer, start).end()  # type: ignore[union-attr]  # it matches nothing, too
        if end := self._end.match(buffer, position):
            self.over = True
            return end.end(), self._vector
        one = _ONE.match(buffer, position)
        if one is not None:
            return one.end(), self._begin(one)
        if (
            buffer[position : position + 1] not in (b"", b"<")
            or buffer.find(b"<", position + 1) >= 0
        ):
            return self._lose(
                position,
                Skipped(
                    "neither oneBLOB nor the end", buffer[position : position + 100]
                ),
            )
        if len(buffer) - position > _TAG_LIMIT:
            return self._lose(
                position,
                Skipped("a tag without an end", buffer[position : position + 100]),
            )
        return position, None

    def _begin(self, one: re.Match[bytes]) -> Element:
        attributes = attributes_of(self._read.decode(one[1]), self._read)
        name, size, format_ = (
            attributes.get(key, "") for key in ("name", "size", "format")
        )
        self._open, self._failed, self._carry = True, "", b""
        self._padded, self._empty = False, one[1].endswith(b"/")
        self._vector = replace(
            self._vector, members={**self._vector.members, name: format_}
        )
        count = int(size) if size.isascii() and size.isdigit() and len(size) < 16 else 0
        return BlobStart(self._vector.device, self._vector.name, name, count, format_)

    def _content(self, buffer: bytes, start: int) -> tuple[int, Element | None]:
        if self._empty:
            self._open = False
            return start, BlobEnd()
        found = buffer.find(b"<", start)
        end = found if found >= 0 else len(buffer)
        data = self._decode(buffer[start:end])
        if data or found < 0:
            return end, BlobData(data) if data else None
        if end_tag := _ONE_END.match(buffer, end):
            self._open = False
            return end_tag.end(), self._finish()
        if buffer.find(b">", end) < 0 and len(buffer) - end < _TAG_LIMIT:
            return end, None
        return self._lose(end, BlobEnd("its end tag is missing"))

    def _decode(self, text: bytes) -> bytes:
        if self._failed:
            return b""
        text = self._carry + text.translate(None, _BLANKS)
        whole = len(text) & ~3
        self._carry = text[whole:]
        if not whole:
            return b""
        try:
            if self._padded:
                raise binascii.Error("data behind the padding")
            self._padded = text[whole - 1] == _PADDING
            return binascii.a2b_base64(text[:whole], strict_mode=True)
        except binascii.Error as error:
            self._failed = f"no base64: {error}"
            return b""

    def _finish(self) -> Element:
        if self._carry and not self._failed:
            self._failed = f"no base64: {len(self._carry)} characters too many"
        return BlobEnd(self._failed)

    def _lose(self, position: int, element: Element) -> tuple[int, Element]:
        self.over = self.lost = True
        return position, element
