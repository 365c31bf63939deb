"""Messages out of a stream of bytes, and back."""

from collections.abc import Callable, Iterator
from typing import Any

from busbar.codecs.cip.frames import Frame, FrameReader, Skipped
from busbar.codecs.cip.joins import DATA, EXTENDED, PLAIN, Style, Update, encode_update
from busbar.codecs.cip.records import (
    Clock,
    Command,
    Record,
    Records,
    encode_clock,
    encode_command,
)
from busbar.codecs.cip.sign_on import READERS, Around, Short, encode_around

Message = Around | Record

# Acknowledgements [2+], cloud and services [1: L].
_IGNORED = frozenset({0x00, 0x1F, 0x20, 0x21, 0x22, 0x23, 0x24, 0x25, 0x28})
_INNER_LENGTH = {DATA: 1, EXTENDED: 2}  # bytes
_KNOWN = {*_IGNORED, *_INNER_LENGTH, *READERS}


class Reader:
    """Messages out of a byte stream: feed() what arrived, then take all messages().

    It never raises: what is unknown or wrong comes as Skipped and costs itself only.
    """

    def __init__(self, style: Style = PLAIN) -> None:
        self.complete = 0  # whole frames of a known type so far
        self._frames = FrameReader()
        self._records = Records(style.smart_offset)

    def agree(self, style: Style) -> None:
        """Read all frames that were not taken yet in this style."""
        self._records.smart_offset = style.smart_offset

    def feed(self, data: bytes) -> None:
        self._frames.feed(data)

    def messages(self) -> Iterator[Message]:
        """Yield complete messages, in order; each is read when it is taken."""
        for frame in self._frames.frames():
            if isinstance(frame, Skipped):
                yield frame
                continue
            if frame.type in _KNOWN:
                self.complete += 1
            if frame.type in _INNER_LENGTH:
                size = _INNER_LENGTH[frame.type]
                yield from self._records.read(frame.payload, size)
            elif frame.type not in _IGNORED:
                yield _around(frame)


def _around(frame: Frame) -> Around | Skipped:
    reader = READERS.get(frame.type)
    if reader is None:
        return Skipped(f"a frame of the unknown type 0x{frame.type:02x}", frame.payload)
    try:
        return reader(frame.payload)
    except Short as error:
        return Skipped(f"a frame of type 0x{frame.type:02x}: {error}", frame.payload)


def encode(message: Around | Update | Command | Clock, style: Style = PLAIN) -> bytes:
    """Return the frame of a message.

    Raise OutOfRange, TooLarge, BadRequest for a value that does not fit.
    """
    encoder = _ENCODERS.get(type(message))
    if encoder is None:
        return encode_around(message)  # type: ignore[arg-type]  # by type
    return encoder(message, style)


def _command(command: Command, style: Style) -> bytes:
    return encode_command(command, style.handle)


def _clock(clock: Clock, style: Style) -> bytes:
    return encode_clock(clock, style.handle)


_ENCODERS: dict[type, Callable[[Any, Style], bytes]] = {
    Update: encode_update,
    Command: _command,
    Clock: _clock,
}
