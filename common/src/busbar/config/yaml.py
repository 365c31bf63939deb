"""YAML 1.2 with the position of every key and value, and `${NAME}` replaced.

Source: YAML 1.2.2, 10.3.2 (the core schema: how plain text becomes a value). Tags are
refused, every size is bounded.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, NoReturn

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)
from ruamel.yaml.reader import ReaderError

from busbar.errors import ConfigError

SIZE_LIMIT = 1024 * 1024  # bytes of a file; a thousand devices are about a tenth of it
# values after aliases are expanded: nested aliases grow exponentially
NODE_LIMIT = 200_000
DEPTH_LIMIT = 64  # nested lists and mappings: below Python's own recursion limit
NUMBER_LIMIT = 64  # bit; what every reader of our schema can hold

Value = str | int | float | bool | None
Key = str | int
Place = tuple[int, int]  # line and column, from 1


@dataclass
class Scalar:
    """One value.

    `text` is what the environment said, for a key that wants text where a number was
    read.
    """

    place: Place
    value: Value
    text: str | None = None
    written: str = ""  # as it is in the file, without quotes
    size: ClassVar[int] = 1
    height: ClassVar[int] = 0


@dataclass
class ListNode:
    place: Place
    items: list["Node"] = field(default_factory=list)
    size: int = 1
    height: int = 1


@dataclass
class MapNode:
    place: Place
    entries: dict[Key, "Entry"] = field(default_factory=dict)
    size: int = 1
    height: int = 1


@dataclass
class Entry:
    place: Place  # of the key
    value: "Node"


Node = Scalar | ListNode | MapNode


def read(text: str, name: str, environment: Mapping[str, str], folder: Path) -> Node:
    """Return the only document of `text`, a null if there is none.

    Raise ConfigError with the position.

    The value of a key that ends in `_file` is a path relative to `folder`.
    """
    return _Composer(text, name, environment, folder).document()


def plain(node: Node) -> Any:
    """Return the node as new dicts, lists and scalars."""
    match node:
        case MapNode():
            return {key: plain(entry.value) for key, entry in node.entries.items()}
        case ListNode():
            return [plain(item) for item in node.items]
        case Scalar():
            return node.value


def problem(name: str, place: Place, path: tuple[Key, ...], text: str) -> str:
    """Return `file:line:column: key.path: text` on one line."""
    keys = "".join(map(_step, path)).removeprefix(".")
    position = f"{name}:{place[0]}:{place[1]}"
    return ": ".join(part for part in (position, keys, text) if part)


def _step(key: Key) -> str:
    if isinstance(key, int):
        return f"[{key}]"
    return f".{key if key.isprintable() else ascii(key)}"


def place_in(text: str, index: int) -> Place:
    """Return line and column of the character at `index`."""
    return text.count("\n", 0, index) + 1, index - text.rfind("\n", 0, index)


class _Composer:
    """Builds the nodes of one document from ruamel's events."""

    def __init__(
        self, text: str, name: str, environment: Mapping[str, str], folder: Path
    ) -> None:
        self._events = _events(text, name)
        self._name = name
        self._environment = environment
        self._folder = folder
        self._anchors: dict[str, Node | None] = {}
        self._path: list[Key] = []
        self._count = 0

    def document(self) -> Node:
        next(self._events)  # the stream's start
        if isinstance(next(self._events), StreamEndEvent):
            return Scalar((1, 1), None)
        root = self._node(next(self._events), (1, 1))
        next(self._events)  # the document's end
        if isinstance(end := next(self._events), DocumentStartEvent):
            self._fail(
                _place(end), ("a second document starts here; allowed: one document")
            )
        return root

    def _node(self, event: Any, place: Place) -> Node:
        """Return the node that starts with `event`; an empty one is at `place`."""
        if isinstance(event, AliasEvent):
            return self._alias(event)
        place = place if _is_empty(event) else _place(event)
        if event.tag:
            tag = str(event.tag).replace("tag:yaml.org,2002:", "!!")
            self._fail(
                place,
                (f"the tag {tag} is not supported; allowed: values without a tag"),
            )
        if event.anchor:
            # an alias inside its own anchor has no end
            self._anchors[event.anchor] = None
        node = self._new(event, place)
        if event.anchor:
            self._anchors[event.anchor] = node
        return node

    def _new(self, event: Any, place: Place) -> Node:
        self._add(1, place)
        if isinstance(event, ScalarEvent):
            return self._scalar(event, place)
        return (
            self._list(place)
            if isinstance(event, SequenceStartEvent)
            else self._mapping(place)
        )

    def _alias(self, event: Any) -> Node:
        place = _place(event)
        node = self._anchors.get(event.anchor)
        if node is None:
            self._fail(
                place, (f"no value with the anchor &{event.anchor} ends before this")
            )
        self._add(node.size, place)
        return node

    def _add(self, count: int, place: Place) -> None:
        self._count += count
        if self._count > NODE_LIMIT:
            self._fail(
                place,
                (f"too many values; allowed: {NODE_LIMIT}, aliases counted in full"),
            )

    def _list(self, place: Place) -> ListNode:
        node = ListNode(place)
        while not isinstance(event := next(self._events), SequenceEndEvent):
            with self._inside(len(node.items), place):
                item = self._node(event, place)
                self._grow(node, item)
            node.items.append(item)
        return node

    def _mapping(self, place: Place) -> MapNode:
        node = MapNode(place)
        while not isinstance(event := next(self._events), MappingEndEvent):
            key = self._key(event)
            with self._inside(key, place):
                if first := node.entries.get(key):
                    self._fail(
                        _place(event),
                        (f"the key is given twice, first in line {first.place[0]}"),
                    )
                value = self._node(next(self._events), _place(event))
                self._grow(node, value)
            node.entries[key] = Entry(_place(event), self._in_folder(key, value))
        return node

    def _grow(self, parent: ListNode | MapNode, child: Node) -> None:
        parent.size += child.size
        parent.height = max(parent.height, child.height + 1)
        if parent.height > DEPTH_LIMIT:
            self._fail(child.place, f"nested too deeply; allowed: {DEPTH_LIMIT} levels")

    @contextmanager
    def _inside(self, key: Key, place: Place) -> Iterator[None]:
        if len(self._path) >= DEPTH_LIMIT:
            self._fail(place, f"nested too deeply; allowed: {DEPTH_LIMIT} levels")
        self._path.append(key)
        yield
        self._path.pop()

    def _key(self, event: Any) -> Key:
        """Return a whole number or else the text as it stands."""
        if not isinstance(event, ScalarEvent) or event.tag:
            self._fail(
                _place(event), ("this cannot be a key; allowed: text, a whole number")
            )
        value = (
            self._resolved(event.value, _place(event)) if event.implicit[0] else None
        )
        return value if type(value) is int else self._text(event.value, _place(event))

    def _scalar(self, event: Any, place: Place) -> Scalar:
        text = self._text(
            _VARIABLE.sub(lambda match: self._variable(match, place), event.value),
            place,
        )
        if not event.implicit[0]:
            return Scalar(place, text)
        if (whole := _VARIABLE.fullmatch(event.value)) and whole[1]:
            return Scalar(place, self._number_or_text(text), text, text)
        return Scalar(
            place,
            self._resolved(text, place) if text == event.value else text,
            written=text,
        )

    def _variable(self, match: re.Match[str], place: Place) -> str:
        if match[0] == "$${":
            return "${"
        if not match[1]:
            self._fail(
                place,
                (
                    "`${` starts no variable; allowed: ${NAME}, ${NAME:-default}, $${ "
                    "for "
                    "the text ${"
                ),
            )
        value = self._environment.get(match[1])
        if match[2] is not None:
            return value or match[2]
        if value is None:
            self._fail(
                place,
                (
                    f"the environment has no variable {match[1]}; allowed: "
                    f"${{{match[1]}:-default}}"
                ),
            )
        return value

    def _number_or_text(self, text: str) -> Value:
        """What a variable holds may be text that only looks like a number."""
        try:
            return self._resolved(text, (1, 1))
        except ConfigError:
            return text

    def _resolved(self, text: str, place: Place) -> Value:
        try:
            value = next(
                (read(text) for pattern, read in _CORE if pattern.fullmatch(text)), text
            )
        except ValueError:  # Python converts at most 4300 digits
            value = math.inf
        if not _is_usable(value):
            self._fail(
                place,
                (
                    f"not a number that can be used; allowed: finite numbers of at "
                    f"most "
                    f"{NUMBER_LIMIT} bit"
                ),
            )
        return value

    def _text(self, text: str, place: Place) -> str:
        if any("\ud800" <= character <= "\udfff" for character in text):
            self._fail(
                place,
                ("the text has half of a surrogate pair; allowed: Unicode characters"),
            )
        return text

    def _in_folder(self, key: Key, node: Node) -> Node:
        if not isinstance(node, Scalar) or not str(key).endswith("_file"):
            return node
        value = self._joined(node.value) if isinstance(node.value, str) else node.value
        return replace(
            node,
            value=value,
            text=None if node.text is None else self._joined(node.text),
        )

    def _joined(self, file: str) -> str:
        return str(self._folder / file)

    def _fail(self, place: Place, text: str) -> NoReturn:
        raise ConfigError(problem(self._name, place, tuple(self._path), text))


def _events(text: str, name: str) -> Iterator[Any]:
    place = (1, 1)
    try:
        for event in YAML(typ="safe", pure=True).parse(text):
            place = _place(event)
            yield event
    except MarkedYAMLError as error:
        raise ConfigError(_syntax(error, name, place)) from error
    except ReaderError as error:
        what = f"the character U+{ord(text[error.position]):04X} is not allowed in YAML"
        raise ConfigError(
            problem(name, place_in(text, error.position), (), what)
        ) from error
    except (ValueError, OverflowError) as error:  # from chr(): "\UFFFFFFFF"
        escape = re.search(r"\\U(?!000|0010)", text)
        place = place_in(text, escape.start() if escape else 0)
        raise ConfigError(
            problem(name, place, (), "this escape names no Unicode character")
        ) from error


def _syntax(error: MarkedYAMLError, name: str, place: Place) -> str:
    mark, start = error.problem_mark or error.context_mark, error.context_mark
    place = (mark.line + 1, mark.column + 1) if mark else place
    if "'\\t'" in str(error.problem):
        return problem(
            name, place, (), ("a tab where YAML wants spaces; allowed: spaces")
        )
    what = ", ".join(str(part) for part in (error.context, error.problem) if part)
    since = (
        (f" (it starts at {start.line + 1}:{start.column + 1})")
        if start and start is not mark
        else ""
    )
    return problem(name, place, (), f"not valid YAML: {what}{since}")


def _place(event: Any) -> Place:
    return event.start_mark.line + 1, event.start_mark.column + 1


def _is_usable(value: Value) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return type(value) is not int or value.bit_length() <= NUMBER_LIMIT


def _is_empty(event: Any) -> bool:
    # ruamel puts a value that is not there where the next token stands
    return (
        isinstance(event, ScalarEvent)
        and not event.value
        and event.start_mark.index == event.end_mark.index
    )


_VARIABLE = re.compile(r"\$\$\{|\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}|\$\{")
_CORE: tuple[tuple[re.Pattern[str], Callable[[str], Value]], ...] = (
    (re.compile(r"|~|null|Null|NULL"), lambda text: None),
    (re.compile(r"true|True|TRUE"), lambda text: True),
    (re.compile(r"false|False|FALSE"), lambda text: False),
    (re.compile(r"[-+]?[0-9]+"), int),
    (re.compile(r"0o[0-7]+"), lambda text: int(text[2:], 8)),
    (re.compile(r"0x[0-9a-fA-F]+"), lambda text: int(text[2:], 16)),
    (re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"), float),
    (
        re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"),
        lambda text: float(text.replace(".", "")),
    ),
)
