"""Commands on frames: send, send periodically, request and answer, ISO-TP."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Annotated

import msgspec
from msgspec import Meta

from busbar.bridge import BadRequest, DeviceTimeout, Turn, command
from busbar.codecs import can, isotp
from busbar.codecs.can import (
    ERROR,
    EXTENDED,
    REMOTE,
    SENT,
    Frame,
    Mask,
    exactly,
)
from can_bridge.frame_events import Single, named
from can_bridge.settings import Id, check_id
from can_bridge.traffic import CanTraffic, Listener

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
        if self.id is not None:
            return [self.as_frame(self.id)]
        return [each.frame() for each in self.frames]


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
    """The frame that answers: its identifier under a mask, and how its data begins."""

    id: Id
    mask: Id | None = None  # None: exactly this one
    extended: bool | None = None  # None: 29 bits if the identifier needs them
    data: bytes = b""

    def __post_init__(self) -> None:
        check_id(self.id, self.extended)

    def read(self) -> Mask:
        """Return it as a filter."""
        whole = exactly(self.id, can.is_extended(self.id, self.extended))
        if self.mask is None:
            return whole
        return whole._replace(mask=self.mask & whole.mask)


class Request(FrameFields, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Arguments of `request`: a frame, what answers it, `timeout` in s."""

    match: Match
    timeout: Short = 1.0


class Answer(Single, frozen=True):
    """Result of `request`: the frame that came."""

    time: float


class IsoTp(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Arguments of `isotp`: identifiers of both directions, the message, options."""

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


class FrameCommands:
    """Commands of any bus."""

    def __init__(self, traffic: CanTraffic) -> None:
        self._traffic = traffic
        self._exchanges: dict[tuple[int, int], asyncio.Lock] = {}

    @command(holds="exchange")
    async def send(self, device: str, arguments: Send, turn: Turn) -> None:
        """Send frames as they are."""
        await self._traffic.send(arguments.read())

    @command(holds="exchange")
    async def cansend(self, device: str, arguments: Cansend, turn: Turn) -> None:
        """Send one frame, written as can-utils do."""
        await self._traffic.send([can.parse(arguments.frame)])

    @command(holds="exchange")
    async def send_periodic(self, device: str, arguments: Periodic, turn: Turn) -> str:
        """Send a frame again and again; return the name for `stop_periodic`."""
        frame = arguments.frame()
        name = arguments.name or can.id_text(frame)
        self._traffic.start(name, frame, arguments.period, arguments.count)
        return name

    @command(holds="exchange", safe=True)
    async def stop_periodic(
        self, device: str, arguments: StopPeriodic, turn: Turn
    ) -> list[str]:
        """Stop a periodic frame, or all; return their names."""
        if arguments.name is None:
            names = self._traffic.prune_periodic()
        else:
            names = [arguments.name]
        for name in names:
            self._traffic.stop(name)
        return names

    @command(holds="exchange", timeout=62.0)
    async def request(self, device: str, arguments: Request, turn: Turn) -> Answer:
        """Send a frame and return the one that matches."""
        mask = arguments.match.read()
        start = arguments.match.data
        frame = arguments.frame()

        def wanted(came: Frame) -> bool:
            if came.flags & (SENT | ERROR) or not mask.matches(came):
                return False
            return came.data.startswith(start)

        with self._traffic.frames.listen(wanted, [mask]) as listener:
            await self._traffic.send([frame])
            turn.release()
            seconds = turn.asked or arguments.timeout
            found = await _next(listener, seconds, f"no frame 0x{mask.id:X} came")
        return msgspec.convert({**named(found), "time": found.time}, Answer)

    @command(
        title=(
            "Send a message in as many frames as it takes (ISO 15765-2) and return "
            "the one that answers"
        ),
        holds="exchange",
        timeout=120.0,
    )
    async def isotp(
        self, device: str, arguments: IsoTp, turn: Turn
    ) -> IsoTpAnswer | None:
        """Exchange messages of ISO 15765-2."""
        turn.release()
        highest = max(arguments.tx, arguments.rx)
        extended = can.is_extended(highest, arguments.extended)
        seconds = turn.asked or arguments.timeout
        exchange = IsoTpExchange(self._traffic, arguments, extended, seconds)
        masks = [exactly(arguments.rx, extended)]
        async with self._alone(arguments.tx, arguments.rx):
            with self._traffic.frames.listen(exchange.wanted, masks) as listener:
                await exchange.send(listener)
                if not arguments.response:
                    return None
                return IsoTpAnswer(await exchange.receive(listener))

    @contextlib.asynccontextmanager
    async def _alone(self, tx: int, rx: int) -> AsyncIterator[None]:
        """Wait for other exchanges on this pair of identifiers, and keep them away."""
        if len(self._exchanges) >= EXCHANGES_LIMIT:
            self._exchanges = {
                pair: lock for pair, lock in self._exchanges.items() if lock.locked()
            }
        async with self._exchanges.setdefault((tx, rx), asyncio.Lock()):
            yield


class IsoTpExchange:
    """One ISO-TP message there, and one back."""

    def __init__(
        self, traffic: CanTraffic, about: IsoTp, extended: bool, timeout: float
    ) -> None:
        self._traffic = traffic
        self._about = about
        self._extended = extended
        self._timeout = timeout
        self._size = isotp.FD if about.fd else isotp.CLASSIC
        self._frame(b"")  # refuses what cannot be sent before anything is

    def wanted(self, came: Frame) -> bool:
        """True for frames of the other side."""
        if came.id != self._about.rx or came.flags & (SENT | ERROR | REMOTE):
            return False
        return bool(came.flags & EXTENDED) == self._extended

    async def send(self, listener: Listener[Frame]) -> None:
        """Send the message; raise DeviceTimeout, ProtocolError, or as the bus."""
        sender = isotp.Sender(self._about.data, self._size, self._about.padding)
        await self._send_frames(sender)
        while not sender.done:
            came = await _next(listener, self._timeout, "no flow control came")
            if sender.feed(came.data):
                await self._send_frames(sender)

    async def receive(self, listener: Listener[Frame]) -> bytes:
        """Return the message that comes back; raise DeviceTimeout, ProtocolError."""
        receiver = isotp.Receiver(size=self._size, block=self._about.block)
        while True:
            came = await _next(listener, self._timeout, "no whole message came")
            message, answer = receiver.feed(came.data)
            if answer is not None:
                await self._traffic.send([self._frame(self._padded(answer))])
            if message is not None:
                return message

    async def _send_frames(self, sender: isotp.Sender) -> None:
        frames = [self._frame(data) for data in sender.frames()]
        step = 1 if sender.pause else BURST
        for start in range(0, len(frames), step):
            await self._traffic.send(frames[start : start + step])
            if start + step < len(frames):
                await asyncio.sleep(sender.pause)

    def _padded(self, data: bytes) -> bytes:
        if self._about.padding is None:
            return data
        return data.ljust(isotp.CLASSIC, bytes((self._about.padding,)))

    def _frame(self, data: bytes) -> Frame:
        about = self._about
        return can.frame(about.tx, data, extended=self._extended, fd=about.fd)


async def _next(listener: Listener[Frame], seconds: float, what: str) -> Frame:
    """Return the next frame; raise DeviceTimeout with `what`."""
    try:
        async with asyncio.timeout(seconds):
            return await listener.get()
    except TimeoutError as error:
        raise DeviceTimeout(f"{what} within {seconds:g} s") from error
