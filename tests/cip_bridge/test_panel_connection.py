"""One panel that is connected to us. Source: docs/protocols/cip.md, 5.2"""

import asyncio

import pytest

from busbar.codecs import cip
from busbar.codecs.cip import Form, Join, Style, Update
from busbar.net.trace import TRACE
from busbar.testing.fakes import Clock, settle, until
from cip_bridge.processor_role import panel_connection
from cip_bridge.processor_role.panel_connection import (
    BEAT,
    DRAIN_LIMIT,
    SIGN_ON_LIMIT,
    SILENCE,
    STRAY_LIMIT,
)
from cip_bridge.processor_role.program import Seat
from tests.cip_bridge.panels import NOW, listening, panel, signed_on
from tests.cip_bridge.peer import END, QUERY, START, analog, digital, serial

SIGN_ONS = [
    cip.Connect(0x0A),
    cip.Connect.short(0x0A),
    cip.DeviceConnect(0x0A, bytes(8)),
    cip.RoomConnect(0x0A, "X"),
]


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
            assert dump == [
                START,
                cip.Clock(NOW),
                digital(1, True),
                analog(12, 7),
                serial(4, "hi"),
                END,
                QUERY,
            ]


async def test_what_panels_say_is_told_also_before_their_update():
    async with listening() as (listener, seat, said), panel(listener) as peer:
        await peer.says(digital(9, True))  # not signed on: nobody knows who that is
        await peer.says(
            cip.Connect(0x0A), digital(1, True), analog(2, 5), serial(3, "x")
        )
        await until(lambda: len(said) == 3)
        assert said == [digital(1, True), analog(2, 5), serial(3, "x")]
        assert seat.joins.received.get(Join("analog", 2)) == 5


@pytest.mark.parametrize("sign_on", [cip.Connect(0x0B), cip.RoomConnect(0x0B, "X")])
async def test_an_unknown_ip_id_is_refused(sign_on):
    async with listening() as (listener, _, _), panel(listener) as peer:
        await peer.says(sign_on)
        result = await peer.hears(cip.ConnectResult)
        assert (result.payload().hex(), result.router) == (
            "ffff02",
            isinstance(sign_on, cip.RoomConnect),
        )


@pytest.mark.parametrize(
    ("sign_on", "accepted"),
    [
        (cip.RoomConnect(0x0A, "boardroom1"), True),
        (cip.RoomConnect(0x0A, "other"), False),
        (cip.Connect(0x0A), False),
    ],
)
async def test_a_seat_with_a_room_is_for_that_room(sign_on, accepted):
    async with (
        listening(room="Boardroom1") as (listener, _, _),
        panel(listener) as peer,
    ):
        await peer.says(sign_on)
        assert (await peer.hears(cip.ConnectResult)).accepted is accepted


@pytest.mark.parametrize(("password", "ok"), [("secret", True), ("Secret", False)])
async def test_credentials_are_asked_for_and_checked(password, ok):
    async with (
        listening(credentials=("admin", "secret")) as (listener, seat, said),
        panel(listener) as peer,
    ):
        await peer.says(cip.Connect(0x0A), digital(1, True))
        assert (await peer.hears(cip.ConnectResult)).credentials
        await peer.says(cip.Authenticate(0x0A, "admin", password))
        assert (await peer.hears(cip.AuthResult)).ok is ok
        await peer.says(digital(2, True))
        await until(lambda: seat.panels if ok else not listener._connections)
        if ok:
            await until(lambda: said)
        assert said == ([digital(2, True)] if ok else [])


async def test_who_logs_in_twice_counts_once():
    result = cip.ConnectResult(0, 0x20, b"\x0f")
    async with (
        listening(credentials=("admin", "secret"), result=result) as (
            listener,
            seat,
            _,
        ),
        panel(listener) as peer,
    ):
        login = cip.Authenticate(0x0A, "admin", "secret")
        await peer.says(cip.Connect(0x0A), login, login, cip.Ping())
        assert (await peer.hears(cip.ConnectResult)).payload().hex() == "0000600f"
        await peer.hears(cip.Pong)
        assert len(seat.panels) == 1


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
            await peer.says(
                digital(3, True, Form.BUTTON),
                digital(4, True),
                digital(5, True),
                digital(5, False),
            )
            await until(lambda: len(said) == 4)
        await until(lambda: not seat.panels)
        # a digital that is no button stays
        assert [(each.join.number, each.value) for each in said[4:]] == [(3, False)]


async def test_a_panel_that_does_not_read_is_dropped_and_holds_nobody_up(monkeypatch):
    monkeypatch.setattr(panel_connection, "UNSENT_LIMIT", 100_000)
    async with (
        listening() as (listener, seat, _),
        signed_on(listener),
        signed_on(listener) as other,
    ):
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


async def test_a_panel_may_sign_on_again_and_counts_once():
    async with listening() as (listener, seat, _), signed_on(listener) as peer:
        await peer.says(cip.Connect(0x0A))
        await peer.hears(cip.ConnectResult)
        assert len(seat.panels) == 1


async def test_stray_bytes_between_frames_are_counted():
    async with listening() as (listener, seat, said), panel(listener) as peer:
        # crestron-cip 1.0.2 sends its sign-on as text: three bytes too many.
        stray = bytes.fromhex("01000b00000000000a40c3bfc3bfc3b101")
        await peer.says(stray, digital(1, True))
        assert (await peer.hears(cip.ConnectResult)).accepted
        await until(lambda: said == [digital(1, True)])
        assert seat.skipped == 1


async def test_legacy_text_is_put_together():
    async with listening() as (listener, _, said), signed_on(listener) as peer:
        await peer.says(
            Update(Join("serial", 1), "ab", Form.LEGACY),
            Update(Join("serial", 1), "cd", Form.LEGACY, append=True),
        )
        await until(lambda: len(said) == 2)
        assert said == [
            serial(1, text)._replace(form=Form.LEGACY) for text in ("ab", "abcd")
        ]


async def test_what_panels_and_we_say_can_be_traced(caplog):
    caplog.set_level(TRACE, "busbar.wire")
    async with listening(name="stage") as (listener, seat, _), panel(listener) as peer:
        await peer.says(cip.Connect(0x0A))
        await peer.hears(cip.ConnectResult)
        await peer.says(cip.Ping())
        await peer.hears(cip.Pong)
        (there,) = seat.panels
    assert [each[::2] for each in caplog.record_tuples if there.address in each[2]][
        :5
    ] == [
        ("busbar.wire", f"{there.address} -> 0f 00 01 02"),
        (
            "busbar.wire",
            (f"{there.address} <- 01 00 0b 00 00 00 00 00 0a 40 ff ff f1 01"),
        ),
        ("busbar.wire.stage", f"{there.address} -> 02 00 04 00 00 00 1f"),
        ("busbar.wire.stage", f"{there.address} <- 0d 00 02 00 00"),
        ("busbar.wire.stage", f"{there.address} -> 0e 00 02 00 00"),
    ]


# What stands behind a sign-on.


async def test_nothing_behind_a_sign_on_is_lost_wherever_it_is_cut():
    behind = cip.encode(START) + cip.encode(digital(3, True, Form.BUTTON))
    whole = cip.encode(cip.Connect(0x0A)) + behind
    async with listening() as (listener, seat, said):
        for cut in range(len(whole) + 1):
            said.clear()
            async with panel(listener) as peer:
                await peer.says(whole[:cut])
                await settle()
                await peer.says(whole[cut:])
                await peer.hears(QUERY)
                await until(lambda: said)
                assert said == [digital(3, True, Form.BUTTON)]
            await until(lambda: not seat.panels)
        assert seat.skipped == 0


async def test_what_stands_behind_a_sign_on_is_read_in_the_style_of_its_seat():
    style = Style(smart_offset=0)
    level = Update(Join("analog", 4, 3), 9, Form.ANALOG)
    async with listening(style=style) as (listener, _, said), panel(listener) as peer:
        await peer.says(cip.encode(cip.Connect(0x0A)) + cip.encode(level, style))
        await until(lambda: said)
        assert said == [level]


async def test_what_was_said_before_another_sign_on_is_of_the_seat_before():
    async with listening() as (listener, seat, said), signed_on(listener) as peer:
        await peer.says(digital(1, True), cip.Connect(0x0B))
        assert not (await peer.hears(cip.ConnectResult)).accepted
        await until(lambda: not seat.panels)
        assert said == [digital(1, True)]


# Limits.


async def test_who_never_signs_on_is_dropped_however_much_it_says():
    async with listening() as (listener, _, _), panel(listener) as peer:
        clock = Clock()
        await peer.hears(cip.Hello)
        for _ in range(int(SIGN_ON_LIMIT) - 1):
            await clock.advance(1)
            await peer.says(cip.Ping())
            await peer.hears(cip.Pong)
        assert listener._connections
        await clock.advance(2)
        await peer.says(cip.Ping())
        await until(lambda: not listener._connections)


async def test_a_panel_says_goodbye():
    async with listening() as (listener, seat, said), signed_on(listener) as peer:
        await peer.says(digital(3, True), cip.Disconnect(), digital(4, True))
        await until(lambda: not seat.panels)  # its connection is still open
        assert said == [digital(3, True)]


async def test_who_has_signed_on_and_speaks_may_stay():
    async with listening() as (listener, seat, _), signed_on(listener) as peer:
        for _ in range(int(SILENCE / SIGN_ON_LIMIT) * 2 + 2):
            await Clock().advance(SIGN_ON_LIMIT / 2)
            await peer.says(cip.Pong())
            await settle()
        assert seat.panels


async def test_who_sends_no_frames_at_all_is_dropped():
    async with listening() as (listener, seat, _), signed_on(listener) as peer:
        await peer.says(b"\xff" * 1000)
        await until(lambda: seat.skipped)
        assert seat.panels
        await peer.says(b"\xff" * STRAY_LIMIT)
        await until(lambda: not seat.panels)


async def test_frames_of_unknown_types_are_counted_and_no_reason_to_drop_anybody():
    async with listening() as (listener, seat, said), signed_on(listener) as peer:
        await peer.says(
            bytes.fromhex("2a000101") * (STRAY_LIMIT // 4 + 1), digital(1, True)
        )
        await until(lambda: said)
        assert seat.skipped == STRAY_LIMIT // 4 + 1
        assert seat.panels


async def test_a_panel_that_says_much_at_once_does_not_hold_others_up(monkeypatch):
    monkeypatch.setattr(panel_connection, "BATCH", 10)
    async with (
        listening() as (listener, _, said),
        signed_on(listener) as loud,
        signed_on(listener) as other,
    ):
        flood = [digital(1, number % 2 == 0) for number in range(5000)]
        await loud.says(*flood)
        await other.says(cip.Ping())
        await other.hears(cip.Pong)
        assert len(said) < len(flood) / 2
        await until(lambda: len(said) == len(flood))
        assert said == flood


# Updates.


async def test_an_update_may_be_larger_than_what_a_panel_may_leave_unread(monkeypatch):
    monkeypatch.setattr(panel_connection, "UNSENT_LIMIT", 300_000)
    async with listening() as (listener, seat, _):
        for number in range(1, 101):
            seat.drive(Join("serial", number), f"{number}" + "x" * 60_000)
        async with panel(listener) as peer:
            await peer.says(cip.Connect(0x0A), START)
            await peer.hears(cip.Command(cip.START))
            seat.drive(Join("serial", 100), "new")  # while it is under way
            await peer.hears(QUERY)
            texts = {
                each.join.number: each.value
                for each in peer.heard
                if isinstance(each, Update)
            }
            assert [texts[number] for number in (1, 99, 100)] == [
                "1" + "x" * 60_000,
                "99" + "x" * 60_000,
                "new",
            ]
            assert len(texts) == 100


async def test_a_panel_that_does_not_read_its_update_is_dropped():
    async with listening() as (listener, seat, _):
        for number in range(1, 251):
            seat.drive(Join("serial", number), "x" * 60_000)
        async with panel(listener) as peer:
            await peer.says(cip.Connect(0x0A), START)
            await until(lambda: seat.panels)
            await settle()
            await Clock().advance(DRAIN_LIMIT + 1)
            await until(lambda: not seat.panels)


async def test_an_update_ends_when_the_panel_takes_another_seat():
    other = Seat(0x0B, lambda updates: None)
    async with listening() as (listener, seat, _), panel(listener) as peer:
        listener.program.seats[0x0B] = other
        for number in range(1, 251):
            seat.drive(Join("serial", number), "x" * 60_000)
        await peer.says(cip.Connect(0x0A), START)
        await peer.hears(Update)
        await peer.says(cip.Connect(0x0B), START)
        await peer.hears(cip.ConnectResult)
        await peer.hears(START)
        await peer.hears(QUERY)
        assert sum(isinstance(each, Update) for each in peer.heard) < 250
        assert (seat.panels, len(other.panels)) == ([], 1)


async def test_each_request_for_an_update_is_answered():
    async with listening() as (listener, seat, _), signed_on(listener) as peer:
        for number in range(3):
            seat.drive(Join("digital", 1), number % 2 == 0)
            await peer.says(START)
            await peer.hears(START)
            await peer.hears(QUERY)


async def test_bytes_that_become_no_message_do_not_keep_a_panel():
    async with listening() as (listener, seat, _), signed_on(listener) as peer:
        await peer.says(bytes.fromhex("12ffff"))  # a frame that never ends
        for _ in range(int(SILENCE / 2) + 3):
            await Clock().advance(2)
            if not seat.panels:
                return
            await peer.says(cip.Ping())
            await settle()
        await until(lambda: not seat.panels)
