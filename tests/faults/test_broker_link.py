"""The link to the broker breaks in every way that a link can.

Silent, half, slow, twice.
"""

import json
import time

import pytest

from busbar.mqtt import connection
from busbar.testing.fakes import settle
from tests.broker import Mosquitto
from tests.faults.conftest import Record
from tests.faults.support import BEEP, TOY, Lab, kept, lab
from tests.proxy import Proxy

# s, bytes/s: one blob takes half the patience, all of them a multiple
PATIENCE, SLOW = 2.0, 1e6
BLOBS, BLOB = 7, 1_000_000  # bytes; all fit the queue


async def test_a_half_open_link_is_given_up_and_everything_is_sent_again_on_a_new_one(
    broker: Mosquitto, record: Record
) -> None:
    async with lab(broker) as it:
        it.proxy.freeze()
        await it.burst(200)
        it.outlet.values({"level": 4.0})
        virtual = await given_up(it)
        await it.live.until(lambda: it.live.reconnects == 1, "a new connection")
        await it.live.until(
            lambda: it.reader.seqs[BEEP][-1:] == [200], "the last event"
        )
        await it.live.until(lambda: it.reader.value("level") == 4.0, "the newest value")
        await it.live.until(
            lambda: it.reader.online(), "online whatever the late will says"
        )
        assert (it.reader.gaps, it.live.dropped) == (0, 0)
        record(
            (
                "half-open link: the proxy forwards nothing, no FIN, 200 events on "
                "their "
                "way"
            ),
            "given up 15 s after the last acknowledgement; nothing is lost",
            (
                f"given up after {virtual:.0f} s (virtual), 0 of 200 events lost on "
                f"the "
                f"new connection"
            ),
        )


async def given_up(it: Lab, limit: int = 60) -> float:
    """Let time pass until the link counts as dead; return how much (s).

    Acknowledgements are not waited for.
    """
    for second in range(limit):
        if it.live.reconnects or not it.connected:
            return float(second)
        await it.live.clock.advance(1.0)
    raise AssertionError(f"the link is not given up within {limit} s")


async def test_a_half_open_link_on_which_nothing_is_sent_is_noticed_by_its_keepalive(
    broker: Mosquitto, record: Record
) -> None:
    async with lab(broker, keepalive=1) as it:
        await it.live.until(lambda: it.live.quiet, "quiet")
        it.proxy.freeze()
        began = time.monotonic()
        await it.live.until(lambda: it.live.reconnects == 1, "a new connection")
        took = time.monotonic() - began
        assert (await it.reader.call(f"{TOY}/call/echo", "back"))["result"] == "back"
        await it.live.until(
            lambda: it.reader.online(), "online whatever the late will says"
        )
        record(
            "half-open link, idle",
            "noticed by the keepalive, without anything to send",
            (
                f"new connection after {took:.1f} s with a keepalive of 1 s; commands "
                f"served"
            ),
        )


async def test_withheld_acknowledgements_and_a_cut_bring_no_old_value_back(
    broker: Mosquitto, record: Record
) -> None:
    async with lab(broker) as it:
        rounds = 3
        for number in range(rounds):
            await it.live.until(
                lambda: not it.live.bridge._context.outbox._outstanding,
                "all acknowledgements so far",
            )
            it.proxy.downstream.clear()
            it.outlet.values({"level": 2.0 * number + 2})
            await it.burst(50, begin=50 * number)
            await it.live.until(
                lambda n=number: it.reader.value("level") == 2.0 * n + 2,
                "the first value",
            )
            it.proxy.upstream.clear()
            it.outlet.values({"level": 2.0 * number + 3})
            await settle()  # it has left us, and gets no further
            it.proxy.cut()
            it.proxy.downstream.set()
            it.proxy.upstream.set()
            await it.live.until(
                lambda n=number: it.live.reconnects == n + 1 and it.connected,
                "a new connection",
            )
            await it.live.until(
                lambda n=number: it.reader.value("level") == 2.0 * n + 3,
                "the new value",
            )
        await it.live.until(
            lambda: it.reader.seqs[BEEP][-1:] == [rounds * 50], "the last event"
        )
        levels = [
            each.json["values"].get("level", 0.0)
            for each in it.reader.on(f"{TOY}/state")
        ]
        assert levels == sorted(levels)
        leaves = [each.json for each in it.reader.on(f"{TOY}/state/level")]
        assert leaves == sorted(leaves)
        assert (it.reader.gaps, it.live.dropped) == (0, 0)
        twice = len(it.reader.seqs[BEEP]) - rounds * 50
        record(
            f"PUBACKs withheld, then the link cut and values changed, {rounds} times",
            (
                "no old value after a newer one, on `state` and on leaves; events at "
                "least once"
            ),
            f"0 steps back in {len(levels)} snapshots and {len(leaves)} leaves; 0 of "
            f"{rounds * 50} events lost, "
            f"{twice} came twice",
        )


async def test_everything_comes_through_a_link_with_a_delay(
    broker: Mosquitto, record: Record
) -> None:
    async with lab(broker) as it:
        it.proxy.upstream.delay = it.proxy.downstream.delay = 0.2
        began = time.monotonic()
        await it.burst(500, size=100)
        for number in range(100):
            it.outlet.values({"reading": float(number)})
        await it.live.until(
            lambda: it.reader.seqs[BEEP][-1:] == [500], "the last event", 60
        )
        await it.live.until(
            lambda: it.reader.value("reading") == 99.0, "the newest value"
        )
        took = time.monotonic() - began
        assert (it.reader.gaps, it.live.dropped, it.live.reconnects) == (0, 0, 0)
        record(
            "400 ms round trip",
            "slower, nothing else: at most 100 in flight",
            f"0 of 500 events lost, {500 / took:.0f} events/s, 0 reconnects",
        )


@pytest.mark.parametrize(
    ("settled", "wander"),
    [
        pytest.param(True, 0.5, id="wandering"),
        pytest.param(False, 0.5, id="just connected"),
        pytest.param(True, 0.0, id="steady"),
    ],
)
async def test_a_slow_link_that_flows_is_not_taken_for_dead(
    broker: Mosquitto,
    settled: bool,
    wander: float,
    record: Record,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # in real time, which is what real bytes need
    monkeypatch.setattr(connection, "ACK_TIMEOUT", PATIENCE)
    async with lab(broker, proxy=Proxy(broker.port, buffer=4096)) as it:
        leftovers = it.live.bridge._broker._cleanup
        await it.live.until(
            lambda: leftovers._begun or not settled,
            "the end of what a first connect does",
        )
        it.proxy.upstream.rate, it.proxy.upstream.wander = SLOW, wander
        began = time.monotonic()
        for number in range(BLOBS):
            it.outlet.blob("picture", bytes([number]) * BLOB, "image/png")
        it.outlet.event("beep", {"number": 1})
        await it.live.until(
            lambda: it.reader.seqs[BEEP] == [1] or it.live.reconnects, "the event", 60
        )
        took = time.monotonic() - began
        await it.live.until(
            lambda: not it.live.missing(it.reader), "what was behind it"
        )
        assert (it.live.reconnects, it.live.dropped) == (0, 0)
        assert [each.payload[:1] for each in it.reader.on(f"{TOY}/blob/picture")] == [
            bytes([n]) for n in range(BLOBS)
        ]
        record(
            f"a slow link: {BLOBS} blobs of 1 MB and an event at {SLOW / 1e6:g} MB/s, "
            f"patience {PATIENCE:g} s"
            f"{'' if settled else ', just connected'}"
            f"{'' if wander else ', steady as a limiter'}",
            "a link on which bytes flow is not dead, however late the acknowledgement",
            (
                f"{BLOBS} of {BLOBS} blobs and the event within {took:.0f} s, 0 "
                f"reconnects, 0 dropped"
            ),
        )


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
async def test_a_command_delivered_twice_with_an_id_runs_once(
    broker: Mosquitto, protocol: str, record: Record
) -> None:
    proxy = Proxy(broker.port, packets=True)
    async with lab(broker, proxy=proxy, protocol=protocol) as it:
        proxy.upstream.duplicate = proxy.downstream.duplicate = True
        for number in range(50):
            it.reader.publish(
                f"{TOY}/call/echo",
                json.dumps({"text": str(number), "_id": f"twice-{number:03}"}),
            )
        await it.burst(50)
        await it.live.until(
            lambda: it.live.bridge._commands.received == 100, "all commands, twice"
        )
        await it.live.until(
            lambda: len(replies(it)) >= 100 and it.live.quiet, "their outcomes"
        )
        texts = [
            each for each in it.toy.did if isinstance(each, str) and each.isdigit()
        ]
        assert texts == [str(number) for number in range(50)]
        assert len(set(it.reader.seqs[BEEP])) == 50
        assert (it.reader.gaps, it.live.reconnects) == (0, 0)
        record(
            f"the link duplicates every PUBLISH both ways, MQTT {protocol}",
            "a command with an id runs once; doubled events have the same seq",
            (
                f"100 deliveries, {len(texts)} runs, {proxy.upstream.duplicated} of "
                f"our "
                f"messages doubled, 0 lost"
            ),
        )


def replies(it: Lab) -> list[object]:
    return list(it.reader.on(f"{TOY}/reply"))


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
async def test_retained_messages_wiped_behind_our_back_come_back(
    broker: Mosquitto, protocol: str, record: Record
) -> None:
    async with lab(broker, protocol=protocol) as it:
        cleanup = it.live.bridge._broker._cleanup
        await it.live.until(lambda: cleanup._begun, "what a first connect does")
        await it.live.until(lambda: it.live.quiet, "quiet")
        before = await kept(broker.port)
        await wipe(it)
        soon = {topic for topic in before if protocol == "5" or "/state" not in topic}
        # in real time, long before any heartbeat
        await it.live.until(
            lambda: all(it.reader.newest[topic] for topic in soon), "the repair"
        )
        at_once = {topic for topic in before if it.reader.newest[topic]}
        await it.live.pass_time(62)
        by_heartbeat = {topic for topic in before if it.reader.newest[topic]}
        assert by_heartbeat == before.keys()
        await wipe(it)
        it.proxy.cut()
        await it.live.until(
            lambda: all(it.reader.newest[topic] for topic in before),
            "everything after a reconnect",
        )
        assert (await kept(broker.port)).keys() == before.keys()
        record(
            f"all {len(before)} retained messages wiped by another client, "
            f"MQTT {protocol}",
            "status and info are back at once, with MQTT 5 everything; all of it "
            "within a minute or with the next connect",
            f"{len(at_once)} of {len(before)} back at once, {len(by_heartbeat)} after "
            f"60 s (virtual), {len(before)} after a reconnect",
        )


async def wipe(it: Lab) -> None:
    topics = list(await kept(it.broker.port))
    for topic in topics:
        it.reader.publish(topic, b"", retain=True)
    await it.live.until(
        lambda: all(seen_empty(it, topic) for topic in topics), "the wipe"
    )


def seen_empty(it: Lab, topic: str) -> bool:
    return any(not each.payload for each in it.reader.on(topic)[-2:])
