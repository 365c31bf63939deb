"""The configuration of a bridge: typed structs read from YAML.

Every error says where, what and what is allowed.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import replace

from busbar.config.address_patterns import AddressPattern
from busbar.config.allowed import SIZE
from busbar.config.problems import Conversion
from busbar.config.yaml import SIZE_LIMIT, place_in, problem, read
from busbar.errors import ConfigError
from busbar.net.endpoint import KEEPALIVES, Endpoint

T = TypeVar("T")
SECRET_LIMIT = 4096  # bytes of a password's line

# bytes; the text is read before msgspec sees it, so that defaults and results are plain
# numbers
Size = Annotated[
    int,
    Meta(
        ge=1,
        le=2**53,
        description=(
            "a number of bytes, or text such as 64MiB (B, KiB, MiB, GiB, kB, MB, GB)"
        ),
        extra={"size": True},
        extra_json_schema={"pattern": SIZE},
    ),
]
_LEVEL = "[A-Za-z0-9_-]{1,64}"
# What an editor can tell; Endpoint is what parses it. No "@": secrets_of would miss the
# password behind it.
_URL = r"^(mqtts?://(?!.*:0/?$)[^\s/?#@]+/?|unix:///.+)(?!\n)$"
Url = Annotated[
    str,
    Meta(
        pattern=_URL,
        description=("mqtt://host:port, mqtts://host:port or unix:///path"),
    ),
]
Name = Annotated[
    str,
    Meta(
        pattern=rf"^(?!reply$){_LEVEL}(?!\n)$",
        description=('1 to 64 letters, digits, "_" and "-", not "reply"'),
    ),
]
Root = Annotated[
    str,
    Meta(
        pattern=rf"^{_LEVEL}(/{_LEVEL})*(?!\n)$",
        description=('levels of 1 to 64 letters, digits, "_" and "-" with "/"'),
    ),
]
Filter = Annotated[
    str,
    Meta(
        pattern=r"^([^+#/\n]+/|\+/)*([^+#/\n]+|\+|#)(?!\n)$",
        description="a topic filter such as # or measure/+",
    ),
]

Fingerprint = Annotated[
    str,
    Meta(
        pattern=r"^([0-9A-Fa-f]{2}:?){31}[0-9A-Fa-f]{2}(?!\n)$",
        description="SHA-256 in hex, with or without :",
    ),
]


class Broker(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The MQTT broker and how to log in."""

    url: Url | None = None  # None: the caller decides
    username: str | None = None
    password: str | None = None
    password_file: str | None = None  # its first line is the password
    protocol: Literal["5", "3.1.1", 5] = "5"
    ca_file: str | None = None  # PEM; None: the system's authorities
    cert_file: str | None = None  # PEM, the client's certificate
    key_file: str | None = None  # PEM, its key where it is not in cert_file
    insecure: bool = False  # True: the broker's certificate is not checked
    # s
    keepalive: Annotated[int, Meta(ge=KEEPALIVES[0], le=KEEPALIVES[1])] = (
        Endpoint.keepalive
    )
    max_message: Size = 1024 * 1024  # bytes of anything published

    def __post_init__(self) -> None:
        if self.url is not None:
            _check_url(self.url)
        if self.password is not None and self.password_file is not None:
            raise ValueError(
                "password_file: there is a password, too; allowed: one of them"
            )
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
    # patterns of addresses that the command `open` may open
    allow_open: tuple[str, ...] = ()
    allow_shutdown: bool = False
    max_command: Size = 256 * 1024  # bytes of a command's payload
    # where blobs too large for the bus are saved, from the file's own folder; None:
    # nowhere
    folder: str | None = None

    def __post_init__(self) -> None:
        for pattern in self.allow_open:
            try:
                AddressPattern(pattern)
            except ValueError as error:
                raise ValueError(f"allow_open: {error}") from error


class Log(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    level: Literal["trace", "debug", "info", "warning", "error"] = "info"
    format: Literal["text", "json"] = "text"


class Config(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What every bridge has; a service subclasses it and adds its devices."""

    broker: Broker = Broker()
    bridge: Bridge
    log: Log = Log()

    def within(self, folder: Path) -> Self:
        """Return it with its paths taken from `folder`, that of the file.

        A service adds its own.
        """
        if self.bridge.folder is None:
            return self
        return replace(
            self, bridge=replace(self.bridge, folder=str(folder / self.bridge.folder))
        )


def load(path: Path, type: type[T], environment: Mapping[str, str]) -> T:
    """Return the configuration in a file.

    Raise ConfigError with `file:line:column: key: what; allowed`.
    """
    name = str(path)
    try:
        with path.open("rb") as file:
            data = file.read(SIZE_LIMIT + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise ConfigError(
            problem(name, (1, 1), (), f"cannot read the file: {_reason(error)}")
        ) from error
    if len(data) > SIZE_LIMIT:
        raise ConfigError(
            problem(
                name,
                (1, 1),
                (),
                (f"the file is too large; allowed: {SIZE_LIMIT} bytes"),
            )
        )
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        before = data[: error.start].decode()
        raise ConfigError(
            problem(
                name,
                place_in(before, len(before)),
                (),
                ("this byte is not UTF-8; allowed: UTF-8 text"),
            )
        ) from error
    return parse(text, type, environment, name, path.parent)


def parse(
    text: str,
    type: type[T],
    environment: Mapping[str, str],
    name: str = "<config>",
    folder: Path = Path(),
) -> T:
    """Return the configuration in `text`, its paths relative to `folder`.

    Raise ConfigError as `load` does.
    """
    config = Conversion(read(text, name, environment, folder), type, name).result()
    return config.within(folder) if isinstance(config, Config) else config


def check_names(devices: Iterable[str]) -> None:
    """Raise ValueError when two devices of a configuration have one name."""
    doubled = [name for name, count in Counter(devices).items() if count > 1]
    if doubled:
        raise ValueError(
            f"devices: two devices are named {min(doubled)!r}; each needs a name "
            f"of "
            f"its own"
        )


def secret(value: str | None, file: str | None, name: str) -> str | None:
    """Return a password given as it is or as the first line of a file.

    Raise ConfigError if that fails.
    """
    if value is not None and file is not None:
        raise ConfigError(f"{name}: given twice; allowed: either {name} or {name}_file")
    if file is None:
        return value
    try:
        with Path(file).open("rb") as stream:
            line = stream.readline(SECRET_LIMIT).decode().rstrip("\r\n")
    except (OSError, ValueError) as error:  # ValueError: not UTF-8
        raise ConfigError(
            f"{name}_file: cannot read {file}: {_reason(error)}"
        ) from error
    if not line:
        raise ConfigError(f"{name}_file: the first line of {file} is empty")
    return line


def secrets_of(config: object) -> frozenset[str]:
    """Return every password in a configuration, for the log to leave out.

    Raise ConfigError as `secret` does.
    """
    return frozenset(_secrets(config, ""))


def schema(type: type[Struct]) -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of a configuration file."""
    (root,), parts = msgspec.json.schema_components(
        [type], ref_template="#/$defs/{name}"
    )
    parts = {name: _or_variable(part) for name, part in parts.items()}
    variable = {
        "type": "string",
        "pattern": r"\$\{",
        "description": ("${NAME} or ${NAME:-default} of the environment"),
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": type.__name__,
        **root,
        "$defs": parts | {"environment": variable},
    }


def _check_url(url: str) -> None:
    try:
        Endpoint(url)
    except ConfigError as error:
        raise ValueError(f"url: {error}") from error


def _or_variable(part: Any) -> Any:
    """Return a schema in which a size may be text.

    `${NAME}` may stand for every value that is not any text.
    """
    if isinstance(part, list):
        return [_or_variable(one) for one in part]
    if not isinstance(part, dict):
        return part
    kind = part.get("type")
    pattern = isinstance(part.get("pattern"), str)
    listed = isinstance(part.get("enum"), list)
    if listed or pattern or kind in ("integer", "number", "boolean"):
        if kind == "integer" and pattern:  # msgspec does not let Meta change the type
            part = part | {"type": ["integer", "string"]}
        notes = {key: part[key] for key in ("description", "default") if key in part}
        rest = {key: value for key, value in part.items() if key not in notes}
        return {"anyOf": [rest, {"$ref": "#/$defs/environment"}], **notes}
    found: dict[str, Any] = {}
    for key, value in part.items():
        if key == "default":
            found[key] = value
        elif key == "properties":  # their names may be words of the schema, too
            found[key] = {name: _or_variable(each) for name, each in value.items()}
        else:
            found[key] = _or_variable(value)
    return found


def _secrets(value: object, path: str) -> Iterator[str]:
    match value:
        case Struct():
            names = value.__struct_fields__
            for name in names:
                yield from _secrets(getattr(value, name), f"{path}.{name}")
            for name in filter(_is_password, names):
                if found := secret(
                    getattr(value, name),
                    getattr(value, f"{name}_file", None),
                    f"{path}.{name}"[1:],
                ):
                    yield found
        case dict():
            for key, item in value.items():
                yield from _secrets(item, f"{path}.{key}")
        case list() | tuple():
            for index, item in enumerate(value):
                yield from _secrets(item, f"{path}[{index}]")


def _is_password(name: str) -> bool:
    return name.endswith("password")


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
