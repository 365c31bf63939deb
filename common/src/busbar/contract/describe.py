"""Description of a device, declared once: properties, commands, events, blobs.

The declaration drives validation, `info`, the JSON Schemas, discovery, forms and the
SDK.

Source: docs/contract.md, 3.2.
"""

import difflib
import re
import typing
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, TypeVar

import msgspec
from msgspec import UNSET

from busbar.contract import messages
from busbar.contract.checks import Check
from busbar.contract.messages import CommandInfo, EventInfo, Metadata, PropertyInfo
from busbar.contract.names import LEVEL
from busbar.contract.values import Reader, schema
from busbar.errors import BadRequest, OutOfRange, ReadOnly, UnknownTarget

_PARAMETER = re.compile(r"\{([a-z_]+)\}")
LISTED = 12  # names in an error message
_NUMBER = re.compile(r"0|[1-9][0-9]{0,63}")


class NoArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A command without arguments: `{}`."""


@dataclass(frozen=True)
class Property:
    """One value that changes atomically.

    A path with `{parameters}` declares a family of them.
    """

    path: str
    type: Any = float
    access: Literal["r", "w", "rw"] = "r"
    title: str | None = None
    unit: str | None = None
    group: str | None = None
    class_: str | None = None  # Home Assistant device class
    readback: str | None = ""  # path where a write appears; "" = here, None = nowhere
    default: Any = UNSET  # value of members of a family that were never seen
    original: str | None = None  # the device's own name
    parameters: Mapping[str, range] = field(default_factory=dict)
    deadband: float = 0.0  # a smaller difference is not reported
    min_interval: float = 0.0  # s between reports; the newest value follows at the end
    # s after which an unchanged reading is reported again; 0 = never
    max_silence: float = 0.0
    # s without a reading after which the value is stale; 0 = never
    max_age: float = 0.0

    @cached_property
    def reader(self) -> Reader:
        return Reader(self.type)

    @cached_property
    def check(self) -> Check:
        """What a reading is compared with."""
        return Check(self.type)

    @cached_property
    def limited(self) -> bool:
        """Whether readings age, or differ and are yet not reported."""
        limits = (self.deadband, self.min_interval, self.max_silence, self.max_age)
        return any(limits)

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """The paths of a family."""
        parts = _PARAMETER.split(self.path)  # text and parameters in turn
        parts[::2] = [re.escape(text) for text in parts[::2]]
        parts[1::2] = [f"(?P<{name}>[^/]+)" for name in parts[1::2]]
        return re.compile("".join(parts))

    def matches(self, path: str) -> bool:
        """Return whether a path is a member of this family."""
        match = self.pattern.fullmatch(path)
        if match is None:
            return False
        found = match.groupdict()
        return all(_within(self.parameters.get(key), found[key]) for key in found)

    def check_range(self, path: str) -> None:
        """Raise OutOfRange for a path that only its number keeps from this family."""
        match = self.pattern.fullmatch(path)
        if match is None:
            return
        for name, text in match.groupdict().items():
            allowed = self.parameters.get(name)
            if allowed is None or not _NUMBER.fullmatch(text):
                continue
            if int(text) not in allowed:
                limits = f"{allowed[0]} to {allowed[-1]}"
                raise OutOfRange(f"{path}: {name} {text} is not {limits}")

    def info(self) -> PropertyInfo:
        return PropertyInfo(
            schema=schema(self.type),
            access=self.access,
            title=_optional(self.title),
            unit=_optional(self.unit),
            group=_optional(self.group),
            class_=_optional(self.class_),
            readback=UNSET if self.readback == "" else self.readback,
            default=self.default,
            original=_optional(self.original),
            parameters=self._shown_parameters(),
        )

    def _shown_parameters(self) -> Any:
        if not self.parameters:
            return UNSET
        return {name: _bounds(allowed) for name, allowed in self.parameters.items()}


def _within(allowed: range | None, text: str) -> bool:
    if not LEVEL.fullmatch(text):
        return False
    if allowed is None:
        return True
    return _NUMBER.fullmatch(text) is not None and int(text) in allowed


def _bounds(allowed: range) -> dict[str, int]:
    return {"minimum": allowed[0], "maximum": allowed[-1]}


def _optional(value: Any) -> Any:
    return UNSET if value is None else value


@dataclass(frozen=True)
class Command:
    """One command; `run(target, device, arguments, turn)` carries it out."""

    name: str
    run: Callable[..., Awaitable[Any]]
    arguments: type[msgspec.Struct] = NoArguments
    result: Any = None
    title: str = ""
    timeout: float = 10.0  # s; caps `_timeout`
    safe: bool = False
    interrupts: bool = False  # a safe command that ends the running one
    holds: Literal["exchange", "until_done"] = "until_done"
    queued: bool = True  # False: the bridge itself answers, at once

    @cached_property
    def _reader(self) -> Reader:
        return Reader(self.arguments)

    @cached_property
    def _fields(self) -> dict[str, Reader]:
        declared = msgspec.structs.fields(self.arguments)
        return {field.encode_name: Reader(field.type) for field in declared}

    @cached_property
    def _bare(self) -> str | None:
        """The one required argument, which may come as a bare value."""
        declared = msgspec.structs.fields(self.arguments)
        required = [field.encode_name for field in declared if field.required]
        return required[0] if len(required) == 1 else None

    def read(self, payload: bytes) -> tuple[Any, Metadata]:
        """Return arguments and metadata; raise BadRequest or OutOfRange."""
        fields, metadata = self._payload(payload)
        for key in fields:
            if key not in self._fields:
                suggested = _suggest(key, self._fields)
                raise BadRequest(f"unknown argument {key!r} of {self.name}{suggested}")
        return self._reader.value(fields), metadata

    def _payload(self, payload: bytes) -> tuple[dict[str, Any], Metadata]:
        obj = self._object(payload)
        if obj is not None:
            own, metadata = messages.take_metadata(obj)
            if "_value" not in own or self._bare is None or self._bare in own:
                return own, metadata
            return {self._bare: own.pop("_value"), **own}, metadata
        if self._bare is None:
            names = ", ".join(self._fields) or "none"
            raise BadRequest(
                f"{self.name} takes a JSON object of arguments ({names}), not "
                f"{messages.shown(payload)}"
            )
        value, metadata = self._fields[self._bare].payload(payload)
        return {self._bare: value}, metadata

    def _object(self, payload: bytes) -> dict[str, Any] | None:
        if messages.is_msgpack_map(payload):
            return typing.cast("dict[str, Any]", messages.decode(payload))
        if payload.lstrip()[:1] != b"{":
            return None
        try:
            value = messages.decode(payload)
        except BadRequest:
            if self._bare is None or not self._fields[self._bare].verbatim:
                raise
            return None  # a text argument is taken verbatim, `{a` too
        return typing.cast("dict[str, Any]", value)

    def info(self) -> CommandInfo:
        return CommandInfo(
            title=self.title or self.name,
            arguments=schema(self.arguments),
            result=schema(self.result),
            timeout=self.timeout,
            safe=self.safe,
            holds=self.holds,
        )


_MARK = "__busbar_command__"
Method = TypeVar("Method", bound=Callable[..., Awaitable[Any]])


def command(**options: Any) -> Callable[[Method], Method]:
    """Declare a method `(self, device, arguments, turn)` as a command.

    Types come from its annotations.
    """

    def mark(method: Method) -> Method:
        setattr(method, _MARK, options)
        return method

    return mark


def commands(*holders: type) -> dict[str, Command]:
    """Return the commands declared on classes, in order of their definition.

    A holder is the class of a session, or of an object among its `commands`.
    """
    found = {}
    for holder in holders:
        for base in reversed(holder.__mro__):
            for method in vars(base).values():
                options = getattr(method, _MARK, None)
                if options is not None:
                    declared = _command(holder, method, options)
                    found[declared.name] = declared
    return found


def _command(
    holder: type, method: Callable[..., Awaitable[Any]], options: dict[str, Any]
) -> Command:
    hints = typing.get_type_hints(method)
    name = options.get("name", method.__name__.rstrip("_"))
    title = options.get("title") or (method.__doc__ or "").partition("\n")[0]
    others = {key: options[key] for key in options if key not in ("title", "name")}
    return Command(
        name=name,
        run=_Method(holder, method),
        arguments=hints.get("arguments", NoArguments),
        result=hints.get("return"),
        title=title.rstrip("."),
        **others,
    )


@dataclass(frozen=True)
class _Method:
    """A method of a session, or of one of its `commands`."""

    holder: type
    method: Callable[..., Awaitable[Any]]

    def __call__(self, session: Any, *arguments: Any) -> Awaitable[Any]:
        return self.method(self._held_by(session), *arguments)

    def _held_by(self, session: Any) -> Any:
        if isinstance(session, self.holder):
            return session
        return next(each for each in session.commands if isinstance(each, self.holder))


@dataclass(frozen=True)
class Event:
    """Something that happens; `fields` is the Struct of its payload."""

    name: str
    fields: Any = dict[str, Any]
    title: str = ""
    encoding: Literal["json", "msgpack"] = "json"

    def info(self) -> EventInfo:
        encoding = UNSET if self.encoding == "json" else self.encoding
        return EventInfo(
            title=self.title or self.name,
            schema=schema(self.fields),
            encoding=encoding,
        )


@dataclass(frozen=True)
class Blob:
    """A stream of binary messages; the property of its path describes the latest."""

    name: str
    content_type: str = "application/octet-stream"
    title: str = ""

    def info(self) -> EventInfo:
        return EventInfo(title=self.title or self.name, content_type=self.content_type)


class BlobValue(msgspec.Struct, frozen=True):
    """Value of the property of a blob: the latest one.

    `file` where it was saved instead of published.
    """

    size: int
    content_type: str
    file: str | None = None


@dataclass(frozen=True)
class Description:
    """A device and what it offers; immutable, replaced as a whole."""

    kind: str
    properties: Mapping[str, Property] = field(default_factory=dict)
    commands: Mapping[str, Command] = field(default_factory=dict)
    events: Mapping[str, Event] = field(default_factory=dict)
    blobs: Mapping[str, Blob] = field(default_factory=dict)
    name: str | None = None
    manufacturer: str | None = None
    model: str | None = None
    serial: str | None = None
    firmware: str | None = None
    address: str | None = None  # never with credentials
    channel: str | None = None  # the link, if shared
    timeout: float = 10.0  # s for one `set`; caps `_timeout`

    def with_(self, **changes: Any) -> "Description":
        return replace(self, **changes)

    def with_blob(self, blob: Blob) -> "Description":
        """Add a blob and the property that describes the latest."""
        about = Property(blob.name, BlobValue, title=blob.title or None)
        return replace(
            self,
            blobs={**self.blobs, blob.name: blob},
            properties={**self.properties, blob.name: about},
        )

    @cached_property
    def _families(self) -> list[Property]:
        return [p for p in self.properties.values() if "{" in p.path]

    def find(self, path: str) -> Property | None:
        """Return the property of a path, of a family too."""
        exact = self.properties.get(path)
        if exact is not None and "{" not in path:
            return exact
        for family in self._families:
            if family.matches(path):
                return family
        return None

    def writable(self, path: str) -> Property:
        """Return the property to write.

        Raise UnknownTarget, ReadOnly, or OutOfRange beyond the end of a family.
        """
        found = self.find(path)
        if found is None:
            for family in self._families:
                family.check_range(path)
            suggested = _suggest(path, self.properties)
            raise UnknownTarget(f"no property {path!r:.100}{suggested}")
        if "w" not in found.access:
            raise ReadOnly(f"property {path!r} is read-only")
        return found

    def command(self, name: str) -> Command:
        """Return a command; raise UnknownTarget."""
        if name not in self.commands:
            suggested = _suggest(name, self.commands)
            raise UnknownTarget(f"no command {name!r:.100}{suggested}")
        return self.commands[name]

    def info(
        self, bridge: str, device: str, revision: int, boot: str, truncated: int = 0
    ) -> messages.Info:
        identity = {key: _optional(getattr(self, key)) for key in _IDENTITY}
        return messages.Info(
            contract=messages.CONTRACT,
            bridge=bridge,
            device=device,
            kind=self.kind,
            revision=revision,
            boot=boot,
            properties=_infos(self.properties),
            commands=_infos(self.commands),
            events=_infos(self.events),
            blobs=_infos(self.blobs),
            truncated=truncated or UNSET,
            **identity,
        )


_IDENTITY = (
    "name",
    "manufacturer",
    "model",
    "serial",
    "firmware",
    "address",
    "channel",
)


def _infos(declared: Mapping[str, Any]) -> dict[str, Any]:
    return {name: each.info() for name, each in declared.items()}


def by_path(properties: Iterable[Property]) -> dict[str, Property]:
    """Index properties by path."""
    return {declared.path: declared for declared in properties}


def _suggest(wrong: str, allowed: Iterable[str]) -> str:
    """Return what there is instead, for the end of an error message."""
    names = [name for name in allowed if not name.startswith("_")]
    if not names:
        return ""
    close = difflib.get_close_matches(wrong[:100], names[:1000], n=1)
    meant = f"did you mean {close[0]!r}? " if close else ""
    more = ", ..." if len(names) > LISTED else ""
    return f"; {meant}there are: {', '.join(names[:LISTED])}{more}"
