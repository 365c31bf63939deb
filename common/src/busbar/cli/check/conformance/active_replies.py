"""Checks of replies: where outcomes go and how they find their sender (2, 3.5)."""

from collections.abc import AsyncIterator
from typing import Any

from msgspec import UNSET

from busbar.cli.check.conformance.active_commands import NOTHING_TO_CANCEL
from busbar.cli.check.conformance.caller import Caller, Outcome
from busbar.cli.check.conformance.checks import NotTriedError, Verdict, active, verdict

IDS: tuple[Any, ...] = ("a", 7, "an id with spaces / and ✓")


@active("2", "`_id` is echoed, as text or integer", "a device")
async def ids(caller: Caller) -> AsyncIterator[Verdict]:
    for device in caller.devices:
        for id_ in IDS:
            wanted = {"id": caller.unused, "_id": id_}
            outcome = await caller.ask(device.name, "call/cancel", wanted)
            yield _echoes(outcome, id_)


@active("2", "The id of a command that is refused is echoed, too", "a device")
async def ids_of_refused(caller: Caller) -> AsyncIterator[Verdict]:
    for device in caller.devices:
        wanted = {"idd": caller.unused, "_id": "refused"}
        outcome = await caller.ask(device.name, "call/cancel", wanted)
        yield _echoes(outcome, "refused")


@active(
    "2",
    "The outcome goes to a private reply topic of 1 to 4 levels, and to `reply`",
    "a device",
)
async def private(caller: Caller) -> AsyncIterator[Verdict]:
    for device in caller.devices:
        for levels in (1, 4):
            mark = len(caller.observer.seen)
            topic = caller.private(levels)
            wanted = {"id": caller.unused, "_reply": topic}
            outcome = await caller.ask(device.name, "call/cancel", wanted)
            yield outcome.expect(*NOTHING_TO_CANCEL)
            if not await _comes(caller, topic, mark):
                await caller.check_heard(topic)
                yield f"{device.name}: nothing came on {topic}"


@active("2", "The device's own `reply` as reply topic counts as absent", "a device")
async def own_reply(caller: Caller) -> AsyncIterator[Verdict]:
    for device in caller.devices:
        wanted = {"id": caller.unused, "_reply": f"{caller.base}{device.name}/reply"}
        outcome = await caller.ask(device.name, "call/cancel", wanted)
        yield outcome.expect(*NOTHING_TO_CANCEL)


@active("2", "MQTT 5: Correlation Data is echoed", "a device")
async def correlation(caller: Caller) -> AsyncIterator[Verdict]:
    if caller.endpoint.protocol != "5":
        raise NotTriedError("needs --protocol 5")
    mark = len(caller.observer.seen)
    for device in caller.devices:
        wanted = {"id": caller.unused, "_reply": caller.private(1)}
        data = f"{caller.token}-{device.name}".encode()
        await caller.ask(device.name, "call/cancel", wanted, correlation=data)
        await _comes(caller, caller.private(1), mark)
    replies = [seen for seen, _ in caller.replies(mark)]
    if not any(each.correlation for each in replies):
        raise NotTriedError(
            "no reply carries Correlation Data; right if the bridge itself is on "
            "MQTT 3.1.1"
        )
    for each in replies:
        data = each.correlation or b""
        yield verdict(
            data.startswith(caller.token.encode()),
            f"{each.topic}: Correlation Data is {each.correlation!r}",
        )


@active(
    "3.5", "A private reply has the same content as the public one", "a private reply"
)
async def same_content(caller: Caller) -> AsyncIterator[Verdict]:
    mark = len(caller.observer.seen)
    topic = caller.private(2)
    outcome = await caller.ask("bridge", "call/list", {"_reply": topic})
    await _comes(caller, topic, mark)
    for seen, reply in caller.replies(mark):
        if seen.topic == topic and outcome.reply is not None:
            fine = reply == outcome.reply or outcome.reply.size is not UNSET
            yield verdict(fine, f"{seen.topic} differs from the public reply")


def _echoes(outcome: Outcome, id_: Any) -> Verdict:
    found = outcome.reply.id if outcome.reply else None
    return verdict(
        found == id_,
        f"{outcome.topic}: the id in the outcome is {found!r}, not {id_!r}",
    )


async def _comes(caller: Caller, topic: str, mark: int) -> bool:
    """Wait until something has come on a topic since `mark`; return whether it did."""
    return await caller.until(lambda: topic in caller.topics_since(mark))
