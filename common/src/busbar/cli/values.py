"""`busbar get`, `set` and `call`: read values, write them, run commands.

Checked before anything is sent.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import click
from msgspec import UNSET

from busbar.cli import bus, completion
from busbar.cli.arguments import Schema, arguments, suggestion, value
from busbar.cli.options import command, waits
from busbar.cli.output import Output, in_line, shown
from busbar.cli.schemas.foreign import CheckedInfo, checked
from busbar.cli.settings import Settings
from busbar.client import DeviceView, Stale
from busbar.client.described import named, property_of
from busbar.client.freshness import UNCONFIRMED
from busbar.contract.messages import Fault, Info
from busbar.errors import ReadOnly, UnknownTarget

_SECONDS = click.FloatRange(min=0)
_SENT: Sequence[Callable[[Callable[..., Any]], Callable[..., Any]]] = (
    click.option(
        "--id",
        metavar="TEXT",
        help=("from 8 characters up: safe to repeat within 10 minutes"),
    ),
    click.option(
        "--ttl",
        type=_SECONDS,
        metavar="SECONDS",
        help=("that it may wait before it starts (default: 10)"),
    ),
    click.option(
        "--wait",
        type=_SECONDS,
        metavar="SECONDS",
        help="for somebody else's lock (default: 0)",
    ),
    click.option(
        "--timeout",
        type=_SECONDS,
        metavar="SECONDS",
        help="for all of it once connected (default: what the command may take)",
    ),
    click.option(
        "--lease",
        envvar="BUSBAR_LEASE",
        show_envvar=True,
        metavar="TOKEN",
        help="of a lock of ours",
    ),
)
_TEXTS = {"ignore_unknown_options": True}  # -5 is a number here, not an option


def sent(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options of what is sent to a device: contract 2, metadata."""
    for each in reversed(_SENT):
        function = each(function)
    return function


@command("get")
@click.argument("device", shell_complete=completion.devices)
@click.argument("paths", nargs=-1, metavar="[PATH]...", shell_complete=completion.paths)
@click.option("--stale", is_flag=True, help="the last known value will do, too")
@waits
def get_command(
    settings: Settings,
    output: Output,
    device: str,
    paths: Sequence[str],
    stale: bool,
    patience: float,
) -> None:
    """Print values: one alone, several with their paths, or all.

    A value that is not to be trusted is an error, unless --stale.
    """

    async def work() -> None:
        async with bus.device(settings, device, patience=patience) as found:
            rows = readings(found, paths)
            if output.json:
                output.document({"device": found.name, "values": rows})
            else:
                _print(rows, len(paths) == 1, stale, output)
            if not stale:
                _check_fresh(found.name, rows)

    bus.run(work())


def _check_fresh(device: str, rows: dict[str, dict[str, Any]]) -> None:
    """Raise Stale for the first value that is not to be trusted."""
    for path, row in rows.items():
        if row["stale"]:
            raise Stale(f"{device} {path}", Fault(**row["stale"]))


def readings(device: DeviceView, paths: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return value, time and why it is stale, by path; raise UnknownTarget."""
    info = device.info
    assert info is not None
    rows = {}
    for typed in paths or _readable(device, info):
        path = own_path(info, typed)
        try:
            reading = device.reading(path)
        except KeyError:
            raise UnknownTarget(
                f"{device.name} has no property "
                f"{typed!r}{suggestion(typed, info.properties)}"
            ) from None
        why = fault_shown(reading.stale)
        rows[path] = {"value": reading.value, "time": reading.time, "stale": why}
    return rows


def own_path(info: Info, typed: str) -> str:
    """Return the path of a property: the one typed, or whose original it is."""
    mapped = "/".join(map(bus.own_level, typed.split("/")))
    for path in (typed, mapped):
        if property_of(info, path) is not None:
            return path
    return named(info, typed) or typed


def _readable(device: DeviceView, info: Info) -> list[str]:
    """Return the properties of a device that have values."""
    single = []
    for path, about in info.properties.items():
        if "r" in about.access and "{" not in path:
            single.append(path)
    known = dict.fromkeys([*single, *device.snapshot().values])
    return [path for path in known if not path.startswith("_")]


def fault_shown(fault: Fault | None) -> dict[str, str] | None:
    """Return why a value is stale, JSON-ready."""
    if fault is None:
        return None
    return {"code": fault.code, "message": fault.message}


def _print(
    rows: dict[str, dict[str, Any]], alone: bool, stale: bool, output: Output
) -> None:
    good = []
    for path, row in rows.items():
        text = "null"
        if row["value"] is not None:
            text = shown(row["value"])
        if stale or not row["stale"]:
            good.append([path, text])
    if not alone and good:
        output.table([], good)
    elif good:
        output.text(in_line(good[0][1]))


@command("set", context_settings=_TEXTS)
@click.argument("device", shell_complete=completion.devices)
@click.argument(
    "given",
    nargs=-1,
    required=True,
    metavar="PATH VALUE | PATH=VALUE...",
    shell_complete=completion.writable,
)
@sent
def set_command(
    settings: Settings,
    output: Output,
    device: str,
    given: Sequence[str],
    **options: Any,
) -> None:
    """Set one property, or several at once; print what came of it."""

    async def work() -> None:
        async with bus.device(settings, device, settled=False) as found:
            _note_stale(found, output)
            texts = {_settable(found, key): text for key, text in pairs(given).items()}
            values = typed(found, texts, output)
            if len(values) == 1:
                ((path, one),) = values.items()
                target = f"set/{path}"
                result = await found.set(path, one, **options)
            else:
                target = "set"
                result = await found.set(values, **options)
            output.answer(result, _outcome(found.name, target, result))

    bus.run(work())


def _note_stale(device: DeviceView, output: Output) -> None:
    """Say at once why nobody may answer: a command to what is unconfirmed is sent."""
    if device.stale is not None and device.stale.code == UNCONFIRMED:
        output.note(f"{device.name}: {device.stale.message}")


def _settable(device: DeviceView, typed: str) -> str:
    assert device.info is not None
    return own_path(device.info, typed)


def _outcome(device: str, target: str, result: Any) -> dict[str, Any]:
    return {"ok": True, "device": device, "target": target, "result": result}


def pairs(given: Sequence[str]) -> dict[str, str]:
    """Return text by path, of `PATH VALUE` or `PATH=VALUE...`; raise UsageError."""
    if len(given) == 2 and "=" not in given[0]:
        return {given[0]: given[1]}
    found: dict[str, str] = {}
    for each in given:
        path, sign, text = each.partition("=")
        if not sign or not path or path in found:
            why = "is neither PATH VALUE nor PATH=VALUE"
            if path in found:
                why = "is there twice"
            raise bus.usage(f"{each!r} {why}")
        found[path] = text
    return found


def typed(
    device: DeviceView, texts: Mapping[str, str], output: Output
) -> dict[str, Any]:
    """Return the values that texts mean; raise BadRequest, OutOfRange, ReadOnly.

    One whose schema says nothing that we understand is sent unchecked.
    """
    assert device.info is not None
    about = checked(device.info)
    values = {}
    for path, text in texts.items():
        values[path] = _read(device.name, about, path, text)
        wrong = about.schema_fault(path)
        if wrong is not None:
            output.note(f"{path} is sent unchecked; its schema cannot be used: {wrong}")
    return values


def _read(device: str, checked_info: CheckedInfo, path: str, text: str) -> Any:
    """Return the value that a text means; the bridge judges unknown paths."""
    # None: perhaps the generic path behind an alias (contract 3.2)
    about = property_of(checked_info.info, path)
    if about is not None and "w" not in about.access:
        raise ReadOnly(f"{device} {path} is read-only")
    schema: Schema = True
    if about is not None:
        schema = about.schema
        if about.short is not UNSET:
            schema = {"anyOf": [about.short, schema]}
    return value(text, schema, path)


@command("call", context_settings=_TEXTS)
@click.argument("device", shell_complete=completion.devices)
@click.argument("name", metavar="COMMAND", shell_complete=completion.commands)
@click.argument(
    "given",
    nargs=-1,
    metavar="[KEY=VALUE | VALUE]...",
    shell_complete=completion.arguments,
)
@sent
def call_command(
    settings: Settings,
    output: Output,
    device: str,
    name: str,
    given: Sequence[str],
    **options: Any,
) -> None:
    """Run a command of a device and print its result.

    Values without a name are the arguments in their order, the required ones first.
    `busbar show DEVICE` lists the commands.
    """

    async def work() -> None:
        async with bus.device(settings, device, settled=False) as found:
            _note_stale(found, output)
            result = await call(found, output, name, given, options)
            output.answer(result, _outcome(found.name, f"call/{name}", result))

    bus.run(work())


async def call(
    device: DeviceView,
    output: Output,
    name: str,
    given: Sequence[str],
    options: dict[str, Any],
) -> Any:
    """Run a command as it was typed.

    Raise what it raises, and before anything is sent what is wrong with it.
    """
    assert device.info is not None
    described = checked(device.info)
    known = described.info.commands
    if name not in known:
        raise UnknownTarget(
            f"{device.name} has no command {name!r}{suggestion(name, known)}"
        )
    fields = arguments(name, known[name], given)
    wrong = described.faults.get(f"arguments of {name}")
    if wrong is not None:
        output.note(f"sent unchecked; the schema of {name} cannot be used: {wrong}")
    if output.live and not options.get("id"):
        options = {**options, "id": secrets.token_hex(8)}
    async with _progress(device, output, name, options.get("id")):
        return await device.call(name, fields, **options)


@asynccontextmanager
async def _progress(
    device: DeviceView, output: Output, name: str, id_: str | None
) -> AsyncIterator[None]:
    """Show the progress that the device reports of a long command."""
    if not output.live:
        yield
        return
    with output.progress(f"{device.name} {name}", 1.0) as show:

        async def follow() -> None:
            async for event in device.events("progress"):
                fields = event.fields
                if fields.get("id") == id_:
                    done = fields.get("fraction") or 0.0
                    show(done, str(fields.get("message", "")))

        following = asyncio.create_task(follow(), name="progress")
        try:
            yield
        finally:
            following.cancel()
