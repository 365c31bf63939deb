"""The README.

Its configurations are taken, and each row of its two tables of parity is run.
"""

import asyncio
import re
from pathlib import Path

import pytest

from busbar.config import loader
from busbar.contract.describe import commands
from busbar.runtime.service import plan
from busbar.testing.fakes import settle, until
from gpio_bridge import settings
from gpio_bridge.bridge import EVENTS, SERVICE
from gpio_bridge.line_commands import LineCommands
from gpio_bridge.pin_commands import PinCommands
from gpio_bridge.settings import Config
from tests.gpio_bridge.test_bridge import stage

TEXT = (Path(__file__).parents[2] / "services/gpio-bridge/README.md").read_text()
HEADER = """
bridge: {name: pi1}
devices:
  - name: header
    backend: sim
    allow_force: true
    lines:
      - {name: door, line: 17, direction: in}
      - {name: lamp, line: 27, direction: out}
      - {name: fan, line: 18, direction: pwm}
      - {name: pan, line: 13, direction: servo}
"""


def rows(title):
    part = TEXT.partition(f"## {title}")[2].partition("\n## ")[0]
    lines = [
        line.strip("| ").split(" | ")
        for line in part.splitlines()
        if line.startswith("| `")
    ]
    return [(line[0], re.findall("`([^`]+)`", line[1])) for line in lines]


RPIO, MQTT_IO = rows("From RPIO"), rows("From mqtt-io")


def level(line, value):
    return lambda bench, result: bench.chip.level(line) is value


def about(line, **wanted):
    return lambda bench, result: all(
        getattr(bench.chip.info(line), key) == value for key, value in wanted.items()
    )


def pulses(line, *wanted):
    return lambda bench, result: bench.chip.waves[line].pulses == wanted


def is_(value):
    return lambda bench, result: result == value


async def edges(bench):
    """Return the edges published of two at line 4, each with its value."""
    for value in (True, False):
        bench.chip.drive(4, value)
    await bench.bus.clock.advance(1)
    return [each["edge"] for each in bench.events("edge") if each["line"] == "test"]


def edges_of_line_4(*wanted):
    async def check(bench, result):
        return await edges(bench) == list(wanted)

    return check


async def told_by_looking(bench, result):
    for count, value in enumerate((True, False), 1):
        bench.chip.drive(4, value)
        edges = await bench.seen("edge", count)
    return [each["edge"] for each in edges] == ["rising", "falling"]


def shown(suffix, wanted):
    async def check(bench, result):
        for _ in range(3):
            bench.chip.drive(4, True)
            bench.chip.drive(4, False)
            await bench.bus.clock.advance(1.1)
        return await bench.bus.value("header", f"test{suffix}", wanted) is not None

    return check


async def both_edges(bench, result):
    bench.chip.drive(17, False)
    edges = await bench.seen("edge", 2)
    return [each["edge"] for each in edges] == ["rising", "falling"]


async def no_more_edges(bench, result):
    bench.chip.drive(17, True)
    await bench.bus.value("header", "door", bool)
    return result == "door" and bench.events("edge") == []


def turns(line, *wanted):
    """The line is at the first level, and a second later at the other one."""

    async def check(bench, result):
        levels = [bench.chip.level(line)]
        await bench.bus.clock.advance(1)
        await until(lambda: bench.chip.level(line) is wanted[1], "the other level")
        return levels == [wanted[0]]

    return check


def was(path, *wanted):
    def changes(bench):
        return [
            each["value"]
            for each in bench.bus.changes("header")
            if each["path"] == path and "value" in each
        ]

    async def check(bench, result):
        await until(lambda: changes(bench) == list(wanted), f"{path} that was {wanted}")
        return True

    return check


def has(key):
    return lambda bench, result: bool(result[key])


def rows_of_header(bench, result):
    return (
        len(result) == 26
        and {"pin", "name", "function", "level", "pull", "consumer"} <= result[0].keys()
    )


CHECKS = {
    "`RPIO.setmode(RPIO.BOARD)`": level(27, True),
    ("`RPIO.setup(26, RPIO.IN, pull_up_down=RPIO.PUD_UP)`"): about(
        26, direction="in", pull="up", used=True
    ),
    "`RPIO.setup(26, RPIO.OUT, initial=RPIO.HIGH)`": level(26, True),
    "`RPIO.output(27, True)`": level(27, True),
    "`RPIO.input(17)`": is_(True),
    "`RPIO.forceinput(4)`": lambda bench, result: (
        result is True and not bench.chip.info(4).used
    ),
    "`RPIO.forceoutput(4, True)`": level(4, True),
    "`RPIO.set_pullupdn(17, RPIO.PUD_DOWN)`": about(17, pull="down"),
    "`RPIO.gpio_function(27)`": is_({"function": "out", "reason": None}),
    "`RPIO.channel_to_gpio(11)`": lambda bench, result: result["bcm"] == 17,
    "`RPIO.add_interrupt_callback(17, f)`": both_edges,
    "`RPIO.add_interrupt_callback(17, f, edge='rising')`": edges_of_line_4("rising"),
    ("`RPIO.add_interrupt_callback(17, f, pull_up_down=RPIO.PUD_UP)`"): about(
        4, pull="up"
    ),
    "`RPIO.add_interrupt_callback(17, f, debounce_timeout_ms=100)`": edges_of_line_4(
        "rising"
    ),
    "`RPIO.del_interrupt_callback(17)`": no_more_edges,
    "`RPIO.cleanup_interrupts()`": about(17, used=False),
    "`RPIO.cleanup()`": about(26, direction="in", used=False),
    "`RPIO.sysinfo()`": has("model"),
    "`RPIO.version()`": has("busbar-gpio-bridge"),
    ("`PWM.init_channel(0, 20000)`, `PWM.add_channel_pulse(0, 18, 0, 100)`"): pulses(
        18, (0.0, 0.001), (0.005, 0.001)
    ),
    "`PWM.clear_channel(0)`, `PWM.clear_channel_gpio(0, 18)`": pulses(18),
    "`PWM.Servo().set_servo(13, 1200)`": pulses(13, (0.0, 0.0012)),
    "`PWM.Servo().stop_servo(13)`": pulses(13),
    "`rpio -i 17`": is_(True),
    "`rpio -I`": rows_of_header,
    "`rpio -s 27:1`": level(27, True),
    "`rpio -w 17:rising`": lambda bench, result: result["edge"] == "rising",
    "`rpio --setinput 26:pullup`": about(26, direction="in", pull="up", used=True),
    "`rpio --setoutput 26:1`": level(26, True),
    "`rpio --sysinfo`": has("code"),
    "`rpio-curses`": rows_of_header,
    "`gpio_modules: raspberrypi`": about(4, used=True, direction="in"),
    "`gpio_modules: mock`": about(4, used=True, direction="out"),
    "`gpio_modules: cleanup: yes`": about(4, used=True, direction="out"),
    "`digital_inputs: interrupt: both`": both_edges,
    "`digital_inputs: interrupt: rising`": edges_of_line_4("rising"),
    "`digital_inputs: interrupt: falling`": edges_of_line_4("falling"),
    "`digital_inputs: inverted: yes`": edges_of_line_4("falling", "rising"),
    "`digital_inputs: pullup: yes`": about(4, pull="up"),
    "`digital_inputs: pulldown: yes`": about(4, pull="down"),
    "`digital_inputs: bouncetime: 100`": edges_of_line_4("rising"),
    "`digital_inputs: poll_interval: 0.1`": told_by_looking,
    "`digital_inputs: retain: yes`": is_(True),
    "`digital_inputs: on_payload: ON`": is_(True),
    "`<p>/output/lamp/set ON`": level(27, True),
    "`<p>/output/lamp/set OFF`": level(27, False),
    '`digital_outputs: on_payload: "1"`': level(27, True),
    "`digital_outputs: retain: yes`": is_(False),
    "`<p>/output/lamp/set_on_ms 500`": turns(27, True, False),
    "`<p>/output/lamp/set_off_ms 500`": turns(27, False, True),
    "`digital_outputs: timed_set_ms: 500`": was("lamp", False, True, False),
    "`digital_outputs: initial: high`": level(4, True),
    "`digital_outputs: inverted: yes`": about(4, active_low=True, direction="out"),
    "`digital_outputs: publish_initial: yes`": is_(False),
    "`sensor_inputs: flowsensor`": shown("", lambda value: value == 0.00666),
    "`sensor_inputs: frequencycounter`": shown("", lambda value: value > 0),
    "`<p>/status running`": lambda bench, result: result["state"] == "online",
}


def drives(line):
    async def prepare(bench):
        bench.chip.drive(line, True)
        await settle()

    return prepare


def sets(path, value):
    async def prepare(bench):
        assert (await bench.bus.set("header", path, value))["ok"]

    return prepare


async def sets_up(bench):
    await bench.ok("setup", bcm=26, direction="out", initial="high")


BEFORE = {  # what has to be so, or a row could not fail
    "`RPIO.input(17)`": drives(17),
    "`RPIO.forceinput(4)`": drives(4),
    "`RPIO.cleanup()`": sets_up,
    "`PWM.clear_channel(0)`, `PWM.clear_channel_gpio(0, 18)`": sets("fan", 50),
    "`PWM.Servo().stop_servo(13)`": sets("pan", 1500),
    "`rpio -i 17`": drives(17),
    "`digital_inputs: retain: yes`": drives(17),
    "`digital_inputs: on_payload: ON`": drives(17),
    "`<p>/output/lamp/set OFF`": sets("lamp", True),
    "`<p>/output/lamp/set_off_ms 500`": sets("lamp", True),
}


def without_interrupt(chips):
    chips["header"].pins[4].has_interrupt = False


async def run(bench, target, payload=None):
    """Do what a row says; return its result."""
    channel, _, path = target.partition("/")
    if channel == "status":
        return bench.bus.retained("header", "status")
    if channel == "event":
        bench.chip.drive(17, True)
        return (await bench.seen(path, 1))[0]
    if channel == "state":
        known = await bench.bus.value("header", path)
        await until(lambda: bench.bus.retained("header", target) == known, target)
        return known
    calling = asyncio.create_task(getattr(bench.bus, channel)("header", path, payload))
    while not calling.done():
        await bench.bus.clock.advance(0.05)
    reply = await calling
    assert reply["ok"], reply
    return reply["result"]


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [*RPIO, *MQTT_IO],
    ids=lambda each: each if isinstance(each, str) else "",
)
async def test_every_row_of_parity_does_what_it_says(theirs, ours):
    line = ours[0] if ours[0].startswith("- ") else ""
    prepare = without_interrupt if "poll" in line else lambda chips: None
    async with stage(f"{HEADER}      {line}\n", prepare) as bench:
        if theirs in BEFORE:
            await BEFORE[theirs](bench)
        result = None if line else await run(bench, *ours)
        verdict = CHECKS[theirs](bench, result)
        assert await verdict if asyncio.iscoroutine(verdict) else verdict, result


def test_every_feature_of_the_reference_is_in_the_tables_or_named_beside_them():
    assert {theirs for theirs, _ in [*RPIO, *MQTT_IO]} == CHECKS.keys()
    first, _, second = TEXT.partition("## From RPIO")[2].partition("## From mqtt-io")
    functions = [
        "setmode",
        "setup",
        "output",
        "input",
        "forceoutput",
        "forceinput",
        "set_pullupdn",
        "gpio_function",
        "channel_to_gpio",
        "setwarnings",
        "cleanup",
        "cleanup_interrupts",
        "sysinfo",
        "version",
        "add_interrupt_callback",
        "del_interrupt_callback",
        "wait_for_interrupts",
        "stop_waiting_for_interrupts",
        "add_tcp_callback",
        "close_tcp_client",
        "init_channel",
        "add_channel_pulse",
        "clear_channel",
        "clear_channel_gpio",
        "print_channel",
        "is_setup",
        "pulse_incr_us",
        "set_servo",
        "stop_servo",
        "rpio -i",
        "rpio -I",
        "rpio -s",
        "rpio -w",
        "--setinput",
        "--setoutput",
        "--sysinfo",
        "rpio-curses",
        "set_loglevel",
        "is_channel_initialized",
        "get_pulse_incr_us",
        "get_channel_subcycle_time_us",
        "Exceptions",
        "GPIO_LIST",
        "threaded_callback",
    ]
    assert [each for each in functions if each not in first] == []
    options = [
        "gpio_modules",
        "cleanup",
        "stream_modules",
        "sensor_inputs",
        "inverted",
        "pullup",
        "pulldown",
        "interrupt",
        "interrupt_for",
        "bouncetime",
        "retain",
        "poll_interval",
        "on_payload",
        "timed_set_ms",
        "initial",
        "publish_initial",
        "set_on_ms",
        "set_off_ms",
        "ha_discovery",
        "flowsensor",
        "frequencycounter",
        "status",
        "install_requirements",
        "mcp23017",
        "mock",
    ]
    assert [each for each in options if each not in second] == []


@pytest.mark.parametrize("block", re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL))
def test_every_configuration_in_the_readme_is_taken(block):
    plan(SERVICE, loader.parse(block, Config, {}), None, {})


def test_the_example_is_taken():
    path = (
        Path(__file__).parents[2] / "services/gpio-bridge/src/gpio_bridge/example.yaml"
    )
    plan(SERVICE, loader.load(path, Config, {}), None, {})


def test_every_key_command_and_event_is_in_the_readme():
    kinds = [
        settings.In,
        settings.Out,
        settings.Pwm,
        settings.Servo,
        settings.Counter,
        settings.Frequency,
    ]
    keys = {
        key
        for kind in [settings.Device, *kinds, settings.Encoder, settings.Stimulus]
        for key in kind.__struct_fields__
    }
    named = TEXT.replace("`class` (of", "`class_` (of")
    for name in [
        *keys,
        *commands(LineCommands, PinCommands),
        *(f"event/{each}" for each in EVENTS),
    ]:
        assert re.search(rf"`{re.escape(name)}[`:]", named), name
    for key in settings.Press.__struct_fields__:
        assert f"{key}:" in TEXT


def test_what_events_carry_is_in_the_readme():
    for each in EVENTS.values():
        for key in each.fields.__struct_fields__:
            assert f'"{key}"' in TEXT, (each.name, key)
