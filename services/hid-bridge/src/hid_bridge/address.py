"""Addresses of devices: what of a device they name, and which devices they fit."""

import fnmatch
import re
from collections.abc import Sequence
from dataclasses import dataclass

_NUMBERS = re.compile(r"([0-9A-Fa-f]{1,4}):([0-9A-Fa-f]{1,4})", re.ASCII)
_NUMBER = re.compile(r"0[xX][0-9A-Fa-f]{1,4}|[0-9]{1,5}", re.ASCII)
FORM = "hid::VENDOR:PRODUCT (hex), or hid::KEY=TEXT"
KEYS = ("serial", "interface", "port", "page", "name")


@dataclass(frozen=True)
class HidNode:
    """A device as the system lists it."""

    path: str  # to open it
    vendor: int
    product: int
    bus: int = 0  # 3: USB, 5: Bluetooth
    name: str = ""
    manufacturer: str | None = None
    serial: str = ""
    port: str = ""  # where it is plugged in, 1-1.4; else the driver's own words
    interface: int | None = None
    pages: tuple[int, ...] = ()  # usage pages of its collections
    descriptor: bytes = b""

    def __str__(self) -> str:
        shown = f"{self.vendor:04x}:{self.product:04x} {self.name}".rstrip()
        where = f", port {self.port}" if self.port else ""
        part = "" if self.interface is None else f", interface {self.interface}"
        return f"{shown} ({self.path}{where}{part})"


@dataclass(frozen=True)
class Address:
    """What a device has to have; None: anything."""

    vendor: int | None = None
    product: int | None = None
    serial: str | None = None
    interface: int | None = None
    port: str | None = None
    page: int | None = None
    name: str | None = None  # with * for any text

    def fits(self, node: HidNode) -> bool:
        """Return whether a device is meant."""
        return (
            self.vendor in (None, node.vendor)
            and self.product in (None, node.product)
            and self.serial in (None, node.serial)
            and self.interface in (None, node.interface)
            and self.port in (None, node.port)
            and (self.page is None or self.page in node.pages)
            and (self.name is None or fnmatch.fnmatchcase(node.name, self.name))
        )


def parse(text: str) -> Address:
    """Return what an address names; raise ValueError."""
    scheme, *parts = text.split("::")
    if scheme != "hid" or not parts:
        raise ValueError(f"address: {text!r} is not {FORM}")
    found: dict[str, str | int] = {}
    for each in parts:
        for key, value in _part(each).items():
            if key in found:
                raise ValueError(f"address: {key} is there twice in {text!r}")
            found[key] = value
    return Address(**found)  # type: ignore[arg-type]  # by name


def _part(text: str) -> dict[str, str | int]:
    numbers = _NUMBERS.fullmatch(text)
    if numbers:
        return {"vendor": int(numbers[1], 16), "product": int(numbers[2], 16)}
    key, equals, value = text.partition("=")
    if key not in KEYS or not equals or not value:
        raise ValueError(
            f"address: {text!r} is neither VENDOR:PRODUCT nor one of "
            f"{', '.join(KEYS)} with =TEXT"
        )
    if key not in ("interface", "page"):
        return {key: value}
    if not _NUMBER.fullmatch(value):
        raise ValueError(f"address: {key}={value}: not a number such as 1 or 0x8D")
    return {key: int(value, 0 if value[:2] in ("0x", "0X") else 10)}


def short(node: HidNode, others: Sequence[HidNode]) -> str:
    """Return the shortest address that fits this device and none of the others."""
    text = f"hid::{node.vendor:04x}:{node.product:04x}"
    ways = []
    if node.serial and "::" not in node.serial:
        ways.append(f"::serial={node.serial}")
    if node.interface is not None:
        ways += [f"::interface={node.interface}"]
        ways += [f"{each}::interface={node.interface}" for each in ways[:-1]]
    if node.port and "::" not in node.port:
        ways.append(f"::port={node.port}")
        if node.interface is not None:
            ways.append(f"::port={node.port}::interface={node.interface}")
    for more in ("", *ways):
        address = parse(text + more)
        if [each for each in others if address.fits(each)] == [node]:
            return text + more
    return text
