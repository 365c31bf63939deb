"""The role of a processor, seen by its panels. Source: reference 1.4, R, M and Z."""

import asyncio
from contextlib import asynccontextmanager
from datetime import datetime

import pytest

from busbar.codecs import cip
from busbar.codecs.cip import Command, Form, Join, Update
from busbar.streams import open_tcp
from busbar.testing import Clock, settle, until
from cip_bridge import connection
from cip_bridge import listener as module
from cip_bridge.connection import BEAT, SILENCE
from cip_bridge.listener import Listener
from cip_bridge.seats import Seat
from tests.cip_bridge.peer import END, QUERY, SIGN_ON, START, Peer, analog, digital, serial

NOW = datetime(2026, 3, 27, 20, 35, 31)


@asynccontextmanager
async def listening(**options):
    """A listener with one seat, 0x0A, and what its panels have said."""
    said = []
    seat = Seat(0x0A, said.extend, **options)
    async with Listener("127.0.0.1", 0, [seat], now=lambda: NOW) as listener:
        yield listener, seat, said


@asynccontextmanager
async def panel(listener):
    stream = await open_tcp("127.0.0.1", listener.port, "panel")
    try:
        yield Peer(stream)
    finally:
        await stream.close()


@asynccontextmanager
async def signed_on(listener, sign_on=SIGN_ON):
    async with panel(listener) as peer:
        await peer.hears(cip.Hello())
        await peer.says(sign_on, START)
        assert (await peer.hears(cip.ConnectResult)).accepted
        await peer.hears(QUERY)
        await peer.says(Command(cip.ACKNOWLEDGE))
        yield peer


SIGN_ONS = [cip.Connect(0x0A), cip.Connect.short(0x0A), cip.DeviceConnect(0x0A, bytes(8)), cip.RoomConnect(0x0A, "X")]


@pytest.mark.parametrize("sign_on", SIGN_ONS, ids=lambda each: type(each).__name__)
async def test_every_form_of_sign_on_is_taken(sign_on):
    async with listening() as (listener, seat, _), signed_on(listener, sign_on):
        assert len(seat.panels) == 1
    assert seat.panels == []


async def test_the_update_is_what_a_processor_sends():
    async with listening() as (listener, seat, _):
        seat.drive(Join("digital", 1), True)
        seat.drive(Join("digital", 2), False)
        seat.drive(Join("analog", 12), 7)
        seat.drive(Join("serial", 3), "")
        seat.drive(Join("serial", 4), "hi")
        async with signed_on(listener) as peer:
            dump = peer.heard[peer.heard.index(START) :]
            assert dump == [START, cip.Clock(NOW), digital(1, True), analog(12, 7), serial(4, "hi"), END, QUERY]


async def test_all_panels_of_a_seat_are_driven():
    async with listening() as (listener, seat, _), signed_on(listener) as one, signed_on(listener) as other:
        seat.drive(Join("analog", 1), 99)
        await one.hears(analog(1, 99))
        await other.hears(analog(1, 99))


async def test_what_panels_say_is_told_also_before_their_update():
    async with listening() as (listener, seat, said), panel(listener) as peer:
        await peer.says(digital(9, True))  # not signed on: nobody knows who that is
        await peer.says(cip.Connect(0x0A), digital(1, True), analog(2, 5), serial(3, "x"))
        await until(lambda: len(said) == 3)
        assert said == [digital(1, True), analog(2, 5), serial(3, "x")]
        assert seat.board.ins[Join("analog", 2)] == 5


@pytest.mark.parametrize("sign_on", [cip.Connect(0x0B), cip.RoomConnect(0x0B, "X")])
async def test_an_unknown_ip_id_is_refused(sign_on):
    async with listening() as (listener, _, _), panel(listener) as peer:
        await peer.says(sign_on)
        result = await peer.hears(cip.ConnectResult)
        assert (result.payload().hex(), result.router) == ("ffff02", isinstance(sign_on, cip.RoomConnect))


@pytest.mark.parametrize(
    ("sign_on", "accepted"),
    [(cip.RoomConnect(0x0A, "boardroom1"), True), (cip.RoomConnect(0x0A, "other"), False), (cip.Connect(0x0A), False)],
)
async def test_a_seat_with_a_room_is_for_that_room(sign_on, accepted):
    async with listening(room="Boardroom1") as (listener, _, _), panel(listener) as peer:
        await peer.says(sign_on)
        assert (await peer.hears(cip.ConnectResult)).accepted is accepted


@pytest.mark.parametrize(("password", "ok"), [("secret", True), ("Secret", False)])
async def test_credentials_are_asked_for_and_checked(password, ok):
    async with listening(credentials=("admin", "secret")) as (listener, seat, said), panel(listener) as peer:
        await peer.says(cip.Connect(0x0A), digital(1, True))
        assert (await peer.hears(cip.ConnectResult)).credentials
        await peer.says(cip.Authenticate(0x0A, "admin", password))
        assert (await peer.hears(cip.AuthResult)).ok is ok
        await peer.says(digital(2, True))
        await until(lambda: seat.panels if ok else not listener._open)
        if ok:
            await until(lambda: said)
        assert said == ([digital(2, True)] if ok else [])


async def test_while_it_boots_panels_wait_and_are_greeted_afterwards():
    async with listening() as (listener, _, _):
        listener.boot()
        async with panel(listener) as peer:
            assert await peer.hears(cip.Hello) == cip.Hello(cip.BOOTING)
            listener.booted()
            assert await peer.hears(cip.Hello) == cip.Hello(cip.READY)


async def test_heartbeats_are_answered_and_silent_panels_are_asked_and_dropped():
    async with listening() as (listener, seat, _), signed_on(listener) as peer:
        await peer.says(cip.Ping())
        await peer.hears(cip.Pong)
        clock = Clock()
        await clock.advance(BEAT + 1)
        await peer.hears(cip.Ping)
        await clock.advance(SILENCE - BEAT - 3)
        assert seat.panels
        await clock.advance(BEAT * 3)
        await until(lambda: not seat.panels)


async def test_a_button_that_is_not_pressed_again_is_released():
    async with listening() as (listener, _, said), signed_on(listener) as peer:
        clock = Clock()
        for _ in range(4):
            await peer.says(digital(3, True, Form.BUTTON))
            await until(lambda: said)
            await clock.advance(0.5)
        await until(lambda: len(said) == 4)
        assert all(each.value for each in said)
        await clock.advance(1.75)
        assert said[-1] == digital(3, False)


async def test_what_a_panel_holds_is_released_when_it_is_gone():
    async with listening() as (listener, seat, said):
        async with signed_on(listener) as peer:
            await peer.says(digital(3, True, Form.BUTTON), digital(4, True), digital(5, True), digital(5, False))
            await until(lambda: len(said) == 4)
        await until(lambda: not seat.panels)
        assert {(each.join.number, each.value) for each in said[4:]} == {(3, False), (4, False)}


async def test_a_panel_that_does_not_read_is_dropped_and_holds_nobody_up(monkeypatch):
    monkeypatch.setattr(connection, "UNSENT_LIMIT", 100_000)
    async with listening() as (listener, seat, _), signed_on(listener), signed_on(listener) as other:
        text = "x" * 60_000
        reading = asyncio.create_task(other.hears(serial(2, "end")))
        for number in range(400):
            seat.drive(Join("serial", 1), f"{number}{text}")
            if number % 8 == 0:
                await asyncio.sleep(0.001)
            if len(seat.panels) == 1:
                break
        await until(lambda: len(seat.panels) == 1)
        seat.drive(Join("serial", 2), "end")
        await reading


async def test_there_is_a_limit_to_panels(monkeypatch):
    monkeypatch.setattr(module, "PANELS_LIMIT", 1)
    async with listening() as (listener, seat, _), signed_on(listener):
        async with panel(listener) as peer:
            with pytest.raises(Exception, match=r"closed the connection|cannot read"):
                await peer.hears(cip.Hello)
        assert len(seat.panels) == 1


async def test_a_panel_may_sign_on_again_and_counts_once():
    async with listening() as (listener, seat, _), signed_on(listener) as peer:
        await peer.says(cip.Connect(0x0A))
        await peer.hears(cip.ConnectResult)
        assert len(seat.panels) == 1


async def test_ending_the_program_tells_all_panels_and_leaving_closes_all():
    async with listening() as (listener, _, _):
        async with signed_on(listener) as peer:
            listener.end_program()
            await peer.hears(cip.Disconnect())
        async with signed_on(listener) as peer:
            pass
    assert listener._open == {}


async def test_stray_bytes_between_frames_are_counted():
    async with listening() as (listener, _, said), panel(listener) as peer:
        # crestron-cip 1.0.2 sends its sign-on as text: three bytes too many.
        stray = bytes.fromhex("01000b00000000000a40c3bfc3bfc3b101")
        await peer.says(stray, digital(1, True))
        assert (await peer.hears(cip.ConnectResult)).accepted
        await until(lambda: said == [digital(1, True)])
        assert listener.skipped == 1


async def test_legacy_text_is_put_together():
    async with listening() as (listener, _, said), signed_on(listener) as peer:
        await peer.says(
            Update(Join("serial", 1), "ab", Form.LEGACY), Update(Join("serial", 1), "cd", Form.LEGACY, append=True)
        )
        await until(lambda: len(said) == 2)
        assert [each.value for each in said] == ["ab", "abcd"]


async def test_text_that_cannot_be_sent_changes_nothing():
    async with listening() as (listener, seat, _), signed_on(listener):
        with pytest.raises(Exception, match="'€' at position 0"):
            seat.drive(Join("serial", 1), "€")
        await settle()
        assert seat.board.outs == {}
