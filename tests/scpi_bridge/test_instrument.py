"""One conversation with one instrument.

Over a null modem whose other end the test holds, and with the simulator.
"""

import asyncio
import struct
from contextlib import asynccontextmanager

import pytest

from busbar.codecs.ieee488 import encode_block
from busbar.errors import (
    BadRequest,
    DeviceRefused,
    DeviceTimeout,
    LinkLost,
    ProtocolError,
)
from busbar.net.streams import open_tcp
from busbar.testing.fakes import Clock, null_modem, settle, until
from scpi_bridge import instrument as conversation
from scpi_bridge.instrument import Instrument
from scpi_bridge.simulator.__main__ import HOST, Simulator

LIMIT = 10.0  # s; generous, only a failure needs it
NO_ERROR = b'0,"No error"\n'


class Bench:
    """The other end of every link that was opened, the newest last."""

    def __init__(self):
        self.ends = []
        self.refusing = False
        # what the next link finds there, as behind a converter that kept it
        self.waiting = b""

    async def connect(self):
        if self.refusing:
            raise LinkLost("refused")
        here, there = await null_modem()
        self.ends.append(there)
        await there.write(self.waiting)
        return here

    async def line(self, terminator=b"\n"):
        """Return the next line that the instrument was sent, on the newest link."""
        end = self.ends[-1]
        try:
            async with asyncio.timeout(LIMIT):
                return (await end.read_until(terminator, 1000)).decode("latin1")
        except LinkLost:
            await until(lambda: self.ends[-1] is not end, "a new link")
            return await self.line(terminator)

    async def say(self, data):
        await self.ends[-1].write(data)

    async def answer(self, line, data):
        assert await self.line() == line
        await self.say(data)

    async def nothing_more(self):
        """Nobody sent anything but what was read."""
        await settle()
        assert await self.ends[-1].take_stray() == b""


@pytest.fixture
async def bench():
    bench = Bench()
    yield bench
    for end in bench.ends:
        await end.close()


@asynccontextmanager
async def talking(connect, **options):
    instrument = Instrument(connect, **options)
    try:
        await instrument.open()
        yield instrument
    finally:
        await instrument.close()


@pytest.fixture
async def instrument(bench):
    async with talking(bench.connect) as talk:
        yield talk


@pytest.fixture
async def psu():
    """The simulated supply: (instrument, its endpoint)."""
    async with (
        Simulator() as simulator,
        talking(lambda: open_tcp(HOST, simulator.psu.port, "psu")) as talk,
    ):
        yield talk, simulator.psu


async def asked(instrument, bench, line, data):
    """Ask a question that the other end answers with these bytes.

    Return what the instrument made of it.
    """
    asking = asyncio.create_task(instrument.query(line))
    await bench.answer(line, data)
    return await asking


async def silence(asking, line, bench, seconds=2.1):
    """Let a question go unanswered until it gives up."""
    task = asyncio.create_task(asking)
    assert await bench.line() == line
    await Clock().advance(seconds)
    with pytest.raises(DeviceTimeout):
        await task


# Lines.


@pytest.mark.parametrize("terminator", ["\n", "\r\n", "\r"])
async def test_a_line_goes_out_and_comes_back_without_its_terminator(bench, terminator):
    async with talking(bench.connect, terminator=terminator) as instrument:
        asking = asyncio.create_task(instrument.query("VOLT?"))
        end = terminator.encode()
        assert await bench.line(end) == "VOLT?"
        await bench.say(b"5.0" + end)
        assert await asking == "5.0"
        await bench.nothing_more()


async def test_an_answer_may_come_in_any_pieces(instrument, bench):
    asking = asyncio.create_task(instrument.query("*IDN?"))
    await bench.line()
    for byte in b"A,B,C,D\r\n":
        await bench.say(bytes([byte]))
        await settle()
        assert asking.done() == (byte == 10)
    assert await asking == "A,B,C,D"


async def test_a_terminator_of_two_bytes_may_be_cut_in_two(bench):
    async with talking(bench.connect, terminator="\r\n") as instrument:
        asking = asyncio.create_task(instrument.query("A?"))
        await bench.line(b"\r\n")
        await bench.say(b"1\r")
        await settle()
        await bench.say(b"\n")
        assert await asking == "1"


async def test_a_newline_after_the_return_is_no_answer_and_not_worth_a_warning(
    bench, caplog
):
    async with talking(bench.connect, terminator="\r") as instrument:
        for number in (b"1", b"2", b"3"):
            asking = asyncio.create_task(instrument.query("A?"))
            assert await bench.line(b"\r") == "A?"
            await bench.say(number + b"\r")
            assert await asking == number.decode()
            await bench.say(b"\n")
            await settle()
    assert not caplog.records


async def test_a_write_sends_one_line_and_waits_for_nothing(instrument, bench):
    await instrument.write("OUTP 1")
    assert await bench.line() == "OUTP 1"


@pytest.mark.parametrize(
    "text", ["A\nB", "A\rB", "A\n", "\n", "", "  ", "A\x00B", "A\x1bB"]
)
@pytest.mark.parametrize("method", ["write", "query", "query_binary"])
async def test_what_is_not_one_line_is_never_sent(instrument, bench, method, text):
    with pytest.raises(BadRequest, match="not one line"):
        await getattr(instrument, method)(text)
    await bench.nothing_more()
    assert await asked(instrument, bench, "A?", b"1\n") == "1"
    assert instrument.resyncs == 0


async def test_a_tab_is_part_of_a_line(instrument, bench):
    await instrument.write("A\tB")
    assert await bench.line() == "A\tB"


@pytest.mark.parametrize(
    ("encoding", "wire"), [("utf-8", b"\xc2\xb5"), ("latin1", b"\xb5")]
)
async def test_text_is_encoded_both_ways(bench, encoding, wire):
    async with talking(bench.connect, encoding=encoding) as instrument:
        asking = asyncio.create_task(instrument.query("µ?"))
        assert await bench.line() == (wire + b"?").decode("latin1")
        await bench.say(wire + b"V\n")
        assert await asking == "µV"


async def test_what_the_encoding_has_no_byte_for_is_never_sent(bench):
    async with talking(bench.connect, encoding="ascii") as instrument:
        with pytest.raises(BadRequest, match="ascii"):
            await instrument.write("µ")
        await bench.nothing_more()


async def test_an_answer_in_another_encoding_costs_itself_only(instrument, bench):
    with pytest.raises(ProtocolError, match="utf-8"):
        await asked(instrument, bench, "A?", b"\xb5V\n")
    assert await asked(instrument, bench, "B?", b"2\n") == "2"
    assert instrument.resyncs == 0


async def test_a_line_that_does_not_end_is_given_up_with_its_link(
    instrument, bench, monkeypatch
):
    monkeypatch.setattr(conversation, "LINE_LIMIT", 100)
    with pytest.raises(ProtocolError, match="more than 100 bytes"):
        await asked(instrument, bench, "A?", b"x" * 101)
    assert await asked_again(instrument, bench) == "1"


async def test_garbled_answers_are_followed_by_right_ones(psu):
    talk, endpoint = psu
    endpoint.garbled = 2
    for _ in range(2):
        with pytest.raises(ProtocolError):
            await talk.query("*IDN?")
    assert (await talk.query("*IDN?")).startswith("BUSBAR,PSU")
    assert endpoint.accepted == 1


# Reply n never answers request m.


async def test_silence_late_reply_right_reply(psu):
    talk, endpoint = psu
    endpoint.late(1, 3.0)
    asking = asyncio.create_task(talk.query("SOUR1:VOLT?"))
    await endpoint.received("SOUR1:VOLT?")
    await Clock().advance(2.1)
    with pytest.raises(DeviceTimeout, match=r"SOUR1:VOLT\?.*2 s"):
        await asking
    await Clock().advance(1.5)  # now it has come
    assert await talk.query("SOUR1:CURR?") == "1.0000"
    assert await talk.query("SOUR1:VOLT?") == "0.0000"
    assert (talk.resyncs, endpoint.accepted) == (1, 2)


async def test_a_late_reply_during_the_next_question_is_not_its_answer(
    instrument, bench
):
    await silence(instrument.query("A?"), "A?", bench)
    asking = asyncio.create_task(instrument.query("B?"))
    await until(lambda: len(bench.ends) == 2)
    with pytest.raises(LinkLost):  # nobody holds the other end any more
        while True:
            await bench.ends[0].write(b"answer of A\n")
            await settle()
    await bench.answer("B?", b"answer of B\n")
    assert await asking == "answer of B"


async def test_a_late_reply_on_the_new_connection_is_discarded_while_it_settles(bench):
    async with talking(bench.connect, settle=1.0) as instrument:
        await silence(instrument.query("A?"), "A?", bench)
        bench.waiting = b"answer "
        asking = asyncio.create_task(instrument.query("B?"))
        await until(lambda: len(bench.ends) == 2)
        await Clock().advance(0.5)
        await bench.say(b"of A\n")
        await Clock().advance(0.3)
        await bench.nothing_more()
        await Clock().advance(0.3)
        await bench.answer("B?", b"answer of B\n")
        assert await asking == "answer of B"


async def test_settling_that_was_cancelled_begins_again(bench):
    async with talking(bench.connect, settle=1.0) as instrument:
        await silence(instrument.query("A?"), "A?", bench)
        first = asyncio.create_task(instrument.query("B?"))
        await until(lambda: len(bench.ends) == 2)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        second = asyncio.create_task(instrument.query("C?"))
        await until(lambda: len(bench.ends) == 3)
        await bench.say(b"answer of A\n")
        await Clock().advance(1.1)
        await bench.answer("C?", b"answer of C\n")
        assert await second == "answer of C"


async def test_a_lost_connection_while_it_settles_is_noticed(bench):
    async with talking(bench.connect, settle=1.0) as instrument:
        await silence(instrument.query("A?"), "A?", bench)
        asking = asyncio.create_task(instrument.query("B?"))
        await until(lambda: len(bench.ends) == 2)
        await bench.ends[-1].close()
        with pytest.raises(LinkLost):
            await asking


async def test_after_a_cancelled_query_the_next_one_has_its_own_answer(psu):
    talk, endpoint = psu
    endpoint.late(1, 1.0)
    asking = asyncio.create_task(talk.query("SOUR1:VOLT?"))
    await endpoint.received("SOUR1:VOLT?")
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    await Clock().advance(1.1)
    assert await talk.query("SOUR1:CURR?") == "1.0000"
    assert talk.resyncs == 1


@pytest.mark.parametrize("stray", [b"x", b"x\n", b"5.0\n6.0\n"])
async def test_bytes_that_came_unasked_are_no_answer(instrument, bench, caplog, stray):
    await bench.say(stray)
    await settle()
    assert await asked(instrument, bench, "A?", b"1\n") == "1"
    assert f"{len(stray)} bytes came unasked" in caplog.text


async def test_the_second_line_of_an_answer_is_not_the_next_answer(instrument, bench):
    assert await asked(instrument, bench, "A?", b"1\nmore of it\n") == "1"
    assert await asked(instrument, bench, "B?", b"2\n") == "2"


async def test_the_answer_to_a_question_that_was_only_written_is_no_answer(
    instrument, bench
):
    await instrument.write("A?")
    assert await bench.line() == "A?"
    assert await asked_again(instrument, bench) == "1"


async def test_the_acknowledgement_of_a_write_is_not_the_next_answer(bench):
    async with talking(bench.connect, acknowledge=True) as instrument:
        writing = asyncio.create_task(instrument.write("OUT 1"))
        assert await bench.line() == "OUT 1"
        await settle()
        assert not writing.done()
        await bench.say(b"\n")
        await writing
        assert await asked(instrument, bench, "IN", b"1\n") == "1"


# Silence, and links that break.


async def test_the_caller_may_be_more_patient_than_the_configuration(instrument, bench):
    asking = asyncio.create_task(instrument.query("A?", 5.0))
    await bench.line()
    await Clock().advance(4.5)
    await bench.say(b"1\n")
    assert await asking == "1"


async def test_silences_are_counted_until_an_answer_comes(instrument, bench):
    await silence(instrument.query("A?"), "A?", bench)
    await silence(instrument.query_binary("B?"), "B?", bench)
    assert instrument.silences == 2
    assert await asked_again(instrument, bench) == "1"
    assert instrument.silences == 0


async def test_an_answer_between_silences_starts_the_count_again(instrument, bench):
    for _ in range(3):
        await silence(instrument.query("A?"), "A?", bench)
        await silence(instrument.query("A?"), "A?", bench)
        assert await asked_again(instrument, bench) == "1"


async def asked_again(instrument, bench):
    """Ask a question for which the link has to be opened again."""
    known = len(bench.ends)
    answer = await asked(instrument, bench, "B?", b"1\n")
    assert len(bench.ends) == known + 1
    return answer


async def test_the_end_in_the_middle_of_an_answer_is_a_lost_link(instrument, bench):
    asking = asyncio.create_task(instrument.query("A?"))
    await bench.line()
    await bench.say(b"half an ans")
    await bench.ends[-1].close()
    with pytest.raises(LinkLost):
        await asking
    assert await asked_again(instrument, bench) == "1"


async def test_check_finds_a_closed_connection(instrument, bench):
    await instrument.check()
    await bench.ends[-1].close()
    await settle()
    with pytest.raises(LinkLost, match="closed"):
        await instrument.check()


async def test_check_finds_that_a_broken_link_cannot_be_opened_again(instrument, bench):
    asking = asyncio.create_task(instrument.query("A?"))
    await bench.line()
    await bench.ends[-1].close()
    with pytest.raises(LinkLost):
        await asking
    bench.refusing = True
    with pytest.raises(LinkLost, match="refused"):
        await instrument.check()


async def test_check_sends_nothing(instrument, bench):
    await instrument.check()
    await bench.nothing_more()
    assert instrument.resyncs == 0


async def test_a_link_that_could_not_be_opened_again_is_tried_by_the_next_exchange(
    instrument, bench
):
    bench.refusing = True
    with pytest.raises(LinkLost, match="refused"):
        await instrument.resync()
    bench.refusing = False
    assert await asked_again(instrument, bench) == "1"


async def test_a_closed_instrument_says_so(instrument):
    await instrument.close()
    with pytest.raises(LinkLost, match="closed"):
        await instrument.query("A?")


# Binary blocks.

PAYLOAD = b"#1x\n\r\n\x00\xff;" * 5
DEFINITE = encode_block(PAYLOAD) + b"\n"


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
@pytest.mark.parametrize(
    "message", [DEFINITE, encode_block(PAYLOAD) + b"\r\n", b"#0" + PAYLOAD + b"\n"]
)
async def test_a_block_may_come_in_any_pieces(instrument, bench, message, size):
    asking = asyncio.create_task(instrument.query_binary("DATA?"))
    assert await bench.line() == "DATA?"
    for start in range(0, len(message), size):
        await bench.say(message[start : start + size])
        await settle()
        assert not asking.done() or start + size >= len(message)
    await Clock().advance(conversation.QUIET + 0.1)
    assert await asking == PAYLOAD


async def test_after_a_definite_block_the_conversation_goes_on(instrument, bench):
    for _ in range(2):
        asking = asyncio.create_task(instrument.query_binary("DATA?"))
        await bench.answer("DATA?", DEFINITE)
        assert await asking == PAYLOAD
        assert await asked(instrument, bench, "A?", b"1\n") == "1"
    assert instrument.resyncs == 0


async def test_a_block_may_end_with_the_terminator_of_the_instrument(bench):
    async with talking(bench.connect, terminator="\r") as instrument:
        for _ in range(2):
            asking = asyncio.create_task(instrument.query_binary("DATA?"))
            assert await bench.line(b"\r") == "DATA?"
            await bench.say(encode_block(b"12\r34") + b"\r")
            assert await asking == b"12\r34"
    assert instrument.resyncs == 0


async def test_the_newline_after_a_block_is_waited_for_so_that_it_is_no_answer(
    instrument, bench
):
    asking = asyncio.create_task(instrument.query_binary("DATA?"))
    await bench.answer("DATA?", encode_block(b"12"))
    await settle()
    assert not asking.done()
    await bench.say(b"\n")
    assert await asking == b"12"
    assert await asked(instrument, bench, "A?", b"1\n") == "1"


async def test_what_follows_a_block_is_not_the_next_answer(instrument, bench):
    asking = asyncio.create_task(instrument.query_binary("DATA?"))
    await bench.answer("DATA?", encode_block(b"12") + b"\nhalf a l")
    assert await asking == b"12"
    assert await asked_again(instrument, bench) == "1"


async def test_a_pause_within_an_indefinite_block_does_not_end_it(instrument, bench):
    asking = asyncio.create_task(instrument.query_binary("DATA?"))
    await bench.answer("DATA?", b"#0first")
    await Clock().advance(1.0)
    await bench.say(b" second\n")
    await Clock().advance(1.0)
    assert await asking == b"first second"


async def test_what_follows_an_indefinite_block_is_not_the_next_answer(
    instrument, bench
):
    asking = asyncio.create_task(instrument.query_binary("DATA?"))
    await bench.answer("DATA?", b"#0first\n")
    await Clock().advance(0.5)
    assert await asking == b"first"
    assert await asked_again(instrument, bench) == "1"


async def test_an_indefinite_block_without_an_end_is_a_silence(instrument, bench):
    asking = asyncio.create_task(instrument.query_binary("DATA?"))
    await bench.answer("DATA?", b"#0never ends")
    await Clock().advance(2.1)
    with pytest.raises(DeviceTimeout):
        await asking


@pytest.mark.parametrize("start", [b"#211", b"#0" + b"x" * 12])
async def test_a_block_above_the_limit_is_refused_and_not_kept(bench, start):
    async with talking(bench.connect, block_limit=10) as instrument:
        asking = asyncio.create_task(instrument.query_binary("DATA?"))
        await bench.answer("DATA?", start)
        with pytest.raises(ProtocolError, match="limit of 10 bytes"):
            await asking
        assert await asked_again(instrument, bench) == "1"


async def test_an_indefinite_block_grows_no_further_than_the_limit(bench):
    async with talking(bench.connect, block_limit=10) as instrument:
        asking = asyncio.create_task(instrument.query_binary("DATA?"))
        await bench.answer("DATA?", b"#0")
        for _ in range(12):
            await settle()
            assert not asking.done()
            await bench.say(b"x")
        with pytest.raises(ProtocolError, match="limit of 10 bytes"):
            await asking


@pytest.mark.parametrize("answer", [b"5.0\n", b"#A1\n", b"\n", b"#12", b"#15hello#"])
async def test_text_in_place_of_a_block_is_an_error_and_not_the_next_answer(
    instrument, bench, answer
):
    asking = asyncio.create_task(instrument.query_binary("DATA?"))
    await bench.answer("DATA?", answer)
    await Clock().advance(2.1)  # for those that could still go on
    with pytest.raises((ProtocolError, DeviceTimeout)):
        await asking
    assert await asked_again(instrument, bench) == "1"


async def test_the_end_in_the_middle_of_a_block_is_a_lost_link(instrument, bench):
    asking = asyncio.create_task(instrument.query_binary("DATA?"))
    await bench.answer("DATA?", b"#15hel")
    await bench.ends[-1].close()
    with pytest.raises(LinkLost):
        await asking


async def test_the_trace_of_the_simulator_arrives_whole(psu):
    talk, endpoint = psu
    endpoint.device.channels[0].voltage, endpoint.device.channels[0].output = 12.0, True
    endpoint.device.channels[0].load = float("inf")
    await talk.write("TRAC1:POIN 4096")
    data = await talk.query_binary("TRAC1:DATA?")
    assert struct.unpack(">4096f", data) == pytest.approx([12.0] * 4096, rel=0.01)
    assert await talk.query("TRAC1:POIN?") == "4096"


# The error queue.


async def test_the_error_queue_is_emptied_oldest_first(psu):
    talk, _ = psu
    await talk.write("SOUR1:VOLT 99;CURR 99;NONSENSE 1")
    assert await talk.errors() == [
        (-222, "Data out of range"),
        (-222, "Data out of range"),
        (-113, "Undefined header"),
    ]
    assert await talk.errors() == []


async def test_an_error_is_refused_with_all_that_the_instrument_said(psu):
    talk, _ = psu
    await talk.refuse_errors()
    await talk.write("SOUR1:VOLT 99;NONSENSE 1")
    with pytest.raises(DeviceRefused, match="-222: Data out of range") as caught:
        await talk.refuse_errors()
    entries = [
        {"code": -222, "text": "Data out of range"},
        {"code": -113, "text": "Undefined header"},
    ]
    assert caught.value.detail == {
        "code": -222,
        "text": "Data out of range",
        "errors": entries,
    }
    await talk.refuse_errors()


async def test_an_instrument_without_an_error_queue_is_not_asked(bench):
    async with talking(bench.connect, errors=None) as instrument:
        await instrument.write("A")
        await instrument.refuse_errors()
        await instrument.write("B")
        assert [await bench.line(), await bench.line()] == ["A", "B"]
        await bench.nothing_more()


async def test_an_error_queue_without_an_end_is_left(instrument, bench):
    reading = asyncio.create_task(instrument.errors())
    for _ in range(conversation.ERRORS_LIMIT):
        await bench.answer("SYST:ERR?", b'-100,"again"\n')
    assert await reading == [(-100, "again")] * conversation.ERRORS_LIMIT


async def test_nonsense_from_the_error_queue_is_nonsense(instrument, bench):
    reading = asyncio.create_task(instrument.errors())
    await bench.answer("SYST:ERR?", b"fine\n")
    with pytest.raises(ProtocolError, match="error queue"):
        await reading


async def test_errors_of_a_write_that_was_given_up_are_not_those_of_the_next(psu):
    talk, endpoint = psu
    await talk.write("SOUR1:VOLT 99")  # and nobody asks how it went
    await talk.write("SOUR1:VOLT 9")
    await talk.refuse_errors()
    assert endpoint.device.channels[0].voltage == 9


@pytest.mark.parametrize("checked", [False, True])
async def test_errors_of_a_question_without_an_answer_are_not_those_of_the_next_write(
    psu, checked
):
    talk, endpoint = psu
    asking = asyncio.create_task(talk.query("NONSENSE?"))
    await endpoint.received("NONSENSE?")
    await Clock().advance(2.1)
    with pytest.raises(DeviceTimeout):
        await asking
    if checked:
        await talk.check()  # as an idle session does; it opens the link again
    await talk.write("SOUR1:VOLT 9")
    await talk.refuse_errors()


async def test_a_write_after_a_good_one_asks_nothing_in_between(instrument, bench):
    for _ in range(2):
        await instrument.write("A")
        assert await bench.line() == "A"
        reading = asyncio.create_task(instrument.refuse_errors())
        await bench.answer("SYST:ERR?", NO_ERROR)
        await reading
