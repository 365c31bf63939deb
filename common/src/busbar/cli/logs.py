"""`busbar log`: log lines of bridges, from WARNING up."""

import time as clock
from typing import Any

import click

from busbar.cli import bus, completion
from busbar.cli.options import command, ends, waits
from busbar.cli.output import Output
from busbar.cli.settings import Settings
from busbar.client import Event
from busbar.contract.topics import BRIDGE
from busbar.net.trace import LEVELS

_SEVERITY = {**LEVELS, "critical": 50}


@command("log")
@click.argument("bridge", default="+", shell_complete=completion.bridges)
@click.option(
    "--level",
    type=click.Choice(["warning", "error", "critical"]),
    default="warning",
    help="and above",
)
@click.option("--device", metavar="NAME", help="of this device only")
@ends
@waits
def log_command(
    settings: Settings,
    output: Output,
    bridge: str,
    level: str,
    device: str | None,
    count: int | None,
    duration: float | None,
    patience: float,
) -> None:
    """Print what bridges log, as it comes: warnings and worse.

    `busbar call BRIDGE/bridge log_level` sets what a bridge writes into its own log.
    """
    name = bus.pattern(bridge).partition("/")[0]
    least = _SEVERITY[level]

    def is_wanted(event: Event) -> bool:
        if _SEVERITY.get(event.fields["level"], 50) < least:
            return False
        return device in (None, event.fields["device"])

    async def work() -> None:
        bridges = [f"{name}/{BRIDGE}"]
        async with bus.connected(settings, bridges, patience=patience) as client:
            bus.follow()
            bus.note_incomplete(client, output)
            if not client.devices():
                there_is = "no bridge is there"
                if name != "+":
                    there_is = f"there is no bridge {name}"
                output.note(f"{there_is} (now); waiting")
            stream = client.events(f"{name}/{BRIDGE}", "log")
            lines = (event async for event in stream if is_wanted(event))
            async for event in bus.limited(lines, count, duration):
                _print(event, output)

    bus.run(work())


def _print(event: Event, output: Output) -> None:
    bridge = event.device.partition("/")[0]
    fields: dict[str, Any] = dict(event.fields)
    where = bridge
    if fields["device"]:
        where = f"{bridge}/{fields['device']}"
    when = clock.strftime("%Y-%m-%d %H:%M:%S", clock.localtime(event.time))
    row = {"time": event.time, "bridge": bridge, **fields}
    output.record(
        row, when, fields["level"], where, fields["message"], style=fields["level"]
    )
