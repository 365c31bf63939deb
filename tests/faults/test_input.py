"""What comes on command topics: hostile, malformed, huge.

Each has one outcome and none a consequence.
"""

import asyncio
import json
import logging
import os
import time

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from busbar.runtime import host
from busbar.testing.fakes import until
from tests.broker import Mosquitto
from tests.faults.conftest import Record
from tests.faults.hostile import KEYS, TARGETS, Hostile
from tests.faults.support import ALLOWED, OUTSTANDING, TOY, Lab, Tally, lab

log = logging.getLogger(__name__)

COMMANDS = int(os.environ.get("BUSBAR_FAULTS_COMMANDS", "3000"))  # a million outside CI
WARMING = min(600, COMMANDS)  # commands before memory is looked at
NOTED = 10_000  # commands between lines of the log
MIB = 1024 * 1024


@pytest.mark.timeout(120 + COMMANDS // 100)
async def test_every_hostile_command_has_one_outcome_and_none_is_our_bug(
    broker: Mosquitto, record: Record
) -> None:
    source = Hostile(seed=1)
    async with lab(broker) as it, Tally(broker.port) as tally:
        await send(it, tally, source, WARMING)
        before, began = host.resident(), time.monotonic()
        await send(it, tally, source, COMMANDS)
        rate = COMMANDS / (time.monotonic() - began)
        grown = (host.resident() - before) / MIB
        assert set(tally.codes) <= ALLOWED | {"ok"}
        assert tally.strange == set()
        assert not {task.get_name() for task in asyncio.all_tasks()} & {
            f"toy/{target}" for target in TARGETS
        }
        assert grown < 40
        assert (it.live.dropped, it.live.reconnects) == (0, 0)
        total = tally.total
        record(
            f"{total} hostile and malformed commands",
            (
                "one outcome each, never `internal`; nothing reaches the device that "
                "was "
                "not valid"
            ),
            f"{total} outcomes ({tally.codes['ok']} ok, {len(tally.codes) - 1} "
            f"reasons), 0 internal, "
            f"{rate:.0f} a second, {grown:.0f} MiB grown",
        )


async def send(it: Lab, tally: Tally, source: Hostile, count: int) -> None:
    """Send commands, at most so many at once, and wait for their outcomes."""
    done = tally.total
    for sent in range(1, count + 1):
        target, payload = source.command()
        tally.publish(f"busbar/lab/{target}", payload)
        if sent % 100 == 0:
            check_and_forget(it)
            await until(
                lambda s=sent: tally.total >= done + s - OUTSTANDING, "outcomes", 60
            )
        if sent % NOTED == 0:
            log.info(
                "%d commands, %d MiB, %s", sent, host.resident() / MIB, tally.codes
            )
    await until(
        lambda: tally.total >= done + count, f"all outcomes, so far {tally.codes}", 60
    )
    await until(lambda: it.live.quiet, "quiet")
    assert tally.total == done + count
    check_and_forget(it)


def check_and_forget(it: Lab) -> None:
    """Nothing reached the device that is out of range.

    Let go of what the test has noted, so that a million fit.
    """
    assert all(
        0 <= each[1] <= 30
        for each in it.toy.did
        if isinstance(each, tuple) and each[0] == "level"
    )
    for notes in (it.toy.did, it.reader.seen, it.reader.seqs, it.live.acknowledged):
        notes.clear()


NAMES = st.sampled_from(KEYS) | st.text(max_size=8)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=30),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4)
    ),
    max_leaves=12,
)
OBJECTS = st.dictionaries(NAMES, VALUES, max_size=5)
PAYLOADS = (
    st.binary(min_size=1, max_size=200)
    | VALUES.map(msgspec.json.encode)
    | OBJECTS.map(msgspec.msgpack.encode)
    | st.text(min_size=1, max_size=50).map(str.encode)
)


async def test_any_payload_on_any_command_topic_has_one_outcome(
    broker: Mosquitto, record: Record
) -> None:
    async with lab(broker), Tally(broker.port) as tally:
        loop, examples = asyncio.get_running_loop(), 0

        async def ask(target: str, payload: bytes) -> None:
            nonlocal examples
            examples += 1
            before = tally.total
            tally.publish(f"busbar/lab/{target}", payload)
            await until(
                lambda: tally.total > before, f"an outcome of {target} {payload!r}"
            )
            assert tally.codes["internal"] == 0, (target, payload)

        @settings(
            max_examples=100, deadline=None, suppress_health_check=list(HealthCheck)
        )
        @given(st.sampled_from(TARGETS), PAYLOADS)
        def check(target: str, payload: bytes) -> None:
            asyncio.run_coroutine_threadsafe(ask(target, payload), loop).result(60)

        await asyncio.to_thread(check)
        assert tally.total == examples
        assert set(tally.codes) <= ALLOWED | {"ok"}
        record(
            "any bytes, JSON or MessagePack on any command topic (hypothesis)",
            "one outcome each, never `internal`",
            f"{examples} examples, {examples} outcomes",
        )


LONG = "x" * 60_000
TOPICS = (
    "toy/set/",
    "toy/set//",
    "toy/call/",
    "toy/call/echo/more",
    "toy/call/../../bridge/call/shutdown",
    "toy/set/..",
    "toy/set/%2e%2e",
    "toy/set/$SYS",
    "toy/set/level ",
    "toy/set/LEVEL",
    "toy/set/digital/0",
    "toy/set/digital/101",
    "toy/set/digital/01",
    "toy/set/digital/1_0",
    "toy/set/digital/-1",
    "toy/set/digital/\u0661",
    "toy/set/digital/" + "9" * 5000,
    "toy/set/_lock",
    "toy/set/日本",
    "toy/call/😀",
    f"toy/call/{LONG}",
    f"toy/set/{LONG}",
    "nobody/call/echo",
    "reply/call/echo",
)
NAMELESS = (
    "/set/level",
    "to y/set/level",
    "tö/call/echo",
    f"{LONG}/call/echo",
    "$/set/x",
    "a.b/set/x",
)


async def test_hostile_topics_are_refused_and_leave_nothing_behind(
    broker: Mosquitto, record: Record
) -> None:
    async with lab(broker) as it, Tally(broker.port) as tally:
        before = set(it.outlet.state.values)
        for topic in (*TOPICS, *NAMELESS):
            tally.publish(f"busbar/lab/{topic}", b"true")
        await until(
            lambda: tally.total >= len(TOPICS), f"all outcomes, so far {tally.codes}"
        )
        assert (await it.reader.call(f"{TOY}/call/echo", "last"))["ok"]
        assert tally.total == len(TOPICS) + 1
        assert set(tally.codes) == {
            "unknown",
            "out_of_range",
            "bad_request",
            "read_only",
            "ok",
        }
        assert tally.codes["ok"] == 1
        assert set(it.outlet.state.values) == before
        assert tally.strange == set()
        record(
            (
                "hostile topics: dots, blanks, other scripts, aliases of numbers, 60 "
                "000 "
                "characters"
            ),
            (
                "`unknown` for what is no property or command, `out_of_range` beyond a "
                "family; no device name: ignored"
            ),
            (
                f"{len(TOPICS)} refused with a reason, {len(NAMELESS)} ignored, 0 new "
                f"properties, 0 topics elsewhere"
            ),
        )


REPLIES = (
    "x",
    "busbar/lab/toy/set/level",
    "busbar/other/toy/set/level",
    "$SYS/broker",
    "busbar/reply",
    "busbar/reply/",
    "busbar/reply/a//b",
    "busbar/reply/a/b/c/d/e",
    "busbar/reply/+",
    "busbar/reply/#",
    "busbar/reply/a\u0000b",
    "busbar/reply/\u0007",
    "busbar/reply/\ufffe",
    "homeassistant/x",
    "busbar/reply/../x/y/z/w",
    "busbar/reply/" + "x" * 129,
)


async def test_a_reply_topic_is_never_anywhere_but_under_reply(
    broker: Mosquitto, record: Record
) -> None:
    async with lab(broker) as it, Tally(broker.port) as tally:
        for number, topic in enumerate(REPLIES):
            payload = {"text": "x", "_reply": topic, "_id": number}
            reply = await it.reader.call(f"{TOY}/call/echo", json.dumps(payload))
            assert (reply["error"]["code"], reply["id"]) == ("forbidden", number), topic
        assert (
            await it.reader.call(
                f"{TOY}/call/echo", ('{"text": "x", "_reply": "busbar/reply/日本/😀"}')
            )
        )["ok"]
        assert tally.strange == set()
        assert it.live.reconnects == 0
        assert "x" in it.toy.did
        assert len([each for each in it.toy.did if each == "x"]) == 1
        record(
            f"{len(REPLIES)} hostile reply topics",
            "`forbidden` before the device is touched; never a publish anywhere else",
            f"{len(REPLIES)} forbidden, 0 messages elsewhere, 0 reconnects",
        )


async def test_an_empty_reply_topic_is_as_forbidden_as_any_other(
    broker: Mosquitto, record: Record
) -> None:
    async with lab(broker) as it:
        reply = await it.reader.call(f"{TOY}/call/echo", '{"text": "x", "_reply": ""}')
        assert not reply["ok"]
        assert reply["error"]["code"] == "forbidden"
        record(
            "an empty reply topic",
            ("`forbidden`: only the device's own `reply` counts as absent"),
            "1 forbidden",
        )
