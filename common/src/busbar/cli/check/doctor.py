"""`busbar doctor`: what is wrong between this machine, the broker and the bridges.

It changes nothing that lasts.
"""

import asyncio
import os
import secrets
import time as clock
from collections.abc import Sequence
from functools import partial

import click
import msgspec

from busbar.cli import bus, exits
from busbar.cli.check.diagnosis import (
    Asked,
    Finding,
    ObservedBus,
    bridges,
    duplicates,
    outcomes,
    own_clock,
    round_trip,
    variables,
)
from busbar.cli.observe import Observer, Seen, kept, observing
from busbar.cli.options import command
from busbar.cli.output import Output
from busbar.cli.settings import Settings
from busbar.contract.messages import Reply, encode
from busbar.contract.topics import BRIDGE, REPLY
from busbar.mqtt.reconnect import BrokerLost
from busbar.runtime.host import clock_synchronised

VERSION = "$SYS/broker/version"
ANSWER = 3.0  # s for the outcome of a command
KEPT = 1.0  # s for a retained message
SECOND = 0.5  # s in which the outcome of a second process would come
WATCHED = ("status", "info", "state", "reply")
_HINTS = {
    "refused": "is the broker running there, and is it this port?",
    "not authori": "user, password: --username, --password-file",
    "bad user": "user, password: --username, --password-file",
    "certificate": "--ca-file names the authority that signed the broker's certificate",
    "name or service": "the host's name is not known here",
    "no answer": "a firewall, or TLS on one side only (mqtt:// and mqtts://)",
}


@command("doctor")
@click.option(
    "--seconds",
    type=click.FloatRange(min=0),
    default=1.0,
    show_default=True,
    help="to listen for duplicates",
)
def doctor_command(settings: Settings, output: Output, seconds: float) -> int:
    """Find out what is wrong.

    Environment, broker, rights, clocks, bridges, duplicates; the exit code is 7 if
    something failed.
    """
    # an error in these is no finding
    _ = settings.endpoint
    _ = settings.prefix
    with output.progress("looking"):
        findings = bus.run(examine(settings, seconds))
    failed = any(each.state == "failed" for each in findings)
    if output.json:
        output.document({"ok": not failed, "findings": findings})
    else:
        _print(findings, output)
    if failed:
        return exits.FOUND
    return exits.DONE


def _print(findings: Sequence[Finding], output: Output) -> None:
    rows = []
    advice: dict[str, None] = {}
    for each in findings:
        rows.append([each.state, each.check, each.text])
        if each.advice:
            advice[f"{each.check}: {each.advice}"] = None
    output.table([], rows)
    if advice:
        output.text()
    for line in advice:
        output.text(line)


async def examine(settings: Settings, seconds: float) -> list[Finding]:
    """Return what was found, good and bad."""
    found = [*variables(os.environ), own_clock(clock_synchronised())]
    name = f"doctor-{secrets.token_hex(4)}"
    user = settings.endpoint.credentials[0]
    if user:
        name = f"{user}/{name}"
    private = f"{settings.prefix}/{REPLY}/{name}"
    wanted = [f"{settings.prefix}/+/+/{channel}" for channel in WATCHED]
    try:
        async with (
            asyncio.timeout(settings.timeout + 60),
            observing(settings.endpoint, *wanted) as observer,
        ):
            shown = f"{settings.endpoint.shown}, MQTT {settings.endpoint.protocol}"
            found.append(Finding("broker", "ok", f"connected to {shown}"))
            await observer.subscribe([f"{private}/#"])
            await observer.quiet()
            found.append(await _version(observer))
            found.append(await _retained(settings, observer, private))
            asked = await _ask(settings, observer, private)
            await observer.listen(seconds)
            seen = ObservedBus(settings.prefix, observer.seen)
    except BrokerLost as error:
        return [*found, Finding("broker", "failed", str(error), _hint(error))]
    for one in asked:
        found += round_trip(one, f"{private}/#")
    return [*found, *bridges(seen), *duplicates(seen, outcomes(asked))]


def _hint(error: BrokerLost) -> str:
    text = str(error).lower()
    for word, hint in _HINTS.items():
        if word in text:
            return hint
    return ""


async def _version(observer: Observer) -> Finding:
    try:
        await observer.subscribe([VERSION])
        await observer.until(lambda: _on(observer, VERSION), KEPT)
    except BrokerLost:
        pass  # a broker without $SYS may say so
    answers = _on(observer, VERSION)
    if answers:
        return Finding("version", "ok", answers[0].payload.decode(errors="replace"))
    return Finding("version", "unknown", f"{VERSION} cannot be read; that does no harm")


async def _retained(settings: Settings, observer: Observer, private: str) -> Finding:
    """Prove that retained messages work, with those that are there or one of ours."""
    for each in observer.seen:
        if each.retained and not each.topic.startswith("$SYS"):
            return Finding("retained", "ok", "retained messages arrive")
    topic = f"{private}/retained"
    observer.publish(topic, b"kept", retain=True)
    if not await observer.until(lambda: _on(observer, topic), KEPT):
        advice = (
            f"grant our user: write {settings.prefix}/{REPLY}/<user>/#, or start a "
            f"bridge"
        )
        text = "nothing is retained here, and what we publish does not come back"
        return Finding("retained", "unknown", text, advice)
    there = topic in await kept(settings.endpoint, topic)
    observer.publish(topic, b"", retain=True)
    await observer.until(lambda: len(_on(observer, topic)) > 1, KEPT)
    if there:
        text = "what we retained was there for a second client"
        return Finding("retained", "ok", text)
    text = "the broker does not keep retained messages"
    return Finding("retained", "failed", text, "retain_available true")


async def _ask(settings: Settings, observer: Observer, private: str) -> list[Asked]:
    """Ask every bridge that is online for its devices, which is safe."""
    seen = ObservedBus(settings.prefix, observer.seen)
    asked = []
    for bridge in filter(seen.online, seen.bridges):
        one = Asked(bridge, clock.time(), [], [])
        id_ = secrets.token_hex(4)
        public = f"{settings.prefix}/{bridge}/{BRIDGE}/reply"
        reply = f"{private}/{bridge}"
        message = encode({"_id": id_, "_reply": reply})
        observer.publish(f"{settings.prefix}/{bridge}/{BRIDGE}/call/list", message)
        if await observer.until(partial(_on, observer, reply), ANSWER):
            await observer.until(partial(_has_two, observer, reply), SECOND)
        one.private = _replies(observer, reply, id_)
        one.public = _replies(observer, public, id_)
        asked.append(one)
    return asked


def _replies(observer: Observer, topic: str, id_: str) -> list[tuple[float, Reply]]:
    offset = clock.time() - asyncio.get_running_loop().time()
    found = []
    for each in _on(observer, topic):
        try:
            reply = msgspec.json.decode(each.payload, type=Reply)
        except msgspec.MsgspecError:
            continue
        if reply.id == id_:
            found.append((each.at + offset, reply))
    return found


def _has_two(observer: Observer, topic: str) -> bool:
    return len(_on(observer, topic)) > 1


def _on(observer: Observer, topic: str) -> list[Seen]:
    return [each for each in observer.seen if each.topic == topic]
