"""`busbar watch` and `busbar events`: changes and events as they come."""

from collections.abc import AsyncIterator, Sequence

import click

from busbar.cli import bus, completion
from busbar.cli.arguments import suggestion
from busbar.cli.options import command, ends
from busbar.cli.output import Output, shown, stamp
from busbar.cli.settings import Settings
from busbar.cli.values import fault_shown
from busbar.client import Change, Client, DeviceView, Event, Stream
from busbar.client.described import property_of
from busbar.client.queues import Queue
from busbar.contract.topics import matches


@command("watch")
@click.argument("pattern", metavar="DEVICE|PATTERN", shell_complete=completion.devices)
@click.argument("paths", nargs=-1, metavar="[PATH]...", shell_complete=completion.paths)
@click.option("--new", is_flag=True, help="only what changes from now on")
@ends
def watch_command(
    settings: Settings,
    output: Output,
    pattern: str,
    paths: Sequence[str],
    new: bool,
    count: int | None,
    duration: float | None,
) -> None:
    """Print every change of values, first what they are.

    PATH: a property, or with + for one level and a final # for the rest.
    """
    wanted = bus.pattern(pattern)
    below = [bus.checked(each) for each in paths]

    async def work() -> None:
        async with bus.connected(settings, [wanted]) as client:
            bus.follow()
            _note_unknown(client, wanted, below, output)
            queue: Queue[Change] = Queue()
            patterns = [(wanted, "state", each) for each in below or ("#",)]
            stream: Stream[Change] = client.stream(patterns, queue, not new)
            async for change in bus.limited(stream, count, duration):
                _print_change(change, output)
            _note_dropped(stream.dropped, output)

    bus.run(work())


def _note_unknown(
    client: Client, wanted: str, paths: Sequence[str], output: Output
) -> None:
    """Note which paths fit no property of the devices that are known.

    They may still come.
    """
    devices = []
    known: dict[str, None] = {}
    for name, device in client.devices().items():
        if device.info and matches(wanted, name):
            devices.append(device)
            known.update(dict.fromkeys(device.info.properties))
    if not devices:
        return
    for path in paths:
        if not any(_has(device, path) for device in devices):
            meant = suggestion(path, known)
            output.note(f"no property of {wanted} fits {path!r}{meant}")


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
def events_command(
    settings: Settings,
    output: Output,
    pattern: str,
    name: str,
    changes: bool,
    count: int | None,
    duration: float | None,
) -> None:
    """Print events of devices; batches one by one.

    NAME: of an event (default: all of them).
    """
    wanted = bus.pattern(pattern)

    async def work() -> None:
        async with bus.connected(settings, [wanted]) as client:
            bus.follow()
            stream = client.events(wanted, bus.checked(name), items=True)
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
