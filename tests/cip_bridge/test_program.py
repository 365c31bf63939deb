"""A seat: what its panels are shown, and what they say together."""

import pytest

from busbar.codecs import cip
from busbar.codecs.cip import Form, Join
from busbar.errors import BadRequest, TooLarge
from busbar.testing.fakes import Clock, until
from cip_bridge import join_state
from cip_bridge.processor_role.presses import RELEASE
from cip_bridge.processor_role.program import RunningProgram, Seat
from tests.cip_bridge.panels import listening, panel, signed_on
from tests.cip_bridge.peer import START, analog, digital, serial


async def test_all_panels_of_a_seat_are_driven():
    async with (
        listening() as (listener, seat, _),
        signed_on(listener) as one,
        signed_on(listener) as other,
    ):
        seat.drive(Join("analog", 1), 99)
        await one.hears(analog(1, 99))
        await other.hears(analog(1, 99))
        seat.request_updates()
        await one.hears(START)
        await other.hears(START)


async def test_what_cannot_be_sent_changes_nothing(monkeypatch):
    monkeypatch.setattr(join_state, "JOINS_LIMIT", 1)
    async with listening() as (listener, seat, _), signed_on(listener) as peer:
        with pytest.raises(BadRequest, match="'€' at position 0"):
            seat.drive(Join("serial", 1), "€")
        seat.drive(Join("digital", 1), True)
        with pytest.raises(TooLarge):
            seat.drive(Join("digital", 2), True)
        assert seat.joins.sent.known == {Join("digital", 1): True}
        seat.drive(Join("digital", 1), False)
        await peer.hears(digital(1, False))
        assert digital(2, True) not in peer.heard


async def test_what_there_is_no_room_for_is_counted_and_not_told(monkeypatch):
    monkeypatch.setattr(join_state, "JOINS_LIMIT", 1)
    async with listening() as (listener, seat, said), signed_on(listener) as peer:
        await peer.says(serial(1, "a"), digital(2, True), serial(1, "b"))
        await until(lambda: len(said) == 2)
        assert said == [serial(1, "a"), serial(1, "b")]
        assert seat.joins.ignored == 1
    assert said == [serial(1, "a"), serial(1, "b")]  # nothing to release


def pressed(said):
    return [each.value for each in said]


PRESS, RELEASED = digital(7, True, Form.BUTTON), digital(7, False, Form.BUTTON)


async def test_a_button_is_released_when_no_panel_holds_it():
    async with listening() as (listener, seat, said), signed_on(listener) as one:
        async with signed_on(listener) as other:
            await one.says(PRESS)
            await other.says(PRESS)
            await until(lambda: len(said) == 2)
        await until(lambda: len(seat.panels) == 1)
        for _ in range(4):
            await one.says(PRESS)
            await Clock().advance(0.5)
        assert False not in pressed(said)
        await Clock().advance(RELEASE + 0.5)
        assert pressed(said)[-1] is False
        assert pressed(said).count(False) == 1


async def test_the_release_of_one_panel_is_not_that_of_another():
    async with (
        listening() as (listener, _, said),
        signed_on(listener) as one,
        signed_on(listener) as other,
    ):
        await one.says(PRESS)
        await until(lambda: said)
        await other.says(PRESS, RELEASED, analog(1, 1))
        await until(lambda: analog(1, 1) in said)
        await one.says(RELEASED)
        await until(lambda: said[-1] == RELEASED)
        assert [each for each in said if each.join.kind == "digital"] == [
            PRESS,
            PRESS,
            RELEASED,
        ]


async def test_a_maintained_digital_stays_when_all_who_set_it_have_gone():
    async with listening() as (listener, seat, said):
        async with signed_on(listener) as one:
            await one.says(digital(8, True), digital(9, True, Form.BUTTON))
            await until(lambda: len(said) == 2)
        await until(lambda: not seat.panels)
        assert said[2:] == [digital(9, False)]
        assert seat.joins.get(Join("digital", 8)) is True
        async with signed_on(listener) as other:
            await other.says(digital(8, False))
            await until(lambda: said[-1] == digital(8, False))


async def test_the_last_word_on_a_plain_digital_counts_whoever_says_it():
    async with (
        listening() as (listener, _, said),
        signed_on(listener) as one,
        signed_on(listener) as other,
    ):
        await one.says(digital(8, True))
        await until(lambda: said)
        await other.says(digital(8, False))
        await until(lambda: pressed(said) == [True, False])


async def test_a_program_knows_its_seats():
    seat = Seat(0x0A, lambda updates: None)
    program = RunningProgram([seat])
    assert (program.find(0x0A), program.find(0x0B), program.state) == (
        seat,
        None,
        cip.READY,
    )


async def test_things_that_mean_nothing_are_counted_for_the_seat_they_came_from():
    async with (
        listening() as (listener, seat, _),
        panel(listener) as stranger,
        signed_on(listener) as peer,
    ):
        await stranger.says(bytes.fromhex("2a000101"))
        await peer.says(bytes.fromhex("2a000101"))
        await until(lambda: seat.skipped == 1)
        await stranger.says(cip.Ping())
        await stranger.hears(cip.Pong)
        assert seat.skipped == 1
