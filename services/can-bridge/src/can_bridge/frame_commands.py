"""Commands on frames: send, send again and again, send and await an answer, ISO-TP."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from busbar.bridge import BadRequest, DeviceTimeout, Turn, command
from busbar.codecs import can, isotp
from busbar.codecs.can import (
    ERROR,
    EXTENDED,
    REMOTE,
    SENT,
    STANDARD_IDS,
    Frame,
    Mask,
    exactly,
)
from can_bridge.frame_events import Single, named
from can_bridge.settings import Id, check_id
from can_bridge.traffic import Line, Listener

FRAMES_LIMIT = 1000  # of one command
BURST = 32  # frames of an ISO-TP message sent before others may run
EXCHANGES_LIMIT = 1000  # pairs of identifiers whose exchanges are kept apart
Short = Annotated[float, Meta(gt=0, le=60)]  # s


class Content(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A frame but for its identifier; `length` only for a remote one."""

    extended: bool = False
    remote: bool = False
    fd: bool = False
    brs: bool = False
    data: bytes = b""
    length: Annotated[int, Meta(ge=0, le=8)] | None = None

    def as_frame(self, id: int) -> Frame:
        """Return it as a frame; raise OutOfRange, BadRequest."""
        return can.frame(
            id,
            self.data,
            extended=self.extended,
            remote=self.remote,
            fd=self.fd,
            brs=self.brs,
            length=self.length,
        )


class FrameFields(Content, frozen=True, forbid_unknown_fields=True):
    """One frame."""

    id: Id

    def frame(self) -> Frame:
        """Return it as a frame; raise OutOfRange, BadRequest."""
        return self.as_frame(self.id)


class Send(Content, frozen=True, forbid_unknown_fields=True):
    """Arguments of `send`: the fields of one frame, or `frames`."""

    id: Id | None = None
    frames: Annotated[list[FrameFields], Meta(max_length=FRAMES_LIMIT)] = []

    def read(self) -> list[Frame]:
        """Return the frames to send; raise OutOfRange, BadRequest."""
        if (self.id is None) == (not self.frames):
            raise BadRequest(
                "send takes the fields of one frame (`id`, `data`, ...) or `frames`"
            )
        return (
            [each.frame() for each in self.frames]
            if self.id is None
            else [self.as_frame(self.id)]
        )


class Cansend(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of `cansend`.

    A frame as can-utils writes it, such as 123#DEADBEEF or 18FEF100#0102.
    """

    frame: str


class Periodic(FrameFields, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Arguments of `send_periodic`.

    A frame, every `period` s, `count` times (0 = until stopped).
    """

    period: Annotated[float, Meta(ge=0.0005, le=86400)]  # s
    count: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    # None: its identifier in hex
    name: Annotated[str, Meta(min_length=1, max_length=64)] | None = None


class StopPeriodic(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of `stop_periodic`: a name, None for all."""

    name: str | None = None


class Match(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The frame that is awaited.

    Identifier under a mask, and what its data begins with.
    """

    id: Id
    mask: Id | None = None  # None: exactly this one
    extended: bool | None = None  # None: 29 bits if the identifier needs them
    data: bytes = b""

    def __post_init__(self) -> None:
        check_id(self.id, self.extended)

    def read(self) -> Mask:
        """Return it as a filter."""
        extended = self.id > STANDARD_IDS if self.extended is None else self.extended
        whole = exactly(self.id, extended)
        return (
            whole if self.mask is None else whole._replace(mask=self.mask & whole.mask)
        )


class Request(FrameFields, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Arguments of `request`: a frame, and what its answer looks like; `timeout` in s."""

    match: Match
    timeout: Short = 1.0


class Answer(Single, frozen=True):
    """Result of `request`: the frame that came."""

    time: float


class IsoTp(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Arguments of `isotp`: identifiers of both ways, the message, and how to speak."""

    tx: Id
    rx: Id
    data: Annotated[bytes, Meta(min_length=1)]
    extended: bool | None = None  # None: 29 bits if an identifier needs them
    fd: bool = False
    # None: frames as short as they can be
    padding: Annotated[int, Meta(ge=0, le=255)] | None = 0xCC
    response: bool = True  # False: done when the message is out
    # frames we take between two flow controls; 0 = all
    block: Annotated[int, Meta(ge=0, le=255)] = 0
    timeout: Short = 1.0  # s for each step of the other side


class IsoTpAnswer(msgspec.Struct, frozen=True):
    """Result of `isotp`: the message that came back."""

    data: bytes


class RawCommands:
    """What can be done with any bus."""

    line: Line

    def __init__(self) -> None:
        self._exchanges: dict[tuple[int, int], asyncio.Lock] = {}

    @command(holds="exchange")
    async def send(self, device: str, arguments: Send, turn: Turn) -> None:
        """Send frames as they are."""
        await self.line.send(arguments.read())

    @command(holds="exchange")
    async def cansend(self, device: str, arguments: Cansend, turn: Turn) -> None:
        """Send one frame, written as can-utils do."""
        await self.line.send([can.parse(arguments.frame)])

    @command(holds="exchange")
    async def send_periodic(self, device: str, arguments: Periodic, turn: Turn) -> str:
        """Send a frame again and again; return the name for `stop_periodic`."""
        frame = arguments.frame()
        name = arguments.name or (
            f"{frame.id:08x}" if frame.flags & EXTENDED else f"{frame.id:03x}"
        )
        self.line.start(name, frame, arguments.period, arguments.count)
        return name

    @command(holds="exchange", safe=True)
    async def stop_periodic(
        self, device: str, arguments: StopPeriodic, turn: Turn
    ) -> list[str]:
        """Stop a periodic frame, or all; return their names."""
        names = self.line.periodic if arguments.name is None else [arguments.name]
        for name in names:
            self.line.stop(name)
        return names

    @command(holds="exchange", timeout=62.0)
    async def request(self, device: str, arguments: Request, turn: Turn) -> Answer:
        """Send a frame and return the one that matches."""
        mask, start = arguments.match.read(), arguments.match.data
        frame = arguments.frame()

        def wanted(came: Frame) -> bool:
            return (
                not came.flags & (SENT | ERROR)
                and mask.matches(came)
                and came.data.startswith(start)
            )

        with self.line.frames.listen(wanted, [mask]) as listener:
            await self.line.send([frame])
            turn.release()
            found = await _within(
                turn.asked or arguments.timeout,
                listener,
                f"no frame 0x{mask.id:X} came",
            )
        return msgspec.convert({**named(found), "time": found.time}, Answer)

    @command(holds="exchange", timeout=120.0)
    async def isotp(
        self, device: str, arguments: IsoTp, turn: Turn
    ) -> IsoTpAnswer | None:
        """Send a message in as many frames as it takes (ISO 15765-2) and return the one that answers."""
        turn.release()
        extended = (
            max(arguments.tx, arguments.rx) > STANDARD_IDS
            if arguments.extended is None
            else arguments.extended
        )
        talk = Conversation(
            self.line, arguments, extended, turn.asked or arguments.timeout
        )
        async with self._alone(arguments.tx, arguments.rx):
            with self.line.frames.listen(
                talk.wanted, [exactly(arguments.rx, extended)]
            ) as listener:
                await talk.say(listener)
                return (
                    IsoTpAnswer(await talk.hear(listener))
                    if arguments.response
                    else None
                )

    @contextlib.asynccontextmanager
    async def _alone(self, tx: int, rx: int) -> AsyncIterator[None]:
        """One exchange at a time on a pair of identifiers."""
        if len(self._exchanges) >= EXCHANGES_LIMIT:
            self._exchanges = {
                pair: lock for pair, lock in self._exchanges.items() if lock.locked()
            }
        async with self._exchanges.setdefault((tx, rx), asyncio.Lock()):
            yield


class Conversation:
    """One ISO-TP message there, and one back."""

    def __init__(
        self, line: Line, about: IsoTp, extended: bool, timeout: float
    ) -> None:
        self._line, self._about, self._extended, self._timeout = (
            line,
            about,
            extended,
            timeout,
        )
        self._size = isotp.FD if about.fd else isotp.CLASSIC
        self._frame(b"")  # refuses what cannot be sent before anything is

    def wanted(self, came: Frame) -> bool:
        """True for frames of the other side."""
        same = (
            came.id == self._about.rx and bool(came.flags & EXTENDED) == self._extended
        )
        return same and not came.flags & (SENT | ERROR | REMOTE)

    async def say(self, listener: Listener[Frame]) -> None:
        """Send the message; raise DeviceTimeout, ProtocolError, or what `send` raises."""
        sender = isotp.Sender(self._about.data, self._size, self._about.padding)
        while True:
            await self._out(sender)
            if sender.done:
                return
            while True:
                came = await _within(self._timeout, listener, "no flow control came")
                if sender.feed(came.data):
                    break

    async def hear(self, listener: Listener[Frame]) -> bytes:
        """Return the message that comes back; raise DeviceTimeout, ProtocolError."""
        receiver = isotp.Receiver(size=self._size, block=self._about.block)
        while True:
            came = await _within(self._timeout, listener, "no whole message came")
            message, answer = receiver.feed(came.data)
            if answer is not None:
                await self._line.send(
                    [
                        self._frame(
                            answer
                            if self._about.padding is None
                            else self._padded(answer)
                        )
                    ]
                )
            if message is not None:
                return message

    async def _out(self, sender: isotp.Sender) -> None:
        frames = [self._frame(data) for data in sender.frames()]
        step = 1 if sender.pause else BURST
        for start in range(0, len(frames), step):
            await self._line.send(frames[start : start + step])
            if start + step < len(frames):
                await asyncio.sleep(sender.pause)

    def _padded(self, data: bytes) -> bytes:
        return data.ljust(isotp.CLASSIC, bytes((self._about.padding or 0,)))

    def _frame(self, data: bytes) -> Frame:
        return can.frame(
            self._about.tx, data, extended=self._extended, fd=self._about.fd
        )


async def _within(seconds: float, listener: Listener[Any], what: str) -> Any:
    try:
        async with asyncio.timeout(seconds):
            return await listener.get()
    except TimeoutError as error:
        raise DeviceTimeout(f"{what} within {seconds:g} s") from error
