"""Framings as the configuration names them."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from busbar.codecs import framing

Limit = Annotated[int, Meta(ge=1, le=16 * 1024 * 1024)]  # bytes
Gap = Annotated[float, Meta(gt=0, le=60)]  # s
Octets = Annotated[str, Meta(min_length=1, max_length=32)]
TERMINATORS = {"CR": "\r", "LF": "\n", "CRLF": "\r\n", "NUL": "\0"}


class _Kind(
    msgspec.Struct,
    frozen=True,
    forbid_unknown_fields=True,
    kw_only=True,
    tag_field="type",
):
    def build(self) -> framing.Framing:
        """Return a reader and writer of such frames."""
        raise NotImplementedError

    def __post_init__(self) -> None:
        self.build()


class Line(_Kind, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="line"):
    """Lines; `any`: CR, LF or both end one, and empty lines are none."""

    terminator: Octets = "\n"  # also the words CR, LF, CRLF, NUL, any
    maximum: Limit = framing.FRAME_LIMIT

    @property
    def bytes(self) -> bytes:
        """The terminator that a line gets."""
        if self.terminator == "any":
            return b"\r\n"
        word = TERMINATORS.get(self.terminator, self.terminator)
        return word.encode("latin1")

    def build(self) -> framing.Framing:
        ends = None if self.terminator == "any" else self.bytes
        return framing.Lines(ends, self.maximum)


class Cobs(_Kind, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="cobs"):
    """Consistent Overhead Byte Stuffing with a zero byte at the end."""

    maximum: Limit = framing.FRAME_LIMIT

    def build(self) -> framing.Framing:
        return framing.Cobs(self.maximum)


class Slip(_Kind, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="slip"):
    """RFC 1055."""

    maximum: Limit = framing.FRAME_LIMIT

    def build(self) -> framing.Framing:
        return framing.Slip(self.maximum)


class Length(
    _Kind, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="length"
):
    """A number in front says how many bytes follow."""

    size: Literal[1, 2, 3, 4] = 2
    order: Literal["big", "little"] = "big"
    # bytes of the frame before the number
    header: Annotated[int, Meta(ge=0, le=64)] = 0
    adjust: Annotated[int, Meta(ge=-64, le=64)] = 0  # added to the number
    maximum: Limit = framing.FRAME_LIMIT
    gap: Gap = 1.0  # s of silence that end what is not complete

    def build(self) -> framing.Framing:
        return framing.LengthPrefix(
            self.size, self.order, self.header, self.adjust, self.maximum, self.gap
        )


class Fixed(_Kind, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="fixed"):
    """Frames of one size."""

    size: Limit
    gap: Gap = 1.0  # s of silence that end what is not complete

    def build(self) -> framing.Framing:
        return framing.FixedSize(self.size, self.gap)


class Idle(_Kind, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="gap"):
    """A frame is what comes without a pause."""

    gap: Gap = 0.05
    maximum: Limit = framing.FRAME_LIMIT

    def build(self) -> framing.Framing:
        return framing.IdleGap(self.gap, self.maximum)


class Marker(
    _Kind, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="marker"
):
    """A start and a stop; the frame is what is between them."""

    start: Octets = "\x02"
    stop: Octets = "\x03"
    maximum: Limit = framing.FRAME_LIMIT

    def build(self) -> framing.Framing:
        start = self.start.encode("latin1")
        return framing.Markers(start, self.stop.encode("latin1"), self.maximum)


class Regex(_Kind, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="regex"):
    """A frame ends where the pattern first matches; it has all up to there."""

    pattern: Annotated[str, Meta(min_length=1, max_length=500)]
    maximum: Limit = framing.FRAME_LIMIT

    def build(self) -> framing.Framing:
        return framing.PatternEnd(self.pattern, self.maximum)


class NoFraming(
    _Kind, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="none"
):
    """What has come together is a frame."""

    maximum: Limit = framing.FRAME_LIMIT

    def build(self) -> framing.Framing:
        return framing.Chunks(self.maximum)


class Rpio(_Kind, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="rpio"):
    """As RPIO's TCP callbacks: reads of 1024 bytes, stripped; an empty one closes."""

    def build(self) -> framing.Framing:
        return framing.Rpio()


FramingKind = (
    Line | Cobs | Slip | Length | Fixed | Idle | Marker | Regex | NoFraming | Rpio
)
