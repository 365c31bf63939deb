"""Check of a connection that breaks (5), only with --all: the bridge is cut off."""

import contextlib
from collections.abc import AsyncIterator

import msgspec

from busbar.cli.check.conformance.caller import Caller, Outcome
from busbar.cli.check.conformance.checks import NotTriedError, Verdict, active, verdict
from busbar.cli.observe import kept, take_over
from busbar.contract.messages import Status

BACK = 12.0  # s; a bridge tries again after 3 s at most
ANNOUNCED = ("status", "info", "state")


@active(
    "5",
    (
        "After a reconnect every device is announced again, then the bridge; what is "
        "retained is not executed"
    ),
    "a reconnect",
    everything=True,
)
async def reconnect(caller: Caller) -> AsyncIterator[Verdict]:
    command = f"call/replayed-{caller.token}"
    topic = f"{caller.base}bridge/{command}"
    await caller.ask("bridge", command, {}, retain=True)
    mark = len(caller.observer.seen)
    try:
        root = caller.root.replace("/", ".")
        client = f"{root}.{caller.bridge}"
        await take_over(caller.endpoint, client)
        back = await caller.observer.until(lambda: _is_announced(caller, mark), BACK)
        if not back and not _statuses(caller, mark, "offline"):
            raise NotTriedError(
                "the broker does not let us break the bridge's connection by its "
                "client id"
            )
        yield verdict(
            back,
            f"{caller.bridge}: announces nothing {BACK:g} s after its connection broke",
        )
        yield _last_will(caller, mark)
        for device in caller.devices:
            yield _missing(caller, device.name, mark)
        replayed = await _replayed(caller, mark, topic)
        yield replayed.expect("retained")
        yield await _cleared(caller, topic)
    finally:
        caller.observer.publish(topic, b"", retain=True)


def _is_announced(caller: Caller, mark: int) -> bool:
    """Return whether every device was announced again, and the bridge is online."""
    came = caller.topics_since(mark)
    for device in caller.devices:
        if not came.issuperset(_announcements(caller, device.name)):
            return False
    return bool(_statuses(caller, mark, "online"))


def _announcements(caller: Caller, device: str) -> list[str]:
    return [f"{caller.base}{device}/{channel}" for channel in ANNOUNCED]


def _last_will(caller: Caller, mark: int) -> Verdict:
    boot = caller.own.status.boot
    for will in _statuses(caller, mark, "offline").values():
        if will.boot != boot or will.since is not None:
            return f"the will is {will}: it needs boot {boot} and since null"
    return None


def _missing(caller: Caller, device: str, mark: int) -> Verdict:
    """Return what of a device came only after the bridge said that it is online."""
    online = max(_statuses(caller, mark, "online"), default=mark - 1)
    seen = caller.observer.seen[mark : online + 1]
    before = {each.topic for each in seen}
    for channel, topic in zip(ANNOUNCED, _announcements(caller, device), strict=True):
        if topic not in before:
            return f"{device}: {channel} is not announced before the bridge is online"
    return None


def _statuses(caller: Caller, mark: int, state: str) -> dict[int, Status]:
    """Return what the bridge said of itself with a state, by place."""
    found = {}
    for index, seen in enumerate(caller.observer.seen[mark:], mark):
        if seen.topic == f"{caller.base}bridge/status" and seen.payload:
            # the check of shapes reports it
            with contextlib.suppress(msgspec.MsgspecError):
                status = msgspec.json.decode(seen.payload, type=Status)
                if status.state == state:
                    found[index] = status
    return found


async def _replayed(caller: Caller, mark: int, topic: str) -> Outcome:
    """Return the outcome of the retained command that the broker has sent again."""
    target = topic.removeprefix(f"{caller.base}bridge/")
    (key,) = [each for each in caller.sent if each[:2] == ("bridge", target)]
    caller.sent[key] += 1
    return await caller.outcome(mark, Outcome(topic, b""), key[2])


async def _cleared(caller: Caller, topic: str) -> Verdict:
    if await caller.observer.until(lambda: _is_cleared(caller, topic), 2.0):
        return None
    left = topic in await kept(caller.endpoint, topic)
    return verdict(not left, f"{topic}: the retained command was not cleared")


def _is_cleared(caller: Caller, topic: str) -> bool:
    for each in caller.observer.seen:
        if each.topic == topic and not each.payload:
            return True
    return False
