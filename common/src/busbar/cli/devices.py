"""`busbar ls` and `busbar show`: which devices there are, and all that is known of one."""

import asyncio
from collections.abc import AsyncIterator, Collection, Iterable, Mapping
from typing import Any

import click
import msgspec

from busbar.cli import bus, completion
from busbar.cli.arguments import expected, usage
from busbar.cli.options import command, ends
from busbar.cli.output import Output, age, is_table, shown
from busbar.cli.settings import Settings
from busbar.client import Client, DeviceView, Snapshot
from busbar.contract.messages import Info
from busbar.contract.topics import matches

LOOK = 0.2  # s between two pictures of a device that is watched
# contract 2
COMMON = frozenset(
    {"refresh", "connect", "disconnect", "reconnect", "cancel", "lock", "unlock"}
)
IDENTITY = ("name", "manufacturer", "model", "serial", "firmware", "address", "channel")


@command("ls")
@click.argument("pattern", default="+/+", shell_complete=completion.devices)
@click.option(
    "--watch",
    "-w",
    is_flag=True,
    help=("then tell how devices come, change their state and go"),
)
@ends
def ls_command(
    settings: Settings,
    output: Output,
    pattern: str,
    watch: bool,
    count: int | None,
    duration: float | None,
) -> None:
    """List devices: kind, state, title.

    PATTERN: BRIDGE, BRIDGE/DEVICE, or with * for all of a level.
    """
    wanted = bus.pattern(pattern)

    async def work() -> None:
        async with bus.connected(settings, [wanted]) as client:
            rows = listing(client, wanted)
            if not watch:
                output.document(rows) if output.json else _print(rows, output)
                return
            for row in rows:
                output.record(
                    row,
                    row["device"],
                    row["kind"],
                    row["state"],
                    row["title"],
                    style=row["state"],
                )
            await _follow(
                client,
                wanted,
                {row["device"]: row["state"] for row in rows},
                output,
                count,
                duration,
            )

    bus.run(work())


def listing(client: Client, pattern: str) -> list[dict[str, Any]]:
    """Return a row for each device that fits a pattern."""
    rows = []
    for name, device in client.devices().items():
        if matches(pattern, name):
            about: Mapping[str, Any] = msgspec.to_builtins(device.info)
            row = {
                "device": name,
                "kind": about["kind"],
                "state": device.state,
                "title": title(device.info),
            }
            rows.append(
                {**row, "address": about.get("address"), "reason": _reason(device)}
            )
    return rows


def title(info: Info | None) -> str:
    """Return what a device calls itself: its name, else maker and model."""
    known = {
        key: text
        for key in IDENTITY
        if isinstance(text := getattr(info, key, None), str)
    }
    return known.get("name") or " ".join(
        known[key] for key in ("manufacturer", "model") if key in known
    )


def _reason(device: DeviceView) -> str | None:
    return device.stale.message if device.stale else None


def _print(rows: list[dict[str, Any]], output: Output) -> None:
    cells = [
        [row["device"], row["kind"], row["state"], row["title"], row["reason"] or ""]
        for row in rows
    ]
    why = any(row["reason"] for row in rows)
    headings = ["device", "kind", "state", "title", *(["why"] if why else [])]
    if rows:
        output.table(headings, [row[: len(headings)] for row in cells])
    else:
        output.note("no devices")


async def _follow(
    client: Client,
    pattern: str,
    told: dict[str, str],
    output: Output,
    count: int | None,
    duration: float | None,
) -> None:
    bus.follow()

    async def news() -> Any:
        async for presence in client.watch_devices():
            if (
                matches(pattern, presence.device)
                and told.get(presence.device) != presence.state
            ):
                told[presence.device] = presence.state
                yield presence

    async for presence in bus.limited(news(), count, duration):
        reason = presence.reason.message if presence.reason else ""
        row = {
            "device": presence.device,
            "state": presence.state,
            "reason": reason or None,
        }
        output.record(
            row, presence.device, presence.state, reason, style=presence.state
        )


@command("show")
@click.argument("device", shell_complete=completion.devices)
@click.option(
    "--watch",
    "-w",
    is_flag=True,
    help=("then show its values again whenever they have changed"),
)
@ends
def show_command(
    settings: Settings,
    output: Output,
    device: str,
    watch: bool,
    count: int | None,
    duration: float | None,
) -> None:
    """Show what a device is, its values, its commands."""

    async def work() -> None:
        async with bus.device(settings, device) as found:
            if not watch:
                output.document(described(found)) if output.json else _print_device(
                    found, output
                )
                return
            bus.follow()
            async for snapshot in bus.limited(_snapshots(found), count, duration):
                _print_again(snapshot, found, output)

    bus.run(work())


async def _snapshots(device: DeviceView) -> AsyncIterator[Snapshot]:
    """Return what is known of a device, again when it has changed, at most every LOOK s."""
    changes, news = device.watch(), asyncio.Event()

    async def notice() -> None:
        async for _ in changes:
            news.set()

    noticing = asyncio.create_task(notice(), name="changes")
    try:
        while True:
            news.clear()
            yield device.snapshot()
            await news.wait()
            await asyncio.sleep(LOOK)
    finally:
        noticing.cancel()
        await asyncio.gather(noticing, return_exceptions=True)


def _print_again(snapshot: Snapshot, device: DeviceView, output: Output) -> None:
    if output.json:
        output.record(msgspec.to_builtins(snapshot))
        return
    assert device.info is not None
    output.again()
    output.text(f"{device.name}  {device.state}")
    _print_values(device, device.info, output)


def described(device: DeviceView) -> dict[str, Any]:
    """Return all that is known of a device, JSON-ready."""
    return dict(msgspec.to_builtins(device.snapshot()))


def _print_device(device: DeviceView, output: Output) -> None:
    info = device.info
    assert info is not None
    state = f"{device.state}: {device.stale.message}" if device.stale else device.state
    facts = [("device", device.name), ("state", state), ("kind", info.kind)]
    facts += [
        (key, text) for key in IDENTITY if isinstance(text := getattr(info, key), str)
    ]
    output.table([], [list(fact) for fact in facts])
    _print_values(device, info, output)
    if info.commands:
        output.text()
        rows = [
            [name, info.commands[name].title, usage(info.commands[name])]
            for name in commands_of(info)
        ]
        output.table(["command", "title", "arguments"], rows)
    for what, named in (("events", info.events), ("blobs", info.blobs)):
        if named:
            output.text(f"\n{what}: {', '.join(named)}")


def _print_values(device: DeviceView, info: Info, output: Output) -> None:
    """Print the values; each that is a list of objects as a table of its own."""
    known = device.snapshot().values
    tables = {path: value for path, value in known.items() if is_table(value)}
    rows = _values(device, info, tables)
    if rows:
        output.text()
        output.table(
            ["property", "value", "unit", "age", "access", "allowed", "title"], rows
        )
    for path, table in tables.items():
        about = info.properties.get(path)
        output.text(f"\n{path}: {(about.title if about else None) or ''}")
        output.answer(table, None)


def rows_of(info: Info, values: Mapping[str, Any]) -> Iterable[str]:
    """Return properties in the order of info, values of families, then families, without those that only read back."""
    readbacks = {about.readback for about in info.properties.values()}
    families = [path for path in info.properties if "{" in path]
    single = [path for path in info.properties if "{" not in path]
    return dict.fromkeys(
        [*single, *values, *(path for path in families if path not in readbacks)]
    )


def commands_of(info: Info) -> list[str]:
    """Return the commands of info, those that every device has last."""
    return sorted(info.commands, key=COMMON.__contains__)


def _spaced(value: Any) -> str:
    """Return a value for a cell, which is folded where there is room between words."""
    if not isinstance(value, dict | list):
        return shown(value)
    return msgspec.json.format(msgspec.json.encode(value), indent=0).decode()


def _values(device: DeviceView, info: Info, tables: Collection[str]) -> list[list[str]]:
    known = device.snapshot()
    rows = []
    for path in rows_of(info, known.values):
        if path in tables:
            continue
        about = info.properties.get(path)
        bad = known.bad.get(path)
        value = _spaced(known.values.get(path)) + (f" ({bad.code})" if bad else "")
        unit = (about.unit or "") if about else ""
        access = about.access if about else "r"
        allowed = expected(about.schema) if about else ""
        heading = (about.title or "") if about else ""
        rows.append(
            [path, value, unit, age(known.times.get(path)), access, allowed, heading]
        )
    return rows
