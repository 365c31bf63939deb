"""`busbar doctor`: what is wrong between this machine, the broker and the bridges.

It changes nothing that lasts.
"""

import asyncio
import os
import secrets
import time as clock
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from functools import partial

import click
import msgspec

from busbar.cli import bus, exits
from busbar.cli.absence import NO_WILDCARDS, OVERTAKES, on, private_topic, retention
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
from busbar.cli.hints import hint
from busbar.cli.observe import Observer, observing
from busbar.cli.options import command, waits
from busbar.cli.output import Output
from busbar.cli.settings import Settings
from busbar.contract.messages import Reply, encode
from busbar.contract.topics import BRIDGE
from busbar.mqtt.reconnect import BrokerLost
from busbar.runtime.host import clock_synchronised

VERSION = "$SYS/broker/version"
ANSWER = 3.0  # s for the outcome of a command
KEPT = 1.0  # s for the broker's version
SECOND = 0.5  # s in which the outcome of a second process would come
RETENTION: Mapping[str, Finding] = {
    "ok": Finding("retained", "ok", "what we retained was there for a second client"),
    "no wildcards": Finding("retained", "failed", NO_WILDCARDS),
    "nothing": Finding(
        "retained",
        "failed",
        "the broker does not keep retained messages",
        "retain_available true",
    ),
    "unknown": Finding(
        "retained",
        "unknown",
        "nothing is retained here, and what we publish does not come back",
        "grant our user: write <root>/reply/<user>/#, or start a bridge",
    ),
}
WATCHED = ("status", "info", "state", "reply")


@command("doctor")
@click.option(
    "--seconds",
    type=click.FloatRange(min=0),
    default=1.0,
    show_default=True,
    help="to listen for duplicates",
)
@waits
def doctor_command(
    settings: Settings, output: Output, seconds: float, patience: float
) -> int:
    """Find out what is wrong.

    Environment, broker, rights, clocks, bridges, duplicates; the exit code is 7 if
    something failed.
    """
    # an error in these is no finding
    _ = settings.endpoint
    _ = settings.prefix
    with output.progress("looking"):
        findings = bus.run(examine(settings, seconds, patience))
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


async def examine(settings: Settings, seconds: float, patience: float) -> list[Finding]:
    """Return what was found, good and bad."""
    found = [*variables(os.environ), own_clock(clock_synchronised())]
    private = private_topic(settings, f"doctor-{secrets.token_hex(4)}")
    wanted = [f"{settings.prefix}/+/+/{channel}" for channel in WATCHED]
    try:
        names = await _picture(settings, patience, found)
        async with (
            asyncio.timeout(settings.timeout + patience + 60),
            observing(settings.endpoint, *wanted) as observer,
        ):
            await observer.subscribe([f"{private}/#"])
            await observer.quiet(patience)
            missing = names - _described(settings, observer)
            if missing:
                return [*found, _incomplete(f"{len(missing)} devices have not come")]
            found.append(await _version(observer))
            found.append(await _retained(settings, observer))
            asked = await _ask(settings, observer, private)
            await observer.listen(seconds)
            seen = ObservedBus(settings.prefix, observer.seen)
    except exits.Incomplete as error:
        return [*found, _incomplete(str(error))]
    except BrokerLost as error:
        return [*found, Finding("broker", "failed", str(error), hint(str(error)))]
    for one in asked:
        found += round_trip(one, f"{private}/#")
    return [*found, *bridges(seen), *duplicates(seen, outcomes(asked))]


async def _picture(
    settings: Settings, patience: float, found: list[Finding]
) -> set[str]:
    """Return the devices that a client knows; raise Incomplete, BrokerLost.

    Add what it says of the broker to what was found.
    """
    async with bus.connected(settings, patience=patience) as client:
        shown = f"{settings.endpoint.shown}, MQTT {settings.endpoint.protocol}"
        found.append(Finding("broker", "ok", f"connected to {shown}"))
        if client.overtaken:
            found.append(Finding("order", "warning", OVERTAKES))
        return set(client.devices())


def _incomplete(text: str) -> Finding:
    """Return a finding that ends the examination: more would be wrong advice."""
    advice = "a slow link? wait for longer: --timeout"
    return Finding("picture", "failed", text, advice)


def _described(settings: Settings, observer: Observer) -> set[str]:
    """Return the devices whose description has come."""
    names = set()
    for each in observer.seen:
        name, _, channel = each.topic.removeprefix(f"{settings.prefix}/").rpartition(
            "/"
        )
        if channel == "info":
            names.add(name)
    return names


async def _version(observer: Observer) -> Finding:
    try:
        await observer.subscribe([VERSION])
        await observer.until(lambda: on(observer.seen, VERSION), KEPT)
    except BrokerLost:
        pass  # a broker without $SYS may say so
    answers = on(observer.seen, VERSION)
    if answers:
        return Finding("version", "ok", answers[0].payload.decode(errors="replace"))
    return Finding("version", "unknown", f"{VERSION} cannot be read; that does no harm")


async def _retained(settings: Settings, observer: Observer) -> Finding:
    """Prove that retained messages work, with those that are there or one of ours."""
    for each in observer.seen:
        if each.retained and not each.topic.startswith("$SYS"):
            return Finding("retained", "ok", "retained messages arrive")
    return RETENTION[await retention(settings)]


async def _ask(settings: Settings, observer: Observer, private: str) -> list[Asked]:
    """Ask all bridges that are online at once for their devices, which is safe."""
    seen = ObservedBus(settings.prefix, observer.seen)
    asked: dict[str, Asked] = {}  # by the topic of the outcome
    ids = {}
    for bridge in filter(seen.online, seen.bridges):
        reply = f"{private}/{bridge}"
        ids[reply] = secrets.token_hex(4)
        asked[reply] = Asked(bridge, clock.time(), [], [])
        message = encode({"_id": ids[reply], "_reply": reply})
        observer.publish(f"{settings.prefix}/{bridge}/{BRIDGE}/call/list", message)
    if asked and await observer.until(partial(_have, observer, asked, 1), ANSWER):
        await observer.until(partial(_have, observer, asked, 2), SECOND)
    for reply, one in asked.items():
        public = f"{settings.prefix}/{one.bridge}/{BRIDGE}/reply"
        one.private = _replies(observer, reply, ids[reply])
        one.public = _replies(observer, public, ids[reply])
    return list(asked.values())


def _have(observer: Observer, topics: Collection[str], count: int) -> bool:
    """Return whether so many messages have come on each topic."""
    found = Counter(each.topic for each in observer.seen if each.topic in topics)
    return all(found[topic] >= count for topic in topics)


def _replies(observer: Observer, topic: str, id_: str) -> list[tuple[float, Reply]]:
    offset = clock.time() - asyncio.get_running_loop().time()
    found = []
    for each in on(observer.seen, topic):
        try:
            reply = msgspec.json.decode(each.payload, type=Reply)
        except msgspec.MsgspecError:
            continue
        if reply.id == id_:
            found.append((each.at + offset, reply))
    return found
