"""`busbar completion`, and what Tab offers.

Live names of devices, properties and commands.
"""

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
    r"""Print what makes a shell complete commands, devices, properties.

    \b
    bash   eval "$(busbar completion bash)"        in ~/.bashrc
    zsh    eval "$(busbar completion zsh)"         in ~/.zshrc, after compinit
    fish   busbar completion fish > ~/.config/fish/completions/busbar.fish
    """
    root = click.get_current_context().find_root().command
    found = get_completion_class(shell)
    assert found is not None
    source = found(root, {}, "busbar", VARIABLE).source()
    output.document({"shell": shell, "source": source}) if output.json else click.echo(
        source
    )


def devices(
    context: click.Context, parameter: click.Parameter, word: str
) -> list[CompletionItem[str]]:
    """Offer devices, `bridge/device`."""
    return _offered(
        context,
        word,
        ("+/+",),
        lambda client, _: [(name, _title(client, name)) for name in client.devices()],
    )


def bridges(
    context: click.Context, parameter: click.Parameter, word: str
) -> list[CompletionItem[str]]:
    """Offer bridges."""

    def names(client: Client, _: click.Context) -> Iterable[tuple[str, str]]:
        return [
            (name.partition("/")[0], _title(client, name)) for name in client.devices()
        ]

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
        return (
            [(name, about.title) for name, about in info.commands.items()]
            if info
            else []
        )

    return _offered(context, word, (context.params.get("device") or "",), names)


def arguments(
    context: click.Context, parameter: click.Parameter, word: str
) -> list[CompletionItem[str]]:
    """Offer `key=` for the arguments of the command that was named before."""

    def names(client: Client, _: click.Context) -> Iterable[tuple[str, str]]:
        info = client.device(context.params["device"]).info
        about = info.commands.get(context.params.get("name") or "") if info else None
        fields = about.arguments.get("properties", {}) if about else {}
        return [
            (f"{key}=", str(field.get("description", "")))
            for key, field in fields.items()
        ]

    return _offered(context, word, (context.params.get("device") or "",), names)


def _of_device(
    context: click.Context, word: str, access: str
) -> list[CompletionItem[str]]:
    def names(client: Client, _: click.Context) -> Iterable[tuple[str, str]]:
        info = client.device(context.params["device"]).info
        found = info.properties.items() if info else ()
        return [
            (path, about.title or "")
            for path, about in found
            if access in about.access and "{" not in path
        ]

    return _offered(context, word, (context.params.get("device") or "",), names)


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
    return [
        CompletionItem(name, help=about or None)
        for name, about in found
        if name.startswith(word)
    ]


def _title(client: Client, name: str) -> str:
    info: Any = client.devices()[name].info
    return str(info.name or info.kind) if info else ""
