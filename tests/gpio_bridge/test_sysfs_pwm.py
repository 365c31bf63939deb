"""Hardware PWM on a folder that behaves as sysfs does."""

import asyncio
import errno

import pytest

from busbar.errors import DeviceRefused
from busbar.testing.fakes import Clock, settle
from gpio_bridge.backends import sysfs_pwm
from gpio_bridge.backends.sysfs_pwm import HardwarePulses
from gpio_bridge.chip import Pulse
from gpio_bridge.simulator.__main__ import PwmTree, pwm_tree


def test_a_channel_is_found_by_the_device_behind_it_whatever_its_number(tmp_path):
    assert sysfs_pwm.find(18, tmp_path) is None
    four = PwmTree(tmp_path / "4", "fe20c000.pwm", 2, "pwmchip3")
    assert sysfs_pwm.find(18, four.root) == (four.chip, 0)
    assert sysfs_pwm.find(19, four.root) == (four.chip, 1)
    assert sysfs_pwm.find(17, four.root) is None
    five = PwmTree(tmp_path / "5", "1f00098000.pwm", 4)
    assert [sysfs_pwm.find(line, five.root)[1] for line in (12, 13, 18, 19)] == [
        0,
        1,
        2,
        3,
    ]
    assert sysfs_pwm.find(18, PwmTree(tmp_path / "other", "1000.pwm", 4).root) is None
    # dtoverlay=pwm has one channel
    assert sysfs_pwm.find(19, PwmTree(tmp_path / "one", "20c000.pwm", 1).root) is None


def test_a_channel_can_be_named(tmp_path):
    tree = PwmTree(tmp_path, "1000.pwm", 4)
    assert sysfs_pwm.named("1000.pwm/3", tmp_path) == (tree.chip, 3)
    with pytest.raises(
        DeviceRefused,
        match=(
            r"no PWM channel '1000.pwm/4'; there "
            r"are: 1000.pwm/0 to 3"
        ),
    ):
        sysfs_pwm.named("1000.pwm/4", tmp_path)
    with pytest.raises(DeviceRefused, match="none; `dtoverlay=pwm-2chan`"):
        sysfs_pwm.named("1000.pwm/4", tmp_path / "nowhere")


async def test_pulses_are_a_period_and_a_width(tmp_path):
    async with pwm_tree(tmp_path) as tree:
        channel = HardwarePulses(tree.chip, 1, set())
        await channel.repeat(0.01, [Pulse(0.0, 0.0025)])
        assert tree.channel(1) == {
            "period": 10_000_000,
            "duty_cycle": 2_500_000,
            "enable": 1,
        }
        await channel.repeat(0.001, [Pulse(0.0, 0.0005)])
        assert tree.channel(1) == {
            "period": 1_000_000,
            "duty_cycle": 500_000,
            "enable": 1,
        }
        with pytest.raises(DeviceRefused, match="one pulse a period"):
            await channel.repeat(0.01, [Pulse(0.0, 0.001), Pulse(0.005, 0.001)])


async def test_a_width_is_never_longer_than_its_period(monkeypatch, tmp_path):
    write = sysfs_pwm.Path.write_text

    def refusing(path, text):
        """Write as the kernel does, which takes no width beyond the period."""
        now = tree.channel(0)
        if now and path.name in now:
            now[path.name] = int(text)
            if now["duty_cycle"] > now["period"]:
                raise OSError(errno.EINVAL, "Invalid argument")
        return write(path, text)

    async with pwm_tree(tmp_path) as tree:
        channel = HardwarePulses(tree.chip, 0, set())
        monkeypatch.setattr(sysfs_pwm.Path, "write_text", refusing)
        for period, width in (
            (0.01, 0.01),
            (0.001, 0.0005),
            (0.02, 0.02),
            (0.002, 0.0001),
            (0.002, 0.002),
        ):
            await channel.repeat(period, [Pulse(0.0, width)])
            wanted = {
                "period": round(period * 1e9),
                "duty_cycle": round(width * 1e9),
                "enable": 1,
            }
            assert tree.channel(0) == wanted


async def test_stopping_ends_with_the_period_that_runs(tmp_path):
    clock = Clock()
    async with pwm_tree(tmp_path) as tree:
        channel = HardwarePulses(tree.chip, 0, set())
        await channel.stop()  # nothing runs
        await channel.repeat(10.0, [Pulse(0.0, 5.0)])
        stopping = asyncio.create_task(channel.stop())
        await settle()
        assert tree.channel(0) == {
            "period": 10_000_000_000,
            "duty_cycle": 0,
            "enable": 1,
        }
        await clock.advance(10)
        await stopping
        assert tree.channel(0)["enable"] == 0
        again = asyncio.create_task(channel.stop())
        await settle()
        assert again.done()  # there is no period to wait for


async def test_closing_gives_the_channel_back_or_lets_it_go_on(tmp_path):
    async with pwm_tree(tmp_path) as tree:
        channel = HardwarePulses(tree.chip, 0, set())
        await channel.repeat(0.01, [Pulse(0.0, 0.001)])
        await channel.close(keep=True)
        tree.look()
        assert tree.channel(0)["enable"] == 1
        await channel.close()
        tree.look()
        assert tree.channel(0) is None


async def test_a_channel_that_never_becomes_ours_says_which_group(tmp_path):
    clock, tree = Clock(), PwmTree(tmp_path)  # nobody looks at `export`
    task = asyncio.create_task(
        HardwarePulses(tree.chip, 0, set()).repeat(0.01, [Pulse(0.0, 0.001)])
    )
    await clock.advance(2)
    with pytest.raises(DeviceRefused, match=r"no permission on .*pwm0: .* group gpio"):
        await task


async def test_what_the_kernel_refuses_is_said(tmp_path):
    tree = PwmTree(tmp_path)
    (tree.chip / "export").unlink()
    (tree.chip / "export").mkdir()
    with pytest.raises(DeviceRefused) as caught:
        await HardwarePulses(tree.chip, 0, set()).repeat(0.01, [Pulse(0.0, 0.001)])
    assert caught.value.detail["errno"] == errno.EISDIR


async def test_a_channel_drives_one_line_until_it_is_given_back(tmp_path):
    async with pwm_tree(tmp_path) as tree:
        taken = set()
        first = HardwarePulses(tree.chip, 0, taken)
        with pytest.raises(
            DeviceRefused,
            match=(
                r"channel 0 .* another line already: "
                r"before the Pi 5"
            ),
        ):
            HardwarePulses(tree.chip, 0, taken)
        await first.close()
        HardwarePulses(tree.chip, 0, taken)
