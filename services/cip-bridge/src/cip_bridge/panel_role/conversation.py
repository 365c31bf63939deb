"""One conversation with one processor, in the role of a panel.

sign-on, update, heartbeat. Source: docs/protocols/cip.md, 5.1.
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import islice
from typing import TypeVar

from busbar.bridge.errors import LinkLost
from busbar.bridge.streams import ByteStream, Trust, open_tcp
from busbar.codecs import cip
from busbar.codecs.cip import Command, Message, Style, Update
from cip_bridge.refusals import Booting, Denied, UnknownIpId, Unreachable

log = logging.getLogger("busbar.cip")

# s without a word of ours, or of the other side, before a heartbeat [2+: F, X, B, M]
BEAT = 5.0
# s without a word of the other side before the link is dead [inf]: three heartbeats
SILENCE = 15.0
UPDATE_LIMIT = 20.0  # s for all joins to come
# s for all steps up to the end of the update; the library gives a link 30 to open
OPEN_LIMIT = 29.0
LEAVE_LIMIT = 1.0  # s for the last word
BATCH = 500  # messages, which may have 30 000 values, before others have their turn

M = TypeVar("M")


async def open_stream(
    host: str, port: int, trust: Trust | None, name: str, timeout: float
) -> ByteStream:
    """Connect within `timeout` seconds, inside TLS if there is a trust.

    Raise Unreachable.
    """
    try:
        return await open_tcp(host, port, name, timeout, trust)
    except LinkLost as error:
        raise Unreachable(error.message) from error


@contextlib.contextmanager
def _opening() -> Iterator[None]:
    """The end of a link that is being opened: tried again as a failed connect is."""
    try:
        yield
    except LinkLost as error:
        if type(error) is LinkLost:
            raise Unreachable(error.message) from error
        raise


def _is_greeting(message: Message, wanted: type) -> bool:
    """Return whether a message is the awaited greeting, or the same one again."""
    if not isinstance(message, cip.Hello):
        return False
    return wanted is cip.Hello or (
        wanted is cip.ConnectResult and message.state == cip.READY
    )


class Conversation:
    """An open conversation.

    `told` is given what the processor says, in batches, in order.
    """

    def __init__(
        self,
        stream: ByteStream,
        sign_on: cip.SignOn,
        told: Callable[[list[Message]], None],
        # all that has to be sent again after each update
        outputs: Callable[[], Iterable[Update]],
        *,
        credentials: tuple[str, str] | None = None,
        style: Style = Style(),  # noqa: B008  # frozen
        timeout: float = 2.0,  # s for one step of the sign-on
    ) -> None:
        self.style = style
        self.skipped = 0  # things that meant nothing to us
        self._stream, self._sign_on, self._told, self._outputs = (
            stream,
            sign_on,
            told,
            outputs,
        )
        self._credentials, self._timeout = credentials, timeout
        self._reader = cip.Reader(style)
        self._waiting: deque[Message] = deque()  # read and not yet looked at
        self._loop = asyncio.get_running_loop()
        # loop time; connecting took a `timeout`
        self._open_until = self._loop.time() + OPEN_LIMIT - timeout
        self._sent = self._heard = self._pinged = self._loop.time()
        self._writing = asyncio.Lock()
        self._pong = self._acknowledge = False
        self._due = asyncio.Event()

    async def greeted(self) -> None:
        """Return when the processor is ready for us; raise Booting, Unreachable."""
        booting = False
        try:
            with _opening():
                async with asyncio.timeout(self._timeout):
                    while (await self._next(cip.Hello)).state != cip.READY:
                        booting = True
        except TimeoutError as error:
            if booting:
                raise Booting("the processor is booting") from error
            raise Unreachable(
                f"no greeting within {self._timeout:g} s: does a processor listen "
                f"there?"
            ) from error

    async def sign_on(self) -> None:
        """Register; raise UnknownIpId, Denied, Booting, Unreachable."""
        with _opening():
            await self.send(cip.encode(self._sign_on))
            result = await self._answer(cip.ConnectResult, "the sign-on")
        if not result.accepted:
            room = getattr(self._sign_on, "room", None)
            where = (
                "the running program"
                if room is None
                else (f"room {room!r}, or there is no such room")
            )
            raise UnknownIpId(
                f"IP-ID 0x{self._sign_on.ipid:02X} is not defined in {where} (or the "
                f"program is starting); "
                "tried again every 15 minutes, or at once by `reconnect`",
                payload=result.payload().hex(),
            )
        self.style = replace(self.style, handle=result.handle)
        if result.credentials:
            await self._log_in()

    async def update(self) -> None:
        """Ask for all joins and return when they have come and the processor has ours.

        Raise Booting, Unreachable.
        """
        with _opening():
            await self.send(cip.encode(Command(cip.START), self.style))
            await self._updated()
            self._acknowledge = False
            await self.send(self._acknowledgement)

    async def serve(self) -> None:
        """Read and keep alive; raise LinkLost when the processor is gone."""
        self._tell(list(self._waiting))
        self._waiting.clear()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._read_on(), name="read")
            tasks.create_task(self._beat(), name="heartbeat")
            tasks.create_task(self._reply(), name="reply")

    async def send(self, frames: bytes | Callable[[], bytes]) -> None:
        """Write whole frames; a callable is asked for them when it is their turn.

        Raise LinkLost.
        """
        async with self._writing:
            self._sent = self._loop.time()
            await self._stream.write(frames() if callable(frames) else frames)

    async def close(self) -> None:
        """Say goodbye and close.

        One processor refused connections for long after an unclean end [1: H].
        """
        with contextlib.suppress(LinkLost, TimeoutError):
            async with asyncio.timeout(LEAVE_LIMIT):
                await self.send(cip.encode(cip.Disconnect()))
        await self._stream.close()

    async def _log_in(self) -> None:
        """Give the credentials.

        Whatever comes in place of a yes, they are not given again. Raise Denied.
        """
        if self._credentials is None:
            raise Denied(
                "the processor wants a username and a password; give them and `reload`"
            )
        denied = f"the processor denies the password of {self._credentials[0]!r}"
        try:
            await self.send(
                cip.encode(cip.Authenticate(self._sign_on.ipid, *self._credentials))
            )
            result = await self._answer(cip.AuthResult, "the credentials")
        except LinkLost as error:
            raise Denied(
                f"{denied}, or at least did not take it ({error.message}); "
                f"correct it "
                f"and `reload`"
            ) from error
        if not result.ok:
            raise Denied(f"{denied}; correct it and `reload`")

    async def _answer(self, kind: type[M], what: str) -> M:
        try:
            async with asyncio.timeout(self._timeout):
                return await self._next(kind)
        except TimeoutError as error:
            raise Unreachable(
                f"no answer to {what} within {self._timeout:g} s"
            ) from error

    async def _updated(self) -> None:
        """Return at the end of the query, or some time after that of the update.

        Not all say both.
        """
        limit = min(UPDATE_LIMIT, self._open_until - self._loop.time())
        ended = False
        try:
            async with asyncio.timeout(limit) as ending:
                while (command := await self._next(Command)).code != cip.END_OF_QUERY:
                    if command.code == cip.END_OF_UPDATE and not ended:
                        ended = True
                        ending.reschedule(self._loop.time() + min(self._timeout, limit))
        except TimeoutError as error:
            if not ended:
                raise LinkLost(
                    f"the update did not end within {limit:.0f} s"
                ) from error

    async def _next(self, kind: type[M]) -> M:
        """Return the next message of a kind; others before it take their usual way."""
        while True:
            while self._waiting:
                message = self._waiting.popleft()
                if not _is_greeting(message, kind):
                    self._tell([message])
                if self._pong:
                    self._pong = False
                    await self.send(cip.encode(cip.Pong()))
                if isinstance(message, kind):
                    return message
            self._waiting.extend(await self._read())

    async def _read(self) -> Iterator[Message]:
        self._reader.feed(await self._stream.read())
        self._heard = self._loop.time()
        return self._reader.messages()

    async def _read_on(self) -> None:
        while True:
            try:
                async with asyncio.timeout(SILENCE):
                    messages = await self._read()
            except TimeoutError as error:
                raise LinkLost(f"nothing heard for {SILENCE:g} s") from error
            while batch := list(islice(messages, BATCH)):
                self._tell(batch)
                if len(batch) == BATCH:
                    await asyncio.sleep(0)

    def _tell(self, messages: list[Message]) -> None:
        """Take what is ours to take.

        The rest goes to `told`, also what came before the end.
        """
        others: list[Message] = []
        try:
            for message in messages:
                if not self._take(message):
                    others.append(message)
        finally:
            self._told(others)

    def _take(self, message: Message) -> bool:
        match message:
            case Update():
                return False
            case cip.Ping():
                self._pong = True
                self._due.set()
            case cip.Skipped(why, data):
                self.skipped += 1
                log.debug("skipped %s: %s", why, data[:64].hex(" "))
            case cip.Disconnect():
                raise LinkLost("the processor ends the connection: its program stops")
            case cip.Refused():
                raise Booting("the processor ends the connection: it is booting")
            case cip.Hello(cip.READY):
                raise LinkLost(
                    "the processor greets anew: its program was loaded again"
                )
            case cip.Hello():
                raise Booting("the processor is booting")
            case Command(code=cip.END_OF_QUERY):
                self._acknowledge = True
                self._due.set()
                return False
            case Command() | cip.Clock() | cip.About():
                return False
        return True

    async def _beat(self) -> None:
        """Ask when either side has been silent.

        A processor that hears us often says nothing by itself.
        """
        while True:
            pause = self._quiet_since() + BEAT - self._loop.time()
            if pause > 0:
                await asyncio.sleep(pause)
            else:
                self._pinged = self._loop.time()
                await self.send(cip.encode(cip.Ping()))

    def _quiet_since(self) -> float:
        return max(min(self._sent, self._heard), self._pinged)

    async def _reply(self) -> None:
        """Answer apart from reading.

        A processor that writes much at once need not read us meanwhile.
        """
        while True:
            await self._due.wait()
            self._due.clear()
            pong, acknowledge = self._pong, self._acknowledge
            self._pong = self._acknowledge = False
            if pong:
                await self.send(cip.encode(cip.Pong()))
            if acknowledge:
                await self.send(self._acknowledgement)

    def _acknowledgement(self) -> bytes:
        """The end of the query is acknowledged, then the processor gets our side.

        Source: docs/protocols/cip.md, 5.1.
        """
        messages: list[Command | cip.Ping | Update] = [
            Command(cip.ACKNOWLEDGE),
            cip.Ping(),
            *self._outputs(),
        ]
        return b"".join(cip.encode(each, self.style) for each in messages)
