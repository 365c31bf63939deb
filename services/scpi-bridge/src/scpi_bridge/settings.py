"""The configuration of the SCPI bridge."""

import contextlib
import re
import string
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from busbar.bridge import BadRequest, OutOfRange, config, values
from busbar.bridge import Property as Declared
from busbar.codecs import ieee488

Seconds = Annotated[float, Meta(gt=0, le=86400)]
Path = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9-][A-Za-z0-9_-]{0,63}(/[A-Za-z0-9-][A-Za-z0-9_-]{0,63})*(?!\n)$"
    ),
]

Line = Annotated[
    str,
    Meta(
        min_length=1,
        pattern=r"^[^\x00-\x08\x0A-\x1F]+(?!\n)$",
        description="one line without its terminator",
    ),
]

_ADDRESS = re.compile(
    r"tcp::(?:\[([0-9A-Fa-f:.]+(?:%\w+)?)\]|([^\s:/@\[\]]+)):(\d{1,5})", re.ASCII
)


class Property(config.Reported, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One property of an instrument: how it is read, written and shown."""

    path: Path
    query: Line | None = None
    # {value} stands for the value; {value:.3f} formats a number
    set: Line | None = None
    type: Literal["number", "integer", "boolean", "string"] = "number"
    choices: tuple[str, ...] = ()  # of a string
    # s between readings; None: at connect, on refresh and after a set
    every: Seconds | None = None
    minimum: float | None = None
    maximum: float | None = None

    def __post_init__(self) -> None:
        if not self.query and not self.set:
            raise ValueError("path: a property needs `query`, `set` or both")
        if self.every and not self.query:
            raise ValueError("every: only a property with a `query` can be read")
        if self.choices and self.type != "string":
            raise ValueError("choices: only for the type string")
        self._check_bounds()
        if self.set:
            try:
                self.command(_EXAMPLES[self.type])
            except ValueError as error:
                raise ValueError(f"set: {error} in {self.set!r}") from error

    def _check_bounds(self) -> None:
        both = {"minimum": self.minimum, "maximum": self.maximum}
        bounds = {key: each for key, each in both.items() if each is not None}
        for key, bound in bounds.items():
            if self.type not in ("number", "integer"):
                raise ValueError(f"{key}: only for the types number and integer")
            if self.type == "integer" and not bound.is_integer():
                raise ValueError(f"{key}: {bound:g} is not a whole number")
        if len(bounds) == 2 and bounds["minimum"] > bounds["maximum"]:
            raise ValueError(
                f"minimum: {self.minimum:g} is above the maximum of {self.maximum:g}"
            )

    @property
    def value_type(self) -> Any:
        """The type that msgspec checks values against."""
        if self.choices:
            return values.choice(*self.choices)
        if self.type == "integer":
            return values.integer(_whole(self.minimum), _whole(self.maximum))
        if self.type == "number":
            return values.number(self.minimum, self.maximum)
        return {"boolean": bool, "string": str}[self.type]

    def declared(self, timeout: float) -> Declared:
        """Return the property as the bus sees it."""
        access: Literal["r", "w", "rw"] = "w"
        if self.query:
            access = "rw" if self.set else "r"
        max_age = 3 * self.every + timeout if self.every else 0.0
        return Declared(
            self.path,
            self.value_type,
            access,
            title=self.title,
            unit=self.unit,
            group=self.group,
            class_=self.class_,
            readback="" if self.query else None,
            deadband=self.deadband,
            min_interval=self.min_interval,
            max_silence=self.max_silence,
            max_age=max_age,
        )

    def command(self, value: Any) -> str:
        """Return the line that sets a value.

        Raise ValueError for a template or text that cannot be used.
        """
        parts: list[str] = []
        quote = ""
        for literal, name, form, conversion in string.Formatter().parse(self.set or ""):
            if (
                name not in (None, "value")
                or conversion
                or (form and self.type not in ("number", "integer"))
            ):
                raise ValueError(
                    "allowed are {value} and, for numbers, {value:FORMAT}; not what is"
                )
            quote = _open_quote(literal, quote)
            parts += [literal, _text(value, form or "", quote)] if name else [literal]
        return "".join(parts)

    def parse(self, answer: str) -> Any:
        """Return the value in an answer, of any range; raise ProtocolError."""
        parsed = _PARSERS[self.type](answer)
        if isinstance(parsed, float) and not abs(parsed) < float("inf"):
            return parsed  # it was read, and JSON has no number for it
        with contextlib.suppress(OutOfRange):
            return values.reading(parsed, self.value_type)
        return parsed


def _open_quote(text: str, quote: str) -> str:
    """Return the quote that is open after a text, "" if none is.

    `quote` was open before it.
    """
    for character in text:
        if character == quote:
            quote = ""
        elif not quote and character in "\"'":
            quote = character
    return quote


def _text(value: Any, form: str, quote: str) -> str:
    """Return a value as SCPI text; text cannot end its string or begin another command.

    Source: IEEE 488.2, 7.7.5.
    """
    if isinstance(value, bool):
        return str(int(value))
    if not isinstance(value, str):
        return format(value, form)
    if not value.isprintable():
        raise BadRequest(f"{value!r:.60} has characters that cannot be sent")
    if quote:
        return value.replace(quote, quote * 2)
    if any(character in value for character in ";,\"'#"):
        raise BadRequest(f"{value!r:.60} has one of ; , \" ' # outside a quoted string")
    return value


def _integer(answer: str) -> int | float:
    number = ieee488.parse_number(answer)
    return int(number) if number.is_integer() else number


_EXAMPLES: dict[str, Any] = {
    "number": 1.5,
    "integer": 1,
    "boolean": True,
    "string": "text",
}
_PARSERS: dict[str, Any] = {
    "number": ieee488.parse_number,
    "integer": _integer,
    "boolean": ieee488.parse_boolean,
    "string": ieee488.parse_string,
}


class Device(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One instrument."""

    name: config.Name
    address: str  # tcp::HOST:PORT
    title: str | None = None
    timeout: Seconds = 2.0  # s for one answer
    terminator: Literal["\n", "\r\n", "\r"] = "\n"
    encoding: Literal["ascii", "utf-8", "latin1"] = "utf-8"
    identify: Line | None = "*IDN?"  # null: the instrument does not know it
    errors: Line | None = "SYST:ERR?"  # null: it has no error queue
    clear: Line | None = "*CLS"
    # True: it answers every command with a line, which is dropped
    acknowledge: bool = False
    # s of input discarded after a reopen (serial converters)
    settle: Annotated[float, Meta(ge=0, le=60)] = 0.0
    # bytes of a binary answer
    block_limit: Annotated[int, Meta(ge=1)] = 64 * 1024 * 1024
    connect: Literal["always", "on_demand"] = "always"
    idle_close: Seconds = 60.0  # s; with on_demand
    properties: tuple[Property, ...] = ()

    def __post_init__(self) -> None:
        if self.name == "bridge":
            raise ValueError("name: 'bridge' is the bridge itself; choose another")
        endpoint(self.address)
        paths = [each.path for each in self.properties]
        for path in paths:
            if paths.count(path) > 1:
                raise ValueError(f"properties: {path!r} is there twice")


class Config(config.Config, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The configuration file of scpi-bridge."""

    devices: tuple[Device, ...] = ()

    def __post_init__(self) -> None:
        config.check_names(device.name for device in self.devices)


def endpoint(address: str) -> tuple[str, int]:
    """Return host and port of `tcp::HOST:PORT`; raise ValueError."""
    found = _ADDRESS.fullmatch(address)
    if found is None:
        raise ValueError(
            f"address: {address!r} is not tcp::HOST:PORT (an IPv6 host in brackets)"
        )
    bracketed, host, port = found.groups()
    if not 0 < int(port) < 65536:
        raise ValueError(f"address: port {port} is not 1 to 65535")
    return bracketed or host, int(port)


def _whole(bound: float | None) -> int | None:
    return None if bound is None else int(bound)
