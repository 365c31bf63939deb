"""Reads databases (DBC, KCD, SYM, ARXML) and the messages of the configuration."""

import fnmatch
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import cantools.database
from cantools.database.can.message import Message
from cantools.database.can.signal import Signal
from cantools.database.conversion import BaseConversion
from cantools.database.errors import Error as CodingError

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
_FORMAT = re.compile(r"^[A-Z]+: ")
_FRAMING = ' :"'
_PLACE = re.compile(r"line (\d+), column (\d+)(?:: (.*))?", re.DOTALL)


def load(settings: Opened, files: Sequence[str] = ()) -> Catalogue:
    """Return what the databases and the configuration know.

    Raise ConfigError with file and line.
    """
    messages, problems = _messages(settings, files)
    originals = {
        f"{message.name}/{signal.name}": settings.names.get(
            f"{message.name}/{signal.name}",
            f"{level(message.name)}/{level(signal.name)}",
        )
        for message in messages.values()
        for signal in message.signals
    }
    met = collisions(originals)
    entries = {
        name: _entry(message, originals, met, settings)
        for name, message in messages.items()
    }
    problems += [
        (f"{each} would be {originals[each]}, as another: see `names`")
        for each in sorted(met)
    ]
    return Catalogue(entries, tuple(problems))


def _messages(
    settings: Opened, files: Sequence[str]
) -> tuple[dict[str, Message], list[str]]:
    """Return the messages by name, and which are left out because another one is there already."""
    found: dict[str, Message] = {}
    owners: dict[int, str] = {}
    problems = []
    sources = {
        "messages": [_made(each) for each in settings.messages],
        **{file: _read(file) for file in files},
    }
    for source, message in (
        (source, message) for source, each in sources.items() for message in each
    ):
        name, id_ = message.name, f"0x{message.frame_id:X}"
        if name in found and key(found[name]) != key(message):
            raise ConfigError(
                f"{source}: {name!r} has the id {id_} here, "
                f"0x{found[name].frame_id:X} "
                f"elsewhere"
            )
        owner = owners.setdefault(key(message), name)
        if name in found or owner != name:
            problems.append(
                f"{source}: {name!r} is left out, {id_} is {owner!r} already"
            )
        else:
            found[name] = message
    return found, problems


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
        raise ConfigError(
            f"{file}: cannot read the database: "
            f"{getattr(error, 'strerror', None) or error}"
        ) from error
    except Exception as error:
        # its parsers raise what they like, from KeyError to XML errors
        raise ConfigError(_explained(file, str(error))) from error
    if not isinstance(found, cantools.database.Database):
        raise ConfigError(f"{file}: this is not a database of CAN messages")
    return [message for message in found.messages if not message.is_container]


def _encoding(path: Path) -> str | None:
    """Return UTF-8 where a file is that, else None.

    What editors of its format write, cp1252 for DBC and SYM.
    """
    try:
        path.read_bytes().decode()
    except UnicodeDecodeError:
        return None
    return "utf-8-sig"


def _explained(file: str, text: str) -> str:
    """Return `file:line:column: what` of what a parser of cantools says."""
    text = _FORMAT.sub("", text).strip(_FRAMING)
    place = _PLACE.search(text)
    if place is None:
        return f"{file}: {text}"
    what = (place[3] or text[: place.start()]).strip(_FRAMING)
    return (
        f"{file}:{place[1]}:{place[2]}: cannot read the database: "
        f"{what or 'invalid syntax'}"
    )


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


def _entry(
    message: Message, originals: Mapping[str, str], met: set[str], settings: Opened
) -> BusMessage:
    coded = {}
    for signal in message.signals:
        original = f"{message.name}/{signal.name}"
        if original not in met:
            coded[signal.name] = _coded(
                message,
                signal,
                originals[original],
                _rule(settings.signals, original),
                settings,
            )
    return BusMessage(message, coded)


def _rule(signals: Signals, original: str) -> Rule:
    return next(
        (rule for rule in signals.rules if fnmatch.fnmatchcase(original, rule.match)),
        Rule(match="*"),
    )


def _coded(
    message: Message, signal: Signal, path: str, rule: Rule, settings: Opened
) -> BusSignal:
    sends = settings.sends and rule.direction != "receive"
    receives = settings.receives and rule.direction != "send"
    access: Literal["r", "rw"] = "rw" if sends else "r"
    about = Property(
        path,
        type_of(signal),
        access,
        title=signal.comment or None,
        unit=signal.unit or None,
        group=group_of(message),
        original=f"{message.name}/{signal.name}",
        deadband=rule.deadband,
        min_interval=settings.signals.min_interval
        if rule.min_interval is None
        else rule.min_interval,
        max_silence=settings.signals.max_silence
        if rule.max_silence is None
        else rule.max_silence,
        max_age=settings.signals.max_age if rule.max_age is None else rule.max_age,
    )
    return BusSignal(path, about, signal, receives, sends, rule.cycle)


def group_of(message: Message) -> str:
    """Return the message's name, of J1939 with parameter group and source."""
    if not is_j1939(message):
        return message.name
    source = j1939.source(message.frame_id)
    whose = "any source" if source == j1939.ANY_SOURCE else f"source {source}"
    return f"{message.name} (PGN {j1939.pgn(message.frame_id)}, {whose})"


def type_of(signal: Signal) -> Any:
    """Return the type of a signal's value: a boolean, names, a number with its range."""
    if is_boolean(signal):
        return bool
    low, high = range_of(signal)
    whole = not signal.is_float and all(
        float(each).is_integer() for each in (signal.scale, signal.offset)
    )
    number = (
        values.integer(_int(low), _int(high)) if whole else values.number(low, high)
    )
    if not signal.choices:
        return number
    names = values.choice(*dict.fromkeys(str(name) for name in signal.choices.values()))
    return names | number


def _int(bound: float | None) -> int | None:
    """Return a bound as msgspec takes it.

    Beyond 63 bits there is none, and cantools refuses what does not fit.
    """
    return None if bound is None or abs(bound) >= 2**63 else int(bound)
