"""Readings compared with their description: a good value fits the schema in `info`.

Source: docs/contract.md, 3.3.

What a description asks for is worked out once; a plain value then costs one look.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

from msgspec import inspect

from busbar.contract.messages import Fault
from busbar.contract.values import convert, limit
from busbar.errors import BusbarError, InternalError, OutOfRange

Rule = Callable[[Any], Fault | None]
NONE = type(None)


class Check:
    """The check of one type.

    `rules` has the kinds of plain values that are of the type, each with what is yet to
    be looked at, or None if there is nothing.
    """

    __slots__ = ("_type", "rules")

    def __init__(self, type_: Any) -> None:
        self._type = type_
        self.rules: Mapping[type, Rule | None] = _rules(inspect.type_info(type_))

    def fault(self, value: Any) -> Fault | None:
        """Return why a value is not good.

        Raise InternalError for one of another type: it is not to be published.
        """
        rule = self.rules.get(type(value), self._convert)
        return None if rule is None else rule(value)

    def _convert(self, value: Any) -> Fault | None:
        if isinstance(value, float) and value.is_integer() and int in self.rules:
            return self.fault(int(value))  # a whole number in JSON, too
        try:
            convert(value, self._type, InternalError)
        except OutOfRange as error:
            return fault_of(error)
        return None


def fault_of(error: BusbarError) -> Fault:
    return Fault(error.code, error.message)


def _rules(info: inspect.Type) -> dict[type, Rule | None]:
    match info:
        case inspect.Metadata():
            return _rules(info.type)
        case inspect.UnionType():
            return _rules_of_any(info)
        case inspect.AnyType():
            return dict.fromkeys((bool, int, float, str, NONE))
        case inspect.NoneType():
            return {NONE: None}
        case inspect.BoolType():
            return {bool: None}
        case inspect.IntType() if _is_closed(info):
            return {int: _bounds(info)}
        case inspect.FloatType() if _is_closed(info):
            return dict.fromkeys((float, int), _bounds(info))
        case inspect.StrType(min_length=None, max_length=None, pattern=None):
            return {str: None}
        case inspect.LiteralType():
            return dict.fromkeys(map(type, info.values), _choice(info))
    return {}


def _rules_of_any(info: inspect.UnionType) -> dict[type, Rule | None]:
    """Return the rules of several types, without kinds that more than one has."""
    found: dict[type, Rule | None] = {}
    doubled = set()
    for each in info.types:
        rules = _rules(each)
        doubled |= found.keys() & rules.keys()
        found |= rules
    for kind in doubled:
        del found[kind]
    return found


def _is_closed(info: inspect.IntType | inspect.FloatType) -> bool:
    """Return whether a range has no other limits than a minimum and a maximum."""
    return (info.gt, info.lt, info.multiple_of) == (None, None, None)


def _bounds(info: inspect.IntType | inspect.FloatType) -> Rule | None:
    if info.ge is None and info.le is None:
        return None
    low = -math.inf if info.ge is None else info.ge
    high = math.inf if info.le is None else info.le
    words = {"at least": info.ge, "at most": info.le}
    allowed = [f"{word} {limit(x)}" for word, x in words.items() if x is not None]
    outside = Fault(OutOfRange.code, f"out of range; allowed: {' and '.join(allowed)}")
    return lambda value: None if low <= value <= high else outside


def _choice(info: inspect.LiteralType) -> Rule:
    known = {(type(value), value) for value in info.values}
    names = ", ".join(map(str, info.values))
    outside = Fault(OutOfRange.code, f"out of range; allowed: {names}")
    return lambda value: None if (type(value), value) in known else outside
