"""`busbar completion`, and the live names that Tab offers."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable
from typing import Any

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    add_completion_class,
    get_completion_class,
)

from busbar.cli import bus, exits
from busbar.cli.options import command, settings_of
from busbar.cli.output import Output
from busbar.cli.schemas.foreign import checked
from busbar.cli.schemas.json_schema import Schema
from busbar.cli.settings import Settings
from busbar.client import Client
from busbar.contract.topics import BRIDGE

PATIENCE = 1.0  # s; whoever presses Tab waits
VARIABLE = "_BUSBAR_COMPLETE"

Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem[str]]]
Names = Callable[[Client, click.Context], Iterable[tuple[str, str]]]

_FILES = {
    "bash": "~/.bashrc",
    "zsh": "~/.zshrc (after compinit)",
    "fish": "~/.config/fish/completions/busbar.fish",
}
_PLAIN = "COMPREPLY+=($value)"


@add_completion_class
class _Bash(BashComplete):
    """No space after `key=`, where the value follows."""

    source_template = BashComplete.source_template.replace(
        _PLAIN, f"{_PLAIN}\n            [[ $value == *= ]] && compopt -o nospace"
    )


@command("completion")
@click.argument("shell", type=click.Choice(sorted(_FILES)))
def completion_command(settings: Settings, output: Output, shell: str) -> None:
    """Print what makes a shell complete commands, devices, properties.

    \b
    bash   eval "$(busbar completion bash)"        in ~/.bashrc
    zsh    eval "$(busbar completion zsh)"         in ~/.zshrc, after compinit
    fish   busbar completion fish > ~/.config/fish/completions/busbar.fish
    """  # noqa: D301  # click's mark, a backspace: these lines are not filled
    root = click.get_current_context().find_root().command
    found = get_completion_class(shell)
    assert found is not None
    source = found(root, {}, "busbar", VARIABLE).source()
    if output.json:
        output.document({"shell": shell, "source": source})
    else:
        click.echo(source)


def devices(
    context: click.Context, parameter: click.Parameter, word: str
) -> list[CompletionItem[str]]:
    """Offer devices, `bridge/device`."""

    def names(client: Client, _: click.Context) -> Iterable[tuple[str, str]]:
        for name in client.devices():
            yield name, _title(client, name)

    return _offered(context, word, ("+/+",), names)


def bridges(
    context: click.Context, parameter: click.Parameter, word: str
) -> list[CompletionItem[str]]:
    """Offer bridges."""

    def names(client: Client, _: click.Context) -> Iterable[tuple[str, str]]:
        for name in client.devices():
            yield name.partition("/")[0], _title(client, name)

    return _offered(context, word, (f"+/{BRIDGE}",), names)


def paths(
    context: click.Context, parameter: click.Parameter, word: str
) -> list[CompletionItem[str]]:
    """Offer the properties of the device that was named before."""
    return _of_device(context, word, "r")


def writable(
    context: click.Context, parameter: click.Parameter, word: str
) -> list[CompletionItem[str]]:
    """Offer the properties that can be set."""
    return _of_device(context, word, "w")


def commands(
    context: click.Context, parameter: click.Parameter, word: str
) -> list[CompletionItem[str]]:
    """Offer the commands of the device that was named before."""

    def names(client: Client, _: click.Context) -> Iterable[tuple[str, str]]:
        info = client.device(context.params["device"]).info
        if info is None:
            return
        for name, about in info.commands.items():
            yield name, about.title

    return _offered(context, word, _named(context), names)


def arguments(
    context: click.Context, parameter: click.Parameter, word: str
) -> list[CompletionItem[str]]:
    """Offer `key=` for the arguments of the command that was named before."""

    def names(client: Client, _: click.Context) -> Iterable[tuple[str, str]]:
        info = client.device(context.params["device"]).info
        name = context.params.get("name") or ""
        if info is None or name not in info.commands:
            return
        fields = checked(info).info.commands[name].arguments.get("properties", {})
        for key, field in fields.items():
            yield f"{key}=", _description(field)

    return _offered(context, word, _named(context), names)


def _description(schema: Schema) -> str:
    if not isinstance(schema, dict):
        return ""
    return str(schema.get("description", ""))


def _of_device(
    context: click.Context, word: str, access: str
) -> list[CompletionItem[str]]:
    def names(client: Client, _: click.Context) -> Iterable[tuple[str, str]]:
        info = client.device(context.params["device"]).info
        if info is None:
            return
        for path, about in info.properties.items():
            if access in about.access and "{" not in path:
                yield path, about.title or ""

    return _offered(context, word, _named(context), names)


def _named(context: click.Context) -> tuple[str]:
    """Return the device that was named before."""
    return (context.params.get("device") or "",)


def _offered(
    context: click.Context, word: str, scope: tuple[str, ...], names: Names
) -> list[CompletionItem[str]]:
    """Return what fits the word; nothing when the bus does not answer at once."""

    async def look() -> list[tuple[str, str]]:
        async with (
            asyncio.timeout(PATIENCE),
            bus.connected(settings, scope, settled=False) as client,
        ):
            return sorted(names(client, context))

    settings = settings_of(context, context.params)
    logging.disable()  # a shell would print it between the words
    found: list[tuple[str, str]] = []
    with contextlib.suppress(
        *exits.EXPECTED, TimeoutError, ValueError, KeyError, OSError
    ):
        found = bus.run(look())
    items = []
    for name, about in found:
        if name.startswith(word):
            items.append(CompletionItem(name, help=about or None))
    return items


def _title(client: Client, name: str) -> str:
    info: Any = client.devices()[name].info
    if info is None:
        return ""
    return str(info.name or info.kind)
