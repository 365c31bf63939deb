"""Conversation over one stream: frames as they come, reads for whoever waits.

Bytes that somebody waits for are theirs. All others are frames; after a `write` they
are kept, too, for the reads that follow. After a question without an answer the
conversation owes one: what comes late is a frame, never the next answer.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Protocol

from busbar.bridge.errors import (
    BadRequest,
    DeviceTimeout,
    LinkLost,
    ProtocolError,
)
from busbar.bridge.streams import ByteStream, Debt, SerialStream
from busbar.codecs.framing import Framing

KEEP_LIMIT = 65536  # bytes that wait to be read; as a usual system keeps of a port
READ_LIMIT = 4 * 1024 * 1024  # bytes of one read
KEEP = 10.0  # s after the last command that bytes are kept for a read

OnFrames = Callable[[list[bytes]], None]


class Split(Protocol):
    """What a read wants of the bytes so far."""

    def __call__(self, data: bytearray) -> tuple[bytes, int] | None:
        """Return the result and how many bytes it takes, None for more bytes."""


class Partial(DeviceTimeout):
    """Too few bytes came; `partial` has those that did."""

    def __init__(self, message: str, partial: bytes) -> None:
        super().__init__(message)
        self.partial = partial


class Pipe:
    """One open stream; `connect` opens it, also in the middle of a conversation."""

    def __init__(
        self,
        connect: Callable[[], Awaitable[ByteStream]],
        framing: Framing,
        on_frames: OnFrames,
        *,
        settle: float = 1.0,  # s of silence after an answer that did not come
        reopens: bool = False,  # a new connection has no late bytes
    ) -> None:
        self.framing = framing
        self.dropped = 0  # bytes that were kept for a read and that nobody read
        self.received = 0
        self.sent = 0
        self.late = 0  # questions whose answer did not come in time
        self.stream: ByteStream | None = None
        self._connect = connect
        self._on_frames = on_frames
        self._reopens = reopens
        self._debt = Debt(settle)
        self._input = bytearray()  # for reads
        self._framed = 0  # of these, bytes that were given to the framing
        self._keep_until = 0.0  # loop time
        self._overrun = False
        self._reads = 0  # reads that wait
        self._reading = asyncio.Lock()
        self._opening = asyncio.Lock()
        self._asked = False  # something was written that may be answered
        self._came = asyncio.Event()
        self._failed: LinkLost | None = None
        self._frame_timer: asyncio.TimerHandle | None = None

    async def open(self) -> None:
        """Open the stream; raise LinkLost."""
        self.stream = await self._connect()
        self._failed = None
        self._overrun = False
        if self._reopens:
            self._debt.clear()
        self._forget()

    async def close(self) -> None:
        """Close the stream; what it owes is remembered where bytes may come late."""
        self._cancel_timer()
        stream, self.stream = self.stream, None
        if stream is not None:
            await stream.close()

    async def run(self) -> None:
        """Take what comes, for ever; raise LinkLost."""
        while True:
            stream = self._open_stream()
            try:
                data = await stream.read()
            except LinkLost as error:
                async with self._opening:
                    if self.stream not in (stream, None):
                        continue  # it has been opened again
                self._failed = error
                self._came.set()
                raise
            self._arrived(data)

    async def write(self, data: bytes) -> None:
        """Send bytes; what comes from now on is kept for a read."""
        if self._debt.owed:
            await self.settle()
            self._drop()
        await self._send(data)

    async def _send(self, data: bytes) -> None:
        if not (self._kept() or self._reads):
            self._input.clear()
            self._framed = 0
        self._keep_until = asyncio.get_running_loop().time() + KEEP
        self._asked = True
        self.sent += len(data)
        await self._open_stream().write(data)

    async def read(self, split: Split, timeout: float) -> bytes:
        """Return what `split` finds in the bytes that come; raise Partial."""
        async with self._reader():
            self._check_overrun()
            try:
                return await self._wait(split, timeout)
            except Partial:
                if self._asked:
                    self._owe(timeout)
                raise

    async def read_all(self) -> bytes:
        """Return what is there, without waiting."""
        await self._let_arrive()
        async with self._reader():
            self._check_overrun()
            data = bytes(self._input)
            self._take(len(data))
            return data

    async def read_some(self, count: int, timeout: float) -> bytes:
        """Return what comes within a time, at most so many bytes."""
        try:
            return await self.read(Exactly(count), timeout)
        except Partial as error:
            return error.partial

    async def query(self, data: bytes, split: Split, timeout: float) -> bytes:
        """Send a question and return its answer; nothing older is taken for it."""
        await self.settle()
        await self._let_arrive()
        async with self._reader():
            self._drop()
            self._overrun = False
            try:
                await self._send(data)
                return await self._wait(split, timeout)
            except (Partial, asyncio.CancelledError):
                self._owe(timeout)
                raise

    async def pins(self) -> dict[str, bool | None] | None:
        """Return the modem lines, None where there are none."""
        if not isinstance(self.stream, SerialStream):
            return None
        found = await self.stream.pins()
        return None if found is None else found._asdict()

    async def set_pin(self, name: str, on: bool) -> None:
        """Set DTR or RTS; raise BadRequest where there are none."""
        await self._serial("modem lines").set_pins(**{name: on})

    async def send_break(self, seconds: float) -> None:
        """Hold the line low; raise BadRequest where that is impossible."""
        await self._serial("break").send_break(seconds)

    def line_errors(self) -> dict[str, int]:
        """Return what the kernel has counted on a port."""
        if not isinstance(self.stream, SerialStream):
            return {}
        found = self.stream.line_errors()
        return {} if found is None else found._asdict()

    def _serial(self, what: str) -> SerialStream:
        if not isinstance(self.stream, SerialStream):
            raise BadRequest(f"{what}: this stream is no serial port")
        return self.stream

    async def settle(self) -> None:
        """Return when no late answer can be taken for the next one."""
        if not self._debt.owed:
            return
        if self._reopens:
            await self.reopen()
            return
        await self._debt.settled()

    async def reopen(self) -> None:
        """Close and open the stream; raise LinkLost."""
        async with self._opening:
            old, self.stream = self._open_stream(), None
            await old.close()
            self.stream = await self._connect()
        self._forget()
        self._debt.clear()

    async def flush(self) -> int:
        """Drop what has come and was not read; return how many bytes."""
        await self._let_arrive()
        return self._drop()

    @contextlib.asynccontextmanager
    async def _reader(self) -> AsyncIterator[None]:
        """Be the one who gets the bytes; what is left over is framed afterwards."""
        async with self._reading:
            if not self._kept():
                self._input[:] = self.framing.take_pending()
                self._framed = 0
            self._reads += 1
            try:
                yield
            finally:
                self._reads -= 1
                self._frame_rest()
                self._keep_until = asyncio.get_running_loop().time() + KEEP

    async def _wait(self, split: Split, timeout: float) -> bytes:
        try:
            async with asyncio.timeout(timeout):
                return await self._until(split)
        except TimeoutError:
            partial = bytes(self._input)
            self._take(len(partial))
            said = f"{len(partial)} bytes" if partial else "nothing"
            raise Partial(f"{said} within {timeout:g} s", partial) from None

    async def _until(self, split: Split) -> bytes:
        while (found := split(self._input)) is None:
            if len(self._input) > READ_LIMIT:
                self._drop()
                raise ProtocolError(f"more than {READ_LIMIT} bytes without an end")
            if self._failed is not None:
                raise self._failed
            self._came.clear()
            await self._came.wait()
        result, size = found
        self._take(size)
        self._asked = False
        return result

    def _take(self, size: int) -> None:
        if self._framed:
            # the framing had them, too: what it has begun is no longer whole
            self.framing.take_pending()
            self._framed = 0
        del self._input[:size]

    def _frame_rest(self) -> None:
        rest = bytes(self._input[self._framed :])
        self._framed = len(self._input)
        if rest:
            self._frame(rest)

    def _arrived(self, data: bytes) -> None:
        self.received += len(data)
        if self._debt.owed:
            self._debt.extend()
        if self._reads:
            self._input += data
            self._came.set()
            return
        if self._kept():
            self._input += data
            self._framed = len(self._input)
            if len(self._input) > KEEP_LIMIT:
                self.dropped += len(self._input)
                self._overrun = True
                self._forget()
        self._frame(data)

    def _frame(self, data: bytes) -> None:
        self._cancel_timer()
        frames = self.framing.feed(data)
        if frames:
            self._on_frames(frames)
        if self.framing.gap is not None and self.framing.pending:
            loop = asyncio.get_running_loop()
            self._frame_timer = loop.call_later(self.framing.gap, self._silence)

    def _silence(self) -> None:
        self._frame_timer = None
        frames = self.framing.silence()
        if frames:
            self._on_frames(frames)

    def _cancel_timer(self) -> None:
        if self._frame_timer is not None:
            self._frame_timer.cancel()
            self._frame_timer = None

    def _check_overrun(self) -> None:
        if self._overrun:
            self._overrun = False
            raise ProtocolError(
                f"more than {KEEP_LIMIT} bytes came and nobody read them: they are "
                "dropped here, as events they were published"
            )

    def _owe(self, timeout: float) -> None:
        self.late += 1
        self._asked = False
        self._debt.add(timeout)

    def _kept(self) -> bool:
        return asyncio.get_running_loop().time() < self._keep_until

    def _drop(self) -> int:
        dropped = len(self._input)
        self._take(dropped)
        return dropped

    def _forget(self) -> None:
        """Begin without bytes: of a new connection, or where too many came."""
        self._input.clear()
        self._framed = 0
        self._keep_until = 0.0
        if not self._overrun:
            self.framing.take_pending()

    async def _let_arrive(self) -> None:
        """Let the loop hand over what the system has already."""
        for _ in range(3):
            await asyncio.sleep(0)

    def _open_stream(self) -> ByteStream:
        if self.stream is None:
            raise self._failed or LinkLost("the stream is closed")
        return self.stream


class Exactly:
    """So many bytes."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __call__(self, data: bytearray) -> tuple[bytes, int] | None:
        if len(data) < self._count:
            return None
        return bytes(data[: self._count]), self._count


class UpTo:
    """Bytes up to a terminator, which is not part of them."""

    def __init__(self, terminator: bytes, skip_empty: bool = False) -> None:
        self._terminator = terminator
        self._skip_empty = skip_empty
        self._start = 0

    def __call__(self, data: bytearray) -> tuple[bytes, int] | None:
        begin = 0
        while self._skip_empty and data.startswith(self._terminator, begin):
            begin += len(self._terminator)
        end = data.find(self._terminator, max(begin, self._start))
        if end < 0:
            self._start = max(0, len(data) - len(self._terminator) + 1)
            return None
        return bytes(data[begin:end]), end + len(self._terminator)
