"""Devices as the kernel lists them in /sys: numbers, names, descriptor, place."""

import re
from collections.abc import Iterator
from pathlib import Path

from busbar.bridge.errors import ProtocolError
from busbar.codecs import hid
from hid_bridge.address import HidNode

_USB = re.compile(r"(\d+-\d+(?:\.\d+)*):\d+\.(\d+)", re.ASCII)
_ID = re.compile(r"([0-9A-Fa-f]+):([0-9A-Fa-f]+):([0-9A-Fa-f]+)", re.ASCII)
_ENTER, _DIGIT = 28, 2  # of linux/input-event-codes.h
NODES_LIMIT = 256  # the kernel has 64 minors of hidraw


def hidraw_nodes(root: Path) -> list[HidNode]:
    """Return the devices that hidraw has; root is / but in a container or a test."""
    return list(_hidraw_nodes(root))


def _hidraw_nodes(root: Path) -> Iterator[HidNode]:
    for folder in _listed(root / "sys/class/hidraw"):
        about = _uevent(folder / "device/uevent")
        numbers = _ID.fullmatch(about.get("HID_ID", ""))
        if numbers is None:
            continue  # it has just gone
        bus, vendor, product = (int(each, 16) for each in numbers.groups())
        port, interface = _place(folder / "device", about.get("HID_PHYS", ""))
        descriptor = _bytes(folder / "device/report_descriptor")
        yield HidNode(
            path=str(root / "dev" / folder.name),
            vendor=vendor & 0xFFFF,
            product=product & 0xFFFF,
            bus=bus,
            name=about.get("HID_NAME", ""),
            serial=about.get("HID_UNIQ", ""),
            port=port,
            interface=interface,
            pages=_pages(descriptor),
            descriptor=descriptor,
        )


def keyboard_nodes(root: Path) -> list[HidNode]:
    """Return the devices that have keys for digits and Enter."""
    return list(_keyboard_nodes(root))


def _keyboard_nodes(root: Path) -> Iterator[HidNode]:
    for folder in _listed(root / "sys/class/input"):
        if not folder.name.startswith("event"):
            continue
        device = folder / "device"
        keys = _lowest_keys(_text(device / "capabilities/key"))
        if not keys >> _ENTER & keys >> _DIGIT & 1:
            continue
        port, interface = _place(device, _text(device / "phys"))
        yield HidNode(
            path=str(root / "dev/input" / folder.name),
            vendor=_hex(_text(device / "id/vendor")),
            product=_hex(_text(device / "id/product")),
            bus=_hex(_text(device / "id/bustype")),
            name=_text(device / "name"),
            serial=_text(device / "uniq"),
            port=port,
            interface=interface,
        )


def _listed(folder: Path) -> list[Path]:
    try:
        names = sorted(folder.iterdir(), key=lambda each: (len(each.name), each.name))
    except OSError:
        return []
    return names[:NODES_LIMIT]


def _place(device: Path, driver_says: str) -> tuple[str, int | None]:
    """Return the USB port and the interface; else what the driver says of the place."""
    for part in reversed(device.resolve().parts):
        found = _USB.fullmatch(part)
        if found:
            return found[1], int(found[2])
    where, _, number = driver_says.rpartition("/input")
    if where and number.isascii() and number.isdigit():
        return where, int(number)
    return driver_says, None


def _pages(descriptor: bytes) -> tuple[int, ...]:
    try:
        parsed = hid.parse(descriptor)
    except ProtocolError:
        return ()
    return tuple(dict.fromkeys(each >> 16 for each in parsed.applications))


def _uevent(file: Path) -> dict[str, str]:
    lines = _text(file).splitlines()
    pairs = (each.partition("=") for each in lines)
    return {key: value for key, _, value in pairs}


def _text(file: Path) -> str:
    return _bytes(file).decode(errors="replace").strip("\n")


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError:
        return b""


def _hex(text: str) -> int:
    try:
        return int(text, 16)
    except ValueError:
        return 0


def _lowest_keys(text: str) -> int:
    """Return the last word of a bitmap: the keys of lowest number, 32 at least."""
    return _hex(text.rpartition(" ")[2])
