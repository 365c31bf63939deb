"""Locks and ids that make a command idempotent (section 2)."""

import contextlib
import math
from collections.abc import AsyncIterator
from typing import Any

from busbar.cli.check.conformance.caller import Caller, Outcome, Target
from busbar.cli.check.conformance.checks import NotTriedError, Verdict, active
from busbar.contract.messages import ReplyError

OWNER = "busbar conformance"
TTL = 20.0  # s; ends by itself should we be stopped
# s that the end of a lock may differ from what was asked, on a busy machine
CLOSE = 5.0


@contextlib.asynccontextmanager
async def lock(
    caller: Caller, device: Target, **arguments: Any
) -> AsyncIterator[Outcome]:
    """Hold a lock; one that was not granted is the outcome of the attempt."""
    outcome = await caller.ask(
        device.name, "call/lock", {"ttl": TTL, "owner": OWNER, **arguments}
    )
    try:
        yield outcome
    finally:
        if outcome.code == "ok":
            await caller.ask(device.name, "call/unlock", {"_lease": lease(outcome)})


def lease(outcome: Outcome) -> Any:
    """Return the token of a lock."""
    return outcome.result.get("lease") if isinstance(outcome.result, dict) else None


def free(caller: Caller) -> list[Target]:
    """Return the devices that nobody has locked; raise NotTriedError if there are none."""
    found = [
        device for device in caller.devices if device.state.values.get("_lock") is None
    ]
    if not found:
        raise NotTriedError("somebody has locked every device")
    return found


@active(
    "2",
    ("`lock` gives a lease and its end; with `_lease` it renews"),
    "a device that is not locked",
    everything=True,
)
async def grants(caller: Caller) -> AsyncIterator[Verdict]:
    for device in free(caller):
        async with lock(caller, device) as held:
            yield held.expect("ok")
            if held.reply and held.code == "ok":
                yield _ends(held, TTL)
                again = await caller.ask(
                    device.name, "call/lock", {"ttl": 3 * TTL, "_lease": lease(held)}
                )
                yield again.expect("ok") or _ends(again, 3 * TTL)


def _ends(held: Outcome, ttl: float) -> Verdict:
    until = held.result.get("until") if isinstance(held.result, dict) else None
    end = until if isinstance(until, int | float) else math.inf
    fine = (
        isinstance(lease(held), str)
        and held.reply
        and abs(end - held.reply.time - ttl) < CLOSE
    )
    return (
        None
        if fine
        else (f"{held.topic}: {held.result} is no lease that ends in {ttl:g} s")
    )


@active(
    "2",
    "Others fail with `locked` and are told the owner; `unlock` needs the lease",
    "a device that is not locked",
    everything=True,
)
async def keeps_others_out(caller: Caller) -> AsyncIterator[Verdict]:
    for device in free(caller):
        async with lock(caller, device) as held:
            if held.code != "ok":
                continue
            other = await caller.ask(
                device.name, "call/lock", {"ttl": 1, "owner": "somebody else"}
            )
            yield other.expect("locked")
            error = other.reply.error if other.reply else None
            told = isinstance(error, ReplyError) and OWNER in error.detail.values()
            yield None if told else f"{other.topic}: the owner is not in error.detail"
            yield (await caller.ask(device.name, "call/unlock", {})).expect("locked")


@active(
    "2",
    ("`state/_lock` shows the owner and the end, then null"),
    "a device that is not locked",
    everything=True,
)
async def shows(caller: Caller) -> AsyncIterator[Verdict]:
    for device in free(caller):
        mark = len(caller.observer.seen)
        async with lock(caller, device) as held:
            if held.code != "ok":
                continue
            shown = await caller.until_value(device.name, "_lock", _is_ours, mark)
            yield (
                None
                if shown
                else (f"{device.name}: _lock does not show the owner and the end")
            )
            mark = len(caller.observer.seen)
        gone = await caller.until_value(
            device.name, "_lock", lambda value: value is None, mark
        )
        yield None if gone else f"{device.name}: _lock is not null after `unlock`"


def _is_ours(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and value.get("owner") == OWNER
        and bool(value.get("until"))
    )


@active(
    "2",
    "A safe command passes a lock",
    "a device that is online and not locked",
    everything=True,
)
async def safe_passes(caller: Caller) -> AsyncIterator[Verdict]:
    for device in free(caller):
        refresh = device.info.commands.get("refresh")
        if device.online and refresh and refresh.safe:
            async with lock(caller, device) as held:
                if held.code == "ok":
                    outcome = await caller.ask(
                        device.name, "call/refresh", {}, limit=refresh.timeout
                    )
                    yield outcome.expect("ok", "device", "timeout")


@active("2", "A lock ends by itself", "a device that is not locked", everything=True)
async def ends(caller: Caller) -> AsyncIterator[Verdict]:
    for device in free(caller):
        held = await caller.ask(device.name, "call/lock", {"ttl": 0.2, "owner": OWNER})
        if held.code == "ok":
            mark = len(caller.observer.seen)
            gone = await caller.until_value(
                device.name, "_lock", lambda value: value is None, mark
            )
            yield None if gone else f"{device.name}: _lock is not null after its end"
            async with lock(caller, device) as again:
                yield again.expect("ok")


@active("2", "A lock lasts an hour at most", "a device", everything=True)
async def longest(caller: Caller) -> AsyncIterator[Verdict]:
    for device in free(caller):
        async with lock(caller, device, ttl=3601) as held:
            yield held.expect("out_of_range", "bad_request")


@active(
    "2",
    ("With `_wait` a lock is granted when the other one ends"),
    "a device that is not locked",
    everything=True,
)
async def waits(caller: Caller) -> AsyncIterator[Verdict]:
    for device in free(caller):
        mark = len(caller.observer.seen)
        async with lock(caller, device) as held:
            if held.code != "ok":
                continue
            early = await caller.ask(
                device.name,
                "call/lock",
                {"ttl": TTL, "_wait": 20, "_id": "waiting"},
                limit=0.3,
            )
            yield f"{early.topic}: did not wait" if early.reply else None
        late = await caller.outcome(mark, early, "waiting")
        yield late.expect("ok")
        await caller.ask(device.name, "call/unlock", {"_lease": lease(late)})


@active(
    "2",
    (
        "A command with a known id of 8 characters is not run again; other arguments "
        "are "
        "`duplicate`"
    ),
    "a device",
    everything=True,
)
async def once(caller: Caller) -> AsyncIterator[Verdict]:
    for device in free(caller):
        id_ = f"conformance-{caller.token}-{device.name}"
        async with lock(caller, device, _id=id_) as held:
            if held.code != "ok":
                continue
            wanted = {"ttl": TTL, "owner": OWNER, "_id": id_}
            again = await caller.ask(device.name, "call/lock", wanted)
            same = again.reply == held.reply
            yield (
                None
                if same
                else (
                    f"{again.topic}: sent twice with one id: "
                    f"{again.code}, {again.result}"
                )
            )
            other = await caller.ask(
                device.name, "call/lock", {**wanted, "ttl": TTL + 1}
            )
            yield other.expect("duplicate")


@active(
    "2",
    ("A command that was refused before it started may be tried again with its id"),
    "a device",
    everything=True,
)
async def again(caller: Caller) -> AsyncIterator[Verdict]:
    for device in free(caller):
        id_ = f"again-{caller.token}-{device.name}"
        async with lock(caller, device) as held:
            if held.code != "ok":
                continue
            yield (
                await caller.ask(device.name, "call/lock", {"ttl": TTL, "_id": id_})
            ).expect("locked")
        second = await caller.ask(device.name, "call/lock", {"ttl": TTL, "_id": id_})
        yield second.expect("ok")
        await caller.ask(device.name, "call/unlock", {"_lease": lease(second)})
