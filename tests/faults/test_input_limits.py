"""Input at the limits: deep, huge, too many, too long."""

import asyncio
import json
import time

import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from busbar.runtime import host
from busbar.testing.fakes import until
from tests.broker import Mosquitto
from tests.faults.conftest import Record
from tests.faults.support import ALLOWED, TOY, Reader, Tally, lab

MIB = 1024 * 1024


def bombs() -> dict[str, bytes]:
    """Small or allowed payloads that ask for much."""
    limit = 256 * 1024
    return {
        "JSON 100 000 deep": b"[" * 100_000,
        "JSON objects 40 000 deep": b'{"a":' * 40_000 + b"1" + b"}" * 40_000,
        "JSON list of 131 000": b"[" + b"1," * (limit // 2 - 2) + b"1]",
        "JSON object of 20 000 keys": json.dumps(
            {str(number): number for number in range(20_000)}
        ).encode()[:limit],
        "JSON key of 250 kB": b'{"' + b"k" * 250_000 + b'": 1}',
        "JSON key of 40 000 escapes": b'{"' + b"\\u0007" * 40_000 + b'": 1}',
        "JSON number of 250 000 digits": b"9" * 250_000,
        "JSON exponent": b"1e" + b"9" * 1000,
        "JSON text of 250 kB": json.dumps("x" * 250_000).encode(),
        "the same key 40 000 times": b"{" + b'"a":1,' * 40_000 + b'"a":1}',
        "more than the limit": b'{"text": "' + b"x" * (limit + 1) + b'"}',
        "MessagePack list of 2^32": b"\x81\xa1a\xdd\xff\xff\xff\xff",
        "MessagePack map of 2^32": b"\xdf\xff\xff\xff\xff",
        "MessagePack binary of 2^32": b"\x81\xa1a\xc6\xff\xff\xff\xff",
        "MessagePack 100 000 deep": b"\x81\xa1a" + b"\x91" * 100_000,
        "MessagePack lists of lists of 2^24": b"\x81\xa1a"
        + b"\xdd\x00\xff\xff\xff" * 15,
        "MessagePack 262 000 empty maps": b"\x81\xa1a\xdd\x00\x03\xff\x00"
        + b"\x80" * 0x3FF00,
        "MessagePack map as key": b"\x81\x81\xa1a\x01\x01",
        "MessagePack list as key": b"\x81\x91\x01\x01",
        "MessagePack numbers as keys": b"\x82\x01\x01\x02\x02",
        "MessagePack time stamp": b"\x81\xa1a\xd6\xff\xff\xff\xff\xff",
        "MessagePack extension": b"\x81\xa1a\xc9\xff\xff\xff\xff\x01",
        "MessagePack not a number": b"\x81\xa1a\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00",
        "MessagePack text that is not UTF-8": b"\x81\xa1\xff\x01",
    }


async def test_deep_and_huge_structures_are_refused_within_bounds(
    broker: Mosquitto, record: Record
) -> None:
    async with lab(broker) as it, Tally(broker.port) as tally:
        worst = Worst()
        watching = asyncio.create_task(worst.watch())
        targets = (
            "toy/set",
            "toy/set/level",
            "toy/set/axes",
            "toy/call/echo",
            "toy/call/stop",
        )
        before = host.resident()
        for number, (name, payload) in enumerate(bombs().items(), 1):
            worst.now = name
            for target in targets:
                tally.publish(f"busbar/lab/{target}", payload)
            due = number * len(targets)
            await until(
                lambda d=due: tally.total >= d,
                f"outcomes of {name}: {tally.codes}",
                90.0,
            )
        grown = (host.resident() - before) / MIB
        watching.cancel()
        assert set(tally.codes) <= ALLOWED | {"ok"}
        assert (it.live.dropped, it.live.reconnects) == (0, 0)
        assert grown < 60
        count = tally.total
        record(
            (
                f"deep and huge JSON, MessagePack bombs: {len(bombs())} kinds on "
                f"{len(targets)} topics"
            ),
            "one outcome each, within bounds of time and memory",
            f"{count} outcomes, {grown:.0f} MiB grown, the loop held up "
            f"{worst.seconds * 1000:.0f} ms at most "
            f"({worst.name})",
        )


class Worst:
    """The longest time that nothing else could run, and what ran then."""

    def __init__(self) -> None:
        self.seconds, self.name, self.now = 0.0, "", ""

    async def watch(self) -> None:
        last = time.monotonic()
        while True:
            await asyncio.sleep(0)
            took, last = time.monotonic() - last, time.monotonic()
            if took > self.seconds:
                self.seconds, self.name = took, self.now


async def test_a_flood_of_commands_behind_a_lock_is_bounded_and_each_has_its_outcome(
    broker: Mosquitto, record: Record
) -> None:
    async with lab(broker) as it, Tally(broker.port) as tally:
        lease = (await it.reader.call(f"{TOY}/call/lock", '{"ttl": 60}'))["result"][
            "lease"
        ]
        count = 2500
        for number in range(count):
            tally.publish(
                f"{TOY}/call/echo",
                json.dumps({"text": str(number), "_wait": 30, "_ttl": 60}),
            )
        await until(
            lambda: it.live.bridge._commands.received == count + 1, "all of them"
        )
        refused = tally.total - 1
        assert (
            await it.reader.call(f"{TOY}/call/unlock", json.dumps({"_lease": lease}))
        )["ok"]
        await until(
            lambda: tally.total == count + 2, f"all outcomes, so far {tally.codes}"
        )
        assert set(tally.codes) <= {"ok", "overloaded", "locked"}
        done = [
            int(each) for each in it.toy.did if isinstance(each, str) and each.isdigit()
        ]
        assert done == sorted(done)
        record(
            f"{count} commands that wait for somebody else's lock",
            "those that wait are bounded, the rest is refused; first come first served",
            f"{count} outcomes: {refused} refused at once, {len(done)} run in order, "
            f"{count - refused - len(done)} refused later",
        )


async def test_a_result_too_large_by_its_correlation_data_has_an_outcome(
    broker: Mosquitto, record: Record
) -> None:
    async with lab(broker) as it, Reader(broker.port, f"{TOY}/reply") as asker:
        limit = it.live.outbox.limit
        properties = Properties(PacketTypes.PUBLISH)
        properties.CorrelationData = b"c" * 5000
        times = (limit - 1500) // 100
        payload = json.dumps({"text": "x" * 100, "times": times, "_id": "correlated"})
        asker._client.publish(f"{TOY}/call/echo", payload, 1, False, properties)
        await until(
            lambda: it.live.bridge._commands.received == 1 and it.live.quiet,
            "the command",
        )
        await it.live.until(
            lambda: asker.on(f"{TOY}/reply"),
            (f"the outcome ({it.live.dropped} dropped)"),
        )
        record(
            "a result that fits, with 5 kB of Correlation Data that do not",
            "an outcome all the same",
            "1 outcome",
        )


@pytest.mark.parametrize("levels", [1, 4])
async def test_a_result_for_a_long_foreign_reply_topic_breaks_no_connection(
    levels: int, record: Record
) -> None:
    with Mosquitto("max_packet_size 20000") as broker:
        async with (
            lab(broker) as it,
            Reader(broker.port, "busbar/reply/#", f"{TOY}/reply") as asker,
        ):
            private = "busbar/reply/" + "/".join(["😀" * 128] * levels)
            room = it.live.outbox.limit - 64 - len(private.encode())
            for size in (room - 3000, room - 200, room + 700):
                asker.seen.clear()
                asker.publish(
                    f"{TOY}/call/echo",
                    json.dumps({"text": "x", "times": size, "_reply": private}),
                )
                await it.live.until(
                    lambda: it.live.quiet and asker.on(f"{TOY}/reply"),
                    "the public outcome",
                )
                await it.live.until(
                    lambda: asker.on(private), f"the private outcome of {size} bytes"
                )
            assert it.live.reconnects == 0
            record(
                (
                    f"results near the broker's limit for a reply topic of "
                    f"{len(private.encode())} bytes"
                ),
                "an outcome on both topics; the connection stays",
                "3 of 3 outcomes, 0 reconnects",
            )
