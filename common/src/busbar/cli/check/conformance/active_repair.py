"""Check of what others publish in the name of a bridge (5), only with --all."""

from collections.abc import AsyncIterator, Mapping
from typing import Any

import msgspec

from busbar.cli.check.conformance.caller import PATIENCE, Caller
from busbar.cli.check.conformance.checks import NotTriedError, Verdict, active, verdict
from busbar.contract import messages

REPAIRED = 10.0  # s; a second is allowed, a busy machine is late
FORGED: Mapping[str, Mapping[str, Any]] = {  # harmless to readers, and not the bridge's
    "status": {"reason": {"code": "internal", "message": "busbar conformance"}},
    "info": {"name": "busbar conformance"},
}


@active(
    "5",
    "What others publish on status and info is repaired, also when they clear it",
    "a device",
    everything=True,
)
async def repaired(caller: Caller) -> AsyncIterator[Verdict]:
    for device in caller.devices:
        for channel, change in FORGED.items():
            topic = f"{caller.base}{device.name}/{channel}"
            genuine = _newest(caller, topic)
            other = msgspec.json.decode(genuine, type=dict[str, Any])
            for payload in (messages.encode({**other, **change}), b""):
                try:
                    yield await _repair(caller, topic, payload)
                finally:
                    if _newest(caller, topic) == payload:
                        caller.observer.publish(topic, genuine, retain=True)


async def _repair(caller: Caller, topic: str, payload: bytes) -> Verdict:
    """Publish what is not true; return what is wrong unless it is soon repaired."""
    mark = len(caller.observer.seen)
    caller.observer.publish(topic, payload, retain=True)
    if not await caller.observer.until(
        lambda: payload in _payloads(caller, topic, mark), PATIENCE
    ):
        raise NotTriedError(caller.not_passed_on(topic))
    came = await caller.observer.until(
        lambda: _payloads(caller, topic, mark)[-1] not in (payload, b""), REPAIRED
    )
    what = "another payload" if payload else "an empty payload"
    return verdict(came, f"{topic}: {what} of ours stays for {REPAIRED:g} s")


def _newest(caller: Caller, topic: str) -> bytes:
    return _payloads(caller, topic, 0)[-1]


def _payloads(caller: Caller, topic: str, mark: int) -> list[bytes]:
    seen = caller.observer.seen[mark:]
    return [each.payload for each in seen if each.topic == topic]
