"""BLOBs of one vector, decoded as they arrive.

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
from busbar.codecs.indi.input import Input
from busbar.codecs.indi.parse import ATTRIBUTES, attributes_of
from busbar.codecs.indi.text import TextDecoder

_ONE = re.compile(rb"<oneBLOB" + ATTRIBUTES.encode() + rb">")
_ONE_END = re.compile(rb"</oneBLOB\s*+>")
_BLANKS = b" \t\r\n"
_PADDING = 0x3D  # "="
_TAG_LIMIT = 4096  # bytes of one tag here
_SHOWN = 100  # bytes of what is skipped

# where to go on, and the next element; None: more bytes are needed
Step = tuple[int, Element | None]


class BlobReader:
    """Reads on from behind the start tag of a vector until it is `over`.

    `lost`: its end was not found.
    """

    def __init__(
        self, vector: Element, end: re.Pattern[bytes], text: TextDecoder
    ) -> None:
        assert isinstance(vector, SetVector | NewVector)
        self.over = False
        self.lost = False
        self._vector = vector
        self._members: dict[str, str] = {}
        self._end = end
        self._text = text
        self._within = False  # within a oneBLOB
        self._empty = False  # a oneBLOB without an end tag
        self._error = ""
        self._padded = False  # there has been a "="
        self._carry = b""  # characters of an unfinished group of four

    def step(self, input: Input, start: int) -> Step:
        """Return where to go on and the next element.

        None: more bytes are needed, or the vector is over.
        """
        if self._within:
            return self._content(input.data, start)
        return self._between(input, start)

    def _between(self, input: Input, start: int) -> Step:
        buffer = input.data
        position = input.skip_space(start)
        end = self._end.match(buffer, position)
        if end is not None:
            self.over = True
            return end.end(), replace(self._vector, members=self._members)
        one = _ONE.match(buffer, position)
        if one is not None:
            return one.end(), self._begin(one)
        first = bytes(buffer[position : position + 1])
        if first not in (b"", b"<") or buffer.find(b"<", position + 1) >= 0:
            return self._skip(buffer, position, "neither oneBLOB nor the end")
        if len(buffer) - position > _TAG_LIMIT:
            return self._skip(buffer, position, "a tag without an end")
        return position, None

    def _begin(self, one: re.Match[bytes]) -> Element:
        attributes = attributes_of(self._text.decode(one[1]), self._text)
        name = attributes.get("name", "")
        format = attributes.get("format", "")
        self._within = True
        self._empty = one[1].endswith(b"/")
        self._error = ""
        self._padded = False
        self._carry = b""
        vector = self._vector
        self._members[name] = format
        size = _size(attributes.get("size", ""))
        return BlobStart(vector.device, vector.name, name, size, format)

    def _content(self, buffer: bytearray, start: int) -> Step:
        if self._empty:
            self._within = False
            return start, BlobEnd()
        tag = buffer.find(b"<", start)
        end = tag if tag >= 0 else len(buffer)
        data = self._decode(buffer[start:end])
        if data:
            return end, BlobData(data)
        if tag < 0:
            return end, None
        end_tag = _ONE_END.match(buffer, end)
        if end_tag is not None:
            self._within = False
            return end_tag.end(), self._finish()
        if buffer.find(b">", end) < 0 and len(buffer) - end < _TAG_LIMIT:
            return end, None
        return self._lose(end, BlobEnd("its end tag is missing"))

    def _decode(self, encoded: bytearray) -> bytes:
        """Return the bytes of whole groups of base64; nothing after an error."""
        if self._error:
            return b""
        text = self._carry + encoded.translate(None, _BLANKS)
        whole = len(text) & ~3
        self._carry = text[whole:]
        if not whole:
            return b""
        if self._padded:
            self._error = "no base64: data behind the padding"
            return b""
        self._padded = text[whole - 1] == _PADDING
        try:
            return binascii.a2b_base64(text[:whole], strict_mode=True)
        except binascii.Error as error:
            self._error = f"no base64: {error}"
            return b""

    def _finish(self) -> Element:
        if self._carry and not self._error:
            self._error = f"no base64: {len(self._carry)} characters too many"
        return BlobEnd(self._error)

    def _skip(self, buffer: bytearray, position: int, why: str) -> Step:
        began = bytes(buffer[position : position + _SHOWN])
        return self._lose(position, Skipped(why, began))

    def _lose(self, position: int, element: Element) -> Step:
        self.over = True
        self.lost = True
        return position, element


def _size(text: str) -> int:
    """Return the size (bytes) that an attribute says; 0 if it is not a number."""
    if text.isascii() and text.isdigit() and len(text) < 16:
        return int(text)
    return 0
