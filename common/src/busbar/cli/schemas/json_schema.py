"""JSON Schema as far as `info` needs it.

Is a value what its schema says? Source: JSON Schema 2020-12, validation.

An unknown keyword says nothing of a value, as the standard has it.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

Schema = Any  # a mapping, or true or false
Root = Mapping[str, Any]

_TYPES: Mapping[str, Callable[[Any], bool]] = {
    "null": lambda value: value is None,
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: _is_number(value) and float(value).is_integer(),
    "number": lambda value: _is_number(value),
    "string": lambda value: isinstance(value, str),
    "array": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
}


def problem(value: Any, schema: Schema, root: Root | None = None) -> str | None:
    """Return what is wrong with a value, None if it is as the schema says."""
    if isinstance(schema, bool):
        return None if schema else f"{shown(value)} is not allowed"
    root = schema if root is None else root
    for keyword, rule in _RULES.items():
        if keyword in schema:
            wrong = rule(value, schema, root)
            if wrong is not None:
                return wrong
    return None


def shown(value: Any) -> str:
    """Return a value for a message: short."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _equal(one: Any, other: Any) -> bool:
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def _reference(value: Any, schema: Root, root: Root) -> str | None:
    found: Any = root
    for part in schema["$ref"].removeprefix("#").split("/")[1:]:
        found = (
            found.get(part.replace("~1", "/").replace("~0", "~"))
            if isinstance(found, Mapping)
            else None
        )
    return (
        f"the schema has no {schema['$ref']}"
        if found is None
        else problem(value, found, root)
    )


def _type(value: Any, schema: Root, root: Root) -> str | None:
    wanted = schema["type"]
    names = [wanted] if isinstance(wanted, str) else wanted
    fits = any(name in _TYPES and _TYPES[name](value) for name in names)
    return None if fits else f"{shown(value)} is no {' or '.join(names)}"


def _enum(value: Any, schema: Root, root: Root) -> str | None:
    allowed = schema["enum"]
    return (
        None
        if any(_equal(value, each) for each in allowed)
        else (f"{shown(value)} is none of {shown(allowed)}")
    )


def _const(value: Any, schema: Root, root: Root) -> str | None:
    return (
        None
        if _equal(value, schema["const"])
        else (f"{shown(value)} is not {shown(schema['const'])}")
    )


def _any(value: Any, schema: Root, root: Root) -> str | None:
    if "discriminator" in schema and isinstance(value, dict):
        return _tagged(value, schema["discriminator"], root)
    wrong = [
        problem(value, each, root) for each in schema.get("anyOf", schema.get("oneOf"))
    ]
    fitting = wrong.count(None)
    if not fitting:
        return "; ".join(each for each in wrong if each)
    return (
        (f"{shown(value)} fits {fitting} of oneOf")
        if fitting > 1 and "anyOf" not in schema
        else None
    )


def _tagged(value: dict[str, Any], how: Root, root: Root) -> str | None:
    """Look only at the alternative that a value says it is.

    Source: OpenAPI 3.1, discriminator object.
    """
    name, known = how["propertyName"], how["mapping"]
    if name not in value:
        return f"{name!r} is missing"
    tag = value[name]
    if not isinstance(tag, str) or tag not in known:
        return f"{name}: {shown(tag)} is none of {shown(list(known))}"
    return problem(value, {"$ref": known[tag]}, root)


def _all(value: Any, schema: Root, root: Root) -> str | None:
    return next(
        filter(None, (problem(value, each, root) for each in schema["allOf"])), None
    )


def _not(value: Any, schema: Root, root: Root) -> str | None:
    return (
        (f"{shown(value)} is what the schema excludes")
        if problem(value, schema["not"], root) is None
        else None
    )


def _bound(
    keyword: str,
    within: Callable[[Any, Any], bool],
    measure: Callable[[Any], Any],
    what: Any,
) -> Any:
    """Return the rule of a keyword that limits a number, or the length of something."""

    def rule(value: Any, schema: Root, root: Root) -> str | None:
        fine = not what(value) or within(measure(value), schema[keyword])
        return None if fine else f"{shown(value)}: {keyword} is {schema[keyword]}"

    return rule


def _pattern(value: Any, schema: Root, root: Root) -> str | None:
    fine = not isinstance(value, str) or re.search(schema["pattern"], value)
    return None if fine else f"{shown(value)} does not match {schema['pattern']}"


def _members(value: Any, schema: Root, root: Root) -> str | None:
    if not isinstance(value, dict):
        return None
    known, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    for key, member in value.items():
        rules = [known[key]] if key in known else []
        rules += [each for pattern, each in patterns.items() if re.search(pattern, key)]
        others = schema.get("additionalProperties", True)
        if not rules and others is False:
            return f"unknown key {key!r}; allowed: {', '.join(known) or 'nothing'}"
        for each in rules or [others]:
            wrong = problem(member, each, root)
            if wrong is not None:
                return f"{key}: {wrong}"
    return None


def _names(value: Any, schema: Root, root: Root) -> str | None:
    names = list(value) if isinstance(value, dict) else []
    return next(
        filter(None, (problem(name, schema["propertyNames"], root) for name in names)),
        None,
    )


def _required(value: Any, schema: Root, root: Root) -> str | None:
    missing = (
        [key for key in schema["required"] if key not in value]
        if isinstance(value, dict)
        else []
    )
    return f"{missing[0]!r} is missing" if missing else None


def _items(value: Any, schema: Root, root: Root) -> str | None:
    if not isinstance(value, list):
        return None
    first = schema.get("prefixItems", [])
    rules = [*first, *[schema.get("items", True)] * (len(value) - len(first))]
    wrong = (
        problem(item, rule, root) for item, rule in zip(value, rules, strict=False)
    )
    return next(
        (f"[{index}]: {each}" for index, each in enumerate(wrong) if each), None
    )


def _is(*types: type) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, types)


def _divides(value: float, step: float) -> bool:
    quotient = value / step
    return abs(quotient - round(quotient)) < 1e-9 * max(1.0, abs(quotient))


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
