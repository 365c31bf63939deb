"""Does a running bridge, ours or not, keep what the contract says?

It knows no device: it uses MQTT, `info`, and the wire messages of busbar.contract.
"""

import asyncio

from busbar.cli.check.conformance import (  # noqa: F401  # imported because they register their checks
    active_commands,
    active_ending,
    active_locks,
    active_reconnect,
    active_replies,
    active_writes,
    passive_payloads,
    passive_state,
    passive_topics,
    report,
)
from busbar.cli.check.conformance.caller import Caller, Target
from busbar.cli.check.conformance.checks import CHECKS, Level, attempt, judge
from busbar.cli.check.conformance.record import Record
from busbar.cli.observe import Observer, kept, observing
from busbar.contract.topics import BRIDGE, Topics
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
    results = []
    loop = asyncio.get_running_loop()
    async with observing(endpoint, *filters) as observer:
        await _online(observer, topics)
        await observer.listen(seconds)
        if level != "passive":
            caller = await _caller(observer, endpoint, topics, device)
            wanted = [each for each in CHECKS if each.level in ("active", level)]
            results = [
                await attempt(each, caller)
                for each in sorted(wanted, key=lambda each: each.last)
            ]
        await observer.listen(SETTLE)
        seen, until = list(observer.seen), loop.time()
        late = await kept(endpoint, *filters)
    record = Record(topics.base, seen, late, seconds, until)
    _check_same(record)
    results = [
        judge(each, record) for each in CHECKS if each.level == "passive"
    ] + results
    return report.Report(
        bridge=topics.base.rstrip("/"),
        broker=endpoint.shown,
        protocol=endpoint.protocol,
        level=level,
        devices=sorted(record.devices),
        seconds=seconds,
        messages=record.count,
        commands=sum(caller.sent.values()) if caller else 0,
        results=results,
    )


async def _online(observer: Observer, topics: Topics) -> None:
    """Return once the bridge has said that it is online."""
    status = topics.topic(BRIDGE, "status")
    if not await observer.until(
        lambda: any(each.topic == status and each.payload for each in observer.seen),
        THERE,
    ):
        raise NotThereError(f"no bridge has said anything on {status}")
    await observer.quiet()
    record = Record(topics.base, observer.seen, {}, 0, 0)
    if BRIDGE not in record.devices or (last := record.bridge.last("status")) is None:
        return  # it says something that cannot be read: that is for the checks
    if last.state != "online":
        raise NotThereError(f"{status} says that it is {last.state}")


async def _caller(
    observer: Observer, endpoint: Endpoint, topics: Topics, device: str | None
) -> Caller:
    record = Record(topics.base, observer.seen, {}, 0, 0)
    said = [
        (name, *(each.last(channel) for channel in ("info", "status", "state")))
        for name, each in record.devices.items()
    ]
    devices = [Target(*each) for each in said if None not in each]
    if device and not any(each.name == device for each in devices):
        raise NotThereError(
            f"{topics.base}{device} has no status, info and state that could be read"
        )
    if not any(each.name == BRIDGE for each in devices):
        raise NotThereError(
            f"{topics.base}{BRIDGE} has no status, info and state that could be read"
        )
    caller = Caller(observer, endpoint, topics.root, topics.bridge, devices)
    # Filters must not overlap: a broker may send a message once for each of them.
    unknown = [f"{topics.base}{caller.nobody}/#"] if device else []
    await observer.subscribe([f"{caller.private(1)}/#", caller.elsewhere, *unknown])
    return caller


def _check_same(record: Record) -> None:
    """Raise NotThereError unless one process was there all the time."""
    if BRIDGE not in record.devices or record.bridge.last("status") is None:
        return
    boots = list(dict.fromkeys(told.said.boot for told in record.bridge.said["status"]))
    if len(boots) > 1:
        raise NotThereError(
            f"the bridge has started anew meanwhile (boot {' then '.join(boots)}); "
            f"look again"
        )
