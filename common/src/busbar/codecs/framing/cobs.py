"""Consistent Overhead Byte Stuffing, frames end with a zero byte.

Source: Cheshire and Baker, Consistent Overhead Byte Stuffing, 1997, fig. 3. An encoder
may send an empty last block after a run of exactly 254 bytes: both forms are read.
"""

from busbar.codecs.framing.base import Separated

RUN = 254  # bytes of a block without a zero


class Cobs(Separated):
    """Frames stuffed by COBS; empty ones between two zeros are none."""

    separator = b"\0"

    def encode(self, payload: bytes) -> bytes:
        return encode(payload) + b"\0"

    def _raw_limit(self) -> int:
        return self.limit + self.limit // RUN + 2

    def _decode(self, piece: bytes) -> bytes | None:
        if not piece:
            return None
        frame = decode(piece)
        if frame is None:
            self._refuse(f"no COBS: {piece[:20].hex(' ')}")
        return frame


def encode(payload: bytes) -> bytes:
    """Return bytes without a zero that `decode` turns back into the payload."""
    out = bytearray()
    blocks = payload.split(b"\0")
    for index, block in enumerate(blocks):
        last = index == len(blocks) - 1
        while len(block) >= RUN:
            out.append(RUN + 1)
            out += block[:RUN]
            block = block[RUN:]
            if last and not block:
                return bytes(out)
        out.append(len(block) + 1)
        out += block
    return bytes(out)


def decode(stuffed: bytes) -> bytes | None:
    """Return the payload of stuffed bytes, None if they are none."""
    out = bytearray()
    at = 0
    while at < len(stuffed):
        code = stuffed[at]
        end = at + code
        if not code or end > len(stuffed):
            return None
        out += stuffed[at + 1 : end]
        at = end
        if code <= RUN and at < len(stuffed):
            out.append(0)
    return bytes(out)
