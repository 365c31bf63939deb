"""Replay of a recorded conversation: plays the peer against a client of ours.

    async with Replay(load("indi/mount-goto"), IndiDialect) as peer:
        ... a client connects to 127.0.0.1:peer.port and says what was recorded ...
        await peer.finished.wait(); assert not peer.unexpected

Lines of the peer are sent after the recorded time, lines of the client are waited for.
Time is that of the event loop, so a test can move it.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from tests.traces.trace import FROM_PEER, OPEN, PEER_CLOSED, TO_PEER, Line, Trace

HOST = "127.0.0.1"
PIECE = 64 * 1024  # bytes
# s: what a peer says this soon after a line of another connection was under way before
UNDER_WAY = 0.05


class Dialect(Protocol):
    """One protocol, for one connection."""

    def feed(self, data: bytes) -> Iterable[Any]:
        """Return the messages that are whole."""

    def same(self, recorded: Any, said: Any) -> bool:
        """Return whether the client says what was recorded."""

    def answer(self, said: Any) -> bytes | None:
        """Return the answer to what every client may say at any time, else None.

        b"": it needs none.
        """

    def adapted(self, data: bytes, asked: Any) -> bytes:
        """Return data of the peer as an answer to the last message, with its number.

        None: nothing has been asked yet.
        """


class Connection:
    """One connection of the client, and what it has said."""

    def __init__(self, dialect: Dialect, writer: asyncio.StreamWriter) -> None:
        self.dialect = dialect
        self.writer = writer
        self.said: deque[Any] = deque()
        self.last: Any = None


class Replay:
    """Plays the peer of one trace; entered = listening."""

    def __init__(self, trace: Trace, dialect: Callable[[], Dialect]) -> None:
        self.port = 0
        self.finished = asyncio.Event()
        self.unexpected: list[Any] = []  # messages that nobody had recorded
        self.heard = 0  # lines of the client
        self.place: Line | None = None  # where it is, for the text of a failure
        self._trace = trace
        self._dialect = dialect
        self._connections: dict[int, Connection] = {}
        self._news = asyncio.Event()
        self._lines = [each for each in trace.lines if self._is_played(each)]
        self._early: set[int] = set()  # lines that were sent before their time
        self._tasks: set[asyncio.Task[None]] = set()
        self._waits_at: int | None = None

    async def __aenter__(self) -> "Replay":
        self._server = await asyncio.start_server(self._serve, HOST, 0)
        self.port = self._server.sockets[0].getsockname()[1]
        self._walking = asyncio.create_task(self._walk(), name="replay")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in (self._walking, *self._tasks):
            task.cancel()
        await asyncio.gather(self._walking, *self._tasks, return_exceptions=True)
        if not self._walking.cancelled():
            self._walking.result()  # raises what went wrong

    def _is_played(self, line: Line) -> bool:
        return line.connection not in self._trace.others

    async def _walk(self) -> None:
        loop = asyncio.get_running_loop()
        shift = loop.time()  # between the trace's time and the loop's
        for index, line in enumerate(self._lines):
            self.place = line
            if line.direction == OPEN:
                await self._until(lambda n=line.connection: n in self._connections)
            elif line.direction == TO_PEER:
                await self._hear(index, line)
                shift = loop.time() - line.t
            elif line.direction == FROM_PEER and index not in self._early:
                await asyncio.sleep(line.t + shift - loop.time())
                self._send(line)
            elif line.direction == PEER_CLOSED:
                self._connections[line.connection].writer.close()
        self.finished.set()

    async def _hear(self, index: int, line: Line) -> None:
        connection = self._connections[line.connection]
        for recorded in self._dialect().feed(line.data):
            self._waits_at = index
            while True:
                await self._until(lambda: connection.said)
                said = connection.said.popleft()
                if connection.dialect.same(recorded, said):
                    break
                if connection.dialect.answer(said) is None:
                    self.unexpected.append(said)
            connection.last = said
        self._waits_at = None
        self.heard += 1

    async def _until(self, condition: Callable[[], Any]) -> None:
        while not condition():
            self._news.clear()
            await self._news.wait()

    def _send(self, line: Line) -> None:
        connection = self._connections[line.connection]
        if not connection.writer.is_closing():
            data = connection.dialect.adapted(line.data, connection.last)
            connection.writer.write(data)

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        connection = Connection(self._dialect(), writer)
        number = len(self._connections) + 1
        self._connections[number] = connection
        self._news.set()
        try:
            while data := await reader.read(PIECE):
                for message in connection.dialect.feed(data):
                    self._take(number, connection, message)
        except (OSError, asyncio.CancelledError):
            return
        finally:
            writer.close()

    def _take(self, number: int, connection: Connection, message: Any) -> None:
        answer = connection.dialect.answer(message)
        if answer:
            self._send_what_was_under_way(number)
            connection.writer.write(answer)
            return
        connection.said.append(message)
        self._news.set()

    def _send_what_was_under_way(self, number: int) -> None:
        """Send what the peer had sent before it could answer.

        A line that was recorded just after one of another connection is no answer to
        that: it had been on its way.
        """
        if self._waits_at is None:
            return
        awaited = self._lines[self._waits_at]
        for index in range(self._waits_at + 1, len(self._lines)):
            line = self._lines[index]
            if line.t > awaited.t + UNDER_WAY:
                return
            ours = line.connection == number != awaited.connection
            if ours and line.direction == FROM_PEER and index not in self._early:
                self._early.add(index)
                self._send(line)
