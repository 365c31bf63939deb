"""INDI as recorded text: split into elements, trimmed, and compared."""

import base64
import re
from collections.abc import Container, Iterable, Iterator

from busbar.codecs import indi
from busbar.codecs.indi import (
    Element,
    EnableBLOB,
    GetProperties,
    NewVector,
    PingReply,
    PingRequest,
    SetVector,
)
from tests.traces.trace import FROM_PEER, TO_PEER, Line

_START = re.compile(rb"<(\w+)([^>]*?)(/?)>", re.DOTALL)
_BLOB = re.compile(rb"(<oneBLOB[^>]*>)([^<]*)(</oneBLOB>)")
_SIZES = re.compile(rb'\b(size|len|enclen)="\d+"')
_NUMBER = re.compile(rb"(<oneNumber[^>]*>)[^<]*")
_CARD, _BLOCK = 80, 2880  # bytes; source: FITS 4.0, 3
_STREAM = 60  # bytes of a frame that are kept
# cards of a shortened image, besides those that it has to have
_KEPT = ("EXPTIME", "DATE-OBS", "INSTRUME", "OBJCTRA", "OBJCTDEC", "XBINNING")


class Splitter:
    """Cuts a stream into its top elements, as bytes."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        self._rest += data
        while (end := self._end()) is not None:
            element = self._rest[:end]
            self._rest = self._rest[end:]
            yield element.strip()

    def _end(self) -> int | None:
        start = _START.search(self._rest)
        if start is None:
            return None
        if start[3]:
            return start.end()
        tag = b"</" + start[1] + b">"
        found = self._rest.find(tag, start.end())
        return None if found < 0 else found + len(tag)


def elements(lines: Iterable[Line]) -> Iterator[Line]:
    """Return lines of one element each, of lines with pieces of the stream."""
    splitters: dict[tuple[int, str], Splitter] = {}
    for line in lines:
        if line.direction not in (TO_PEER, FROM_PEER):
            yield line
            continue
        key = (line.connection, line.direction)
        splitter = splitters.setdefault(key, Splitter())
        for element in splitter.feed(line.data):
            yield Line(line.t, line.direction, element, line.connection)


def parsed(data: bytes) -> list[Element]:
    """Return the elements of recorded text; pieces of BLOBs are left out."""
    reader = indi.ElementReader()
    reader.feed(data)
    reader.feed(b'<message message="end"/>')
    pieces = (indi.BlobStart, indi.BlobData, indi.BlobEnd)
    return [each for each in reader.elements() if not isinstance(each, pieces)][:-1]


class IndiDialect:
    """INDI, for `Replay`."""

    def __init__(self) -> None:
        self._reader = indi.ElementReader()

    def feed(self, data: bytes) -> Iterable[Element]:
        self._reader.feed(data)
        return list(self._reader.elements())

    def same(self, recorded: Element, said: Element) -> bool:
        return same(recorded, said)

    def answer(self, said: Element) -> bytes | None:
        match said:
            case PingRequest(uid=uid):
                return indi.encode(PingReply(uid))
            case GetProperties() | EnableBLOB():
                return b""
        return None

    def adapted(self, data: bytes, asked: Element) -> bytes:
        return data + b"\n"


def same(recorded: Element, said: Element) -> bool:
    """Return whether a client asks for the same; times and layout do not count.

    Of numbers all that was recorded has to be there; of switches those that are On.
    """
    if not (isinstance(recorded, NewVector) and isinstance(said, NewVector)):
        return recorded == said
    target = (recorded.kind, recorded.device, recorded.name)
    if target != (said.kind, said.device, said.name):
        return False
    if recorded.kind == "Switch":
        return _on(recorded) == _on(said)
    for name, text in recorded.members.items():
        if name not in said.members or not _alike(
            recorded.kind, text, said.members[name]
        ):
            return False
    return True


def _on(switches: NewVector) -> set[str]:
    return {name for name, value in switches.members.items() if value == "On"}


def _alike(kind: str, one: str, other: str) -> bool:
    if kind != "Number":
        return one == other
    return abs(indi.parse_number(one) - indi.parse_number(other)) < 1e-6


def shortened(element: bytes) -> bytes:
    """Return an element with short BLOBs: a valid FITS file, the start of a frame."""

    def short(found: re.Match[bytes]) -> bytes:
        body = base64.b64decode(found[2])
        body = _short_fits(body) if body.startswith(b"SIMPLE") else body[:_STREAM]
        size = str(len(body)).encode()
        tag = _SIZES.sub(rb'\1="' + size + b'"', found[1])
        return tag + b"\n" + base64.b64encode(body) + b"\n    " + found[3]

    return _BLOB.sub(short, element)


def _short_fits(data: bytes) -> bytes:
    """Return a FITS file with some of the cards and without pixels."""
    cards = ["SIMPLE  =                    T", "BITPIX  =                   16"]
    cards.append("NAXIS   =                    0")
    for start in range(0, len(data), _CARD):
        card = data[start : start + _CARD].decode("latin-1")
        if card.startswith("END "):
            break
        if card[:8].strip() in _KEPT:
            cards.append(card)
    text = "".join(card.ljust(_CARD) for card in [*cards, "END"])
    return text.ljust(_BLOCK).encode("latin-1")


def trimmed(
    lines: Iterable[Line], kept: set[str], others: Container[int] = ()
) -> Iterator[Line]:
    """Leave out what is not of the `kept` vectors, and what repeats itself.

    Of sets that follow each other and differ only in numbers, and of equal messages,
    the first two and the last stay. What `other` connections hear is left out.
    """
    chosen = [line for line in lines if _is_about(line, kept, others)]
    runs: dict[tuple[int, bytes], list[int]] = {}
    dropped: set[int] = set()
    for index, line in enumerate(chosen):
        if line.direction == TO_PEER:
            runs.clear()
        if line.direction != FROM_PEER or line.data.startswith(b"<def"):
            continue
        run = runs.setdefault((line.connection, _kind(line.data)), [])
        run.append(index)
        if len(run) > 3:
            dropped.add(run.pop(2))
        subject = _vector(line.data)
        for key in list(runs):
            ours = key[0] == line.connection and _vector(key[1]) == subject
            if ours and key[1] != _kind(line.data):
                del runs[key]  # it has another state now
    for index, line in enumerate(chosen):
        if index not in dropped:
            yield Line(line.t, line.direction, shortened(line.data), line.connection)


def _kind(element: bytes) -> bytes:
    """Return an element without its numbers, body and time."""
    text = re.sub(rb' timestamp="[^"]*"', b"", element)
    text = re.sub(rb"(<oneBLOB[^>]*>)[^<]*", rb"\1", text)
    return _NUMBER.sub(rb"\1", _SIZES.sub(b"", text))


def _vector(element: bytes) -> bytes:
    found = re.search(rb'device="[^"]*" name="[^"]*"', element)
    return found[0] if found else _kind(element)


def _is_about(line: Line, kept: set[str], others: Container[int]) -> bool:
    if line.direction != FROM_PEER:
        return True
    if line.connection in others:
        return False
    for element in parsed(line.data):
        name = getattr(element, "name", "")
        if not isinstance(element, SetVector) and not name:
            return True
        return name in kept
    return True
