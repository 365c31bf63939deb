"""The device misbehaves: it hangs up, says nothing, talks nonsense, flaps, floods."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from busbar.runtime import host
from busbar.testing.fakes import until
from scpi_bridge.bridge import SERVICE
from scpi_bridge.simulator.__main__ import Endpoint, Simulator
from tests.broker import Mosquitto
from tests.faults.conftest import Record
from tests.faults.support import BEEP, TOY, Live, Reader, lab, live
from tests.process import BENCH

PSU = "busbar/bench/psu"
MIB = 1024 * 1024


class Bench:
    """A simulated supply on a live SCPI bridge."""

    def __init__(self, psu: Endpoint, one: Live, reader: Reader) -> None:
        self.psu, self.live, self.reader = psu, one, reader

    async def online(self) -> float:
        """Let time pass until it is online and nothing is bad; return how much (s)."""
        return await self.passes(self.well, "online")

    async def passes(self, condition: Callable[[], Any], what: str) -> float:
        return await self.live.pass_until(self.reader, condition, what)

    def bad(self) -> set[str]:
        return set(self.reader.say(f"{PSU}/state")["bad"])

    def well(self) -> bool:
        state = self.reader.say(f"{PSU}/state")
        return (
            self.reader.online(PSU)
            and state["bad"] == {}
            and "voltage" in state["values"]
        )


@asynccontextmanager
async def bench(broker: Mosquitto, extra: str = "") -> AsyncIterator[Bench]:
    async with AsyncExitStack() as stack:
        simulator = await stack.enter_async_context(Simulator())
        reader = await stack.enter_async_context(Reader(broker.port))
        configuration = BENCH.format(psu=simulator.psu.port) + extra
        one = await stack.enter_async_context(live(SERVICE, broker.url, configuration))
        it = Bench(simulator.psu, one, reader)
        await one.until(it.well, "the first values")
        yield it


async def test_every_command_has_an_outcome_though_the_instrument_hangs_up(
    broker: Mosquitto, record: Record
) -> None:
    async with bench(broker) as it:
        count, drops = 100, 10
        for number in range(count):
            it.reader.publish(
                f"{PSU}/call/query", json.dumps({"command": "*IDN?", "_id": number})
            )
            if number % (count // drops) == 5:
                await it.live.until(
                    lambda n=number: it.live.bridge._commands.received > n // 2,
                    "some of them",
                )
                it.psu.drop()
        await it.live.until(lambda: len(answered(it.reader)) == count, "all outcomes")
        codes = [
            reply.get("error", {}).get("code", "ok")
            for reply in answered(it.reader).values()
        ]
        assert set(codes) <= {"ok", "link", "offline", "expired"}
        assert len(it.reader.on(f"{PSU}/reply")) == count
        wrong = [
            r
            for r in answered(it.reader).values()
            if r["ok"] and not r["result"].startswith("BUSBAR")
        ]
        assert not wrong
        seconds = await it.online()
        record(
            f"EOF: the instrument hangs up {drops} times during {count} commands",
            "one outcome for each command, no answer for another's question; "
            "back by itself",
            f"{count} of {count} outcomes ({codes.count('ok')} ok, "
            f"{count - codes.count('ok')} failed with a reason), "
            f"online again after {seconds:.0f} s (virtual)",
        )


def answered(reader: Reader) -> dict[object, dict[str, object]]:
    return {
        reply["id"]: reply
        for reply in (each.json for each in reader.on(f"{PSU}/reply"))
    }


async def test_a_silent_instrument_is_offline_and_well_when_it_speaks(
    broker: Mosquitto, record: Record
) -> None:
    async with bench(broker) as it:
        it.psu.silent = True
        outcome = await it.reader.call(f"{PSU}/call/query", "*IDN?")
        assert outcome["error"]["code"] in ("timeout", "link")
        await it.passes(lambda: not it.reader.online(PSU), "offline")
        await it.passes(
            lambda: it.bad() >= {"voltage", "output", "setpoint/voltage"},
            "everything bad",
        )
        it.psu.silent = False
        seconds = await it.online()
        record(
            "silence: the instrument takes everything and answers nothing",
            "commands fail with `timeout`; the device goes offline, its values bad; "
            "well again by itself",
            f"outcome `{outcome['error']['code']}`, all values bad, "
            f"online again after {seconds:.0f} s (virtual)",
        )


async def test_garbage_costs_only_the_answers_that_it_replaced(
    broker: Mosquitto, record: Record
) -> None:
    async with bench(broker) as it:
        it.psu.garbled = 60
        await it.passes(it.bad, "the first garbage")
        await it.live.pass_time(30)
        it.psu.garbled = 0
        seconds = await it.online()
        volts = [
            change["value"]
            for change in changes(it.reader, "setpoint/voltage")
            if "value" in change
        ]
        assert set(volts) <= {0.0}
        record(
            "garbage: answers of random bytes",
            "`bad` with `protocol`, never a wrong value; "
            "good again with the next answer",
            f"0 wrong values, everything good again "
            f"{seconds:.0f} s (virtual) after the last",
        )


def changes(reader: Reader, path: str) -> list[dict[str, object]]:
    events = [each.json for each in reader.on(f"{PSU}/event/change")]
    return [
        change
        for event in events
        for change in event["changes"]
        if change["path"] == path
    ]


async def test_a_device_that_never_stops_fills_no_memory_and_holds_nobody_up(
    broker: Mosquitto, record: Record
) -> None:
    async with babbler() as babble:
        other = (
            f"  - {{name: loud, address: 'tcp::127.0.0.1:{babble.port}', "
            "timeout: 0.5}\n"
        )
        async with bench(broker, other) as it:
            before = host.resident()
            await it.live.until(
                lambda: babble.sent > 20 * MIB or babble.connections > 3,
                "much of it",
                60,
            )
            await it.live.pass_time(10)
            reply = await it.reader.call(f"{PSU}/call/query", "*IDN?")
            grown = (host.resident() - before) / MIB
            assert reply["ok"]
            assert grown < 30
            assert it.reader.say("busbar/bench/loud/status")["state"] != "online"
            record(
                "garbage without end or terminator, as fast as the link takes it",
                "the device stays offline, memory bounded, the other devices served",
                f"{babble.sent / MIB:.0f} MiB babbled over "
                f"{babble.connections} connections, "
                f"{grown:.1f} MiB grown, "
                "the supply answers",
            )


class Babbler:
    def __init__(self) -> None:
        self.port = self.sent = self.connections = 0

    async def serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.connections += 1
        noise = bytes(range(11, 256)) * 64
        with contextlib.suppress(OSError):
            while True:
                writer.write(noise)
                await writer.drain()
                self.sent += len(noise)
                await asyncio.sleep(0)


@asynccontextmanager
async def babbler() -> AsyncIterator[Babbler]:
    one = Babbler()
    server = await asyncio.start_server(one.serve, "127.0.0.1", 0)
    one.port = server.sockets[0].getsockname()[1]
    try:
        yield one
    finally:
        server.close()


async def test_a_device_that_flaps_ten_times_a_second_leaves_nothing_behind(
    broker: Mosquitto, record: Record
) -> None:
    async with bench(broker) as it:
        tasks, descriptors = len(asyncio.all_tasks()), open_files()
        flaps = 30
        for _ in range(flaps):
            it.psu.refuse()
            it.psu.drop()
            await asyncio.sleep(0.05)
            await it.psu.accept()
            await asyncio.sleep(0.05)
        seconds = await it.online()
        await until(
            lambda: len(asyncio.all_tasks()) <= tasks and open_files() <= descriptors,
            "what it left behind",
        )
        assert it.reader.missing(f"{PSU}/event/change") == set()
        assert it.live.dropped == 0
        record(
            f"flapping at 10 Hz, {flaps} times",
            "attempts are paced, nothing is left behind, online by itself when it ends",
            f"{it.psu.accepted} connections in {flaps} flaps, "
            f"online after {seconds:.0f} s (virtual), "
            "0 tasks and 0 descriptors left, 0 changes lost",
        )


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_a_device_a_hundred_times_faster_than_the_broker_drops_oldest_and_counts(
    broker: Mosquitto, record: Record
) -> None:
    async with lab(broker) as it:
        it.proxy.upstream.rate = 20_000
        before, began, count = host.resident(), time.monotonic(), 60_000
        for number in range(count):
            it.outlet.event("beep", {"number": number})
            it.outlet.values({"reading": float(number)})
            if number % 500 == 0:
                await asyncio.sleep(0.01)
        produced = count / (time.monotonic() - began)
        taken = len(it.reader.seqs[BEEP]) / (time.monotonic() - began)
        grown = (host.resident() - before) / MIB
        it.proxy.upstream.rate = None
        await it.live.until(
            lambda: it.reader.value("reading") == count - 1, "the newest value", 60
        )
        await it.live.until(lambda: it.live.quiet, "quiet", 60)
        it.outlet.event("beep", {"number": -1})
        await it.live.until(
            lambda: it.reader.seqs[BEEP][-1] == count + 1, "the last event"
        )
        await it.live.until(
            lambda: it.live.missing(it.reader) == it.live.dropped,
            "the count that is missing",
            60,
        )
        assert it.live.dropped > 0
        assert it.reader.say(f"{TOY}/state")["values"]["reading"] == count - 1
        assert grown < 60
        assert it.live.reconnects == 0
        record(
            "a device 100 times faster than the broker takes",
            "values coalesce, events wait in 10 000 messages and 8 MiB, "
            "the oldest are dropped and counted",
            f"{produced / max(taken, 1):.0f} times faster; {it.live.dropped} dropped = "
            f"{it.live.missing(it.reader)} missing, newest value right, "
            f"{grown:.0f} MiB grown",
        )
