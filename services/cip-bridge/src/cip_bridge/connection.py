"""One panel that is connected to us: sign-on, update, heartbeat, its buttons. Source: reference 1.4, R, M and Z."""

import asyncio
import hmac
import logging

from busbar.codecs import cip
from busbar.codecs.cip import Command, Form, Join, Message, Update
from cip_bridge.seats import Program, Seat

log = logging.getLogger("busbar.cip")

BEAT = 5.0  # s without a word of the panel before we ask whether it is there
SILENCE = 40.0  # s without a word before a panel is gone; python-cipclient speaks every 15 s and answers no heartbeat
RELEASE = 1.5  # s after which a button that is not pressed again is released; panels repeat every 0.5 s
UNSENT_LIMIT = 4 * 1024 * 1024  # bytes that a panel may leave unread
CHUNK = 64 * 1024  # bytes


class Panel:
    """One connection of a panel."""

    def __init__(self, program: Program, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, port = writer.get_extra_info("peername")[:2]
        self.address = f"{host}:{port}"
        self._program, self._stream, self._writer = program, reader, writer
        self._loop = asyncio.get_running_loop()
        self._seat: Seat | None = None  # whose IP-ID it has signed on with
        self._welcome = False  # it is signed on, and logged in where that is asked for
        self._router = False
        self._reader = cip.Reader()
        self._pressed: dict[Join, asyncio.TimerHandle | None] = {}  # None: not by a button, so not timed

    def send(self, frames: bytes) -> None:
        """Write without waiting; a panel that does not read is dropped."""
        if self._writer.is_closing():
            return
        self._writer.write(frames)
        if self._writer.transport.get_write_buffer_size() > UNSENT_LIMIT:
            log.warning("panel %s does not read what we send: dropped", self.address)
            self.abort()

    def abort(self) -> None:
        self._writer.transport.abort()

    def greet(self) -> None:
        """Ask who it is, or to wait."""
        if self._seat is None:
            self.send(cip.encode(cip.Hello(cip.BOOTING if self._program.booting else cip.READY)))

    def dump(self) -> None:
        """Send everything that is not at its default, as a processor does. Source: reference 1.4."""
        if self._seat is None or not self._welcome:
            return
        outs = self._seat.board.outs.items()
        messages: list[Command | cip.Clock | Update] = [
            Command(cip.START),
            cip.Clock(self._program.now()),
            *(Update(join, value, cip.FORMS[join.kind]) for join, value in outs if value),
            Command(cip.END_OF_UPDATE),
            Command(cip.END_OF_QUERY),
        ]
        self.send(b"".join(cip.encode(message, self._seat.style) for message in messages))

    async def run(self) -> None:
        """Serve it until it leaves."""
        self.greet()
        try:
            await self._read()
        except OSError as error:
            log.info("panel %s: %s", self.address, error)
        finally:
            self._leave()
            self._writer.close()

    async def _read(self) -> None:
        heard = self._loop.time()
        while True:
            try:
                async with asyncio.timeout(BEAT):
                    data = await self._stream.read(CHUNK)
            except TimeoutError:
                if self._loop.time() - heard > SILENCE:
                    log.info("panel %s: nothing heard for %g s", self.address, SILENCE)
                    return
                self.send(cip.encode(cip.Ping()))
                continue
            if not data:
                return
            heard = self._loop.time()
            self._reader.feed(data)
            if not self._take_all(list(self._reader.messages())):
                return

    def _take_all(self, messages: list[Message]) -> bool:
        """Take what came; False when the connection is over."""
        updates: list[Update] = []
        for message in messages:
            if isinstance(message, Update):
                if self._welcome:
                    updates.append(message)
            elif not self._take(message):
                self._take_updates(updates)
                return False
        self._take_updates(updates)
        return True

    def _take(self, message: Message) -> bool:
        match message:
            case cip.Connect() | cip.DeviceConnect() | cip.RoomConnect():
                return self._sign_on(message)
            case cip.Authenticate():
                return self._log_in(message)
            case cip.Ping():
                self.send(cip.encode(cip.Pong()))
            case Command(code=cip.START):
                self._program.asked += 1
                if self._program.slow:
                    self._loop.call_later(self._program.slow, self.dump)
                else:
                    self.dump()
            case cip.Disconnect():
                return False
            case cip.Skipped(why, data):
                self._program.skipped += 1
                log.debug("panel %s: skipped %s: %s", self.address, why, data[:64].hex(" "))
        return True

    def _sign_on(self, message: cip.SignOn) -> bool:
        self._leave()
        self._router = isinstance(message, cip.RoomConnect)
        seat = None if self._program.refusing or self._program.booting else self._program.seats.get(message.ipid)
        if seat is None or (seat.room and seat.room.upper() != getattr(message, "room", "").upper()):
            log.info("panel %s: IP-ID 0x%02X is not ours", self.address, message.ipid)
            self.send(self._result(cip.UNKNOWN_IPID))
            return False
        self._seat = seat
        if seat.credentials is not None:
            mode = seat.result.mode | cip.CREDENTIALS
            self.send(self._result(cip.ConnectResult(seat.result.handle, mode, seat.result.rest)))
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
        return cip.encode(cip.ConnectResult(result.handle, result.mode, result.rest, self._router))

    def _enter(self, seat: Seat) -> None:
        self._welcome = True
        self._reader = cip.Reader(seat.style)
        seat.panels.append(self)
        seat.came_or_went()

    def _leave(self) -> None:
        """Release what it holds, and let others have its place."""
        seat, self._seat, self._welcome = self._seat, None, False
        if seat is None or self not in seat.panels:
            return
        for join in list(self._pressed):
            self._release(seat, join)
        seat.panels.remove(self)
        seat.came_or_went()

    def _take_updates(self, updates: list[Update]) -> None:
        if self._seat is None or not updates:
            return
        for update in updates:
            if update.join.kind == "digital":
                self._watch(self._seat, update)
        self._seat.take(updates)

    def _watch(self, seat: Seat, update: Update) -> None:
        """See to it that a button does not stay pressed when its panel is gone."""
        timer = self._pressed.pop(update.join, None)
        if timer is not None:
            timer.cancel()
        if update.value:
            timed = update.form is Form.BUTTON
            self._pressed[update.join] = (
                self._loop.call_later(RELEASE, self._release, seat, update.join) if timed else None
            )

    def _release(self, seat: Seat, join: Join) -> None:
        timer = self._pressed.pop(join, None)
        if timer is not None:
            timer.cancel()
        seat.take([Update(join, False, Form.DIGITAL)])
