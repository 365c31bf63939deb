"""Types of a configuration: what each is made of, and what it allows in a user's words.

The types are msgspec's own descriptions of a struct's annotations.
"""

import json
from collections.abc import Sequence
from difflib import get_close_matches

from msgspec import inspect as types

from busbar.config.yaml import Key, ListNode, MapNode, Node, Value, plain
from busbar.contract.mistakes import Lists, parts

SIZE = r"^([1-9][0-9]{0,5}) ?(B|KiB|MiB|GiB|kB|MB|GB)(?!\n)$"

_NAMES: dict[type[types.Type], str] = {
    types.BoolType: "true or false",
    types.IntType: "a whole number",
    types.FloatType: "a number",
    types.StrType: "text",
    types.NoneType: "nothing",
}
# By Python's type of a value; a bool is no number here.
_KINDS: dict[type, str] = {
    type(None): "nothing",
    int: "a number",
    float: "a decimal number",
    str: "text",
    list: "a list",
    ListNode: "a list",
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


def literals(info: types.Type) -> list[Value]:
    """Return the values that are listed one by one."""
    found: list[Value] = []
    for part in parts(info):
        if isinstance(part, types.LiteralType):
            found += part.values
        elif isinstance(part, types.EnumType):
            found += [member.value for member in part.cls]
    return found


def is_size(info: types.Type) -> bool:
    """Say whether text such as 64MiB is a number here."""
    if isinstance(info, types.Metadata):
        return "size" in (info.extra or {})
    return isinstance(info, types.UnionType) and any(map(is_size, info.types))


def is_hexadecimal(info: types.Type) -> bool:
    """Say whether a number that is written as 0x14 is text here."""
    if isinstance(info, types.Metadata):
        return "hexadecimal" in (info.extra or {})
    return isinstance(info, types.UnionType) and any(map(is_hexadecimal, info.types))


def all_structs(info: types.Type) -> list[types.StructType]:
    """Return every struct of a union."""
    return [part for part in parts(info) if isinstance(part, types.StructType)]


def structs(info: types.Type, node: Node | None) -> list[types.StructType]:
    """Return the structs that `node` can be: of tagged ones, the one it names."""
    found = all_structs(info)
    if not isinstance(node, MapNode):
        return found
    named = [each for each in found if _names(node, each)]
    return named or found


def _names(node: MapNode, struct: types.StructType) -> bool:
    """Say whether a mapping has the tag of this struct."""
    if struct.tag_field is None or struct.tag_field not in node.entries:
        return False
    return bool(plain(node.entries[struct.tag_field].value) == struct.tag)


def tags(info: types.Type) -> types.LiteralType:
    """Return what the tag of a union's structs may be."""
    return types.LiteralType(tuple(each.tag for each in all_structs(info)))


def fields(info: types.Type, node: Node | None) -> list[str]:
    """Return the keys that a mapping may have, those of tags first."""
    found = structs(info, node)
    names = [each.tag_field for each in found if each.tag_field]
    for struct in found:
        names += [field.encode_name for field in struct.fields]
    return list(dict.fromkeys(names))


def inside(info: types.Type, node: Node, key: Key) -> types.Type:
    """Return what is allowed at `key` of `node`."""
    found = structs(info, node)
    if any(each.tag_field == key for each in found):
        return tags(info)
    for struct in found:
        for field in struct.fields:
            if field.encode_name == key:
                return field.type
    for part in parts(info):
        if isinstance(part, types.DictType) and isinstance(node, MapNode):
            return part.value_type
        if isinstance(part, types.TupleType | Lists) and isinstance(node, ListNode):
            return item_type(part, int(key))
    return types.AnyType()


def item_type(info: types.TupleType | Lists, index: int) -> types.Type:
    """Return what is allowed for an item of a list."""
    if not isinstance(info, types.TupleType):
        return info.item_type
    if index < len(info.item_types):
        return info.item_types[index]
    return types.AnyType()


def hint(word: object, known: Sequence[str], allowed: str) -> str:
    """Return what a wrong word may have meant, and what is allowed."""
    text = f"allowed: {allowed or 'another one'}"
    guesses = get_close_matches(str(word), known, n=1)
    if guesses:
        return f'; did you mean "{guesses[0]}"? {text}'
    return f"; {text}"


def allowed(*infos: types.Type) -> str:
    """Return "; allowed: ...", nothing where that cannot be said."""
    text = " or ".join(map(words, infos))
    return f"; allowed: {text}" if text else ""


def kind(value: object) -> str:
    """Return what a value is, in the words of a user."""
    if isinstance(value, bool):
        return str(value).lower()
    return _KINDS.get(type(value), "a mapping")


def words(info: types.Type) -> str:
    """Return what a type allows, in the words of a user."""
    match info:
        case types.Metadata():
            described = (info.extra_json_schema or {}).get("description")
            return str(described or words(info.type))
        case types.UnionType():
            present = [each for each in info.types if type(each) is not types.NoneType]
            return " or ".join(map(words, present))
        case types.LiteralType() | types.EnumType():
            return ", ".join(dict.fromkeys(map(_shown, literals(info))))
        case types.StructType():
            return f"a mapping with the keys {', '.join(fields(info, None))}"
        case types.DictType():
            return "a mapping" + _limits(info)
        case types.TupleType():
            return f"a list of {len(info.item_types)} values"
        case _ if isinstance(info, Lists):
            item = words(info.item_type)
            text = f"a list{_limits(info)}"
            return f"{text}, each item {item}" if item else text
    return _NAMES.get(type(info), "") + _limits(info)


def _shown(value: Value) -> str:
    text = str(value)
    return text if text.isprintable() else json.dumps(value)


def _limits(info: types.Type) -> str:
    found: list[str] = []
    for name, text in _LIMITS.items():
        limit = getattr(info, name, None)
        if isinstance(limit, float):
            limit = f"{limit:.15g}"
        if limit is not None:
            found.append(text.format(limit))
    return f" ({', '.join(found)})" if found else ""
