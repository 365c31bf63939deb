"""Bytes -> elements.

Its own tokenizer: an INDI stream is an XML document that never ends and is often not
quite XML.

It knows start tags, end tags, text, comments and CDATA, no DTD and no entities but the
five of XML, so nothing expands. An element that is wrong, cut off or too large is
Skipped; reading goes on with the next one.
"""

import re
from collections.abc import Iterator

from busbar.codecs.indi.blobs import SPACE, BlobReader
from busbar.codecs.indi.elements import BlobEnd, Element, Skipped
from busbar.codecs.indi.parse import ATTRIBUTES, NAMES, Malformed, parse
from busbar.codecs.indi.text import Text

HEAD_LIMIT = 64 * 1024  # bytes of a start tag or comment; a message is a line
# bytes of anything but a BLOB; 266 vectors of eleven drivers have 150 kB in all
ELEMENT_LIMIT = 8 * 1024 * 1024

_HEAD = re.compile(rb"<([A-Za-z]+)" + ATTRIBUTES.encode() + rb">")
_ROOT = re.compile(rb"<(?:" + b"|".join(NAMES) + rb")(?=[\s/>])")
_CLOSE = {name: re.compile(rb"</" + name + rb"\s*>") for name in NAMES}
_BLOBS = (b"setBLOBVector", b"newBLOBVector")
_TAIL = 24  # bytes that may be the beginning of a start tag

# where to go on, and what was there; None: more bytes are needed
Step = tuple[int, Element | None]


class Reader:
    """Takes bytes as they come, gives elements."""

    def __init__(self) -> None:
        self._buffer = b""
        self._position = 0
        self._scanned = 0  # where to look on for the end of the element at the position
        # until here elements may have no end: one had that of another
        self._doubtful = 0
        # within something skipped: only a start tag that we know counts
        self._lost = False
        self._text = Text()
        self._blob: BlobReader | None = None

    @property
    def errors(self) -> int:
        """Things that cost an element or were repaired."""
        return self._text.errors

    @property
    def latin1(self) -> int:
        """Texts that were not UTF-8 and have been read as Latin-1."""
        return self._text.latin1

    def feed(self, data: bytes) -> None:
        """Take bytes."""
        rest = self._buffer[self._position :]
        self._buffer = rest + data if rest else data
        self._scanned = max(0, self._scanned - self._position)
        self._doubtful = max(0, self._doubtful - self._position)
        self._position = 0

    def elements(self) -> Iterator[Element]:
        """Give what the bytes so far complete, in order."""
        while True:
            self._position, element = self._step(self._position)
            if element is None:
                return
            kind = type(element)
            if kind is Skipped or (kind is BlobEnd and element.error):  # type: ignore[union-attr]  # it is one
                self._text.errors += 1
            yield element

    def _step(self, start: int) -> Step:
        if self._blob is not None:
            return self._step_blob(self._blob, start)
        if self._lost:
            return self._find_root(start)
        buffer = self._buffer
        position = SPACE.match(buffer, start).end()  # type: ignore[union-attr]  # it matches nothing, too
        if position == len(buffer):
            return position, None
        head = _HEAD.match(buffer, position)
        if head is None:
            return self._no_head(position)
        name = head[1]
        if name not in _CLOSE:
            return self._skip(
                position, head.end(), f"no element of INDI: {name.decode()}"
            )
        if head[2].endswith(b"/"):
            return head.end(), self._parse(head, b"")
        return self._begin_blob(head) if name in _BLOBS else self._element(head)

    def _element(self, head: re.Match[bytes]) -> Step:
        close = _CLOSE[head[1]].search(self._buffer, max(head.end(), self._scanned))
        if close is None:
            return self._unfinished(head)
        self._scanned = 0
        if head.start() < self._doubtful and (
            inner := _ROOT.search(self._buffer, head.end(), close.start())
        ):
            return inner.start(), Skipped(
                f"{head[1].decode()} has no end", head[0][:100]
            )
        element = self._parse(head, self._buffer[head.end() : close.start()])
        # perhaps its end tag is missing, and this one is another element's
        if isinstance(element, Skipped):
            inner = _ROOT.search(self._buffer, head.end(), close.start())
            self._doubtful = close.start()
            return inner.start() if inner else close.end(), element
        return close.end(), element

    def _parse(self, head: re.Match[bytes], body: bytes) -> Element:
        try:
            return parse(
                head[1], self._text.decode(head[2]), self._text.decode(body), self._text
            )
        except Malformed as error:
            return Skipped(f"{head[1].decode()}: {error}", head[0][:100])

    def _unfinished(self, head: re.Match[bytes]) -> Step:
        """Wait for the end, unless another element begins before it."""
        position, name = head.start(), head[1].decode()
        inner = _ROOT.search(self._buffer, max(head.end(), self._scanned - _TAIL))
        if inner:
            return self._skip(position, inner.start(), f"{name} has no end")
        if len(self._buffer) - position > ELEMENT_LIMIT:
            return self._skip(
                position, head.end(), (f"{name} has more than {ELEMENT_LIMIT} bytes")
            )
        self._scanned = max(head.end(), len(self._buffer) - _TAIL)
        return position, None

    def _no_head(self, position: int) -> Step:
        """Something else.

        A declaration, text, a start tag that is not whole yet or never will be.
        """
        buffer = self._buffer
        if buffer[position] != 0x3C:
            return self._skip(position, position, "text between elements")
        if (
            buffer.startswith(b"<?", position)
            and (end := buffer.find(b"?>", position)) >= 0
        ):
            return end + 2, Skipped(
                "an XML declaration or instruction", buffer[position : position + 100]
            )
        comment = buffer.startswith(b"<!--", position)
        if not comment and buffer.find(b"<", position + 1) >= 0:
            return self._skip(position, position + 1, "no start tag")
        if len(buffer) - position > HEAD_LIMIT:
            return self._skip(
                position, position + 1, f"no end within {HEAD_LIMIT} bytes"
            )
        return position, None

    def _skip(self, position: int, beyond: int, why: str) -> Step:
        """Give up what begins at a position.

        Go on with a start tag that we know, from `beyond` on.
        """
        self._lost, self._scanned = True, 0
        return beyond, Skipped(why, self._buffer[position : position + 100])

    def _find_root(self, start: int) -> Step:
        found = _ROOT.search(self._buffer, start)
        if found is None:
            return max(start, len(self._buffer) - _TAIL), None
        self._lost = False
        return self._step(found.start())

    def _begin_blob(self, head: re.Match[bytes]) -> Step:
        vector = self._parse(head, b"")
        if isinstance(vector, Skipped):
            self._lost = True
            return head.end(), vector
        self._blob = BlobReader(vector, _CLOSE[head[1]], self._text)
        return self._step(head.end())

    def _step_blob(self, blob: BlobReader, start: int) -> Step:
        position, element = blob.step(self._buffer, start)
        if blob.over:
            self._blob, self._lost = None, blob.lost
        return position, element
