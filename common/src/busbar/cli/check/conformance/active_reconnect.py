"""What a bridge does when its connection breaks (section 5).

Only with --all: the bridge is cut off once.
"""

import contextlib
from collections.abc import AsyncIterator, Iterator

import msgspec

from busbar.cli.check.conformance.caller import Caller, Outcome
from busbar.cli.check.conformance.checks import NotTriedError, Verdict, active
from busbar.cli.observe import kept, take_over
from busbar.contract.messages import Status

BACK = 12.0  # s; a bridge tries again after 3 s at most
ANNOUNCED = ("status", "info", "state")


@active("5", (
    "After a reconnect every device is announced anew, then the bridge; what is "
    "retained is not executed"
),
        "a reconnect", everything=True)  # fmt: skip
async def reconnect(caller: Caller) -> AsyncIterator[Verdict]:
    command = f"call/replayed-{caller.token}"
    topic = f"{caller.base}bridge/{command}"
    await caller.ask("bridge", command, {}, retain=True)
    mark = len(caller.observer.seen)
    try:
        await take_over(
            caller.endpoint, f"{caller.root.replace('/', '.')}.{caller.bridge}"
        )
        back = await caller.observer.until(lambda: _announced(caller, mark), BACK)
        if not back and not _will(caller, mark):
            raise NotTriedError(
                "the broker does not let us break the bridge's connection by its "
                "client id"
            )
        yield (
            None
            if back
            else (
                f"{caller.bridge}: announces nothing {BACK:g} "
                f"s after its connection broke"
            )
        )
        yield _last_will(caller, mark)
        for device in caller.devices:
            yield _missing(caller, device.name, mark)
        replayed = await _replayed(caller, mark, topic)
        yield replayed.expect("retained")
        yield await _cleared(caller, topic)
    finally:
        caller.observer.publish(topic, b"", retain=True)


def _announced(caller: Caller, mark: int) -> bool:
    """True once every device has been announced again, and the bridge is online."""
    came = {each.topic for each in caller.observer.seen[mark:]}
    wanted = {
        f"{caller.base}{device.name}/{channel}"
        for device in caller.devices
        for channel in ANNOUNCED
    }
    return wanted <= came and bool(_online(caller, mark))


def _online(caller: Caller, mark: int) -> list[int]:
    """Return where the bridge says that it is online."""
    return [index for index, said in _statuses(caller, mark) if said.state == "online"]


def _will(caller: Caller, mark: int) -> list[Status]:
    return [said for _, said in _statuses(caller, mark) if said.state == "offline"]


def _last_will(caller: Caller, mark: int) -> Verdict:
    boot = caller.own.status.boot
    wrong = [
        will
        for will in _will(caller, mark)
        if will.boot != boot or will.since is not None
    ]
    return (
        (f"the will is {wrong[0]}: it needs boot {boot} and since null")
        if wrong
        else None
    )


def _missing(caller: Caller, device: str, mark: int) -> Verdict:
    """Return what of a device was not announced before the bridge said that it is online."""
    online = _online(caller, mark)
    before = (
        {each.topic for each in caller.observer.seen[mark : online[-1] + 1]}
        if online
        else set()
    )
    missing = [
        each for each in ANNOUNCED if f"{caller.base}{device}/{each}" not in before
    ]
    return (
        (f"{device}: {missing[0]} is not announced before the bridge is online")
        if missing
        else None
    )


def _statuses(caller: Caller, mark: int) -> Iterator[tuple[int, Status]]:
    for index, seen in enumerate(caller.observer.seen[mark:], mark):
        if seen.topic == f"{caller.base}bridge/status" and seen.payload:
            # the check of shapes reports it
            with contextlib.suppress(msgspec.MsgspecError):
                yield index, msgspec.json.decode(seen.payload, type=Status)


async def _replayed(caller: Caller, mark: int, topic: str) -> Outcome:
    """Return the outcome of the retained command that the broker has sent again."""
    id_ = next(
        key[2] for key in caller.sent if f"{caller.base}{key[0]}/{key[1]}" == topic
    )
    caller.sent["bridge", topic.removeprefix(f"{caller.base}bridge/"), id_] += 1
    return await caller.outcome(mark, Outcome(topic, b""), id_)


async def _cleared(caller: Caller, topic: str) -> Verdict:
    cleared = await caller.observer.until(lambda: _is_cleared(caller, topic), 2.0)
    left = topic in await kept(caller.endpoint, topic) if not cleared else False
    return f"{topic}: the retained command was not cleared" if left else None


def _is_cleared(caller: Caller, topic: str) -> bool:
    return any(
        each.topic == topic and not each.payload for each in caller.observer.seen
    )
