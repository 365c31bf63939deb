"""`busbar watch` and `busbar events`: what happens, as it happens."""

from collections.abc import Sequence

import click

from busbar.cli import bus, completion
from busbar.cli.arguments import suggestion
from busbar.cli.options import command, ends
from busbar.cli.output import Output, shown, stamp
from busbar.cli.settings import Settings
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
            _tell_unknown(client, wanted, below, output)
            queue: Queue[Change] = Queue()
            stream: Stream[Change] = client.stream(
                [(wanted, "state", each) for each in below or ("#",)], queue, not new
            )
            async for change in bus.limited(stream, count, duration):
                _print_change(change, output)
            _tell_lost(stream.dropped, output)

    bus.run(work())


def _tell_unknown(
    client: Client, wanted: str, paths: Sequence[str], output: Output
) -> None:
    """Tell which paths fit no property of the devices that are known.

    They may still come.
    """
    devices = [
        each
        for name, each in client.devices().items()
        if each.info and matches(wanted, name)
    ]
    known = dict.fromkeys(
        path for each in devices for path in (each.info.properties if each.info else ())
    )
    for path in paths if devices else ():
        if not any(_has(each, path) for each in devices):
            output.note(
                f"no property of {wanted} fits {path!r}{suggestion(path, known)}"
            )


def _has(device: DeviceView, pattern: str) -> bool:
    templates = device.info.properties if device.info else ()
    return (
        property_of(device.info, pattern) is not None
        or any(matches(pattern, path) for path in device.snapshot().values)
        or (
            ("+" in pattern or "#" in pattern)
            and any(_meets(pattern, each) for each in templates)
        )
    )


def _meets(pattern: str, template: str) -> bool:
    """Return whether a pattern covers a member of a family.

    `digital/+` one of `digital/{join}`.
    """
    wanted, levels = pattern.split("/"), template.split("/")
    padded = [*wanted, *levels[len(wanted) :]]
    member = [
        mine if "{" in level else level
        for mine, level in zip(padded, levels, strict=False)
    ]
    return matches(pattern, "/".join(member))


def _print_change(change: Change, output: Output) -> None:
    why = (
        {"code": change.stale.code, "message": change.stale.message}
        if change.stale
        else None
    )
    row = {
        "device": change.device,
        "path": change.path,
        "value": change.value,
        "time": change.time,
        "stale": why,
    }
    marked = f"({change.stale.code})" if change.stale else ""
    cells = (
        stamp(change.time),
        change.device,
        change.path,
        shown(change.value),
        marked,
    )
    output.record(row, *cells, style="offline" if change.stale else "")


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
            chosen = (
                event
                async for event in stream
                if changes or name == "change" or event.name != "change"
            )
            async for event in bus.limited(chosen, count, duration):
                _print_event(event, output)
            _tell_lost(stream.dropped, output)

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


def _tell_lost(dropped: int, output: Output) -> None:
    if dropped:
        output.note(f"{dropped} were left out: this was too slow")
