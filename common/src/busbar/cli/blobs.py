"""`busbar blobs`: images and waveforms as files."""

import asyncio
from pathlib import Path

import click

from busbar.cli import bus, completion
from busbar.cli.options import command, ends
from busbar.cli.output import Output
from busbar.cli.settings import Settings
from busbar.client import Blob
from busbar.client.files import save


@command("blobs")
@click.argument(
    "pattern",
    default="+/+",
    metavar="[DEVICE|PATTERN]",
    shell_complete=completion.devices,
)
@click.argument("name", default="#")
@click.option(
    "--save",
    "folder",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="where to save them; made if it is not there",
)
@ends
def blobs_command(
    settings: Settings,
    output: Output,
    pattern: str,
    name: str,
    folder: Path,
    count: int | None,
    duration: float | None,
) -> None:
    """Save binary data of devices as files and print their names."""
    wanted = bus.pattern(pattern)
    names = bus.checked(name)

    async def work() -> None:
        await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
        total = number = 0
        async with bus.connected(settings, [wanted]) as client:
            bus.follow()
            bus.note_incomplete(client, output)
            stream = client.blobs(wanted, names)
            with output.progress("waiting for blobs") as show:
                async for blob in bus.limited(stream, count, duration):
                    _print(blob, await asyncio.to_thread(save, blob, folder), output)
                    number, total = number + 1, total + len(blob.data)
                    show(number, f"{number} blobs, {total / 1e6:.1f} MB")
            if stream.dropped:
                output.note(f"{stream.dropped} were left out: this was too slow")

    bus.run(work())


def _print(blob: Blob, path: Path, output: Output) -> None:
    about = {
        "device": blob.device,
        "name": blob.name,
        "size": len(blob.data),
        "content_type": blob.content_type,
    }
    output.record({**about, "time": blob.time, "file": str(path)}, str(path))
