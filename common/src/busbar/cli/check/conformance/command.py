"""Command `busbar conformance BRIDGE`."""

import asyncio
import sys
from pathlib import Path

import click

from busbar.cli import exits
from busbar.cli.check.conformance import report
from busbar.cli.check.conformance.checks import Level
from busbar.cli.check.conformance.examine import SECONDS, NotThereError, examine
from busbar.cli.options import command
from busbar.cli.output import Output
from busbar.cli.settings import Settings
from busbar.contract.topics import Topics

SOME = "send commands, too: those declared safe, and such as have to be refused"
LISTEN = f"to listen (default: {SECONDS:g}; heartbeats: 65)"
MORE = (
    "also lock devices, write to every property the value it has, overwrite status and "
    "info, and break the bridge's connection once"
)


@command(
    "conformance",
    short_help="check a running bridge, ours or not, against the contract",
)
@click.argument("bridge")
@click.option(
    "--device", metavar="NAME", help="this device only (and the bridge itself)"
)
@click.option("--active", "level", flag_value="active", help=SOME)
@click.option("--all", "level", flag_value="all", help=MORE)
@click.option("--seconds", type=click.FloatRange(min=0), default=SECONDS, help=LISTEN)
@click.option(
    "--junit",
    type=click.Path(dir_okay=False, path_type=Path),
    help="write the report as JUnit XML, too",
)
def conformance_command(
    settings: Settings,
    output: Output,
    bridge: str,
    device: str | None,
    level: Level | None,
    seconds: float,
    junit: Path | None,
) -> int:
    """Check a running bridge, ours or not, against the contract.

    Without --active or --all only by listening.
    """
    try:
        topics = Topics(settings.prefix, bridge)
        found = asyncio.run(
            examine(settings.endpoint, topics, level or "passive", device, seconds)
        )
    except NotThereError as error:
        print(f"busbar: {error}", file=sys.stderr)
        return exits.OFFLINE
    print(report.as_json(found) if settings.json else report.text(found))
    if junit:
        junit.write_bytes(report.junit(found))
    return exits.FOUND if found.violated else exits.DONE
