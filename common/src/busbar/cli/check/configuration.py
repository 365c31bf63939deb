"""`busbar config`: a configuration, checked and shown without broker or device."""

import functools
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import msgspec
from ruamel.yaml import YAML

from busbar.cli import exits
from busbar.cli.options import command
from busbar.cli.output import Output
from busbar.cli.schemas import generate
from busbar.cli.settings import Settings
from busbar.config import loader
from busbar.errors import ConfigError
from busbar.runtime.bridge_spec import BridgeSpec
from busbar.runtime.service import Service, plan

HIDDEN = "***"


def _kinds(context: click.Context, parameter: click.Parameter, word: str) -> list[str]:
    """Offer the kinds of bridges that are installed."""
    return [kind for kind in generate.services() if kind.startswith(word)]


_file = click.argument("file", type=click.Path(path_type=Path))
_bridge = click.option(
    "--bridge", "kind", metavar="KIND", shell_complete=_kinds,
    help="kind of bridge, such as scpi; needed where several are installed",
)  # fmt: skip


@click.group("config")
def config_command() -> None:
    """Check or show a bridge's configuration file, without a broker."""


def _subcommand(
    name: str, **details: Any
) -> Callable[[Callable[..., Any]], click.Command]:
    def add(function: Callable[..., Any]) -> click.Command:
        built = command(name, **details)(function)
        config_command.add_command(built)
        return built

    return add


@_subcommand(
    "check",
    help="Say whether a bridge would take a file, or else line, column, key and what "
    "is allowed.",
)
@_file
@_bridge
def check_command(
    settings: Settings, output: Output, file: Path, kind: str | None
) -> int:
    """Say whether a bridge would take a file, or else what is wrong in it."""
    service = chosen(kind)
    try:
        found = planned(service, file)
        problems = [link.problem for link in found.links if link.problem]
        if problems:
            raise ConfigError("\n".join(problems))
    except ConfigError as error:
        return _print_wrong(service, file, str(error), output)
    devices: list[str] = []
    for link in found.links:
        devices += link.devices
    if output.json:
        about = {"ok": True, "file": str(file), "bridge": service.kind}
        output.document({**about, "name": found.name, "devices": devices})
    else:
        output.text(
            f"{file}: fine; {service.kind} bridge {found.name!r}, {len(devices)} "
            f"devices"
        )
    return exits.DONE


def _print_wrong(service: Service, file: Path, error: str, output: Output) -> int:
    if output.json:
        about = {"ok": False, "file": str(file), "bridge": service.kind}
        output.document({**about, "error": error})
    else:
        output.note(error)
    return exits.FOUND


@_subcommand("show")
@_file
@_bridge
def show_command(
    settings: Settings, output: Output, file: Path, kind: str | None
) -> None:
    """Show what a file amounts to.

    With defaults and variables filled in, without passwords.
    """
    shown = effective(loader.load(file, chosen(kind).config, os.environ))
    if output.json:
        output.document(shown)
    else:
        output.text(_yaml(shown))


@_subcommand("schema")
@_bridge
def schema_command(settings: Settings, output: Output, kind: str | None) -> None:
    """Print the JSON Schema of the file, for an editor."""
    service = chosen(kind)
    output.document(generate.configured(service.kind, service))


def chosen(kind: str | None) -> Service:
    """Return the service of an installed bridge, the only one without a kind.

    Raise ConfigError.
    """
    services = _services()
    installed = (
        ", ".join(services)
        or "none; in the repository: pip install ./services/scpi-bridge"
    )
    if kind is None and len(services) == 1:
        return next(iter(services.values()))
    if kind is None:
        raise ConfigError(f"--bridge is missing; installed are: {installed}")
    found = services.get(kind.removesuffix("-bridge"))
    if found is None:
        raise ConfigError(
            f"no bridge of the kind {kind!r} is installed; installed are: {installed}"
        )
    return found


@functools.cache
def _services() -> dict[str, Service]:
    return generate.services()


def planned(service: Service, file: Path) -> BridgeSpec:
    """Return what a file asks for, as the bridge itself finds it; raise ConfigError."""
    return plan(
        service, loader.load(file, service.config, os.environ), None, os.environ
    )


def effective(found: loader.Config) -> dict[str, Any]:
    """Return a configuration with its defaults, JSON-ready, passwords hidden."""
    return dict(_hidden(msgspec.to_builtins(found)))


def _hidden(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_hidden(each) for each in value]
    if not isinstance(value, dict):
        return value
    shown = {}
    for key, each in value.items():
        if key.endswith("password") and each:
            shown[key] = HIDDEN
        else:
            shown[key] = _hidden(each)
    return shown


def _yaml(value: dict[str, Any]) -> str:
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.width = 120
    yaml.representer.sort_base_mapping_type_on_output = False
    stream = io.StringIO()
    yaml.dump(value, stream)
    return stream.getvalue().rstrip("\n")
