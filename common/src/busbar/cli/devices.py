"""`busbar ls` and `busbar show`: devices, and all that is known of one."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import click
import msgspec

from busbar.cli import absence, bus, completion, exits
from busbar.cli.arguments import suggestion, usage
from busbar.cli.options import command, ends, waits
from busbar.cli.output import Output, is_table
from busbar.cli.schemas.foreign import CheckedInfo, checked
from busbar.cli.settings import Settings
from busbar.cli.value_table import value_rows
from busbar.client import Client, DeviceView, Presence, Snapshot
from busbar.contract.messages import Info
from busbar.contract.topics import BRIDGE, matches

# why values may be missing for a moment, of a device that can be used
HEALTHY = frozenset({"joining", "gap"})
LOOK = 0.2  # s between two looks at a device that is watched
# contract 2
COMMON = frozenset(
    {"refresh", "connect", "disconnect", "reconnect", "cancel", "lock", "unlock"}
)
LISTED = ("device", "kind", "state", "title")
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
@waits
def ls_command(
    settings: Settings,
    output: Output,
    pattern: str,
    watch: bool,
    count: int | None,
    duration: float | None,
    patience: float,
) -> None:
    """List devices: kind, state, title.

    PATTERN: BRIDGE, BRIDGE/DEVICE, or with * for all of a level.
    """
    wanted = bus.pattern(pattern)

    async def work() -> None:
        async with bus.connected(settings, [wanted], patience=patience) as client:
            await _note_oddities(settings, client, wanted, output)
            rows = listing(client, wanted)
            if watch:
                bus.note_incomplete(client, output)
                _record(rows, output)
                states = {row["device"]: row["state"] for row in rows}
                await _follow(client, wanted, states, output, count, duration)
            elif output.json:
                output.document(rows)
            else:
                _print(rows, output)

    bus.run(work())


async def _note_oddities(
    settings: Settings, client: Client, pattern: str, output: Output
) -> None:
    """Note why devices may be missing; raise Incomplete, UsageError."""
    if client.overtaken:
        output.note(absence.OVERTAKES)
    names = client.devices()
    # the bridge that a pattern names is asked for without wildcards
    if client.incomplete or not all(name.endswith(f"/{BRIDGE}") for name in names):
        return
    if "+" in pattern and await absence.retention(settings) == "no wildcards":
        raise exits.Incomplete(absence.NO_WILDCARDS)
    if client.retained or names:
        return
    roots = await absence.other_roots(settings)
    if settings.prefix in roots:
        known = await bus.known(settings)
        meant = suggestion(pattern.partition("/")[0], known)
        output.note(f"no device fits {pattern.replace('+', '*')}{meant}")
    elif roots:
        raise bus.usage(
            f"there is nothing below the root {settings.prefix!r}; there are bridges "
            f"below: {', '.join(roots)} (--root)"
        )
    else:
        output.note(
            "no devices; is a bridge running, with this broker and this root? See "
            "`busbar doctor`"
        )


def usable_state(device: DeviceView) -> str:
    """Return the state of a device, which is not online without its bridge."""
    state = device.state
    if state != "online" or device.stale is None or device.stale.code in HEALTHY:
        return state
    if device.stale.code in ("offline", "unconfirmed"):
        return device.stale.code
    return "unknown"


def listing(client: Client, pattern: str) -> list[dict[str, Any]]:
    """Return a row for each device that fits a pattern."""
    rows = []
    for name, device in client.devices().items():
        if matches(pattern, name):
            info = device.info
            assert info is not None
            row = {
                "device": name,
                "kind": info.kind,
                "state": usable_state(device),
                "title": title(info),
                "address": info.address or None,
                "reason": _reason(device),
            }
            rows.append(row)
    return rows


def title(info: Info | None) -> str:
    """Return what a device calls itself: its name, else maker and model."""
    known = _identity(info)
    if known.get("name"):
        return known["name"]
    maker = [known[key] for key in ("manufacturer", "model") if key in known]
    return " ".join(maker)


def _identity(info: Info | None) -> dict[str, str]:
    """Return what a device says of itself, without what it does not say."""
    found = {}
    for key in IDENTITY:
        text = getattr(info, key, None)
        if isinstance(text, str):
            found[key] = text
    return found


def _reason(device: DeviceView) -> str | None:
    if device.stale is None:
        return None
    return device.stale.message


def _record(rows: list[dict[str, Any]], output: Output) -> None:
    for row in rows:
        cells = [row[key] for key in LISTED]
        output.record(row, *cells, style=row["state"])


def _print(rows: list[dict[str, Any]], output: Output) -> None:
    if not rows:
        return
    headings = list(LISTED)
    if any(row["reason"] for row in rows):
        headings.append("why")
    cells = []
    for row in rows:
        shown_of = {**row, "why": row["reason"] or ""}
        cells.append([shown_of[key] for key in headings])
    output.table(headings, cells)


async def _follow(
    client: Client,
    pattern: str,
    shown: dict[str, str],
    output: Output,
    count: int | None,
    duration: float | None,
) -> None:
    bus.follow()
    presences = client.watch_devices()
    changed = _changes_of_state(client, presences, pattern, shown)
    async for row in bus.limited(changed, count, duration):
        output.record(
            row, row["device"], row["state"], row["reason"] or "", style=row["state"]
        )


async def _changes_of_state(
    client: Client,
    presences: AsyncIterator[Presence],
    pattern: str,
    shown: dict[str, str],
) -> AsyncIterator[dict[str, Any]]:
    """Return a row for each device whose state changes, with those of its bridge."""
    async for presence in presences:
        for name in _concerned(client, presence):
            row = _state_row(client, name, presence)
            if matches(pattern, name) and shown.get(name) != row["state"]:
                shown[name] = row["state"]
                yield row


def _concerned(client: Client, presence: Presence) -> list[str]:
    bridge, _, device = presence.device.partition("/")
    concerned = [presence.device]
    if device == BRIDGE:
        concerned += [
            name
            for name in client.devices()
            if name.startswith(f"{bridge}/") and name != presence.device
        ]
    return concerned


def _state_row(client: Client, name: str, presence: Presence) -> dict[str, Any]:
    """Return the state of a device: as it was told, else as it is now."""
    state = presence.state
    reason = presence.reason and presence.reason.message
    device = client.device(name)
    if name != presence.device or (state == "online" and state == device.state):
        state = usable_state(device)
        reason = None
        if state != "online":
            reason = _reason(device)
    return {"device": name, "state": state, "reason": reason}


@command("show")
@click.argument("device", shell_complete=completion.devices)
@click.option(
    "--watch",
    "-w",
    is_flag=True,
    help=("then show its values again whenever they have changed"),
)
@ends
@waits
def show_command(
    settings: Settings,
    output: Output,
    device: str,
    watch: bool,
    count: int | None,
    duration: float | None,
    patience: float,
) -> None:
    """Show what a device is, its values, its commands."""

    async def work() -> None:
        async with bus.device(settings, device, patience=patience) as found:
            if watch:
                bus.follow()
                async for snapshot in bus.limited(_snapshots(found), count, duration):
                    _print_again(snapshot, found, output)
            elif output.json:
                output.document(described(found))
            else:
                print_device(found, output)

    bus.run(work())


async def _snapshots(device: DeviceView) -> AsyncIterator[Snapshot]:
    """Return what is known of a device, again when it has changed.

    At most every LOOK s.
    """
    changes = device.watch()
    changed = asyncio.Event()

    async def notice() -> None:
        async for _ in changes:
            changed.set()

    noticing = asyncio.create_task(notice(), name="changes")
    try:
        while True:
            changed.clear()
            yield device.snapshot()
            await changed.wait()
            await asyncio.sleep(LOOK)
    finally:
        noticing.cancel()
        await asyncio.gather(noticing, return_exceptions=True)


def _print_again(snapshot: Snapshot, device: DeviceView, output: Output) -> None:
    if output.json:
        about = msgspec.to_builtins(snapshot)
        output.record({**about, "state": usable_state(device)})
        return
    assert device.info is not None
    output.again()
    output.text(f"{device.name}  {usable_state(device)}")
    _print_values(device, checked(device.info), output)


def described(device: DeviceView) -> dict[str, Any]:
    """Return all that is known of a device, JSON-ready."""
    about = dict(msgspec.to_builtins(device.snapshot()))
    return {**about, "state": usable_state(device)}


def print_device(device: DeviceView, output: Output) -> None:
    assert device.info is not None
    described = checked(device.info)
    info = described.info
    state = usable_state(device)
    if device.stale is not None:
        state = f"{state}: {device.stale.message}"
    facts = {"device": device.name, "state": state, "kind": info.kind}
    facts |= _identity(info)
    output.table([], list(map(list, facts.items())))
    _print_values(device, described, output)
    if info.commands:
        output.text()
        rows = []
        for name in commands_of(info):
            rows.append([name, info.commands[name].title, _usage(described, name)])
        output.table(["command", "title", "arguments"], rows)
    for what, named in (("events", info.events), ("blobs", info.blobs)):
        if named:
            output.text(f"\n{what}: {', '.join(named)}")


def _usage(described: CheckedInfo, name: str) -> str:
    if f"arguments of {name}" in described.faults:
        return "?"
    return usage(described.info.commands[name])


def _print_values(device: DeviceView, described: CheckedInfo, output: Output) -> None:
    """Print the values; each that is a list of objects as its own table."""
    info = described.info
    known = device.snapshot().values
    tables = {path: value for path, value in known.items() if is_table(value)}
    rows = value_rows(device, described, tables)
    if rows:
        output.text()
        output.table(
            ["property", "value", "unit", "age", "access", "allowed", "title"], rows
        )
    for path, table in tables.items():
        output.text(f"\n{path}: {_title_of(info, path)}")
        output.answer(table, None)


def _title_of(info: Info, path: str) -> str:
    if path not in info.properties:
        return ""
    return info.properties[path].title or ""


def commands_of(info: Info) -> list[str]:
    """Return the commands of info, those that every device has last."""
    return sorted(info.commands, key=COMMON.__contains__)
