"""Paths of joins by their numbers, such as `digital/1`."""

import re
from typing import Annotated

from msgspec import Meta

from busbar.codecs import cip
from busbar.codecs.cip import Join, Kind

# one way of writing a number
_SMALL, _LARGE, _JOIN = (rf"(0|[1-9]\d{{0,{digits}}})" for digits in (2, 9, 4))
_PATTERN = re.compile(
    rf"(?:slot/{_SMALL}/)?(?:slot/{_SMALL}/)?(?:smart/{_LARGE}/)?(digital|analog|serial)/{_JOIN}",
    re.ASCII,
)
_KINDS: dict[str, Kind] = {"digital": "digital", "analog": "analog", "serial": "serial"}
JoinPath = Annotated[
    str,
    Meta(
        pattern=rf"^{_PATTERN.pattern}(?!\n)$",
        description=("such as digital/1, smart/3/analog/2 or slot/1/serial/1"),
    ),
]


def generic(join: Join) -> str:
    """Return the path of a join by its numbers."""
    slot = "".join(f"slot/{each}/" for each in join.slots)
    smart = "" if join.smart is None else f"smart/{join.smart}/"
    return f"{slot}{smart}{join.kind}/{join.number}"


def parse(path: str) -> Join | None:
    """Return the join of a path by numbers, None for another path; raise OutOfRange."""
    found = _PATTERN.fullmatch(path)
    if found is None:
        return None
    outer, inner, smart, kind, number = found.groups()
    slots = tuple(int(each) for each in (outer, inner) if each)
    join = Join(_KINDS[kind], int(number), int(smart) if smart else None, slots)
    cip.check(join)
    return join
