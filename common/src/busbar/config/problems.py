"""Nodes of a configuration to typed structs, each mistake with its place in the file.

A walk over the nodes and their types finds what is wrong, in the order of the file.
Msgspec makes the structs, whose own checks (`__post_init__`) it calls.
"""

import json
import re
from difflib import get_close_matches
from typing import Any, Generic, TypeVar

import msgspec
from msgspec import inspect as types

from busbar.config import allowed
from busbar.config.allowed import SIZE
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
from busbar.contract.mistakes import (
    Lists,
    length_limit,
    number_limit,
    parts,
    text_limit,
)
from busbar.errors import ConfigError

T = TypeVar("T")
PROBLEM_LIMIT = 20  # problems reported at once; each costs one more walk
UNITS = {
    "B": 1,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "kB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
}
Path = tuple[Key, ...]


class _Mistake(Exception):
    """What is wrong at a place of the file; `path` are the keys that lead to it."""

    def __init__(self, place: Place, path: Path, text: str) -> None:
        super().__init__(text)
        self.place = place
        self.path = path
        self.text = text

    def shown(self, name: str) -> str:
        """Return `file:line:column: key.path: text`."""
        return problem(name, self.place, self.path, self.text)


class _UnknownKey(_Mistake):
    """A key that its struct does not have; the rest can be checked without it."""

    def __init__(self, node: MapNode, path: Path, key: Key, fields: list[str]) -> None:
        text = f"unknown key{allowed.hint(key, fields, ', '.join(fields))}"
        super().__init__(node.entries[key].place, (*path, key), text)
        self._node = node
        self._key = key
        self._fields = fields

    def repair(self) -> None:
        """Put the key right or away, so that what else is wrong is found, too."""
        entry = self._node.entries.pop(self._key)
        for guess in get_close_matches(str(self._key), self._fields, n=1):
            self._node.entries.setdefault(guess, entry)


class Conversion(Generic[T]):
    """Nodes to typed structs; raises ConfigError with every mistake that it finds."""

    def __init__(self, root: Node, kind: type[T], name: str) -> None:
        self._root = root
        self._kind = kind
        self._name = name
        self._info = types.type_info(kind)
        _read_again(root, self._info)

    def result(self) -> T:
        problems: list[str] = []
        while len(problems) < PROBLEM_LIMIT:
            try:
                _check(self._root, self._info, ())
            except _Mistake as mistake:
                problems.append(mistake.shown(self._name))
                if not isinstance(mistake, _UnknownKey):
                    break
                mistake.repair()
            else:
                break
        if problems:
            raise ConfigError("\n".join(problems))
        try:
            return msgspec.convert(plain(self._root), self._kind)
        except msgspec.ValidationError as error:  # of a type that the walk leaves alone
            text = problem(self._name, self._root.place, (), str(error))
            raise ConfigError(text) from error


def _read_again(node: Node, info: types.Type) -> None:
    """Take the reading that is wanted.

    `64MiB` and `1.0` as whole numbers, the `12` of a variable as text.
    """
    match node:
        case MapNode():
            for key, entry in node.entries.items():
                _read_again(entry.value, allowed.inside(info, node, key))
        case ListNode():
            for index, item in enumerate(node.items):
                _read_again(item, allowed.inside(info, node, index))
        case Scalar():
            node.value = _wanted(node, info)


def _wanted(node: Scalar, info: types.Type) -> Value:
    value = node.value
    kinds = {type(part) for part in parts(info)}
    if isinstance(value, str):
        size = re.search(SIZE, value) if allowed.is_size(info) else None
        return int(size[1]) * UNITS[size[2]] if size else value
    if allowed.is_hexadecimal(info) and node.written.lower().startswith("0x"):
        return node.written
    whole_number = types.IntType in kinds and types.FloatType not in kinds
    if isinstance(value, float) and value.is_integer() and whole_number:
        return int(value)
    literals = allowed.literals(info)
    if node.text is None or value in literals or kinds & _READINGS[type(value)]:
        return value
    if types.StrType in kinds or node.text in literals:
        return node.text
    return value


def _check(node: Node, info: types.Type, path: Path) -> None:
    """Raise _Mistake for the first thing that `info` does not allow."""
    if any(type(part) not in _CHECKED for part in parts(info)):
        return  # Any, or what only msgspec can judge
    match node:
        case MapNode():
            _check_mapping(node, info, path)
        case ListNode():
            _check_list(node, info, path)
        case Scalar():
            _check_scalar(node, info, path)


def _check_mapping(node: MapNode, info: types.Type, path: Path) -> None:
    if allowed.all_structs(info):
        _check_struct(node, info, path)
        return
    for part in parts(info):
        if isinstance(part, types.DictType):
            _check_length(node, len(node.entries), part, info, path)
            for key, entry in node.entries.items():
                _check_key(key, entry.place, part.key_type, (*path, key))
                _check(entry.value, part.value_type, (*path, key))
            return
    raise _of_another_kind(node, info, path)


def _check_key(key: Key, place: Place, info: types.Type, path: Path) -> None:
    try:
        _check(Scalar(place, key), info, path)
    except _Mistake as mistake:
        text = f"the key is {allowed.kind(key)}{allowed.allowed(info)}"
        raise _Mistake(place, path, text) from mistake


def _check_struct(node: MapNode, info: types.Type, path: Path) -> None:
    if len(allowed.all_structs(info)) > 1:
        _check_tag(node, info, path)
    struct = allowed.structs(info, node)[0]
    types_of_fields = {field.encode_name: field.type for field in struct.fields}
    if struct.tag_field:
        types_of_fields[struct.tag_field] = allowed.tags(info)
    for key, entry in node.entries.items():
        if isinstance(key, str) and key in types_of_fields:
            _check(entry.value, types_of_fields[key], (*path, key))
        elif struct.forbid_unknown_fields or not isinstance(key, str):
            raise _UnknownKey(node, path, key, allowed.fields(info, node))
    for field in struct.fields:
        if field.required and field.encode_name not in node.entries:
            raise _missing(node, field.encode_name, field.type, path)
    _check_by_itself(node, struct, info, path)


def _check_tag(node: MapNode, info: types.Type, path: Path) -> None:
    """Check which struct of several a mapping is."""
    name = allowed.all_structs(info)[0].tag_field
    assert name is not None, "msgspec takes several structs only with tags"
    if name not in node.entries:
        raise _missing(node, name, allowed.tags(info), path)
    _check(node.entries[name].value, allowed.tags(info), (*path, name))


def _check_by_itself(
    node: MapNode, struct: types.StructType, info: types.Type, path: Path
) -> None:
    """Let a struct check what only it knows; all its fields are right."""
    if not hasattr(struct.cls, "__post_init__"):
        return
    try:
        msgspec.convert(plain(node), struct.cls)
    except msgspec.ValidationError as error:
        text = str(error.__cause__ or "")
        key, _, rest = text.partition(": ")
        if rest and key in node.entries:
            place = node.entries[key].value.place
            raise _Mistake(place, (*path, key), rest) from error
        if text:
            raise _Mistake(node.place, path, text) from error
        raise _unfit(node, info, path) from error


def _check_list(node: ListNode, info: types.Type, path: Path) -> None:
    for part in parts(info):
        if isinstance(part, types.TupleType):
            if len(node.items) != len(part.item_types):
                raise _unfit(node, info, path)
        elif isinstance(part, Lists):
            _check_length(node, len(node.items), part, info, path)
        else:
            continue
        for index, item in enumerate(node.items):
            _check(item, allowed.item_type(part, index), (*path, index))
        return
    raise _of_another_kind(node, info, path)


def _check_length(
    node: Node, length: int, part: Any, info: types.Type, path: Path
) -> None:
    if length_limit(part, length):
        raise _unfit(node, info, path)


def _check_scalar(node: Scalar, info: types.Type, path: Path) -> None:
    value = node.value
    literals = allowed.literals(info)
    of_its_type = [each for each in literals if type(each) is type(value)]
    if value in of_its_type:
        return
    for part in parts(info):
        if type(part) in _READINGS[type(value)]:
            if not _is_within_limits(part, value):
                raise _unfit(node, info, path)
            return
    if of_its_type:
        text = allowed.words(info)
        hint = allowed.hint(value, text.split(", "), text)
        raise _Mistake(node.place, path, f"unknown value {json.dumps(value)}{hint}")
    raise _of_another_kind(node, info, path)


def _missing(node: MapNode, key: str, info: types.Type, path: Path) -> _Mistake:
    return _Mistake(node.place, (*path, key), f"missing{allowed.allowed(info)}")


def _of_another_kind(node: Node, info: types.Type, path: Path) -> _Mistake:
    found = f"got {allowed.kind(plain(node))}"
    if isinstance(node, Scalar) and node.value is None and not path:
        found = "the file is empty"
    return _Mistake(node.place, path, found + allowed.allowed(info))


def _unfit(node: Node, info: types.Type, path: Path) -> _Mistake:
    """Return that a value of the right kind is not allowed."""
    value = plain(node)
    found = f"{allowed.kind(value)} that does not fit"
    if isinstance(value, int | float):
        found = f"{value} is out of range"
    return _Mistake(node.place, path, found + allowed.allowed(info))


def _is_within_limits(part: types.Type, value: Value) -> bool:
    match part:
        case types.StrType() if isinstance(value, str):
            return not text_limit(part, value)
        case types.IntType() | types.FloatType() if isinstance(value, int | float):
            return not number_limit(part, value)
    return True


# The types that can take a value, by Python's type of it.
_READINGS: dict[type[Value], set[type[types.Type]]] = {
    int: {types.IntType, types.FloatType, types.AnyType},
    float: {types.FloatType, types.AnyType},
    bool: {types.BoolType, types.AnyType},
    str: {types.StrType},
    type(None): {types.NoneType, types.AnyType},
}
_CHECKED: set[type[types.Type]] = {
    types.BoolType,
    types.IntType,
    types.FloatType,
    types.StrType,
    types.NoneType,
    types.LiteralType,
    types.EnumType,
    types.StructType,
    types.DictType,
    types.TupleType,
    types.ListType,
    types.VarTupleType,
    types.SetType,
    types.FrozenSetType,
}
