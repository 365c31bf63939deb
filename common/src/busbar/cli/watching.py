"""`busbar watch` and `busbar events`: changes and events as they come."""

from collections.abc import AsyncIterator, Sequence

import click

from busbar.cli import bus, completion
from busbar.cli.arguments import suggestion
from busbar.cli.options import command, ends, waits
from busbar.cli.output import Output, shown, stamp
from busbar.cli.settings import Settings
from busbar.cli.values import fault_shown
from busbar.client import Change, Client, DeviceView, Event, Stream
from busbar.client.described import property_of
from busbar.client.queues import Queue
from busbar.contract.topics import matches

# events that every device may have: contract 1
RESERVED = ("change", "received", "progress")


@command("watch")
@click.argument("pattern", metavar="DEVICE|PATTERN", shell_complete=completion.devices)
@click.argument("paths", nargs=-1, metavar="[PATH]...", shell_complete=completion.paths)
@click.option("--new", is_flag=True, help="only what changes from now on")
@ends
@waits
def watch_command(
    settings: Settings,
    output: Output,
    pattern: str,
    paths: Sequence[str],
    new: bool,
    count: int | None,
    duration: float | None,
    patience: float,
) -> None:
    """Print every change of values, first what they are.

    PATH: a property, or with * for one level and a final # for the rest.
    """
    wanted = bus.pattern(pattern)
    below = [bus.checked(each) for each in paths]

    async def work() -> None:
        async with bus.connected(settings, [wanted], patience=patience) as client:
            bus.follow()
            bus.note_incomplete(client, output)
            if await _is_there(settings, client, wanted, output):
                _note_unknown(client, wanted, below, output)
            queue: Queue[Change] = Queue()
            patterns = [(wanted, "state", each) for each in below or ("#",)]
            stream: Stream[Change] = client.stream(patterns, queue, not new)
            async for change in bus.limited(stream, count, duration):
                _print_change(change, output)
            _note_dropped(stream.dropped, output)

    bus.run(work())


async def _is_there(
    settings: Settings, client: Client, wanted: str, output: Output
) -> bool:
    """Return whether a device fits; note it if none does, which may still come."""
    if _fitting(client, wanted):
        return True
    there_is = f"there is no device {wanted} (now)"
    if "+" in wanted:
        there_is = f"no device fits {wanted.replace('+', '*')} (now)"
    output.note(f"{there_is}; waiting")
    names = await bus.known(settings)
    output.note(suggestion(wanted, names).removeprefix("; "))
    return False


def _fitting(client: Client, wanted: str) -> list[DeviceView]:
    fitting = []
    for name, device in client.devices().items():
        if device.info and matches(wanted, name):
            fitting.append(device)
    return fitting


def _note_unknown(
    client: Client, wanted: str, paths: Sequence[str], output: Output
) -> None:
    """Note which paths fit no property of the devices that are known.

    They may still come.
    """
    devices = _fitting(client, wanted)
    known: dict[str, None] = {}
    for device in devices:
        assert device.info is not None
        known.update(dict.fromkeys(device.info.properties))
    for path in paths:
        if not any(_has(device, path) for device in devices):
            meant = suggestion(path, known)
            output.note(f"no property of {wanted} fits {path!r} (now); waiting{meant}")


def _note_no_event(client: Client, wanted: str, name: str, output: Output) -> None:
    """Note that no event of the devices that are known fits."""
    known: dict[str, None] = {}
    for device in _fitting(client, wanted):
        assert device.info is not None
        known.update(dict.fromkeys(device.info.events))
    known.update(dict.fromkeys(RESERVED))
    if not any(matches(name, each) or _meets(name, each) for each in known):
        meant = suggestion(name, known)
        output.note(f"no event of {wanted} fits {name!r} (now); waiting{meant}")


def _has(device: DeviceView, pattern: str) -> bool:
    info = device.info
    if property_of(info, pattern) is not None:
        return True
    if any(matches(pattern, path) for path in device.snapshot().values):
        return True
    if info is None or not ("+" in pattern or "#" in pattern):
        return False
    return any(_meets(pattern, template) for template in info.properties)


def _meets(pattern: str, template: str) -> bool:
    """Return whether a pattern covers a member of a family.

    `digital/+` one of `digital/{join}`.
    """
    levels = template.split("/")
    for position, wanted in enumerate(pattern.split("/")[: len(levels)]):
        if "{" in levels[position]:
            levels[position] = wanted
    return matches(pattern, "/".join(levels))


def _print_change(change: Change, output: Output) -> None:
    row = {
        "device": change.device,
        "path": change.path,
        "value": change.value,
        "time": change.time,
        "stale": fault_shown(change.stale),
    }
    marked = ""
    style = ""
    if change.stale:
        marked = f"({change.stale.code})"
        style = "offline"
    value = shown(change.value)
    cells = (stamp(change.time), change.device, change.path, value, marked)
    output.record(row, *cells, style=style)


@command("events")
@click.argument("pattern", metavar="DEVICE|PATTERN", shell_complete=completion.devices)
@click.argument("name", default="#")
@click.option(
    "--changes",
    is_flag=True,
    help=("event/change, too; `watch` has it in a handier form"),
)
@ends
@waits
def events_command(
    settings: Settings,
    output: Output,
    pattern: str,
    name: str,
    changes: bool,
    count: int | None,
    duration: float | None,
    patience: float,
) -> None:
    """Print events of devices; batches one by one.

    NAME: of an event (default: all of them), * for any level of it.
    """
    wanted = bus.pattern(pattern)
    events = bus.checked(name)

    async def work() -> None:
        async with bus.connected(settings, [wanted], patience=patience) as client:
            bus.follow()
            bus.note_incomplete(client, output)
            stream = client.events(wanted, events, items=True)
            if await _is_there(settings, client, wanted, output):
                _note_no_event(client, wanted, events, output)
            chosen: AsyncIterator[Event] = stream
            if not changes and name != "change":
                chosen = (event async for event in stream if event.name != "change")
            async for event in bus.limited(chosen, count, duration):
                _print_event(event, output)
            _note_dropped(stream.dropped, output)

    bus.run(work())


def _print_event(event: Event, output: Output) -> None:
    fields = dict(event.fields)
    row = {
        "device": event.device,
        "event": event.name,
        "time": event.time,
        "seq": event.seq,
        "fields": fields,
    }
    output.record(row, stamp(event.time), event.device, event.name, shown(fields))


def _note_dropped(dropped: int, output: Output) -> None:
    if dropped:
        output.note(f"{dropped} were left out: this was too slow")
