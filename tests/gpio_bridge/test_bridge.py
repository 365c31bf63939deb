"""The bridge on simulated chips: what a client of the bus sees and can do."""

import asyncio
import dataclasses
import errno
from contextlib import asynccontextmanager

import pytest

from busbar.config import loader
from busbar.errors import ConfigError
from busbar.testing.fakes import STEP, settle, until
from gpio_bridge import bridge, session
from gpio_bridge.backends import libgpiod, rpigpio
from gpio_bridge.backends.sim import SimChip
from gpio_bridge.bridge import SERVICE, SimulatedChips
from gpio_bridge.chip import Edge, LineSettings
from tests.gpio_bridge import fakes
from tests.running import running

HEADER = """
bridge: {name: pi1}
devices:
  - name: header
    backend: sim
    allow_force: true
    lines:
      - name: door
        line: 17
        direction: in
        pull: up
        active_low: true
        debounce: {mode: settle, time: 0.02}
      - name: bell
        line: 23
        direction: in
        press: {long: 1.0, double: 0.3, hold: 0.2}
      - name: quick
        line: 24
        direction: in
        edges: rising
        debounce: {mode: lockout, time: 0.5}
      - {name: lamp, line: 27, direction: out}
      - {name: fan, line: 18, direction: pwm, at_exit: keep, on_broker_loss: "off"}
      - {name: pan, line: 13, direction: servo}
      - {name: flow, line: 22, direction: counter, unit: l, scale: 0.5}
      - {name: wind, line: 25, direction: frequency, interval: 0.5}
      - {name: knob, line: [5, 6], direction: encoder}
"""


class Bench:
    def __init__(self, bus, chips):
        self.bus, self.chips = bus, chips
        self.chip = chips.get("header")

    def events(self, name):
        return self.bus.events("header", name)

    async def ok(self, command, **arguments):
        reply = await self.bus.call("header", command, arguments)
        assert reply["ok"], reply
        return reply["result"]

    async def refused(self, command, code, **arguments):
        reply = await self.bus.call("header", command, arguments)
        assert not reply["ok"], reply
        assert reply["error"]["code"] == code, reply
        return reply["error"]["message"]

    async def seen(self, name, count, fits=lambda event: True):
        """Wait for so many events, while the clock runs on."""

        async def there():
            await self.bus.clock.advance(0.05)
            return len(self.found(name, fits)) >= count

        await until(there, f"{count} of event/{name}")
        return self.found(name, fits)

    def found(self, name, fits):
        return [each for each in self.events(name) if fits(each)]


@asynccontextmanager
async def stage(configuration=HEADER, before=lambda chips: None):
    """A bridge with its simulated chips, which `before` can prepare."""
    kept = {}

    def links(config):
        simulated = SimulatedChips.of(config.devices)
        if not kept:
            before(simulated.chips)
            kept.update(simulated.chips)
        return [bridge.link(each, simulated) for each in config.devices]

    async with running(dataclasses.replace(SERVICE, links=links), configuration) as bus:
        await bus.status("header", "online")
        yield Bench(bus, kept)


async def test_an_edge_is_an_event_with_the_kernels_stamp_and_the_state_follows():
    async with stage() as bench:
        assert await bench.bus.value("header", "door") is False
        bench.chip.drive(17, False)
        (edge,) = await bench.seen("edge", 1)
        assert {
            key: edge[key]
            for key in ("line", "edge", "value", "line_seq", "lost", "seq")
        } == {
            "line": "door",
            "edge": "rising",
            "value": True,
            "line_seq": 1,
            "lost": 0,
            "seq": 1,
        }
        assert isinstance(edge["timestamp_ns"], int)
        assert await bench.bus.value("header", "door", lambda value: value) is True
        (change,) = [
            each
            for each in bench.bus.changes("header")
            if each["path"] == "door" and each.get("value")
        ]
        assert change["time"] == edge["time"]


async def test_lost_edges_are_counted_and_the_state_is_true():
    async with stage() as bench:
        bench.chip.pins[23].lose = 3
        for level in (True, False, True, False):
            bench.chip.drive(23, level)
        (edge,) = await bench.seen("edge", 1)
        assert (edge["line_seq"], edge["lost"]) == (4, 3)
        assert await bench.bus.value("header", "_lost", lambda lost: lost) == {
            "bell": 3
        }
        assert await bench.bus.value("header", "bell") is False


async def test_after_a_loss_the_level_is_read(monkeypatch):
    monkeypatch.setattr(session, "AGAIN", 3600.0)  # only the loss makes it look
    async with stage() as bench:
        pin = bench.chip.pins[23]
        pin.lose = 1
        bench.chip.drive(23, True)
        # seen with a gap before it; then comes one more that is lost
        bench.chip.drive(23, False)
        pin.lose = 1
        bench.chip.drive(23, True)
        assert await bench.bus.value("header", "bell", lambda value: value) is True


async def test_a_loss_that_nothing_follows_is_found_by_looking():
    async with stage() as bench:
        bench.chip.pins[23].lose = 1
        bench.chip.drive(23, True)
        await bench.bus.clock.advance(11)
        assert await bench.bus.value("header", "bell", lambda value: value) is True


async def test_lockout_tells_the_first_edge_only_and_the_state_ends_at_the_true_level():
    async with stage() as bench:
        bench.chip.drive(24, True)
        bench.chip.drive(24, False)
        assert await bench.bus.value("header", "quick", lambda value: value) is True
        await bench.bus.clock.advance(1)
        assert (
            await bench.bus.value("header", "quick", lambda value: not value) is False
        )
        assert [each["edge"] for each in bench.events("edge")] == ["rising"]


async def test_a_finger_clicks_double_clicks_presses_long_and_holds():
    async with stage() as bench:

        async def press(seconds):
            bench.chip.drive(23, True)
            await bench.bus.clock.advance(seconds)
            bench.chip.drive(23, False)

        await press(0.1)
        await bench.bus.clock.advance(0.5)
        await press(0.1)
        await press(0.1)
        kinds = [each["kind"] for each in await bench.seen("press", 2)]
        assert kinds == ["click", "double"]
        await press(2)
        presses = await bench.seen("press", 4, lambda each: each["kind"] != "click")
        assert "long" in [each["kind"] for each in presses]
        holds = [each for each in presses if each["kind"] == "hold"]
        assert holds[0]["held"] >= 0.5
        assert all(each["line"] == "bell" for each in presses)


async def test_a_counter_counts_scales_and_can_be_set():
    async with stage() as bench:
        for _ in range(10):
            bench.chip.drive(22, True)
            bench.chip.drive(22, False)
        await bench.bus.clock.advance(1.5)
        assert await bench.bus.value("header", "flow", bool) == 5.0
        assert (await bench.bus.set("header", "flow", 100))["result"] == 100
        bench.chip.drive(22, True)
        await bench.ok("refresh")
        assert (
            await bench.bus.value("header", "flow", lambda value: value > 100) == 100.5
        )
        info = bench.bus.retained("header", "info")
        assert info["properties"]["flow/rate"]["unit"] == "l/s"


async def test_a_counter_counts_lost_edges_too():
    async with stage() as bench:
        bench.chip.pins[22].lose = 5
        for level in (True, False, True, False, True, False, True):
            bench.chip.drive(22, level)
        await bench.ok("refresh")
        assert await bench.bus.value("header", "flow", bool) == 2.0


async def test_a_counter_counts_a_lost_edge_that_it_found_by_looking():
    async with stage() as bench:
        pin = bench.chip.pins[22]
        pin.lose = 1
        bench.chip.drive(22, True)
        await bench.ok("refresh")
        bench.chip.drive(22, False)
        await bench.ok("refresh")
        assert await bench.bus.value("header", "flow", bool) == 0.5
        assert bench.bus.good("header")["_lost"] == {"flow": 1}


async def test_pulses_too_short_for_the_kernel_to_read_are_counted_and_told_as_lost():
    async with stage() as bench:
        for line in (22, 23):
            request = bench.chip.pins[line].request
            for number, value in enumerate((True, False, False), 1):
                request.tell(Edge(line, value, number, number))
        await bench.ok("refresh")
        assert (
            await bench.bus.value("header", "flow", lambda value: value == 1.0) == 1.0
        )
        assert [each["lost"] for each in await bench.seen("edge", 3)] == [0, 0, 1]
        assert bench.bus.good("header")["_lost"] == {"flow": 1, "bell": 1}


async def test_a_long_total_keeps_its_last_pulse():
    async with stage() as bench:
        assert (await bench.bus.set("header", "flow", 123456789012))["ok"]
        bench.chip.drive(22, True)
        await bench.ok("refresh")
        assert (
            await bench.bus.value("header", "flow", lambda value: value % 1)
            == 123456789012.5
        )


async def test_a_frequency_counts_lost_edges_too():
    async with stage(HEADER.replace("interval: 0.5", "interval: 10")) as bench:
        for number in range(11):
            bench.chip.pins[25].lose = 2 if 0 < number < 10 else 0
            for level in (True, False):
                bench.chip.drive(25, level)
            await bench.bus.clock.advance(0.1)
        await bench.ok("refresh")
        assert 9 < await bench.bus.value("header", "wind", bool) < 11


async def test_a_frequency_is_measured_and_ends_at_zero():
    async with stage() as bench:

        async def blows():
            bench.chip.drive(25, True)
            bench.chip.drive(25, False)
            await bench.bus.clock.advance(0.25)
            return bench.bus.good("header").get("wind", 0) > 1

        await until(blows, "a frequency")

        async def calm():
            await bench.bus.clock.advance(1)
            return bench.bus.good("header")["wind"] == 0

        await until(calm, "no frequency")


async def test_an_encoder_turns():
    async with stage() as bench:
        for line, level in ((5, True), (6, True), (5, False), (6, False)):
            bench.chip.drive(line, level)
        (turn,) = await bench.seen("turn", 1)
        assert (turn["line"], turn["steps"], turn["position"]) == ("knob", 1, 1)
        assert (await bench.bus.set("header", "knob", 10))["ok"]
        for line, level in ((6, True), (5, True), (6, False), (5, False)):
            bench.chip.drive(line, level)
        assert await bench.bus.value("header", "knob", lambda value: value == 9) == 9


async def test_an_output_is_set_turned_over_and_read_back():
    async with stage() as bench:
        assert (await bench.bus.set("header", "lamp", "on"))["result"] is True
        assert bench.chip.level(27) is True
        assert await bench.ok("toggle", line="lamp") is False
        assert await bench.ok("toggle", bcm=27) is True
        assert await bench.ok("toggle", board=13) is False
        assert await bench.ok("toggle", line=27) is True
        assert await bench.bus.value("header", "lamp", bool) is True


async def test_a_pulse_is_done_when_it_is_over_and_blinking_goes_on_by_itself():
    async with stage() as bench:
        calling = asyncio.create_task(
            bench.bus.call(
                "header", "pulse", {"line": "lamp", "seconds": 1, "count": 2}
            )
        )
        levels = []

        async def over():
            levels.append(bench.chip.level(27))
            await bench.bus.clock.advance(0.25)
            return calling.done()

        await until(over, "the end of the pulse")
        assert (await calling)["ok"]
        values = [
            each["value"]
            for each in bench.bus.changes("header")
            if each["path"] == "lamp" and "value" in each
        ]
        assert values == [False, True, False, True, False]
        await bench.ok("blink", line="lamp", on=0.5, off=0.5)
        await until(lambda: bench.chip.level(27))
        await bench.bus.clock.advance(0.6)
        await until(lambda: not bench.chip.level(27))
        assert (await bench.bus.set("header", "lamp", True))["ok"]
        await bench.bus.clock.advance(5)
        assert bench.chip.level(27) is True


async def test_steps_that_come_late_do_not_add_up():
    async with stage() as bench:
        step = 1.5 * STEP  # every second one falls between two moments of the clock
        await bench.ok("blink", line="lamp", on=step, off=step)
        writes, write = [], bench.chip.pins[27].write
        bench.chip.pins[27].write = lambda value: (writes.append(value), write(value))
        await bench.bus.clock.advance(300 * STEP)
        assert len(writes) >= 190  # of 200; if they added up, 150


async def test_a_timed_value_goes_back_and_a_stop_leaves_it():
    async with stage() as bench:
        await bench.ok("timed", line="lamp", value=True, seconds=5)
        assert bench.chip.level(27) is True
        await bench.bus.clock.advance(6)
        await until(lambda: not bench.chip.level(27))
        await bench.ok("timed", line="lamp", value=True, seconds=5)
        await bench.ok("stop", line="lamp")
        await bench.bus.clock.advance(6)
        assert bench.chip.level(27) is True


async def test_another_command_takes_a_pulse_over_and_a_cancel_ends_it_off():
    async with stage() as bench:
        calling = asyncio.create_task(
            bench.bus.call("header", "pulse", {"line": "lamp", "seconds": 60})
        )
        await until(lambda: bench.chip.level(27))
        assert (await bench.bus.set("header", "lamp", True))["ok"]
        reply = await calling
        assert (reply["error"]["code"], bench.chip.level(27)) == ("cancelled", True)
        arguments = {"line": "lamp", "seconds": 60, "_id": "the-pulse"}
        calling = asyncio.create_task(bench.bus.call("header", "pulse", arguments))
        await until(lambda: bench.bus.good("header").get("lamp"))
        await settle()
        assert (await bench.ok("cancel", id="the-pulse")) == {"cancelled": 1}
        await until(lambda: not bench.chip.level(27), "the end of the pulse")


async def test_pwm_and_servo_repeat_pulses_and_stop():
    async with stage() as bench:
        assert (await bench.bus.set("header", "fan", 25))["ok"]
        wave = bench.chip.waves[18]
        assert (wave.period, wave.pulses) == (0.01, ((0.0, 0.0025),))
        assert (await bench.bus.set("header", "fan/frequency", 1000))["ok"]
        assert (wave.period, wave.pulses) == (0.001, ((0.0, 0.00025),))
        await bench.ok("stop", line="fan")
        assert wave.pulses == ()
        assert (await bench.bus.set("header", "pan/angle", 45))["result"] == 45
        assert bench.chip.waves[13].pulses == ((0.0, 0.002),)
        assert await bench.bus.value("header", "pan", bool) == 2000
        assert (await bench.bus.set("header", "pan", 1500))["ok"]
        assert (
            await bench.bus.value("header", "pan/angle", lambda angle: angle == 0) == 0
        )
        assert (await bench.bus.set("header", "pan", 100))["error"][
            "code"
        ] == "out_of_range"
        assert (await bench.bus.set("header", "pan/angle", "null"))["ok"]
        assert bench.chip.waves[13].pulses == ()
        assert (await bench.bus.set("header", "fan", 101))["error"][
            "code"
        ] == "out_of_range"


async def test_pulses_are_those_of_rpio_pwm():
    async with stage() as bench:
        pulses = [{"start": 5000, "width": 1000}, {"start": 0, "width": 1000}]
        await bench.ok("pulses", line="fan", subcycle=20000, pulses=pulses)
        assert bench.chip.waves[18].pulses == ((0.0, 0.001), (0.005, 0.001))
        assert await bench.bus.value("header", "fan", bool) == 10
        assert bench.bus.good("header")["fan/frequency"] == 50
        overlapping = [{"start": 0, "width": 1000}, {"start": 500, "width": 10}]
        said = await bench.refused(
            "pulses", "bad_request", line="fan", pulses=overlapping
        )
        assert "from 500 us for 10 us overlaps" in said
        await bench.ok("pulses", line="fan", pulses=[])
        assert bench.chip.waves[18].pulses == ()
        assert "it is servo" in await bench.refused(
            "pulses", "bad_request", line="pan", pulses=[]
        )


async def test_a_line_is_set_up_released_and_cleaned_up():
    async with stage() as bench:
        assert (
            await bench.ok("setup", bcm=26, direction="out", initial="high") == "gpio26"
        )
        assert bench.chip.level(26) is True
        assert (await bench.bus.set("header", "gpio26", False))["ok"]
        await bench.bus.info("header", lambda info: "gpio26" in info["properties"])
        await bench.ok("release", line="gpio26")
        await bench.bus.info("header", lambda info: "gpio26" not in info["properties"])
        await bench.ok(
            "setup",
            line="door",
            direction="in",
            pull="down",
            edges="none",
            debounce={"time": 0.1},
        )
        await bench.ok("setup", board=7, direction="counter", name="extra")
        await bench.ok("cleanup")
        info = await bench.bus.info(
            "header", lambda info: "extra" not in info["properties"]
        )
        assert "door" in info["properties"]
        assert bench.chip.info(4).direction == "in"
        assert bench.chip.info(17).pull == "up"


async def test_a_setup_that_fails_leaves_things_as_they_were():
    async with stage() as bench:
        bench.chip.occupy(26, "spi0 CS1")
        assert "busy: 'spi0 CS1' holds it" in await bench.refused(
            "setup", "device", bcm=26, direction="in"
        )
        said = await bench.refused(
            "setup", "bad_request", bcm=4, direction="in", initial="high"
        )
        assert said == (
            "a line of direction in has no initial; it has: pull, active_low, edges, "
            "debounce, press"
        )
        said = await bench.refused(
            "setup", "bad_request", bcm=4, direction="out", initial=5
        )
        assert said.startswith("a line of direction out cannot be that: ")
        said = await bench.refused("setup", "bad_request", bcm=6, direction="in")
        assert said == "line 6 is one of two of knob; `release` that first"
        assert "there is a property 'lamp' already" in await bench.refused(
            "setup", "bad_request", bcm=4, direction="in", name="lamp"
        )
        assert "gpio26" not in (bench.bus.retained("header", "info"))["properties"]


async def test_force_reads_and_writes_lines_that_are_not_set_up():
    async with stage() as bench:
        bench.chip.drive(4, True)
        assert await bench.ok("forceinput", bcm=4) is True
        assert not bench.chip.info(4).used
        assert await bench.ok("forceinput", line="door") is False
        assert await bench.ok("forceoutput", bcm=16, value=True) is True
        assert bench.chip.level(16) is True
        assert await bench.ok("forceoutput", bcm=16, value=False) is False
        await bench.ok("release", bcm=16)
        assert "release" in await bench.refused(
            "forceoutput", "bad_request", line="door", value=True
        )
        assert "driven with pulses" in await bench.refused(
            "forceinput", "device", line="fan"
        )
        await bench.ok("set_pullupdn", line="bell", pull="up")
        assert bench.chip.info(23).pull == "up"
        assert "it is out" in await bench.refused(
            "set_pullupdn", "bad_request", line="lamp", pull="up"
        )


async def test_forceoutput_has_to_be_allowed():
    async with stage(
        HEADER.replace("allow_force: true", "allow_force: false")
    ) as bench:
        assert "allow_force: true" in await bench.refused(
            "forceoutput", "forbidden", bcm=16, value=True
        )
        assert await bench.ok("forceinput", bcm=16) is False


async def test_which_line_is_said_in_one_way():
    async with stage() as bench:
        assert "one of line, bcm and board" in await bench.refused(
            "toggle", "bad_request"
        )
        assert "one of line, bcm and board" in await bench.refused(
            "toggle", "bad_request", bcm=27, board=13
        )
        assert "wrong direction: it is in" in await bench.refused(
            "toggle", "bad_request", line="door"
        )
        assert "line 4 is not set up" in await bench.refused(
            "toggle", "bad_request", bcm=4
        )
        said = await bench.refused("toggle", "unknown", line="lmap")
        assert ("no line 'lmap' on header; there are: GPIO0, ") in said.replace(
            "sim", "header"
        )
        assert said.endswith(
            "set up are: door, bell, quick, lamp, fan, pan, flow, wind, knob"
        )
        assert await bench.ok("resolve", channel=22, numbering="BOARD") == {
            "bcm": 25,
            "board": 22,
            "name": "GPIO25",
            "used_as": "wind",
        }
        assert (await bench.ok("resolve", channel="GPIO8"))["board"] == 24


async def test_the_board_is_known_and_every_pin_is_seen():
    async with stage() as bench:
        about = await bench.ok("sysinfo")
        assert (about["model"], about["memory"], about["generation"]) == ("4B", 4096, 3)
        assert (await bench.ok("version"))["gpiod"]
        bench.chip.drive(2, True)
        rows = {row["line"]: row for row in await bench.ok("inspect", levels=True)}
        assert len(rows) == 26
        assert (rows[2]["level"], rows[2]["pin"], rows[2]["consumer"]) == (True, 3, "")
        assert (rows[17]["used_as"], rows[17]["pull"], rows[17]["function"]) == (
            "door",
            "up",
            "in",
        )
        assert (await bench.ok("gpio_function", bcm=27)) == {
            "function": "out",
            "reason": None,
        }
        bench.chip.occupy(10, "spi0")

        for _ in range(3):
            await bench.bus.clock.advance(0.5)
            await settle()
        live = bench.bus.good("header")["_inspect"]
        assert next(row for row in live if row["line"] == 10)["consumer"] == "spi0"


async def test_the_view_shows_levels_at_the_pin_and_follows_every_line():
    async with stage() as bench:

        async def row(line, **wanted):
            await bench.bus.clock.advance(1.1)
            found = next(
                each
                for each in bench.bus.good("header")["_inspect"]
                if each["line"] == line
            )
            return wanted.items() <= found.items()

        assert await bench.bus.value("header", "door") is False
        assert await row(17, level=True, used_as="door")  # active low
        await bench.ok("setup", bcm=26, direction="out", active_low=True, initial="on")
        assert await row(26, level=False, function="out")
        for line, name in ((22, "flow"), (25, "wind"), (5, "knob"), (6, "knob")):
            assert await row(line, level=False, used_as=name)
            bench.chip.drive(line, True)
            await until(lambda line=line: row(line, level=True), f"the level of {name}")
        assert await row(18, level=None, function="out", used_as="fan")


BUSY = """
bridge: {name: pi1}
devices:
  - name: header
    backend: sim
    lines:
      - {name: a, line: 1, direction: in}
      - {name: b, line: 2, direction: out}
      - {name: c, line: 99, direction: in}
"""


async def test_a_line_that_is_busy_is_bad_and_taken_when_it_is_free_while_others_work(
    monkeypatch,
):
    # only the line that is free makes it look
    monkeypatch.setattr(session, "AGAIN", 3600.0)
    async with stage(
        BUSY, lambda chips: chips["header"].occupy(1, "spi0 CS1")
    ) as bench:
        assert "a: line 1 is busy: 'spi0 CS1' holds it" in await bench.bus.bad(
            "header", "a", "device"
        )
        assert "no line 99; allowed: 0 to 53" in await bench.bus.bad(
            "header", "c", "out_of_range"
        )
        assert (await bench.bus.set("header", "b", True))["ok"]
        bench.chip.occupy(1, "")
        assert await bench.bus.value("header", "a") is False


async def test_a_line_without_an_interrupt_is_looked_at():
    def blind(chips):
        chips["header"].pins[1].has_interrupt = False

    async with stage(BUSY, blind) as bench:
        bench.chip.drive(1, True)

        async def seen():
            await bench.bus.clock.advance(0.1)
            return bench.bus.good("header").get("a")

        await until(seen, "the level")
        assert bench.events("edge")[0]["edge"] == "rising"


EXITS = """
bridge: {name: pi1}
devices:
  - name: header
    backend: sim
    broker_grace: 2
    lines:
      - {name: kept, line: 1, direction: out, initial: keep}
      - name: high
        line: 2
        direction: out
        initial: high
        active_low: true
        at_exit: low
        on_broker_loss: "on"
      - name: fan
        line: 3
        direction: pwm
        initial: 50
        at_exit: keep
        on_broker_loss: "off"
      - name: drain
        line: 4
        direction: out
        drive: open_drain
        pull: up
        initial: "on"
"""


async def test_at_start_and_exit_outputs_are_as_configured_and_kept_ones_show_no_edge():
    edges = []
    chips = {}

    def driven(made):
        chip = made["header"]
        chip.pins[1].configure(
            LineSettings("out", value=True)
        )  # by a program before us
        witness = SimChip("witness")
        witness.wire(0, chip, 1)
        witness.pins[0].take(
            LineSettings("in", edges=True),
            type("Request", (), {"tell": staticmethod(edges.append)}),
        )
        chips.update(made)

    async with stage(EXITS, driven) as bench:
        assert await bench.bus.value("header", "kept") is True
        assert await bench.bus.value("header", "high") is False
        assert bench.chip.level(2) is True
        bench.chip.drive(4, False)  # pulled down from outside
        assert (await bench.bus.set("header", "drain", True))["result"] is False
    assert (chips["header"].level(1), edges) == (True, [])
    assert chips["header"].level(2) is False
    assert chips["header"].waves[3].pulses == ((0.0, 0.005),)


async def test_when_the_broker_is_lost_outputs_go_where_the_configuration_says():
    async with stage(EXITS) as bench:
        bench.bus.broker.reachable = False
        bench.bus.broker.cut()
        await bench.bus.clock.advance(1)
        assert bench.chip.level(2) is True  # not yet

        async def gone():
            await bench.bus.clock.advance(1)
            return not bench.chip.level(2) and bench.chip.waves[3].pulses == ()

        await until(gone, "on_broker_loss")
        bench.bus.broker.reachable = True
        await until(lambda: bench.bus.bridge.connected.is_set(), "the broker")
        assert await bench.bus.value("header", "high", bool) is True
        assert (await bench.bus.set("header", "high", False))["ok"]
        bench.bus.broker.reachable = False
        bench.bus.broker.cut()
        await until(gone, "on_broker_loss, once more")
        bench.bus.broker.reachable = True


async def test_a_chip_that_goes_away_takes_its_device_offline_until_it_is_back():
    async with stage() as bench:
        bench.chip.unplug()
        assert (
            "no such device"
            in (await bench.bus.status("header", "offline"))["reason"]["message"]
        )
        bench.chip.plug()
        await bench.bus.call("header", "connect")
        await bench.bus.status("header", "online")
        assert await bench.bus.value("header", "door") is False


WALL = """
bridge: {name: pi1}
devices:
  - name: header
    backend: sim
    lines: [{name: door, line: 17, direction: in, pull: up, active_low: true}]
    stimuli: [{line: 22, high: 0.5, low: 0.5, count: 2}]
  - name: wall
    backend: sim
    numbering: BOARD
    lines:
      - name: door
        line: 11
        direction: out
        drive: open_drain
        active_low: true
        drives: header/17
"""


async def test_a_stimulus_loses_edges_on_request():
    text = WALL.replace("count: 2}", "count: 2, lose: 2}").replace(
        "line: 17, d", "line: 22, d"
    )
    async with stage(text) as bench:
        (edge, *_) = await bench.seen("edge", 1)
        assert (edge["line_seq"], edge["lost"]) == (3, 2)


async def test_a_second_device_drives_the_first_over_mqtt():
    async with stage(WALL) as bench:
        assert await bench.bus.value("header", "door") is False
        assert (await bench.bus.set("wall", "door", True))["ok"]
        assert await bench.bus.value("header", "door", bool) is True
        assert (await bench.bus.set("wall", "door", False))["ok"]
        assert await bench.bus.value("header", "door", lambda value: not value) is False
        assert [each["edge"] for each in bench.events("edge")] == ["rising", "falling"]


@pytest.mark.parametrize("backend", ["gpiod", "rpigpio", "gpiod on an old kernel"])
async def test_the_same_bridge_on_the_other_back_ends(backend, monkeypatch):
    sim = SimChip(label="pinctrl-bcm2711")
    backend, _, old = backend.partition(" ")
    if backend == "gpiod" and not old:
        monkeypatch.setattr(
            libgpiod, "find", lambda wanted: libgpiod.Path("/dev/gpiochip0")
        )
        monkeypatch.setattr(libgpiod.gpiod, "Chip", lambda path: fakes.Chip(sim))
    else:
        monkeypatch.setattr(libgpiod, "supported", lambda: False)
        monkeypatch.setattr(rpigpio, "load", lambda: fakes.RpiGpio(sim))
    text = HEADER.replace(
        "backend: sim",
        (f"backend: {backend}\n    revision: 0xC03111\n    pinctrl_root: /nowhere"),
    )
    lines = [
        line for line in text.splitlines() if "pwm" not in line and "servo" not in line
    ]
    async with running(SERVICE, "\n".join(lines)) as bus:
        await bus.status("header", "online")
        bench = Bench(bus, {"header": sim})
        assert (await bus.set("header", "lamp", True))["result"] is True
        assert sim.level(27) is True
        sim.drive(23, True)
        assert await bus.value("header", "bell", bool) is True
        (edge,) = await bench.seen("edge", 1, lambda each: each["line"] == "bell")
        assert (edge["value"], edge["line_seq"]) == (True, 1)
        assert await bench.ok("forceinput", bcm=4) is False
        function = await bench.ok("gpio_function", bcm=4)
        assert function["function"] is None
        assert "pinctrl cannot be read" in function["reason"]
        assert (await bench.ok("gpio_function", line="lamp"))["function"] == "out"
    assert sim.level(27) is True


async def test_what_needs_an_extra_says_so_and_other_lines_work(monkeypatch, tmp_path):
    sim = SimChip(label="pinctrl-bcm2711")
    monkeypatch.setattr(
        libgpiod, "find", lambda wanted: libgpiod.Path("/dev/gpiochip0")
    )
    monkeypatch.setattr(libgpiod.gpiod, "Chip", lambda path: fakes.Chip(sim))
    monkeypatch.setitem(__import__("sys").modules, "lgpio", None)
    text = HEADER.replace("backend: sim", f"backend: gpiod\n    pwm_root: {tmp_path}")
    text += "      - {name: hard, line: 12, direction: pwm, by: hardware}\n"
    text += "      - {name: named, line: 19, direction: pwm, channel: fe20c000.pwm/0}\n"
    async with running(SERVICE, text) as bus:
        assert "the extra `lgpio` of busbar-gpio-bridge" in await bus.bad(
            "header", "fan", "device"
        )
        assert "dtoverlay=pwm-2chan" in await bus.bad("header", "hard", "device")
        assert "no PWM channel 'fe20c000.pwm/0'" in await bus.bad(
            "header", "named", "device"
        )
        assert await bus.value("header", "door") is False


async def test_a_line_that_is_busy_is_not_pulsed_either(monkeypatch):
    monkeypatch.setattr(session, "AGAIN", 3600.0)
    async with stage(
        HEADER, lambda chips: chips["header"].occupy(18, "pwm-fan")
    ) as bench:
        assert ("fan: line 18 is busy: 'pwm-fan' holds it") in await bench.bus.bad(
            "header", "fan", "device"
        )
        bench.chip.occupy(18, "")
        assert await bench.bus.value("header", "fan") == 0
        assert (await bench.bus.set("header", "fan", 10))["ok"]


async def test_a_machine_without_a_chip_is_offline_with_the_reason():
    async with running(
        SERVICE, ("bridge: {name: pi1}\ndevices: [{name: header, chip: /dev/nowhere}]")
    ) as bus:
        reason = (await bus.status("header", "offline"))["reason"]
        while reason["code"] == "offline":
            await settle()
            reason = bus.retained("header", "status")["reason"]
        assert "there is no chip /dev/nowhere" in reason["message"]


async def test_a_chip_can_be_opened_by_its_address():
    allowed = "bridge: {name: pi1, allow_open: ['sim::*']}\ndevices: []"
    async with running(SERVICE, allowed) as bus:
        line = {"name": "lamp", "line": 11, "direction": "out"}
        wanted = {
            "name": "more",
            "address": "sim::sim",
            "numbering": "BOARD",
            "lines": [line],
        }
        assert (await bus.call("bridge", "open", wanted))["ok"]
        await bus.status("more", "online")
        assert (await bus.set("more", "lamp", True))["ok"]
        twice = {**wanted, "name": "other", "lines": [line, line]}
        assert (
            "there twice"
            in (await bus.call("bridge", "open", twice))["error"]["message"]
        )
        assert (
            await bus.call(
                "bridge", "open", {**wanted, "name": "x", "address": "gpiod::auto"}
            )
        )["error"]["code"] == "forbidden"


def test_a_scan_lists_the_chips_of_the_kernel_by_label_or_where_two_have_it_by_path(
    monkeypatch, tmp_path
):
    labels = {
        "gpiochip0": "pinctrl-rp1",
        "gpiochip1": "mcp23017",
        "gpiochip2": "mcp23017",
    }
    for name in [*labels, "gpiochip3"]:
        (tmp_path / name).touch()

    def opened(path):
        if not path.endswith("3"):
            return fakes.Chip(SimChip(label=labels[path.rpartition("/")[2]]))
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(libgpiod.gpiod, "Chip", opened)
    found = asyncio.run(SERVICE.scan(tmp_path))
    assert [(each.address, each.title) for each in found] == [
        ("gpiod::pinctrl-rp1", "gpiochip0 (pinctrl-rp1, 54 lines)"),
        (f"gpiod::{tmp_path}/gpiochip1", "gpiochip1 (mcp23017, 54 lines)"),
        (f"gpiod::{tmp_path}/gpiochip2", "gpiochip2 (mcp23017, 54 lines)"),
        (f"gpiod::{tmp_path}/gpiochip3", "gpiochip3 (no permission, 0 lines)"),
    ]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (
            "stimuli: [{line: 54, high: 1, low: 1}]",
            "header: no line 54; allowed: 0 to 53",
        ),
        (
            ("lines: [{name: a, line: 1, direction: out, drives: header/99}]"),
            "header: no line 99; allowed: 0 to 53",
        ),
        (
            ("lines: [{name: a, line: 70, direction: out, drives: header/9}]"),
            "header: no line 70; allowed: 0 to 53",
        ),
    ],
)
def test_wires_and_stimuli_of_lines_that_are_not_there_are_found_at_the_start(
    more, said
):
    text = (
        f"bridge: {{name: pi1}}\ndevices:\n  - name: header\n    backend: sim\n    "
        f"{more}\n"
    )
    with pytest.raises(ConfigError, match=said):
        list(SERVICE.links(loader.parse(text, SERVICE.config, {})))


async def test_two_names_of_one_line_are_told_apart():
    text = (
        "bridge: {name: pi1}\ndevices:\n  - name: header\n    backend: sim\n    "
        "lines:\n"
    )
    text += (
        "      - {name: a, line: 4, direction: in}\n      - {name: b, line: GPIO4, "
        "direction: in}\n"
    )
    async with running(SERVICE, text) as bus:
        assert await bus.bad("header", "b", "device") == "b: line 4 is a already"
        assert await bus.value("header", "a") is False
