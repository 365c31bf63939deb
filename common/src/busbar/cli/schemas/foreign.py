"""Schemas in another program's `info`, checked once when it is taken.

What a schema refers to is inside it, as in ours; a reference leads somewhere, and never
back to where it began without a value getting smaller.

Source: JSON Schema 2020-12, core and validation; docs/contract.md, 3.2.
"""

import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET

from busbar.cli.schemas.json_schema import TYPES, Root, Schema, referred, shown
from busbar.contract.messages import CommandInfo, EventInfo, Info, PropertyInfo

LONGEST = 100  # characters of where a fault is
DEPTH = 64  # levels of a schema, and schemas that apply to one value in a chain
EXPANDED = 10_000  # schemas that apply to one value, every reference followed
# Correct where JSON Schema looks (ECMA-262), and nothing to Python's `re`.
_ECMA_ONLY = re.compile(r"\\[pPuc]|\(\?<\w")


class CheckedInfo(NamedTuple):
    """An `info` in which each unusable schema says nothing; `faults` say why, by place.

    A place is `schema of v`, `parameters of v`, `arguments of c`, `result of c`.
    """

    info: Info
    faults: Mapping[str, str]

    def schema_fault(self, path: str) -> str | None:
        """Return why the schema of a property cannot be used, None if it can."""
        return self.faults.get(f"schema of {path}")


def checked(info: Info) -> CheckedInfo:
    """Check the schemas of a description."""
    faults: dict[str, str] = {}
    properties = {}
    for path, about in info.properties.items():
        properties[path] = _property(path, about, faults)
    commands = {}
    for name, command in info.commands.items():
        commands[name] = _command(name, command, faults)
    events = {}
    for name, event in info.events.items():
        events[name] = _event(f"event/{name}", event, faults)
    blobs = {}
    for name, blob in info.blobs.items():
        blobs[name] = _event(f"blob/{name}", blob, faults)
    sound = msgspec.structs.replace(
        info, properties=properties, commands=commands, events=events, blobs=blobs
    )
    return CheckedInfo(sound, faults)


def _property(path: str, about: PropertyInfo, faults: dict[str, str]) -> PropertyInfo:
    schema = _usable(f"schema of {path}", about.schema, faults)
    parameters = about.parameters
    wrong = _parameters_fault(parameters)
    if wrong is not None:
        faults[f"parameters of {path}"] = wrong
        parameters = UNSET
    return msgspec.structs.replace(about, schema=schema, parameters=parameters)


def _command(name: str, about: CommandInfo, faults: dict[str, str]) -> CommandInfo:
    return msgspec.structs.replace(
        about,
        arguments=_usable(f"arguments of {name}", about.arguments, faults),
        result=_usable(f"result of {name}", about.result, faults),
    )


def _event(name: str, about: EventInfo, faults: dict[str, str]) -> EventInfo:
    if about.schema is UNSET:
        return about
    schema = _usable(f"schema of {name}", about.schema, faults)
    return msgspec.structs.replace(about, schema=schema)


def _usable(
    place: str, schema: dict[str, Any], faults: dict[str, str]
) -> dict[str, Any]:
    """Return a schema, or one that says nothing, with the fault noted."""
    wrong = fault(schema)
    if wrong is None:
        return schema
    faults[place] = wrong
    return {}


def _parameters_fault(parameters: Any) -> str | None:
    if parameters is UNSET:
        return None
    for name, bounds in parameters.items():
        if not isinstance(bounds, dict):
            return f"{name}: {shown(bounds)} is no object"
        for key in ("minimum", "maximum"):
            if key in bounds and not _is_integer(bounds[key]):
                return f"{name}: {key}: {shown(bounds[key])} is no integer"
    return None


def fault(schema: Schema) -> str | None:
    """Return why a value cannot be checked against a schema, None if it can."""
    stack: list[tuple[str, Any, int]] = [("", schema, 1)]
    nodes: dict[int, Any] = {}
    while stack:
        where, node, depth = stack.pop()
        if id(node) in nodes:
            continue
        if depth > DEPTH:
            return f"more than {DEPTH} levels deep"
        wrong = _node_fault(node, schema)
        if wrong is not None:
            return f"{where[-LONGEST:]}{wrong}"
        nodes[id(node)] = node
        for keyword, inner in _inner(node):
            stack.append((f"{where}{keyword}: ", inner, depth + 1))
        for reference in _references(node):
            stack.append((f"{reference}: ", referred(reference, schema), 1))
    return _endless(nodes.values(), schema)


def _node_fault(node: Any, root: Schema) -> str | None:
    """Return what is wrong with one schema, but for those inside."""
    if isinstance(node, bool):
        return None
    if not isinstance(node, dict):
        return f"{shown(node)} is no schema"
    for keyword, (fits, what) in _SHAPES.items():
        if keyword in node and not fits(node[keyword]):
            return f"{keyword}: {shown(node[keyword])} is no {what}"
    for pattern in _patterns(node):
        wrong = _pattern_fault(pattern)
        if wrong is not None:
            return f"pattern {shown(pattern)}: {wrong}"
    for reference in _references(node):
        if not reference.startswith("#/") and reference != "#":
            return f"$ref {shown(reference)} leads out of the schema"
        if referred(reference, root) is None:
            return f"$ref {shown(reference)} leads nowhere"
    return None


def _patterns(node: Root) -> list[str]:
    found = list(node.get("patternProperties", ()))
    if "pattern" in node:
        found.append(node["pattern"])
    return found


def _pattern_fault(pattern: str) -> str | None:
    try:
        with warnings.catch_warnings(action="ignore"):
            re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        if _ECMA_ONLY.search(pattern):
            return None
        return str(error)
    return None


def _references(node: Any) -> list[str]:
    """Return the references of a schema that apply to the value itself."""
    if not isinstance(node, dict):
        return []
    found = []
    if "$ref" in node:
        found.append(node["$ref"])
    if "discriminator" in node:
        found += node["discriminator"]["mapping"].values()
    return found


def _inner(node: Any) -> Iterator[tuple[str, Any]]:
    """Yield the schemas inside one, with the keyword."""
    if not isinstance(node, dict):
        return
    for keyword in _ONE:
        if keyword in node:
            yield keyword, node[keyword]
    for keyword in _LISTED:
        for each in node.get(keyword, ()):
            yield keyword, each
    for keyword in _NAMED:
        for name, each in node.get(keyword, {}).items():
            yield f"{keyword}: {name}", each


def _endless(nodes: Iterable[Any], root: Schema) -> str | None:
    """Return what is wrong if schemas that apply to one value lead in a circle.

    Or if they are too many.
    """
    sizes: dict[int, int] = {}

    def size(node: Any, trail: list[int]) -> int:
        if id(node) in trail:
            raise _EndlessError("a $ref leads back to itself")
        if id(node) in sizes:
            return sizes[id(node)]
        if len(trail) > DEPTH:
            raise _EndlessError(f"a chain of more than {DEPTH} references")
        inside = [size(each, [*trail, id(node)]) for each in _in_place(node, root)]
        sizes[id(node)] = 1 + sum(inside)
        if sizes[id(node)] > EXPANDED:
            raise _EndlessError(f"more than {EXPANDED} alternatives")
        return sizes[id(node)]

    try:
        for node in nodes:
            size(node, [])
    except _EndlessError as error:
        return str(error)
    return None


class _EndlessError(Exception):
    """The schemas that apply to one value have no end."""


def _in_place(node: Any, root: Schema) -> Iterator[Any]:
    """Yield the schemas that apply to the same value as this one."""
    if not isinstance(node, dict):
        return
    for keyword in ("anyOf", "oneOf", "allOf"):
        yield from node.get(keyword, ())
    if "not" in node:
        yield node["not"]
    for reference in _references(node):
        yield referred(reference, root)


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_length(value: Any) -> bool:
    return _is_number(value) and value >= 0 and value == int(value)


def _is_positive(value: Any) -> bool:
    return _is_number(value) and value > 0


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_list(value: Any) -> bool:
    return isinstance(value, list)


def _is_some(value: Any) -> bool:
    return isinstance(value, list) and bool(value)


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _is_type(value: Any) -> bool:
    names = value if isinstance(value, list) else [value]
    return bool(names) and all(
        isinstance(name, str) and name in TYPES for name in names
    )


def _is_discriminator(value: Any) -> bool:
    if not isinstance(value, dict) or not isinstance(value.get("propertyName"), str):
        return False
    mapping = value.get("mapping")
    return isinstance(mapping, dict) and all(map(_is_text, mapping.values()))


_ONE = ("not", "items", "additionalProperties", "propertyNames")
_LISTED = ("anyOf", "oneOf", "allOf", "prefixItems")
_NAMED = ("properties", "patternProperties", "$defs")
_Shape = tuple[Callable[[Any], bool], str]
_BOUND: _Shape = (_is_number, "number")
_LENGTH: _Shape = (_is_length, "length")
_TEXT: _Shape = (_is_text, "text")
_SHAPES: Mapping[str, _Shape] = {
    "type": (_is_type, "type"),
    "enum": (_is_list, "list"),
    "minimum": _BOUND,
    "maximum": _BOUND,
    "exclusiveMinimum": _BOUND,
    "exclusiveMaximum": _BOUND,
    "multipleOf": (_is_positive, "number above 0"),
    "minLength": _LENGTH,
    "maxLength": _LENGTH,
    "minItems": _LENGTH,
    "maxItems": _LENGTH,
    "pattern": _TEXT,
    "required": (_are_names, "list of names"),
    "title": _TEXT,
    "description": _TEXT,
    "$ref": _TEXT,
    "discriminator": (_is_discriminator, "propertyName with a mapping"),
    **dict.fromkeys(_LISTED, (_is_some, "list of schemas")),
    **dict.fromkeys(_NAMED, (_is_object, "object of schemas")),
}
