"""Command `busbar record`: every message of the bus with its time, in an MCAP file."""

import asyncio
import math
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from busbar.cli import bus, completion
from busbar.cli.demo.tour import Silent
from busbar.cli.options import command
from busbar.cli.output import Output
from busbar.cli.recording.writing import BackgroundRecorder
from busbar.cli.settings import Settings
from busbar.client.filters import Filters
from busbar.errors import ConfigError
from busbar.mqtt.connection import connection
from busbar.mqtt.reconnect import BrokerLost, stay_connected

if TYPE_CHECKING:
    from busbar.cli.recording.tape import Recorder

SHOW = 2.0  # s between looks


@command("record")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.argument(
    "patterns",
    nargs=-1,
    metavar="[DEVICE|PATTERN]...",
    shell_complete=completion.devices,
)
@click.option(
    "--for",
    "duration",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="end after this time",
)
@click.option(
    "--count",
    "-n",
    type=click.IntRange(min=1),
    metavar="N",
    help="end after so many messages",
)
@click.option("--force", "-f", is_flag=True, help="write over a file that is there")
def record_command(
    settings: Settings,
    output: Output,
    file: Path,
    patterns: Sequence[str],
    duration: float | None,
    count: int | None,
    force: bool,
) -> None:
    """Record all messages with their times, until Ctrl-C.

    The file is MCAP; `busbar replay` plays it. Without a pattern: everything under the
    root.
    """
    from busbar.cli.recording.tape import Recorder  # the extra `record`

    if file.exists() and not force:
        raise ConfigError(f"{file} is there already; --force writes over it")
    file.unlink(missing_ok=True)
    root = settings.prefix
    wanted = [f"{root}/{bus.pattern(each)}/#" for each in patterns] or [f"{root}/#"]
    # none inside another, for which a message would come twice
    needed, _ = Filters().add(wanted)
    filters = sorted(needed)
    with Recorder(file, root, settings.endpoint.shown) as recorder:
        try:
            bus.run(_record(settings, recorder, filters, duration, count, output))
        except BrokerLost:
            file.unlink()  # there was no connection, so there is nothing in it
            raise
        finally:
            if file.exists():
                _sum_up(file, recorder, output)


async def _record(
    settings: Settings,
    recorder: "Recorder",
    filters: Sequence[str],
    duration: float | None,
    count: int | None,
    output: Output,
) -> None:
    writer = BackgroundRecorder(recorder, count)
    first: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    name = f"busbar-record-{secrets.token_hex(4)}"

    async def listen() -> None:
        try:
            async with connection(
                settings.endpoint, Silent(), writer.take, name
            ) as link:
                await link.subscribe(filters)
                if not first.done():
                    first.set_result(None)
                await link.closed
        except BrokerLost as error:
            if not first.done():
                first.set_exception(error)
            raise

    listening = asyncio.create_task(stay_connected(listen), name="record")
    try:
        await first
        bus.follow()
        with output.progress("recording") as show:
            await _until(writer.done, duration, recorder, show)
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        await writer.close()


def _sum_up(file: Path, recorder: "Recorder", output: Output) -> None:
    if output.json:
        counts = {"messages": recorder.messages, "bytes": recorder.bytes}
        output.document({"file": str(file), **counts})
    else:
        output.note(f"{file}: {_size(recorder)}")


def _size(recorder: "Recorder") -> str:
    return f"{recorder.messages} messages, {recorder.bytes / 1e6:.1f} MB"


async def _until(
    done: "asyncio.Future[None]",
    duration: float | None,
    recorder: "Recorder",
    show: Callable[[float, str], None],
) -> None:
    """Show how much there is until it is done or over."""
    loop = asyncio.get_running_loop()
    end = math.inf if duration is None else loop.time() + duration
    while not done.done() and loop.time() < end:
        pause = min(SHOW, max(0.0, end - loop.time()))
        await asyncio.wait([done], timeout=pause)
        show(recorder.messages, _size(recorder))
    if done.done():
        done.result()
