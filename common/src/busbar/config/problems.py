"""Nodes of a configuration to typed structs by msgspec.

Its complaints become ours, with file, line and column.
"""

import bisect
import json
import re
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Generic, TypeVar

import msgspec
from msgspec import inspect as types

from busbar.config.yaml import (
    Key,
    ListNode,
    MapNode,
    Node,
    Place,
    Scalar,
    Value,
    plain,
    problem,
)
from busbar.errors import ConfigError

T = TypeVar("T")
PROBLEM_LIMIT = 20  # problems reported at once; each costs one more conversion
SIZE = r"^([1-9][0-9]{0,5}) ?(B|KiB|MiB|GiB|kB|MB|GB)(?!\n)$"
UNITS = {
    "B": 1,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "kB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
}


@dataclass(frozen=True)
class _Spot:
    """The place where msgspec stopped, and its message, or a struct's `own`."""

    text: str
    own: str
    path: tuple[Key, ...]
    node: Node
    info: types.Type  # what is allowed there
    in_key: bool  # the last of `path` is a key that is itself wrong

    @property
    def unknown(self) -> Key | None:
        """The key of `node` that its struct does not have."""
        fields = _fields(self.info, self.node)
        if (
            isinstance(self.node, MapNode)
            and fields
            and (self.in_key or "contains unknown field" in self.text)
        ):
            return next((key for key in self.node.entries if key not in fields), None)
        return None


class Conversion(Generic[T]):
    """Nodes to typed structs by msgspec; its complaints become ours, with positions."""

    def __init__(self, root: Node, kind: type[T], name: str) -> None:
        self._root, self._kind, self._name = root, kind, name
        _read_again(root, types.type_info(kind))

    def result(self) -> T:
        problems: list[str] = []
        while len(problems) < PROBLEM_LIMIT:
            try:
                value = msgspec.convert(plain(self._root), self._kind)
            except msgspec.ValidationError as error:
                spot = self._spot(error)
                problems.append(problem(self._name, *_explain(spot)))
                if not _repair(spot):
                    break
            else:
                if not problems:
                    return value
                break
        raise ConfigError("\n".join(problems))

    def _spot(self, error: msgspec.ValidationError) -> _Spot:
        own = str(error.__cause__ or "")
        text = str(error)
        keys = self._root.entries if isinstance(self._root, MapNode) else ()
        match = re.search(r" - at (`key` in )?`\$([^`]*)`$", text.removeprefix(own))
        # a key may look like a path
        if text in (f"Object contains unknown field `{key}`" for key in keys):
            match = None
        in_key, steps = (bool(match[1]), match[2]) if match else (False, "")
        path: tuple[Key, ...] = ()
        node, info = self._root, types.type_info(self._kind)
        for name, index in re.findall(r"\.([^.\[]+)|\[(\d+|\.\.\.)\]", steps):
            key = name or (self._culprit(path, text) if index == "..." else int(index))
            info, node, path = _inside(info, node, key), _child(node, key), (*path, key)
        if in_key and not _fields(info, node):
            path += (self._culprit(path, text, in_key=True),)
        return _Spot(
            text[: match.start() + len(own)] if match else text,
            own,
            path,
            node,
            info,
            in_key,
        )

    def _culprit(self, path: tuple[Key, ...], text: str, in_key: bool = False) -> Key:
        """Return the key of the mapping at `path` that `text` is about.

        Msgspec writes `[...]` for every key.

        A foreign object put before it changes the error, one put behind it does not.
        """

        def is_behind(index: int) -> bool:
            data = plain(self._root)
            target = _value_at(data, path)
            items = list(target.items())
            key, value = items[index]
            items[index] = (_FOREIGN, value) if in_key else (key, _FOREIGN)
            target.clear()
            target.update(items)
            try:
                msgspec.convert(data, self._kind)
            except msgspec.ValidationError as error:
                return str(error) == text
            return False

        keys: list[Key] = list(_value_at(plain(self._root), path))
        return keys[bisect.bisect_left(range(len(keys)), True, key=is_behind) - 1]


def _read_again(node: Node, info: types.Type) -> None:
    """Take the reading that is wanted.

    `64MiB` and `1.0` as whole numbers, the `12` of a variable as text.
    """
    match node:
        case MapNode():
            for key, entry in node.entries.items():
                _read_again(entry.value, _inside(info, node, key))
        case ListNode():
            for index, item in enumerate(node.items):
                _read_again(item, _inside(info, node, index))
        case Scalar():
            node.value = _wanted(node, info)


def _wanted(node: Scalar, info: types.Type) -> Value:
    value, kinds = node.value, {type(part) for part in _parts(info)}
    if isinstance(value, str):
        size = re.search(SIZE, value) if _is_size(info) else None
        return int(size[1]) * UNITS[size[2]] if size else value
    if (
        isinstance(value, float)
        and value.is_integer()
        and types.IntType in kinds
        and types.FloatType not in kinds
    ):
        return int(value)
    literals = _literals(info)
    if node.text is None or value in literals or kinds & _READINGS[type(value)]:
        return value
    return node.text if types.StrType in kinds or node.text in literals else value


def _repair(spot: _Spot) -> bool:
    """Put an unknown key right or away, so that what else is wrong is found, too."""
    key, node = spot.unknown, spot.node
    if key is None or not isinstance(node, MapNode):
        return False
    entry = node.entries.pop(key)
    for guess in get_close_matches(str(key), _fields(spot.info, node), n=1):
        node.entries.setdefault(guess, entry)
    return True


def _explain(spot: _Spot) -> tuple[Place, tuple[Key, ...], str]:
    """Return the place, the path and the text of a problem."""
    node, path, text = spot.node, spot.path, spot.text
    if isinstance(node, MapNode):
        if (key := spot.unknown) is not None:
            fields = _fields(spot.info, node)
            return (
                node.entries[key].place,
                (*path, key),
                f"unknown key{_hint(key, fields, ', '.join(fields))}",
            )
        if spot.in_key:
            wanted = [
                part.key_type
                for part in _parts(spot.info)
                if isinstance(part, types.DictType)
            ]
            return (
                node.entries[path[-1]].place,
                path,
                (f"the key is {_kind(path[-1])}{_allowed(*wanted)}"),
            )
        if match := re.fullmatch(r"Object missing required field `(.+)`", text):
            return (
                node.place,
                (*path, match[1]),
                f"missing{_allowed(_inside(spot.info, node, match[1]))}",
            )
        key, _, rest = spot.own.partition(": ")
        if rest and key in node.entries:
            return node.entries[key].value.place, (*path, key), rest
    return node.place, path, spot.own or _value_problem(node, spot)


def _value_problem(node: Node, spot: _Spot) -> str:
    value, kind = plain(node), _kind(plain(node))
    if spot.text.startswith("Invalid"):
        words = _words(spot.info)
        return (
            f"unknown value {json.dumps(value)}{_hint(value, words.split(', '), words)}"
        )
    if re.fullmatch(r"Expected .*, got `\w+`", spot.text):
        found = (
            "the file is empty" if value is None and not spot.path else f"got {kind}"
        )
    else:
        found = (
            f"{value} is out of range"
            if isinstance(value, int | float)
            else f"{kind} that does not fit"
        )
    return found + _allowed(spot.info)


def _value_at(data: Any, path: tuple[Key, ...]) -> Any:
    for key in path:
        data = data[key]
    return data


def _child(node: Node, key: Key) -> Node:
    if isinstance(node, MapNode):
        return node.entries[key].value
    return node.items[int(key)] if isinstance(node, ListNode) else node


def _parts(info: types.Type) -> list[types.Type]:
    """Return the types of a union, without what only documents them."""
    if isinstance(info, types.Metadata):
        return _parts(info.type)
    return (
        [part for one in info.types for part in _parts(one)]
        if isinstance(info, types.UnionType)
        else [info]
    )


def _literals(info: types.Type) -> list[object]:
    literals = [
        one
        for part in _parts(info)
        if isinstance(part, types.LiteralType)
        for one in part.values
    ]
    return literals + [
        one.value
        for part in _parts(info)
        if isinstance(part, types.EnumType)
        for one in part.cls
    ]


def _is_size(info: types.Type) -> bool:
    if isinstance(info, types.Metadata):
        return "size" in (info.extra or {})
    return isinstance(info, types.UnionType) and any(map(_is_size, info.types))


def _structs(info: types.Type, node: Node) -> list[types.StructType]:
    """Return the structs that `node` can be: of tagged ones, the one it names."""
    structs = [part for part in _parts(info) if isinstance(part, types.StructType)]
    entries = node.entries if isinstance(node, MapNode) else {}
    tags = {
        part.tag_field: plain(entries[part.tag_field].value)
        for part in structs
        if part.tag_field in entries
    }
    return [
        part
        for part in structs
        if part.tag_field in tags and part.tag == tags[part.tag_field]
    ] or structs


def _fields(info: types.Type, node: Node) -> list[str]:
    structs = _structs(info, node)
    tags = [part.tag_field for part in structs if part.tag_field]
    return list(
        dict.fromkeys(
            [*tags, *(field.encode_name for part in structs for field in part.fields)]
        )
    )


def _inside(info: types.Type, node: Node, key: Key) -> types.Type:
    """Return what is allowed at `key` of `node`."""
    structs = _structs(info, node)
    if any(part.tag_field == key for part in structs):
        return types.LiteralType(
            tuple(
                part.tag for part in _parts(info) if isinstance(part, types.StructType)
            )
        )
    for field in (
        field for part in structs for field in part.fields if field.encode_name == key
    ):
        return field.type
    for part in _parts(info):
        match part:
            case types.DictType() if isinstance(node, MapNode):
                return part.value_type
            case types.TupleType() if isinstance(node, ListNode) and isinstance(
                key, int
            ):
                return dict(enumerate(part.item_types)).get(key, types.AnyType())
            case (
                types.ListType()
                | types.VarTupleType()
                | types.SetType()
                | types.FrozenSetType()
            ):
                return part.item_type if isinstance(node, ListNode) else types.AnyType()
    return types.AnyType()


def _hint(word: object, known: list[str], allowed: str) -> str:
    guesses = get_close_matches(str(word), known, n=1)
    return (
        f'; did you mean "{guesses[0]}"? ' if guesses else "; "
    ) + f"allowed: {allowed or 'another one'}"


def _allowed(*infos: types.Type) -> str:
    words = " or ".join(map(_words, infos))
    return f"; allowed: {words}" if words else ""


def _kind(value: object) -> str:
    """Return what a value is in the words of a user."""
    if isinstance(value, bool):
        return str(value).lower()
    return {
        type(None): "nothing",
        int: "a number",
        float: "a decimal number",
        str: "text",
        list: "a list",
    }.get(type(value), "a mapping")


_NAMES: dict[type[types.Type], str] = {
    types.BoolType: "true or false",
    types.IntType: "a whole number",
    types.FloatType: "a number",
    types.StrType: "text",
    types.NoneType: "nothing",
}
_READINGS: dict[type[Value], set[type[types.Type]]] = {
    int: {types.IntType, types.FloatType, types.AnyType},
    float: {types.FloatType, types.AnyType},
    bool: {types.BoolType, types.AnyType},
    type(None): {types.NoneType, types.AnyType},
}
_LIMITS = {
    "ge": "at least {}",
    "gt": "more than {}",
    "le": "at most {}",
    "lt": "less than {}",
    "multiple_of": "a multiple of {}",
    "min_length": "length at least {}",
    "max_length": "length at most {}",
    "pattern": "matching {}",
}


def _words(info: types.Type) -> str:
    """Return what a type allows, in the words of a user."""
    match info:
        case types.Metadata():
            return str(
                (info.extra_json_schema or {}).get("description") or _words(info.type)
            )
        case types.UnionType():
            return " or ".join(
                _words(part)
                for part in info.types
                if not isinstance(part, types.NoneType)
            )
        case types.LiteralType() | types.EnumType():
            shown = (
                each if str(each).isprintable() else json.dumps(each)
                for each in _literals(info)
            )
            return ", ".join(dict.fromkeys(map(str, shown)))
        case types.StructType():
            return f"a mapping with the keys {', '.join(_fields(info, _NOTHING))}"
        case types.DictType():
            return "a mapping" + _limits(info)
        case types.TupleType():
            return f"a list of {len(info.item_types)} values"
        case (
            types.ListType()
            | types.VarTupleType()
            | types.SetType()
            | types.FrozenSetType()
        ):
            item = _words(info.item_type)
            return f"a list{_limits(info)}" + (f", each item {item}" if item else "")
    return _NAMES.get(type(info), "") + _limits(info)


def _limits(info: types.Type) -> str:
    found = ((text, getattr(info, name, None)) for name, text in _LIMITS.items())
    limits = [
        text.format(f"{x:.15g}" if isinstance(x, float) else x)
        for text, x in found
        if x is not None
    ]
    return f" ({', '.join(limits)})" if limits else ""


_FOREIGN = type("_Foreign", (), {})()
_NOTHING = Scalar((1, 1), None)
