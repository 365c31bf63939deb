"""Opening of a conversation with a processor, step by step.

Source: docs/protocols/cip.md, 4 to 7
"""

import asyncio

import pytest

from busbar.codecs import cip
from busbar.codecs.cip import Command
from busbar.errors import LinkLost, Retry
from busbar.link.session import OPEN_TIMEOUT
from busbar.testing.fakes import Clock, settle, until
from cip_bridge.panel_role.conversation import OPEN_LIMIT
from cip_bridge.refusals import Booting, Denied, UnknownIpId, Unreachable
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


async def hurried(doing):
    """Let time run fast until this is done."""
    clock, task = Clock(), asyncio.ensure_future(doing)
    while not task.done():
        await clock.advance(0.25)
    return await task


# Sign-on.


@pytest.mark.parametrize(
    "sign_on",
    [cip.Connect(0x0A), cip.Connect.short(3), cip.RoomConnect(3, "BOARDROOM1")],
    ids=["long", "short", "room"],
)
async def test_every_form_of_sign_on_is_sent_when_the_processor_is_ready(sign_on):
    async with talk(sign_on=sign_on) as (conversation, peer, _):
        opening = asyncio.create_task(open_up(conversation))
        await settle()
        await peer.says(cip.Hello())
        assert await peer.hears(type(sign_on)) == sign_on
        await peer.says(
            cip.ConnectResult(0, router=isinstance(sign_on, cip.RoomConnect))
        )
        await peer.hears(START)
        await peer.says(START, END, QUERY)
        await opening


@pytest.mark.parametrize("result", ["0000001f", "00000003", "0000200f", "0001001f"])
async def test_every_success_code_is_one(result):
    data = bytes.fromhex(result)
    async with talk() as (conversation, peer, _):
        opening = asyncio.create_task(open_up(conversation))
        await peer.accepts(result=cip.encode_frame(0x02, data))
        await opening
        assert conversation.style.handle == int.from_bytes(data[:2])


async def test_the_handle_of_the_sign_on_is_in_all_that_follows():
    async with talk([digital(1, True)]) as (conversation, peer, _):
        opening = asyncio.create_task(open_up(conversation))
        await peer.accepts(result=cip.ConnectResult(0x0102))
        await opening
        assert cip.encode(digital(1, True), conversation.style)[3:5] == b"\1\2"
        await peer.hears(digital(1, True))


async def test_a_booting_processor_is_waited_for_on_the_same_link():
    async with talk() as (conversation, peer, _):
        opening = asyncio.create_task(open_up(conversation))
        await peer.says(cip.Hello(cip.BOOTING))
        await settle()
        assert peer.heard == []
        await peer.accepts()
        await opening


async def test_a_processor_that_boots_for_long_is_tried_again_soon():
    async with talk() as (conversation, peer, _):
        await peer.says(cip.Hello(cip.BOOTING))
        with pytest.raises(Booting, match="booting") as error:
            await hurried(conversation.wait_for_greeting())
        assert error.value.retry == Retry(2, 2, firm=True, soon=True)


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_the_refusal_of_a_booting_processor_says_so(moment):
    async with talk() as (conversation, peer, _):
        await peer.says(*([cip.Hello()] if moment == "after" else []), cip.Refused())
        with pytest.raises(Booting, match="booting"):
            await open_up(conversation)


async def test_silence_in_place_of_a_greeting_or_an_answer_is_not_fatal():
    async with talk() as (conversation, peer, _):
        with pytest.raises(Unreachable, match="no greeting within 2 s") as error:
            await hurried(conversation.wait_for_greeting())
        assert error.value.retry == Retry(1, 20, firm=True)
        await peer.says(cip.Hello())
        await conversation.wait_for_greeting()
        with pytest.raises(Unreachable, match="no answer to the sign-on within 2 s"):
            await hurried(conversation.sign_on())


async def test_a_connection_that_ends_before_the_sign_on_is_as_good_as_none():
    async with talk() as (conversation, peer, _):
        await peer.stream.close()
        with pytest.raises(Unreachable, match="closed"):
            await conversation.wait_for_greeting()


async def test_the_same_greeting_twice_is_one():
    async with talk() as (conversation, peer, _):
        opening = asyncio.create_task(open_up(conversation))
        await peer.says(cip.Hello(), cip.Hello(), cip.ConnectResult(0))
        await peer.hears(START)
        await peer.says(START, END, QUERY)
        await opening


async def test_a_greeting_behind_the_sign_on_is_a_new_program():
    async with talk() as (conversation, peer, _):
        await peer.says(cip.Hello(), cip.ConnectResult(0), START, cip.Hello())
        with pytest.raises(LinkLost, match="loaded again"):
            await open_up(conversation)


async def test_an_unknown_ip_id_is_named_and_tried_again_within_20_s():
    async with talk() as (conversation, peer, _):
        await peer.says(cip.Hello(), cip.UNKNOWN_IPID)
        with pytest.raises(UnknownIpId, match="IP-ID 0x0A is not defined") as error:
            await open_up(conversation)
        assert error.value.retry == Retry(5, 20, firm=True)
        assert error.value.detail == {"payload": "ffff02"}


async def test_a_room_that_refuses_is_named():
    async with talk(sign_on=cip.RoomConnect(3, "HALL2")) as (conversation, peer, _):
        await peer.says(cip.Hello(), cip.UNKNOWN_IPID)
        with pytest.raises(
            UnknownIpId,
            match=(
                "IP-ID 0x03 is not defined in room 'HALL2', or there is no such room"
            ),
        ):
            await open_up(conversation)


async def test_credentials_are_given_when_they_are_asked_for():
    async with talk(
        credentials=("crestron", "crestron"), sign_on=cip.Connect(0x27)
    ) as (conversation, peer, _):
        opening = asyncio.create_task(open_up(conversation))
        await peer.says(cip.Hello(), bytes.fromhex("0200040000401f"))
        assert await peer.hears(cip.Authenticate) == cip.Authenticate(
            0x27, "crestron", "crestron"
        )
        await peer.says(bytes.fromhex("0c0003002701"))
        await peer.hears(START)
        await peer.says(QUERY)
        await opening


@pytest.mark.parametrize(
    ("credentials", "why"),
    [
        (None, "wants a username"),
        (("admin", "hunter2"), "denies the password of 'admin'"),
    ],
)
async def test_missing_or_wrong_credentials_are_told_without_them(credentials, why):
    async with talk(credentials=credentials) as (conversation, peer, _):
        await peer.says(
            cip.Hello(), bytes.fromhex("0200040000401f"), cip.AuthResult(0x0A, False)
        )
        with pytest.raises(Denied, match=why) as error:
            await open_up(conversation)
        assert "hunter2" not in str(error.value)


# Update.


async def test_the_update_is_told_acknowledged_and_answered_with_all_outputs():
    outputs = [digital(5, True), analog(12, 7), serial(2, "x")]
    async with serving(outputs, digital(1, True), serial(9, "y")) as (_, peer, told, _):
        assert told == [START, digital(1, True), serial(9, "y"), END, QUERY]
        await peer.hears(Command(cip.ACKNOWLEDGE))
        await peer.hears(cip.Ping)
        for each in outputs:
            await peer.hears(each)


async def test_outputs_are_sent_after_the_sign_on_and_no_later_update():
    async with serving([digital(5, True)]) as (_, peer, told, _):
        await peer.hears(digital(5, True))
        await peer.says(START, digital(1, True), END, QUERY)  # another panel has come
        await peer.hears(Command(cip.ACKNOWLEDGE))
        await peer.says(cip.Ping())
        await peer.hears(cip.Pong)
        assert told.count(QUERY) == 2
        assert peer.heard.count(digital(5, True)) == 1


async def test_an_update_has_to_end_but_the_end_of_the_query_may_be_missing():
    async with talk() as (conversation, peer, _):
        await peer.says(cip.Hello(), cip.ConnectResult(0), START, digital(1, True))
        with pytest.raises(LinkLost, match="did not end within 7 s"):
            await hurried(open_up(conversation))
    async with talk() as (conversation, peer, told):
        await peer.says(cip.Hello(), cip.ConnectResult(0), START, digital(1, True), END)
        await hurried(open_up(conversation))
        await peer.hears(Command(cip.ACKNOWLEDGE))
        assert digital(1, True) in told


async def test_all_steps_together_fit_into_what_the_library_gives_a_link():
    assert OPEN_LIMIT < OPEN_TIMEOUT
    async with talk(timeout=5.0) as (conversation, peer, _):
        await peer.says(cip.Hello(), cip.ConnectResult(0), START)
        await conversation.wait_for_greeting()
        await conversation.sign_on()
        await Clock().advance(15)  # that greeting and sign-on have taken
        with pytest.raises(LinkLost, match=r"did not end within [89] s"):
            await hurried(conversation.update())


async def test_a_server_that_never_ends_its_update_is_served_when_it_answers():
    """As that of node-red-contrib-cip."""
    async with talk() as (conversation, peer, told):
        opening = asyncio.create_task(open_up(conversation))
        await peer.says(cip.Hello(), cip.ConnectResult(0), START, digital(1, True))
        answering = asyncio.create_task(_answer_pings(peer))
        await hurried(opening)
        assert conversation.ends_updates is False
        assert told == [START, digital(1, True)]
        await until(lambda: Command(cip.ACKNOWLEDGE) in peer.heard)
        answering.cancel()
        await asyncio.gather(answering, return_exceptions=True)


async def test_an_update_that_is_slow_to_begin_is_waited_for():
    async with talk() as (conversation, peer, _):
        opening = asyncio.create_task(open_up(conversation))
        await peer.says(cip.Hello(), cip.ConnectResult(0))
        await peer.hears(START)
        await Clock().advance(15)
        assert not opening.done()
        await peer.says(START, END, QUERY)
        await opening
        assert conversation.ends_updates is True


async def test_a_power_cut_within_a_log_in_that_has_worked_before_is_no_denial():
    login = {"credentials": ("a", "b"), "credentials_proven": True}
    async with talk(**login) as (conversation, peer, _):
        opening = asyncio.create_task(open_up(conversation))
        await peer.says(cip.Hello(), bytes.fromhex("0200040000401f"))
        await peer.hears(cip.Authenticate)
        await peer.stream.close()
        with pytest.raises(Unreachable):
            await opening


async def _answer_pings(peer):
    while True:
        await peer.hears(cip.Ping)
        await peer.says(cip.Pong())
