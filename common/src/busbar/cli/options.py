"""The options that all commands share, before or after the command's name."""

import functools
import logging
import os
from collections.abc import Callable, Mapping
from typing import Any

import click

from busbar.cli.output import Output, in_line
from busbar.cli.settings import (
    CONNECT_TIMEOUT,
    PATIENCE,
    ROOT,
    WITHOUT_VARIABLE,
    Settings,
)
from busbar.net.endpoint import KEEPALIVES, Endpoint
from busbar.net.trace import TRACE

_FILE = click.Path(dir_okay=False)
_SHARED: Mapping[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "broker": (
        ("--broker", "-b"),
        {
            "metavar": "URL",
            "envvar": "BUSBAR_URL",
            "help": "mqtt://host[:port], mqtts://host[:port] or unix:///path "
            "(default: mqtt://127.0.0.1)",
        },
    ),
    "root": (
        ("--root",),
        {"metavar": "LEVELS", "help": (f"the topics' beginning (default: {ROOT})")},
    ),
    "json": (
        ("--json",),
        {
            "is_flag": True,
            "help": ("print one JSON document; lines of JSON for what does not end"),
        },
    ),
    "username": (("--username", "-u"), {"metavar": "NAME", "help": "to log in"}),
    "password_file": (
        ("--password-file",),
        {
            "type": _FILE,
            "help": ("its first line is the password; or $BUSBAR_PASSWORD"),
        },
    ),
    "ca_file": (
        ("--ca-file",),
        {"type": _FILE, "help": "PEM; default: the system's authorities"},
    ),
    "cert_file": (("--cert-file",), {"type": _FILE, "help": "PEM, our certificate"}),
    "key_file": (("--key-file",), {"type": _FILE, "help": "PEM, its key"}),
    "insecure": (
        ("--insecure",),
        {"is_flag": True, "help": "do not check the broker's certificate"},
    ),
    "protocol": (
        ("--protocol",),
        {"type": click.Choice(["5", "3.1.1"]), "help": "of MQTT (default: 5)"},
    ),
    "connect_timeout": (
        ("--connect-timeout",),
        {
            "type": click.FloatRange(min=0, min_open=True),
            "metavar": "SECONDS",
            "help": f"to wait for the broker (default: {CONNECT_TIMEOUT:g})",
        },
    ),
    "keepalive": (
        ("--keepalive",),
        {
            "type": click.IntRange(*KEEPALIVES),
            "metavar": "SECONDS",
            "help": "of MQTT: a cut link to the broker is noticed after twice as long "
            f"at most (default: {Endpoint.keepalive})",
        },
    ),
    "verbose": (
        ("--verbose", "-v"),
        {"is_flag": True, "help": "show every message both ways on stderr"},
    ),
}
_OFTEN = ("broker", "root", "json")  # those that a command's own help repeats


class _OneLine(logging.Formatter):
    """Keeps what a device or a foreign topic says on the line of its message."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # theirs
        return in_line(super().formatMessage(record))


class Unread(BaseException):
    """Nobody reads what we print; click would make its own of a BrokenPipeError."""


def shared(*, repeated: bool) -> list[click.Option]:
    """Return the shared options.

    Of `busbar` itself, or repeated by a command, which does not read the environment.
    """
    built = []
    for name, (words, about) in _SHARED.items():
        details = {
            "envvar": f"BUSBAR_{name.upper()}",
            "show_envvar": True,
            **about,
            "default": None,
        }
        if name in WITHOUT_VARIABLE or repeated:
            details |= {"envvar": None, "show_envvar": False}
        if repeated:
            details["hidden"] = name not in _OFTEN
        built.append(click.Option([*words, name], **details))
    return built


def settings_of(context: click.Context, own: Mapping[str, Any]) -> Settings:
    """Return the settings of a command: its own words, then those of `busbar`."""
    above = context.find_root().params
    root = Settings(
        **{name: above.get(name) for name in _SHARED},
        password=os.environ.get("BUSBAR_PASSWORD"),
    )
    return Settings(**{name: own.get(name) for name in _SHARED}).over(root)


def command(name: str, **details: Any) -> Callable[[Callable[..., Any]], click.Command]:
    """Declare a function `(settings, output, **parameters)` as a command.

    It has the shared options.
    """

    def declare(function: Callable[..., Any]) -> click.Command:
        @functools.wraps(function)
        def callback(**parameters: Any) -> Any:
            own = {key: parameters.pop(key) for key in _SHARED}
            settings = settings_of(click.get_current_context(), own)
            _start_log(bool(settings.verbose))
            try:
                return function(settings, Output(bool(settings.json)), **parameters)
            except BrokenPipeError:
                raise Unread from None

        built = click.command(name, cls=click.Command, **details)(callback)
        built.params.extend(shared(repeated=True))
        return built

    return declare


def ends(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command that would not end by itself the options `count` and `duration`.

    The duration is in s.
    """
    most = click.option(
        "--count",
        "-n",
        type=click.IntRange(min=1),
        metavar="N",
        help="end after so many",
    )
    seconds = click.FloatRange(min=0)
    longest = click.option(
        "--for", "duration", type=seconds, metavar="SECONDS", help="end after this time"
    )
    return most(longest(function))


def waits(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the option `patience`, in s: it needs all that is retained."""
    return click.option(
        "--timeout",
        "patience",
        type=click.FloatRange(min=0, min_open=True),
        default=PATIENCE,
        show_default=True,
        metavar="SECONDS",
        help="to wait for all that the broker retains, while it comes",
    )(function)


def _start_log(verbose: bool) -> None:
    """Log to stderr.

    Without --verbose only errors, and warnings of a command that goes on (bus.follow).
    """
    logging.basicConfig(level=logging.ERROR, force=True)
    for handler in logging.getLogger().handlers:
        handler.setFormatter(_OneLine("busbar: %(message)s"))
    level = logging.ERROR
    if verbose:
        level = TRACE
    logging.getLogger("busbar").setLevel(level)
