"""CIP frames.

`type:1 | length:2, big-endian | payload`, out of a byte stream that splits and joins
them at will.

Source: docs/protocols/cip.md, 3 and 4. Frames carry no mark to find them by. What
cannot be a frame (a type or a length that nobody sends) is skipped up to the next that
can: the npm client crestron-cip, for one, sends three stray bytes behind its sign-on.
"""

import re
from collections.abc import Iterator
from itertools import groupby
from typing import NamedTuple

from busbar.errors import TooLarge

LENGTH_LIMIT = 0xFFFF  # bytes of a payload
HEADER = 3

# The longest payload that somebody could mean, by type [inf]; more is a sign of lost
# step.
_LONGEST = {
    0x00: 64,
    0x01: 64,
    0x02: 64,
    0x03: 256,
    0x04: 256,
    0x05: 1024,
    0x0A: 64,
    0x0B: 512,
    0x0C: 64,
    0x0D: 16,
    0x0E: 16,
    0x0F: 16,
    0x12: LENGTH_LIMIT,
    0x26: 8192,
}
_LONGEST_OTHER = 1024  # of a type that is not in the table
_HIGHEST_TYPE = 0x3F  # the highest that was ever seen is 0x28; letters are above
STRAY = "no frame"  # why bytes between frames are skipped


def _heads() -> re.Pattern[bytes]:
    """Return what the first bytes of a frame look like.

    A search is 30 times as fast as a look at each byte.
    """
    longest = {
        type_: _LONGEST.get(type_, _LONGEST_OTHER) for type_ in range(_HIGHEST_TYPE + 1)
    }
    alike = groupby(sorted(longest, key=longest.__getitem__), key=longest.__getitem__)
    kinds = (
        b"(?<=[%b])(?:%b)" % (b"".join(map(_escaped, types)), _up_to(limit))
        for limit, types in alike
    )
    return re.compile(
        b"[%b-%b](?:%b)" % (_escaped(0), _escaped(_HIGHEST_TYPE), b"|".join(kinds)),
        re.DOTALL,
    )


def _up_to(limit: int) -> bytes:
    """Return the pattern of the lengths from 0 to `limit`."""
    high, low = divmod(limit, 256)
    top = b"%b[%b-%b]" % (_escaped(high), _escaped(0), _escaped(low))
    return top if high == 0 else b"[%b-%b].|%b" % (_escaped(0), _escaped(high - 1), top)


def _escaped(byte: int) -> bytes:
    return b"\\x%02x" % byte


class Frame(NamedTuple):
    """One frame."""

    type: int
    payload: bytes


class Skipped(NamedTuple):
    """Bytes that mean nothing to us, and why; they cost themselves only."""

    why: str
    data: bytes


def encode_frame(type_: int, payload: bytes) -> bytes:
    """Return one frame; raise TooLarge for a payload above 65535 bytes."""
    if len(payload) > LENGTH_LIMIT:
        raise TooLarge(
            (f"a CIP frame holds at most {LENGTH_LIMIT} bytes, not {len(payload)}"),
            limit=LENGTH_LIMIT,
        )
    return bytes((type_, len(payload) >> 8, len(payload) & 0xFF)) + payload


def split(data: bytes) -> list[Frame] | None:
    """Return the frames that these bytes are exactly, None if they are not."""
    frames, start = [], 0
    while start + HEADER <= len(data):
        end = start + HEADER + int.from_bytes(data[start + 1 : start + HEADER])
        frames.append(Frame(data[start], data[start + HEADER : end]))
        start = end
    return frames if frames and start == len(data) else None


class FrameReader:
    """Frames out of a byte stream: feed() what arrived, then take all frames().

    It keeps at most one that is open.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._stray = bytearray()

    def feed(self, data: bytes) -> None:
        self._buffer += data

    def frames(self) -> Iterator[Frame | Skipped]:
        """Return what is complete; each is off the buffer before it is given."""
        buffer, start = self._buffer, 0
        try:
            while len(buffer) - start >= HEADER:
                type_, length = (
                    buffer[start],
                    buffer[start + 1] << 8 | buffer[start + 2],
                )
                if not _plausible(type_, length):
                    after = _next_head(buffer, start)
                    self._stray += buffer[start:after]
                    start = after
                    continue
                if self._stray:
                    yield self._take_stray()
                end = start + HEADER + length
                if end > len(buffer):
                    return
                payload = bytes(buffer[start + HEADER : end])
                start = end
                yield Frame(type_, payload)
        finally:
            del buffer[:start]
        if self._stray:
            yield self._take_stray()

    def _take_stray(self) -> Skipped:
        data = bytes(self._stray)
        self._stray.clear()
        return Skipped(STRAY, data)


_HEAD = _heads()


def _plausible(type_: int, length: int) -> bool:
    return type_ <= _HIGHEST_TYPE and length <= _LONGEST.get(type_, _LONGEST_OTHER)


def _next_head(buffer: bytearray, start: int) -> int:
    """Return where the next frame may begin, or where too little is there to tell."""
    found = _HEAD.search(buffer, start)
    return found.start() if found else len(buffer) - HEADER + 1
