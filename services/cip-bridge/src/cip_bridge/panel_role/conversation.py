"""Conversation of a panel with a processor: sign-on, update, heartbeat.

Source: docs/protocols/cip.md, 5.1
"""

import asyncio
import contextlib
import logging
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import islice
from typing import TypeVar

from busbar.bridge.errors import LinkLost
from busbar.bridge.streams import ByteStream
from busbar.codecs import cip
from busbar.codecs.cip import Command, Message, Style, Update
from cip_bridge.refusals import Booting, Denied, UnknownIpId, Unreachable

log = logging.getLogger("busbar.cip")

# s without a word of ours, or of the other side, before a heartbeat [2+: F, X, B, M]
BEAT = 5.0
# s without a word of the other side before the link is dead [inf]: three heartbeats
SILENCE = 15.0
UPDATE_LIMIT = 20.0  # s for all joins to come
# s without a message within an update before we ask whether it has ended unsaid
QUIET = 5.0
# s for all steps up to the end of the update; the library gives a link 30 to open
OPEN_LIMIT = 29.0
LEAVE_LIMIT = 1.0  # s for the last word
BATCH = 500  # messages, which may have 30 000 values, before others have their turn

CORRECT_IT = "correct them and `reload`, or `reconnect` to try once more"

M = TypeVar("M")


def _ignore(messages: list[Message]) -> None:
    """Take nothing: before a session has taken over."""


@contextlib.contextmanager
def _opening() -> Iterator[None]:
    """Raise Unreachable for a connection that ends while the link is being opened."""
    try:
        yield
    except LinkLost as error:
        if type(error) is LinkLost:
            raise Unreachable(error.message) from error
        raise


def _is_greeting(message: Message, wanted: tuple[type, ...]) -> bool:
    """Return whether this is the wanted greeting, or one that came again."""
    if not isinstance(message, cip.Hello):
        return False
    if cip.ConnectResult in wanted:
        return message.state == cip.READY
    return cip.Hello in wanted


class PanelConversation:
    """An open conversation with a processor.

    `on_messages` is called with what the processor says, in batches, in order.
    `outputs` returns what is sent again after the sign-on.
    """

    def __init__(
        self,
        stream: ByteStream,
        sign_on: cip.SignOn,
        *,
        credentials: tuple[str, str] | None = None,
        credentials_proven: bool = False,  # the processor has taken them before
        style: Style = Style(),  # noqa: B008  # frozen
        timeout: float = 2.0,  # s for one step of the sign-on
    ) -> None:
        self.style = style
        self.skipped = 0  # things that meant nothing to us
        self.ends_updates = True  # False: it never says the end of one
        self.on_messages: Callable[[list[Message]], None] = _ignore
        self.outputs: Callable[[], Iterable[Update]] = tuple
        self._stream = stream
        self._sign_on = sign_on
        self._credentials = credentials
        self._credentials_proven = credentials_proven
        self._timeout = timeout
        self._reader = cip.Reader(style)
        self._unread: deque[Message] = deque()  # received and not yet looked at
        self._loop = asyncio.get_running_loop()
        # loop time; connecting took a `timeout`
        self._open_until = self._loop.time() + OPEN_LIMIT - timeout
        now = self._loop.time()
        self._sent_at = now  # loop time
        self._received_at = now
        self._pinged_at = now
        self._writing = asyncio.Lock()
        self._pong_due = False
        self._acknowledgement_due = False
        self._pongs = 0
        self._complete = 0  # whole frames when we looked last
        self._reply_due = asyncio.Event()

    async def wait_for_greeting(self) -> None:
        """Return when the processor is ready for us; raise Booting, Unreachable."""
        booting = False
        try:
            with _opening():
                async with asyncio.timeout(self._timeout):
                    greeting = await self._next(cip.Hello)
                    while greeting.state != cip.READY:
                        booting = True
                        greeting = await self._next(cip.Hello)
        except TimeoutError as error:
            if booting:
                raise Booting("the processor is booting") from error
            raise Unreachable(
                f"no greeting within {self._timeout:g} s: does a processor listen "
                "there, with TLS or without (cips:: or cip::)?"
            ) from error

    async def sign_on(self) -> None:
        """Sign on and log in; raise UnknownIpId, Denied, Booting, Unreachable."""
        with _opening():
            await self.send(cip.encode(self._sign_on))
            result = await self._answer(cip.ConnectResult, "the sign-on")
        if not result.accepted:
            raise self._unknown_ipid(result)
        self.style = replace(self.style, handle=result.handle)
        if result.credentials:
            with _opening():
                await self._log_in()

    def _unknown_ipid(self, result: cip.ConnectResult) -> UnknownIpId:
        where = "the running program"
        if isinstance(self._sign_on, cip.RoomConnect):
            where = f"room {self._sign_on.room!r}, or there is no such room"
        return UnknownIpId(
            f"IP-ID 0x{self._sign_on.ipid:02X} is not defined in {where} "
            "(or the program is starting); tried again, or at once by `reconnect`",
            payload=result.payload().hex(),
        )

    async def update(self) -> None:
        """Ask for all joins, wait for them, send ours; raise Booting, Unreachable."""
        with _opening():
            await self.send(cip.encode(Command(cip.START), self.style))
            self.ends_updates = await self._wait_for_update()
            self._acknowledgement_due = False
            await self.send(self._opening_acknowledgement)

    async def serve(self) -> None:
        """Read and keep alive; raise LinkLost when the processor is gone."""
        self._deliver(list(self._unread))
        self._unread.clear()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._read_all(), name="read")
            tasks.create_task(self._beat(), name="heartbeat")
            tasks.create_task(self._reply(), name="reply")

    async def send(self, frames: bytes | Callable[[], bytes]) -> None:
        """Write whole frames; raise LinkLost.

        A callable returns them when it is their turn.
        """
        async with self._writing:
            self._sent_at = self._loop.time()
            data = frames() if callable(frames) else frames
            await self._stream.write(data)

    async def close(self) -> None:
        """Disconnect and close.

        One processor refused connections for long after an unclean end [1: H].
        """
        with contextlib.suppress(LinkLost, TimeoutError):
            async with asyncio.timeout(LEAVE_LIMIT):
                await self.send(cip.encode(cip.Disconnect()))
        await self._stream.close()

    async def _log_in(self) -> None:
        """Send the credentials; raise Denied for any other answer than a yes."""
        if self._credentials is None:
            raise Denied(f"the processor wants a username and a password; {CORRECT_IT}")
        denied = f"the processor denies the password of {self._credentials[0]!r}"
        try:
            await self.send(
                cip.encode(cip.Authenticate(self._sign_on.ipid, *self._credentials))
            )
            result = await self._answer(cip.AuthResult, "the credentials")
        except LinkLost as error:
            if self._credentials_proven:
                raise  # a power cut in the middle of it
            raise Denied(
                f"{denied}, or at least did not take it ({error.message}); {CORRECT_IT}"
            ) from error
        if not result.ok:
            raise Denied(f"{denied}; {CORRECT_IT}")

    async def _answer(self, kind: type[M], what: str) -> M:
        try:
            async with asyncio.timeout(self._timeout):
                return await self._next(kind)
        except TimeoutError as error:
            raise Unreachable(
                f"no answer to {what} within {self._timeout:g} s"
            ) from error

    async def _wait_for_update(self) -> bool:
        """Return at the end of the query, or some time after that of the update.

        Not all processors send both. Return False for one that sends neither and yet
        answers: it may never do [1: M]. Raise LinkLost.
        """
        began = self._loop.time()
        ends = min(began + UPDATE_LIMIT, self._open_until - self._timeout)
        wait = math.inf
        ended = False
        while True:
            due = min(ends, self._loop.time() + wait)
            try:
                async with asyncio.timeout_at(due):
                    message = await self._next(Command, Update)
            except TimeoutError as error:
                if ended:
                    return True
                if await self._answers():
                    return False
                took = self._loop.time() - began
                raise LinkLost(f"the update did not end within {took:.0f} s") from error
            if message == Command(cip.END_OF_QUERY):
                return True
            ended = ended or message == Command(cip.END_OF_UPDATE)
            wait = self._timeout if ended else QUIET

    async def _answers(self) -> bool:
        """Return whether the processor answers a ping in the middle of an update."""
        before = self._pongs
        await self.send(cip.encode(cip.Ping()))
        try:
            async with asyncio.timeout(self._timeout):
                while self._pongs == before:
                    await self._next(cip.Pong)
        except TimeoutError:
            return False
        return True

    async def _next(self, *kinds: type[M]) -> M:
        """Return the next message of these kinds; deliver those before it."""
        while True:
            while self._unread:
                message = self._unread.popleft()
                if not _is_greeting(message, kinds):
                    self._deliver([message])
                if self._pong_due:
                    self._pong_due = False
                    await self.send(cip.encode(cip.Pong()))
                if isinstance(message, kinds):
                    return message
            self._unread.extend(await self._read())
            self._note_frames()

    async def _read(self) -> Iterator[Message]:
        self._reader.feed(await self._stream.read())
        return self._reader.messages()

    def _note_frames(self) -> None:
        """Note that whole frames have come; bytes that become none are no life."""
        if self._reader.complete != self._complete:
            self._complete = self._reader.complete
            self._received_at = self._loop.time()

    async def _read_all(self) -> None:
        while True:
            try:
                async with asyncio.timeout_at(self._received_at + SILENCE):
                    messages = await self._read()
            except TimeoutError as error:
                raise LinkLost(f"no whole message for {SILENCE:g} s") from error
            while batch := list(islice(messages, BATCH)):
                self._deliver(batch)
                if len(batch) == BATCH:
                    await asyncio.sleep(0)
            self._note_frames()

    def _deliver(self, messages: list[Message]) -> None:
        """Handle what the conversation is about; give the rest to `on_messages`.

        What came before the end of the connection is given, too.
        """
        others: list[Message] = []
        try:
            for message in messages:
                if not self._handle(message):
                    others.append(message)
        finally:
            self.on_messages(others)

    def _handle(self, message: Message) -> bool:
        """Return True if a message is of the conversation only; raise LinkLost."""
        match message:
            case Update():
                return False
            case cip.Ping():
                self._pong_due = True
                self._reply_due.set()
            case cip.Pong():
                self._pongs += 1
            case cip.Skipped(why, data):
                self.skipped += 1
                log.debug("skipped %s: %s", why, data[:64].hex(" "))
            case cip.Disconnect():
                raise LinkLost("the processor ends the connection: its program stops")
            case cip.Refused():
                raise Booting("the processor ends the connection: it is booting")
            case cip.Hello(cip.READY):
                raise LinkLost(
                    "the processor greets again: its program was loaded again"
                )
            case cip.Hello():
                raise Booting("the processor is booting")
            case Command(code=cip.END_OF_QUERY):
                self._acknowledgement_due = True
                self._reply_due.set()
                return False
            case Command() | cip.Clock() | cip.About():
                return False
        return True

    async def _beat(self) -> None:
        """Ping when either side has been silent.

        A processor that often receives something from us sends nothing by itself.
        """
        while True:
            pause = self._quiet_since() + BEAT - self._loop.time()
            if pause > 0:
                await asyncio.sleep(pause)
            else:
                self._pinged_at = self._loop.time()
                await self.send(cip.encode(cip.Ping()))

    def _quiet_since(self) -> float:
        return max(min(self._sent_at, self._received_at), self._pinged_at)

    async def _reply(self) -> None:
        """Reply while reading goes on.

        A processor that writes much at once may not read us meanwhile.
        """
        while True:
            await self._reply_due.wait()
            self._reply_due.clear()
            if self._pong_due:
                self._pong_due = False
                await self.send(cip.encode(cip.Pong()))
            if self._acknowledgement_due:
                self._acknowledgement_due = False
                await self.send(self._acknowledgement)

    def _acknowledgement(self) -> bytes:
        """Return the answer to the end of a query.

        Source: docs/protocols/cip.md, 5.1
        """
        acknowledgement = cip.encode(Command(cip.ACKNOWLEDGE), self.style)
        return acknowledgement + cip.encode(cip.Ping())

    def _opening_acknowledgement(self) -> bytes:
        """Return the first one, and our side: what the sign-on may have lost."""
        frames = [self._acknowledgement()]
        for update in self.outputs():
            frames.append(cip.encode(update, self.style))
        return b"".join(frames)
