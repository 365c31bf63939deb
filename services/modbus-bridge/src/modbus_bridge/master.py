"""Master of one Modbus line: one request at a time, each with its own answer.

MBAP numbers its answers. RTU and ASCII do not, and an answer says little of what was
asked. A unit that did not answer in time owes the answer from then on; what is owed is
known by unit and function when it comes, and dropped. A request that an owed answer
could be taken for is not sent before the unit has answered a read of another table:
units answer in order, so nothing older can follow. This holds for answers up to MEMORY
seconds, or timeouts, late.
"""

import asyncio
import contextlib
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from busbar.bridge.errors import DeviceRefused, DeviceTimeout, LinkLost, ProtocolError
from busbar.bridge.streams import ByteStream
from busbar.codecs import modbus
from busbar.codecs.modbus import Frame, Framing, Read, Request

MEMORY = 10.0  # s, or as many timeouts, that an answer is owed
TRANSACTIONS = 64  # of requests without an answer whose late answers are known
# s without a byte that end a broken frame; MBAP has lengths
QUIET = {"rtu": 0.1, "ascii": 1.0, "tcp": 3600.0}
NETWORK_QUIET = 0.5  # s, where RTU comes through a network
# s until a connection that the unit closes while nothing is asked is opened again
REOPEN = 10.0
NOW = float("inf")  # the answer is being waited for
VERIFY: tuple[modbus.Table, ...] = ("holding", "input", "coil", "discrete")


@dataclass(frozen=True)
class Unit:
    """How one unit is spoken to."""

    number: int
    timeout: float = 1.0  # s for an answer
    delay: float = 0.0  # s before each request
    # after a silence wait a timeout for the owed answer instead of reading another
    # table
    quiet: bool = False


@dataclass
class Counters:
    """What happened with one unit since the start."""

    requests: int = 0
    silences: int = 0  # no answer in time
    garbled: int = 0  # answers that could not be read
    refused: int = 0  # exceptions
    late: int = 0  # answers that came too late and were dropped


@dataclass
class _Debt:
    request: Request
    until: float = NOW  # loop time


class ModbusMaster:
    """An open conversation; `connect` opens the link."""

    def __init__(
        self,
        connect: Callable[[], Awaitable[ByteStream]],
        framing: Framing,
        *,
        gap: float = 0.0,  # s between an answer and the next request
        # s after a broadcast. Source: MODBUS over Serial Line V1.02, 2.4.1
        turnaround: float = 0.1,
        character: float = 0.0,  # s that one takes on a serial line
        # through a connection: no byte is lost, and it may be half-open
        connected: bool = False,
        settle: float = 0.0,  # s between connecting and the first request
        lenient: bool = False,  # transaction 0 is an answer, too
    ) -> None:
        self.framing = framing
        # answers carry the number of their request
        self.numbered = framing == "tcp" and not lenient
        self.connected = connected
        self.counters: defaultdict[int, Counters] = defaultdict(Counters)
        self.silences = 0  # in a row, of units that have answered since it was opened
        self._answering: set[int] = set()  # these units
        self._connect = connect
        self._turnaround = turnaround
        self._character = character
        self._gap = gap
        self._settle = settle
        quiet = QUIET[framing]
        if framing == "rtu" and character:
            # MODBUS over Serial Line V1.02, 2.5.1.1
            self._gap = max(gap, 3.5 * character, 0.00175)
        elif framing == "rtu":
            quiet = NETWORK_QUIET
        self._quiet = max(quiet, 10 * character)
        self._stream: ByteStream | None = None
        self._sent = False  # the request that runs is on its way
        self._asked = False  # something, on this connection
        self._opened = 0.0  # loop time
        # when (loop time) a connection that was closed between requests is opened again
        self._reopen_at: float | None = None
        self._reader = modbus.reader(framing, self._length)
        self._debts: dict[tuple[int, int], _Debt] = {}  # unit and function
        self._unanswered: deque[int | None] = deque(maxlen=TRANSACTIONS)
        self._transaction = 0
        self._free = 0.0  # loop time from which the line may be used

    async def open(self) -> None:
        """Open the link; raise LinkLost."""
        self._reader = modbus.reader(self.framing, self._length)
        self._reopen_at = None
        self._stream = await self._connect()
        self._opened = self._now()
        self._free = max(self._free, self._opened + self._settle)
        self._asked = False
        self._answering.clear()
        self.silences = 0

    async def close(self) -> None:
        """Close the link.

        What units owe is remembered: a converter may deliver it on the next connection.
        """
        self._reopen_at = None
        if self._stream is not None:
            stream, self._stream = self._stream, None
            await stream.close()

    async def check(self) -> None:
        """Raise LinkLost if the other side has closed the connection for good.

        Drop what came unasked. One that was closed after an answer is opened again.
        """
        if self._reopen_at is not None:
            if self._now() >= self._reopen_at:
                await self.open()
            return
        try:
            await self._drop_stray(self._open_stream())
        except LinkLost:
            if not self.connected or (self._asked and not self._answering):
                raise
            await self.close()
            self._reopen_at = self._opened + REOPEN
            if self._answering or self._now() >= self._reopen_at:
                await self.open()

    async def ask(
        self, unit: Unit, request: Request, timeout: float | None = None
    ) -> Any:
        """Return what the unit answers.

        Raise DeviceRefused, DeviceTimeout, ProtocolError, LinkLost.
        """
        patience = unit.timeout if timeout is None else timeout
        counters = self.counters[unit.number]
        try:
            return await self._ask(unit, request, patience)
        except DeviceRefused:
            counters.refused += 1
            raise
        except DeviceTimeout:
            counters.silences += 1
            self.silences += unit.number in self._answering
            raise
        except ProtocolError:
            counters.garbled += 1
            raise

    async def _ask(self, unit: Unit, request: Request, patience: float) -> Any:
        """Ask; once more where the other side closes after each answer."""
        if self._reopen_at is not None:
            await self.open()
        self._sent = False
        try:
            return await self._ask_once(unit, request, patience)
        except LinkLost:
            repeatable = isinstance(request, Read) or not self._sent
            if not (self.connected and self._answering and repeatable):
                raise
        await self.close()
        await self.open()
        return await self._ask_once(unit, request, patience)

    async def _ask_once(self, unit: Unit, request: Request, patience: float) -> Any:
        if not self.numbered and self._review_debt(unit.number, request.function):
            await self._settle_debts(unit, request, patience)
        return await self._exchange(unit, request, patience)

    async def broadcast(self, request: Request) -> None:
        """Send a request to all units (unit 0); none answers."""
        stream = await self._ready(0.0)
        data = modbus.encode(self.framing, Frame(0, request.encode()))
        await stream.write(data)
        airtime = len(data) * self._character
        self._free = self._now() + airtime + max(self._gap, self._turnaround)

    async def _settle_debts(
        self, unit: Unit, request: Request, patience: float
    ) -> None:
        """Return when no owed answer can be taken for that to the request.

        Raise as `ask`.
        """
        stream = await self._ready(unit.delay)  # the answer may be here by now
        if not self._review_debt(unit.number, request.function):
            return
        if unit.quiet:
            await self._wait_for_silence(stream, unit.number, patience)
            return
        free = []
        for table in VERIFY:
            if not self._review_debt(unit.number, modbus.READ[table]):
                free.append(table)
        if not free:
            raise DeviceTimeout(
                f"unit {unit.number} owes answers to all that could be asked; it "
                f"is "
                f"asked again later"
            )
        with contextlib.suppress(DeviceRefused):  # an exception is an answer, too
            await self._exchange(unit, Read(free[0], 0, 1), patience)

    async def _exchange(self, unit: Unit, request: Request, patience: float) -> Any:
        stream = await self._ready(unit.delay)
        if self.numbered and not isinstance(request, Read):
            # written into a connection that is closed, it would be lost
            await self._drop_stray(stream)
        self.counters[unit.number].requests += 1
        self._transaction = self._transaction % 0xFFFF + 1
        if self._transaction in self._unanswered:  # the numbers have come round
            self._unanswered.remove(self._transaction)
        frame = Frame(unit.number, request.encode(), self._transaction)
        data = modbus.encode(self.framing, frame)
        key = (unit.number, request.function)
        debt = _Debt(request)
        self._debts[key] = debt
        try:
            self._sent = self._asked = True
            await stream.write(data)
            async with asyncio.timeout(patience + self._airtime(request, data)):
                return await self._answer(stream, frame, request)
        except TimeoutError as error:
            self._forget_part()
            if self._reader.wrong:
                raise self._take_garbled() from error
            raise DeviceTimeout(
                f"unit {unit.number} did not answer within {patience:g} s"
            ) from error
        finally:
            self._free = self._now() + self._gap
            # not answered, whatever ended the wait: it may come yet
            if self._debts.get(key) is debt:
                debt.until = self._now() + MEMORY * max(1.0, patience)
                self._unanswered.append(self._transaction)

    async def _answer(self, stream: ByteStream, asked: Frame, request: Request) -> Any:
        """Return what the answer says, dropping those of earlier requests."""
        self._reader.wrong = ""
        while True:
            for frame in await self._receive(stream):
                if self._discard_late(frame):
                    continue
                self._check(frame, asked)
                self._clear_debts(frame.unit)
                return modbus.check(request, frame.pdu)
            if self._reader.wrong and not self._reader.pending:
                raise self._take_garbled()

    async def _receive(self, stream: ByteStream) -> list[Frame]:
        """Return frames after the next bytes, or after silence behind half a frame."""
        if not self._reader.pending:
            return self._reader.feed(await stream.read())
        try:
            async with asyncio.timeout(self._quiet):
                return self._reader.feed(await stream.read())
        except TimeoutError:
            return self._reader.silence()

    def _discard_late(self, frame: Frame) -> bool:
        """Drop a frame that answers an earlier request; return whether it did."""
        late = frame.transaction in self._unanswered
        if not self.numbered and not late:
            debt = self._debts.get((frame.unit, frame.pdu[0] & 0x7F))
            late = debt is not None and debt.until < NOW
        if late:
            self._discard(frame)
        return late

    def _discard(self, frame: Frame) -> None:
        self.counters[frame.unit].late += 1
        if not self.numbered:
            self._debts.pop((frame.unit, frame.pdu[0] & 0x7F), None)
        if frame.transaction in self._unanswered:
            self._unanswered.remove(frame.transaction)

    def _check(self, frame: Frame, asked: Frame) -> None:
        """Raise ProtocolError for a frame that answers nothing that was asked."""
        allowed = (asked.transaction,) if self.numbered else (asked.transaction, 0)
        if self.framing == "tcp" and frame.transaction not in allowed:
            raise ProtocolError(
                f"transaction {frame.transaction} is answered, "
                f"{asked.transaction} was asked{self._lenience(frame)}"
            )
        if frame.unit != asked.unit:
            raise ProtocolError(
                f"unit {frame.unit} answers, unit {asked.unit} was asked"
            )
        if frame.pdu[0] & 0x7F != asked.pdu[0]:
            raise ProtocolError(
                f"function {frame.pdu[0]} is answered, {asked.pdu[0]} was asked"
            )

    def _lenience(self, frame: Frame) -> str:
        """Return the way out, for a unit that always answers transaction 0."""
        return "; `lenient: true` takes it" if frame.transaction == 0 else ""

    def _clear_debts(self, unit: int) -> None:
        """Forget what a unit owes: it has answered, and nothing older can follow."""
        self.silences = 0
        self._answering.add(unit)
        self._forget_debts(unit)

    def _forget_debts(self, unit: int) -> None:
        for key in [key for key in self._debts if key[0] == unit]:
            del self._debts[key]

    def _review_debt(self, unit: int, function: int) -> bool:
        """Forget an owed answer that is too old; return True if one is owed."""
        debt = self._debts.get((unit, function))
        if debt is None or debt.until > self._now():
            return debt is not None
        del self._debts[unit, function]
        return False

    async def _wait_for_silence(
        self, stream: ByteStream, unit: int, patience: float
    ) -> None:
        """Wait until nothing has come for so long; what comes is owed."""
        with contextlib.suppress(TimeoutError):
            # a line may never be quiet
            async with asyncio.timeout(MEMORY * max(1.0, patience)):
                while True:
                    async with asyncio.timeout(patience):
                        for frame in self._reader.feed(await stream.read()):
                            self._discard(frame)
        self._reader.silence()
        self._forget_debts(unit)

    async def _ready(self, delay: float) -> ByteStream:
        """Return the stream when the line may be used again."""
        stream = self._open_stream()
        pause = max(self._free - self._now(), delay)
        if pause > 0:
            await asyncio.sleep(pause)
        if not self.numbered:
            await self._drop_stray(stream)
        return stream

    async def _drop_stray(self, stream: ByteStream) -> None:
        """Drop what came unasked.

        Raise LinkLost if the other side has closed the connection.
        """
        data = await stream.take_stray()
        if data:
            for frame in self._reader.feed(data):
                self._discard(frame)
        self._forget_part()

    def _forget_part(self) -> None:
        """Drop the beginning of a frame.

        Behind MBAP's lengths and where no byte is lost the rest will come.
        """
        if not (self.framing == "tcp" and self.connected):
            self._reader.silence()

    def _airtime(self, request: Request, data: bytes) -> float:
        """Return how long a request and what it asks for take on a serial line (s)."""
        asked = request.size if isinstance(request, Read) else 0
        if self.framing == "ascii":
            asked *= 2
        return (len(data) + asked) * self._character

    def _length(self, unit: int, head: bytes) -> int | None:
        """Return how long an answer is, by what has been asked."""
        if not head:
            return None
        debt = self._debts.get((unit, head[0] & 0x7F))
        if debt is None:
            return None
        if head[0] & 0x80:
            return 2
        return debt.request.length(head)

    def _take_garbled(self) -> ProtocolError:
        wrong = self._reader.wrong
        self._reader.wrong = ""
        self.silences = 0
        return ProtocolError(f"the answer cannot be read: {wrong}")

    def _open_stream(self) -> ByteStream:
        if self._stream is None:
            raise LinkLost("the link is closed")
        return self._stream

    def _now(self) -> float:
        return asyncio.get_running_loop().time()
