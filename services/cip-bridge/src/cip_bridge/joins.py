"""Paths of joins by their numbers, such as `digital/1`."""

import re
from typing import Annotated

from msgspec import Meta

from busbar.codecs import cip
from busbar.codecs.cip import Join, Kind

# Numbers without leading zeros: each join has one path.
_SLOT = r"(0|[1-9]\d{0,2})"
_SMART = r"(0|[1-9]\d{0,9})"
_JOIN = r"(0|[1-9]\d{0,4})"
_PATTERN = re.compile(
    rf"(?:slot/{_SLOT}/)?(?:slot/{_SLOT}/)?(?:smart/{_SMART}/)?"
    rf"(digital|analog|serial)/{_JOIN}",
    re.ASCII,
)
_KINDS: dict[str, Kind] = {"digital": "digital", "analog": "analog", "serial": "serial"}
JoinRange = Annotated[
    str,
    Meta(
        pattern=rf"^{_PATTERN.pattern}(-[1-9]\d{{0,4}})?(?!\n)$",
        description="such as digital/1, smart/3/analog/2, slot/1/serial/1, "
        "or a range such as digital/1-10",
    ),
]


def generic(join: Join) -> str:
    """Return the path of a join by its numbers."""
    path = f"{join.kind}/{join.number}"
    if join.smart is not None:
        path = f"smart/{join.smart}/{path}"
    for slot in reversed(join.slots):
        path = f"slot/{slot}/{path}"
    return path


def parse(path: str) -> Join | None:
    """Return the join of a path by numbers, None for another path; raise OutOfRange."""
    found = _PATTERN.fullmatch(path)
    if found is None:
        return None
    outer, inner, smart, kind, number = found.groups()
    slots = tuple(int(slot) for slot in (outer, inner) if slot)
    smart_id = int(smart) if smart else None
    join = Join(_KINDS[kind], int(number), smart_id, slots)
    cip.check(join)
    return join
