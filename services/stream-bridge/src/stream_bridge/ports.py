"""Serial ports of this machine: found by path, USB serial number or place.

Looked up at each open, so that an adapter is found again under another name.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import msgspec

from busbar.bridge.errors import LinkLost

SYSTEM = Path("/")


class Adapter(msgspec.Struct, frozen=True):
    """A serial port that is there."""

    path: str
    title: str | None = None
    serial: str | None = None  # of the USB device
    place: str | None = None  # usb-0000:00:14.0-4


def find(port: str, by_serial: bool = False, system: Path = SYSTEM) -> str:
    """Return the path of a port; raise LinkLost.

    `port` is a path, a name in /dev or /dev/serial/by-id, a serial number of a USB
    device, or its place (usb-0000:00:14.0-4).
    """
    if port.startswith("/"):
        return port
    if not by_serial:
        for folder in ("dev", "dev/serial/by-id", "dev/serial/by-path"):
            path = system / folder / port
            if path.exists():
                return str(path)
    known = list(adapters(system))
    found = [each for each in known if port in (each.serial, each.place)]
    if len(found) == 1:
        return found[0].path
    if found:
        paths = ", ".join(each.path for each in found)
        raise LinkLost(f"{port} is not one port: {paths}; name it by its place")
    there = ", ".join(_shown(each) for each in known) or "none"
    raise LinkLost(f"there is no serial port {port}; there are: {there}")


def adapters(system: Path = SYSTEM) -> Iterator[Adapter]:
    """Yield the serial ports with hardware behind them."""
    for entry in sorted((system / "sys/class/tty").glob("*")):
        device = entry / "device"
        if not device.exists() or entry.name.startswith("ttyS"):
            continue
        usb = _usb_device(device.resolve())
        path = str(system / "dev" / entry.name)
        if usb is None:
            yield Adapter(path)
        else:
            serial = _text(usb / "serial")
            yield Adapter(path, _text(usb / "product"), serial, _place_of(usb))


def _usb_device(folder: Path) -> Path | None:
    """Return the folder of the USB device that a port belongs to."""
    for each in (folder, *list(folder.parents)[:4]):
        if (each / "idVendor").exists():
            return each
    return None


def _place_of(usb: Path) -> str | None:
    """Return where a USB device is plugged in, as the kernel's drivers write it."""
    _, dash, ports = usb.name.partition("-")
    for parent in usb.parents:
        if re.fullmatch(r"usb\d+", parent.name) and dash:
            return f"usb-{parent.parent.name}-{ports}"
    return None


def _text(file: Path) -> str | None:
    try:
        return file.read_text().strip() or None
    except OSError:
        return None


def _shown(adapter: Adapter) -> str:
    names = filter(None, (adapter.serial, adapter.place))
    return f"{adapter.path} ({', '.join(names)})" if adapter.serial else adapter.path
