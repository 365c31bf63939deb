"""The snapshot and the changes after it are the state (contract 3.4), always."""

import json
import math
from dataclasses import dataclass, field
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from busbar.contract.describe import Description, Property, by_path
from busbar.errors import LinkLost
from busbar.mqtt.outbox import Message
from busbar.testing.fakes import settle
from tests.device import Bench, bench


@dataclass
class Reader:
    """A subscriber from the beginning.

    Snapshot with seq s plus all changes after s is the state.
    """

    seq: int = 0
    values: dict[str, Any] = field(default_factory=dict)
    bad: dict[str, Any] = field(default_factory=dict)
    snapshot: dict[str, Any] = field(default_factory=dict)

    def take(self, message: Message) -> None:
        topic = message.topic.removeprefix("busbar/lab/psu/")
        body = json.loads(message.payload) if message.payload else None
        if topic == "state":
            assert body["seq"] >= self.seq, (
                "the snapshot is older than the changes before it"
            )
            self.seq, self.values, self.bad = (
                body["seq"],
                dict(body["values"]),
                dict(body["bad"]),
            )
            self.snapshot = body
        elif topic == "event/change" and body["seq"] > self.seq:
            assert body["seq"] == self.seq + 1, "a gap"
            self.seq = body["seq"]
            for change in body["changes"]:
                self.apply(change)

    def apply(self, change: dict[str, Any]) -> None:
        path = change["path"]
        if change.get("gone"):
            self.values.pop(path, None)
            self.bad.pop(path, None)
            return
        if "value" in change:
            self.values[path] = change["value"]
        if change.get("bad", ...) is None:
            del self.bad[path]
        elif "bad" in change:
            self.bad[path] = change["bad"]


DESCRIBED = by_path(
    [
        Property("a", Any),
        Property("b", float, deadband=1.0),
        Property("c", float, min_interval=0.5),
        Property("d", float, max_age=2.0),
        Property("e/{n}", Any, parameters={"n": range(3)}),
    ]
)
VARIANTS = [
    Description("scpi", DESCRIBED),
    Description(
        "scpi", {path: each for path, each in DESCRIBED.items() if path != "b"}
    ),
    Description("scpi", DESCRIBED, commands={}, serial="7"),
]
PATHS = ["a", "b", "c", "d", "e/0", "e/2"]
values_ = st.sampled_from([0.0, 0.5, 1.0, 5.0, math.nan]) | st.sampled_from(
    [None, True, "x", {"y": 1}, "z" * 9000]
)
ops = st.one_of(
    st.tuples(
        st.just("values"),
        st.dictionaries(st.sampled_from(PATHS), values_, min_size=1, max_size=4),
    ),
    st.tuples(
        st.just("values"),
        st.dictionaries(st.sampled_from(PATHS), values_, min_size=1, max_size=1),
    ),
    st.tuples(st.just("bad"), st.sets(st.sampled_from(PATHS), max_size=3)),
    st.tuples(st.just("gone"), st.sets(st.sampled_from(PATHS), max_size=2)),
    st.tuples(st.just("describe"), st.sampled_from(VARIANTS)),
    st.tuples(st.just("status"), st.sampled_from(["online", "offline", "connecting"])),
    st.tuples(st.just("announce")),
    st.tuples(st.just("tick")),
    st.tuples(st.just("pull"), st.integers(1, 5)),
    st.tuples(st.just("acknowledge")),
    st.tuples(st.just("reconnect")),
    st.tuples(st.just("time"), st.sampled_from([0.01, 0.03, 0.3, 1.1])),
)


def perform(made: Bench, op: tuple[Any, ...], flying: list[Message]) -> None:
    device, described = made.device, made.device.description.find
    match op:
        case ("values", values):
            device.values(
                {path: value for path, value in values.items() if described(path)}
            )
        case ("bad", paths):
            device.bad(
                sorted(path for path in paths if described(path)), LinkLost("broken")
            )
        case ("gone", paths):
            device.gone(sorted(paths))
        case ("describe", description):
            device.describe(description)
        case ("status", status):
            device.set_status(status)
        case ("announce",):
            device.announce()
            device.announce_leaves()
        case ("tick",):
            device.tick()
        case ("pull", count):
            flying += [
                message
                for message in (made.outbox.pull() for _ in range(count))
                if message
            ]
        case ("reconnect",):
            made.outbox.returned([message for message in flying if message.qos])
            flying.clear()
            made.outbox.begin()
            device.announce()
        case ("time", seconds):
            made.clock._loop.shift += seconds


@given(st.lists(ops, max_size=40))
@settings(deadline=None, max_examples=150)
async def test_the_snapshot_and_the_changes_after_it_are_the_state(sequence):
    """Whatever happens on either side, and however slow the broker is."""
    made = await bench(VARIANTS[0])
    reader, flying = Reader(), list[Message]()

    def acknowledge() -> None:
        for message in flying:
            reader.take(message)
            made.outbox.delivered(message)
        flying.clear()

    for op in sequence:
        perform(made, op, flying)
        if op == ("acknowledge",):
            acknowledge()
        await settle()
    flying += await finish(made)
    acknowledge()
    assert (reader.values, reader.bad) == (
        reader.snapshot["values"],
        reader.snapshot["bad"],
    )
    assert reader.snapshot["seq"] == reader.seq
    state = made.device.state
    assert json.dumps(reader.values) == json.dumps(
        {path: state.values[path] for path in reader.values}
    )
    assert reader.values.keys() == state.values.keys()
    assert reader.bad.keys() == state.bad.keys()


async def finish(made: Bench) -> list[Message]:
    """Let everything get out, ending with a snapshot."""
    sent = []
    for _ in range(4):
        await made.clock.advance(0.75)
        sent += list(iter(made.outbox.pull, None))
    made.device.announce()
    await settle()
    return sent + list(iter(made.outbox.pull, None))
