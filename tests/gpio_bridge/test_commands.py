"""Lines that come and go at run time, and what goes wrong meanwhile."""

import asyncio
import dataclasses

import pytest

from busbar.errors import DeviceRefused
from busbar.testing.fakes import settle, until
from gpio_bridge import session
from gpio_bridge.backends.sim import SimPulses, SimRequest
from gpio_bridge.bridge import SERVICE, SimulatedChips, link
from gpio_bridge.chip import LineSettings
from gpio_bridge.simulator.__main__ import pwm_tree
from tests.gpio_bridge.test_bridge import BUSY, stage
from tests.running import Running


def header(*lines, more=""):
    listed = "".join(f"      - {{{each}}}\n" for each in lines)
    return (
        f"bridge: {{name: pi1}}\ndevices:\n  - name: header\n    backend: sim\n{more}  "
        f"  lines:\n{listed}"
    )


async def reopened(bench):
    """Let the link be opened again."""
    before = bench.bus.retained("header", "status")["since"]
    await bench.ok("reconnect")

    def again():
        status = bench.bus.retained("header", "status")
        return status["state"] == "online" and status["since"] > before

    await until(again, "the link again")


async def test_what_was_set_up_and_released_stays_so_when_the_chip_is_opened_again():
    async with stage() as bench:
        await bench.ok("setup", bcm=26, direction="out", initial="high")
        await bench.ok("release", line="lamp")
        await reopened(bench)
        assert (await bench.bus.set("header", "gpio26", False))["ok"]
        assert bench.chip.level(26) is False
        info = await bench.bus.info(
            "header", lambda info: "gpio26" in info["properties"]
        )
        assert "lamp" not in info["properties"]
        await bench.ok("cleanup")
        await reopened(bench)
        assert (await bench.bus.set("header", "lamp", True))["ok"]
        info = await bench.bus.info("header", lambda info: "lamp" in info["properties"])
        assert "gpio26" not in info["properties"]


async def test_a_line_that_was_released_is_set_up_by_its_name_and_has_it_again():
    async with stage() as bench:
        await bench.ok("release", line="lamp")
        assert (
            await bench.ok("setup", line="lamp", direction="out", initial="high")
            == "lamp"
        )
        assert bench.chip.level(27) is True
        await bench.ok("release", line="knob")
        assert await bench.ok("setup", line="knob", direction="in") == "knob"
        assert bench.chip.info(5).used
        assert not bench.chip.info(6).used


async def test_cleanup_leaves_lines_of_the_configuration_as_they_are():
    async with stage() as bench:
        assert (await bench.bus.set("header", "lamp", True))["ok"]
        await bench.ok("setup", line="lamp", direction="out", name="other")
        ways, configure = [], bench.chip.pins[27].configure
        bench.chip.pins[27].configure = lambda settings: (
            ways.append(settings.direction),
            configure(settings),
        )
        await bench.ok("cleanup")
        assert (ways, bench.chip.level(27)) == (["as_is", "out"], True)
        assert await bench.bus.value("header", "lamp") is True


async def test_a_setup_takes_no_property_of_another_line():
    async with stage() as bench:
        said = await bench.refused(
            "setup", "bad_request", bcm=4, direction="in", name="fan/frequency"
        )
        assert said == "name: there is a property 'fan/frequency' already"
        await bench.ok("setup", bcm=4, direction="in", name="new/frequency")
        assert "'new/frequency'" in await bench.refused(
            "setup", "bad_request", bcm=7, direction="pwm", name="new"
        )


async def test_a_setup_that_is_cut_off_costs_the_line_a_moment_only():
    async with stage() as bench:
        request = bench.chip.request

        async def slow(*arguments):
            bench.chip.request = request  # the first time only
            await asyncio.sleep(60)

        bench.chip.request = slow
        calling = asyncio.create_task(
            bench.bus.call("header", "setup", {"bcm": 27, "direction": "out"})
        )
        await until(lambda: bench.chip.request is request, "the request")
        await bench.bus.clock.advance(11)
        assert (await calling)["error"]["code"] == "timeout"
        await bench.bus.clock.advance(11)
        await until(lambda: bench.chip.info(27).used, "that it is taken again")
        assert (await bench.bus.set("header", "lamp", True))["ok"]


async def test_a_release_that_is_cut_off_costs_the_line_a_moment_only(monkeypatch):
    async with stage(
        header("name: a, line: 1, direction: out, at_exit: high")
    ) as bench:
        write = SimRequest.write

        async def slow(self, offset, value):
            monkeypatch.setattr(SimRequest, "write", write)  # the first time only
            await asyncio.sleep(60)

        monkeypatch.setattr(SimRequest, "write", slow)
        calling = asyncio.create_task(
            bench.bus.call("header", "release", {"line": "a"})
        )
        await until(lambda: SimRequest.write is write, "the last level")
        await bench.bus.clock.advance(11)
        assert (await calling)["error"]["code"] == "timeout"
        await bench.bus.clock.advance(11)
        await until(lambda: bench.chip.info(1).used, "that it is taken again")
        assert (await bench.bus.set("header", "a", True))["ok"]


async def test_a_line_is_given_back_even_if_its_last_level_cannot_be_written():
    async with stage(
        header("name: a, line: 1, direction: out, at_exit: high")
    ) as bench:

        def broken(value):
            raise DeviceRefused("the pin is broken")

        bench.chip.pins[1].write = broken
        assert "the pin is broken" in await bench.refused("release", "device", line="a")
        assert not bench.chip.info(1).used
        await bench.bus.info("header", lambda info: "a" not in info["properties"])


async def test_a_line_that_is_busy_can_be_named_by_its_number_and_given_up():
    async with stage(
        BUSY, lambda chips: chips["header"].occupy(1, "spi0 CS1")
    ) as bench:
        assert "busy: 'spi0 CS1' holds it" in await bench.refused(
            "toggle", "device", bcm=1
        )
        await bench.ok("release", bcm=1)
        await bench.bus.info("header", lambda info: "a" not in info["properties"])


async def test_a_counter_that_is_busy_has_no_value_and_is_told_once(caplog):
    text = header("name: a, line: 1, direction: counter")
    async with stage(text, lambda chips: chips["header"].occupy(1, "spi0")) as bench:
        await bench.bus.bad("header", "a", "device")
        for _ in range(3):
            await bench.bus.clock.advance(11)
            await settle()
        assert [
            list(each) for each in bench.bus.changes("header") if each["path"] == "a"
        ] == [["path", "time", "bad"]]
        assert [each.message for each in caplog.records if "spi0" in each.message] == [
            "header/a: line 1 is busy: 'spi0' holds it"
        ]


async def test_a_level_that_could_not_be_read_once_is_good_again_with_the_next_reading(
    monkeypatch,
):
    text = header(
        "name: a, line: 1, direction: in", ("name: k, line: [2, 3], direction: encoder")
    )
    async with stage(text) as bench:
        read = SimRequest.read

        async def broken(self, offset):
            raise DeviceRefused("no acknowledgement on the bus")

        monkeypatch.setattr(SimRequest, "read", broken)
        await bench.bus.clock.advance(11)
        assert "no acknowledgement" in await bench.bus.bad("header", "a", "device")
        await bench.bus.bad("header", "k", "device")
        monkeypatch.setattr(SimRequest, "read", read)
        await bench.bus.clock.advance(11)
        assert await bench.bus.value("header", "a") is False
        assert await bench.bus.value("header", "k") == 0


POLLED = "name: a, line: 1, direction: in, poll: 0.05, debounce: {mode: %s, time: 0.2}"


@pytest.mark.parametrize(
    ("mode", "expected"), [("settle", []), ("glitch", []), ("lockout", ["rising"])]
)
async def test_a_line_without_an_interrupt_is_debounced_too(mode, expected):
    def blind(chips):
        chips["header"].pins[1].has_interrupt = False

    async with stage(header(POLLED % mode), blind) as bench:

        async def looked(times):
            for _ in range(times):
                await bench.bus.clock.advance(0.06)
                await settle()

        for level in (True, False):
            bench.chip.drive(1, level)
            await looked(1)
        await looked(20)
        assert [each["edge"] for each in bench.events("edge")] == expected
        assert await bench.bus.value("header", "a") is False
        bench.chip.drive(1, True)
        await looked(20)
        assert [each["edge"] for each in bench.events("edge")] == [*expected, "rising"]


async def test_a_line_without_an_interrupt_is_looked_at_again_after_a_failure(
    monkeypatch,
):
    monkeypatch.setattr(session, "AGAIN", 3600.0)  # only the line itself looks

    def blind(chips):
        chips["header"].pins[1].has_interrupt = False

    async with stage(
        header("name: a, line: 1, direction: in, poll: 0.05"), blind
    ) as bench:
        read, failed = SimRequest.read, []

        async def broken(self, offset):
            failed.append(offset)
            raise DeviceRefused("no acknowledgement on the bus")

        async def looked():
            await bench.bus.clock.advance(0.06)
            return failed or bench.bus.good("header").get("a")

        monkeypatch.setattr(SimRequest, "read", broken)
        await until(looked, "a failure")
        monkeypatch.setattr(SimRequest, "read", read)
        failed.clear()
        bench.chip.drive(1, True)
        await until(looked, "the level")


async def test_reading_again_does_not_forestall_a_filter():
    text = header(
        "name: a, line: 1, direction: in, debounce: {mode: glitch, time: 1}",
        "name: b, line: 2, direction: in, debounce: {mode: lockout, time: 1}",
    )
    async with stage(text) as bench:
        bench.chip.drive(1, True)
        for level in (True, False):
            bench.chip.drive(2, level)
        await bench.ok("refresh")
        assert await bench.bus.value("header", "b") is True
        assert bench.bus.good("header")["a"] is False
        bench.chip.drive(1, False)
        await bench.bus.clock.advance(1.1)
        assert await bench.bus.value("header", "b", lambda value: not value) is False
        assert [each["line"] for each in bench.events("edge")] == ["b"]


async def test_an_output_that_cannot_be_driven_is_let_go(monkeypatch):
    configure = SimRequest.configure

    async def refusing(self, lines):
        raise DeviceRefused("no output here")

    monkeypatch.setattr(SimRequest, "configure", refusing)
    async with stage(header("name: a, line: 1, direction: out")) as bench:
        assert "no output here" in await bench.bus.bad("header", "a", "device")
        assert not bench.chip.info(1).used
        monkeypatch.setattr(SimRequest, "configure", configure)
        await bench.ok("refresh")
        assert await bench.bus.value("header", "a") is False


async def test_a_line_that_cannot_be_pulsed_is_let_go(monkeypatch):
    async def refusing(self, period, pulses):
        raise DeviceRefused("no pulses here")

    monkeypatch.setattr(SimPulses, "repeat", refusing)
    async with stage(header("name: a, line: 1, direction: pwm, initial: 10")) as bench:
        assert "no pulses here" in await bench.bus.bad("header", "a", "device")
        assert not bench.chip.info(1).used


async def test_lockout_is_for_the_edges_that_are_told_and_a_bounce_ends_nowhere_else():
    lockout = "debounce: {mode: lockout, time: 0.1}"
    text = header(
        f"name: a, line: 1, direction: in, edges: rising, {lockout}",
        (f"name: b, line: 1, direction: counter, {lockout}").replace(
            "line: 1", "line: 2"
        ),
        f"name: c, line: 3, direction: in, edges: none, {lockout}",
        f"name: d, line: 4, direction: in, edges: rising, press: {{}}, {lockout}",
    )
    async with stage(text) as bench:
        for level, pause in (
            (True, 0.15),
            (False, 0.05),
            (True, 0.2),
            (False, 0.001),
            (True, 0.001),
            (False, 0.2),
        ):
            for line in (1, 2, 3, 4):
                bench.chip.drive(line, level)
            await bench.bus.clock.advance(pause)
            await settle()
        await bench.bus.clock.advance(1)
        # also that of the bounce, as in RPIO
        assert [each["line"] for each in bench.events("edge")].count("a") == 3
        assert await bench.bus.value("header", "b", lambda value: value == 3) == 3
        changes = [
            each["value"] for each in bench.bus.changes("header") if each["path"] == "c"
        ]
        assert changes == [False, True, False, True, False]
        # the bounce is no third
        assert [each["line"] for each in bench.events("press")] == ["d", "d"]


async def test_a_pulse_that_takes_longer_than_a_command_may_is_refused():
    async with stage() as bench:
        said = await bench.refused(
            "pulse", "bad_request", line="lamp", seconds=1801, count=2
        )
        assert said == "that takes 5403 s; allowed: 3600; `blink` goes on by itself"
        assert bench.chip.level(27) is False


async def test_a_pattern_that_cannot_begin_is_no_success():
    async with stage() as bench:

        def broken(value):
            raise DeviceRefused("the pin is broken")

        bench.chip.pins[27].write = broken
        for command, more in (
            ("blink", {}),
            ("timed", {"value": True, "seconds": 1}),
            ("pulse", {}),
        ):
            assert "the pin is broken" in await bench.refused(
                command, "device", line="lamp", **more
            )


async def test_a_servo_that_a_run_before_has_left_pulsing_is_stopped(tmp_path):
    text = header(
        ("name: a, line: 12, direction: servo, at_exit: keep"),
        more=f"    pwm_root: {tmp_path}\n",
    )
    async with pwm_tree(tmp_path) as tree:
        async with stage(text) as bench:
            assert (await bench.bus.set("header", "a", 1500))["ok"]
        assert tree.channel(0)["duty_cycle"] == 1_500_000
        async with stage(text) as bench:
            assert await bench.bus.value("header", "a") == 0
            assert tree.channel(0) == {
                "period": 20_000_000,
                "duty_cycle": 0,
                "enable": 0,
            }


async def test_two_lines_with_one_channel_of_hardware_pwm_are_told_apart(tmp_path):
    lines = ("name: a, line: 12, direction: pwm", "name: b, line: 18, direction: pwm")
    async with (
        pwm_tree(tmp_path),
        stage(header(*lines, more=f"    pwm_root: {tmp_path}\n")) as bench,
    ):
        assert (await bench.bus.set("header", "a", 50))["ok"]
        rows = {each["line"]: each for each in await bench.ok("inspect")}
        assert (rows[12]["consumer"], rows[18]["consumer"]) == ("hardware PWM", "")
        assert "drives another line already" in await bench.bus.bad(
            "header", "b", "device"
        )


async def test_a_line_that_cannot_go_to_its_on_broker_loss_keeps_no_other_from_it():
    lines = [
        f"name: {name}, line: {line}, direction: out, initial: high, on_broker_loss: "
        f"low"
        for line, name in enumerate("abc")
    ]
    async with stage(header(*lines, more="    broker_grace: 1\n")) as bench:

        def broken(value):
            raise DeviceRefused("the pin is broken")

        await bench.bus.value("header", "c", bool)
        bench.chip.pins[0].write = broken
        bench.bus.broker.reachable = False
        bench.bus.broker.cut()

        async def gone():
            await bench.bus.clock.advance(0.6)
            return not bench.chip.level(2)

        await until(gone, "on_broker_loss")
        assert [bench.chip.level(line) for line in range(3)] == [True, False, False]
        bench.bus.broker.reachable = True
        await until(bench.bus.bridge.connected.is_set, "the broker")
        assert bench.bus.retained("header", "status")["state"] == "online"


async def test_a_line_that_was_given_back_tells_nothing_more():
    text = header(
        "name: a, line: 1, direction: in, press: {double: 0.3}, debounce: {mode: "
        "glitch, time: 0.1}"
    )
    async with stage(text) as bench:
        bench.chip.drive(1, True)
        await bench.bus.clock.advance(0.5)
        bench.chip.drive(1, False)
        await bench.ok("release", line="a")
        await bench.bus.clock.advance(1)
        await bench.ok("refresh")
        assert [each["edge"] for each in bench.events("edge")] == ["rising"]
        assert bench.events("press") == []


async def test_an_encoder_counts_an_edge_it_missed_and_goes_on_from_the_true_levels():
    async with stage(
        header("name: k, line: [2, 3], direction: encoder, steps: 1")
    ) as bench:
        assert await bench.bus.value("header", "k") == 0
        bench.chip.pins[2].lose = 2
        for line, level in ((2, True), (2, False), (2, True)):
            bench.chip.drive(line, level)
        assert await bench.bus.value("header", "k", bool) == 1
        assert bench.bus.good("header")["_lost"] == {"k": 2}
        bench.chip.drive(3, True)
        assert await bench.bus.value("header", "k", lambda value: value == 2) == 2


async def test_without_a_broker_from_the_start_outputs_go_where_configured():
    line = "name: a, line: 1, direction: out, initial: high, on_broker_loss: low"
    chips = {}

    def links(config):
        simulated = SimulatedChips.of(config.devices)
        chips.update(simulated.chips)
        return [link(each, simulated) for each in config.devices]

    service = dataclasses.replace(SERVICE, links=links)
    bus = Running(service, header(line, more="    broker_grace: 2\n"))
    bus.broker.reachable = False
    task = asyncio.create_task(bus.bridge.run(), name="bridge under test")
    await until(lambda: chips["header"].level(1), "the start")
    await bus.clock.advance(1)
    assert chips["header"].level(1) is True

    async def gone():
        await bus.clock.advance(1)
        return not chips["header"].level(1)

    await until(gone, "on_broker_loss")
    bus.broker.reachable = True
    await until(bus.bridge.connected.is_set, "the broker")
    assert await bus.value("header", "a") is False
    bus.bridge.stop()
    await task


@pytest.mark.parametrize("level", ["keep", "high", "low", "on", "off"])
async def test_every_level_at_start_at_exit_and_without_the_broker(level):
    chips, keys = {}, ("initial", "at_exit", "on_broker_loss")
    wanted = [
        {"keep": True, "high": True, "low": False, "on": not low, "off": low}[level]
        for low in (False, True)
    ]
    before = [True if level == "keep" else not each for each in wanted]
    lines = [
        f"name: {key}{low:d}, line: {2 * number + low}, direction: out, active_low: "
        f"{str(low).lower()}, {key}: {level}"
        for number, key in enumerate(keys)
        for low in (False, True)
    ]

    def driven(made):
        chips.update(made)
        for number in range(6):
            made["header"].pins[number].configure(
                LineSettings("out", value=before[number % 2])
            )

    def levels():
        return [chips["header"].level(number) for number in range(6)]

    async with stage(header(*lines, more="    broker_grace: 1\n"), driven) as bench:
        assert await bench.bus.value("header", "initial0") is wanted[0]
        assert await bench.bus.value("header", "initial1") is not wanted[1]
        assert levels() == [*wanted, *before, *before]
        bench.bus.broker.reachable = False
        bench.bus.broker.cut()

        async def gone():
            await bench.bus.clock.advance(0.6)
            return levels()[4:] == wanted

        await until(gone, "on_broker_loss")
        bench.bus.broker.reachable = True
    assert levels() == [*wanted, *wanted, *wanted]


async def test_whatever_takes_a_pulse_over_ends_it_and_says_so():
    async with stage() as bench:
        lamp = {"line": "lamp"}
        for command, arguments, code in (
            ("pulse", {**lamp, "seconds": 0.01}, "cancelled"),
            ("blink", lamp, "cancelled"),
            ("timed", {**lamp, "value": False, "seconds": 60}, "cancelled"),
            ("toggle", lamp, "cancelled"),
            ("stop", lamp, "cancelled"),
            ("release", lamp, "cancelled"),
            ("cleanup", {}, None),
            ("setup", {**lamp, "direction": "in"}, "cancelled"),
            ("cleanup", {}, None),
            ("reconnect", {}, "link"),
        ):
            await bench.bus.status("header", "online")
            if code is not None:
                calling = asyncio.create_task(
                    bench.bus.call("header", "pulse", {**lamp, "seconds": 60})
                )
                await until(lambda: bench.chip.level(27), "the pulse")
            other = asyncio.create_task(bench.bus.call("header", command, arguments))

            async def over(other=other):
                await bench.bus.clock.advance(0.1)
                return other.done()

            await until(over, command)
            assert (await other)["ok"], command
            if code is not None:
                await until(calling.done, command)
                assert calling.result()["error"]["code"] == code, command
