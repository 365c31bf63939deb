"""A conversation that goes on: heartbeat, silence, what comes, the end.

Source: docs/protocols/cip.md, 5 and 7
"""

import asyncio

import pytest

from busbar.codecs import cip
from busbar.codecs.cip import Form
from busbar.errors import LinkLost
from busbar.testing.fakes import Clock, settle, until
from cip_bridge.panel_role import conversation
from cip_bridge.panel_role.conversation import BEAT, LEAVE_LIMIT, SILENCE
from cip_bridge.refusals import Booting
from tests.cip_bridge.peer import (
    END,
    QUERY,
    START,
    analog,
    digital,
    open_up,
    serial,
    serving,
    talk,
)


def ended(task):
    """Return why a conversation ended."""
    error = task.exception()
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


# Alive or dead.


async def test_a_heartbeat_goes_out_after_five_seconds_without_a_word():
    async with serving() as (conversation, peer, *_):
        await peer.hears(cip.Ping)  # of the acknowledgement
        clock = Clock()
        await clock.advance(BEAT - 1)
        await conversation.send(cip.encode(digital(1, True)))
        await peer.hears(digital(1, True))
        await clock.advance(BEAT - 1)
        await peer.says(cip.Pong())
        assert peer.heard[-1] == digital(1, True)
        await clock.advance(1.5)
        await peer.hears(cip.Ping)


async def test_who_speaks_all_the_time_still_asks_a_processor_that_is_silent():
    async with serving() as (conversation, peer, _, task):

        async def answer():
            while True:
                await peer.hears(cip.Ping)
                await peer.says(cip.Pong())

        answering = asyncio.create_task(answer())
        for _ in range(30):
            await conversation.send(cip.encode(digital(1, True)))
            await Clock().advance(1)
        answering.cancel()
        await asyncio.gather(answering, return_exceptions=True)
        assert not task.done()


async def test_the_processors_heartbeat_is_answered_also_during_the_sign_on():
    async with talk() as (conversation, peer, _):
        opening = asyncio.create_task(open_up(conversation))
        await peer.says(cip.Hello())
        await peer.hears(cip.Connect)
        await peer.says(cip.Ping())
        await peer.hears(cip.Pong)
        await peer.says(cip.ConnectResult(0), START, QUERY)
        await opening
    async with serving() as (_, peer, *_):
        for _ in range(2):
            await peer.says(cip.Ping())
            await peer.hears(cip.Pong)


async def test_fifteen_seconds_of_silence_end_a_half_open_link():
    async with serving() as (_, peer, _, task):
        clock = Clock()
        await clock.advance(SILENCE - 1)
        await peer.says(cip.Pong())
        await settle()
        await clock.advance(SILENCE - 1)
        assert not task.done()
        await clock.advance(1.5)
        await until(task.done)
        assert "no whole message for 15 s" in str(ended(task))


async def test_the_end_of_the_connection_is_noticed_at_once():
    async with serving() as (_, peer, _, task):
        await peer.stream.close()
        await until(task.done)
        assert isinstance(ended(task), LinkLost)


@pytest.mark.parametrize(
    ("message", "kind", "why"),
    [
        (cip.Disconnect(), LinkLost, "its program stops"),
        (cip.Refused(), Booting, "booting"),
        (cip.Hello(), LinkLost, "loaded again"),
        (cip.Hello(cip.BOOTING), Booting, "booting"),
    ],
)
async def test_a_program_that_stops_ends_the_conversation_after_what_it_said_before(
    message, kind, why
):
    async with serving() as (_, peer, told, task):
        await peer.says(digital(3, True), message, digital(4, True))
        await until(task.done)
        assert why in str(ended(task))
        assert type(ended(task)) is kind
        assert told[-1] == digital(3, True)


async def test_leaving_says_goodbye():
    async with talk() as (conversation, peer, _):
        await conversation.close()
        await peer.hears(cip.Disconnect)


async def test_leaving_does_not_wait_for_a_processor_that_does_not_read():
    async with talk() as (conversation, *_):
        sending = asyncio.create_task(
            conversation.send(cip.encode(serial(1, "x" * 60_000)) * 100)
        )
        leaving = asyncio.create_task(conversation.close())
        await settle()
        assert not leaving.done()
        await Clock().advance(LEAVE_LIMIT + 0.5)
        # a write that is not read fails by itself much later
        await until(leaving.done, limit=5.0)
        await asyncio.gather(sending, return_exceptions=True)


# What comes.


async def test_frames_come_whole_however_they_are_cut():
    stream = b"".join(cip.encode(analog(number, number)) for number in range(1, 200))
    async with serving() as (_, peer, told, _):
        for place in range(0, len(stream), 7):
            await peer.says(stream[place : place + 7])
        await until(lambda: len(told) == 199 + 3)
        assert told[3:] == [analog(number, number) for number in range(1, 200)]


async def test_what_means_nothing_is_counted_and_costs_nothing_else():
    async with serving() as (conversation, peer, told, _):
        await peer.says(
            bytes.fromhex("0500002a0001010500040000 01feffff"), digital(8, True)
        )
        await until(lambda: told[-1] == digital(8, True))
        assert conversation.skipped == 4


async def test_what_stands_behind_the_update_in_one_piece_is_told():
    async with talk() as (conversation, peer, told):
        opening = asyncio.create_task(open_up(conversation))
        await peer.says(
            cip.Hello(), cip.ConnectResult(0), START, END, QUERY, digital(8, True)
        )
        await opening
        serving = asyncio.create_task(conversation.serve())
        await until(lambda: told[-1] == digital(8, True))
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)


async def test_a_button_of_the_processor_and_a_digital_are_the_same():
    async with serving() as (_, peer, told, _):
        await peer.says(digital(8, True, Form.BUTTON))
        await until(lambda: told[-1] == digital(8, True, Form.BUTTON))


async def test_a_processor_that_says_much_at_once_does_not_hold_others_up(monkeypatch):
    monkeypatch.setattr(conversation, "BATCH", 10)
    async with serving() as (_, peer, told, _):
        before, seen = len(told), set()
        await peer.says(*(digital(1, number % 2 == 0) for number in range(2000)))

        def done():
            return len(told) == before + 2000

        while not done():
            seen.add(len(told))
            await asyncio.sleep(0)
        assert len(seen) > 20


async def test_what_is_sent_is_asked_for_when_it_is_its_turn():
    async with serving() as (conversation, peer, *_):
        turns = []

        def frames(number):
            turns.append(number)
            return cip.encode(digital(number, True))

        await asyncio.gather(
            *(conversation.send(lambda n=number: frames(n)) for number in (1, 2, 3))
        )
        await peer.hears(digital(3, True))
        assert turns == [1, 2, 3]


async def test_bytes_that_become_no_message_do_not_keep_a_link_alive():
    """A frame that never ends swallows every pong."""
    async with serving() as (_, peer, _, task):
        clock = Clock()
        await peer.says(bytes.fromhex("12ffff"))
        for _ in range(int(SILENCE) + 2):
            await clock.advance(1)
            await peer.says(cip.Pong())
            await settle()
        await until(task.done)
        assert "no whole message for 15 s" in str(ended(task))


async def test_frames_that_say_nothing_to_us_are_a_sign_of_life():
    async with serving() as (_, peer, _, task):
        clock = Clock()
        for _ in range(4):
            await clock.advance(SILENCE - 2)
            await peer.says(bytes.fromhex("00000100"))  # an acknowledgement
            await settle()
        assert not task.done()
