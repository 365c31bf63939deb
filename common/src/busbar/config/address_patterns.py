"""Patterns of device addresses: part by part, host and port apart.

An address is parts with `::` between them: `tcp::HOST:PORT`, `can::socket::can0`,
`modbus::rtu::/dev/ttyUSB0::9600::8N1`. A pattern is written like an address:

- `*` within a word, a level of a path or a label of a host's name stands for letters,
  digits, `_` and `-` there; `tcp::bench-*.lab:5025` admits `bench-1.lab` and neither
  `bench-1.lab.elsewhere` nor `bench-1.elsewhere.lab`.
- `*` for a whole host, port or part stands for any; as the last part for all that may
  follow, too.
- A network admits the addresses in it, written as such: `tcp::10.0.7.0/24:5025`,
  `tcp::[fd00::/64]:5025`. A name that is looked up there is none of them, so that
  whoever runs the name service decides nothing.
"""

import re
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

Matcher = Callable[[str], bool]

# `::` that is not inside the brackets of an IPv6 host
_BETWEEN = re.compile(r"::(?![^\[]*\])")
_PLACE = re.compile(r"(?:\[([^\[\]]*)\]|([^\[\]]*?))(?::([^:\[\]]*))?")
_NUMBERS = re.compile(r"(?=.*\d)(\d+|\*)(\.(\d+|\*))*")
# what the resolver takes as (the last part of) a number: 127.1, 0x7f000001
_NUMERIC = re.compile(r"\d+|0[xX][0-9a-fA-F]*")


class AddressPattern:
    """One pattern; raise ValueError for what cannot be one."""

    def __init__(self, text: str) -> None:
        self._text = text
        parts = _BETWEEN.split(text)
        self._open_end = parts[-1] == "*"
        if self._open_end:
            parts.pop()
        try:
            if "?" in text:
                raise ValueError("`?` is no wildcard; allowed: *")
            self._parts = [_part(part) for part in parts]
        except ValueError as error:
            raise ValueError(f"{text!r}: {error}") from error

    def admits(self, address: str) -> bool:
        """Return whether an address is one of those that are meant."""
        if address == self._text:
            return True
        parts = _BETWEEN.split(address)
        known = len(self._parts)
        complete = len(parts) == known or (self._open_end and len(parts) > known)
        if not complete:
            return False
        pairs = zip(self._parts, parts, strict=False)
        return all(matches(part) for matches, part in pairs)


def _part(text: str) -> Matcher:
    if text == "*":
        return _any
    if text.startswith(("/", "@/")):
        return _path(text)
    host, port = _place(text)
    if host is None:
        raise ValueError(f"{text!r} is no host (an IPv6 host in brackets)")
    matches_host = _host(host)
    matches_port = _port(port)

    def matches(part: str) -> bool:
        host, port = _place(part)
        return host is not None and matches_host(host) and matches_port(port)

    return matches


def _any(_: str) -> bool:
    return True


def _place(text: str) -> tuple[str | None, str | None]:
    """Return host and port; no host: this is no place."""
    found = _PLACE.fullmatch(text)
    if found is None:
        return None, None
    bracketed, plain, port = found.groups()
    if bracketed is None:
        return plain, port
    if not isinstance(_literal(bracketed.partition("/")[0]), IPv6Address):
        return None, None
    return bracketed, port


def _port(text: str | None) -> Callable[[str | None], bool]:
    if text == "*":
        return lambda port: port is not None and port.isdecimal()
    if text is not None and not text.isdecimal():
        raise ValueError(f"{text!r} is no port: allowed: a number or *")
    return lambda port: port == text


def _host(text: str) -> Matcher:
    if text == "*":
        return _any
    if "/" in text:
        network = ip_network(text)
        return lambda host: (found := _literal(host)) is not None and found in network
    literal = _literal(text)
    if literal is not None:
        return lambda host: _literal(host) == literal
    if "*" not in text:
        return lambda host: host == text
    if _NUMBERS.fullmatch(text):
        raise ValueError("addresses are given as a network, such as 10.0.7.0/24")
    pattern = _compiled(text, r"[A-Za-z0-9_-]*")
    return lambda host: _is_name(host) and pattern.fullmatch(host) is not None


def _path(text: str) -> Matcher:
    pattern = _compiled(text, r"[^/]*")

    def matches(part: str) -> bool:
        ups = {".", ".."}.intersection(part.split("/"))
        return not ups and pattern.fullmatch(part) is not None

    return matches


def _compiled(text: str, star: str) -> re.Pattern[str]:
    return re.compile(star.join(map(re.escape, text.split("*"))))


def _is_name(host: str) -> bool:
    """True for what is looked up as a name, not read as an address."""
    return not _NUMERIC.fullmatch(host.rpartition(".")[2]) and _literal(host) is None


def _literal(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None
