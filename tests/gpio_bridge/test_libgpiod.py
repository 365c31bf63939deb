"""The kernel's back end without a kernel: translation, finding a chip, errors."""

import errno
import os
from datetime import timedelta
from pathlib import Path

import gpiod
import pytest
from gpiod.line import Bias, Clock, Direction, Drive, Edge, Value

from busbar.errors import DeviceRefused, LinkLost
from gpio_bridge.backends import libgpiod, rpigpio
from gpio_bridge.backends.libgpiod import KernelChip, find, settings
from gpio_bridge.backends.sim import SimChip
from gpio_bridge.chip import LineSettings, NoEdges
from tests.gpio_bridge import fakes


def test_settings_are_those_of_libgpiod():
    assert settings(
        LineSettings("in", "up", active_low=True, edges=True, debounce=0.02)
    ) == gpiod.LineSettings(
        direction=Direction.INPUT,
        edge_detection=Edge.BOTH,
        bias=Bias.PULL_UP,
        active_low=True,
        debounce_period=timedelta(milliseconds=20),
        event_clock=Clock.MONOTONIC,
    )
    assert settings(
        LineSettings("out", "off", "open_drain", value=True)
    ) == gpiod.LineSettings(
        direction=Direction.OUTPUT,
        bias=Bias.DISABLED,
        drive=Drive.OPEN_DRAIN,
        output_value=Value.ACTIVE,
    )
    assert settings(LineSettings("out", drive="open_source")).drive is Drive.OPEN_SOURCE


@pytest.mark.parametrize(
    ("release", "fits"),
    [
        ("5.10.0-rpi", True),
        ("6.12.96+rpt-rpi-2712", True),
        ("5.9.16", False),
        ("4.19.118-v7l+", False),
        ("odd", True),
    ],
)
def test_version_2_of_the_interface_came_with_linux_5_10(release, fits):
    assert libgpiod.supported(release) is fits


@pytest.mark.parametrize("number", [errno.ENXIO, errno.ENODEV, errno.EOPNOTSUPP])
async def test_kernels_say_differently_that_a_line_has_no_interrupt(
    monkeypatch, number
):
    fake = fakes.Chip(SimChip(), OSError(number, os.strerror(number)))
    monkeypatch.setattr(libgpiod.gpiod, "Chip", lambda path: fake)
    chip = KernelChip(Path("/dev/gpiochip0"))
    with pytest.raises(NoEdges):
        await chip.request({5: LineSettings("in", edges=True)})
    await chip.close()


def test_as_is_asks_for_nothing_that_needs_a_direction():
    assert settings(LineSettings("as_is", "up", "open_drain")) == gpiod.LineSettings()


def chips(monkeypatch, folder, **labels):
    for name in labels:
        (folder / name).touch()
    made = {
        str(folder / name): SimChip(label=label)
        for name, label in labels.items()
        if label
    }

    def opened(path):
        behind = str(Path(path).resolve())
        if behind not in made:
            raise PermissionError(errno.EACCES, "Permission denied")
        return fakes.Chip(made[behind])

    monkeypatch.setattr(libgpiod.gpiod, "Chip", opened)


def test_the_header_is_found_by_label_whatever_the_number(monkeypatch, tmp_path):
    chips(
        monkeypatch,
        tmp_path,
        gpiochip0="brcmvirt-gpio",
        gpiochip11="pinctrl-rp1",
        gpiochip12="gpio-brcmstb",
    )
    (tmp_path / "gpiochip4").symlink_to("gpiochip11")  # as kernels of the Pi 5 have it
    assert find("auto", tmp_path) == tmp_path / "gpiochip11"
    assert find("brcmvirt-gpio", tmp_path) == tmp_path / "gpiochip0"
    assert (
        find(12, tmp_path)
        == find("12", tmp_path)
        == find("gpiochip12", tmp_path)
        == tmp_path / "gpiochip12"
    )
    assert find(str(tmp_path / "gpiochip12"), tmp_path) == tmp_path / "gpiochip12"


def test_a_chip_that_is_not_there_is_said_with_those_that_are(monkeypatch, tmp_path):
    with pytest.raises(
        LinkLost,
        match=(
            r"no Raspberry Pi that is known.*none: "
            r"this kernel has no GPIO"
        ),
    ):
        find("auto", tmp_path)
    chips(monkeypatch, tmp_path, gpiochip0="mcp23017", gpiochip1="mcp23017")
    with pytest.raises(
        LinkLost,
        match=(
            r"no chip 'mcp23018'.*gpiochip0 "
            r"\(mcp23017, 54 lines\), gpiochip1"
        ),
    ):
        find("mcp23018", tmp_path)
    with pytest.raises(
        LinkLost, match=("several chips have the label 'mcp23017'; give the path")
    ):
        find("mcp23017", tmp_path)


def test_a_chip_that_we_may_not_open_says_which_group_may(monkeypatch, tmp_path):
    chips(monkeypatch, tmp_path, gpiochip0=None)
    with pytest.raises(LinkLost, match=r"no permission on .*gpiochip0: "):
        find("auto", tmp_path)
    monkeypatch.setattr(
        libgpiod.grp, "getgrgid", lambda number: type("Group", (), {"gr_name": "gpio"})
    )
    with pytest.raises(LinkLost, match="has to be in the group gpio"):
        find("auto", tmp_path)
    monkeypatch.setattr(
        libgpiod.grp, "getgrgid", lambda number: type("Group", (), {"gr_name": "root"})
    )
    with pytest.raises(LinkLost, match="belongs to root alone; a udev rule"):
        find("auto", tmp_path)


async def test_libgpiod_itself_says_what_is_wrong_with_a_path(tmp_path):
    with pytest.raises(
        LinkLost,
        match=(
            r"there is no chip .*gpiochip9; there "
            r"are: none"
        ),
    ):
        KernelChip(tmp_path / "gpiochip9")
    with pytest.raises(
        LinkLost,
        match=(
            r"no GPIO chip, or this kernel is "
            r"older than 5.10"
        ),
    ):
        KernelChip(Path("/dev/null"))


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.EPERM, "no permission on"),
        (errno.EINVAL, "line 5 of pinctrl-bcm2711: the kernel says"),
        (errno.EBUSY, "line 5 is busy: 'w1' holds it"),
    ],
)
async def test_what_the_kernel_refuses_is_explained(monkeypatch, number, said):
    sim = SimChip(label="pinctrl-bcm2711")
    fake = fakes.Chip(sim, OSError(number, os.strerror(number)))
    sim.occupy(5, "w1")
    monkeypatch.setattr(libgpiod.gpiod, "Chip", lambda path: fake)
    chip = KernelChip(Path("/dev/gpiochip0"))
    with pytest.raises(DeviceRefused, match=said):
        await chip.request({5: LineSettings("in")})
    await chip.close()


async def test_a_chip_that_goes_away_breaks_the_link(monkeypatch):
    sim = SimChip(label="expander")
    fake = fakes.Chip(sim)
    monkeypatch.setattr(libgpiod.gpiod, "Chip", lambda path: fake)
    chip, broken = KernelChip(Path("/dev/gpiochip0")), []
    chip.on_broken = broken.append
    request = await chip.request(
        {5: LineSettings("in", edges=True)}, lambda edges: None
    )

    def gone():
        raise OSError(errno.ENODEV, "No such device")

    request._taken.read_edge_events = gone
    request._read()
    assert "No such device" in broken[0].message
    await chip.close()


def test_without_rpi_gpio_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "RPi", None)
    with pytest.raises(
        LinkLost,
        match=("the extra `rpigpio` or `rpi-lgpio` of busbar-gpio-bridge"),
    ):
        rpigpio.load()
