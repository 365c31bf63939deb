"""Command `busbar demo`."""

import click

from busbar.cli.demo import run


@click.command("demo")
@click.option(
    "--for",
    "duration",
    type=click.FloatRange(min=0, max_open=True, max=1e9),
    metavar="SECONDS",
    help="end by itself",
)
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    metavar="N",
    help="of the broker (default: 1883 if it is free)",
)
def demo_command(duration: float | None, port: int | None) -> int:
    """A private broker, every installed bridge, and simulated devices.

    It prints for people only: there is no --json.
    """
    return run.run(duration, port)
