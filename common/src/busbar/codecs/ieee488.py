"""Answers of IEEE 488.2 and SCPI instruments.

Binary blocks, numbers, booleans, strings and error queue entries.

Sources: IEEE 488.2-1992 section 8 (response elements), SCPI-1999 volume 1 (7.2.1, 7.3)
and volume 2 (21.8).
"""

import math
import re

from busbar.errors import BadRequest, ProtocolError, TooLarge

# bytes; the deepest oscilloscope records in one answer stay below this
BLOCK_LIMIT = 64 * 1024 * 1024
# bytes; one digit tells the number of digits, so nine of them are the most (8.7.9.2)
MAX_DECLARED = 999_999_999

_HEADER_SIZE = 11  # '#', the digit, up to nine digits
_SHOWN = 32  # bytes or characters of a bad answer that an error message repeats
# characters: a mantissa has at most 255 digits (7.7.2.4.1), the rest is room for
# signs, the point and the exponent
_LONGEST_NUMBER = 264
_BLANKS = " \t\r\n"  # a control character in a number is noise on the line
_NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[Ee][+-]?\d+)?", re.ASCII)
_INTEGER = re.compile(r"[+-]?\d+", re.ASCII)
_ERROR = re.compile(r"[ \t\r\n]*([+-]?\d{1,5})[ \t]*,(.*)", re.ASCII | re.DOTALL)
_TERMINATOR = re.compile(rb"\r?\n")
_SPECIAL = {9.91e37: math.nan, 9.9e37: math.inf, -9.9e37: -math.inf}
_BOOLEANS = {"ON": True, "OFF": False}


def encode_block(data: bytes) -> bytes:
    """Return `data` as a definite length block; raise TooLarge above 999 999 999 bytes.

    Source: IEEE 488.2, 8.7.9.
    """
    if len(data) > MAX_DECLARED:
        raise TooLarge(
            f"a block holds at most {MAX_DECLARED} bytes, not {len(data)}",
            limit=MAX_DECLARED,
        )
    length = b"%d" % len(data)
    return b"#%d%b%b" % (len(length), length, data)


def decode_block(message: bytes) -> bytes:
    """Return the payload of one whole message.

    Its terminator may be missing behind a definite block.

    Source: IEEE 488.2, 8.7.9 and 8.7.10.
    """
    header = _header(message[:_HEADER_SIZE])
    if header is None:
        raise ProtocolError(f"the block ends within its header: {message!r}")
    start, length = header
    if length is None:
        return _indefinite(message[start:])
    payload = message[start : start + length]
    rest = message[start + length :]
    if len(payload) < length or rest not in (b"", b"\n", b"\r\n"):
        raise ProtocolError(
            f"the block declares {length} bytes and has {len(message) - start}"
        )
    return payload


class BlockReader:
    r"""Binary blocks out of a byte stream.

    feed() what arrived, then message() until it returns None.

    A text answer in place of a block costs one error and is skipped through its
    newline; a block above `limit` costs one error and is skipped by its declared
    length.
    """

    def __init__(self, limit: int = BLOCK_LIMIT) -> None:
        self._limit = limit
        self._reset()

    @property
    def indefinite(self) -> bool:
        """Whether an indefinite block is arriving.

        Only the end of the answer ends it, then call finish().
        """
        return self._indefinite

    @property
    def terminated(self) -> bool:
        """Whether the terminator of the last block was consumed.

        It may arrive after the block.
        """
        return self._terminated

    @property
    def rest(self) -> bytes:
        """The bytes that were fed and belong to no message yet."""
        return bytes(self._buffer)

    def feed(self, data: bytes) -> None:
        """Take what arrived; call message() after each feed: it bounds the buffer."""
        self._buffer += data

    def message(self) -> bytes | None:
        """Return the next definite block's payload, None if more is needed.

        Raise ProtocolError once per bad one.
        """
        self._skip()
        if self._at_start():
            self._start()
        # its NL is no payload
        if self._indefinite and len(self._buffer) > self._limit + 1:
            raise self._bad_line(
                f"an indefinite block is longer than the limit of {self._limit} bytes"
            )
        if self._length is None or len(self._buffer) < self._length:
            return None
        return self._take(self._length)

    def finish(self) -> bytes:
        """Return the indefinite block now that the answer has ended.

        Raise ProtocolError for any other or cut block.
        """
        data = bytes(self._buffer)
        length = self._length
        indefinite = self._indefinite
        self._reset()
        if indefinite:
            return _indefinite(data)
        raise ProtocolError(
            f"the answer ended {len(data)} bytes into a block of "
            f"{length or 'unknown'} bytes"
        )

    def _reset(self) -> None:
        self._buffer = bytearray()
        self._length: int | None = None  # of the definite block that is arriving
        self._indefinite = False
        self._skip_line = False
        self._skip_bytes = 0
        self._terminated = True

    def _at_start(self) -> bool:
        if (
            self._skip_line
            or self._skip_bytes
            or self._indefinite
            or self._length is not None
        ):
            return False
        self._drop_terminator()
        return self._terminated or self._buffer != b"\r"

    def _start(self) -> None:
        try:
            header = _header(bytes(self._buffer[:_HEADER_SIZE]))
        except ProtocolError as error:
            raise self._bad_line(error.message) from None
        if header is None:
            return
        start, self._length = header
        del self._buffer[:start]
        self._indefinite = self._length is None
        if self._length is not None and self._length > self._limit:
            raise self._bad_block(self._length)

    def _take(self, length: int) -> bytes:
        with memoryview(self._buffer) as view:
            payload = bytes(view[:length])
        del self._buffer[:length]
        self._length = None
        self._terminated = False
        self._drop_terminator()
        return payload

    def _drop_terminator(self) -> None:
        if self._terminated:
            return
        match = _TERMINATOR.match(self._buffer)
        if match:
            del self._buffer[: match.end()]
            self._terminated = True

    def _bad_line(self, message: str) -> ProtocolError:
        self._indefinite = False
        self._skip_line = True
        self._skip()
        return ProtocolError(message)

    def _bad_block(self, length: int) -> ProtocolError:
        self._length = None
        self._skip_bytes = length
        self._terminated = False
        self._skip()
        return ProtocolError(
            f"a block of {length} bytes is above the limit of {self._limit} bytes"
        )

    def _skip(self) -> None:
        if self._skip_line:
            end = self._buffer.find(b"\n") + 1
            self._skip_line = not end
            del self._buffer[: end or len(self._buffer)]
        count = min(self._skip_bytes, len(self._buffer))
        self._skip_bytes -= count
        del self._buffer[:count]


def parse_number(text: str) -> float:
    """Return an NR1, NR2 or NR3 answer; 9.9E37 is inf, 9.91E37 nan.

    Source: SCPI-1999, 7.2.1.4 and 7.2.1.5.
    """
    word = text.strip(_BLANKS)
    if len(word) > _LONGEST_NUMBER or not _NUMBER.fullmatch(word):
        raise ProtocolError(f"not a number: {_shown(text)}")
    value = float(word)
    if not math.isfinite(value):
        raise ProtocolError(f"not a number of 64 bits: {_shown(text)}")
    # Instruments that compute in float32 print digits of its rounding, hence not
    # equality.
    for code, meaning in _SPECIAL.items():
        if math.isclose(value, code, rel_tol=1e-6):
            return meaning
    return value


def parse_boolean(text: str) -> bool:
    """Return a boolean answer: ON, OFF or an integer, of which 0 is false.

    Source: SCPI-1999, 7.3.
    """
    word = text.strip(_BLANKS)
    if _INTEGER.fullmatch(word):
        return word.strip("+-0") != ""
    if word.upper() not in _BOOLEANS:
        raise ProtocolError(f"not a boolean: {_shown(text)}")
    return _BOOLEANS[word.upper()]


def parse_string(text: str) -> str:
    """Return a quoted answer without its quotes, an unquoted one stripped.

    Source: IEEE 488.2, 8.7.8.
    """
    word = text.strip()
    quote = word[:1]
    if quote not in ("'", '"'):
        return word
    inner = word[1:-1]
    closed = len(word) > 1 and word.endswith(quote)
    if not closed or quote in inner.replace(quote * 2, ""):
        raise ProtocolError(f"not a quoted string: {_shown(text)}")
    return inner.replace(quote * 2, quote)


def quote_string(text: str) -> str:
    """Return `text` as a quoted parameter.

    Raise BadRequest unless it is printable ASCII. Source: IEEE 488.2, 7.7.5.
    """
    # a newline would end the command and start another one
    if not (text.isascii() and text.isprintable()):
        raise BadRequest(
            f"an instrument takes printable ASCII only, not {_shown(text)}"
        )
    return '"' + text.replace('"', '""') + '"'


def parse_error(text: str) -> tuple[int, str]:
    """Return number and text of an answer to SYSTem:ERRor?; 0 is no error.

    Source: SCPI-1999, 21.8.
    """
    match = _ERROR.fullmatch(text)
    if match is None:
        raise ProtocolError(f"not an entry of an error queue: {_shown(text)}")
    return int(match[1]), parse_string(match[2])


def _header(head: bytes) -> tuple[int, int | None] | None:
    """Return the size of a block's header and the declared length (None: indefinite).

    Return None while the header is incomplete.
    """
    count = head[1:2]
    if head[:1] not in (b"", b"#") or not (count or b"0").isdigit():
        raise ProtocolError(f"not an IEEE 488.2 block: {head!r}")
    end = 2 + int(count or b"0")
    if not (head[2:end] or b"0").isdigit():
        raise ProtocolError(f"not the length of an IEEE 488.2 block: {head!r}")
    if len(head) < end:
        return None
    length = int(head[2:end]) if end > 2 else None
    return end, length


def _indefinite(data: bytes) -> bytes:
    if not data.endswith(b"\n"):
        raise ProtocolError(
            f"an indefinite block ends without a newline: ...{data[-_SHOWN:]!r}"
        )
    return data[:-1]


def _shown(text: str) -> str:
    if len(text) > _SHOWN:
        text = text[:_SHOWN] + "..."
    return repr(text)
