"""`busbar plot`: a capture as a picture, or as a value change dump."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import click

from busbar.cli import bus
from busbar.cli.arguments import arguments
from busbar.cli.options import command
from busbar.cli.output import Output
from busbar.cli.settings import Settings
from busbar.client import captures
from busbar.errors import UnknownTarget

FORMATS = (".png", ".svg", ".pdf", ".vcd")
WIDTH, HEIGHT = 10.0, 0.8  # inches, of one channel


@command("plot")
@click.argument("what", type=click.Choice(["capture"]))
@click.argument("source", metavar="FILE | DEVICE")
@click.argument("given", nargs=-1, metavar="[KEY=VALUE]...")
@click.option(
    "--output",
    "-o",
    "target",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="what to write: .png, .svg or .pdf, or .vcd for waveform viewers",
)
def plot_command(
    settings: Settings,
    output: Output,
    what: str,
    source: str,
    given: Sequence[str],
    target: Path,
) -> None:
    """Draw a capture: of a file, or one that is made now.

    A DEVICE makes it with the arguments of its command `capture`.
    """
    if target.suffix not in FORMATS:
        raise bus.usage(f"--output: {target.name!r} ends with none of {FORMATS}")

    async def work() -> None:
        data, channels = await _session(settings, source, given)
        await asyncio.to_thread(_write, data, channels, target, source)
        about = {"source": source, "file": str(target)}
        output.record(about, str(target))

    bus.run(work())


async def _session(
    settings: Settings, source: str, given: Sequence[str]
) -> tuple[bytes, list[str] | None]:
    path = Path(source)
    if await asyncio.to_thread(path.is_file):
        if given:
            raise bus.usage("arguments are for a capture that is made now")
        return await asyncio.to_thread(path.read_bytes), None
    async with bus.device(settings, source) as device:
        assert device.info is not None
        known = device.info.commands.get("capture")
        if known is None:
            raise UnknownTarget(f"{device.name} has no command 'capture'")
        fields = arguments("capture", known, given)
        return await captures.recorded(device, **fields)


def _write(data: bytes, channels: list[str] | None, target: Path, title: str) -> None:
    if target.suffix == ".vcd":
        target.write_text(captures.vcd(data, channels), encoding="utf-8")
    else:
        _draw(data, channels, target, title)


def _draw(data: bytes, channels: list[str] | None, target: Path, title: str) -> None:
    """Draw each channel below the other, on one axis of time."""
    from matplotlib.figure import Figure

    t, found = captures.arrays(data, channels)
    figure = Figure((WIDTH, 1 + HEIGHT * max(1, len(found))), layout="constrained")
    figure.suptitle(title)
    rows = figure.subplots(max(1, len(found)), 1, sharex=True, squeeze=False)
    for axes, (name, samples) in zip(rows[:, 0], found.items(), strict=False):
        is_logic = samples.dtype.kind == "u"
        axes.plot(t, samples, drawstyle="steps-post" if is_logic else "default")
        axes.set_ylabel(name, rotation=0, ha="right", va="center")
        if is_logic:
            axes.set(ylim=(-0.2, 1.2), yticks=(0, 1))
    rows[-1, 0].set_xlabel("s")
    figure.savefig(target)
