"""Checks of commands that no device ever sees: targets, payloads, refusals (2)."""

import time
from collections.abc import AsyncIterator
from typing import Any

import msgspec
from msgspec import UNSET

from busbar.cli.check.conformance.caller import PATIENCE, TTL, Caller, Target
from busbar.cli.check.conformance.checks import NotTriedError, Verdict, active, verdict
from busbar.cli.observe import GRACE
from busbar.cli.schemas.json_schema import problem
from busbar.contract import messages

NOTHING_TO_CANCEL = ("unknown", "ok")
LARGE = b"[" * (messages.COMMAND_LIMIT + 1)
CLOCKS = 4.0  # s that clocks may differ for a check of `_sent` (its margin is 5 s)
REFUSED_BY_DEVICE = (
    "ok",
    "device",
    "offline",
    "timeout",
    "link",
    "cancelled",
    "protocol",
    "overloaded",
    "expired",
    "forbidden",
    "too_large",
)
MALFORMED = {
    "set": [
        b"3",
        b"{",
        b'{"a": 1e999}',
        b"[" * 40,
        b'{"a":' * 40 + b"1" + b"}" * 40,
        b"\x81\xa1",
    ],
    "call/cancel": [
        b'{"idd": "x"}',
        b'{"id": "x", "_tll": 1}',
        b'{"id": "x", "_ttl": "soon"}',
        b'{"id": "x", "extra": 1}',
        b"{}",
    ],
}


@active("2", "An unknown command is `unknown`", "a device")
async def unknown_command(caller: Caller) -> AsyncIterator[Verdict]:
    for device in caller.devices:
        outcome = await caller.ask(device.name, f"call/{caller.unused}", {})
        yield outcome.expect("unknown")


@active("2", "An unknown property is `unknown`, in `set` of several too", "a device")
async def unknown_property(caller: Caller) -> AsyncIterator[Verdict]:
    for device in caller.devices:
        one = await caller.ask(device.name, f"set/{caller.unused}", b"1")
        yield one.expect("unknown")
        several = await caller.ask(device.name, "set", {caller.unused: 1})
        yield several.expect("unknown")


@active("2", "An unknown device is `unknown`", "the bridge")
async def unknown_device(caller: Caller) -> AsyncIterator[Verdict]:
    outcome = await caller.ask(caller.unused, "call/refresh", {})
    yield outcome.expect("unknown")


@active(
    "2",
    "Malformed payloads, unknown arguments and misspelt metadata are `bad_request`",
    "a device",
)
async def malformed(caller: Caller) -> AsyncIterator[Verdict]:
    for device in caller.devices:
        for target, payloads in MALFORMED.items():
            for payload in payloads:
                outcome = await caller.ask(device.name, target, payload)
                yield outcome.expect("bad_request")


@active("2", "A payload above the limit is refused", "the bridge")
async def large(caller: Caller) -> AsyncIterator[Verdict]:
    outcome = await caller.ask("bridge", "set", LARGE)
    yield outcome.expect("too_large", "bad_request")


@active(
    "2",
    "A read-only property is `read_only`",
    "a read-only property with a good value",
    everything=True,
)
async def read_only(caller: Caller) -> AsyncIterator[Verdict]:
    for device in caller.devices:
        for path in _good_read_only(device)[:3]:
            value = {"_value": device.good(path)}
            outcome = await caller.ask(device.name, f"set/{path}", value)
            yield outcome.expect("read_only")


def _good_read_only(device: Target) -> list[str]:
    """Return the read-only properties of which the value is known."""
    found = []
    for path, about in device.info.properties.items():
        read_only = about.access == "r" and "{" not in path
        if read_only and device.good(path) is not UNSET:
            found.append(path)
    return found


@active("2", "An empty payload is ignored on every command topic", "a device")
async def empty(caller: Caller) -> AsyncIterator[Verdict]:
    for device in caller.devices:
        mark = len(caller.observer.seen)
        targets = [f"call/empty-{caller.token}", f"set/empty-{caller.token}", "set"]
        for target in targets:
            caller.observer.publish(f"{caller.base}{device.name}/{target}", b"")
        await caller.ask(device.name, "call/cancel", {"id": caller.unused})
        answered = {
            reply.target for _, reply in caller.replies(mark) if reply.id is None
        }
        wrong = min(answered.intersection(targets), default=None)
        yield verdict(
            wrong is None, f"{device.name}: an empty payload on {wrong} got an outcome"
        )


@active(
    "2",
    "`cancel` of what does not run does nothing, in every form of the payload",
    "a device",
)
async def cancel(caller: Caller) -> AsyncIterator[Verdict]:
    payloads: tuple[dict[str, str] | bytes, ...] = (
        {"id": caller.unused},
        {"_value": caller.unused},
        caller.unused.encode(),
        msgspec.msgpack.encode({"id": caller.unused}),
    )
    for device in caller.devices:
        for payload in payloads:
            outcome = await caller.ask(device.name, "call/cancel", payload)
            yield outcome.expect(*NOTHING_TO_CANCEL)


@active("2", "A live retained command counts like any other", "a device")
async def live_retained(caller: Caller) -> AsyncIterator[Verdict]:
    for device in caller.devices:
        target = f"call/retained-{caller.token}"
        outcome = await caller.ask(device.name, target, {}, retain=True)
        caller.observer.publish(
            f"{caller.base}{device.name}/{target}", b"", retain=True
        )
        yield outcome.expect("unknown")


@active(
    "2",
    (
        "`list` of the bridge names its devices: device, kind, address, status, since, "
        "locked_by"
    ),
    "the bridge",
)
async def listing(caller: Caller) -> AsyncIterator[Verdict]:
    outcome = await caller.ask("bridge", "call/list", {})
    rows: dict[str, dict[str, Any]] = {}
    if outcome.code == "ok" and isinstance(outcome.result, list):
        for row in outcome.result:
            if isinstance(row, dict):
                rows.setdefault(str(row.get("device")), row)
    for device in caller.devices:
        found = rows.get(device.name)
        if device.name == "bridge" and found is None:
            continue
        yield verdict(
            _is_row_of(device, found),
            f"{device.name}: {outcome.code}, its row is {found}",
        )


def _is_row_of(device: Target, row: dict[str, Any] | None) -> bool:
    wanted = {"device", "kind", "address", "status", "since", "locked_by"}
    if row is None or not wanted <= row.keys():
        return False
    return bool(row["kind"] == device.info.kind)


@active(
    "2",
    "Commands declared safe and without arguments have an outcome as declared",
    "a device that is online",
)
async def safe(caller: Caller) -> AsyncIterator[Verdict]:
    for device in caller.devices:
        if not device.online:
            continue
        for name, about in device.info.commands.items():
            if not about.safe or about.arguments.get("required"):
                continue
            limit = about.timeout + TTL + PATIENCE
            outcome = await caller.ask(device.name, f"call/{name}", {}, limit=limit)
            wrong = None
            if outcome.code == "ok":
                wrong = problem(outcome.result, about.result)
            yield verdict(
                wrong is None,
                f"{outcome.topic}: the result is not as declared: {wrong}",
            )
            yield outcome.expect(*REFUSED_BY_DEVICE)


@active(
    "2",
    "A device that is offline fails at once with `offline`",
    "a device that is offline",
)
async def offline(caller: Caller) -> AsyncIterator[Verdict]:
    for device in caller.devices:
        if device.status.state == "offline":
            outcome = await caller.ask(device.name, "call/refresh", {})
            yield outcome.expect("offline")


@active("2", "A command sent long ago is `expired`, one sent now is not", "the bridge")
async def sent(caller: Caller) -> AsyncIterator[Verdict]:
    if caller.own.good("clock") is not True:
        raise NotTriedError("the clock of the bridge is not synchronised")
    now = await caller.ask("bridge", "call/list", {"_sent": time.time()})
    if now.reply:
        ahead = now.reply.time - time.time()
        if abs(ahead) > CLOCKS:
            raise NotTriedError(f"its clock and ours differ by {ahead:.1f} s")
    yield now.expect("ok")
    hour_ago = time.time() - 3600
    old = await caller.ask("bridge", "call/list", {"_sent": hour_ago})
    yield old.expect("expired")
    patient = {"_sent": hour_ago, "_ttl": 7200}
    yield (await caller.ask("bridge", "call/list", patient)).expect("ok")


@active(
    "2",
    (
        "A reply topic outside <root>/reply/ with 1 to 4 levels is `forbidden`, and "
        "nothing comes there"
    ),
    "a device",
)
async def forbidden(caller: Caller) -> AsyncIterator[Verdict]:
    mark = len(caller.observer.seen)
    unused = {"id": caller.unused}
    topics = [
        caller.elsewhere,
        f"{caller.root}/reply/#",
        f"{caller.root}/reply",
        caller.private(5),
    ]
    asked = set(topics)
    for device in caller.devices:
        event = f"{caller.base}{device.name}/event/{caller.unused}"
        asked.add(event)
        for topic in [*topics, event]:
            wanted = {**unused, "_reply": topic}
            outcome = await caller.ask(device.name, "call/cancel", wanted)
            yield outcome.expect("forbidden")
    await caller.observer.listen(GRACE)
    wrong = min(caller.topics_since(mark) & asked, default=None)
    yield verdict(wrong is None, f"published on {wrong}")
    await caller.check_heard(caller.elsewhere)
