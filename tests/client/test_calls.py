"""Commands under way: ids of ours, outcomes of those only, and an end for each."""

import asyncio
import json
from typing import Any

import msgspec
import pytest

from busbar import errors
from busbar.client.calls import MARGIN, TTL, Calls, ending
from busbar.client.outgoing import Outgoing
from busbar.client.types import Options
from busbar.errors import (
    BY_CODE,
    BadRequest,
    BusbarError,
    DeviceTimeout,
    Forbidden,
    LinkLost,
    Overloaded,
    ProtocolError,
    UnknownTarget,
)
from busbar.mqtt.outbox import Message
from busbar.testing.fakes import Clock, settle

LATE = 1e12  # a loop time that does not come


class Wire:
    """What was sent, and answers to it."""

    def __init__(self) -> None:
        self.sent: list[Message] = []
        self.calls = Calls(self.sent.append, "busbar", "busbar/reply/me/outcome")

    def start(self, patience: float = 60.0, **fields: Any) -> "asyncio.Task[Any]":
        ends = asyncio.get_running_loop().time() + patience
        return asyncio.create_task(self.calls.run("lab/toy", "call/echo", fields, ends))

    def payload(self, number: int = -1) -> dict[str, Any]:
        return dict(json.loads(self.sent[number].payload))

    def answer(self, number: int = -1, **fields: Any) -> None:
        reply = {
            "bridge": "lab",
            "device": "toy",
            "id": self.payload(number)["_id"],
            "target": "call/echo",
            "ok": True,
            "time": 1.0,
            "took": 0.1,
            **fields,
        }
        self.calls.take(json.dumps(reply).encode())


@pytest.fixture
async def wire() -> Wire:
    return Wire()


async def test_a_command_carries_an_id_of_64_random_bits_its_time_and_our_reply_topic(
    wire: Wire,
):
    running = [wire.start(text="a") for _ in range(100)]
    await settle()
    payloads = [wire.payload(number) for number in range(100)]
    assert len({payload["_id"] for payload in payloads}) == 100
    assert all(len(bytes.fromhex(payload["_id"])) == 8 for payload in payloads)
    assert all(
        payload["_reply"] == "busbar/reply/me/outcome" and payload["_sent"] > 1e9
        for payload in payloads
    )
    assert {message.topic for message in wire.sent} == {"busbar/lab/toy/call/echo"}
    assert not any(message.retain for message in wire.sent)
    for task in running:
        task.cancel()


async def test_what_was_not_asked_for_is_not_sent_but_null_as_a_value_is(wire: Wire):
    running = wire.start(_ttl=None, _wait=None, _value=1, other=None, text=None)
    await settle()
    assert wire.payload().keys() == {
        "_value",
        "other",
        "text",
        "_id",
        "_sent",
        "_reply",
    }
    running.cancel()


async def test_null_can_be_written(wire: Wire):
    running = wire.start(_value=None)
    await settle()
    assert wire.payload()["_value"] is None
    running.cancel()


async def test_the_outcome_is_the_result(wire: Wire):
    running = wire.start(text="a")
    await settle()
    wire.answer(result={"a": [1]})
    assert await running == {"a": [1]}
    assert len(wire.calls) == 0


async def test_a_command_without_a_result_returns_none(wire: Wire):
    running = wire.start()
    await settle()
    wire.answer()
    assert await running is None


@pytest.mark.parametrize("code", sorted(BY_CODE))
async def test_each_code_of_the_contract_is_an_error_of_its_own(wire: Wire, code: str):
    running = wire.start()
    await settle()
    wire.answer(
        ok=False,
        error={"code": code, "message": "no", "retryable": False, "detail": {"n": 1}},
    )
    with pytest.raises(BY_CODE[code], match="no") as failed:
        await running
    assert (failed.value.code, failed.value.detail) == (code, {"n": 1})
    assert type(failed.value) in vars(errors).values()


async def test_a_code_of_a_later_contract_is_an_error_all_the_same(wire: Wire):
    running = wire.start()
    await settle()
    wire.answer(
        ok=False,
        error={"code": "new", "message": "no", "retryable": True, "detail": {}},
    )
    with pytest.raises(BusbarError, match="no"):
        await running


async def test_an_outcome_that_says_nothing_ends_the_command(wire: Wire):
    running = wire.start()
    await settle()
    wire.answer(ok=False)
    with pytest.raises(ProtocolError):
        await running


@pytest.mark.parametrize(
    "rest",
    ['"ok": 5}', '"ok": true}', '"ok": tr', '"result": ' + "[" * 2000, '\xff": 1}'],
)
async def test_an_outcome_with_our_id_that_cannot_be_read_ends_the_command_at_once(
    wire: Wire, rest: str
):
    running, other = wire.start(), wire.start()
    await settle()
    payload = f'{{"id": "{wire.payload(0)["_id"]}", {rest}'
    with pytest.raises(msgspec.MsgspecError):
        wire.calls.take(payload.encode("latin-1"))
    with pytest.raises(ProtocolError, match="lab/toy call/echo: the outcome cannot"):
        await running
    assert not other.done()
    other.cancel()


@pytest.mark.parametrize(
    "foreign",
    [
        {"id": "somebody's"},
        {"id": None},
        {"id": 5},
        {"device": "dmm"},
        {"bridge": "x"},
        {"target": "call/other"},
    ],
)
async def test_outcomes_of_what_we_have_not_sent_are_counted_and_change_nothing(
    wire: Wire, foreign: dict[str, Any]
):
    running = wire.start()
    await settle()
    wire.answer(result="wrong", **foreign)
    assert wire.calls.strays == 1
    wire.answer(result="right")
    assert await running == "right"
    wire.answer(result="again")
    assert wire.calls.strays == 2


@pytest.mark.parametrize(
    "payload", [b"", b"[]", b"{", b"\xff", b'{"id": 1}', b"[" * 100_000]
)
async def test_what_is_no_outcome_is_refused(wire: Wire, payload: bytes):
    with pytest.raises((msgspec.MsgspecError, UnicodeDecodeError)):
        wire.calls.take(payload)


async def test_nobody_waits_for_ever(wire: Wire):
    clock = Clock()
    running = wire.start(patience=10.0)
    await settle()
    await clock.advance(9.5)
    assert not running.done()
    await clock.advance(1)
    with pytest.raises(
        DeviceTimeout, match=("no outcome within 10 s; it may have been done")
    ):
        await running
    assert len(wire.calls) == 0


async def test_without_word_of_refusals_a_timeout_names_rights_as_a_cause():
    calls = Calls(lambda _: None, "busbar", "reply", told_of_refusals=False)
    clock = Clock()
    ends = asyncio.get_running_loop().time() + 1.0
    running = asyncio.create_task(calls.run("lab/toy", "set/a", {}, ends))
    await settle()
    await clock.advance(2)
    with pytest.raises(DeviceTimeout, match=r"MQTT 3\.1\.1 does not tell.*rights"):
        await running


async def test_what_the_broker_has_not_taken_by_then_is_not_sent_any_more():
    outgoing = Outgoing(lambda *_: None)
    outgoing.open = True
    calls = Calls(outgoing.put, "busbar", "reply", withdraw=outgoing.withdraw)
    clock = Clock()
    ends = asyncio.get_running_loop().time() + 1.0
    first = asyncio.create_task(calls.run("lab/toy", "set/a", {"_value": 1}, ends))
    second = asyncio.create_task(calls.run("lab/toy", "set/a", {"_value": 2}, ends))
    await settle()
    assert outgoing.pull() is not None
    await clock.advance(2)
    with pytest.raises(DeviceTimeout, match="it may have been done"):
        await first
    with pytest.raises(DeviceTimeout, match="it was not sent"):
        await second
    assert outgoing.pull() is None


async def test_a_call_that_is_cancelled_before_it_is_sent_is_not_sent():
    outgoing = Outgoing(lambda *_: None)
    outgoing.open = True
    calls = Calls(outgoing.put, "busbar", "reply", withdraw=outgoing.withdraw)
    running = asyncio.create_task(calls.run("lab/toy", "set/a", {}, LATE))
    await settle()
    running.cancel()
    await settle()
    assert outgoing.pull() is None


async def test_without_time_nothing_is_sent_and_the_error_says_so(wire: Wire):
    with pytest.raises(DeviceTimeout, match="it was not sent"):
        await wire.start(patience=0.0)
    assert not wire.sent


LIMITS: list[tuple[Options, float]] = [
    ({}, MARGIN + TTL + 30),
    ({"ttl": 1, "wait": 2}, MARGIN + 1 + 2 + 30),
    ({"ttl": None, "wait": None, "timeout": None, "deadline": None}, MARGIN + TTL + 30),
    ({"timeout": 0.5}, 0.5),
    ({"timeout": 0.5, "ttl": 20, "wait": 20}, 0.5),
    ({"timeout": 300}, 300),
    ({"timeout": 0}, 0),
    ({"deadline": 107.0}, 7),
    ({"deadline": 107.0, "timeout": 3}, 3),
    ({"deadline": 107.0, "timeout": 30}, 7),
    ({"deadline": 90.0}, -10),
]


@pytest.mark.parametrize(("options", "left"), LIMITS)
def test_what_is_stated_counts_as_stated_whatever_the_device_may_take(
    options: Options, left: float
):
    assert ending(100.0, 30.0, options) == 100.0 + left


NOWHERE = [float("nan"), float("inf"), -1.0, 86401.0]


@pytest.mark.parametrize("key", ["ttl", "wait", "timeout"])
def test_seconds_that_the_contract_does_not_allow_are_named(key: str):
    for seconds in NOWHERE:
        with pytest.raises(BadRequest, match=f"{key}: {seconds}"):
            ending(0.0, 1.0, Options(**{key: seconds}))  # type: ignore[typeddict-item]
    with pytest.raises(BadRequest, match="deadline: nan"):
        ending(0.0, 1.0, {"deadline": float("nan")})


async def test_nothing_of_a_command_outlasts_its_caller(wire: Wire):
    running = wire.start(patience=0.5, _ttl=20, _wait=20, _timeout=20)
    other = wire.start(patience=0.5)
    patient = wire.start(patience=60.0, _wait=20)
    await settle()
    bounds = {"_ttl": 0.45, "_wait": 0.45, "_timeout": 0.45}
    assert wire.payload(0).items() >= bounds.items()
    assert wire.payload(1)["_ttl"] == 0.45
    assert "_ttl" not in wire.payload(2)
    assert wire.payload(2)["_wait"] == 20
    for task in (running, other, patient):
        task.cancel()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"_value": float("nan")}, "call/echo: nan is not a finite number"),
        ({"_value": [1.0, float("-inf")]}, "call/echo: 1: -inf is not"),
        ({"a/b": {"RA": float("inf")}}, "call/echo: a/b: RA: inf is not"),
        ({"text": object()}, "call/echo: .*object"),
    ],
)
async def test_what_json_cannot_say_is_named_and_not_sent(
    wire: Wire, fields: dict[str, Any], message: str
):
    with pytest.raises(BadRequest, match=f"lab/toy {message}"):
        await wire.start(**fields)
    assert not wire.sent
    assert len(wire.calls) == 0


async def test_a_value_that_holds_itself_is_not_sent(wire: Wire):
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(BadRequest, match="nested too deeply"):
        await wire.start(_value=endless)
    assert not wire.sent


async def test_a_broken_connection_ends_all_and_a_lost_bridge_its_own(wire: Wire):
    here = wire.start()
    there = asyncio.create_task(wire.calls.run("other/toy", "call/echo", {}, LATE))
    await settle()
    wire.calls.fail("the bridge is gone", "other")
    with pytest.raises(
        LinkLost,
        match=("other/toy call/echo: the bridge is gone; it may have been done"),
    ):
        await there
    assert not here.done()
    wire.calls.fail("the connection broke")
    with pytest.raises(LinkLost):
        await here


@pytest.mark.parametrize("id_", ["ours", 'with "quotes"', "\u00fcber \\"])
async def test_a_command_that_the_broker_refuses_fails_and_no_other(
    wire: Wire, id_: str
):
    refused, other = wire.start(_id=id_), wire.start()
    await settle()
    wire.calls.take_refused(wire.sent[0], Forbidden("not authorized"))
    with pytest.raises(Forbidden, match="lab/toy call/echo: not authorized") as error:
        await refused
    assert not error.value.retryable
    assert not other.done()
    other.cancel()


async def test_an_id_is_used_for_one_command_at_a_time_and_again_after_it(wire: Wire):
    first = wire.start(_id="mine")
    await settle()
    with pytest.raises(Overloaded, match="mine"):
        await wire.start(_id="mine")
    wire.calls.fail("gone")
    with pytest.raises(LinkLost):
        await first
    again = wire.start(_id="mine")
    await settle()
    assert [wire.payload(number)["_id"] for number in (0, 1)] == ["mine", "mine"]
    wire.answer(result=1)
    assert await again == 1


async def test_what_cannot_be_sent_is_not_under_way():
    def refuse(message: Message) -> None:
        raise LinkLost("not connected")

    calls = Calls(refuse, "busbar", "busbar/reply/me/outcome")
    with pytest.raises(LinkLost):
        await calls.run("lab/toy", "set/a", {"_value": 1}, LATE)
    assert len(calls) == 0


@pytest.mark.parametrize(
    "target", ["set/+", "set/a/#", "call/", "set/a b", "call/\x00"]
)
async def test_what_is_no_name_is_refused_before_it_is_sent(wire: Wire, target: str):
    with pytest.raises(UnknownTarget):
        await wire.calls.run("lab/toy", target, {}, LATE)
    assert not wire.sent


async def test_what_the_device_said_is_logged_though_the_command_succeeded(
    wire: Wire, caplog: pytest.LogCaptureFixture
):
    running = wire.start()
    await settle()
    wire.answer(result=1, messages=["[WARNING] clamped"])
    assert await running == 1
    assert "lab/toy call/echo: [WARNING] clamped" in caplog.text
