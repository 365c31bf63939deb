"""Checks of locks, and of ids that make a command idempotent (2)."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from busbar.cli.check.conformance.caller import Caller, Outcome, Target
from busbar.cli.check.conformance.checks import NotTriedError, Verdict, active, verdict
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
    wanted = {"ttl": TTL, "owner": OWNER, **arguments}
    outcome = await caller.ask(device.name, "call/lock", wanted)
    try:
        yield outcome
    finally:
        if outcome.code == "ok":
            await caller.ask(device.name, "call/unlock", {"_lease": lease(outcome)})


def lease(outcome: Outcome) -> Any:
    """Return the token of a lock."""
    return _field(outcome, "lease")


def _field(outcome: Outcome, key: str) -> Any:
    """Return a field of the result, None if there is none."""
    if not isinstance(outcome.result, dict):
        return None
    return outcome.result.get(key)


def free(caller: Caller) -> list[Target]:
    """Return the devices that nobody has locked; raise NotTriedError if all are."""
    devices = caller.devices
    found = [each for each in devices if each.state.values.get("_lock") is None]
    if not found:
        raise NotTriedError("somebody has locked every device")
    return found


@active(
    "2",
    "`lock` gives a lease and its end; with `_lease` it renews",
    "a device that is not locked",
    everything=True,
)
async def grants(caller: Caller) -> AsyncIterator[Verdict]:
    for device in free(caller):
        async with lock(caller, device) as held:
            yield held.expect("ok")
            if held.reply and held.code == "ok":
                yield _ends(held, TTL)
                longer = {"ttl": 3 * TTL, "_lease": lease(held)}
                again = await caller.ask(device.name, "call/lock", longer)
                yield again.expect("ok") or _ends(again, 3 * TTL)


def _ends(held: Outcome, ttl: float) -> Verdict:
    return verdict(
        _is_lease(held, ttl),
        f"{held.topic}: {held.result} is no lease that ends in {ttl:g} s",
    )


def _is_lease(held: Outcome, ttl: float) -> bool:
    end = _field(held, "until")
    if held.reply is None or not isinstance(end, int | float):
        return False
    late = end - held.reply.time - ttl
    return isinstance(lease(held), str) and abs(late) < CLOSE


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
            stranger = {"ttl": 1, "owner": "somebody else"}
            other = await caller.ask(device.name, "call/lock", stranger)
            yield other.expect("locked")
            yield verdict(
                _names_owner(other), f"{other.topic}: the owner is not in error.detail"
            )
            yield (await caller.ask(device.name, "call/unlock", {})).expect("locked")


def _names_owner(outcome: Outcome) -> bool:
    if outcome.reply is None:
        return False
    error = outcome.reply.error
    return isinstance(error, ReplyError) and OWNER in error.detail.values()


@active(
    "2",
    "`state/_lock` shows the owner and the end, then null",
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
            yield verdict(
                shown, f"{device.name}: _lock does not show the owner and the end"
            )
            mark = len(caller.observer.seen)
        gone = await caller.until_value(device.name, "_lock", _is_null, mark)
        yield verdict(gone, f"{device.name}: _lock is not null after `unlock`")


def _is_ours(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    return value.get("owner") == OWNER and bool(value.get("until"))


def _is_null(value: Any) -> bool:
    return value is None


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
            limit = refresh.timeout
            async with lock(caller, device) as held:
                if held.code == "ok":
                    outcome = await caller.ask(
                        device.name, "call/refresh", {}, limit=limit
                    )
                    yield outcome.expect("ok", "device", "timeout")


@active("2", "A lock ends by itself", "a device that is not locked", everything=True)
async def ends(caller: Caller) -> AsyncIterator[Verdict]:
    for device in free(caller):
        held = await caller.ask(device.name, "call/lock", {"ttl": 0.2, "owner": OWNER})
        if held.code == "ok":
            mark = len(caller.observer.seen)
            gone = await caller.until_value(device.name, "_lock", _is_null, mark)
            yield verdict(gone, f"{device.name}: _lock is not null after its end")
            async with lock(caller, device) as again:
                yield again.expect("ok")


@active("2", "A lock lasts an hour at most", "a device", everything=True)
async def longest(caller: Caller) -> AsyncIterator[Verdict]:
    for device in free(caller):
        async with lock(caller, device, ttl=3601) as held:
            yield held.expect("out_of_range", "bad_request")


@active(
    "2",
    "With `_wait` a lock is granted when the other one ends",
    "a device that is not locked",
    everything=True,
)
async def waits(caller: Caller) -> AsyncIterator[Verdict]:
    for device in free(caller):
        mark = len(caller.observer.seen)
        async with lock(caller, device) as held:
            if held.code != "ok":
                continue
            wanted = {"ttl": TTL, "_wait": 20, "_id": "waiting"}
            early = await caller.ask(device.name, "call/lock", wanted, limit=0.3)
            yield verdict(early.reply is None, f"{early.topic}: did not wait")
        late = await caller.outcome(mark, early, "waiting")
        yield late.expect("ok")
        await caller.ask(device.name, "call/unlock", {"_lease": lease(late)})


@active(
    "2",
    (
        "A command with a known id of 8 characters is not run again; other arguments "
        "are `duplicate`"
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
            yield verdict(
                again.reply == held.reply,
                f"{again.topic}: sent twice with one id: {again.code}, {again.result}",
            )
            different = {**wanted, "ttl": TTL + 1}
            other = await caller.ask(device.name, "call/lock", different)
            yield other.expect("duplicate")


@active(
    "2",
    "A command that was refused before it started may be tried again with its id",
    "a device",
    everything=True,
)
async def again(caller: Caller) -> AsyncIterator[Verdict]:
    for device in free(caller):
        wanted = {"ttl": TTL, "_id": f"again-{caller.token}-{device.name}"}
        async with lock(caller, device) as held:
            if held.code != "ok":
                continue
            refused = await caller.ask(device.name, "call/lock", wanted)
            yield refused.expect("locked")
        second = await caller.ask(device.name, "call/lock", wanted)
        yield second.expect("ok")
        await caller.ask(device.name, "call/unlock", {"_lease": lease(second)})
