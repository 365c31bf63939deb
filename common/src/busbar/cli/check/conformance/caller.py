"""Sender of commands, as any client is one, and their outcomes."""

import itertools
import secrets
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec import UNSET

from busbar.cli.check.conformance.checks import NotTriedError, Verdict
from busbar.cli.observe import Observer, Seen
from busbar.contract import messages
from busbar.contract.messages import Info, Reply, State, Status
from busbar.contract.names import LEVEL
from busbar.contract.topics import BRIDGE, REPLY
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
        if path in self.state.bad:
            return UNSET
        return self.state.values.get(path, UNSET)


@dataclass(frozen=True)
class Outcome:
    """Outcome of one command: `code` is `ok`, that of the error, or `nothing`."""

    topic: str
    payload: bytes
    seen: Seen | None = None
    reply: Reply | None = None

    @property
    def code(self) -> str:
        if self.reply is None:
            return "nothing"
        if self.reply.ok:
            return "ok"
        return str(getattr(self.reply.error, "code", "no error"))

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
        self.observer = observer
        self.endpoint = endpoint
        self.root = root
        self.bridge = bridge
        self.devices = devices
        self.base = f"{root}/{bridge}/"
        self.token = secrets.token_hex(3)
        self.unused = f"nobody-{self.token}"  # an id, a name, a path that nothing has
        self.sent: Counter[tuple[str, str, Any]] = Counter()  # device, target, id
        self._numbers = itertools.count(1)
        self._misses = 0

    @property
    def own(self) -> Target:
        return next(each for each in self.devices if each.name == BRIDGE)

    def private(self, levels: int = 2) -> str:
        """Return a private reply topic of ours, so many levels below <root>/reply.

        Below our user's name where there is one: `mosquitto/acl` grants that.
        """
        names = [f"conformance-{self.token}", *map(str, range(1, levels))]
        user = self.endpoint.credentials[0]
        if user and LEVEL.fullmatch(user):
            names.insert(0, user)
        return "/".join([self.root, REPLY, *names[:levels]])

    @property
    def elsewhere(self) -> str:
        """A topic of ours where a bridge must never publish."""
        return f"conformance-{self.token}/elsewhere"

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

        An object gets an id unless it has one. Raise NotTriedError if the broker does
        not pass it on.
        """
        id_ = None
        if not isinstance(payload, bytes):
            number = next(self._numbers)
            payload = {"_id": f"c{number:05d}", **payload}
            id_ = payload["_id"]
            payload = messages.encode(payload)
        topic = f"{self.base}{device}/{target}"
        mark = len(self.observer.seen)
        self.sent[device, target, id_] += 1
        self.observer.publish(topic, payload, retain=retain, correlation=correlation)
        outcome = await self.outcome(mark, Outcome(topic, payload), id_, limit)
        if outcome.reply is None and topic not in self.topics_since(mark):
            self.sent[device, target, id_] -= 1
            raise NotTriedError(self.not_passed_on(topic))
        return outcome

    def not_passed_on(self, topic: str) -> str:
        """Return why a check cannot be made that publishes on a topic."""
        return (
            f"the broker passes on nothing that we send to {topic}; may {self._user} "
            "write and read there?"
        )

    @property
    def _user(self) -> str:
        user = self.endpoint.credentials[0]
        return f"the user {user!r}" if user else "everybody"

    async def check_heard(self, topic: str) -> None:
        """Raise NotTriedError unless what we publish on a topic of ours comes back."""
        mark = len(self.observer.seen)
        self.observer.publish(topic, b"do we hear this?")
        if not await self.observer.until(
            lambda: topic in self.topics_since(mark), PATIENCE
        ):
            raise NotTriedError(
                f"the broker sends us nothing on {topic}; may {self._user} write and "
                f"read there?"
            )

    async def outcome(
        self, mark: int, sent: Outcome, id_: Any, limit: float = PATIENCE
    ) -> Outcome:
        """Wait for the outcome of a command among the messages since `mark`."""
        device, _, target = sent.topic.removeprefix(self.base).partition("/")
        public = f"{self.base}{device}/reply"
        found: list[tuple[Seen, Reply]] = []
        cursor = mark

        def arrived() -> bool:
            nonlocal cursor
            new = cursor
            cursor = len(self.observer.seen)
            for seen, reply in self.replies(new):
                # One without an id is taken for ours, so that a bridge that loses ids
                # is found out in seconds.
                ours = reply.target == target and reply.id in (id_, None)
                if ours and seen.topic == public:
                    found.append((seen, reply))
            return bool(found)

        if not await self.until(arrived, limit):
            return sent
        return Outcome(sent.topic, sent.payload, *found[0])

    async def until(
        self, condition: Callable[[], bool], limit: float = PATIENCE
    ) -> bool:
        """Wait for what the bridge has to send; return whether it came.

        Once several things never came, wait less.
        """
        patience = limit
        if self._misses >= MISSES:
            patience = min(limit, IMPATIENCE)
        came = await self.observer.until(condition, patience)
        if not came and limit >= PATIENCE:  # with less it did not have to come
            self._misses += 1
        return came

    def topics_since(self, mark: int) -> set[str]:
        """Return the topics of the messages since `mark`."""
        return {each.topic for each in itertools.islice(self.observer.seen, mark, None)}

    def replies(self, mark: int = 0) -> Iterator[tuple[Seen, Reply]]:
        """Yield the outcomes that came since, of all devices and on private topics."""
        for each in itertools.islice(self.observer.seen, mark, None):
            private = each.topic.startswith(f"{self.root}/reply/")
            if not private and not each.topic.endswith("/reply"):
                continue
            try:
                yield each, msgspec.json.decode(each.payload, type=Reply)
            except msgspec.MsgspecError:
                continue  # the check of shapes reports it

    def commands(self) -> Counter[tuple[str, str]]:
        """Count the commands to each device and target, of whomever, as they came."""
        found: Counter[tuple[str, str]] = Counter()
        for each in self.observer.seen:
            if not each.payload or not each.topic.startswith(self.base):
                continue
            device, _, target = each.topic.removeprefix(self.base).partition("/")
            channel, _, _ = target.partition("/")
            if channel in ("set", "call"):
                found[device, target] += 1
        return found

    async def until_value(self, device: str, path: str, fits: Any, mark: int) -> bool:
        """Wait for a change or snapshot after `mark` with a value that fits."""

        def came() -> bool:
            return any(fits(value) for value in self._values(device, path, mark))

        return await self.until(came)

    def _values(self, device: str, path: str, mark: int) -> Iterator[Any]:
        for each in itertools.islice(self.observer.seen, mark, None):
            try:
                if each.topic == f"{self.base}{device}/event/change":
                    for change in msgspec.json.decode(each.payload)["changes"]:
                        if change.get("path") == path and "value" in change:
                            yield change["value"]
                elif each.topic == f"{self.base}{device}/state":
                    values = msgspec.json.decode(each.payload)["values"]
                    if path in values:
                        yield values[path]
            except (msgspec.MsgspecError, KeyError, TypeError):
                continue
