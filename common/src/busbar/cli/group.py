"""`busbar`: its commands, the options they share, and the exit code of each error."""

import importlib
import itertools
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import click
import msgspec
from click.exceptions import NoArgsIsHelpError

from busbar.cli import exits
from busbar.cli.arguments import suggestion
from busbar.cli.bus import Interrupted, Terminated
from busbar.cli.options import Unread, shared
from busbar.cli.output import in_line, printable
from busbar.errors import ConfigError

# command -> the module that has it, as `<command>_command`
SECTIONS: Mapping[str, Mapping[str, str]] = {
    "Devices": {
        "ls": "devices",
        "show": "devices",
        "watch": "watching",
        "events": "watching",
        "blobs": "blobs",
        "plot": "plots",
    },
    "Commands": {"get": "values", "set": "values", "call": "values", "lock": "locks"},
    "Bridges": {
        "scan": "bridges",
        "log": "logs",
        "clean": "bridges",
        "config": "check.configuration",
    },
    "The bus": {
        "doctor": "check.doctor",
        "record": "recording.record",
        "replay": "recording.replay",
        "conformance": "check.conformance.command",
    },
    "This program": {"demo": "demo.command", "completion": "completion"},
}
MODULES = {name: at for section in SECTIONS.values() for name, at in section.items()}
_EXTRAS = {
    "mcap": "record",
    "numpy": "plot",
    "matplotlib": "plot",
}  # module -> extra that brings it


class Commands(click.Group):
    """The commands, each imported when it is needed, in the order of the sections."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(MODULES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in MODULES:
            if ctx.resilient_parsing:  # a shell that completes
                return None
            ctx.fail(f"no command {cmd_name!r}{suggestion(cmd_name, MODULES)}")
        module = importlib.import_module(f"busbar.cli.{MODULES[cmd_name]}")
        found: click.Command = getattr(module, f"{cmd_name}_command")
        return found

    def format_commands(
        self, ctx: click.Context, formatter: click.HelpFormatter
    ) -> None:
        for title, names in SECTIONS.items():
            rows = []
            for name in names:
                found = self.get_command(ctx, name)
                if found is not None:
                    rows.append((name, found.get_short_help_str(66)))
            with formatter.section(title):
                formatter.write_dl(rows)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Exit codes"):
            meanings = exits.MEANINGS.items()
            formatter.write_dl([(str(code), meaning) for code, meaning in meanings])


def _main(**options: Any) -> None:
    """Devices on MQTT: what is there, what it says, and what it is told."""


busbar = Commands(
    "busbar", callback=_main, params=list(shared(repeated=False)), help=_main.__doc__
)
click.version_option(package_name="busbar-mqtt", message="%(version)s")(busbar)


def run(arguments: Sequence[str]) -> int:
    """Run the command line; return the exit code, with an error in a line on stderr."""
    as_json = "--json" in itertools.takewhile(lambda each: each != "--", arguments)
    try:
        return _exit_code(arguments)
    except click.ClickException as error:
        return _refused(error, as_json)
    except (click.Abort, Interrupted):
        return exits.INTERRUPTED
    except Terminated:
        return exits.TERMINATED
    except ModuleNotFoundError as error:
        extra = _EXTRAS.get((error.name or "").partition(".")[0])
        if extra is None:
            raise
        needed = (
            f"this command needs the extra `{extra}` of busbar-mqtt; in its "
            f"repository: pip install './common[{extra}]'"
        )
        return _unusable(needed, as_json)
    except exits.EXPECTED as error:
        message = exits.said(error)
        if not isinstance(error, ConfigError):  # of several lines, of a file of ours
            message = in_line(message)
        _tell(message, exits.described(error), as_json)
        return exits.exit_code(error)
    except Unread:
        raise BrokenPipeError from None
    except OSError as error:
        return _unusable(str(error), as_json)


def _exit_code(arguments: Sequence[str]) -> int:
    code = busbar.main(args=list(arguments), prog_name="busbar", standalone_mode=False)
    if isinstance(code, int):
        return code
    return exits.DONE


def _refused(error: click.ClickException, as_json: bool) -> int:
    context = getattr(error, "ctx", None)
    path = "busbar"
    hint = ""
    if context:
        path = context.command_path
        hint = f" (see {path} --help)"
    if isinstance(error, NoArgsIsHelpError):
        if as_json:
            return _unusable("Missing command.", as_json, path)
        print(error.format_message(), file=sys.stderr)
        return exits.USAGE
    return _unusable(f"{error.format_message()}{hint}", as_json, path)


def _unusable(message: str, as_json: bool, path: str = "busbar") -> int:
    _tell(message, exits.unusable(message), as_json, path)
    return exits.USAGE


def _tell(
    message: str, document: Mapping[str, object], as_json: bool, path: str = "busbar"
) -> None:
    text = f"{path}: {printable(message)}"
    if as_json:
        text = msgspec.json.encode(document).decode()
    print(text, file=sys.stderr)
