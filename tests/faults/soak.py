"""A soak.

`python -m tests.faults.soak --minutes 25`: one bridge, traffic both ways, faults in
between, a line for each: the broker killed, restarted, back with a file older than the
bridge; the link cut, frozen, stalled; the device unplugged again and again; retained
messages forged and cleared.

Exit code 1 if memory, descriptors or tasks grow without bound, if the bridge ends, or
if anything is lost unnoticed: an event that is missing without a count or an absence
that explains it, a command without an outcome, a state that is not the device's, a
client that calls good what is not so.
"""

import argparse
import asyncio
import json
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from paho.mqtt import client as paho

from busbar.client import Client
from busbar.config import loader
from busbar.runtime import host
from busbar.runtime.bridge import Bridge
from busbar.runtime.service import plan
from busbar.testing.fakes import until
from tests.broker import Mosquitto
from tests.proxy import Proxy
from tests.toy import Toy, service
from tests.watcher import Watcher

TOY = "busbar/lab/toy"
MIB = 1024 * 1024
# bytes between the first and the last third that are noise of the allocator
GROWTH = 16 * MIB
HOUR = 3600.0  # s
# s that a client may believe what was true: its own link is noticed after 30 s, that of
# a bridge after 28 s, and a snapshot is behind by a second
DECEIVED = 60.0
KEPT = "kept.db"
PERSISTENT = (
    "persistence true",
    f"persistence_file {KEPT}",
    "persistence_location ./",
    "autosave_on_changes true",
    "autosave_interval 50",
)
EVENTS_PER_SECOND = 200
# s for everything to be right again; a link is tried every 30 s at least
PATIENCE = 90.0
HEAD = (
    f"{'s':>7} {'rss MiB':>8} {'fds':>5} {'tasks':>6} {'events':>9} {'away':>7} "
    f"{'dropped':>8} {'unnoticed':>10} "
    + (f"{'commands':>9} {'unanswered':>11} {'faults':>7}")
)


class Account(Watcher):
    """A reader that keeps count and nothing else; it knows when it was away itself."""

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self.newest: dict[str, bytes] = {}
        self.events = self.away = self.gaps = 0
        self.answered: set[int] = set()
        self._last: dict[str, int] = {}
        self._connects = 0
        # topic: the connection on which it was heard last; before, we were away
        self._heard: dict[str, int] = {}
        self._subscribe = self._client.on_connect
        self._client.on_connect = self._on_connect

    def _on_connect(self, *arguments: Any) -> None:
        self._connects += 1
        self._subscribe(*arguments)  # type: ignore[misc]  # that of a Watcher is always set

    def _on_message(
        self, _client: Any, _userdata: Any, message: paho.MQTTMessage
    ) -> None:
        if "/event/" in message.topic:
            self._event(message.topic, json.loads(message.payload)["seq"])
        elif message.topic == f"{TOY}/reply":
            self.answered.add(json.loads(message.payload)["id"])
        else:
            self.newest[message.topic] = bytes(message.payload)

    def _event(self, topic: str, seq: int) -> None:
        missing = seq - self._last.get(topic, 0) - 1
        if missing < 0:
            return  # sent again: the acknowledgement was lost with a link
        self.events += 1
        self._last[topic] = seq
        if self._heard.get(topic, 1) == self._connects:
            self.gaps += missing
        else:
            self.away += missing
        self._heard[topic] = self._connects


@dataclass
class Soak:
    """What runs and what came of it."""

    broker: Mosquitto
    proxy: Proxy
    toy: Toy
    bridge: Bridge
    account: Account
    client: Client
    chance: random.Random = field(default_factory=lambda: random.Random(1))
    # rss, descriptors, tasks
    samples: list[tuple[int, int, int]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    asked: int = 0
    unanswered: int = 0
    faults: int = 0
    number: int = 0

    @property
    def unnoticed(self) -> int:
        """Events that are missing and neither counted by the bridge nor explained by an
        absence of the reader."""
        return max(0, self.account.gaps - self.bridge.stats()["dropped"])

    async def traffic(self) -> None:
        """Values, events and commands; a device shows what it was last told."""
        while True:
            await asyncio.sleep(0.1)
            for session in self.toy.sessions:
                for _ in range(EVENTS_PER_SECOND // 10):
                    self.number += 1
                    session.outlet.event("beep", {"number": self.number})
                session.outlet.values({"reading": float(self.number)})
            self.asked += 1
            self.account.publish(
                f"{TOY}/call/echo", json.dumps({"text": "x", "_id": self.asked})
            )

    async def fault(self) -> None:
        """Break one thing and mend what only its owner can mend."""
        self.faults += 1
        ours = (
            self._killed,
            self._restarted,
            self._restored,
            self._cut,
            self._frozen,
        )
        others = (self._stalled, self._flapping, self._forged, self._cleared)
        before = self.reconnects
        chosen = self.chance.choice((*ours, *others))
        await chosen()
        if chosen in ours:
            await until(
                lambda: self.reconnects > before, "another connection", PATIENCE
            )
        self.proxy.bury()

    @property
    def reconnects(self) -> int:
        return int(self.bridge.stats()["reconnects"])

    async def _killed(self) -> None:
        self.broker.kill()
        await asyncio.sleep(self.chance.uniform(0.1, 5))
        await asyncio.to_thread(self.broker.start)

    async def _restarted(self) -> None:
        await asyncio.to_thread(self.broker.restart)

    async def _restored(self) -> None:
        """The broker comes back with a file that is older than what it knew."""
        self.broker.kill()
        kept = self.broker.directory / KEPT
        old = self.broker.directory / "old.db"
        if old.exists():
            shutil.copy(old, kept)
        elif kept.exists():
            shutil.copy(kept, old)
        await asyncio.to_thread(self.broker.start)

    async def _forged(self) -> None:
        """Somebody says in the bridge's name that it is another one, or gone."""
        newer = {"state": "online", "since": time.time() + 60, "boot": "ffffffff"}
        gone = {"state": "offline", "since": None, "boot": "00000000"}
        status = {"revision": 1, "seq": 0, "reason": None}
        for said in (newer, gone):
            for device in (TOY, "busbar/lab/bridge"):
                payload = json.dumps({**said, **status})
                self.account.publish(f"{device}/status", payload, retain=True)
            await asyncio.sleep(self.chance.uniform(0, 1))

    async def _cleared(self) -> None:
        """Somebody clears what is retained."""
        for channel in ("status", "info", "state"):
            self.account.publish(f"{TOY}/{channel}", "", retain=True)

    async def _cut(self) -> None:
        self.proxy.cut()

    async def _frozen(self) -> None:
        self.proxy.freeze()

    async def _stalled(self) -> None:
        self.proxy.upstream.clear()
        await asyncio.sleep(self.chance.uniform(0.1, 5))
        self.proxy.upstream.set()

    async def _flapping(self) -> None:
        for _ in range(20):
            self.toy.unplug("flapping")
            await asyncio.sleep(0.05)
            self.toy.reachable = True
            await asyncio.sleep(0.05)

    async def check(self) -> None:
        """Break something.

        Everything is right again by itself, commands from then on are answered.
        """
        try:
            await self.fault()
            await until(self._well, "everything right again", PATIENCE)
        except AssertionError as error:
            self.wrong.append(f"fault {self.faults}: {error}: {self._picture()}")
        await self._answers()

    async def _answers(self) -> None:
        first = self.asked + 1
        await asyncio.sleep(2)
        last = self.asked - 5
        try:
            wanted = range(first, last + 1)
            await until(
                lambda: all(each in self.account.answered for each in wanted),
                "outcomes",
                PATIENCE,
            )
        except AssertionError:
            self.unanswered += sum(each not in self.account.answered for each in wanted)
        self.account.answered.clear()

    def _well(self) -> bool:
        devices = (TOY, "busbar/lab/bridge")
        state = self._say(f"{TOY}/state")
        online = all(
            (self._say(f"{each}/status") or {}).get("state") == "online"
            for each in devices
        )
        recent = (
            state
            and state["values"].get("reading", 0) >= self.number - 3 * EVENTS_PER_SECOND
        )
        return bool(online and recent and not state["bad"] and self._client_is_right())

    def _client_is_right(self) -> bool:
        """Return whether the client has the newest value, as good."""
        device = self.client.device("lab/toy")
        if device.stale is not None or "reading" not in device:
            return self.number == 0
        reading = device.reading("reading")
        newest = self.number - 3 * EVENTS_PER_SECOND
        return reading.stale is None and reading.value >= newest

    async def watch_client(self) -> None:
        """Note a client that calls good what the device had long ago."""
        while True:
            await asyncio.sleep(1.0)
            device = self.client.device("lab/toy")
            if device.stale is None and "reading" in device:
                reading = device.reading("reading")
                age = time.time() - (reading.time or 0.0)
                if reading.stale is None and age > DECEIVED:
                    self.wrong.append(f"a value of {age:.0f} s ago was good")

    def _picture(self) -> str:
        return f"{self._say(f'{TOY}/status')} {self._say('busbar/lab/bridge/status')}"

    def _say(self, topic: str) -> Any:
        payload = self.account.newest.get(topic)
        return json.loads(payload) if payload else None

    def sample(self, seconds: float) -> str:
        """Note memory, descriptors and tasks; return the line."""
        rss, files, tasks = (
            host.resident(),
            len(list(Path("/proc/self/fd").iterdir())),
            len(asyncio.all_tasks()),
        )
        self.samples.append((rss, files, tasks))
        dropped = self.bridge.stats()["dropped"]
        return (
            f"{seconds:7.0f} {rss / MIB:8.1f} {files:5d} {tasks:6d} "
            f"{self.account.events:9d} {self.account.away:7d} "
            f"{dropped:8d} {self.unnoticed:10d} {self.asked:9d} {self.unanswered:11d} "
            f"{self.faults:7d}"
        )

    def verdict(self) -> list[str]:
        """Return what went wrong."""
        found = list(self.wrong)
        third = max(1, len(self.samples) // 3)
        for index, (what, allowed) in enumerate(
            (("rss", GROWTH), ("descriptors", 10), ("tasks", 10))
        ):
            series = [each[index] for each in self.samples]
            first, last = median(series[:third]), median(series[-third:])
            if last > first + allowed and last > first * 1.2:
                found.append(f"{what} grew from {first:.0f} to {last:.0f}")
        if self.unnoticed:
            found.append(f"{self.unnoticed} events lost unnoticed")
        if self.unanswered:
            found.append(f"{self.unanswered} commands without an outcome")
        return found


async def soak(seconds: float, period: float, say: Callable[[str], None]) -> list[str]:
    """Run for a time with a fault in each period (s); return what went wrong."""
    what = service(toy := Toy())
    with Mosquitto(*PERSISTENT) as broker:
        async with (
            Proxy(broker.port) as proxy,
            Account(broker.port) as account,
            Client(broker.url) as client,
        ):
            first = plan(
                what,
                loader.parse("bridge: {name: lab}\n", what.config, {}),
                proxy.url,
                {},
            )
            it = Soak(broker, proxy, toy, bridge := Bridge(first), account, client)
            running = asyncio.create_task(bridge.run())
            await until(it._well, "the start", PATIENCE)
            traffic = asyncio.create_task(it.traffic())
            watching = asyncio.create_task(it.watch_client())
            say(HEAD)
            began = time.monotonic()
            while (spent := time.monotonic() - began) < seconds and not running.done():
                say(it.sample(spent))
                await asyncio.sleep(period)
                await it.check()
            say(it.sample(time.monotonic() - began))
            traffic.cancel()
            watching.cancel()
            bridge.stop()
            await asyncio.wait([running], timeout=30)
            ended = "the bridge ended before its time" if spent < seconds else ""
            return [*it.verdict(), *([ended] if ended else [])]


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults.soak", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--hours", type=float, default=0.0)
    parser.add_argument("--minutes", type=float, default=0.0)
    parser.add_argument(
        "--period", type=float, default=45.0, help="seconds of peace before each fault"
    )
    arguments = parser.parse_args()
    # so that the broker ends with us
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    found = asyncio.run(
        soak(
            arguments.hours * 3600 + arguments.minutes * 60 or HOUR,
            arguments.period,
            lambda line: print(line, flush=True),
        )
    )
    print("\n".join(found) or "nothing lost unnoticed, nothing grown")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
