"""Connection of one panel to us: sign-on, update, heartbeat, its buttons.

Source: docs/protocols/cip.md, 5.2
"""

import asyncio
import hmac
import logging
import math
from collections.abc import Iterator
from dataclasses import replace

from busbar.bridge.streams import TRACE, readable
from busbar.codecs import cip
from busbar.codecs.cip import Command, Join, Message, Update
from cip_bridge.processor_role.presses import Presses
from cip_bridge.processor_role.program import Program, Seat

log = logging.getLogger("busbar.cip")
# of panels that are not signed on; later the logger of their seat
wire = logging.getLogger("busbar.wire")

BEAT = 5.0  # s of silence before we ping a panel
# s of silence before a panel is gone; python-cipclient sends every 15 s and answers no
# ping
SILENCE = 40.0
# s from the greeting to the end of the sign-on; panels do it at once
SIGN_ON_LIMIT = 10.0
UNSENT_LIMIT = 4 * 1024 * 1024  # bytes that a panel may leave unread
# bytes between frames; a panel with a flaw sends a few with each sign-on
STRAY_LIMIT = 64 * 1024
CHUNK = 64 * 1024  # bytes
BATCH = 500  # messages, which may have 30 000 values, before others have their turn
SLICE = 64 * 1024  # bytes of an update that a panel has to read before it gets more
DRAIN_LIMIT = 10.0  # s for that


class PanelConnection:
    """Connection of one panel, from the greeting to its end."""

    def __init__(
        self,
        program: Program,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        host, port = writer.get_extra_info("peername")[:2]
        self.address = f"{host}:{port}"
        self.presses = Presses(self._release)
        self._program = program
        self._stream = reader
        self._writer = writer
        self._loop = asyncio.get_running_loop()
        self._seat: Seat | None = None  # whose IP-ID it has signed on with
        self._signed_on = False  # and logged in where that is asked for
        self._deadline = math.inf  # loop time of the end of its sign-on
        self._received_at = self._loop.time()
        self._complete = 0  # whole frames when we looked last
        self._stray_bytes = 0
        self._router = False  # it has signed on to a room
        self._reader = cip.Reader()
        self._update_due = asyncio.Event()

    def send(self, frames: bytes) -> None:
        """Write without waiting; a panel that does not read is dropped."""
        if self._writer.is_closing():
            return
        self._log_wire("->", frames)
        self._writer.write(frames)
        if self._writer.transport.get_write_buffer_size() > UNSENT_LIMIT:
            self._drop("does not read what we send")

    def abort(self) -> None:
        self._writer.transport.abort()

    def greet(self) -> None:
        """Send the greeting: sign on, or wait."""
        if self._seat is not None:
            return
        self._deadline = math.inf
        if self._program.state == cip.READY:
            self._deadline = self._loop.time() + SIGN_ON_LIMIT
        self.send(cip.encode(cip.Hello(self._program.state)))

    def request_update(self) -> None:
        """Let `run` send all joins that are not at their default."""
        self._update_due.set()

    async def run(self) -> None:
        """Serve the panel until it leaves."""
        self.greet()
        try:
            async with asyncio.TaskGroup() as tasks:
                updating = tasks.create_task(
                    self._send_updates(), name=f"updates for {self.address}"
                )
                await self._read()
                updating.cancel()
        finally:
            self._sign_off()
            self._writer.close()

    async def _read(self) -> None:
        """Read until the panel leaves, or is overdue."""
        why = self._overdue()
        while why is None:
            data = await self._receive()
            if data is None:
                self.send(cip.encode(cip.Ping()))
            elif not data or not await self._handle_all(data):
                return
            why = self._overdue()
        log.info("panel %s: %s", self.address, why)

    def _overdue(self) -> str | None:
        """Return why the panel has to leave, None if it may stay."""
        now = self._loop.time()
        if not self._signed_on and now > self._deadline:
            return f"no sign-on within {SIGN_ON_LIMIT:g} s"
        if now - self._received_at > SILENCE:
            return f"no whole message for {SILENCE:g} s"
        return None

    async def _receive(self) -> bytes | None:
        """Return received bytes, none at the end, None after a while of silence."""
        limit = asyncio.timeout(BEAT)
        try:
            async with limit:
                data = await self._stream.read(CHUNK)
        except OSError as error:
            if limit.expired():
                return None
            log.info("panel %s: %s", self.address, error)
            return b""
        self._log_wire("<-", data)
        return data

    async def _handle_all(self, data: bytes) -> bool:
        """Handle received bytes; return False when the connection is over."""
        self._reader.feed(data)
        updates: list[Update] = []
        for number, message in enumerate(self._reader.messages(), start=1):
            if isinstance(message, Update):
                updates.append(message)
            else:
                self._deliver(updates)
                updates = []
                if not self._handle(message):
                    return False
            if number % BATCH == 0:
                self._deliver(updates)
                updates = []
                await asyncio.sleep(0)
        self._deliver(updates)
        self._note_frames()
        return True

    def _note_frames(self) -> None:
        """Note that whole frames have come; bytes that become none are no life."""
        if self._reader.complete != self._complete:
            self._complete = self._reader.complete
            self._received_at = self._loop.time()

    def _deliver(self, updates: list[Update]) -> None:
        if self._seat is not None and self._signed_on and updates:
            self._seat.receive(self, updates)

    def _handle(self, message: Message) -> bool:
        """Handle a message; return False when the connection is over."""
        match message:
            case cip.Connect() | cip.DeviceConnect() | cip.RoomConnect():
                return self._sign_on(message)
            case cip.Authenticate():
                return self._log_in(message)
            case cip.Ping():
                self.send(cip.encode(cip.Pong()))
            case Command(code=cip.START):
                self._program.answer_update(self)
            case cip.Disconnect():
                return False
            case cip.Skipped():
                return self._count_skipped(message)
        return True

    def _count_skipped(self, skipped: cip.Skipped) -> bool:
        if self._seat is not None:
            self._seat.skipped += 1
        log.debug(
            "panel %s: skipped %s: %s",
            self.address,
            skipped.why,
            skipped.data[:64].hex(" "),
        )
        if skipped.why == cip.STRAY:
            self._stray_bytes += len(skipped.data)
        if self._stray_bytes > STRAY_LIMIT:
            self._drop(f"has sent {self._stray_bytes} bytes that are no frames")
            return False
        return True

    def _sign_on(self, message: cip.SignOn) -> bool:
        self._sign_off()
        self._router = isinstance(message, cip.RoomConnect)
        seat = self._find_seat(message)
        if seat is None:
            log.info("panel %s: IP-ID 0x%02X is not ours", self.address, message.ipid)
            self._send_result(cip.UNKNOWN_IPID)
            return False
        self._seat = seat
        if seat.credentials is None:
            self._send_result(seat.result)
            self._admit(seat)
        else:
            mode = seat.result.mode | cip.CREDENTIALS
            self._send_result(replace(seat.result, mode=mode))
        return True

    def _find_seat(self, message: cip.SignOn) -> Seat | None:
        """Return the seat that a panel signs on to, None if there is none."""
        seat = self._program.find(message.ipid)
        if seat is None or not seat.room:
            return seat
        room = message.room if isinstance(message, cip.RoomConnect) else ""
        if room.upper() != seat.room.upper():
            return None
        return seat

    def _log_in(self, message: cip.Authenticate) -> bool:
        if self._seat is None or self._signed_on:
            return True
        wanted = ":".join(self._seat.credentials or ())
        given = f"{message.username}:{message.password}"
        ok = hmac.compare_digest(given.encode(), wanted.encode())
        self.send(cip.encode(cip.AuthResult(message.ipid, ok)))
        if ok:
            self._admit(self._seat)
        return ok

    def _send_result(self, result: cip.ConnectResult) -> None:
        self.send(cip.encode(replace(result, router=self._router)))

    def _admit(self, seat: Seat) -> None:
        """Let the panel take part."""
        self._signed_on = True
        self._reader.agree(seat.style)
        seat.panels.append(self)
        seat.on_panels_changed()

    def _sign_off(self) -> None:
        """Release what the panel holds and leave its seat."""
        seat = self._seat
        self._seat = None
        self._signed_on = False
        if seat is None or self not in seat.panels:
            return
        seat.release(self, self.presses.clear())
        seat.panels.remove(self)
        seat.on_panels_changed()

    def _release(self, join: Join) -> None:
        if self._seat is not None:
            self._seat.release(self, [join])

    async def _send_updates(self) -> None:
        while True:
            await self._update_due.wait()
            self._update_due.clear()
            if self._seat is not None and self._signed_on:
                await self._send_update(self._seat)

    async def _send_update(self, seat: Seat) -> None:
        pending = bytearray()
        for frame in self._update(seat):
            pending += frame
            if len(pending) > SLICE:
                self.send(bytes(pending))
                pending.clear()
                await self._drain()
                if self._seat is not seat or self._writer.is_closing():
                    return
        self.send(bytes(pending))

    def _update(self, seat: Seat) -> Iterator[bytes]:
        """Yield the frames of an update: all joins that are not at their default."""
        yield cip.encode(Command(cip.START), seat.style)
        yield cip.encode(cip.Clock(self._program.now()), seat.style)
        for join in list(seat.joins.sent.known):
            value = seat.joins.sent.get(join)  # as it is by then
            if value:
                yield cip.encode(Update(join, value, cip.FORMS[join.kind]), seat.style)
        yield cip.encode(Command(cip.END_OF_UPDATE), seat.style)
        yield cip.encode(Command(cip.END_OF_QUERY), seat.style)

    async def _drain(self) -> None:
        """Wait until the panel has read enough; drop it if it does not."""
        try:
            async with asyncio.timeout(DRAIN_LIMIT):
                await self._writer.drain()
                await asyncio.sleep(0)
        except OSError as error:
            self._drop(f"does not read its update: {error or 'timeout'}")

    def _log_wire(self, arrow: str, data: bytes) -> None:
        logger = self._seat.wire if self._seat else wire
        if logger.isEnabledFor(TRACE):
            logger.log(TRACE, "%s %s %s", self.address, arrow, readable(data))

    def _drop(self, why: str) -> None:
        log.warning("panel %s %s: dropped", self.address, why)
        self.abort()
