"""Limits of the broker.

What it takes at once, what it keeps for slow readers, how much it holds.
"""

import json
import time

import pytest

from busbar.contract.describe import Property
from busbar.testing.fakes import until
from tests.broker import Mosquitto
from tests.faults.conftest import Record
from tests.faults.support import BEEP, TOY, Reader, kept, lab
from tests.proxy import Proxy

LARGEST = 20_000  # bytes
SMALL = f"max_packet_size {LARGEST}"
NARROW = (
    "max_inflight_messages 20",
    "max_queued_messages 100",
    "max_queued_bytes 1000000",
)


async def test_a_subscriber_that_lost_messages_is_right_after_it_resubscribes(
    record: Record,
) -> None:
    with Mosquitto(*NARROW) as broker:
        async with (
            lab(broker) as it,
            Proxy(broker.port) as slow,
            Reader(slow.port) as late,
        ):
            await it.live.until(late.online, "what is retained")
            slow.upstream.clear()  # its acknowledgements do not arrive
            count = 300
            for number in range(count):
                it.outlet.values({"reading": float(number)})
                await it.burst(1, begin=number * 10 + 9)
                await it.live.until(lambda: it.live.quiet, "quiet")
            await it.live.until(
                lambda: it.reader.value("reading") == count - 1, "the fast reader"
            )
            assert it.reader.gaps == 0, (
                "a slow reader must not cost a fast one anything"
            )
            slow.upstream.set()
            await it.live.until(lambda: drains(it.outlet, late), "what was queued")
            before = late.value("reading")
            late._client.subscribe([("busbar/#", 1)])
            await it.live.until(
                lambda: late.value("reading") == count - 1, "the right value"
            )
            missing = len(late.missing(BEEP))
            assert missing > 0
            assert (
                late.say(f"{TOY}/state")["seq"] == it.reader.say(f"{TOY}/state")["seq"]
            )
            record(
                (
                    f"a subscriber stalls during {count} events and values until the "
                    f"broker drops for it"
                ),
                (
                    "it sees the gap in seq; subscribing again brings the newest "
                    "state; "
                    "nobody else loses anything"
                ),
                f"{missing} missing = gap in seq; reading {before} before, "
                f"{late.value('reading'):g} after "
                "re-SUBSCRIBE; 0 lost elsewhere",
            )


def drains(outlet: object, late: Reader) -> bool:
    """One more event shows that the broker delivers again, and how much is missing."""
    outlet.event("beep", {"number": -1})  # type: ignore[attr-defined]
    return bool(late.missing(BEEP))


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
async def test_a_result_larger_than_the_broker_takes_fails_and_breaks_nothing(
    protocol: str, record: Record
) -> None:
    with Mosquitto(SMALL) as broker:
        configuration = (
            f"bridge: {{name: lab}}\nbroker: {{max_message: {LARGEST - 500}}}\n"
        )
        async with lab(
            broker,
            configuration if protocol == "3.1.1" else "bridge: {name: lab}\n",
            protocol=protocol,
        ) as it:
            reply = await it.reader.call(
                f"{TOY}/call/echo", json.dumps({"text": "x" * 1000, "times": 30})
            )
            assert reply["error"]["code"] == "too_large"
            assert (await it.reader.call(f"{TOY}/call/echo", "still here"))["ok"]
            assert it.live.reconnects == 0
            how = (
                "known from the broker"
                if protocol == "5"
                else "configured (3.1.1 cannot tell it)"
            )
            record(
                (
                    f"a result of 30 kB for a broker that takes {LARGEST // 1000} kB, "
                    f"MQTT {protocol}"
                ),
                (
                    "`too_large`; the size is checked before the broker could close "
                    "the "
                    "connection"
                ),
                f"1 of 1 refused with a reason, limit {how}, 0 reconnects",
            )


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
async def test_an_event_too_large_for_the_broker_keeps_no_bridge_from_the_bus(
    protocol: str, record: Record
) -> None:
    with Mosquitto(SMALL) as broker:
        async with lab(broker, protocol=protocol) as it:
            it.outlet.event("beep", {"text": "x" * 30_000})
            await it.burst(10)
            for _ in range(20):
                await it.live.clock.advance(3)
                await it.live.until(
                    lambda: it.live.quiet or not it.live.bridge.connected.is_set(),
                    "quiet",
                )
            await it.live.until(
                lambda: it.reader.seqs[BEEP][-1:] == [11], "what came after it"
            )
            assert it.reader.missing(BEEP) == {1}
            assert it.live.dropped == 1
            record(
                (
                    f"an event of 30 kB for a broker that takes {LARGEST // 1000} kB, "
                    f"MQTT {protocol}, nothing configured"
                ),
                "it is dropped and counted; what follows arrives",
                f"{it.live.dropped} dropped = 1 missing, 10 of 10 that followed "
                f"arrived, "
                f"{it.live.reconnects} reconnects",
            )


async def test_an_info_too_large_for_a_broker_of_3_1_1_keeps_no_bridge_from_the_bus(
    record: Record, caplog: pytest.LogCaptureFixture
) -> None:
    limit = 2000
    with Mosquitto(f"max_packet_size {limit}") as broker:
        async with lab(broker, protocol="3.1.1") as it:
            await it.live.until(lambda: it.live.quiet, "quiet", 60)
            reconnects = it.live.reconnects
            await it.burst(10)
            await it.live.until(lambda: it.reader.seqs[BEEP][-1:] == [10], "events")
            assert (await it.reader.call(f"{TOY}/call/echo", "here"))["ok"]
            assert it.live.reconnects == reconnects
            log = [each for each in caplog.messages if "within seconds of" in each]
            assert "/info (" in log[0]
            ended = [each for each in caplog.messages if " ended: " in each]
            assert ended, "the log says why the connection ends"
            record(
                f"an info larger than the {limit} bytes that a broker of MQTT 3.1.1 "
                "takes, nothing configured",
                "a warning names the topic, it is cut or left out; the rest is served",
                f"served after {reconnects} reconnects, {len(log)} warnings, "
                "10 of 10 events that followed arrived",
            )


async def test_ten_thousand_left_over_topics_are_removed_while_the_bridge_serves(
    broker: Mosquitto, record: Record
) -> None:
    async with Reader(broker.port, "none") as before:
        for number in range(10_000):
            before.publish(f"busbar/lab/old/state/{number}", b"1", retain=True, qos=0)
        before.publish("none", b"x")
        await until(lambda: "none" in before.newest, "all published")
    async with lab(broker) as it:
        began = time.monotonic()
        answered = (await it.reader.call(f"{TOY}/call/echo", "during"))["ok"]
        await it.live.until(lambda: emptied(it.reader) >= 10_000, "the removal", 60)
        took = time.monotonic() - began
        left = [topic for topic in await kept(broker.port) if "/old/" in topic]
        assert (left, it.live.reconnects, it.live.dropped) == ([], 0, 0)
        record(
            "10 000 retained topics of a device that is no more",
            "removed at the first connect, while the bridge serves",
            f"10 000 of 10 000 removed within {took:.1f} s, a command answered "
            f"meanwhile: "
            f"{'yes' if answered else 'no'}, 0 reconnects",
        )


def emptied(reader: Reader) -> int:
    return sum(
        1
        for topic, payload in reader.newest.copy().items()
        if "/old/" in topic and not payload
    )


async def test_ten_thousand_topics_of_our_own_are_published_again_after_a_reconnect(
    broker: Mosquitto, record: Record
) -> None:
    async with lab(broker) as it:
        many = Property("many/{number}", float, parameters={"number": range(10_000)})
        known = it.outlet.description
        it.outlet.describe(
            known.with_(properties={**known.properties, many.path: many})
        )
        it.outlet.values({f"many/{number}": float(number) for number in range(10_000)})
        last = f"{TOY}/state/many/9999"
        await it.live.until(
            lambda: leaves(it.reader.newest) == 10_000, "all leaves", 60
        )
        it.kill()
        await it.lost()
        it.outlet.values({f"many/{number}": number + 0.5 for number in range(10_000)})
        began = time.monotonic()
        serving = await it.back()
        assert (await it.reader.call(f"{TOY}/call/echo", "during"))["ok"]
        await it.live.until(
            lambda: it.reader.newest.get(last) == b"9999.5", "the last leaf", 60
        )
        await it.live.until(lambda: it.live.quiet, "quiet", 60)
        took = time.monotonic() - began
        retained = await kept(broker.port)
        assert leaves(retained) == 10_000
        assert len(json.loads(retained[f"{TOY}/state"])["values"]) >= 10_000
        assert it.live.dropped == 0
        record(
            "10 000 retained topics of our own, and a broker that comes back empty",
            "everything is published again, commands do not wait for it",
            (
                f"online after {serving:.1f} s, 10 000 of 10 000 leaves after "
                f"{took:.1f} "
                f"s, 0 dropped"
            ),
        )


def leaves(topics: dict[str, bytes]) -> int:
    return sum(
        1
        for topic, payload in topics.copy().items()
        if "/state/many/" in topic and payload
    )
