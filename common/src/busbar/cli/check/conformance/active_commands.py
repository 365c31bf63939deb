"""Commands that no device ever sees.

Targets, forms of payloads, refusals (section 2), harmless by the contract.
"""

import time
from collections.abc import AsyncIterator

import msgspec
from msgspec import UNSET

from busbar.cli.check.conformance.caller import PATIENCE, TTL, Caller
from busbar.cli.check.conformance.checks import NotTriedError, Verdict, active
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
        yield (await caller.ask(device.name, f"call/{caller.nobody}", {})).expect(
            "unknown"
        )


@active("2", "An unknown property is `unknown`, in `set` of several too", "a device")
async def unknown_property(caller: Caller) -> AsyncIterator[Verdict]:
    for device in caller.devices:
        yield (await caller.ask(device.name, f"set/{caller.nobody}", b"1")).expect(
            "unknown"
        )
        yield (await caller.ask(device.name, "set", {caller.nobody: 1})).expect(
            "unknown"
        )


@active("2", "An unknown device is `unknown`", "the bridge")
async def unknown_device(caller: Caller) -> AsyncIterator[Verdict]:
    yield (await caller.ask(caller.nobody, "call/refresh", {})).expect("unknown")


@active(
    "2",
    ("Malformed payloads, unknown arguments and misspelt metadata are `bad_request`"),
    "a device",
)
async def malformed(caller: Caller) -> AsyncIterator[Verdict]:
    for device in caller.devices:
        for target, payloads in MALFORMED.items():
            for payload in payloads:
                yield (await caller.ask(device.name, target, payload)).expect(
                    "bad_request"
                )


@active("2", "A payload above the limit is refused", "the bridge")
async def large(caller: Caller) -> AsyncIterator[Verdict]:
    yield (await caller.ask("bridge", "set", LARGE)).expect("too_large", "bad_request")


@active(
    "2",
    "A read-only property is `read_only`",
    "a read-only property with a good value",
    everything=True,
)
async def read_only(caller: Caller) -> AsyncIterator[Verdict]:
    for device in caller.devices:
        readable = [
            path
            for path, about in device.info.properties.items()
            if about.access == "r" and "{" not in path
        ]
        for path in [path for path in readable if device.good(path) is not UNSET][:3]:
            outcome = await caller.ask(
                device.name, f"set/{path}", {"_value": device.good(path)}
            )
            yield outcome.expect("read_only")


@active("2", "An empty payload is ignored on every command topic", "a device")
async def empty(caller: Caller) -> AsyncIterator[Verdict]:
    for device in caller.devices:
        mark = len(caller.observer.seen)
        targets = [f"call/empty-{caller.token}", f"set/empty-{caller.token}", "set"]
        for target in targets:
            caller.observer.publish(f"{caller.base}{device.name}/{target}", b"")
        await caller.ask(device.name, "call/cancel", {"id": caller.nobody})
        answered = {
            reply.target for _, reply in caller.replies(mark) if reply.id is None
        } & set(targets)
        yield (
            (f"{device.name}: an empty payload on {sorted(answered)[0]} got an outcome")
            if answered
            else None
        )


@active(
    "2",
    ("`cancel` of what does not run does nothing, in every form of the payload"),
    "a device",
)
async def cancel(caller: Caller) -> AsyncIterator[Verdict]:
    packed = msgspec.msgpack.encode({"id": caller.nobody})
    for device in caller.devices:
        for payload in (
            {"id": caller.nobody},
            {"_value": caller.nobody},
            caller.nobody.encode(),
            packed,
        ):
            yield (await caller.ask(device.name, "call/cancel", payload)).expect(
                *NOTHING_TO_CANCEL
            )


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
    rows = (
        outcome.result
        if outcome.code == "ok" and isinstance(outcome.result, list)
        else []
    )
    wanted = {"device", "kind", "address", "status", "since", "locked_by"}
    for device in caller.devices:
        row = next(
            (
                row
                for row in rows
                if isinstance(row, dict) and row.get("device") == device.name
            ),
            None,
        )
        if device.name != "bridge" or row is not None:
            fine = (
                row is not None
                and wanted <= row.keys()
                and row["kind"] == device.info.kind
            )
            yield None if fine else f"{device.name}: {outcome.code}, its row is {row}"


@active(
    "2",
    ("Commands declared safe and without arguments have an outcome as declared"),
    "a device that is online",
)
async def safe(caller: Caller) -> AsyncIterator[Verdict]:
    for device in caller.devices:
        for name, about in device.info.commands.items() if device.online else ():
            if about.safe and not about.arguments.get("required"):
                outcome = await caller.ask(
                    device.name,
                    f"call/{name}",
                    {},
                    limit=about.timeout + TTL + PATIENCE,
                )
                wrong = (
                    problem(outcome.result, about.result)
                    if outcome.code == "ok"
                    else None
                )
                yield (
                    (f"{outcome.topic}: the result is not as declared: {wrong}")
                    if wrong
                    else None
                )
                yield outcome.expect(*REFUSED_BY_DEVICE)


@active(
    "2",
    ("A device that is offline fails at once with `offline`"),
    "a device that is offline",
)
async def offline(caller: Caller) -> AsyncIterator[Verdict]:
    for device in caller.devices:
        if device.status.state == "offline":
            yield (await caller.ask(device.name, "call/refresh", {})).expect("offline")


@active("2", "A command sent long ago is `expired`, one sent now is not", "the bridge")
async def sent(caller: Caller) -> AsyncIterator[Verdict]:
    if caller.own.good("clock") is not True:
        raise NotTriedError("the clock of the bridge is not synchronised")
    now = await caller.ask("bridge", "call/list", {"_sent": time.time()})
    if now.reply and abs(now.reply.time - time.time()) > CLOCKS:
        raise NotTriedError(
            f"its clock and ours differ by {now.reply.time - time.time():.1f} s"
        )
    yield now.expect("ok")
    yield (
        await caller.ask("bridge", "call/list", {"_sent": time.time() - 3600})
    ).expect("expired")
    yield (
        await caller.ask(
            "bridge", "call/list", {"_sent": time.time() - 3600, "_ttl": 7200}
        )
    ).expect("ok")


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
    own = [
        f"{caller.base}{device.name}/event/{caller.nobody}" for device in caller.devices
    ]
    topics = [
        caller.elsewhere,
        f"{caller.root}/reply/#",
        f"{caller.root}/reply",
        caller.private(5),
    ]
    for device, event in zip(caller.devices, own, strict=True):
        for topic in [*topics, event]:
            outcome = await caller.ask(
                device.name, "call/cancel", {"id": caller.nobody, "_reply": topic}
            )
            yield outcome.expect("forbidden")
    await caller.observer.listen(GRACE)
    there = {each.topic for each in caller.observer.seen[mark:]} & {*topics, *own}
    yield f"published on {sorted(there)[0]}" if there else None
