"""One suite for all back ends.

On gpiod and RPi.GPIO as `fakes` has them, and on the simulated chip itself.
"""

import asyncio
from pathlib import Path

import pytest

from busbar.errors import DeviceRefused, UnknownTarget
from busbar.testing.fakes import Clock, settle, until
from gpio_bridge.backends import libgpiod, rpigpio
from gpio_bridge.backends.rpigpio import RpiGpioChip
from gpio_bridge.backends.sim import SimChip
from gpio_bridge.chip import LineSettings, NoEdges, Pulse
from tests.gpio_bridge import fakes

IN, OUT = LineSettings("in", "off"), LineSettings("out")


class Bench:
    """One back end and the simulated chip under it."""

    def __init__(self, kind, monkeypatch):
        self.kind, self.sim = kind, SimChip(label="pinctrl-bcm2711")
        if kind == "gpiod":
            self.fake = fakes.Chip(self.sim)
            monkeypatch.setattr(libgpiod.gpiod, "Chip", lambda path: self.fake)
            self.chip = libgpiod.KernelChip(Path("/dev/gpiochip0"))
        elif kind == "rpigpio":
            self.chip = RpiGpioChip(fakes.RpiGpio(self.sim))
        else:
            self.chip = self.sim
        self.edges = []

    def on_edges(self, edges):
        self.edges += edges

    async def come(self, count):
        await until(lambda: len(self.edges) >= count, f"{count} edges")

    @property
    def exact(self):
        return self.kind != "rpigpio"


@pytest.fixture(params=["gpiod", "rpigpio", "sim"])
async def bench(request, monkeypatch):
    made = Bench(request.param, monkeypatch)
    yield made
    await made.chip.close()


async def test_an_input_tells_its_value_and_its_edges_in_order(bench):
    bench.sim.drive(17, True)
    request = await bench.chip.request(
        {17: LineSettings("in", "off", edges=True)}, bench.on_edges
    )
    assert await request.read(17) is True
    for count, level in enumerate((False, True, False), 1):
        bench.sim.drive(17, level)
        await bench.come(count)
    assert [(each.offset, each.value, each.seq) for each in bench.edges] == [
        (17, False, 1),
        (17, True, 2),
        (17, False, 3),
    ]
    assert sorted(each.time for each in bench.edges) == [
        each.time for each in bench.edges
    ]
    assert await request.read(17) is False


async def test_active_low_turns_values_and_edges_over(bench):
    request = await bench.chip.request(
        {17: LineSettings("in", "off", active_low=True, edges=True)}, bench.on_edges
    )
    assert await request.read(17) is True
    bench.sim.drive(17, True)
    await bench.come(1)
    assert bench.edges[0].value is False
    lamp = await bench.chip.request(
        {27: LineSettings("out", active_low=True, value=False)}
    )
    assert bench.sim.level(27) is True
    await lamp.write(27, True)
    assert (bench.sim.level(27), await lamp.read(27)) == (False, True)


@pytest.mark.parametrize(("pull", "level"), [("up", True), ("down", False)])
async def test_a_pull_decides_where_nobody_drives(bench, pull, level):
    request = await bench.chip.request(
        {4: LineSettings("in", "down" if pull == "up" else "up")}
    )
    await request.configure({4: LineSettings("in", pull)})
    assert await request.read(4) is level
    assert bench.chip.info(4).pull == pull


async def test_an_output_has_its_value_from_the_first_moment_and_keeps_it_after_release(
    bench,
):
    request = await bench.chip.request({27: LineSettings("out", value=True)})
    assert bench.sim.level(27) is True
    await request.write(27, False)
    assert (bench.sim.level(27), await request.read(27)) == (False, False)
    await request.write(27, True)
    await request.release()
    assert bench.sim.level(27) is True


async def test_as_is_reads_an_output_unchanged_then_takes_it_over_without_an_edge(
    bench,
):
    first = await bench.chip.request({27: LineSettings("out", value=True)})
    await first.release()
    levels = []
    watch = SimChip()
    watch.wire(0, bench.sim, 27)
    await watch.request({0: LineSettings("in", edges=True)}, levels.extend)
    second = await bench.chip.request({27: LineSettings()})
    assert await second.read(27) is True
    await second.configure({27: LineSettings("out", value=True)})
    await second.release()
    assert bench.sim.info(27).direction == "out"
    assert levels == []


async def test_a_line_of_ours_is_taken_once_and_given_back(bench):
    request = await bench.chip.request({5: IN})
    assert (bench.chip.info(5).used, bench.chip.info(5).consumer) == (True, "busbar")
    with pytest.raises(DeviceRefused, match=r"line 5 is busy: 'busbar' holds it"):
        await bench.chip.request({5: IN})
    await request.release()
    assert not bench.chip.info(5).used
    await bench.chip.request({5: IN})


async def test_who_holds_a_line_is_said(bench):
    bench.sim.occupy(7, "spi0 CS1")
    with pytest.raises(DeviceRefused, match="busy"):
        await bench.chip.request({7: IN})


async def test_a_line_that_is_not_there_is_refused_with_what_is(bench):
    with pytest.raises(DeviceRefused, match="no line 99; allowed: 0 to 53"):
        await bench.chip.request({99: IN})


async def test_lines_have_names(bench):
    assert bench.chip.offset("GPIO22") == 22
    assert bench.chip.info(22).name == "GPIO22"
    with pytest.raises(UnknownTarget, match=r"GPIO99.*GPIO0"):
        bench.chip.offset("GPIO99")


async def test_settling_leaves_out_what_bounces(bench):
    clock = Clock()
    request = await bench.chip.request(
        {17: LineSettings("in", "off", edges=True, debounce=0.5)}, bench.on_edges
    )
    for level in (True, False, True, False, True):
        bench.sim.drive(17, level)
    assert (bench.edges, await request.read(17)) == ([], False)

    async def passed():
        await clock.advance(0.3)
        return len(bench.edges) == 1

    await until(passed, "the level has settled")
    assert [each.value for each in bench.edges] == [True]
    assert bench.edges[0].seq == 1
    assert await request.read(17) is True


async def test_changes_of_lines_are_told(bench):
    changes = []
    bench.chip.watch(changes.append)
    request = await bench.chip.request({8: IN})
    await until(
        lambda: any(each.offset == 8 and each.used for each in changes),
        "that it is taken",
    )
    await request.release()
    await until(
        lambda: changes[-1].offset == 8 and not changes[-1].used,
        "that it is given back",
    )


async def test_a_line_without_an_interrupt_says_so(monkeypatch):
    for kind in ("gpiod", "sim"):
        bench = Bench(kind, monkeypatch)
        bench.sim.pins[3].has_interrupt = False
        with pytest.raises(NoEdges):
            await bench.chip.request(
                {3: LineSettings("in", edges=True)}, bench.on_edges
            )
        await bench.chip.close()


async def test_open_drain_lets_go_for_high_and_is_read_as_it_is(monkeypatch):
    for kind in ("gpiod", "sim"):
        bench = Bench(kind, monkeypatch)
        request = await bench.chip.request(
            {2: LineSettings("out", "up", "open_drain", value=True)}
        )
        assert await request.read(2) is True
        bench.sim.drive(2, False)
        assert await request.read(2) is False
        await bench.chip.close()


async def test_rpigpio_has_no_open_drain(monkeypatch):
    bench = Bench("rpigpio", monkeypatch)
    with pytest.raises(DeviceRefused, match="push-pull outputs only, not open_drain"):
        await bench.chip.request({2: LineSettings("out", drive="open_drain")})
    assert not bench.chip.info(2).used
    await bench.chip.close()


async def test_rpigpio_reads_no_line_that_it_would_have_to_change(monkeypatch):
    bench = Bench("rpigpio", monkeypatch)
    bench.chip.module.functions[2] = 42  # RPi.GPIO's number for I2C
    with pytest.raises(DeviceRefused, match="line 2 is neither input nor output now"):
        await bench.chip.request({2: LineSettings()})
    assert (bench.sim.info(2).direction, bench.chip.info(2).used) == ("in", False)
    await bench.chip.close()


async def test_rpigpio_counts_what_it_missed(monkeypatch):
    bench = Bench("rpigpio", monkeypatch)
    await bench.chip.request(
        {17: LineSettings("in", "off", edges=True)}, bench.on_edges
    )
    bench.sim.pins[17].request.tell(None)  # a callback after a pulse too short to see
    await bench.come(1)
    assert (bench.edges[0].value, bench.edges[0].seq) == (False, 2)
    await bench.chip.close()


async def test_rpigpio_tells_nothing_of_a_line_that_was_given_back(monkeypatch):
    bench = Bench("rpigpio", monkeypatch)
    request = await bench.chip.request(
        {17: LineSettings("in", "off", edges=True)}, bench.on_edges
    )
    late = bench.sim.pins[17].request
    await request.release()
    late.tell(None)  # a callback that was under way
    await settle()
    assert bench.edges == []
    await bench.chip.close()


async def test_rpigpio_drops_what_waits_too_long_and_leaves_a_gap(monkeypatch):
    monkeypatch.setattr(rpigpio, "WAITING", 2)
    bench = Bench("rpigpio", monkeypatch)
    await bench.chip.request(
        {17: LineSettings("in", "off", edges=True)}, bench.on_edges
    )
    for level in (True, False, True, False):
        bench.sim.drive(17, level)
    await bench.come(2)
    bench.sim.drive(17, True)
    await bench.come(3)
    assert [each.seq for each in bench.edges] == [1, 2, 5]
    await bench.chip.close()


async def test_rpigpio_turns_the_values_of_its_callbacks_over(monkeypatch):
    bench = Bench("rpigpio", monkeypatch)
    low = LineSettings("in", "off", active_low=True, edges=True, debounce=0.5)
    await bench.chip.request({17: low}, bench.on_edges)
    clock = Clock()
    for count, level in enumerate((True, False, True), 1):
        bench.sim.drive(17, level)
        await settle()

        async def come(count=count):
            await clock.advance(0.6)
            return len(bench.edges) == count

        await until(come, f"{count} edges")
    assert [(each.value, each.seq) for each in bench.edges] == [
        (False, 1),
        (True, 2),
        (False, 3),
    ]
    await bench.chip.close()


async def test_lost_edges_leave_a_gap_in_the_numbers(monkeypatch):
    for kind in ("gpiod", "sim"):
        bench = Bench(kind, monkeypatch)
        await bench.chip.request({17: LineSettings("in", edges=True)}, bench.on_edges)
        bench.sim.pins[17].lose = 2
        for level in (True, False, True):
            bench.sim.drive(17, level)
        await bench.come(1)
        assert [each.seq for each in bench.edges] == [3]
        await bench.chip.close()


async def test_rpigpio_pulses_one_a_period_and_ends_with_the_period_that_runs(
    monkeypatch,
):
    bench, clock = Bench("rpigpio", monkeypatch), Clock()
    pulses = rpigpio.RpiGpioPulses(bench.chip, 18)
    with pytest.raises(DeviceRefused, match="one pulse a period; more needs lgpio"):
        await pulses.repeat(0.02, [Pulse(0.0, 0.001), Pulse(0.005, 0.001)])
    await pulses.repeat(10.0, [Pulse(0.0, 5.0)])
    await pulses.repeat(20.0, [Pulse(0.0, 5.0)])
    (pwm,) = bench.chip.module.pwms
    stopping = asyncio.create_task(pulses.close())
    await until(lambda: pwm.calls[-1] == ("duty", 0), "the last period")
    await settle()
    assert not stopping.done()
    await clock.advance(20)
    await stopping
    assert pwm.calls == [
        ("made", 18, 0.1),
        ("start", 50.0),
        ("frequency", 0.05),
        ("duty", 25.0),
        ("duty", 0),
        ("stop",),
    ]
    await bench.chip.close()
