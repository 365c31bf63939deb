"""One line.

Every request has its own answer or none, whatever comes late, garbled, or from somebody
else.
"""

import asyncio
import contextlib
import itertools
from contextlib import asynccontextmanager

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from busbar.codecs import modbus
from busbar.codecs.modbus import Diagnostics, Frame, Raw, Read, WriteRegister
from busbar.errors import DeviceRefused, DeviceTimeout, LinkLost, ProtocolError
from busbar.net.streams import open_tcp
from busbar.testing.fakes import Clock, null_modem, until
from modbus_bridge.master import MEMORY, ModbusMaster, Unit
from modbus_bridge.server import converse

ONE = Unit(1, timeout=0.2)
FRAMINGS = ["tcp", "rtu", "ascii"]


class Wire:
    """The far end: what it hears, and answers when the test says so."""

    def __init__(self, framing, stream):
        self.framing, self.stream = framing, stream
        self.reader = modbus.reader(
            framing, lambda unit, head: modbus.request_length(head)
        )
        self.heard = []

    async def hear(self):
        """Return the next request."""
        while True:
            found = self.reader.feed(await self.stream.read())
            self.heard += found
            if found:
                return found[0]

    async def say(self, frame, pdu=None, **changed):
        frame = frame._replace(
            pdu=frame.pdu if pdu is None else bytes.fromhex(pdu), **changed
        )
        await self.stream.write(modbus.encode(self.framing, frame))


@asynccontextmanager
async def line(framing="rtu", **options):
    here, there = await null_modem()

    async def connect():
        return here

    made = ModbusMaster(connect, framing, **options)
    await made.open()
    try:
        yield made, Wire(framing, there)
    finally:
        await made.close()
        await there.close()


def asking(made, request, unit=ONE, timeout=None):
    return asyncio.create_task(made.ask(unit, request, timeout))


def register(value):
    return f"0302{value:04x}"


@pytest.mark.parametrize("framing", FRAMINGS)
async def test_a_request_has_its_answer(framing):
    async with line(framing) as (made, wire):
        answer = asking(made, Read("holding", 7, 1))
        heard = await wire.hear()
        assert (heard.unit, heard.pdu.hex()) == (1, "0300070001")
        await wire.say(heard, register(42))
        assert await answer == b"\x00\x2a"


@pytest.mark.parametrize("framing", FRAMINGS)
async def test_an_exception_is_the_device_saying_no(framing):
    async with line(framing) as (made, wire):
        answer = asking(made, Read("holding", 7, 1))
        await wire.say(await wire.hear(), "8302")
        with pytest.raises(DeviceRefused, match="exception 2: illegal data address"):
            await answer
        assert made.counters[1].refused == 1


@pytest.mark.parametrize("framing", FRAMINGS)
async def test_a_server_that_answers_late_once_and_then_at_the_limit_is_never_misread(
    framing,
):
    """docs/protocols/modbus.md, 6.

    Pymodbus 3.16 by RTU answers 2 with [1], 3 with [2], 4 with [3] from then on.
    """

    async def server(stream):
        pauses = [0.25] + [0.15] * 100

        async def handle(unit, pdu):
            await asyncio.sleep(pauses.pop(0))
            address = int.from_bytes(pdu[1:3], "big")
            return bytes([pdu[0], 2]) + address.to_bytes(2, "big")

        await converse(stream, framing, handle)

    async with line(framing) as (made, wire):
        serving = asyncio.create_task(server(wire.stream))
        with pytest.raises(DeviceTimeout):
            await made.ask(ONE, Read("holding", 1, 1))
        for number in range(2, 8):
            with contextlib.suppress(DeviceTimeout):
                assert (
                    int.from_bytes(
                        await made.ask(ONE, Read("holding", number, 1)), "big"
                    )
                    == number
                )
        for number in (8, 9):
            assert (
                int.from_bytes(
                    await made.ask(ONE, Read("holding", number, 1), 20), "big"
                )
                == number
            )
        assert made.counters[1].late >= 1
        serving.cancel()


@pytest.mark.parametrize("framing", ["rtu", "ascii"])
async def test_after_a_silence_the_unit_first_answers_something_else(framing):
    async with line(framing) as (made, wire):
        with pytest.raises(
            DeviceTimeout, match=r"unit 1 did not answer within 0\.01 s"
        ):
            await made.ask(ONE, Read("holding", 1, 1), 0.01)
        first = await wire.hear()
        answer = asking(made, Read("holding", 2, 1), timeout=20)
        check = await wire.hear()
        # input registers: an answer that cannot be the owed one
        assert check.pdu[0] == 4
        await wire.say(first, register(1))  # late
        await wire.say(check, "8402")
        await wire.say(await wire.hear(), register(2))
        assert await answer == b"\x00\x02"
        assert made.counters[1].late == 1
        answer = asking(made, Read("holding", 3, 1), timeout=20)
        await wire.say(await wire.hear(), register(3))  # in step again: asked at once
        assert await answer == b"\x00\x03"


async def test_an_owed_answer_that_has_come_meanwhile_needs_no_check():
    async with line() as (made, wire):
        with pytest.raises(DeviceTimeout):
            await made.ask(ONE, Read("holding", 1, 1), 0.01)
        await wire.say(await wire.hear(), register(1))
        answer = asking(made, Read("holding", 2, 1), timeout=20)
        heard = await wire.hear()
        assert heard.pdu.hex() == "0300020001"
        await wire.say(heard, register(2))
        assert await answer == b"\x00\x02"
        assert made.counters[1].late == 1


async def test_a_late_answer_of_one_unit_is_dropped_while_another_is_asked():
    async with line() as (made, wire):
        with pytest.raises(DeviceTimeout):
            await made.ask(ONE, Read("holding", 1, 1), 0.01)
        first = await wire.hear()
        answer = asking(made, Read("holding", 2, 1), Unit(2), 20)
        second = await wire.hear()
        assert second.unit == 2  # at once: only unit 1 owes something
        await wire.say(first, register(1))
        await wire.say(second, register(2))
        assert await answer == b"\x00\x02"


async def test_a_cancelled_wait_leaves_an_answer_owed():
    async with line() as (made, wire):
        answer = asking(made, Read("holding", 1, 1), timeout=20)
        first = await wire.hear()
        answer.cancel()
        await asyncio.gather(answer, return_exceptions=True)
        answer = asking(made, Read("holding", 2, 1), timeout=20)
        check = await wire.hear()
        await wire.say(first, register(1))
        await wire.say(check, "040200ff")
        await wire.say(await wire.hear(), register(2))
        assert await answer == b"\x00\x02"


async def test_a_debt_outlives_the_connection_as_a_converter_may_deliver_it_later():
    async with line() as (made, wire):
        with pytest.raises(DeviceTimeout):
            await made.ask(ONE, Read("holding", 1, 1), 0.01)
        first = await wire.hear()
        stream = made._stream
        made._stream = None
        made._connect = lambda: asyncio.sleep(0, stream)
        await made.open()
        answer = asking(made, Read("holding", 2, 1), timeout=20)
        check = await wire.hear()
        await wire.say(first, register(1))
        await wire.say(check, "040200ff")
        await wire.say(await wire.hear(), register(2))
        assert await answer == b"\x00\x02"


async def test_who_owes_answers_to_everything_is_not_asked_before_they_are_forgotten():
    clock = Clock()
    async with line() as (made, wire):
        for _ in range(4):
            with pytest.raises(DeviceTimeout, match="did not answer"):
                await made.ask(ONE, Read("holding", 1, 1), 0.001)
        with pytest.raises(
            DeviceTimeout, match=("owes answers to all that could be asked")
        ):
            await made.ask(ONE, Read("holding", 1, 1), 0.001)
        await clock.advance(MEMORY + 1)
        await wire.hear()
        answer = asking(made, Read("holding", 5, 1), timeout=20)
        while (heard := await wire.hear()).pdu.hex() != "0300050001":
            pass
        await wire.say(heard, register(5))
        assert await answer == b"\x00\x05"


async def test_a_slow_unit_owes_its_answer_for_ten_timeouts():
    clock, slow = Clock(), Unit(1, timeout=3)
    async with line() as (made, wire):
        # s, and the function of the next request: input to see, or holding
        for pause, first in ((25, 4), (35, 3)):
            silent = asking(made, Read("holding", 1, 1), slow)
            await clock.advance(4)
            with pytest.raises(DeviceTimeout):
                await silent
            await clock.advance(pause - 1)
            answer = asking(made, Read("holding", 2, 1), slow, 20)
            while (heard := await wire.hear()).pdu == Read("holding", 1, 1).encode():
                pass
            assert heard.pdu[0] == first
            if first == 4:
                await wire.say(heard, "8402")
                heard = await wire.hear()
            await wire.say(heard, register(2))
            assert await answer == b"\x00\x02"


async def test_quiet_waits_for_the_owed_answer_instead():
    clock, quiet = Clock(), Unit(1, timeout=3, quiet=True)
    async with line() as (made, wire):
        with pytest.raises(DeviceTimeout):
            await made.ask(quiet, Read("holding", 1, 1), 0.01)
        first = await wire.hear()
        answer = asking(made, Read("holding", 2, 1), quiet)
        await clock.advance(1)
        await wire.say(first, register(1))
        await clock.advance(4)
        heard = await wire.hear()
        assert heard.pdu.hex() == "0300020001"
        await wire.say(heard, register(2))
        assert await answer == b"\x00\x02"
        assert made.counters[1].late == 1


async def test_late_answers_are_known_by_their_transaction_however_many():
    async with line("tcp") as (made, wire):
        late = []
        for number in range(3):
            with pytest.raises(DeviceTimeout):
                await made.ask(ONE, Read("holding", number, 1), 0.01)
            late.append(await wire.hear())
        answer = asking(made, Read("holding", 9, 1), timeout=20)
        heard = await wire.hear()
        for each in late:
            await wire.say(each, register(1))
        await wire.say(heard, register(9))
        assert await answer == b"\x00\x09"
        assert made.counters[1].late == 3


async def test_a_number_that_has_come_round_is_not_late():
    async with line("tcp") as (made, wire):
        with pytest.raises(DeviceTimeout):
            await made.ask(ONE, Read("holding", 1, 1), 0.01)
        first = await wire.hear()
        made._transaction = 0  # as after 65535 requests
        answer = asking(made, Read("holding", 2, 1), timeout=20)
        again = await wire.hear()
        assert again.transaction == first.transaction
        await wire.say(again, register(2))
        assert await answer == b"\x00\x02"


@pytest.mark.parametrize(
    ("framing", "pdu", "changed", "says"),
    [
        ("tcp", "03020001", {"transaction": 4711}, "transaction 4711 is answered"),
        ("tcp", "03020001", {"unit": 9}, "unit 9 answers, unit 1 was asked"),
        ("tcp", "04020001", {}, "function 4 is answered, 3 was asked"),
        ("tcp", "0304000100", {}, "expected 2"),
        ("tcp", "03040001", {}, "03 04 00 01 does not hold the expected 2"),
        ("rtu", "03020001", {"unit": 9}, "unit 9 answers, unit 1 was asked"),
        ("rtu", "04020001", {}, "function 4 is answered, 3 was asked"),
        ("rtu", "030400010001", {}, "expected 2"),
        ("ascii", "03020001", {"unit": 9}, "unit 9 answers, unit 1 was asked"),
        ("ascii", "0302000100", {}, "expected 2"),
    ],
)
async def test_what_answers_something_else_is_nonsense(framing, pdu, changed, says):
    async with line(framing) as (made, wire):
        answer = asking(made, Read("holding", 7, 1), timeout=20)
        await wire.say(await wire.hear(), pdu, **changed)
        with pytest.raises(ProtocolError, match=says):
            await answer
        assert made.counters[1].garbled == 1


async def test_a_write_that_is_answered_for_another_address_is_nonsense():
    async with line() as (made, wire):
        answer = asking(made, WriteRegister(7, b"\0\x01"), timeout=20)
        await wire.say(await wire.hear(), "0600080001")
        with pytest.raises(ProtocolError, match="does not repeat"):
            await answer


@pytest.mark.parametrize(
    ("framing", "data", "says"),
    [
        ("rtu", b"\x01\x03\x02\x00\x01\xff\xff", "wrong CRC|no frame"),
        ("rtu", b"\x01\x03\x02\x00", "no frame"),
        ("ascii", b":01030200017E\r\n", "wrong LRC"),
        ("tcp", b"\x00\x01\x00\x07\x00\x05\x01\x03\x02\x00\x01", "protocol 7"),
    ],
)
async def test_a_damaged_answer_is_told_and_costs_one_exchange(framing, data, says):
    async with line(framing) as (made, wire):
        answer = asking(made, Read("holding", 7, 1), timeout=20)
        await wire.hear()
        await wire.stream.write(data)
        made.silences = 2
        with pytest.raises(ProtocolError, match=says):
            await answer
        assert made.silences == 0  # somebody is there
        answer = asking(made, Read("coil", 7, 1), timeout=20)
        await wire.say(await wire.hear(), "010101")
        assert await answer == [True]


async def test_noise_before_an_answer_costs_nothing():
    async with line() as (made, wire):
        answer = asking(made, Read("holding", 7, 1), timeout=20)
        heard = await wire.hear()
        await wire.stream.write(b"\x00\xff\x00")
        await wire.say(heard, register(42))
        assert await answer == b"\x00\x2a"


async def test_silence_ends_the_answer_to_a_function_that_nobody_knows():
    async with line() as (made, wire):
        answer = asking(made, Raw(0x65, b"ab"), timeout=20)
        await wire.stream.read()
        await wire.say(Frame(1, b"\x65xyz"))
        assert await answer == b"xyz"


@pytest.mark.parametrize("request_", [Diagnostics(0, b"abcd"), Raw(8, b"\0\0abcd")])
async def test_diagnostics_of_any_length(request_):
    async with line() as (made, wire):
        answer = asking(made, request_, timeout=20)
        data = b""
        while len(data) < 10:
            data += await wire.stream.read()
        await wire.stream.write(data)
        assert (await answer).endswith(b"abcd")


async def test_half_an_answer_that_comes_too_late_does_not_hide_the_next():
    """TCP loses nothing: the rest of it comes, and only then what was asked later."""
    async with line("tcp", connected=True) as (made, wire):
        answer = asking(made, Read("holding", 1, 1), timeout=0.05)
        first = modbus.encode(
            "tcp", (await wire.hear())._replace(pdu=bytes.fromhex(register(1)))
        )
        await wire.stream.write(first[:8])
        with pytest.raises(DeviceTimeout):
            await answer
        await made.check()
        answer = asking(made, Read("holding", 2, 1), timeout=20)
        second = (await wire.hear())._replace(pdu=bytes.fromhex(register(2)))
        await wire.stream.write(first[8:] + modbus.encode("tcp", second))
        assert await answer == b"\x00\x02"
        assert made.counters[1].late == 1


@pytest.mark.parametrize(("framing", "characters"), [("rtu", 255), ("ascii", 511)])
async def test_what_a_slow_line_takes_for_an_answer_is_not_the_silence_of_the_unit(
    framing, characters
):
    clock = Clock()
    async with line(framing, character=0.1) as (made, wire):
        answer = asking(made, Read("holding", 0, 125), timeout=3)
        heard = await wire.hear()
        data = modbus.encode(framing, heard._replace(pdu=b"\3\xfa" + bytes(250)))
        assert len(data) == characters
        for at in range(0, len(data), 9):
            await clock.advance(0.9)
            assert not answer.done()
            await wire.stream.write(data[at : at + 9])
        assert await answer == bytes(250)


async def test_the_other_side_closing_is_a_lost_link():
    async with line() as (made, wire):
        await wire.stream.close()
        with pytest.raises(LinkLost):
            await made.check()
        with pytest.raises(LinkLost):
            await made.ask(ONE, Read("holding", 7, 1))


async def test_a_closed_line_says_so():
    made = ModbusMaster(lambda: asyncio.sleep(0), "rtu")
    with pytest.raises(LinkLost, match="the link is closed"):
        await made.ask(ONE, Read("holding", 7, 1))


@pytest.mark.parametrize(
    ("options", "unit", "pause"),
    [
        ({"gap": 5.0}, ONE, 5.0),
        ({"character": 0.5}, ONE, 1.75),
        ({}, Unit(1, delay=3.0), 3.0),
    ],
    ids=["gap", "3.5 characters", "delay of the unit"],
)
async def test_pauses_are_kept_between_requests(options, unit, pause):
    clock = Clock()
    async with line(**options) as (made, wire):
        for number in range(2):
            answer = asking(made, Read("holding", 7, 1), unit, 1000)
            while not made.counters.get(1) or made.counters[1].requests <= number:
                await clock.advance(pause / 4)
            await wire.say(await wire.hear(), register(1))
            await answer
        before = asyncio.get_running_loop().time()
        answer = asking(made, Read("holding", 7, 1), unit, 1000)
        while made.counters[1].requests == 2:
            await clock.advance(pause / 4)
        assert asyncio.get_running_loop().time() - before >= pause - 0.25
        await wire.say(await wire.hear(), register(1))
        await answer


async def test_frames_are_apart_on_a_fast_line_as_on_one_of_19200_baud():
    """LINE 2.5.1.1: above 19200 baud 1.75 ms instead of 3.5 characters."""
    loop = asyncio.get_running_loop()
    async with line(character=1e-6) as (made, wire):
        answer = asking(made, Read("holding", 1, 1), timeout=20)
        heard = await wire.hear()
        before = loop.time()
        await wire.say(heard, register(1))
        await answer
        answer = asking(made, Read("holding", 2, 1), timeout=20)
        await wire.say(await wire.hear(), register(2))
        assert loop.time() - before >= 0.00175
        await answer


async def test_a_broadcast_is_followed_by_the_turnaround_delay():
    clock = Clock()
    async with line(turnaround=2.0) as (made, wire):
        await made.broadcast(WriteRegister(7, b"\0\x01"))
        assert (await wire.hear()).unit == 0
        before = asyncio.get_running_loop().time()
        answer = asking(made, Read("holding", 7, 1), timeout=1000)
        while 1 not in made.counters or not made.counters[1].requests:
            await clock.advance(0.5)
        assert asyncio.get_running_loop().time() - before >= 1.75
        await wire.say(await wire.hear(), register(1))
        await answer


FAULTS = st.one_of(
    st.just(("fine", 0)),
    st.just(("fine", 0)),
    st.tuples(st.just("late"), st.floats(0.0, 8.0)),
    st.just(("lost", 0)),
    st.just(("garbled", 0)),
    st.just(("cut", 0)),
    st.just(("noise", 0)),
)


PAUSES = st.sampled_from([0.0, 0.0, 0.1, 1.0, 5.0, 60.0, 900.0])  # s


class Faulty:
    """Units on a wire that answer in order, with a fault now and then.

    Each register holds its own address.
    """

    def __init__(self, framing, wire):
        self.next = []  # the fault of the next answer
        self._framing, self._wire = framing, wire
        self._ready, self._tasks = {}, []

    @asynccontextmanager
    async def serving(self):
        serving = asyncio.create_task(self._serve())
        try:
            yield self
        finally:
            serving.cancel()
            await asyncio.gather(serving, *self._tasks, return_exceptions=True)

    async def _serve(self):
        loop = asyncio.get_running_loop()
        while True:
            frame = await self._wire.hear()
            fault, amount = self.next.pop(0) if self.next else ("fine", 0)
            when = max(
                self._ready.get(frame.unit, 0.0),
                loop.time() + (amount if fault == "late" else 0.0),
            )
            self._ready[frame.unit] = when
            if fault != "lost":
                loop.call_at(
                    when,
                    lambda f=frame, k=fault: self._tasks.append(
                        asyncio.create_task(self._answer(f, k))
                    ),
                )

    async def _answer(self, frame, fault):
        address = int.from_bytes(frame.pdu[1:3], "big")
        pdu = bytes([frame.pdu[0], 2]) + (1000 * frame.unit + address).to_bytes(
            2, "big"
        )
        if frame.pdu[0] in (1, 2):
            pdu = bytes([frame.pdu[0], 1, 0])
        data = modbus.encode(self._framing, Frame(frame.unit, pdu, frame.transaction))
        broken = {
            "garbled": data[:-3] + b"\x55" + data[-2:],
            "cut": data[:-2],
            "noise": b"\x00\x55" + data,
        }
        # TCP itself does not let that happen
        if not (self._framing == "tcp" and fault in broken):
            await self._wire.stream.write(broken.get(fault, data))


@pytest.mark.parametrize("framing", FRAMINGS)
# shrinking would take an hour
@settings(max_examples=5, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(
    faults=st.lists(
        st.tuples(FAULTS, st.integers(1, 3), PAUSES), min_size=30, max_size=80
    )
)
async def test_in_a_day_of_random_faults_no_answer_is_ever_another_ones(
    framing, faults
):
    """Units answer at most 8 s late; a wrong answer would show."""
    clock, loop = Clock(), asyncio.get_running_loop()
    end = loop.time() + 86400
    async with line(framing) as (made, wire), Faulty(framing, wire).serving() as units:
        right = 0
        for number, (fault, unit, pause) in enumerate(itertools.cycle(faults), 1):
            if loop.time() > end:
                break
            units.next[:] = [fault]
            asked = asking(made, Read("holding", number, 1), Unit(unit, timeout=1.0))
            while not asked.done():
                await clock.advance(0.25)
            try:
                got = int.from_bytes(await asked, "big")
                assert got == 1000 * unit + number
                right += 1
            except (DeviceTimeout, ProtocolError):
                pass
            if number % len(faults) == 0:
                pause = 3600.0  # an hour between two rounds
            await clock.advance(min(pause, 9.0))  # until all that is late has come
            loop.shift += max(0.0, pause - 9.0)
        await clock.advance(3 * MEMORY)
        assert right or all(fault != "fine" for (fault, _), _, _ in faults)
        units.next.clear()
        for unit in (1, 2, 3):  # and everybody is well again
            asked = asking(made, Read("holding", 999, 1), Unit(unit, timeout=5.0))
            await until(asked.done, "an answer")
            assert int.from_bytes(await asked, "big") == 1000 * unit + 999


class Dongle:
    """A unit on TCP that closes connections as some do."""

    def __init__(self, *, each_answer=False, patience=0.0):
        self.connections = self.answered = 0
        self._each, self._patience = each_answer, patience
        self.transaction: int | None = None
        self.port = 0

    async def _serve(self, reader, writer):
        self.connections += 1
        accepted = asyncio.get_running_loop().time()
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readexactly(6)
                body = await reader.readexactly(int.from_bytes(head[4:], "big"))
                if asyncio.get_running_loop().time() - accepted < self._patience:
                    break
                number = int.from_bytes(head[:2], "big")
                if self.transaction is not None:
                    number = self.transaction
                said = modbus.Frame(body[0], bytes.fromhex("0302002a"), number)
                writer.write(modbus.encode("tcp", said))
                await writer.drain()
                self.answered += 1
                if self._each:
                    break
        writer.close()

    @asynccontextmanager
    async def master(self, **options):
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]

        async def connect():
            return await open_tcp("127.0.0.1", port, "dongle")

        made = ModbusMaster(connect, "tcp", connected=True, **options)
        await made.open()
        try:
            yield made
        finally:
            await made.close()
            server.close()


WORD = Read("holding", 1, 1)


async def test_a_unit_that_closes_after_each_answer_is_served():
    """M5."""
    dongle = Dongle(each_answer=True)
    async with dongle.master() as made:
        for _ in range(5):
            assert await made.ask(Unit(1, 5), WORD) == b"\x00\x2a"
            await made.check()
    assert dongle.answered == 5


async def test_a_unit_that_needs_a_pause_after_connecting_is_asked_after_it():
    """M3."""
    dongle = Dongle(patience=0.2)
    async with dongle.master(settle=0.3) as made:
        assert await made.ask(Unit(1, 5), WORD) == b"\x00\x2a"
    assert dongle.connections == 1


async def test_a_unit_that_closes_without_an_answer_is_a_lost_link():
    dongle = Dongle(patience=60)
    async with dongle.master() as made:
        with pytest.raises(LinkLost):
            await made.ask(Unit(1, 5), WORD)
    assert dongle.connections == 1


async def test_answers_with_transaction_0_are_taken_if_so_configured():
    """M10."""
    dongle = Dongle()
    dongle.transaction = 0
    async with dongle.master() as made:
        with pytest.raises(ProtocolError, match="`lenient: true` takes it"):
            await made.ask(Unit(1, 5), WORD)
    async with dongle.master(lenient=True) as made:
        assert await made.ask(Unit(1, 5), WORD) == b"\x00\x2a"
        dongle.transaction = 99
        with pytest.raises(ProtocolError, match="transaction 99 is answered"):
            await made.ask(Unit(1, 5), WORD)
