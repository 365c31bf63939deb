"""One panel that is connected to us: sign-on, update, heartbeat, its buttons.

Source: docs/protocols/cip.md, 5.2.
"""

import asyncio
import hmac
import logging
import math
from collections.abc import Iterator

from busbar.bridge.streams import TRACE, readable
from busbar.codecs import cip
from busbar.codecs.cip import Command, Join, Message, Update
from cip_bridge.processor_role.presses import Presses
from cip_bridge.processor_role.program import Program, Seat

log = logging.getLogger("busbar.cip")
# of panels that are not signed on; then it is that of their seat
wire = logging.getLogger("busbar.wire")

BEAT = 5.0  # s without a word of the panel before we ask whether it is there
# s without a word before a panel is gone; python-cipclient speaks every 15 s and
# answers no heartbeat
SILENCE = 40.0
# s from the greeting to the end of the sign-on; panels do it at once
SIGN_ON_LIMIT = 10.0
UNSENT_LIMIT = 4 * 1024 * 1024  # bytes that a panel may leave unread
# bytes between frames; a panel with a flaw sends a few with each sign-on
STRAY_LIMIT = 64 * 1024
CHUNK = 64 * 1024  # bytes
BATCH = 500  # messages, which may have 30 000 values, before others have their turn
# bytes of an update before the panel has to have read the ones before
SLICE = 64 * 1024
DRAIN_LIMIT = 10.0  # s for that


class Panel:
    """One connection of a panel."""

    def __init__(
        self,
        program: Program,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        host, port = writer.get_extra_info("peername")[:2]
        self.address = f"{host}:{port}"
        self.presses = Presses(self._let_go)
        self._program, self._stream, self._writer = program, reader, writer
        self._loop = asyncio.get_running_loop()
        self._seat: Seat | None = None  # whose IP-ID it has signed on with
        self._welcome = False  # it is signed on, and logged in where that is asked for
        self._deadline = math.inf  # loop time of the end of its sign-on
        self._heard = self._loop.time()
        self._stray = 0  # bytes
        self._router = False
        self._reader = cip.Reader()
        self._update_due = asyncio.Event()

    def send(self, frames: bytes) -> None:
        """Write without waiting; a panel that does not read is dropped."""
        if self._writer.is_closing():
            return
        self._show("->", frames)
        self._writer.write(frames)
        if self._writer.transport.get_write_buffer_size() > UNSENT_LIMIT:
            self._drop("does not read what we send")

    def abort(self) -> None:
        self._writer.transport.abort()

    def greet(self) -> None:
        """Ask who it is, or to wait."""
        if self._seat is None:
            ready = self._program.state == cip.READY
            self._deadline = self._loop.time() + SIGN_ON_LIMIT if ready else math.inf
            self.send(cip.encode(cip.Hello(self._program.state)))

    def dump(self) -> None:
        """Send everything that is not at its default, as soon as it reads."""
        self._update_due.set()

    async def run(self) -> None:
        """Serve it until it leaves."""
        self.greet()
        try:
            async with asyncio.TaskGroup() as tasks:
                updating = tasks.create_task(
                    self._send_updates(), name=f"updates for {self.address}"
                )
                await self._read()
                updating.cancel()
        finally:
            self._leave()
            self._writer.close()

    async def _read(self) -> None:
        """Take what it says until it leaves, or has to."""
        while (why := self._overdue()) is None:
            data = await self._receive()
            if data is None:
                self.send(cip.encode(cip.Ping()))
            elif not data or not await self._take_all(data):
                return
        log.info("panel %s: %s", self.address, why)

    def _overdue(self) -> str | None:
        if not self._welcome and self._loop.time() > self._deadline:
            return f"no sign-on within {SIGN_ON_LIMIT:g} s"
        if self._loop.time() - self._heard > SILENCE:
            return f"nothing heard for {SILENCE:g} s"
        return None

    async def _receive(self) -> bytes | None:
        """Return what has come, nothing at the end, None after a while of silence."""
        limit = asyncio.timeout(BEAT)
        try:
            async with limit:
                data = await self._stream.read(CHUNK)
        except OSError as error:
            if limit.expired():
                return None
            log.info("panel %s: %s", self.address, error)
            return b""
        self._show("<-", data)
        return data

    async def _take_all(self, data: bytes) -> bool:
        """Take what came; False when the connection is over."""
        self._heard = self._loop.time()
        self._reader.feed(data)
        updates: list[Update] = []
        for number, message in enumerate(self._reader.messages(), start=1):
            if isinstance(message, Update):
                updates.append(message)
            else:
                self._tell(updates)
                updates = []
                if not self._take(message):
                    return False
            if number % BATCH == 0:
                self._tell(updates)
                updates = []
                await asyncio.sleep(0)
        self._tell(updates)
        return True

    def _tell(self, updates: list[Update]) -> None:
        if self._seat is not None and self._welcome and updates:
            self._seat.take(self, updates)

    def _take(self, message: Message) -> bool:
        match message:
            case cip.Connect() | cip.DeviceConnect() | cip.RoomConnect():
                return self._sign_on(message)
            case cip.Authenticate():
                return self._log_in(message)
            case cip.Ping():
                self.send(cip.encode(cip.Pong()))
            case Command(code=cip.START):
                self._program.update(self)
            case cip.Disconnect():
                return False
            case cip.Skipped():
                return self._skip(message)
        return True

    def _skip(self, skipped: cip.Skipped) -> bool:
        if self._seat is not None:
            self._seat.skipped += 1
        log.debug(
            "panel %s: skipped %s: %s",
            self.address,
            skipped.why,
            skipped.data[:64].hex(" "),
        )
        if skipped.why == cip.STRAY:
            self._stray += len(skipped.data)
        if self._stray > STRAY_LIMIT:
            self._drop(f"has sent {self._stray} bytes that are no frames")
            return False
        return True

    def _sign_on(self, message: cip.SignOn) -> bool:
        self._leave()
        self._router = isinstance(message, cip.RoomConnect)
        seat = self._program.find(message.ipid)
        if seat is None or (
            seat.room and seat.room.upper() != getattr(message, "room", "").upper()
        ):
            log.info("panel %s: IP-ID 0x%02X is not ours", self.address, message.ipid)
            self.send(self._result(cip.UNKNOWN_IPID))
            return False
        self._seat = seat
        if seat.credentials is not None:
            mode = seat.result.mode | cip.CREDENTIALS
            self.send(
                self._result(
                    cip.ConnectResult(seat.result.handle, mode, seat.result.rest)
                )
            )
        else:
            self.send(self._result(seat.result))
            self._enter(seat)
        return True

    def _log_in(self, message: cip.Authenticate) -> bool:
        if self._seat is None or self._welcome:
            return True
        wanted = ":".join(self._seat.credentials or ())
        given = f"{message.username}:{message.password}"
        ok = hmac.compare_digest(given.encode(), wanted.encode())
        self.send(cip.encode(cip.AuthResult(message.ipid, ok)))
        if ok:
            self._enter(self._seat)
        return ok

    def _result(self, result: cip.ConnectResult) -> bytes:
        return cip.encode(
            cip.ConnectResult(result.handle, result.mode, result.rest, self._router)
        )

    def _enter(self, seat: Seat) -> None:
        self._welcome = True
        self._reader.agree(seat.style)
        seat.panels.append(self)
        seat.came_or_went()

    def _leave(self) -> None:
        """Release what it holds, and let others have its place."""
        seat, self._seat, self._welcome = self._seat, None, False
        if seat is None or self not in seat.panels:
            return
        seat.let_go(self, self.presses.clear())
        seat.panels.remove(self)
        seat.came_or_went()

    def _let_go(self, join: Join) -> None:
        if self._seat is not None:
            self._seat.let_go(self, [join])

    async def _send_updates(self) -> None:
        while True:
            await self._update_due.wait()
            self._update_due.clear()
            if self._seat is not None and self._welcome:
                await self._send_update(self._seat)

    async def _send_update(self, seat: Seat) -> None:
        pending = bytearray()
        for frame in self._update(seat):
            pending += frame
            if len(pending) > SLICE:
                self.send(bytes(pending))
                pending.clear()
                await self._drained()
                if self._seat is not seat or self._writer.is_closing():
                    return
        self.send(bytes(pending))

    def _update(self, seat: Seat) -> Iterator[bytes]:
        """What a processor sends.

        All joins that are not at their default, as they are then.
        Source: docs/protocols/cip.md, 5.2.
        """
        yield cip.encode(Command(cip.START), seat.style)
        yield cip.encode(cip.Clock(self._program.now()), seat.style)
        for join in list(seat.board.outs.known):
            if value := seat.board.outs.get(join):
                yield cip.encode(Update(join, value, cip.FORMS[join.kind]), seat.style)
        yield cip.encode(Command(cip.END_OF_UPDATE), seat.style)
        yield cip.encode(Command(cip.END_OF_QUERY), seat.style)

    async def _drained(self) -> None:
        try:
            async with asyncio.timeout(DRAIN_LIMIT):
                await self._writer.drain()
                await asyncio.sleep(0)
        except OSError as error:
            self._drop(f"does not read its update: {error or 'timeout'}")

    def _show(self, arrow: str, data: bytes) -> None:
        shown = self._seat.wire if self._seat else wire
        if shown.isEnabledFor(TRACE):
            shown.log(TRACE, "%s %s %s", self.address, arrow, readable(data))

    def _drop(self, why: str) -> None:
        log.warning("panel %s %s: dropped", self.address, why)
        self.abort()
