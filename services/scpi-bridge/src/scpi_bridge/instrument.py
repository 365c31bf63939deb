"""Conversation with one instrument: lines, IEEE 488.2 blocks, the error queue.

After a query without its answer the conversation is out of step: the answer may still
come. The link is then opened again before the next exchange, so that reply n never
answers request m.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable

from busbar.bridge.errors import (
    BadRequest,
    DeviceRefused,
    DeviceTimeout,
    LinkLost,
    ProtocolError,
)
from busbar.bridge.streams import ByteStream
from busbar.codecs import ieee488

log = logging.getLogger("busbar.scpi")

LINE_LIMIT = 1024 * 1024  # bytes of one text answer
ERRORS_LIMIT = 20  # entries read from the error queue at once
QUIET = 0.2  # s of silence that end an indefinite block


class Instrument:
    """An open conversation.

    `connect` opens the link, at the start and after lost answers.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[ByteStream]],
        *,
        timeout: float = 2.0,  # s
        terminator: str = "\n",
        encoding: str = "utf-8",
        errors: str | None = "SYST:ERR?",
        # s to discard input after a reopen: for converters that deliver late answers
        settle: float = 0.0,
        # commands without a question are answered by a line as well
        acknowledge: bool = False,
        block_limit: int = ieee488.BLOCK_LIMIT,
    ) -> None:
        self.resyncs = 0
        self._connect = connect
        self._timeout = timeout
        self._errors = errors
        self._settle = settle
        self._terminator = terminator
        self._encoding = encoding
        self._acknowledge = acknowledge
        self._block_limit = block_limit
        self._stream: ByteStream | None = None
        self._in_step = False
        # the queue may hold errors of an exchange that nobody has asked about
        self._errors_unread = False
        self.silences = 0  # queries in a row without an answer

    async def open(self) -> None:
        """Open the link; raise LinkLost."""
        self._stream = await self._connect()
        self._in_step = True

    async def close(self) -> None:
        """Close the link."""
        if self._stream is not None:
            await self._stream.close()
            self._stream = None

    async def write(self, text: str) -> None:
        """Send one line whose answer does not matter.

        Errors of earlier exchanges are forgotten before.
        """
        line = self._line(text)
        if self._errors_unread or not self._in_step:
            await self.errors()
        self._errors_unread = True
        if self._acknowledge:
            await self.query(text)
            return
        stream = await self._ready()
        # the answer to a query would be taken for the next one
        self._in_step = "?" not in text
        await stream.write(line)

    async def query(self, text: str, timeout: float | None = None) -> str:
        """Send one line and return its answer.

        Raise DeviceTimeout, ProtocolError, LinkLost.
        """
        line = self._line(text)
        stream = await self._ready()
        self._in_step = False
        await stream.write(line)
        async with self._patience(text, timeout):
            answer = await stream.read_until(self._terminator.encode(), LINE_LIMIT)
        self._in_step = True
        return self._decoded(answer)

    async def query_binary(self, text: str, timeout: float | None = None) -> bytes:
        """Send one line and return the block of IEEE 488.2 that answers it."""
        line = self._line(text)
        stream = await self._ready()
        self._in_step = False
        await stream.write(line)
        reader = ieee488.BlockReader(self._block_limit)
        async with self._patience(text, timeout):
            return await self._block(stream, reader)

    async def errors(self) -> list[tuple[int, str]]:
        """Empty the error queue and return its entries, oldest first."""
        found: list[tuple[int, str]] = []
        while self._errors and len(found) < ERRORS_LIMIT:
            code, text = ieee488.parse_error(await self.query(self._errors))
            if code == 0:
                self._errors_unread = False
                break
            found.append((code, text))
        return found

    async def refuse_errors(self) -> None:
        """Raise DeviceRefused if the error queue is not empty."""
        found = await self.errors()
        if found:
            code, text = found[0]
            listed = [{"code": number, "text": words} for number, words in found]
            raise DeviceRefused(
                f"the instrument says {code}: {text}",
                code=code,
                text=text,
                errors=listed,
            )

    async def check(self) -> None:
        """Raise LinkLost if the other side has closed the connection."""
        await self._ready()

    async def resync(self) -> None:
        """Open the link again; forget what was under way."""
        self.resyncs += 1
        self._in_step = False
        self._errors_unread = True
        await self.close()
        self._stream = await self._connect()
        if self._settle:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._settle):
                    while True:
                        await self._stream.read()
        # not before: a cancelled wait leaves the late answer to come
        self._in_step = True

    async def _ready(self) -> ByteStream:
        if not self._in_step:
            await self.resync()
        if self._stream is None:
            raise LinkLost("the link is closed")
        await self._take_stray(self._stream)
        return self._stream

    async def _take_stray(self, stream: ByteStream) -> None:
        stray = await stream.take_stray()
        if stray.strip():  # some answers end with more than the terminator
            log.warning("%d bytes came unasked and were discarded", len(stray))

    @contextlib.asynccontextmanager
    async def _patience(self, text: str, timeout: float | None) -> AsyncIterator[None]:
        """Limit the wait for an answer and count silences."""
        seconds = self._timeout if timeout is None else timeout
        try:
            async with asyncio.timeout(seconds):
                yield
        except TimeoutError as error:
            self.silences += 1
            hint = "" if "?" in text else "; if it has no answer, use `write`"
            raise DeviceTimeout(
                f"no answer to {text!r:.60} within {seconds:g} s{hint}"
            ) from error
        self.silences = 0

    async def _block(self, stream: ByteStream, reader: ieee488.BlockReader) -> bytes:
        data = reader.message()
        while data is None:
            if reader.indefinite:
                return await self._until_quiet(stream, reader)
            reader.feed(await stream.read())
            data = reader.message()
        terminator = self._terminator.encode()
        while not reader.terminated and reader.rest != terminator:
            reader.feed(await stream.read())
            reader.message()
        self._in_step = reader.rest in (b"", terminator)
        return data

    async def _until_quiet(
        self, stream: ByteStream, reader: ieee488.BlockReader
    ) -> bytes:
        """Return an indefinite block when silence follows a newline.

        This is a guess: the conversation stays out of step.
        """
        while True:
            try:
                async with asyncio.timeout(QUIET):
                    reader.feed(await stream.read())
            except TimeoutError:
                if reader.rest.endswith(b"\n"):
                    return reader.finish()
            reader.message()  # refuses what is too large

    def _line(self, text: str) -> bytes:
        """Encode one line; raise BadRequest for what would be two."""
        if not text.strip() or any(
            ord(character) < 32 and character != "\t" for character in text
        ):
            raise BadRequest(f"{text!r:.60} is not one line of text")
        try:
            return (text + self._terminator).encode(self._encoding)
        except UnicodeEncodeError as error:
            raise BadRequest(
                f"{text!r:.60} cannot be encoded as {self._encoding}"
            ) from error

    def _decoded(self, answer: bytes) -> str:
        try:
            return answer.decode(self._encoding).strip("\r\n ")
        except UnicodeDecodeError as error:
            raise ProtocolError(
                f"answer {answer[:40]!r} is not {self._encoding} text"
            ) from error
