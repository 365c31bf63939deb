"""Hardware PWM through sysfs.

Chips are found by their device, for their numbers change between kernels.

Sources: Documentation/driver-api/pwm.rst of the kernel; docs/protocols/gpio.md, 6.1
"""

import asyncio
import errno
from collections.abc import Mapping, Sequence
from pathlib import Path

from busbar.bridge.errors import DeviceRefused
from gpio_bridge.chip import Pulse

ROOT = Path("/sys/class/pwm")
APPEAR = 1.0  # s for a channel to appear, and for udev to give it to our group
LOOK = 0.01  # s
OVERLAY = "`dtoverlay=pwm-2chan` in config.txt gives the header its channels"
SHARED = "before the Pi 5, 12 and 18 have one, 13 and 19 the other"

# The device behind the chip, and the channel that each line of the header can have.
CHANNELS = {
    # BCM2835 to BCM2711, whatever comes before
    "20c000.pwm": {12: 0, 18: 0, 13: 1, 19: 1},
    "1f00098000.pwm": {12: 0, 13: 1, 18: 2, 19: 3},  # RP1 of the Pi 5
}


def find(offset: int, root: Path = ROOT) -> tuple[Path, int] | None:
    """Return the chip and the channel for a line of the header, None if none has it."""
    for chip in _chips(root):
        channel = _channels(_device(chip)).get(offset)
        if channel is not None and channel < _channel_count(chip):
            return chip, channel
    return None


def named(text: str, root: Path = ROOT) -> tuple[Path, int]:
    """Return the chip and the channel of `device/channel`.

    Raise DeviceRefused with those that there are.
    """
    device, _, number = text.rpartition("/")
    channel = int(number)
    for chip in _chips(root):
        if _device(chip) == device and channel < _channel_count(chip):
            return chip, channel
    known = [
        f"{_device(chip)}/0 to {_channel_count(chip) - 1}" for chip in _chips(root)
    ]
    listed = ", ".join(known) or f"none; {OVERLAY}"
    raise DeviceRefused(f"no PWM channel {text!r}; there are: {listed}")


class HardwarePulses:
    """One channel of a chip; `taken` are the channels that lines of ours have."""

    by = "hardware"

    def __init__(self, chip: Path, channel: int, taken: set[Path]) -> None:
        self._chip = chip
        self._channel = channel
        self._taken = taken
        self._folder = chip / f"pwm{channel}"
        if self._folder in taken:
            raise DeviceRefused(
                f"channel {channel} of hardware PWM drives another line already: "
                f"{SHARED}"
            )
        taken.add(self._folder)

    async def repeat(self, period: float, pulses: Sequence[Pulse]) -> None:
        if len(pulses) != 1 or pulses[0].start:
            raise DeviceRefused(
                "a channel of hardware PWM repeats one pulse a period; more needs "
                "`by: software`"
            )
        await self._export()
        length = round(period * 1e9)
        width = round(pulses[0].width * 1e9)
        # else a shorter period would be refused
        if self._read("duty_cycle") > length:
            self._write("duty_cycle", 0)
        self._write("period", length)
        self._write("duty_cycle", min(width, length))
        self._write("enable", 1)

    async def stop(self) -> None:
        """Write a pulse width of 0, and switch the channel off a period later."""
        if self._folder.exists() and self._read("enable"):
            self._write("duty_cycle", 0)
            await asyncio.sleep(self._read("period") / 1e9)
            self._write("enable", 0)

    async def close(self, keep: bool = False) -> None:
        """Give the channel back; one that is not unexported goes on by itself."""
        self._taken.discard(self._folder)
        if keep or not self._folder.exists():
            return
        await self.stop()
        self._put(self._chip / "unexport", self._channel)

    async def _export(self) -> None:
        if not self._folder.exists():
            self._put(self._chip / "export", self._channel)
        try:
            async with asyncio.timeout(APPEAR):
                while not self._usable():  # noqa: ASYNC110  # udev has no event
                    await asyncio.sleep(LOOK)
        except TimeoutError as error:
            raise DeviceRefused(
                f"no permission on {self._folder}: the user of this process has to be "
                f"in the group gpio"
            ) from error

    def _usable(self) -> bool:
        try:
            with (self._folder / "duty_cycle").open("r+"):
                return True
        except OSError:
            return False

    def _read(self, name: str) -> int:
        try:
            return int((self._folder / name).read_text())
        except (OSError, ValueError) as error:
            raise DeviceRefused(
                f"cannot read {self._folder / name}: {error}"
            ) from error

    def _write(self, name: str, value: int) -> None:
        self._put(self._folder / name, value)

    def _put(self, path: Path, value: int) -> None:
        try:
            path.write_text(str(value))
        except OSError as error:
            reasons = {
                errno.EBUSY: "another program has this channel",
                errno.EINVAL: f"the hardware cannot do {value}",
                errno.EACCES: (
                    "no permission: the user of this process has to be in the group "
                    "gpio"
                ),
            }
            why = reasons.get(error.errno or 0, str(error))
            raise DeviceRefused(f"{path}: {why}", errno=error.errno) from error


def _chips(root: Path) -> list[Path]:
    return sorted(root.glob("pwmchip*"))


def _device(chip: Path) -> str:
    return (chip / "device").resolve().name


def _channels(device: str) -> Mapping[int, int]:
    """Return the channel of each line of the header that a device can drive."""
    for end, channels in CHANNELS.items():
        if device.endswith(end):
            return channels
    return {}


def _channel_count(chip: Path) -> int:
    try:
        return int((chip / "npwm").read_text())
    except (OSError, ValueError):
        return 0
