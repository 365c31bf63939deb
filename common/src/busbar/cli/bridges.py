"""`busbar scan` and `busbar clean`: what a bridge finds, and what it leaves behind."""

import asyncio
import secrets

import click

from busbar.cli import bus, completion
from busbar.cli.observe import Observer, kept, observing
from busbar.cli.options import command
from busbar.cli.output import Output
from busbar.cli.settings import Settings
from busbar.cli.values import call
from busbar.client import DeviceView
from busbar.client.calls import read_result
from busbar.contract.messages import encode
from busbar.contract.topics import BRIDGE, Topics
from busbar.errors import BadRequest, ConfigError, Offline, UnknownTarget
from busbar.mqtt.reconnect import BrokerLost
from busbar.runtime.bridge_device import Found, Listed

CLEARED = 10.0  # s for the broker to show that it has forgotten
ANSWER = 3.0  # s for `list`, which a bridge answers at once, whatever its devices do


@command("scan")
@click.argument("bridge", shell_complete=completion.bridges)
def scan_command(settings: Settings, output: Output, bridge: str) -> None:
    """Look for what could be connected to a bridge."""
    _topics(settings, bridge)

    async def work() -> None:
        async with bus.device(settings, f"{bridge}/{BRIDGE}") as device:
            found = await call(device, output, "scan", (), {})
            read_result(f"{device.name} scan", found, list[Found])
            if not found and not output.json:
                output.note(f"the bridge {bridge} has found nothing")
            output.answer(found or None, found)

    bus.run(work())


@command("clean")
@click.argument("bridge", shell_complete=completion.bridges)
@click.option(
    "--gone",
    is_flag=True,
    help=("of a bridge that does not run any more: remove all of it"),
)
def clean_command(settings: Settings, output: Output, bridge: str, gone: bool) -> None:
    """Remove what the broker retains of a bridge.

    One that runs does it itself, then publishes what lives again.
    """
    topics = _topics(settings, bridge)
    if gone:
        count = bus.run(_remove(settings, topics))
    else:
        count = bus.run(_ask(settings, output, topics))
    if output.json:
        output.document({"bridge": bridge, "removed": count})
    else:
        done = f"{count} retained topics of {bridge} removed"
        if not gone:
            done += ", and published again what lives"
        output.text(done)


async def _ask(settings: Settings, output: Output, topics: Topics) -> int:
    try:
        async with bus.device(settings, f"{topics.bridge}/{BRIDGE}") as device:
            await _answer(device)
            count = await call(device, output, "clean", (), {})
            return read_result(f"{device.name} clean", count, int)
    except (Offline, UnknownTarget) as error:
        raise type(error)(
            f"{error.message}; if it does not run any more: busbar clean --gone "
            f"{topics.bridge}"
        ) from error


async def _answer(bridge: DeviceView) -> None:
    """Return when a bridge answers; raise Offline.

    What was replayed says "online" for ever.
    """
    try:
        async with asyncio.timeout(ANSWER):
            listed = await bridge.call("list")
        read_result(f"{bridge.name} list", listed, list[Listed])
    except TimeoutError:
        raise Offline(f"{bridge.name} has not answered within {ANSWER:g} s") from None


async def _remove(settings: Settings, topics: Topics) -> int:
    """Clear every retained topic of a bridge that does not run.

    Raise BadRequest if it does.
    """
    async with observing(settings.endpoint, f"{topics.base}#") as observer:
        if await _lives(observer, topics):
            raise BadRequest(
                f"the bridge {topics.bridge} is online: without --gone it cleans up "
                f"itself"
            )
        found = await kept(settings.endpoint, f"{topics.base}#")
        for topic in found:
            observer.publish(topic, b"", retain=True)

        def is_cleared() -> bool:
            empty = {each.topic for each in observer.seen if not each.payload}
            return found.keys() <= empty

        cleared = await observer.until(is_cleared, CLEARED)
    if not cleared:
        raise BrokerLost(
            f"the broker has not removed all of {topics.base}#; may we write there?"
        )
    return len(found)


async def _lives(observer: Observer, topics: Topics) -> bool:
    """Return whether the bridge answers: its status may be a replayed one."""
    id_ = secrets.token_hex(8)
    reply = topics.topic(BRIDGE, "reply")

    def has_answered() -> bool:
        for each in observer.seen:
            if each.topic == reply and id_.encode() in each.payload:
                return True
        return False

    observer.publish(topics.topic(BRIDGE, "call", "list"), encode({"_id": id_}))
    return await observer.until(has_answered, ANSWER)


def _topics(settings: Settings, bridge: str) -> Topics:
    root = settings.prefix
    try:
        return Topics(root, bridge)
    except ConfigError as error:
        raise bus.usage(str(error)) from error
