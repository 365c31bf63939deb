"""Sends commands as any client would, and waits for their outcomes."""

import itertools
import secrets
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec import UNSET

from busbar.cli.check.conformance.checks import NotTriedError, Verdict
from busbar.cli.check.conformance.record import split
from busbar.cli.observe import Observer, Seen
from busbar.contract import messages
from busbar.contract.messages import Info, Reply, State, Status
from busbar.contract.topics import BRIDGE
from busbar.net.endpoint import Endpoint

PATIENCE = 5.0  # s for the outcome of what need not wait for a device
IMPATIENCE = 0.5  # s, once several things never came
MISSES = 3
TTL = 10.0  # s that a command may wait unless it says otherwise (2)


@dataclass(frozen=True)
class Target:
    """One device as it was when the commands began."""

    name: str
    info: Info
    status: Status
    state: State

    @property
    def online(self) -> bool:
        return self.status.state == "online"

    def good(self, path: str) -> Any:
        """Return a value that is not bad, UNSET if there is none."""
        return UNSET if path in self.state.bad else self.state.values.get(path, UNSET)


@dataclass(frozen=True)
class Outcome:
    """What came of one command: `code` is `ok`, that of the error, or `nothing`."""

    topic: str
    payload: bytes
    seen: Seen | None = None
    reply: Reply | None = None

    @property
    def code(self) -> str:
        if self.reply is None:
            return "nothing"
        return (
            "ok"
            if self.reply.ok
            else str(getattr(self.reply.error, "code", "no error"))
        )

    @property
    def result(self) -> Any:
        return self.reply.result if self.reply else None

    def expect(self, *codes: str) -> Verdict:
        """Return what is wrong unless the outcome is one of these."""
        if self.code in codes:
            return None
        return (
            f"{self.topic} {messages.shown(self.payload)}: the outcome is {self.code}, "
            f"not {' or '.join(codes)}"
        )


class Caller:
    """One sender of commands.

    `devices` are those to command, the bridge's own among them.
    """

    def __init__(
        self,
        observer: Observer,
        endpoint: Endpoint,
        root: str,
        bridge: str,
        devices: list[Target],
    ) -> None:
        self.observer, self.endpoint, self.root, self.bridge = (
            observer,
            endpoint,
            root,
            bridge,
        )
        self.devices = devices
        self.base = f"{root}/{bridge}/"
        self.token = secrets.token_hex(3)
        self.nobody = f"nobody-{self.token}"  # an id, a name, a path that nothing has
        self.sent: Counter[tuple[str, str, Any]] = Counter()  # device, target, id
        self._numbers = itertools.count(1)
        self._misses = 0

    @property
    def own(self) -> Target:
        return next(each for each in self.devices if each.name == BRIDGE)

    def private(self, levels: int = 2) -> str:
        """Return a private reply topic that nobody else uses.

        So many levels below <root>/reply.
        """
        return "/".join(
            [
                self.root,
                "reply",
                f"conformance-{self.token}",
                *map(str, range(1, levels)),
            ]
        )

    @property
    def elsewhere(self) -> str:
        """A topic of ours where a bridge must never publish."""
        return f"conformance-{self.token}/elsewhere"

    def without(self, code: str) -> NotTriedError:
        """What to raise when no device has what a check needs."""
        return NotTriedError(f"no device has {code}")

    async def ask(
        self,
        device: str,
        target: str,
        payload: Mapping[str, Any] | bytes,
        *,
        retain: bool = False,
        correlation: bytes | None = None,
        limit: float = PATIENCE,
    ) -> Outcome:
        """Send a command and return its outcome.

        An object gets an id unless it has one.
        """
        id_ = None
        if not isinstance(payload, bytes):
            payload = {"_id": f"c{next(self._numbers):05d}", **payload}
            id_ = payload["_id"]
            payload = messages.encode(payload)
        topic = f"{self.base}{device}/{target}"
        mark = len(self.observer.seen)
        self.sent[device, target, id_] += 1
        self.observer.publish(topic, payload, retain=retain, correlation=correlation)
        return await self.outcome(mark, Outcome(topic, payload), id_, limit)

    async def outcome(
        self, mark: int, sent: Outcome, id_: Any, limit: float = PATIENCE
    ) -> Outcome:
        """Wait for the outcome of a command among the messages since `mark`."""
        device, *rest = sent.topic.removeprefix(self.base).split("/")
        target = "/".join(rest)
        found: list[tuple[Seen, Reply]] = []
        cursor = mark

        def arrived() -> bool:
            nonlocal cursor
            new, cursor = cursor, len(self.observer.seen)
            # One without an id is taken for ours, so that a bridge that loses ids is
            # found out in seconds.
            fitting = (
                each
                for each in self.replies(new)
                if each[1].target == target and each[1].id in (id_, None)
            )
            found.extend(
                each
                for each in fitting
                if each[0].topic == f"{self.base}{device}/reply"
            )
            return bool(found)

        came = await self.until(arrived, limit)
        return Outcome(sent.topic, sent.payload, *found[0]) if came else sent

    async def until(
        self, condition: Callable[[], bool], limit: float = PATIENCE
    ) -> bool:
        """Wait for what the bridge owes us; return whether it came.

        Whoever owes much is waited for less.
        """
        came = await self.observer.until(
            condition, limit if self._misses < MISSES else min(limit, IMPATIENCE)
        )
        self._misses += not came and limit >= PATIENCE  # what has less was not owed
        return came

    def replies(self, mark: int = 0) -> Iterator[tuple[Seen, Reply]]:
        """Yield the outcomes that came since, of all devices and on private topics."""
        for each in itertools.islice(self.observer.seen, mark, None):
            if each.topic.startswith(f"{self.root}/reply/") or each.topic.endswith(
                "/reply"
            ):
                try:
                    yield each, msgspec.json.decode(each.payload, type=Reply)
                except msgspec.MsgspecError:
                    continue  # the check of shapes reports it

    def commands(self) -> Counter[tuple[str, str]]:
        """Return how often there was a command to a device and target, ours or anybody's, as the broker told us."""
        found: Counter[tuple[str, str]] = Counter()
        for each in self.observer.seen:
            device, channel, path = split(each.topic.removeprefix(self.base))
            if (
                channel in ("set", "call")
                and each.payload
                and each.topic.startswith(self.base)
            ):
                found[device, f"{channel}/{path}" if path else channel] += 1
        return found

    async def until_value(self, device: str, path: str, fits: Any, mark: int) -> bool:
        """Wait until a change or snapshot after `mark` has a value of a property that fits."""

        def told() -> bool:
            return any(fits(value) for value in self._told(device, path, mark))

        return await self.until(told)

    def _told(self, device: str, path: str, mark: int) -> Iterator[Any]:
        for each in itertools.islice(self.observer.seen, mark, None):
            try:
                if each.topic == f"{self.base}{device}/event/change":
                    changes = msgspec.json.decode(each.payload)["changes"]
                    yield from (
                        change["value"]
                        for change in changes
                        if change.get("path") == path and "value" in change
                    )
                elif each.topic == f"{self.base}{device}/state":
                    values = msgspec.json.decode(each.payload)["values"]
                    yield from ([values[path]] if path in values else [])
            except (msgspec.MsgspecError, KeyError, TypeError):
                continue
