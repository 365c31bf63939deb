"""Reader of elements: from bytes in any pieces to structs.

An INDI stream is an XML document that never ends and often is not quite XML, hence its
own tokenizer. It knows start tags, end tags, text, comments and CDATA, no DTD
and only the five entities of XML, so nothing expands. An element that is wrong, cut off
or too large is Skipped; reading goes on with the next one.
"""

import re
from collections.abc import Iterator

from busbar.codecs.indi.blobs import BlobReader, Step, skip_space
from busbar.codecs.indi.elements import BlobEnd, Element, Skipped
from busbar.codecs.indi.parse import ATTRIBUTES, NAMES, Malformed, parse
from busbar.codecs.indi.text import TextDecoder

HEAD_LIMIT = 64 * 1024  # bytes of a start tag or comment; a message is a line
# bytes of an element that is not a BLOB; 266 vectors of eleven drivers have 150 kB
ELEMENT_LIMIT = 8 * 1024 * 1024

_HEAD = re.compile(rb"<([A-Za-z]+)" + ATTRIBUTES.encode() + rb">")
_ROOT = re.compile(rb"<(?:" + b"|".join(NAMES) + rb")(?=[\s/>])")
_CLOSE = {name: re.compile(rb"</" + name + rb"\s*>") for name in NAMES}
_BLOBS = (b"setBLOBVector", b"newBLOBVector")
_TAIL = 24  # bytes that may be the beginning of a start tag
_SHOWN = 100  # bytes of what is skipped
_LESS_THAN = 0x3C  # "<"


class ElementReader:
    """Takes bytes as they come, gives elements."""

    def __init__(self) -> None:
        self._buffer = b""
        self._position = 0
        # where the search for the end of the element at the position goes on
        self._scanned = 0
        # elements up to here may lack their end: one had the end of another
        self._doubtful = 0
        # within skipped input: only a known start tag counts
        self._lost = False
        self._text = TextDecoder()
        self._blob: BlobReader | None = None

    @property
    def errors(self) -> int:
        """Faults that cost an element or were repaired."""
        return self._text.errors

    @property
    def latin1(self) -> int:
        """Texts that were not UTF-8 and were read as Latin-1."""
        return self._text.latin1

    def feed(self, data: bytes) -> None:
        """Take bytes."""
        taken = self._position
        rest = self._buffer[taken:]
        self._buffer = data
        if rest:
            self._buffer = rest + data
        self._scanned = max(0, self._scanned - taken)
        self._doubtful = max(0, self._doubtful - taken)
        self._position = 0

    def elements(self) -> Iterator[Element]:
        """Give the elements that the bytes so far complete, in order."""
        while True:
            self._position, element = self._step(self._position)
            if element is None:
                return
            broken = isinstance(element, BlobEnd) and element.error
            if broken or isinstance(element, Skipped):
                self._text.errors += 1
            yield element

    def _step(self, start: int) -> Step:
        if self._blob is not None:
            return self._step_blob(self._blob, start)
        if self._lost:
            return self._find_root(start)
        buffer = self._buffer
        position = skip_space(buffer, start)
        if position == len(buffer):
            return position, None
        head = _HEAD.match(buffer, position)
        if head is None:
            return self._no_head(position)
        name = head[1]
        if name not in _CLOSE:
            why = f"no element of INDI: {name.decode()}"
            return self._skip(position, head.end(), why)
        if head[2].endswith(b"/"):
            return head.end(), self._parse(head, b"")
        if name in _BLOBS:
            return self._begin_blob(head)
        return self._element(head)

    def _element(self, head: re.Match[bytes]) -> Step:
        buffer = self._buffer
        body = head.end()
        close = _CLOSE[head[1]].search(buffer, max(body, self._scanned))
        if close is None:
            return self._unfinished(head)
        self._scanned = 0
        end = close.start()
        if head.start() < self._doubtful:
            inner = _ROOT.search(buffer, body, end)
            if inner is not None:
                why = f"{head[1].decode()} has no end"
                return inner.start(), Skipped(why, head[0][:_SHOWN])
        element = self._parse(head, buffer[body:end])
        if not isinstance(element, Skipped):
            return close.end(), element
        # perhaps its end tag is missing, and this one belongs to another element
        self._doubtful = end
        inner = _ROOT.search(buffer, body, end)
        if inner is None:
            return close.end(), element
        return inner.start(), element

    def _parse(self, head: re.Match[bytes], body: bytes) -> Element:
        tag, name, attributes = head.group(0, 1, 2)
        text = self._text
        decoded = text.decode(attributes)
        try:
            return parse(name, decoded, text.decode(body), text)
        except Malformed as error:
            why = f"{name.decode()}: {error}"
            return Skipped(why, tag[:_SHOWN])

    def _unfinished(self, head: re.Match[bytes]) -> Step:
        """Wait for the end, unless another element begins before it."""
        name = head[1].decode()
        position = head.start()
        body = head.end()
        end = len(self._buffer)
        inner = _ROOT.search(self._buffer, max(body, self._scanned - _TAIL))
        if inner is not None:
            return self._skip(position, inner.start(), f"{name} has no end")
        if end - position > ELEMENT_LIMIT:
            why = f"{name} has more than {ELEMENT_LIMIT} bytes"
            return self._skip(position, body, why)
        self._scanned = max(body, end - _TAIL)
        return position, None

    def _no_head(self, position: int) -> Step:
        """Skip what is not a start tag, or wait for the rest of one."""
        buffer = self._buffer
        beyond = position + 1
        if buffer[position] != _LESS_THAN:
            return self._skip(position, position, "text between elements")
        if buffer.startswith(b"<?", position):
            end = buffer.find(b"?>", position)
            if end >= 0:
                why = "an XML declaration or instruction"
                return end + 2, self._skipped(position, why)
        comment = buffer.startswith(b"<!--", position)
        if not comment and buffer.find(b"<", beyond) >= 0:
            return self._skip(position, beyond, "no start tag")
        if len(buffer) - position > HEAD_LIMIT:
            why = f"no end within {HEAD_LIMIT} bytes"
            return self._skip(position, beyond, why)
        return position, None

    def _skip(self, position: int, beyond: int, why: str) -> Step:
        """Skip the input at a position.

        Reading goes on with the first known start tag from `beyond` on.
        """
        self._lost = True
        self._scanned = 0
        return beyond, self._skipped(position, why)

    def _skipped(self, position: int, why: str) -> Skipped:
        began = self._buffer[position : position + _SHOWN]
        return Skipped(why, began)

    def _find_root(self, start: int) -> Step:
        buffer = self._buffer
        found = _ROOT.search(buffer, start)
        if found is None:
            return max(start, len(buffer) - _TAIL), None
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
            self._blob = None
            self._lost = blob.lost
        return position, element
