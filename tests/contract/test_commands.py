"""Section 2.

Forms of commands, what is refused, order, ids, time to live, cancel, retained commands.
"""

import json
import time
from typing import Any

import msgpack
import pytest

from busbar.testing.fakes import until
from tests.contract.client import Client, code
from tests.contract.subject import Subject

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.section("2")]

NUMBERS: list[tuple[Any, float]] = [
    ("5", 5),
    (" 5.5 ", 5.5),
    ('{"_value": 6}', 6),
    ("1e1", 10),
    (msgpack.packb({"_value": 7.5}), 7.5),
    ("0", 0),
]
SWITCHES: list[tuple[Any, bool]] = [
    ("true", True),
    ("0", False),
    ("ON", True),
    ("off", False),
    ("1", True),
    ("False", False),
    ('"on"', True),
    ('{"_value": false}', False),
    (msgpack.packb({"_value": True}), True),
    ('{"_value": "OFF"}', False),
]


async def test_every_form_of_a_value_is_written_and_appears(
    subject: Subject, client: Client
) -> None:
    for path, forms in ((subject.number, NUMBERS), (subject.switch, SWITCHES)):
        for payload, expected in forms:
            reply = await client.ask(subject.device, f"set/{path}", payload)
            assert (code(reply), reply["result"]) == ("ok", expected), (payload, reply)
            assert isinstance(reply["result"], bool) == isinstance(expected, bool)
        await client.value(subject.device, path, expected)


async def test_a_text_argument_is_taken_verbatim_or_quoted_or_named(
    subject: Subject, client: Client
) -> None:
    target, wanted = subject.mark(next(subject.numbers))
    (text,) = wanted.values()
    forms = [
        text,
        json.dumps(text),
        json.dumps({"_value": text}),
        msgpack.packb(wanted),
        json.dumps(wanted),
    ]
    before = len(subject.marks())
    for payload in forms:
        assert code(await client.ask(subject.device, target, payload)) == "ok", payload
    assert len(subject.marks()) - before == len(forms)
    assert len(set(subject.marks()[before:])) == 1


async def test_a_set_of_several_is_validated_whole_and_stops_at_the_first_failure(
    subject: Subject, client: Client
) -> None:
    device, number, switch = subject.device, subject.number, subject.switch
    reply = await client.ask(device, "set", {switch: True, number: 3})
    assert reply["result"] == {switch: True, number: 3}
    refused = await client.ask(device, "set", {switch: False, number: 31})
    assert code(refused) == "out_of_range"
    failed = await client.ask(
        device, "set", {number: 4, subject.refusing: 1, switch: False}
    )
    assert code(failed) == "device"
    detail = failed["error"]["detail"]
    assert detail["applied"] == [number]
    assert detail["failed"] == subject.refusing
    await client.value(device, number, 4)
    await client.value(device, switch, True)


async def test_what_cannot_be_done_fails_with_its_code_and_the_device_is_not_touched(
    subject: Subject, client: Client
) -> None:
    number, elsewhere = (
        f"set/{subject.number}",
        {"_value": 1, "_reply": "somewhere/else"},
    )
    before = client.snapshot(subject.device)["values"][subject.number]
    for target, payload, expected in [
        (number, "much", "bad_request"),
        (number, '{"_value": 1, "_tll": 3}', "bad_request"),
        (number, {"_value": 1, "_ttl": -1}, "bad_request|out_of_range"),
        (number, '{"value": 1}', "bad_request"),
        (number, "[" * 5000, "bad_request"),
        (number, '{"_value": NaN}', "bad_request"),
        (number, "1" * (256 * 1024 + 1), "too_large"),
        (number, {"_value": 31}, "out_of_range"),
        (number, elsewhere, "forbidden"),
        (f"set/{subject.read_only}", {"_value": 1}, "read_only"),
        (f"set/{subject.number}x", {"_value": 1}, "unknown"),
        (f"call/{subject.text}x", {}, "unknown"),
        (f"call/{subject.text}", {"no": 1}, "bad_request"),
        *[
            (target, fields, expected)
            for expected, (target, fields) in subject.errors.items()
        ],
    ]:
        reply = await client.ask(subject.device, target, payload)
        assert code(reply) in expected.split("|"), (target, str(payload)[:80], reply)
        retryable = expected in (
            "timeout",
            "link",
            "offline",
            "locked",
            "expired",
            "overloaded",
            "cancelled",
        )
        assert reply["error"]["retryable"] is retryable
        assert reply["error"]["message"]
    assert client.snapshot(subject.device)["values"][subject.number] == before


async def test_commands_run_in_order_of_arrival_and_the_queue_is_bounded(
    subject: Subject, client: Client
) -> None:
    working = await subject.busy(client, 0.8)
    numbers = [next(subject.numbers) for _ in range(110)]
    mark = len(client.seen)
    ids = [client.send(subject.device, *subject.mark(number)) for number in numbers]
    replies = [
        await client.outcome(subject.device, subject.mark(0)[0], each, mark)
        for each in ids
    ]
    assert code(await client.outcome(subject.device, subject.slow, working)) == "ok"
    codes = [code(each) for each in replies]
    assert set(codes) == {"ok", "overloaded"}
    done = [number for number, each in zip(numbers, codes, strict=True) if each == "ok"]
    assert len(done) >= 100
    assert [each for each in subject.marks() if each in numbers] == done


async def test_the_same_id_runs_once_even_while_it_runs(
    subject: Subject, client: Client
) -> None:
    device, (target, fields), id_ = (
        subject.device,
        subject.mark(next(subject.numbers)),
        f"once-{time.time_ns()}",
    )
    mark = len(client.seen)
    working = await subject.busy(client, 0.3)
    for _ in range(2):
        client.send(device, target, {**fields, "_id": id_})
    outcomes = lambda: [  # noqa: E731
        each for each in client.replies(device, mark) if each["id"] == id_
    ]
    await until(lambda: len(outcomes()) == 2, "both outcomes")
    await client.outcome(device, subject.slow, working)
    third = await client.ask(device, target, {**fields, "_id": id_})
    assert outcomes()[0] == outcomes()[1] == third
    assert (
        len(
            [each for each in subject.marks() if subject.mark(each) == (target, fields)]
        )
        == 1
    )
    client.send(device, target, {**subject.mark(next(subject.numbers))[1], "_id": id_})
    await until(lambda: code(outcomes()[-1]) == "duplicate", "the refusal")


async def test_without_a_long_id_a_command_runs_each_time(
    subject: Subject, client: Client
) -> None:
    number = next(subject.numbers)
    target, fields = subject.mark(number)
    for _ in range(2):
        mark = len(client.seen)
        client.send(subject.device, target, {**fields, "_id": "short"})
        assert code(await client.outcome(subject.device, target, "short", mark)) == "ok"
    assert subject.marks().count(number) == 2


async def test_a_command_that_waited_longer_than_its_ttl_expires_and_never_runs(
    subject: Subject, client: Client
) -> None:
    device, number = subject.device, next(subject.numbers)
    target, fields = subject.mark(number)
    working = await subject.busy(client, 0.5)
    assert code(await client.ask(device, target, {**fields, "_ttl": 0.1})) == "expired"
    if client.protocol == "5":
        assert code(await client.outcome(device, subject.slow, working)) == "ok"
        working = await subject.busy(client, 1.6)
        # Message Expiry mirrors `_ttl`
        assert code(await client.ask(device, target, fields, expiry=1)) == "expired"
        overruled = await client.ask(
            device,
            target,
            {**subject.mark(next(subject.numbers))[1], "_ttl": 60},
            expiry=1,
        )
        assert code(overruled) == "ok"
    assert code(await client.outcome(device, subject.slow, working)) == "ok"
    assert number not in subject.marks()


async def test_a_command_sent_long_ago_is_expired_if_the_clock_is_synchronised(
    subject: Subject, client: Client
) -> None:
    await client.value("bridge", "clock", subject.synchronised)
    old = {"_value": 5, "_sent": time.time() - 20}
    expected = "expired" if subject.synchronised else "ok"
    assert (
        code(await client.ask(subject.device, f"set/{subject.number}", old)) == expected
    )
    assert (
        code(
            await client.ask(
                subject.device, f"set/{subject.number}", {**old, "_ttl": 60}
            )
        )
        == "ok"
    )
    assert (
        code(
            await client.ask(
                subject.device,
                f"set/{subject.number}",
                {"_value": 5, "_sent": time.time()},
            )
        )
        == "ok"
    )


async def test_cancel_ends_what_waits_and_what_runs(
    subject: Subject, client: Client
) -> None:
    device, number = subject.device, next(subject.numbers)
    target, fields = subject.mark(number)
    working = await subject.busy(client, 0.9)
    waiting = client.send(device, target, fields)
    for id_, what in ((waiting, target), (working, subject.slow)):
        cancelled = await client.ask(device, "call/cancel", {"id": id_})
        assert cancelled["result"] == {"cancelled": 1}
        assert code(await client.outcome(device, what, id_)) == "cancelled"
    assert code(await client.ask(device, "call/cancel", {"id": working})) == "unknown"
    assert code(await client.ask(device, *subject.mark(next(subject.numbers)))) == "ok"
    assert number not in subject.marks()


@pytest.mark.needs("interrupt")
async def test_a_safe_command_that_interrupts_ends_the_running_one(
    subject: Subject, client: Client
) -> None:
    working = await subject.busy(client, 30)
    waiting = client.send(subject.device, *subject.mark(next(subject.numbers)))
    assert code(await client.ask(subject.device, subject.interrupt, {})) == "ok"
    assert (
        code(await client.outcome(subject.device, subject.slow, working)) == "cancelled"
    )
    assert (
        code(await client.outcome(subject.device, subject.mark(0)[0], waiting)) == "ok"
    )


@pytest.mark.section("3.4")
@pytest.mark.needs("progress")
async def test_a_long_command_reports_its_progress(
    subject: Subject, client: Client
) -> None:
    topic = f"{subject.base}{subject.device}/event/progress"
    reply = await client.ask(subject.device, *subject.progress)
    told = lambda: [  # noqa: E731
        each.json for each in client.on(topic) if each.json["id"] == reply["id"]
    ]
    await until(told, "the progress")
    assert told()[0]["target"] == subject.progress[0]
    assert 0 <= told()[0]["fraction"] <= 1


async def test_a_broken_link_fails_what_runs_with_link_and_later_commands_with_offline(
    subject: Subject, client: Client
) -> None:
    device, (target, fields) = subject.device, subject.mark(next(subject.numbers))
    working = await subject.busy(client, 0.9)
    subject.unplug()
    try:
        assert code(await client.outcome(device, subject.slow, working)) == "link"
        await until(lambda: client.status(device)["state"] == "offline", "offline")
        assert code(await client.ask(device, target, fields)) == "offline"
        values = {
            path
            for path in client.snapshot(device)["values"]
            if not path.startswith("_")
        }
        await until(
            lambda: values <= client.snapshot(device)["bad"].keys(), "all values bad"
        )
        assert {client.snapshot(device)["bad"][path]["code"] for path in values} == {
            "offline"
        }
    finally:
        await subject.plug()
        client.send(device, "call/connect", {})
        await subject.online(client)
    await until(lambda: not client.snapshot(device)["bad"], "nothing bad")


async def test_a_live_retained_command_is_executed(
    subject: Subject, client: Client
) -> None:
    number = next(subject.numbers)
    target, fields = subject.mark(number)
    assert code(await client.ask(subject.device, target, fields, retain=True)) == "ok"
    client.publish(f"{subject.base}{subject.device}/{target}", "", retain=True)
    assert (
        code(await client.ask(subject.device, *subject.mark(next(subject.numbers))))
        == "ok"
    )
    assert subject.marks().count(number) == 1
