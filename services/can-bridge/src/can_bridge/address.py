"""Addresses of buses: can::INTERFACE::CHANNEL::BITRATE."""

import re

import msgspec

# interfaces that this bridge drives itself; python-can has the others
OWN = ("socket", "slcan", "usrcanet", "loopback")
NAME_LIMIT = 15  # characters of a network interface
_PCAN = re.compile(r"(usb|pci|lan|isa|dng|pcc)(?:bus)?(\d{1,2})", re.IGNORECASE)


class CanAddress(msgspec.Struct, frozen=True):
    """The parts of an address."""

    interface: str
    channel: str
    bitrate: int | None = None  # bit/s


def parse_address(address: str) -> CanAddress:
    """Return what `can::INTERFACE::CHANNEL::BITRATE` says; raise ValueError."""
    scheme, *parts = address.split("::")
    complete = 1 <= len(parts) <= 3 and all(parts)
    if scheme != "can" or not complete:
        raise ValueError(
            f"address: {address!r} is not can::socket::can0, "
            "can::slcan::/dev/ttyACM0::500000, can::pcan::usb1::125000, "
            "can::usrcanet::HOST:PORT, can::loopback, can::virtual::NAME or "
            "can::INTERFACE::CHANNEL::BITRATE"
        )
    interface, *rest = parts
    if interface == "loopback":
        if rest:
            raise ValueError(f"address: {address!r}: there is one loopback")
        return CanAddress(interface, "")
    if not rest:
        raise ValueError(f"address: {address!r}: no channel")
    if interface == "usrcanet":
        channel = ":".join(rest)
        endpoint(channel)
        return CanAddress(interface, channel)
    if interface == "socketcan":
        interface = "socket"
    channel = _channel(interface, rest[0])
    bitrate = _bitrate(rest[1]) if len(rest) > 1 else None
    return CanAddress(interface, channel, bitrate)


def _channel(interface: str, name: str) -> str:
    if interface == "socket":
        _check_interface_name(name)
    elif interface == "pcan":
        found = _PCAN.fullmatch(name)
        if found is not None:
            kind, number = found.groups()
            return f"PCAN_{kind.upper()}BUS{int(number)}"
    return name


def _check_interface_name(name: str) -> None:
    """Raise ValueError for a name that the kernel refuses."""
    one_word = name.split() == [name]
    if not one_word or "/" in name or len(name) > NAME_LIMIT:
        raise ValueError(f"address: {name!r} is no name of a network interface")


def _bitrate(text: str) -> int:
    bitrate = int(text) if text.isdecimal() else 0
    if not 1000 <= bitrate <= 20_000_000:
        raise ValueError(f"address: bit rate {text!r} is not 1000 to 20000000 bit/s")
    return bitrate


def endpoint(channel: str) -> tuple[str, int]:
    """Return host and port of a USR-CANET200; raise ValueError."""
    host, _, text = channel.rpartition(":")
    port = int(text) if text.isdecimal() else 0
    if not host or not 0 < port < 65536:
        raise ValueError(f"address: {channel!r} is not HOST:PORT")
    return host.strip("[]"), port
