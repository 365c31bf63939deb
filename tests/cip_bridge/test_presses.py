"""What one panel holds pressed."""

from busbar.codecs.cip import Form, Join
from busbar.testing.fakes import Clock
from cip_bridge.processor_role.presses import RELEASE, Presses
from tests.cip_bridge.peer import digital

ONE, TWO = Join("digital", 1), Join("digital", 2)


async def test_a_button_ends_when_it_is_not_repeated_and_a_plain_digital_does_not():
    ended, clock = [], Clock()
    presses = Presses(ended.append)
    presses.watch(digital(1, True, Form.BUTTON))
    presses.watch(digital(2, True))
    assert [
        presses.holds(ONE),
        presses.holds(TWO),
        presses.repeats(ONE),
        presses.repeats(TWO),
    ] == [
        True,
        True,
        True,
        False,
    ]
    for _ in range(4):
        await clock.advance(RELEASE / 2)
        presses.watch(digital(1, True, Form.BUTTON))
    assert ended == []
    await clock.advance(RELEASE + 0.5)
    assert ended == [ONE]
    assert (presses.holds(ONE), presses.holds(TWO)) == (False, True)


async def test_what_is_released_or_cleared_does_not_end_later():
    ended = []
    presses = Presses(ended.append)
    for number in (1, 2):
        presses.watch(digital(number, True, Form.BUTTON))
    presses.watch(digital(1, False, Form.BUTTON))
    assert presses.clear() == [TWO]
    assert presses.clear() == []
    await Clock().advance(RELEASE * 2)
    assert ended == []


async def test_a_button_that_becomes_a_plain_digital_is_not_timed_any_longer():
    ended = []
    presses = Presses(ended.append)
    presses.watch(digital(1, True, Form.BUTTON))
    presses.watch(digital(1, True))
    await Clock().advance(RELEASE * 2)
    assert (ended, presses.holds(ONE), presses.clear()) == ([], True, [])
