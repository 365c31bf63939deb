"""Joins with names: one by one, and in ranges."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Literal

from msgspec import Meta
from msgspec.structs import replace

from busbar.bridge import config
from busbar.bridge.errors import OutOfRange
from busbar.codecs import cip
from busbar.codecs.cip import Join
from cip_bridge.joins import JoinRange, generic, parse

JOINS_LIMIT = 2000  # of one device
Resend = Literal["always", "changed", "never"]
_WORD = "[A-Za-z0-9*-][A-Za-z0-9_*-]{0,63}"
_RESERVED = r"(digital|analog|serial|smart|slot)(/|$)|clock$|\d+$"
_NAME_PATTERN = rf"^(?!{_RESERVED}){_WORD}(/{_WORD})*(?!\n)$"
_NAME = re.compile(_NAME_PATTERN)
Levels = Annotated[
    str,
    Meta(
        pattern=_NAME_PATTERN,
        description="levels of letters, digits, _ and - (* in that of a range), "
        "not beginning with digital, analog, serial, smart or slot, "
        "and no number, which would be that of a join",
    ),
]
Scale = tuple[float, float, float, float]
Momentary = bool | Annotated[float, Meta(gt=0, le=10, description="s, at most 10")]


class NamedJoin(config.Labels, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A join with a name, which replaces its number; or a range, such as digital/1-10.

    Each `*` in the name and title of a range is the place within it, from 1.
    """

    join: JoinRange
    name: Levels
    signed: bool = False  # an analog is -32768 to 32767
    scale: Scale | None = None  # of an analog: [raw, raw, value, value]
    feedback: JoinRange | None = None  # the join of its value, where it is another one
    momentary: Momentary = False  # a set is a press of so many s
    resend: Resend | None = None  # None: as the device has it
    received: bool | None = None  # None: as the device has it

    def __post_init__(self) -> None:
        numbered = _members("join", self.join)
        kind = numbered[0].kind
        if self.feedback is not None:
            self._check_feedback(self.feedback, numbered)
        if (len(numbered) > 1) != ("*" in self.name):
            raise ValueError("name: a range has * in its name, and only a range")
        if _NAME.search(self.name.replace("*", "1")) is None:
            raise ValueError(f"name: {self.name!r} would be that of a join by number")
        if kind != "analog":
            self._check_not_analog()
        if kind != "digital" and self.momentary:
            raise ValueError("momentary: only for a digital join")
        if self.scale is not None:
            self._check_scale(self.scale)

    def _check_feedback(self, feedback: str, numbered: list[Join]) -> None:
        others = _members("feedback", feedback)
        kind = numbered[0].kind
        if others[0].kind != kind:
            raise ValueError(f"feedback: {feedback} is no {kind} join")
        if len(others) != len(numbered):
            raise ValueError(
                f"feedback: {feedback} has {len(others)} joins, {self.join} has "
                f"{len(numbered)}"
            )

    def _check_not_analog(self) -> None:
        if self.signed:
            raise ValueError("signed: only for an analog join")
        if self.scale:
            raise ValueError("scale: only for an analog join")

    def _check_scale(self, scale: Scale) -> None:
        low, high = (-32768, 32767) if self.signed else (0, 65535)
        first_raw, last_raw, first, last = scale
        if not (low <= first_raw < last_raw <= high):
            raise ValueError(
                f"scale: the first two are raw values, rising, from {low} to {high}"
            )
        if first == last:
            raise ValueError("scale: the last two are the same")

    def members(self) -> Iterator["NamedJoin"]:
        """Yield each join of a range under its own name."""
        numbered = _members("join", self.join)
        if len(numbered) == 1:
            yield self
            return
        others = _members("feedback", self.feedback or self.join)
        for place, (join, other) in enumerate(zip(numbered, others, strict=True), 1):
            yield replace(
                self,
                join=generic(join),
                name=self.name.replace("*", f"{place}"),
                title=self.title and self.title.replace("*", f"{place}"),
                feedback=generic(other) if self.feedback else None,
            )


def expanded(joins: Iterable[NamedJoin]) -> list[NamedJoin]:
    """Return the joins with each range as its members."""
    return [member for each in joins for member in each.members()]


def _members(key: str, path: str) -> list[Join]:
    """Return the joins of a path or range; raise ValueError for one that cannot be."""
    first, _, last = path.partition("-")
    try:
        join = parse(first)
        if join is None:
            raise ValueError(f"{key}: {path} is no join")
        end = int(last) if last else join.number
        cip.check(join._replace(number=end))
    except OutOfRange as error:
        raise ValueError(f"{key}: {error.message}") from error
    if end < join.number:
        raise ValueError(f"{key}: {path} ends before it begins")
    if end - join.number >= JOINS_LIMIT:
        raise ValueError(f"{key}: {path} has more than {JOINS_LIMIT} joins")
    return [join._replace(number=each) for each in range(join.number, end + 1)]


# A device's description is one message of at most 1 MiB; nobody sees a larger one.
Joins = Annotated[
    tuple[NamedJoin, ...],
    Meta(
        max_length=JOINS_LIMIT,
        description=f"a list, at most {JOINS_LIMIT} of one device, "
        "such as [{join: digital/1-10, name: zone/*}]",
    ),
]


def check_joins(joins: Sequence[NamedJoin]) -> None:
    """Raise ValueError for a join, a feedback or a name that is there twice.

    Or for too many of them.
    """
    if len(joins) > JOINS_LIMIT:
        raise ValueError(f"joins: {len(joins)}; allowed: at most {JOINS_LIMIT}")
    for of in (_written, _feedback, _name):
        for value, count in Counter(map(of, joins)).most_common(1):
            if count > 1:
                raise ValueError(f"joins: {value!r} is there twice")


def _written(join: NamedJoin) -> str:
    return join.join


def _feedback(join: NamedJoin) -> str:
    return join.feedback or join.join


def _name(join: NamedJoin) -> str:
    return join.name
