"""Decoder of GCT frames. Source: docs/protocols/gct.md, 2 to 4."""

from busbar.codecs.gct.ddp import Reassembly
from busbar.codecs.gct.messages import BROADCAST, DDP, KINDS, Message, decode, fields


class Decoder:
    """Decodes frames with 29-bit identifiers in the order they came."""

    def __init__(self) -> None:
        self._ddp = Reassembly()

    @property
    def lost(self) -> int:
        """DDP messages that never became whole."""
        return self._ddp.lost

    def feed(self, id: int, data: bytes, time: float) -> Message | None:
        """Return the message that a frame is or completes; None for anything else.

        `time` is in s, of any clock.
        """
        kind, src, dst, type_data = fields(id)
        if src == BROADCAST:
            return None
        if kind == DDP:
            return self._ddp.feed(src, dst, type_data, data, time)
        return decode(kind, src, dst, type_data, data)


def speaks(id: int) -> bool:
    """True for a 29-bit identifier that GCT uses."""
    kind, src, _, _ = fields(id)
    return kind in KINDS and src != BROADCAST
