"""Commands of a stream, under the names that comsrv gave them."""

from typing import Annotated

import msgspec
from msgspec import Meta

from busbar.bridge import (
    BadRequest,
    BusbarError,
    NoArguments,
    ProtocolError,
    Turn,
    command,
)
from busbar.bridge.values import Encoding, from_text, to_text
from busbar.codecs.framing import Cobs
from stream_bridge.pipe import READ_LIMIT, Exactly, Partial, Pipe, Split, UpTo
from stream_bridge.settings import Device

LONGEST = 3600.0  # s that one read may wait
Count = Annotated[int, Meta(ge=1, le=READ_LIMIT)]
Terminator = Annotated[str, Meta(min_length=1, max_length=32)]


class Read(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Arguments of `read_all`; `encoding`: how the result is written."""

    encoding: Encoding | None = None


class ReadCount(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of `read_exact` and `read_upto`."""

    count: Count
    encoding: Encoding | None = None


class ReadToTerm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of `read_to_term`; `term` is written as `encoding` says."""

    term: Terminator
    encoding: Encoding | None = None


class Write(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of `write`, `cobs_write` and `cobs_query`."""

    data: str
    encoding: Encoding | None = None


class ReadLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of `read_line`; `term`: where not that of the framing."""

    term: Terminator | None = None


class WriteLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of `write_line` and `query_line`: text without its terminator."""

    line: str
    term: Terminator | None = None


class Break(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of `break`: how long the line is held (s)."""

    seconds: Annotated[float, Meta(gt=0, le=5)] = 0.25


class Octets(msgspec.Struct, frozen=True):
    """Bytes as text, hex or base64."""

    data: str
    encoding: Encoding


class StreamCommands:
    """What can be asked of a stream."""

    def __init__(self, settings: Device, pipe: Pipe) -> None:
        self._settings = settings
        self._pipe = pipe

    @command(timeout=60.0)
    async def write(self, device: str, arguments: Write, turn: Turn) -> None:
        """Write bytes as they are."""
        await self._pipe.write(self._bytes(arguments.data, arguments.encoding))

    @command(timeout=LONGEST, holds="exchange")
    async def read_exact(self, device: str, arguments: ReadCount, turn: Turn) -> Octets:
        """Wait for so many bytes."""
        split = Exactly(arguments.count)
        return await self._read(split, arguments.encoding, turn)

    @command(timeout=LONGEST, holds="exchange")
    async def read_upto(self, device: str, arguments: ReadCount, turn: Turn) -> Octets:
        """Return what comes within the timeout, at most so many bytes."""
        turn.release()
        data = await self._pipe.read_some(arguments.count, self._timeout(turn))
        return self._octets(data, arguments.encoding)

    @command(timeout=60.0)
    async def read_all(self, device: str, arguments: Read, turn: Turn) -> Octets:
        """Return what is there, without waiting."""
        return self._octets(await self._pipe.read_all(), arguments.encoding)

    @command(timeout=LONGEST, holds="exchange")
    async def read_to_term(
        self, device: str, arguments: ReadToTerm, turn: Turn
    ) -> Octets:
        """Wait for bytes up to a terminator, which is not part of the result."""
        split = UpTo(self._bytes(arguments.term, arguments.encoding))
        return await self._read(split, arguments.encoding, turn)

    @command(timeout=60.0)
    async def write_line(self, device: str, arguments: WriteLine, turn: Turn) -> None:
        """Write a line of text and its terminator."""
        await self._pipe.write(self._line(arguments))

    @command(timeout=LONGEST, holds="exchange")
    async def read_line(self, device: str, arguments: ReadLine, turn: Turn) -> str:
        """Wait for a line of text."""
        turn.release()
        try:
            split = UpTo(self._term(arguments.term))
            line = await self._pipe.read(split, self._timeout(turn))
        except Partial as error:
            raise self._explained(error, None) from error
        return self._text(line)

    @command(timeout=LONGEST)
    async def query_line(self, device: str, arguments: WriteLine, turn: Turn) -> str:
        """Write a line and return the line that answers it."""
        split = UpTo(self._term(arguments.term))
        answer = await self._query(self._line(arguments), split, None, turn)
        return self._text(answer)

    @command(timeout=60.0)
    async def cobs_write(self, device: str, arguments: Write, turn: Turn) -> None:
        """Write a frame stuffed by COBS."""
        await self._pipe.write(self._stuffed(arguments))

    @command(timeout=LONGEST, holds="exchange")
    async def cobs_read(self, device: str, arguments: Read, turn: Turn) -> Octets:
        """Wait for a frame stuffed by COBS."""
        turn.release()
        try:
            split = UpTo(b"\0", skip_empty=True)
            stuffed = await self._pipe.read(split, self._timeout(turn))
        except Partial as error:
            raise self._explained(error, arguments.encoding) from error
        return self._unstuffed(stuffed, arguments.encoding)

    @command(timeout=LONGEST)
    async def cobs_query(self, device: str, arguments: Write, turn: Turn) -> Octets:
        """Write a frame stuffed by COBS and return the one that answers it."""
        split = UpTo(b"\0", skip_empty=True)
        question = self._stuffed(arguments)
        answer = await self._query(question, split, arguments.encoding, turn)
        return self._unstuffed(answer, arguments.encoding)

    @command(timeout=60.0)
    async def flush(self, device: str, arguments: NoArguments, turn: Turn) -> int:
        """Drop what has come and was not read; return how many bytes."""
        return await self._pipe.flush()

    @command(name="break", timeout=60.0)
    async def send_break(self, device: str, arguments: Break, turn: Turn) -> None:
        """Hold the line low for a moment."""
        await self._pipe.send_break(arguments.seconds)

    async def _read(
        self, split: Split, encoding: Encoding | None, turn: Turn
    ) -> Octets:
        turn.release()
        try:
            data = await self._pipe.read(split, self._timeout(turn))
        except Partial as error:
            raise self._explained(error, encoding) from error
        return self._octets(data, encoding)

    async def _query(
        self, question: bytes, split: Split, encoding: Encoding | None, turn: Turn
    ) -> bytes:
        try:
            return await self._pipe.query(question, split, self._timeout(turn))
        except Partial as error:
            raise self._explained(error, encoding) from error

    def _explained(self, error: Partial, encoding: Encoding | None) -> BusbarError:
        """Return the timeout with the bytes that came in its detail."""
        error.detail["partial"] = msgspec.to_builtins(
            self._octets(error.partial, encoding)
        )
        return error

    def _timeout(self, turn: Turn) -> float:
        return self._settings.timeout if turn.asked is None else turn.asked

    def _bytes(self, text: str, encoding: Encoding | None) -> bytes:
        wanted = encoding or self._settings.data
        return from_text(text, wanted, self._settings.charset)

    def _octets(self, data: bytes, encoding: Encoding | None) -> Octets:
        wanted = encoding or self._settings.data
        return Octets(*to_text(data, wanted, self._settings.charset))

    def _text(self, line: bytes) -> str:
        try:
            return line.decode(self._settings.charset)
        except UnicodeDecodeError as error:
            said = f"{line[:40]!r} is not {self._settings.charset} text"
            raise ProtocolError(said) from error

    def _term(self, term: str | None) -> bytes:
        return self._settings.terminator if term is None else self._bytes(term, "text")

    def _line(self, arguments: WriteLine) -> bytes:
        line = self._bytes(arguments.line, "text")
        terminator = self._term(arguments.term)
        if terminator in line:
            raise BadRequest(f"{arguments.line!r:.60} has the terminator in it")
        return line + terminator

    def _stuffed(self, arguments: Write) -> bytes:
        return Cobs().encode(self._bytes(arguments.data, arguments.encoding))

    def _unstuffed(self, stuffed: bytes, encoding: Encoding | None) -> Octets:
        frames = Cobs(READ_LIMIT).feed(stuffed + b"\0")
        if not frames:
            raise ProtocolError(f"no COBS: {stuffed[:20].hex(' ')}")
        return self._octets(frames[0], encoding)
