"""Sections 3.3 and 3.4.

A snapshot and the changes after it are the state, whoever joins when; heartbeats;
sizes.
"""

import contextlib
import itertools
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from busbar.testing.fakes import until
from tests.broker import Mosquitto
from tests.contract import payloads
from tests.contract.client import Client, code
from tests.contract.conftest import Fresh
from tests.contract.subject import Subject
from tests.contract.subjects import SUBJECTS

OPERATIONS = st.one_of(
    st.tuples(st.just("number"), st.integers(0, 300).map(lambda tenths: tenths / 10)),
    st.tuples(st.just("switch"), st.booleans()),
    st.tuples(st.sampled_from(["command", "pause", "join", "trouble"]), st.just(0)),
)


_last = (30 - number / 1000 for number in itertools.count(1))  # a new value each time


class Reader:
    """A subscriber as section 3.4 has it."""

    def __init__(self) -> None:
        self.boot: str | None = None
        self.seq = 0
        self.values: dict[str, Any] = {}
        self.bad: dict[str, Any] = {}

    def read(self, client: Client, device: str) -> "Reader":
        topics = {
            f"{client.base}{device}/state": self.snapshot,
            f"{client.base}{device}/event/change": self.change,
        }
        for each in list(client.seen):
            if each.topic in topics:
                topics[each.topic](each.json)
        return self

    def snapshot(self, state: dict[str, Any]) -> None:
        if state["boot"] != self.boot or state["seq"] > self.seq:
            self.boot, self.seq = state["boot"], state["seq"]
            self.values, self.bad = dict(state["values"]), dict(state["bad"])
        elif state["seq"] == self.seq:
            assert (self.values, self.bad) == (state["values"], state["bad"])

    def change(self, event: dict[str, Any]) -> None:
        # else history, or a snapshot follows
        if (event["boot"], event["seq"]) == (self.boot, self.seq + 1):
            self.seq += 1
            for each in event["changes"]:
                self.apply(each)

    def apply(self, change: dict[str, Any]) -> None:
        path = change["path"]
        if change.get("gone"):
            self.values.pop(path, None)
            self.bad.pop(path, None)
            return
        if "value" in change:
            self.values[path] = change["value"]
        if change.get("bad"):
            self.bad[path] = change["bad"]
        elif "bad" in change:
            self.bad.pop(path, None)


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.section("3.4")
@settings(
    max_examples=3,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(operations=st.lists(OPERATIONS, min_size=1, max_size=25))
async def test_a_snapshot_and_the_changes_after_it_are_the_state_for_whoever_joins_when(
    subject: Subject,
    client: Client,
    broker: Mosquitto,
    traits: frozenset[str],
    operations: list[tuple[str, Any]],
) -> None:
    story = Story(subject, client, "trouble" in traits)
    async with contextlib.AsyncExitStack() as stack:
        late = [client]
        for operation, value in [*operations, ("join", 0), ("number", next(_last))]:
            if operation == "join" and len(late) < 4:
                late.append(
                    await stack.enter_async_context(
                        Client(broker.port, subject.base, client.protocol)
                    )
                )
            await story.go_on(operation, value)
        await until(story.is_told, "the last values")
        last = client.snapshot(subject.device)
        for reader in late:
            await until(
                lambda c=reader: c.snapshot(subject.device)["seq"] >= last["seq"],
                "the last snapshot",
            )
            told = Reader().read(reader, subject.device)
            assert {
                path: told.values[path] for path in story.expected
            } == story.expected


class Story:
    """What happens to a device, and what its state must be in the end."""

    def __init__(self, subject: Subject, client: Client, troubled: bool) -> None:
        self.subject, self.client, self._troubled = subject, client, troubled
        self.expected: dict[str, Any] = {}
        self._bad: set[str] = set()

    async def go_on(self, operation: str, value: Any) -> None:
        """Let one thing happen."""
        subject, client = self.subject, self.client
        path = {"number": subject.number, "switch": subject.switch}.get(operation)
        if path is not None:
            subject.change(path, value)
            self._bad.discard(path)
            self.expected[path] = value
        elif operation == "command":
            self.expected[subject.number] = value = next(_last)
            assert (
                code(
                    await client.ask(
                        subject.device, f"set/{subject.number}", {"_value": value}
                    )
                )
                == "ok"
            )
        elif operation == "pause":
            mark = len(client.on(f"{subject.base}{subject.device}/state"))
            await client.ask(subject.device, "call/refresh", {})
            self._bad.clear()
            await until(
                lambda: len(client.on(f"{subject.base}{subject.device}/state")) > mark,
                "a snapshot",
            )
        elif operation == "trouble" and self._troubled:
            subject.trouble(subject.switch)
            self._bad.add(subject.switch)

    def is_told(self) -> bool:
        """True once the newest snapshot has it all."""
        state = self.client.snapshot(self.subject.device)
        values, bad = state["values"], self._bad & self.expected.keys()
        fine = all(values.get(path) == value for path, value in self.expected.items())
        return fine and state["bad"].keys() & self.expected.keys() == bad


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.section("3.3")
@pytest.mark.needs("trouble")
async def test_what_is_no_number_is_null_and_bad_until_it_is_one(
    subject: Subject, client: Client
) -> None:
    path = subject.nan()
    await until(
        lambda: client.snapshot(subject.device)["bad"].get(path), "something bad"
    )
    assert client.snapshot(subject.device)["values"][path] is None
    assert client.snapshot(subject.device)["bad"][path]["code"] == "not_a_number"
    subject.change(path, 1.5)
    await client.value(subject.device, path, 1.5)


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.section("3.3")
@pytest.mark.needs("trouble")
async def test_what_cannot_be_read_keeps_its_value_and_says_why(
    subject: Subject, client: Client
) -> None:
    assert (
        code(
            await client.ask(subject.device, f"set/{subject.switch}", {"_value": True})
        )
        == "ok"
    )
    await client.value(subject.device, subject.switch, True)
    subject.trouble(subject.switch)
    await until(
        lambda: subject.switch in client.snapshot(subject.device)["bad"],
        "something bad",
    )
    assert client.snapshot(subject.device)["values"][subject.switch] is True
    assert client.snapshot(subject.device)["bad"][subject.switch]["code"] == "protocol"
    subject.change(subject.switch, True)
    await client.value(subject.device, subject.switch, True)


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.section("3.4")
@pytest.mark.needs("event")
async def test_events_are_numbered_and_never_retained(
    subject: Subject, client: Client
) -> None:
    names = [subject.event({"number": number}) for number in range(20)]
    topic = f"{subject.base}{subject.device}/event/{names[0]}"
    await until(lambda: len(client.on(topic)) == 20, "the events")
    told = client.on(topic)
    assert [each.json["number"] for each in told] == [*range(20)]
    first = told[0].json["seq"]
    assert [each.json["seq"] for each in told] == [*range(first, first + 20)]
    assert {each.qos for each in told} == {1}
    assert topic not in await client.kept()


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.section("1")
async def test_a_blob_comes_as_bytes_is_not_retained_and_its_property_describes_it(
    subject: Subject, client: Client
) -> None:
    name = await subject.blob(client)
    topic = f"{subject.base}{subject.device}/blob/{name}"
    await until(lambda: client.on(topic), "the blob")
    blob = client.on(topic)[-1]
    assert (blob.qos, blob.retain) == (0, False)
    size = lambda: (client.snapshot(subject.device)["values"].get(name) or {}).get(  # noqa: E731
        "size"
    )
    await until(lambda: size() == len(blob.payload), "its property")
    info = client.last(f"{subject.base}{subject.device}/info")
    assert name in info["blobs"] and name in info["properties"]
    assert topic not in await client.kept()


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.section("3.1")
async def test_a_late_joiner_has_the_whole_picture_from_what_is_retained(
    subject: Subject, client: Client, broker: Mosquitto
) -> None:
    def complete(late: Client, device: str) -> bool:
        found = [
            late.last(f"{late.base}{device}/{channel}")
            for channel in ("status", "info", "state")
        ]
        if None in found:
            return False
        status, info, state = found
        return bool(
            info["revision"] >= status["revision"] and state["seq"] >= status["seq"]
        )

    async with Client(broker.port, subject.base, client.protocol) as late:
        for device in (subject.device, subject.neighbour, "bridge"):
            await until(lambda each=device: complete(late, each), f"all of {device}")
            first = late.on(f"{late.base}{device}/status")[0]
            assert first.retain
        boots = {
            late.last(f"{late.base}{name}/state")["boot"]
            for name in (subject.device, "bridge")
        }
        assert boots == {late.status("bridge")["boot"]}


@pytest.mark.section("3.3")
@pytest.mark.section("4")
@pytest.mark.needs("clock")
async def test_snapshots_and_leaves_come_every_minute_and_the_bridge_tells_of_itself(
    fresh: Fresh,
) -> None:
    subject, client = fresh.subject, fresh.client
    await fresh.online()
    paths = ("status", "state", f"state/{subject.number}", "info")
    topics = [f"{subject.base}{subject.device}/{path}" for path in paths] + [
        f"{subject.base}bridge/state"
    ]
    counts = {topic: len(client.on(topic)) for topic in topics}
    for _ in range(130):
        await subject.advance(1)
    for topic in topics:
        await until(
            lambda t=topic: len(client.on(t)) >= counts[t] + 2, f"two of {topic}"
        )
    await until(
        lambda: client.snapshot("bridge")["values"]["uptime"] >= 120, "the uptime"
    )
    assert client.status(subject.device)["state"] == "online"


@pytest.mark.section("3")
@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
async def test_nothing_larger_than_max_message_is_sent(
    protocol: str, own_broker: Mosquitto, tmp_path: Path
) -> None:
    async with SUBJECTS["toy"].make(
        own_broker.url, protocol, tmp_path, ", max_message: 20000"
    ) as subject:
        async with Client(own_broker.port, subject.base, protocol) as client:
            await subject.start()
            await subject.online(client)
            reply = await client.ask(
                "toy", "call/echo", {"text": "x" * 1000, "times": 30}
            )
            assert code(reply) == "too_large"
            subject.change("name", "n" * 25_000)
            await until(
                lambda: client.last(f"{subject.base}toy/info").get("truncated") == 1,
                "truncated in info",
            )
            await until(
                lambda: "name" not in client.snapshot("toy")["values"],
                "a snapshot without it",
            )
            assert client.snapshot("toy")["values"]["level"] == 1.0
            assert max(len(each.payload) for each in client.seen) <= 20_000
            subject.change("name", "short")
            await client.value("toy", "name", "short")
            await until(
                lambda: "truncated" not in client.last(f"{subject.base}toy/info"),
                "nothing truncated",
            )
        assert payloads.check(client.bridges())
