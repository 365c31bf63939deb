"""Validation by JSON Schema, as far as `info` needs it.

An unknown keyword says nothing of a value, as the standard has it. A schema of another
program is checked first (`foreign`): here it has the shape that it should.

Source: JSON Schema 2020-12, validation.
"""

import itertools
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from busbar.cli.schemas.cpu_limit import OutOfTimeError, cpu_limit

Schema = Any  # a mapping, or true or false
Root = Mapping[str, Any]

LONGEST = 1.0  # s of CPU; a pattern may backtrack, alternatives multiply

TYPES: Mapping[str, Callable[[Any], bool]] = {
    "null": lambda value: value is None,
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: _is_number(value) and value == value // 1,
    "number": lambda value: _is_number(value),
    "string": lambda value: isinstance(value, str),
    "array": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
}


class UndecidedError(Exception):
    """Whether a value is as its schema says would take too long to find out."""


def problem(value: Any, schema: Schema, root: Schema = None) -> str | None:
    """Return what is wrong with a value, None if it is as the schema says.

    Raise UndecidedError.
    """
    if root is None:
        root = schema
    try:
        with cpu_limit(LONGEST):
            return _problem(value, schema, root)
    except OutOfTimeError as error:
        text = f"not checked by its schema within {LONGEST:g} s"
        raise UndecidedError(text) from error
    except RecursionError as error:
        raise UndecidedError("nested too deeply for its schema") from error


def referred(reference: str, root: Schema) -> Any:
    """Return the schema that a reference leads to, None if there is none."""
    found: Any = root
    for part in reference.removeprefix("#").split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(found, list) and key.isdecimal() and int(key) < len(found):
            found = found[int(key)]
        elif isinstance(found, Mapping):
            found = found.get(key)
        else:
            return None
    return found


def _problem(value: Any, schema: Schema, root: Root) -> str | None:
    if isinstance(schema, bool):
        return None if schema else f"{shown(value)} is not allowed"
    for keyword, rule in _RULES.items():
        if keyword in schema:
            wrong = rule(value, schema, root)
            if wrong is not None:
                return wrong
    return None


def shown(value: Any) -> str:
    """Return a value for a message: short."""
    text = repr(value)
    if len(text) > 80:
        return f"{text[:77]}..."
    return text


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, bool) != isinstance(other, bool):  # True == 1 in Python
        return False
    return bool(one == other)


def _reference(value: Any, schema: Root, root: Root) -> str | None:
    found = referred(schema["$ref"], root)
    if found is None:
        return f"the schema has no {schema['$ref']}"
    return _problem(value, found, root)


def _type(value: Any, schema: Root, root: Root) -> str | None:
    wanted = schema["type"]
    names = [wanted] if isinstance(wanted, str) else wanted
    for name in names:
        if name in TYPES and TYPES[name](value):
            return None
    return f"{shown(value)} is no {' or '.join(names)}"


def _enum(value: Any, schema: Root, root: Root) -> str | None:
    allowed = schema["enum"]
    if any(_equal(value, each) for each in allowed):
        return None
    return f"{shown(value)} is none of {shown(allowed)}"


def _const(value: Any, schema: Root, root: Root) -> str | None:
    wanted = schema["const"]
    if _equal(value, wanted):
        return None
    return f"{shown(value)} is not {shown(wanted)}"


def _any(value: Any, schema: Root, root: Root) -> str | None:
    if "discriminator" in schema and isinstance(value, dict):
        return _tagged(value, schema["discriminator"], root)
    alternatives = schema.get("anyOf", schema.get("oneOf"))
    wrong = [_problem(value, each, root) for each in alternatives]
    fitting = wrong.count(None)
    if not fitting:
        return "; ".join(filter(None, wrong))
    if fitting == 1 or "anyOf" in schema:
        return None
    return f"{shown(value)} fits {fitting} of oneOf"


def _tagged(value: dict[str, Any], how: Root, root: Root) -> str | None:
    """Look only at the alternative that a value says it is.

    Source: OpenAPI 3.1, discriminator object.
    """
    name = how["propertyName"]
    known = how["mapping"]
    if name not in value:
        return f"{name!r} is missing"
    tag = value[name]
    if not isinstance(tag, str) or tag not in known:
        allowed = shown(list(known))
        return f"{name}: {shown(tag)} is none of {allowed}"
    return _problem(value, {"$ref": known[tag]}, root)


def _all(value: Any, schema: Root, root: Root) -> str | None:
    for each in schema["allOf"]:
        wrong = _problem(value, each, root)
        if wrong is not None:
            return wrong
    return None


def _not(value: Any, schema: Root, root: Root) -> str | None:
    if _problem(value, schema["not"], root) is not None:
        return None
    return f"{shown(value)} is what the schema excludes"


def _bound(
    keyword: str,
    within: Callable[[Any, Any], bool],
    measure: Callable[[Any], Any],
    what: Any,
) -> Any:
    """Return the rule of a keyword that limits a number, or the length of something."""

    def rule(value: Any, schema: Root, root: Root) -> str | None:
        limit = schema[keyword]
        fine = not what(value) or within(measure(value), limit)
        if fine:
            return None
        return f"{shown(value)}: {keyword} is {limit}"

    return rule


def _pattern(value: Any, schema: Root, root: Root) -> str | None:
    if not isinstance(value, str) or _matches(schema["pattern"], value) is not False:
        return None
    return f"{shown(value)} does not match {schema['pattern']}"


def _matches(pattern: str, text: str) -> bool | None:
    """Return whether a text matches, None if the pattern is beyond Python's `re`."""
    try:
        return re.search(pattern, text) is not None
    except re.error:
        return None


def _members(value: Any, schema: Root, root: Root) -> str | None:
    if not isinstance(value, dict):
        return None
    others = schema.get("additionalProperties", True)
    for key, member in value.items():
        rules = _rules_of(key, schema)
        if not rules and others is False:
            allowed = ", ".join(schema.get("properties", ())) or "nothing"
            return f"unknown key {key!r}; allowed: {allowed}"
        for each in rules or [others]:
            wrong = _problem(member, each, root)
            if wrong is not None:
                return f"{key}: {wrong}"
    return None


def _rules_of(key: str, schema: Root) -> list[Schema]:
    """Return the schemas of a member, by its name and by patterns."""
    known = schema.get("properties", {})
    rules: list[Schema] = [known[key]] if key in known else []
    for pattern, each in schema.get("patternProperties", {}).items():
        match = _matches(pattern, key)
        if match:
            rules.append(each)
        elif match is None:
            rules.append(True)
    return rules


def _names(value: Any, schema: Root, root: Root) -> str | None:
    if not isinstance(value, dict):
        return None
    for name in value:
        wrong = _problem(name, schema["propertyNames"], root)
        if wrong is not None:
            return wrong
    return None


def _required(value: Any, schema: Root, root: Root) -> str | None:
    if not isinstance(value, dict):
        return None
    for key in schema["required"]:
        if key not in value:
            return f"{key!r} is missing"
    return None


def _items(value: Any, schema: Root, root: Root) -> str | None:
    if not isinstance(value, list):
        return None
    first = schema.get("prefixItems", [])
    others = itertools.repeat(schema.get("items", True))
    rules = itertools.chain(first, others)
    for index, (item, rule) in enumerate(zip(value, rules, strict=False)):
        wrong = _problem(item, rule, root)
        if wrong is not None:
            return f"[{index}]: {wrong}"
    return None


def _is(*types: type) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, types)


def _divides(value: float, step: float) -> bool:
    try:
        quotient = value / step
    except OverflowError:
        return True  # beyond what can be said
    if math.isinf(quotient):
        return True
    tolerance = 1e-9 * max(1.0, abs(quotient))
    return abs(quotient - round(quotient)) < tolerance


_RULES: Mapping[str, Callable[[Any, Root, Root], str | None]] = {
    "$ref": _reference,
    "type": _type,
    "enum": _enum,
    "const": _const,
    "anyOf": _any,
    "oneOf": _any,
    "allOf": _all,
    "not": _not,
    "minimum": _bound(
        "minimum", lambda value, limit: value >= limit, lambda value: value, _is_number
    ),
    "maximum": _bound(
        "maximum", lambda value, limit: value <= limit, lambda value: value, _is_number
    ),
    "exclusiveMinimum": _bound(
        "exclusiveMinimum",
        lambda value, limit: value > limit,
        lambda value: value,
        _is_number,
    ),
    "exclusiveMaximum": _bound(
        "exclusiveMaximum",
        lambda value, limit: value < limit,
        lambda value: value,
        _is_number,
    ),
    "multipleOf": _bound("multipleOf", _divides, lambda value: value, _is_number),
    "minLength": _bound(
        "minLength", lambda length, limit: length >= limit, len, _is(str)
    ),
    "maxLength": _bound(
        "maxLength", lambda length, limit: length <= limit, len, _is(str)
    ),
    "pattern": _pattern,
    "minItems": _bound(
        "minItems", lambda length, limit: length >= limit, len, _is(list)
    ),
    "maxItems": _bound(
        "maxItems", lambda length, limit: length <= limit, len, _is(list)
    ),
    "required": _required,
    "properties": _members,
    "patternProperties": _members,
    "additionalProperties": _members,
    "propertyNames": _names,
    "prefixItems": _items,
    "items": _items,
}
