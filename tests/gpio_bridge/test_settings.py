import pytest

from busbar.config import loader
from busbar.errors import ConfigError
from gpio_bridge.settings import Config, Encoder, In, Out

HEAD = "bridge: {name: pi1}\ndevices:\n"


def parsed(*lines, more=""):
    return loader.parse(
        (f"{HEAD}  - name: header\n{more}    lines:\n")
        + "".join(f"      - {{{each}}}\n" for each in lines),
        Config,
        {},
    )


def test_the_configuration_of_the_issue_is_taken():
    (device,) = parsed(
        "name: door, line: 17, direction: in, pull: up, active_low: true, edges: both, "
        "debounce: {mode: settle, time: 0.02}",
        (
            "name: lamp, line: 27, direction: out, initial: keep, at_exit: keep, "
            "on_broker_loss: keep"
        ),
        "name: fan, line: 18, direction: pwm, frequency: 100, class: fan",
        "name: pan, line: 13, direction: servo",
        "name: flow, line: 22, direction: counter, unit: l, scale: 0.00222",
        "name: knob, line: [5, GPIO6], direction: encoder",
        more="    backend: gpiod\n    chip: auto\n    numbering: BCM\n",
    ).devices
    assert [type(each) for each in device.lines[:2]] == [In, Out]
    assert isinstance(device.lines[5], Encoder)
    assert device.lines[5].line == (5, "GPIO6")
    assert device.lines[2].class_ == "fan"
    assert device.address == "gpiod::auto"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("name: a, line: 1, direction: inn", r'unknown value "inn"; did you mean.*in'),
        ("name: a, line: 1, direction: in, initial: high", "unknown key"),
        (
            ("name: a, line: 1, direction: out, initial: up"),
            "allowed: high, keep, low, off, on",
        ),
        ("name: a, line: -1, direction: in", "line"),
        ("name: _a, line: 1, direction: in", "levels of letters"),
        ("name: a, line: 1, direction: in, debounce: {time: 0}", "time"),
        (
            ("name: a, line: 1, direction: servo, pulse_range: [2000, 1000]"),
            "pulse_range: two rising widths",
        ),
        (
            ("name: a, line: 1, direction: servo, pulse_range: [2000, 30000]"),
            "below one period, 20000 us",
        ),
        (
            ("name: a, line: 1, direction: servo, angle_range: [5, 5]"),
            "both ends are the same",
        ),
        ("name: a, line: 1, direction: out, drives: wall/1", "only for backend: sim"),
        ("name: a, direction: in", "line: missing"),
        (
            ("name: a, line: 1, direction: pwm, by: software, channel: x.pwm/0"),
            "channel: one of hardware PWM",
        ),
    ],
)
def test_what_is_wrong_is_said_with_what_is_allowed(line, said):
    with pytest.raises(ConfigError, match=said):
        parsed(line)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (
            ("name: a, line: 1, direction: in", "name: a, line: 2, direction: in"),
            "name 'a' is there twice",
        ),
        (
            ("name: a, line: 1, direction: in", "name: b, line: 1, direction: out"),
            "line 1 is there twice",
        ),
        (
            (
                "name: a, line: 1, direction: pwm",
                "name: a/frequency, line: 2, direction: in",
            ),
            "a/frequency",
        ),
        (("name: a, line: [3, 3], direction: encoder",), "line 3 is there twice"),
    ],
)
def test_nothing_is_there_twice(lines, said):
    with pytest.raises(ConfigError, match=said):
        parsed(*lines)


def test_keys_of_the_simulated_chip_are_for_that_one():
    with pytest.raises(ConfigError, match="stimuli: only for backend: sim"):
        parsed(
            "name: a, line: 1, direction: in",
            more=("    stimuli: [{line: 1, high: 1, low: 1}]\n"),
        )
    with pytest.raises(ConfigError, match="drives 'wall', which is no simulated one"):
        parsed(
            ("name: a, line: 1, direction: out, drives: wall/1"),
            more="    backend: sim\n",
        )
    with pytest.raises(ConfigError, match="by the kernel's name"):
        parsed("name: a, line: 1, direction: in", more="    numbering: names\n")
    with pytest.raises(ConfigError, match="'bridge' is the bridge itself"):
        loader.parse("bridge: {name: pi1}\ndevices: [{name: bridge}]", Config, {})
