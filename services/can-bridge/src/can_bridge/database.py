"""Loading of databases (DBC, KCD, SYM, ARXML) and messages of the configuration."""

import fnmatch
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import cantools.database
from cantools.database.can.message import Message
from cantools.database.can.signal import Signal
from cantools.database.conversion import BaseConversion
from cantools.database.errors import Error as CodingError
from msgspec.structs import replace

from busbar.bridge import ConfigError, Property, collisions, level, values
from busbar.codecs import j1939
from can_bridge import settings as configuration
from can_bridge.messages import (
    BusMessage,
    BusSignal,
    Catalogue,
    is_boolean,
    is_j1939,
    key,
    range_of,
)
from can_bridge.settings import Opened, Rule, Signals

FILE_LIMIT = 64 * 1024 * 1024  # bytes of a database
FORMATS = (".dbc", ".kcd", ".sym", ".arxml")
_FORMAT = re.compile(r"^[A-Z]+: ")  # before what cantools says
_FRAMING = ' :"'
_PLACE = re.compile(r"line (\d+), column (\d+)(?:: (.*))?", re.DOTALL)


def load(settings: Opened, files: Sequence[str] = ()) -> Catalogue:
    """Return the messages of files and configuration.

    Raise ConfigError with file and line.
    """
    messages, problems = _messages(settings, files)
    paths = _paths(messages.values(), settings.names)
    collided = collisions(paths)
    for original in sorted(collided):
        problems.append(
            f"{original} would be {paths[original]}, as another: see `names`"
        )
        del paths[original]
    entries = {
        name: _bus_message(message, paths, settings)
        for name, message in messages.items()
    }
    return Catalogue(entries, tuple(problems))


def _paths(messages: Iterable[Message], names: Mapping[str, str]) -> dict[str, str]:
    """Return the path of each signal, by `Message/Signal`."""
    found = {}
    for message in messages:
        for signal in message.signals:
            path = f"{level(message.name)}/{level(signal.name)}"
            original = _original(message, signal)
            found[original] = names.get(original, path)
    return found


def _original(message: Message, signal: Signal) -> str:
    return f"{message.name}/{signal.name}"


def _messages(
    settings: Opened, files: Sequence[str]
) -> tuple[dict[str, Message], list[str]]:
    """Return the messages by name, and in words which of them are left out."""
    found: dict[str, Message] = {}
    owners: dict[int, str] = {}
    problems = []
    for source, message in _by_source(settings, files):
        name = message.name
        id_ = f"0x{message.frame_id:X}"
        if name in found and key(found[name]) != key(message):
            raise ConfigError(
                f"{source}: {name!r} has the id {id_} here, "
                f"0x{found[name].frame_id:X} elsewhere"
            )
        owner = owners.setdefault(key(message), name)
        if name in found or owner != name:
            problems.append(
                f"{source}: {name!r} is left out, {id_} is {owner!r} already"
            )
        else:
            found[name] = message
    return found, problems


def _by_source(settings: Opened, files: Sequence[str]) -> Iterator[tuple[str, Message]]:
    for about in settings.messages:
        yield "messages", _made(about)
    for file in dict.fromkeys(files):
        for message in _read(file):
            yield file, message


def _read(file: str) -> list[Message]:
    path = Path(file)
    if path.suffix.lower() not in FORMATS:
        raise ConfigError(f"{file}: a database is one of {', '.join(FORMATS)}")
    try:
        if path.stat().st_size > FILE_LIMIT:
            raise ConfigError(
                f"{file}: the file is too large; allowed: {FILE_LIMIT} bytes"
            )
        form = path.suffix.lower()[1:]
        found = cantools.database.load_file(path, form, _encoding(path), cache_dir=None)
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise ConfigError(f"{file}: cannot read the database: {why}") from error
    except Exception as error:
        # its parsers raise what they like, from KeyError to XML errors
        raise ConfigError(_explained(file, str(error))) from error
    if not isinstance(found, cantools.database.Database):
        raise ConfigError(f"{file}: this is not a database of CAN messages")
    return [message for message in found.messages if not message.is_container]


def _encoding(path: Path) -> str | None:
    """Return UTF-8 where a file is that.

    Else None, what editors of its format write: cp1252 for DBC and SYM.
    """
    try:
        path.read_bytes().decode()
    except UnicodeDecodeError:
        return None
    return "utf-8-sig"


def _explained(file: str, text: str) -> str:
    """Return an error text of cantools as `file:line:column: what`."""
    text = _FORMAT.sub("", text).strip(_FRAMING)
    place = _PLACE.search(text)
    if place is None:
        return f"{file}: {text}"
    what = (place[3] or text[: place.start()]).strip(_FRAMING) or "invalid syntax"
    return f"{file}:{place[1]}:{place[2]}: cannot read the database: {what}"


def _made(about: configuration.Message) -> Message:
    """Return a message of the configuration as one of a database; raise ConfigError."""
    try:
        signals = [_made_signal(each) for each in about.signals]
        return Message(
            about.id,
            about.name,
            about.length,
            signals,
            is_extended_frame=about.extended,
            strict=True,
        )
    except (CodingError, ValueError) as error:
        raise ConfigError(f"messages: {about.name}: {error}") from error


def _made_signal(about: configuration.Signal) -> Signal:
    choices = dict(about.choices) or None
    is_float = about.type == "float"
    return Signal(
        about.name,
        about.start,
        about.length,
        f"{about.byte_order}_endian",  # type: ignore[arg-type]  # one of its two
        about.type == "signed",
        conversion=BaseConversion.factory(
            _whole(about.scale),
            _whole(about.offset),
            choices,  # type: ignore[arg-type]  # any dict will do
            is_float,
        ),
        minimum=about.minimum,
        maximum=about.maximum,
        unit=about.unit,
        comment=about.title,
    )


def _whole(number: float) -> float | int:
    return int(number) if float(number).is_integer() else number


def _bus_message(
    message: Message, paths: Mapping[str, str], settings: Opened
) -> BusMessage:
    """Return a message with those of its signals that have a path."""
    found = {}
    for signal in message.signals:
        path = paths.get(_original(message, signal))
        if path is not None:
            found[signal.name] = _bus_signal(message, signal, path, settings)
    return BusMessage(message, found)


def _rule(signals: Signals, original: str) -> Rule:
    """Return the first rule that matches, with the intervals that hold for it."""
    for rule in signals.rules:
        if fnmatch.fnmatchcase(original, rule.match):
            break
    else:
        rule = Rule(match="*")
    intervals = {}
    for name in ("min_interval", "max_silence", "max_age"):
        if getattr(rule, name) is None:
            intervals[name] = getattr(signals, name)
    return replace(rule, **intervals)


def _bus_signal(
    message: Message, signal: Signal, path: str, settings: Opened
) -> BusSignal:
    original = _original(message, signal)
    rule = _rule(settings.signals, original)
    sends = settings.sends and rule.direction != "receive"
    receives = settings.receives and rule.direction != "send"
    access: Literal["r", "rw"] = "rw" if sends else "r"
    about = Property(
        path,
        type_of(signal, settings.signals.ranges == "ignore"),
        access,
        title=signal.comment or None,
        unit=signal.unit or None,
        group=group_of(message),
        original=original,
        deadband=rule.deadband,
        min_interval=rule.min_interval or 0.0,
        max_silence=rule.max_silence or 0.0,
        max_age=rule.max_age or 0.0,
    )
    return BusSignal(path, about, signal, receives, sends, rule.cycle)


def group_of(message: Message) -> str:
    """Return the message's name; of J1939 also parameter group and source."""
    if not is_j1939(message):
        return message.name
    source = j1939.source(message.frame_id)
    whose = "any source" if source == j1939.ANY_SOURCE else f"source {source}"
    return f"{message.name} (PGN {j1939.pgn(message.frame_id)}, {whose})"


def type_of(signal: Signal, any_range: bool) -> Any:
    """Return the type of a signal's values: boolean, names, or a number in a range.

    With `any_range` that is what the bits can hold, whatever the database says.
    """
    if is_boolean(signal):
        return bool
    low, high = range_of(signal, bits_only=any_range)
    factors_whole = all(
        float(each).is_integer() for each in (signal.scale, signal.offset)
    )
    if factors_whole and not signal.is_float:
        number = values.integer(_int(low), _int(high))
    else:
        number = values.number(low, high)
    if not signal.choices:
        return number
    names = values.choice(*dict.fromkeys(str(name) for name in signal.choices.values()))
    return names | number


def _int(bound: float | None) -> int | None:
    """Return a bound as msgspec takes it.

    Beyond 63 bits there is none, and cantools refuses what does not fit.
    """
    if bound is None or abs(bound) >= 2**63:
        return None
    return int(bound)
