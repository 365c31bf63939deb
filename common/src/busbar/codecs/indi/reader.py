"""Reader of elements: from bytes in any pieces to structs.

An INDI stream is an XML document that never ends and often is not quite XML, hence its
own tokenizer. It knows start tags, end tags, text, comments and CDATA, no DTD
and only the five entities of XML, so nothing expands. An element that is wrong, cut off
or too large is Skipped; reading goes on with the next one.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from busbar.codecs.indi.blobs import BlobReader, Step
from busbar.codecs.indi.elements import BlobEnd, Element, Skipped
from busbar.codecs.indi.input import Input
from busbar.codecs.indi.parse import ATTRIBUTES, NAMES, Malformed, parse
from busbar.codecs.indi.text import TextDecoder

HEAD_LIMIT = 64 * 1024  # bytes of a start tag or comment; a message is a line
# bytes of an element that is not a BLOB; 266 vectors of eleven drivers have 150 kB
ELEMENT_LIMIT = 8 * 1024 * 1024

_HEAD = re.compile(rb"<([A-Za-z]++)" + ATTRIBUTES.encode() + rb">")
_ROOT = re.compile(rb"<(?:" + b"|".join(NAMES) + rb")(?=[\s/>])")
_CLOSE = {name: re.compile(rb"</" + name + rb"\s{0,16}+>") for name in NAMES}
_INSTRUCTION_END = re.compile(rb"\?>")
_ANY_TAG = re.compile(rb"<")
# where a start tag may end, by the quotation mark that is open
_MARKS = {
    b"": re.compile(rb"""[<>"']"""),
    b'"': re.compile(rb"""[<"]"""),
    b"'": re.compile(rb"""[<']"""),
}
_BLOBS = (b"setBLOBVector", b"newBLOBVector")
_TAIL = 24  # bytes that may be the beginning of a start tag
_SHOWN = 100  # bytes of what is skipped
_LESS_THAN = 0x3C  # "<"


class _Open(NamedTuple):
    """A start tag whose element has not ended."""

    name: bytes
    attributes: bytes
    start: int  # of the tag
    body: int


class ElementReader:
    """Takes bytes as they come, gives elements."""

    def __init__(self) -> None:
        self._input = Input()
        self._position = 0
        self._open: _Open | None = None  # it begins at the position
        # bytes behind the position that are the beginning of a start tag, and the
        # quotation mark that is open there
        self._scanned = 0
        self._quote = b""
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
        self._input.take(taken)
        self._input.data += data
        self._doubtful = max(0, self._doubtful - taken)
        self._position = 0
        if self._open is not None:  # it began at the position
            name, attributes, _, body = self._open
            self._open = _Open(name, attributes, 0, body - taken)

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
        if self._open is not None:
            return self._element(self._open)
        if self._blob is not None:
            return self._step_blob(self._blob, start)
        if self._lost:
            return self._find_root(start)
        position = self._input.skip_space(start)
        if position != start:
            self._scanned = 0
        if position == len(self._input):
            return position, None
        if self._scanned and not self._is_decided(position):
            return self._wait(position)
        self._scanned = 0
        head = _HEAD.match(self._input.data, position)
        if head is None:
            return self._no_head(position)
        return self._begin(_Open(head[1], head[2], position, head.end()))

    def _begin(self, head: _Open) -> Step:
        if head.name not in _CLOSE:
            why = f"no element of INDI: {head.name.decode()}"
            return self._skip(head.start, head.body, why)
        if head.attributes.endswith(b"/"):
            return head.body, self._parse(head, b"")
        if head.name in _BLOBS:
            return self._begin_blob(head)
        return self._element(head)

    def _element(self, head: _Open) -> Step:
        self._open = None
        close = self._input.search(_CLOSE[head.name], head.body)
        if close is None:
            return self._unfinished(head)
        end = close.start()
        if head.start < self._doubtful:
            inner = self._root(head.body, end)
            if inner is not None:
                why = f"{head.name.decode()} has no end"
                return inner, self._skipped(head.start, why, head.body)
        element = self._parse(head, self._input.data[head.body : end])
        if not isinstance(element, Skipped):
            return close.end(), element
        # perhaps its end tag is missing, and this one belongs to another element
        self._doubtful = max(self._doubtful, end)
        inner = self._root(head.body, end)
        if inner is None:
            return close.end(), element
        return inner, element

    def _root(self, start: int, end: int | None = None) -> int | None:
        """Return where the next known start tag begins, None if it is not before."""
        found = self._input.search(_ROOT, start)
        if found is None or (end is not None and found.start() >= end):
            return None
        return found.start()

    def _parse(self, head: _Open, body: bytes | bytearray) -> Element:
        text = self._text
        decoded = text.decode(head.attributes)
        try:
            return parse(head.name, decoded, text.decode(body), text)
        except Malformed as error:
            why = f"{head.name.decode()}: {error}"
            return self._skipped(head.start, why, head.body)

    def _unfinished(self, head: _Open) -> Step:
        """Wait for the end, unless another element begins before it."""
        name = head.name.decode()
        inner = self._root(head.body)
        if inner is not None:
            return self._skip(head.start, inner, f"{name} has no end")
        if len(self._input) - head.start > ELEMENT_LIMIT:
            why = f"{name} has more than {ELEMENT_LIMIT} bytes"
            return self._skip(head.start, head.body, why)
        self._open = head
        return head.start, None

    def _no_head(self, position: int) -> Step:
        """Skip what is not a start tag, or wait for the rest of one."""
        data = self._input.data
        beyond = position + 1
        if data[position] != _LESS_THAN:
            return self._skip(position, position, "text between elements")
        if data.startswith(b"<!--", position):
            return self._wait(position)
        if data.startswith(b"<?", position):
            return self._instruction(position)
        self._scanned = 1
        self._quote = b""
        if self._is_decided(position):
            return self._skip(position, beyond, "no start tag")
        return self._wait(position)

    def _instruction(self, position: int) -> Step:
        end = self._input.search(_INSTRUCTION_END, position)
        if end is not None:
            why = "an XML declaration or instruction"
            return end.end(), self._skipped(position, why)
        beyond = position + 1
        if self._input.search(_ANY_TAG, beyond) is not None:
            return self._skip(position, beyond, "no start tag")
        return self._wait(position)

    def _is_decided(self, position: int) -> bool:
        """Say whether the bytes at a position are a start tag by now, or cannot be."""
        data = self._input.data
        while True:
            place = position + self._scanned
            mark = _MARKS[self._quote].search(data, place)
            if mark is None:
                self._scanned = len(data) - position
                return False
            self._scanned = mark.end() - position
            if mark[0] in (b"<", b">"):
                return True
            self._quote = b"" if self._quote else mark[0]

    def _wait(self, position: int) -> Step:
        if len(self._input) - position > HEAD_LIMIT:
            why = f"no end within {HEAD_LIMIT} bytes"
            return self._skip(position, position + 1, why)
        return position, None

    def _skip(self, position: int, beyond: int, why: str) -> Step:
        """Skip the input at a position.

        Reading goes on with the first known start tag from `beyond` on.
        """
        self._lost = True
        self._scanned = 0
        return beyond, self._skipped(position, why)

    def _skipped(self, position: int, why: str, end: int | None = None) -> Skipped:
        shown = position + _SHOWN
        began = self._input.data[position : min(shown, end or shown)]
        return Skipped(why, bytes(began))

    def _find_root(self, start: int) -> Step:
        found = self._root(start)
        if found is None:
            return max(start, len(self._input) - _TAIL), None
        self._lost = False
        return self._step(found)

    def _begin_blob(self, head: _Open) -> Step:
        vector = self._parse(head, b"")
        if isinstance(vector, Skipped):
            self._lost = True
            return head.body, vector
        self._blob = BlobReader(vector, _CLOSE[head.name], self._text)
        return self._step(head.body)

    def _step_blob(self, blob: BlobReader, start: int) -> Step:
        position, element = blob.step(self._input, start)
        if blob.over:
            self._blob = None
            self._lost = blob.lost
        return position, element
