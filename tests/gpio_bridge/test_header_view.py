"""The view of the header.

What pinctrl says, which chip has the header, and who has a line.
"""

import pytest

from gpio_bridge import bridge
from gpio_bridge.backends import libgpiod
from gpio_bridge.backends.sim import SimChip
from gpio_bridge.bridge import SERVICE
from gpio_bridge.pins.boards import board
from gpio_bridge.simulator.__main__ import pwm_tree
from tests.gpio_bridge import fakes
from tests.gpio_bridge.test_bridge import Bench, stage
from tests.gpio_bridge.test_commands import header
from tests.running import running

MUXES = """
pin 2 (gpio2): fe804000.i2c (GPIO UNCLAIMED) function alt0 group gpio2
pin 3 (gpio3): 1f00074000.i2c (GPIO UNCLAIMED) function i2c1 group gpio3
pin 4 (gpio4): (MUX UNCLAIMED) pinctrl:4 function gpio group gpio4
"""


async def test_functions_are_told_and_a_line_with_one_is_left_alone(tmp_path):
    (tmp_path / "sim").mkdir()
    (tmp_path / "sim/pinmux-pins").write_text(MUXES)
    async with stage(
        header(
            "name: a, line: 4, direction: out", more=f"    pinctrl_root: {tmp_path}\n"
        )
    ) as bench:
        assert await bench.ok("gpio_function", bcm=2) == {
            "function": "alt0",
            "reason": None,
        }
        assert await bench.ok("gpio_function", bcm=3) == {
            "function": None,
            "reason": "pinctrl calls it i2c1",
        }
        assert await bench.ok("gpio_function", bcm=4) == {
            "function": "out",
            "reason": None,
        }
        assert "line 2 has the function alt0" in await bench.refused(
            "forceinput", "device", bcm=2
        )
        bench.chip.occupy(7, "spi0 CS1")
        bench.chip.drive(8, True)
        rows = {each["line"]: each for each in await bench.ok("inspect", levels=True)}
        assert [
            (rows[line]["level"], rows[line]["consumer"]) for line in (2, 7, 8)
        ] == [
            (None, ""),
            (None, "spi0 CS1"),
            (True, ""),
        ]


@pytest.mark.parametrize(
    ("label", "rows", "pin"), [("pinctrl-bcm2711", 26, 32), ("expander", 54, None)]
)
async def test_only_the_chip_of_the_header_has_its_pins_and_its_pwm(
    label, rows, pin, monkeypatch, tmp_path
):
    sim = SimChip(label=label)
    monkeypatch.setattr(bridge, "this_board", lambda: board(0xC03111))
    monkeypatch.setattr(
        libgpiod, "find", lambda wanted: libgpiod.Path("/dev/gpiochip0")
    )
    monkeypatch.setattr(libgpiod.gpiod, "Chip", lambda path: fakes.Chip(sim))
    monkeypatch.setitem(__import__("sys").modules, "lgpio", None)
    text = header(
        "name: a, line: 12, direction: pwm", more=f"    pwm_root: {tmp_path}\n"
    )
    async with (
        pwm_tree(tmp_path),
        running(SERVICE, text.replace("backend: sim", "backend: gpiod")) as bus,
    ):
        await bus.status("header", "online")
        if pin is None:
            assert "software PWM needs lgpio" in await bus.bad("header", "a", "device")
        else:
            assert await bus.value("header", "a") == 0
        found = {each["line"]: each for each in await Bench(bus, {}).ok("inspect")}
        assert (len(found), found[12]["pin"]) == (rows, pin)


async def test_software_is_used_where_it_is_asked_for(tmp_path):
    text = header(
        ("name: a, line: 12, direction: pwm, by: software"),
        more=f"    pwm_root: {tmp_path}\n",
    )
    async with pwm_tree(tmp_path) as tree, stage(text) as bench:
        assert (await bench.bus.set("header", "a", 50))["ok"]
        assert bench.chip.waves[12].pulses == ((0.0, 0.005),)
        assert tree.channel(0) is None
