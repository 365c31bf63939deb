"""Addresses of buses: can::INTERFACE::CHANNEL::BITRATE."""

import re

import msgspec

# interfaces that are driven here; python-can has the others
OWN = ("socket", "slcan", "usrcanet", "loopback")
_PCAN = re.compile(r"(usb|pci|lan|isa|dng|pcc)(?:bus)?(\d{1,2})", re.IGNORECASE)


class Place(msgspec.Struct, frozen=True):
    """What an address says: the interface, its channel, the bit rate where it is there."""

    interface: str
    channel: str
    bitrate: int | None = None  # bit/s


def place(address: str) -> Place:
    """Return what `can::INTERFACE::CHANNEL::BITRATE` says; raise ValueError."""
    scheme, *parts = address.split("::")
    if scheme != "can" or not 1 <= len(parts) <= 3 or not all(parts):
        raise ValueError(
            f"address: {address!r} is not can::socket::can0, "
            f"can::slcan::/dev/ttyACM0::500000, can::pcan::usb1::125000,"
            " can::usrcanet::HOST:PORT, can::loopback, can::virtual::NAME or "
            "can::INTERFACE::CHANNEL::BITRATE"
        )
    interface = {"socketcan": "socket"}.get(parts[0], parts[0])
    if interface == "usrcanet" and len(parts) == 3:
        parts = [interface, f"{parts[1]}:{parts[2]}"]
    if (interface == "loopback") != (len(parts) == 1):
        raise ValueError(
            f"address: {address!r}: "
            f"{'there is one loopback' if interface == 'loopback' else 'no channel'}"
        )
    channel = parts[1] if len(parts) > 1 else ""
    found = Place(
        interface,
        _channel(interface, channel),
        _bitrate(parts[2]) if len(parts) > 2 else None,
    )
    if interface == "usrcanet":
        endpoint(found.channel)
    return found


def _channel(interface: str, channel: str) -> str:
    if interface == "socket" and (
        len(channel) > 15 or "/" in channel or channel.split() != [channel]
    ):
        raise ValueError(f"address: {channel!r} is no name of a network interface")
    named = _PCAN.fullmatch(channel) if interface == "pcan" else None
    return f"PCAN_{named[1].upper()}BUS{int(named[2])}" if named else channel


def _bitrate(text: str) -> int:
    if not text.isdecimal() or not 1000 <= int(text) <= 20_000_000:
        raise ValueError(f"address: bit rate {text!r} is not 1000 to 20000000 bit/s")
    return int(text)


def endpoint(channel: str) -> tuple[str, int]:
    """Return host and port of a USR-CANET200; raise ValueError."""
    host, _, port = channel.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ValueError(f"address: {channel!r} is not HOST:PORT")
    return host.strip("[]"), int(port)
