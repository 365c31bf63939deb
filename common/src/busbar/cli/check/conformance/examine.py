"""Examination of a running bridge, ours or not, against the contract.

It knows no device: it uses MQTT, `info`, and the wire messages of busbar.contract.
"""

import asyncio
import contextlib
import time as clock

from busbar.cli.check.conformance import (  # noqa: F401  # they register checks
    active_commands,
    active_ending,
    active_locks,
    active_reconnect,
    active_repair,
    active_replies,
    active_writes,
    passive_payloads,
    passive_quality,
    passive_state,
    passive_topics,
    report,
)
from busbar.cli.check.conformance.caller import Caller, Target
from busbar.cli.check.conformance.checks import (
    CHECKS,
    Check,
    Level,
    NotTriedError,
    Result,
    attempt,
    judge,
)
from busbar.cli.check.conformance.record import Record
from busbar.cli.observe import Observer, kept, observing
from busbar.client.freshness import LIMIT, TOLERANCE
from busbar.contract.topics import BRIDGE, Topics
from busbar.mqtt.reconnect import BrokerLost
from busbar.net.endpoint import Endpoint

SECONDS = 5.0
THERE = 3.0  # s for the retained status of the bridge
SETTLE = 2.5  # s after the last command: a snapshot waits for a second at most


class NotThereError(Exception):
    """There is no such bridge, or it went away."""


async def examine(
    endpoint: Endpoint,
    topics: Topics,
    level: Level,
    device: str | None = None,
    seconds: float = SECONDS,
) -> report.Report:
    """Look at a bridge and return what was found; raise NotThereError, BrokerLost."""
    names = [device, BRIDGE] if device else ["+"]
    filters = [f"{topics.base}{name}/#" for name in dict.fromkeys(names)]
    caller: Caller | None = None
    commanded: list[Result] = []
    async with observing(endpoint, *filters) as observer:
        await _online(observer, topics)
        await observer.listen(seconds)
        if level != "passive":
            try:
                caller = await _caller(observer, endpoint, topics, device)
            except NotTriedError as error:
                commanded = _none_tried(level, str(error))
            else:
                commanded = await _attempt_all(level, caller)
        await observer.listen(SETTLE)
        seen = list(observer.seen)
        until = asyncio.get_running_loop().time()
        late = await kept(endpoint, *filters)
    record = Record(topics.base, seen, late, seconds, until)
    _check_same(record)
    passive = [judge(each, record) for each in CHECKS if each.level == "passive"]
    commands = sum(caller.sent.values()) if caller else 0
    return report.Report(
        bridge=topics.base.rstrip("/"),
        broker=endpoint.shown,
        protocol=endpoint.protocol,
        level=level,
        devices=sorted(record.devices),
        seconds=seconds,
        messages=record.count,
        commands=commands,
        results=[*passive, *commanded],
    )


def _none_tried(level: Level, why_not: str) -> list[Result]:
    return [check.result([], why_not) for check in _active_checks(level)]


async def _attempt_all(level: Level, caller: Caller) -> list[Result]:
    return [await attempt(check, caller) for check in _active_checks(level)]


def _active_checks(level: Level) -> list[Check]:
    """Return the checks that send commands, those that look back at the end."""
    wanted = [each for each in CHECKS if each.level in ("active", level)]
    return sorted(wanted, key=lambda each: each.last)


async def _online(observer: Observer, topics: Topics) -> None:
    """Return once the bridge has said that it is online."""
    status = topics.topic(BRIDGE, "status")

    def came() -> bool:
        return any(each.topic == status and each.payload for each in observer.seen)

    if not await observer.until(came, THERE):
        raise NotThereError(f"no bridge has said anything on {status}")
    await observer.quiet()
    bridge = Record(topics.base, observer.seen, {}, 0, 0).bridge
    last = bridge.last("status")
    if last is None:
        return  # it says something that cannot be read: that is for the checks
    if last.state != "online":
        raise NotThereError(f"{status} says that it is {last.state}")
    snapshot = bridge.last("state")
    live = any(not each.retained for each in observer.seen)
    if snapshot is not None and not live:
        silent = clock.time() - snapshot.time
        if silent > LIMIT + TOLERANCE:
            raise NotThereError(
                f"{topics.base}{BRIDGE} gave no sign of life for {silent:.0f} s; what "
                f"the broker kept is of before, or our clocks differ"
            )


async def _caller(
    observer: Observer, endpoint: Endpoint, topics: Topics, device: str | None
) -> Caller:
    record = Record(topics.base, observer.seen, {}, 0, 0)
    devices = {}
    for name, each in record.devices.items():
        parts = [each.last(channel) for channel in ("info", "status", "state")]
        if None not in parts:
            devices[name] = Target(name, *parts)
    if device and device not in {*record.devices, *record.unknown}:
        raise NotThereError(f"nothing is said of {topics.base}{device}")
    for wanted in (device, BRIDGE):
        if wanted and wanted not in devices:
            raise NotTriedError(
                f"{topics.base}{wanted} has no status, info and state that could be "
                "read"
            )
    targets = list(devices.values())
    caller = Caller(observer, endpoint, topics.root, topics.bridge, targets)
    # Filters must not overlap: a broker may send a message once for each of them.
    filters = [caller.private(1), f"{caller.private(2)}/#", caller.elsewhere]
    if device:
        filters.append(f"{topics.base}{caller.unused}/#")
    for wanted in filters:
        with contextlib.suppress(BrokerLost):  # refused: nothing will come there
            await observer.subscribe([wanted])
    return caller


def _check_same(record: Record) -> None:
    """Raise NotThereError unless one process was there all the time."""
    statuses = record.bridge.read["status"]
    boots = list(dict.fromkeys(each.content.boot for each in statuses))
    if len(boots) > 1:
        raise NotThereError(
            f"the bridge has started again meanwhile (boot {' then '.join(boots)}); "
            f"look again"
        )
