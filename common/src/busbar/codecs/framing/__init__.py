r"""Framings of byte streams without I/O: bytes to frames, a payload to bytes.

    reader = Lines(b"\r\n")
    for frame in reader.feed(data): ...
    data = reader.encode(payload)

One bad frame costs one frame: it is counted in `wrong`, its reason is in `reason`.
"""

from busbar.codecs.framing.base import FRAME_LIMIT, Framing
from busbar.codecs.framing.chunks import Chunks, IdleGap, Rpio
from busbar.codecs.framing.cobs import Cobs
from busbar.codecs.framing.delimited import Lines, Markers, PatternEnd
from busbar.codecs.framing.regex import Pattern
from busbar.codecs.framing.sized import FixedSize, LengthPrefix
from busbar.codecs.framing.slip import Slip
from busbar.codecs.framing.sums import CHECKS, Check, Checked

__all__ = [
    "CHECKS",
    "FRAME_LIMIT",
    "Check",
    "Checked",
    "Chunks",
    "Cobs",
    "FixedSize",
    "Framing",
    "IdleGap",
    "LengthPrefix",
    "Lines",
    "Markers",
    "Pattern",
    "PatternEnd",
    "Rpio",
    "Slip",
]
