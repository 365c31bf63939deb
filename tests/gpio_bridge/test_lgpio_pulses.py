"""Software pulses, on a module that keeps the calls to lgpio."""

import asyncio
from pathlib import Path

import pytest

from busbar.errors import DeviceRefused
from busbar.testing.fakes import Clock, settle
from gpio_bridge.backends import lgpio_pulses
from gpio_bridge.backends.lgpio_pulses import SoftwarePulses, steps
from gpio_bridge.chip import Pulse


class Error(Exception):
    __module__ = "lgpio"


class Lgpio:
    """The functions that are used; every pulse train and wave that was queued."""

    TX_PWM, TX_WAVE = 0, 1
    exceptions = False

    def __init__(self, busy=()):
        self.calls, self.queue, self.running, self._taken = [], 0, False, busy

    def gpiochip_open(self, number):
        self.calls.append(("open", number))
        return 7

    def gpiochip_close(self, handle):
        self.calls.append(("close", handle))

    def gpio_claim_output(self, handle, gpio, level):
        if gpio in self._taken:
            raise Error("GPIO busy")

    def tx_pulse(self, handle, gpio, on, off, offset=0, cycles=0):
        self.calls.append(("pulse", on, off, cycles))
        self.running = on > 0

    def pulse(self, bits, mask, delay):
        return bits, mask, delay

    def tx_wave(self, handle, gpio, wave):
        self.calls.append(("wave", wave))
        self.queue += 1

    def tx_room(self, handle, gpio, kind):
        return 10 - self.queue

    def tx_busy(self, handle, gpio, kind):
        if kind == self.TX_WAVE:
            self.queue = max(0, self.queue - 1)
            return self.queue
        return self.running


def opened(module):
    return SoftwarePulses(module, Path("/dev/gpiochip0"), 17)


def test_pulses_become_steps_of_level_and_microseconds():
    one = [(0, 1, 1000), (1, 1, 500), (0, 1, 1500), (1, 1, 1000), (0, 1, 16000)]
    assert steps(0.02, [Pulse(0.003, 0.001), Pulse(0.001, 0.0005)]) == one * 10
    assert steps(1.0, [Pulse(0.0, 1.0)]) == [(1, 1, 1_000_000)]
    assert len(steps(0.0001, [Pulse(0.00001, 0.00001)])) <= lgpio_pulses.STEPS_LIMIT


@pytest.mark.parametrize(
    "pulses", [[(0.0, 0.003), (0.002, 0.001)], [(0.019, 0.002)], [(0.0, 0.0)]]
)
def test_pulses_that_overlap_or_leave_the_period_are_refused(pulses):
    with pytest.raises(DeviceRefused, match="overlaps another, or leaves the subcycle"):
        steps(0.02, [Pulse(*each) for each in pulses])


async def test_one_pulse_a_period_is_left_to_lgpio_and_stopped_without_a_cut():
    module = Lgpio()
    servo = opened(module)
    await servo.repeat(0.02, [Pulse(0.0, 0.0015)])
    await servo.repeat(0.02, [Pulse(0.0, 0.002)])
    await servo.close()
    assert module.calls == [
        ("open", 0),
        ("pulse", 1500, 18500, 0),
        ("pulse", 2000, 18000, 0),
        ("pulse", 0, 20000, 1),
        ("close", 7),
    ]


async def test_several_pulses_are_fed_ahead_until_they_are_stopped():
    module, clock = Lgpio(), Clock()
    line = opened(module)
    await line.repeat(0.02, [Pulse(0.001, 0.001), Pulse(0.004, 0.001)])
    await settle()
    assert module.queue == lgpio_pulses.AHEAD
    module.queue = 0
    await clock.advance(0.1)
    assert module.queue == lgpio_pulses.AHEAD
    stopping = asyncio.create_task(line.close())
    await clock.advance(1)
    await stopping
    waves = [each for each in module.calls if each[0] == "wave"]
    assert len(waves) >= 2 * lgpio_pulses.AHEAD
    assert module.calls[-1] == ("close", 7)


async def test_what_is_faster_than_lgpio_promises_is_refused_and_what_runs_goes_on():
    module = Lgpio()
    line = opened(module)
    await line.repeat(0.0001, [Pulse(0.0, 0.00005)])
    with pytest.raises(
        DeviceRefused, match=("1e\\+06 Hz; allowed for software PWM: up to 10000")
    ):
        await line.repeat(0.000001, [Pulse(0.0, 0.0000005)])
    assert module.calls[-1] == ("pulse", 50, 50, 0)
    await line.close()


async def test_what_lgpio_refuses_is_said_and_the_chip_closed():
    module = Lgpio(busy=[17])
    with pytest.raises(DeviceRefused, match="line 17: lgpio: GPIO busy"):
        opened(module)
    assert module.calls[-1] == ("close", 7)


def test_without_lgpio_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "lgpio", None)
    with pytest.raises(DeviceRefused, match="the extra `lgpio` of busbar-gpio-bridge"):
        lgpio_pulses.load()


async def test_what_is_fed_ends_before_a_single_pulse_begins():
    module, clock = Lgpio(), Clock()
    line = opened(module)
    await line.repeat(0.02, [Pulse(0.001, 0.001), Pulse(0.004, 0.001)])
    await settle()
    changing = asyncio.create_task(line.repeat(0.02, [Pulse(0.0, 0.001)]))
    await clock.advance(1)
    await changing
    assert (module.queue, module.calls[-1]) == (0, ("pulse", 1000, 19000, 0))
    await clock.advance(1)
    assert module.calls[-1] == ("pulse", 1000, 19000, 0)
    await line.close()


async def test_a_train_that_does_not_end_is_cut():
    module, clock = Lgpio(), Clock()
    line = opened(module)
    await line.repeat(0.02, [Pulse(0.0, 0.0015)])
    module.tx_busy = lambda handle, gpio, kind: kind == module.TX_PWM
    stopping = asyncio.create_task(line.stop())
    await clock.advance(
        lgpio_pulses.ENDING * lgpio_pulses.LOOK
        + lgpio_pulses.AHEAD * lgpio_pulses.WAVE
        + 1
    )
    await stopping
    assert module.calls[-1] == ("pulse", 0, 0, 0)


async def test_what_lgpio_refuses_while_it_is_fed_is_said_by_the_next_command():
    module = Lgpio()

    def refusing(handle, gpio, wave):
        raise Error("bad pulse")

    module.tx_wave = refusing
    line = opened(module)
    await line.repeat(0.02, [Pulse(0.001, 0.001), Pulse(0.004, 0.001)])
    await settle()
    with pytest.raises(DeviceRefused, match="line 17: lgpio: bad pulse"):
        await line.stop()
    await line.close()
