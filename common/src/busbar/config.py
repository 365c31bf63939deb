"""The configuration of a bridge: typed structs read from YAML; every error says where, what and what is allowed."""

import bisect
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct
from msgspec import inspect as types

from busbar.errors import ConfigError
from busbar.yaml_source import (
    SIZE_LIMIT,
    Key,
    ListNode,
    MapNode,
    Node,
    Place,
    Scalar,
    Value,
    place_in,
    plain,
    problem,
    read,
)

T = TypeVar("T")
PROBLEM_LIMIT = 20  # problems reported at once; each costs one more conversion
SECRET_LIMIT = 4096  # bytes of a password's line


_SIZE = r"^([1-9][0-9]{0,5}) ?(B|KiB|MiB|GiB|kB|MB|GB)(?!\n)$"
_UNITS = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "kB": 10**3, "MB": 10**6, "GB": 10**9}
Size = Annotated[  # bytes; the text is read before msgspec sees it, so that defaults and results are plain numbers
    int,
    Meta(
        ge=1,
        le=2**53,
        description="a number of bytes, or text such as 64MiB (B, KiB, MiB, GiB, kB, MB, GB)",
        extra={"size": True},
        extra_json_schema={"pattern": _SIZE},
    ),
]
_LEVEL = "[A-Za-z0-9_-]{1,64}"
_PORT = "[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]"
_URL = rf"^(mqtts?://(\[[0-9A-Fa-f:.]+\]|[^\s/?#@:\[\]]+)(:({_PORT}))?/?|unix:///.+)(?!\n)$"
Url = Annotated[str, Meta(pattern=_URL, description="mqtt://host:port, mqtts://host:port or unix:///path")]
Name = Annotated[
    str,
    Meta(pattern=rf"^(?!reply$){_LEVEL}(?!\n)$", description='1 to 64 letters, digits, "_" and "-", not "reply"'),
]
Root = Annotated[
    str,
    Meta(
        pattern=rf"^{_LEVEL}(/{_LEVEL})*(?!\n)$", description='levels of 1 to 64 letters, digits, "_" and "-" with "/"'
    ),
]
Filter = Annotated[
    str,
    Meta(pattern=r"^([^+#/\n]+/|\+/)*([^+#/\n]+|\+|#)(?!\n)$", description="a topic filter such as # or measure/+"),
]


class Broker(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The MQTT broker and how to log in."""

    url: Url | None = None  # None: the caller decides. No user and password in it, where secrets_of would miss them
    username: str | None = None
    password: str | None = None
    password_file: str | None = None  # its first line is the password
    protocol: Literal["5", "3.1.1", 5] = "5"
    ca_file: str | None = None  # PEM; None: the system's authorities
    cert_file: str | None = None  # PEM, the client's certificate
    key_file: str | None = None  # PEM, its key where it is not in cert_file
    insecure: bool = False  # True: the broker's certificate is not checked
    keepalive: Annotated[int, Meta(ge=5, le=120)] = 30  # s
    max_message: Size = 1024 * 1024  # bytes of anything published

    def __post_init__(self) -> None:
        if self.password is not None and self.password_file is not None:
            raise ValueError("password_file: there is a password, too; allowed: one of them")
        if self.key_file is not None and self.cert_file is None:
            raise ValueError("key_file: a key without a cert_file")

    @property
    def version(self) -> Literal["5", "3.1.1"]:
        """The protocol, whether it was given as a number or as text."""
        return "3.1.1" if self.protocol == "3.1.1" else "5"


class Bridge(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The name of this bridge on the bus, and what others may do with it."""

    name: Name
    root: Root = "busbar"
    leaves: tuple[Filter, ...] = ("#",)  # properties published one by one
    allow_open: tuple[str, ...] = ()  # patterns of addresses that the command `open` may open
    allow_shutdown: bool = False
    max_command: Size = 256 * 1024  # bytes of a command's payload
    folder: str | None = None  # where blobs too large for the bus are saved; None: nowhere


class Log(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    level: Literal["trace", "debug", "info", "warning", "error"] = "info"
    format: Literal["text", "json"] = "text"


class Config(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What every bridge has; a service subclasses it and adds its devices."""

    broker: Broker = Broker()
    bridge: Bridge
    log: Log = Log()


def load(path: Path, type: type[T], environment: Mapping[str, str]) -> T:
    """Return the configuration in a file; raise ConfigError with `file:line:column: key: what; allowed`."""
    name = str(path)
    try:
        with path.open("rb") as file:
            data = file.read(SIZE_LIMIT + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise ConfigError(problem(name, (1, 1), (), f"cannot read the file: {_reason(error)}")) from error
    if len(data) > SIZE_LIMIT:
        raise ConfigError(problem(name, (1, 1), (), f"the file is too large; allowed: {SIZE_LIMIT} bytes"))
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        before = data[: error.start].decode()
        raise ConfigError(
            problem(name, place_in(before, len(before)), (), "this byte is not UTF-8; allowed: UTF-8 text")
        ) from error
    return parse(text, type, environment, name, path.parent)


def parse(text: str, type: type[T], environment: Mapping[str, str], name: str = "<config>", folder: Path = Path()) -> T:
    """Return the configuration in `text`, its `*_file` paths relative to `folder`; raise ConfigError as `load` does."""
    return _Conversion(read(text, name, environment, folder), type, name).result()


def secret(value: str | None, file: str | None, name: str) -> str | None:
    """Return a password given as it is or as the first line of a file; raise ConfigError if that fails."""
    if value is not None and file is not None:
        raise ConfigError(f"{name}: given twice; allowed: either {name} or {name}_file")
    if file is None:
        return value
    try:
        with Path(file).open("rb") as stream:
            line = stream.readline(SECRET_LIMIT).decode().rstrip("\r\n")
    except (OSError, ValueError) as error:  # ValueError: not UTF-8
        raise ConfigError(f"{name}_file: cannot read {file}: {_reason(error)}") from error
    if not line:
        raise ConfigError(f"{name}_file: the first line of {file} is empty")
    return line


def secrets_of(config: object) -> frozenset[str]:
    """Return every password in a configuration, for the log to leave out; raise ConfigError as `secret` does."""
    return frozenset(_secrets(config, ""))


def schema(type: type[Struct]) -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of a configuration file."""
    (root,), parts = msgspec.json.schema_components([type], ref_template="#/$defs/{name}")
    parts = {name: _or_variable(part) for name, part in parts.items()}
    variable = {"type": "string", "pattern": r"\$\{", "description": "${NAME} or ${NAME:-default} of the environment"}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": type.__name__,
        **root,
        "$defs": parts | {"environment": variable},
    }


def _or_variable(part: Any) -> Any:
    """Return a schema in which a size may be text, and `${NAME}` stand for every value that is not any text."""
    if isinstance(part, list):
        return [_or_variable(one) for one in part]
    if not isinstance(part, dict):
        return part
    kind, pattern = part.get("type"), isinstance(part.get("pattern"), str)
    if isinstance(part.get("enum"), list) or pattern or kind in ("integer", "number", "boolean"):
        if kind == "integer" and pattern:  # msgspec does not let Meta change the type
            part = part | {"type": ["integer", "string"]}
        notes = {key: part[key] for key in ("description", "default") if key in part}
        rest = {key: value for key, value in part.items() if key not in notes}
        return {"anyOf": [rest, {"$ref": "#/$defs/environment"}], **notes}
    fields = {name: _or_variable(field) for name, field in part.get("properties", {}).items()}
    rest = {key: value if key == "default" else _or_variable(value) for key, value in part.items()}
    return rest | ({"properties": fields} if fields else {})


def _secrets(value: object, path: str) -> Iterator[str]:
    match value:
        case Struct():
            names = value.__struct_fields__
            for name in names:
                yield from _secrets(getattr(value, name), f"{path}.{name}")
            for name in (name for name in names if name.endswith("password")):
                if found := secret(getattr(value, name), getattr(value, f"{name}_file", None), f"{path}.{name}"[1:]):
                    yield found
        case dict():
            for key, item in value.items():
                yield from _secrets(item, f"{path}.{key}")
        case list() | tuple():
            for index, item in enumerate(value):
                yield from _secrets(item, f"{path}[{index}]")


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


@dataclass(frozen=True)
class _Spot:
    """Where msgspec stopped, and what it said or (`own`) what a struct's `__post_init__` said."""

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
        if isinstance(self.node, MapNode) and fields and (self.in_key or "contains unknown field" in self.text):
            return next((key for key in self.node.entries if key not in fields), None)
        return None


class _Conversion(Generic[T]):
    """Nodes to typed structs by msgspec; its complaints become ours, with positions."""

    def __init__(self, root: Node, kind: type[T], name: str) -> None:
        self._root, self._kind, self._name = root, kind, name
        _read_again(root, types.type_info(kind))

    def result(self) -> T:
        problems: list[str] = []
        while len(problems) < PROBLEM_LIMIT:
            try:
                value = self._convert(plain(self._root))
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

    def _convert(self, data: Any) -> T:
        return msgspec.convert(data, self._kind)

    def _spot(self, error: msgspec.ValidationError) -> _Spot:
        own = str(error.__cause__ or "")
        text = str(error)
        keys = self._root.entries if isinstance(self._root, MapNode) else ()
        match = re.search(r" - at (`key` in )?`\$([^`]*)`$", text.removeprefix(own))
        if text in (f"Object contains unknown field `{key}`" for key in keys):  # a key may look like a path
            match = None
        in_key, steps = (bool(match[1]), match[2]) if match else (False, "")
        path: tuple[Key, ...] = ()
        node, info = self._root, types.type_info(self._kind)
        for name, index in re.findall(r"\.([^.\[]+)|\[(\d+|\.\.\.)\]", steps):
            key = name or (self._culprit(path, text) if index == "..." else int(index))
            info, node, path = _inside(info, node, key), _child(node, key), (*path, key)
        if in_key and not _fields(info, node):
            path += (self._culprit(path, text, in_key=True),)
        return _Spot(text[: match.start() + len(own)] if match else text, own, path, node, info, in_key)

    def _culprit(self, path: tuple[Key, ...], text: str, in_key: bool = False) -> Key:
        """Return the key of the mapping at `path` that `text` is about: msgspec writes `[...]` for every key.

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
                self._convert(data)
            except msgspec.ValidationError as error:
                return str(error) == text
            return False

        keys: list[Key] = list(_value_at(plain(self._root), path))
        return keys[bisect.bisect_left(range(len(keys)), True, key=is_behind) - 1]


def _read_again(node: Node, info: types.Type) -> None:
    """Take the reading that is wanted: `64MiB` and `1.0` as whole numbers, the `12` of a variable as text."""
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
        size = re.search(_SIZE, value) if _is_size(info) else None
        return int(size[1]) * _UNITS[size[2]] if size else value
    if isinstance(value, float) and value.is_integer() and types.IntType in kinds and types.FloatType not in kinds:
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
            return node.entries[key].place, (*path, key), f"unknown key{_hint(key, fields, ', '.join(fields))}"
        if spot.in_key:
            wanted = [part.key_type for part in _parts(spot.info) if isinstance(part, types.DictType)]
            return node.entries[path[-1]].place, path, f"the key is {_kind(path[-1])}{_allowed(*wanted)}"
        if match := re.fullmatch(r"Object missing required field `(.+)`", text):
            return node.place, (*path, match[1]), f"missing{_allowed(_inside(spot.info, node, match[1]))}"
        key, _, rest = spot.own.partition(": ")
        if rest and key in node.entries:
            return node.entries[key].value.place, (*path, key), rest
    return node.place, path, spot.own or _value_problem(node, spot)


def _value_problem(node: Node, spot: _Spot) -> str:
    value, kind = plain(node), _kind(plain(node))
    if spot.text.startswith("Invalid"):
        words = _words(spot.info)
        return f"unknown value {json.dumps(value)}{_hint(value, words.split(', '), words)}"
    if re.fullmatch(r"Expected .*, got `\w+`", spot.text):
        found = "the file is empty" if value is None and not spot.path else f"got {kind}"
    else:
        found = f"{value} is out of range" if isinstance(value, int | float) else f"{kind} that does not fit"
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
    return [part for one in info.types for part in _parts(one)] if isinstance(info, types.UnionType) else [info]


def _literals(info: types.Type) -> list[object]:
    literals = [one for part in _parts(info) if isinstance(part, types.LiteralType) for one in part.values]
    return literals + [one.value for part in _parts(info) if isinstance(part, types.EnumType) for one in part.cls]


def _is_size(info: types.Type) -> bool:
    if isinstance(info, types.Metadata):
        return "size" in (info.extra or {})
    return isinstance(info, types.UnionType) and any(map(_is_size, info.types))


def _structs(info: types.Type, node: Node) -> list[types.StructType]:
    """Return the structs that `node` can be: of tagged ones, the one it names."""
    structs = [part for part in _parts(info) if isinstance(part, types.StructType)]
    entries = node.entries if isinstance(node, MapNode) else {}
    tags = {part.tag_field: plain(entries[part.tag_field].value) for part in structs if part.tag_field in entries}
    return [part for part in structs if part.tag_field in tags and part.tag == tags[part.tag_field]] or structs


def _fields(info: types.Type, node: Node) -> list[str]:
    structs = _structs(info, node)
    tags = [part.tag_field for part in structs if part.tag_field]
    return list(dict.fromkeys([*tags, *(field.encode_name for part in structs for field in part.fields)]))


def _inside(info: types.Type, node: Node, key: Key) -> types.Type:
    """Return what is allowed at `key` of `node`."""
    structs = _structs(info, node)
    if any(part.tag_field == key for part in structs):
        return types.LiteralType(tuple(part.tag for part in _parts(info) if isinstance(part, types.StructType)))
    for field in (field for part in structs for field in part.fields if field.encode_name == key):
        return field.type
    for part in _parts(info):
        match part:
            case types.DictType() if isinstance(node, MapNode):
                return part.value_type
            case types.TupleType() if isinstance(node, ListNode) and isinstance(key, int):
                return dict(enumerate(part.item_types)).get(key, types.AnyType())
            case types.ListType() | types.VarTupleType() | types.SetType() | types.FrozenSetType():
                return part.item_type if isinstance(node, ListNode) else types.AnyType()
    return types.AnyType()


def _hint(word: object, known: list[str], allowed: str) -> str:
    guesses = get_close_matches(str(word), known, n=1)
    return (f'; did you mean "{guesses[0]}"? ' if guesses else "; ") + f"allowed: {allowed or 'another one'}"


def _allowed(*infos: types.Type) -> str:
    words = " or ".join(map(_words, infos))
    return f"; allowed: {words}" if words else ""


def _kind(value: object) -> str:
    """Return what a value is in the words of a user."""
    if isinstance(value, bool):
        return str(value).lower()
    return {type(None): "nothing", int: "a number", float: "a decimal number", str: "text", list: "a list"}.get(
        type(value), "a mapping"
    )


_NAMES: dict[type[types.Type], str] = {
    types.BoolType: "true or false", types.IntType: "a whole number", types.FloatType: "a number",
    types.StrType: "text", types.NoneType: "nothing",
}  # fmt: skip
_READINGS: dict[type[Value], set[type[types.Type]]] = {
    int: {types.IntType, types.FloatType, types.AnyType},
    float: {types.FloatType, types.AnyType},
    bool: {types.BoolType, types.AnyType},
    type(None): {types.NoneType, types.AnyType},
}
_LIMITS = {
    "ge": "at least {}", "gt": "more than {}", "le": "at most {}", "lt": "less than {}",
    "multiple_of": "a multiple of {}", "min_length": "length at least {}", "max_length": "length at most {}",
    "pattern": "matching {}",
}  # fmt: skip


def _words(info: types.Type) -> str:
    """Return what a type allows, in the words of a user."""
    match info:
        case types.Metadata():
            return str((info.extra_json_schema or {}).get("description") or _words(info.type))
        case types.UnionType():
            return " or ".join(_words(part) for part in info.types if not isinstance(part, types.NoneType))
        case types.LiteralType() | types.EnumType():
            return ", ".join(dict.fromkeys(map(str, _literals(info))))
        case types.StructType():
            return f"a mapping with the keys {', '.join(_fields(info, _NOTHING))}"
        case types.DictType():
            return "a mapping" + _limits(info)
        case types.TupleType():
            return f"a list of {len(info.item_types)} values"
        case types.ListType() | types.VarTupleType() | types.SetType() | types.FrozenSetType():
            item = _words(info.item_type)
            return f"a list{_limits(info)}" + (f", each item {item}" if item else "")
    return _NAMES.get(type(info), "") + _limits(info)


def _limits(info: types.Type) -> str:
    found = ((text, getattr(info, name, None)) for name, text in _LIMITS.items())
    limits = ", ".join(
        text.format(f"{limit:.15g}" if isinstance(limit, float) else limit)
        for text, limit in found
        if limit is not None
    )
    return f" ({limits})" if limits else ""


_FOREIGN = type("_Foreign", (), {})()
_NOTHING = Scalar((1, 1), None)
