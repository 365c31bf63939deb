"""The README: its configurations are taken, and each row of its two tables of parity is run."""

import asyncio
import re
from pathlib import Path

import pytest

from busbar import config
from busbar.describe import commands
from busbar.service import plan
from busbar.testing import until
from gpio_bridge import settings
from gpio_bridge.bridge import EVENTS, SERVICE
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
    lines = [line.strip("| ").split(" | ") for line in part.splitlines() if line.startswith("| `")]
    return [(line[0], re.findall("`([^`]+)`", line[1])) for line in lines]


RPIO, MQTT_IO = rows("From RPIO"), rows("From mqtt-io")


def level(line, value):
    return lambda bench, result: bench.chip.level(line) is value


def about(line, **wanted):
    return lambda bench, result: all(getattr(bench.chip.info(line), key) == value for key, value in wanted.items())


def pulses(line, *wanted):
    return lambda bench, result: bench.chip.waves[line].pulses == wanted


def is_(value):
    return lambda bench, result: result == value


async def edges(bench):
    """Return the edges told of two at line 4, each with its value."""
    for value in (True, False):
        bench.chip.drive(4, value)
    await bench.bus.clock.advance(1)
    return [each["edge"] for each in bench.events("edge") if each["line"] == "test"]


def told(*wanted):
    async def check(bench, result):
        return await edges(bench) == list(wanted)

    return check


def shown(suffix, wanted):
    async def check(bench, result):
        for _ in range(3):
            bench.chip.drive(4, True)
            bench.chip.drive(4, False)
            await bench.bus.clock.advance(1.1)
        return await bench.bus.value("header", f"test{suffix}", wanted) is not None

    return check


def has(key):
    return lambda bench, result: bool(result[key])


def rows_of_header(bench, result):
    return len(result) == 26 and {"pin", "name", "function", "level", "pull", "consumer"} <= result[0].keys()


CHECKS = {
    "`RPIO.setmode(RPIO.BOARD)`": level(27, True),
    "`RPIO.setup(26, RPIO.IN, pull_up_down=RPIO.PUD_UP)`": about(26, direction="in", pull="up", used=True),
    "`RPIO.setup(26, RPIO.OUT, initial=RPIO.HIGH)`": level(26, True),
    "`RPIO.output(27, True)`": level(27, True),
    "`RPIO.input(17)`": is_(False),
    "`RPIO.forceinput(4)`": lambda bench, result: result is False and not bench.chip.info(4).used,
    "`RPIO.forceoutput(4, True)`": level(4, True),
    "`RPIO.set_pullupdn(17, RPIO.PUD_DOWN)`": about(17, pull="down"),
    "`RPIO.gpio_function(27)`": is_({"function": "out", "reason": None}),
    "`RPIO.channel_to_gpio(11)`": lambda bench, result: result["bcm"] == 17,
    "`RPIO.add_interrupt_callback(17, f)`": lambda bench, result: result["edge"] == "rising",
    "`RPIO.add_interrupt_callback(17, f, edge='rising')`": told("rising"),
    "`RPIO.add_interrupt_callback(17, f, pull_up_down=RPIO.PUD_UP)`": about(4, pull="up"),
    "`RPIO.add_interrupt_callback(17, f, debounce_timeout_ms=100)`": told("rising"),
    "`RPIO.del_interrupt_callback(17)`": lambda bench, result: result == "door",
    "`RPIO.cleanup_interrupts()`": about(17, used=False),
    "`RPIO.cleanup()`": is_(None),
    "`RPIO.sysinfo()`": has("model"),
    "`RPIO.version()`": has("gpio-bridge"),
    "`PWM.init_channel(0, 20000)`, `PWM.add_channel_pulse(0, 18, 0, 100)`": pulses(18, (0.0, 0.001), (0.005, 0.001)),
    "`PWM.clear_channel(0)`, `PWM.clear_channel_gpio(0, 18)`": pulses(18),
    "`PWM.Servo().set_servo(13, 1200)`": pulses(13, (0.0, 0.0012)),
    "`PWM.Servo().stop_servo(13)`": pulses(13),
    "`rpio -i 17`": is_(False),
    "`rpio -I`": rows_of_header,
    "`rpio -s 27:1`": level(27, True),
    "`rpio -w 17:rising`": lambda bench, result: result["edge"] == "rising",
    "`rpio --setinput 26:pullup`": about(26, direction="in", pull="up", used=True),
    "`rpio --setoutput 26:1`": level(26, True),
    "`rpio --sysinfo`": has("code"),
    "`rpio-curses`": rows_of_header,
    "`gpio_modules: raspberrypi`": about(4, used=True, direction="in"),
    "`digital_inputs: interrupt: both`": lambda bench, result: result["value"] is True,
    "`digital_inputs: interrupt: falling`": told("falling"),
    "`digital_inputs: inverted: yes`": told("falling", "rising"),
    "`digital_inputs: pullup: yes`": about(4, pull="up"),
    "`digital_inputs: pulldown: yes`": about(4, pull="down"),
    "`digital_inputs: bouncetime: 100`": told("rising"),
    "`digital_inputs: poll_interval: 0.1`": told("rising", "falling"),
    "`digital_inputs: retain: yes`": is_(False),
    "`<p>/output/lamp/set ON`": level(27, True),
    "`<p>/output/lamp/set_on_ms 500`": level(27, True),
    "`<p>/output/lamp/set_off_ms 500`": level(27, False),
    "`digital_outputs: timed_set_ms: 500`": level(27, False),
    "`digital_outputs: initial: high`": level(4, True),
    "`digital_outputs: inverted: yes`": about(4, active_low=True, direction="out"),
    "`digital_outputs: publish_initial: yes`": is_(False),
    "`sensor_inputs: flowsensor`": shown("", lambda value: value == 0.00666),
    "`sensor_inputs: frequencycounter`": shown("", lambda value: value > 0),
    "`<p>/status running`": lambda bench, result: result["state"] == "online",
    "`modules: mock, stdio`": rows_of_header,
}


async def run(bench, target, payload=None):
    """Do what a row says; return its result."""
    channel, _, path = target.partition("/")
    if channel == "status":
        return bench.bus.retained("header", "status")
    if channel == "event":
        bench.chip.drive(17, True)
        return (await bench.seen(path, 1))[0]
    if channel == "state":
        await until(lambda: bench.bus.retained("header", target) is not None, target)
        return bench.bus.retained("header", target)
    calling = asyncio.create_task(getattr(bench.bus, channel)("header", path, payload))
    while not calling.done():
        await bench.bus.clock.advance(0.05)
    reply = await calling
    assert reply["ok"], reply
    return reply["result"]


@pytest.mark.parametrize(("theirs", "ours"), [*RPIO, *MQTT_IO], ids=lambda each: each if isinstance(each, str) else "")
async def test_every_row_of_parity_does_what_it_says(theirs, ours):
    line = ours[0] if ours[0].startswith("- ") else ""
    async with stage(f"{HEADER}      {line}\n") as bench:
        result = None if line else await run(bench, *ours)
        verdict = CHECKS[theirs](bench, result)
        assert await verdict if asyncio.iscoroutine(verdict) else verdict, result


def test_every_feature_of_the_reference_is_in_the_tables_or_named_beside_them():
    assert {theirs for theirs, _ in [*RPIO, *MQTT_IO]} == CHECKS.keys()
    part = TEXT.partition("## From RPIO")[2].partition("## From mqtt-io")[0]
    functions = [
        "setmode", "setup", "output", "input", "forceoutput", "forceinput", "set_pullupdn", "gpio_function",
        "channel_to_gpio", "setwarnings", "cleanup", "cleanup_interrupts", "sysinfo", "version",
        "add_interrupt_callback", "del_interrupt_callback", "wait_for_interrupts", "stop_waiting_for_interrupts",
        "add_tcp_callback", "close_tcp_client", "init_channel", "add_channel_pulse", "clear_channel",
        "clear_channel_gpio", "print_channel", "is_setup", "pulse_incr_us", "set_servo", "stop_servo", "rpio -i",
        "rpio -I", "rpio -s", "rpio -w", "--setinput", "--setoutput", "--sysinfo", "rpio-curses",
    ]  # fmt: skip
    assert [each for each in functions if each not in part] == []


@pytest.mark.parametrize("block", re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL))
def test_every_configuration_in_the_readme_is_taken(block):
    plan(SERVICE, config.parse(block, Config, {}), None, {})


def test_the_example_is_taken():
    path = Path(__file__).parents[2] / "services/gpio-bridge/src/gpio_bridge/example.yaml"
    plan(SERVICE, config.load(path, Config, {}), None, {})


def test_every_key_command_and_event_is_in_the_readme():
    kinds = [settings.In, settings.Out, settings.Pwm, settings.Servo, settings.Counter, settings.Frequency]
    keys = {key for kind in [settings.Device, *kinds, settings.Encoder] for key in kind.__struct_fields__}
    named = TEXT.replace("`class` (of", "`class_` (of")
    for name in [*keys, *commands(PinCommands), *(f"event/{each}" for each in EVENTS)]:
        assert re.search(rf"`{re.escape(name)}[`:]", named), name
    for key in settings.Press.__struct_fields__:
        assert f"{key}:" in TEXT


def test_what_events_carry_is_in_the_readme():
    for each in EVENTS.values():
        for key in each.fields.__struct_fields__:
            assert f'"{key}"' in TEXT, (each.name, key)
