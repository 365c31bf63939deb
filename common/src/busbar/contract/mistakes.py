"""What is wrong with a value that its type does not allow.

Msgspec converts; where it refuses, a walk over the value and the type finds the first
mistake and says it in a user's words. The types are msgspec's own descriptions.
"""

import binascii
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import msgspec
from msgspec import inspect

Lists = (
    inspect.ListType | inspect.VarTupleType | inspect.SetType | inspect.FrozenSetType
)
Literals = inspect.LiteralType | inspect.EnumType
Path = tuple[str | int, ...]

WORDS = {
    bool: "true or false (1/0, on/off)",
    int: "a whole number",
    float: "a number",
    str: "text",
    bytes: "base64 text",
    dict: "an object",
    list: "a list",
    type(None): "nothing",
}


class Mistake(NamedTuple):
    """What is wrong at a place; `of_range`: the value is of the right kind."""

    path: Path
    text: str
    of_range: bool = False

    def __str__(self) -> str:
        place = ""
        for key in self.path:
            place += f"[{key}]" if isinstance(key, int) else f".{key:.60}"
        return f"{place.lstrip('.')}: {self.text}" if place else self.text


def find(raw: Any, info: inspect.Type, path: Path = ()) -> Mistake | None:
    """Return the first mistake in a value; None where only msgspec knows."""
    found = [part for part in parts(info) if _takes(part, raw)]
    structs = [part for part in found if isinstance(part, inspect.StructType)]
    if len(structs) > 1:
        return _tagged(raw, structs, path)
    if not found:
        kinds = {kind for part in parts(info) for kind in _kinds(part)}
        wanted = " or ".join(word for kind, word in WORDS.items() if kind in kinds)
        kind = _kind(raw)
        got = WORDS.get(kind, kind.__name__)
        return Mistake(path, f"expected {wanted}, got {got}") if wanted else None
    for part in found:
        check = _CHECKS.get(type(part))
        mistake = check(raw, part, path) if check else None
        if mistake is None:
            return None
    return mistake


def parts(info: inspect.Type) -> list[inspect.Type]:
    """Return the types of a union, without what only documents them."""
    if isinstance(info, inspect.Metadata):
        return parts(info.type)
    if isinstance(info, inspect.UnionType):
        return [part for each in info.types for part in parts(each)]
    return [info]


def values(info: Literals) -> list[Any]:
    """Return the values that are listed one by one."""
    if isinstance(info, inspect.EnumType):
        return [member.value for member in info.cls]
    return list(info.values)


def number_limit(part: inspect.IntType | inspect.FloatType, value: float) -> str:
    """Return the limit that a number is beyond, "" if none."""
    if part.ge is not None and not value >= part.ge:
        return f">= {part.ge}"
    if part.gt is not None and not value > part.gt:
        return f"> {part.gt}"
    if part.le is not None and not value <= part.le:
        return f"<= {part.le}"
    if part.lt is not None and not value < part.lt:
        return f"< {part.lt}"
    if part.multiple_of is not None and value % part.multiple_of != 0:
        return f"that is a multiple of {part.multiple_of}"
    return ""


def length_limit(part: Any, length: int) -> str:
    """Return the limit that a length is beyond, "" if none."""
    if part.min_length is not None and length < part.min_length:
        return f"of length >= {part.min_length}"
    if part.max_length is not None and length > part.max_length:
        return f"of length <= {part.max_length}"
    return ""


def text_limit(part: inspect.StrType, value: str) -> str:
    """Return what a text does not keep to, "" if nothing."""
    wrong = length_limit(part, len(value))
    if wrong:
        return wrong
    if part.pattern is not None and re.search(part.pattern, value) is None:
        return f"matching regex {part.pattern!r}"
    return ""


def _kinds(part: inspect.Type) -> set[type]:
    """Return Python's types of the values that a type takes."""
    if isinstance(part, Literals):
        return set(map(type, values(part)))
    return _KINDS.get(type(part), set())


def _takes(part: inspect.Type, raw: Any) -> bool:
    kinds = _kinds(part)
    if not kinds:
        return True  # Any, or what only msgspec can judge
    if isinstance(part, inspect.FloatType):
        kinds = {float, int}
    if isinstance(part, inspect.BytesType):
        kinds = {bytes, str}
    return _kind(raw) in kinds


def _kind(raw: Any) -> type:
    """Return the type of JSON that a value is, else its own."""
    for kind, types in _SAME.items():
        if isinstance(raw, types):
            return kind
    return type(raw)


def _number(raw: Any, part: Any, path: Path) -> Mistake | None:
    if isinstance(part, inspect.FloatType) and abs(raw) > _LARGEST:
        return Mistake(path, "too large for a number of 64 bits")
    return _beyond(raw, number_limit(part, raw), path)


def _text(raw: Any, part: Any, path: Path) -> Mistake | None:
    if not _is_sendable(raw):
        return Mistake(path, "half of a character of UTF-16")
    return _beyond(raw, text_limit(part, raw), path)


def _bytes(raw: Any, part: Any, path: Path) -> Mistake | None:
    data = raw
    if isinstance(raw, str):
        try:
            data = binascii.a2b_base64(raw, strict_mode=True)
        except ValueError:
            return Mistake(path, "this is not base64")
    return _beyond(data, length_limit(part, len(data)), path)


def _beyond(raw: Any, limit: str, path: Path) -> Mistake | None:
    if not limit:
        return None
    return Mistake(path, f"expected {WORDS[_kind(raw)]} {limit}", True)


def _literal(raw: Any, part: Any, path: Path) -> Mistake | None:
    listed = values(part)
    if any(_kind(each) is _kind(raw) and each == raw for each in listed):
        return None
    names = ", ".join(map(str, listed))
    return Mistake(path, f"{raw!r:.60} is none of {names}", True)


def _list(raw: Any, part: Any, path: Path) -> Mistake | None:
    if isinstance(part, inspect.TupleType):
        count = len(part.item_types)
        if len(raw) != count:
            text = f"expected a list of length {count}, got {len(raw)}"
            return Mistake(path, text, True)
        item_types = list(part.item_types)
    else:
        beyond = _beyond(raw, length_limit(part, len(raw)), path)
        if beyond is not None:
            return beyond
        item_types = [part.item_type] * len(raw)
    items = enumerate(zip(raw, item_types, strict=True))
    return _first(find(each, info, (*path, index)) for index, (each, info) in items)


def _dict(raw: Any, part: Any, path: Path) -> Mistake | None:
    beyond = _beyond(raw, length_limit(part, len(raw)), path)
    if beyond is not None:
        return beyond
    return _first(_entries(raw, part, path))


def _entries(raw: Any, part: Any, path: Path) -> Iterator[Mistake | None]:
    for key, value in raw.items():
        wrong = find(key, part.key_type)
        if wrong is not None:
            yield Mistake((*path, str(key)), f"the key: {wrong.text}", wrong.of_range)
        yield find(value, part.value_type, (*path, str(key)))


def _first(mistakes: Iterator[Mistake | None]) -> Mistake | None:
    return next(filter(None, mistakes), None)


def _tagged(
    raw: dict[str, Any], structs: list[inspect.StructType], path: Path
) -> Mistake | None:
    """Return what is wrong with an object that names which of several it is."""
    name = structs[0].tag_field
    assert name is not None, "msgspec takes several structs only with tags"
    if name not in raw:
        return Mistake(path, f"{name!r} is missing")
    for struct in structs:
        if raw[name] == struct.tag:
            return _struct(raw, struct, path)
    tags = ", ".join(str(struct.tag) for struct in structs)
    return Mistake((*path, name), f"{raw[name]!r:.60} is none of {tags}")


def _struct(raw: Any, part: Any, path: Path) -> Mistake | None:
    tag = part.tag_field
    if tag in raw and raw[tag] != part.tag:
        return Mistake((*path, tag), f"{raw[tag]!r:.60} is not {part.tag!r}")
    return _first(_members(raw, part, path))


def _members(raw: Any, part: Any, path: Path) -> Iterator[Mistake | None]:
    types = {field.encode_name: field.type for field in part.fields}
    for key, value in raw.items():
        if key in types:
            yield find(value, types[key], (*path, key))
        elif key != part.tag_field and part.forbid_unknown_fields:
            text = f"unknown key {key!r:.60}; allowed: {', '.join(types)}"
            yield Mistake(path, text)
    for field in part.fields:
        if field.required and field.encode_name not in raw:
            yield Mistake(path, f"{field.encode_name!r} is missing")
    yield _by_itself(raw, part, path)


def _by_itself(raw: Any, part: Any, path: Path) -> Mistake | None:
    """Return what a struct finds itself, in values that are all of their types."""
    try:
        msgspec.convert(raw, part.cls)
    except msgspec.ValidationError as error:
        return Mistake(path, str(error.__cause__ or error))
    return None


def _is_sendable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


_SAME: dict[type, type | tuple[type, ...]] = {
    bool: bool,  # before int, which it is, too
    int: int,
    float: float,
    str: str,
    bytes: (bytes, bytearray, memoryview),
    dict: dict,
    list: (list, tuple, set, frozenset),
}
_LARGEST = 2.0**1023 * (2 - 2.0**-52)
_KINDS: dict[type[inspect.Type], set[type]] = {
    inspect.BoolType: {bool},
    inspect.IntType: {int},
    inspect.FloatType: {float},
    inspect.StrType: {str},
    inspect.BytesType: {bytes},
    inspect.NoneType: {type(None)},
    inspect.StructType: {dict},
    inspect.DictType: {dict},
    inspect.ListType: {list},
    inspect.VarTupleType: {list},
    inspect.TupleType: {list},
    inspect.SetType: {list},
    inspect.FrozenSetType: {list},
}
_CHECKS: dict[type[inspect.Type], Callable[[Any, Any, Path], Mistake | None]] = {
    inspect.IntType: _number,
    inspect.FloatType: _number,
    inspect.StrType: _text,
    inspect.BytesType: _bytes,
    inspect.LiteralType: _literal,
    inspect.EnumType: _literal,
    inspect.StructType: _struct,
    inspect.DictType: _dict,
    inspect.ListType: _list,
    inspect.VarTupleType: _list,
    inspect.TupleType: _list,
    inspect.SetType: _list,
    inspect.FrozenSetType: _list,
}
