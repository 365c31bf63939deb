"""`busbar lock`: a program that runs while a device is ours alone."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import click

from busbar.cli import bus, completion
from busbar.cli.options import command
from busbar.cli.output import Output
from busbar.cli.settings import Settings
from busbar.client.types import LockOptions

PATIENCE = 5.0  # s for the program to end after the lock was lost


@command("lock", context_settings={"ignore_unknown_options": True})
@click.argument("device", shell_complete=completion.devices)
@click.argument(
    "program",
    nargs=-1,
    required=True,
    type=click.UNPROCESSED,
    metavar="-- COMMAND [ARGUMENT]...",
)
@click.option(
    "--wait",
    type=click.FloatRange(min=0),
    default=0.0,
    metavar="SECONDS",
    help="for somebody else's lock",
)
@click.option(
    "--ttl",
    type=click.FloatRange(min=1, max=3600),
    metavar="SECONDS",
    help="it lasts when we are gone",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="for getting the lock once connected",
)
@click.option(
    "--owner", metavar="TEXT", help=("shown to others (default: user and program)")
)
@click.option(
    "--scope",
    type=click.Choice(["device", "channel"]),
    help=("default: the channel where one is shared"),
)
@click.option("--no-polls", is_flag=True, help="pause polling in scope")
def lock_command(
    settings: Settings,
    output: Output,
    device: str,
    program: Sequence[str],
    wait: float,
    ttl: float | None,
    timeout: float | None,
    owner: str | None,
    scope: Literal["device", "channel"] | None,
    no_polls: bool,
) -> int:
    """Run a program while nobody else commands a device.

    The program finds the lease in $BUSBAR_LEASE, where `busbar set` and `busbar call`
    look for it, and the broker in $BUSBAR_URL. The exit code is the program's.
    """

    async def work() -> int:
        async with bus.device(settings, device) as found:
            bus.follow()
            who = owner or _owner(program)
            options = LockOptions(owner=who, ttl=ttl, wait=wait, scope=scope)
            options["timeout"] = timeout
            if no_polls:
                options["polls"] = False
            async with found.lock(**options) as lease:
                return await _run(
                    program, {**settings.environment(), "BUSBAR_LEASE": lease}
                )

    return bus.run(work())


def _owner(program: Sequence[str]) -> str:
    user = os.environ.get("USER") or os.environ.get("LOGNAME") or f"user {os.getuid()}"
    return f"{user}: {Path(program[0]).name}"[:200]


async def _run(program: Sequence[str], variables: Mapping[str, str]) -> int:
    """Run a program to its end, which Ctrl-C may bring.

    When the lock is lost it is ended. Return its exit code.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *program, env={**os.environ, **variables}
        )
    except FileNotFoundError:
        raise click.UsageError(f"there is no program {program[0]!r}") from None
    except OSError as error:
        raise click.UsageError(
            f"{program[0]!r} cannot be run: {error.strerror}"
        ) from error
    loop = asyncio.get_running_loop()
    # the terminal sends it to the program, too, which decides
    loop.add_signal_handler(signal.SIGINT, lambda: None)
    loop.add_signal_handler(signal.SIGTERM, lambda: _signal(process, signal.SIGTERM))
    try:
        code = await process.wait()
    except asyncio.CancelledError:  # LeaseLost in the making
        await _end(process)
        raise
    return code if code >= 0 else 128 - code


async def _end(process: asyncio.subprocess.Process) -> None:
    _signal(process, signal.SIGTERM)
    try:
        async with asyncio.timeout(PATIENCE):
            await process.wait()
    except TimeoutError:
        _signal(process, signal.SIGKILL)
        await process.wait()


def _signal(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(number)
