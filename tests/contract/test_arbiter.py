"""Section 2: who exchanges next on a link, and what the commands about the link do."""

import pytest

from busbar.testing.fakes import until
from tests.contract.client import Client, code
from tests.contract.subject import Subject

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.section("2")]


@pytest.mark.needs("shared")
async def test_commands_of_all_devices_of_a_link_are_served_in_order_of_arrival(
    subject: Subject, client: Client
) -> None:
    working = await subject.busy(client, 0.3)
    numbers = [next(subject.numbers) for _ in range(10)]
    devices = [(subject.device, subject.neighbour)[number % 2] for number in numbers]
    sent = [
        (device, client.send(device, *subject.mark(number)))
        for device, number in zip(devices, numbers, strict=True)
    ]
    for device, id_ in sent:
        assert code(await client.outcome(device, subject.mark(0)[0], id_)) == "ok"
    assert code(await client.outcome(subject.device, subject.slow, working)) == "ok"
    assert [each for each in subject.marks() if each in numbers] == numbers


async def test_safe_commands_go_first(subject: Subject, client: Client) -> None:
    device = subject.device
    working = await subject.busy(client, 0.3)
    mark = len(client.seen)
    waiting = [
        client.send(device, *subject.mark(next(subject.numbers))) for _ in range(3)
    ]
    safe = client.send(device, "call/refresh", {})
    for id_ in waiting:
        assert code(await client.outcome(device, subject.mark(0)[0], id_)) == "ok"
    order = [
        each["id"]
        for each in client.replies(device, mark)
        if each["id"] in {safe, working, *waiting}
    ]
    assert order == [working, safe, *waiting]


@pytest.mark.needs("polls")
async def test_commands_go_before_polls(subject: Subject, client: Client) -> None:
    number = next(subject.numbers)
    working = await subject.busy(client, 0.5)  # polls have fallen due meanwhile
    subject.polls()
    await client.ask(subject.device, *subject.mark(number))
    assert code(await client.outcome(subject.device, subject.slow, working)) == "ok"
    assert subject.polled_before(number) == 0
    await until(subject.polls, "polls again")


@pytest.mark.needs("waiting")
async def test_who_waits_for_an_event_does_not_hold_the_link(
    subject: Subject, client: Client
) -> None:
    target, fields = subject.waiting
    commands = client.last(f"{subject.base}{subject.device}/info")["commands"]
    assert commands[target.partition("/")[2]]["holds"] == "exchange"
    waiting = client.send(subject.device, target, fields)
    assert (
        code(await client.ask(subject.device, *subject.mark(next(subject.numbers))))
        == "ok"
    )
    assert not [
        each for each in client.replies(subject.device) if each["id"] == waiting
    ]
    await client.ask(subject.device, "call/cancel", {"id": waiting})
    assert code(await client.outcome(subject.device, target, waiting)) == "cancelled"


async def test_what_the_bridge_answers_itself_never_queues(
    subject: Subject, client: Client
) -> None:
    working = await subject.busy(client, 0.9)
    mark = len(client.seen)
    lease = (await client.ask(subject.device, "call/lock", {"ttl": 30}))["result"][
        "lease"
    ]
    assert (
        code(await client.ask(subject.device, "call/unlock", {"_lease": lease})) == "ok"
    )
    assert code(await client.ask("bridge", "call/list", {})) == "ok"
    # came after all of these
    await client.outcome(subject.device, subject.slow, working, mark)


async def test_a_device_stays_offline_after_disconnect_until_connect(
    subject: Subject, client: Client
) -> None:
    device = subject.device
    assert code(await client.ask(device, "call/disconnect", {})) == "ok"
    try:
        await until(lambda: client.status(device)["state"] == "offline", "offline")
        assert (
            code(await client.ask(device, *subject.mark(next(subject.numbers))))
            == "offline"
        )
    finally:
        assert code(await client.ask(device, "call/connect", {})) == "ok"
        await subject.online(client)
    assert code(await client.ask(device, *subject.mark(next(subject.numbers)))) == "ok"


async def test_reconnect_breaks_the_link_and_opens_it_again(
    subject: Subject, client: Client
) -> None:
    working = await subject.busy(client, 0.9)
    assert code(await client.ask(subject.device, "call/reconnect", {})) == "ok"
    assert code(await client.outcome(subject.device, subject.slow, working)) == "link"

    async def back() -> bool:
        return (
            code(await client.ask(subject.device, *subject.mark(next(subject.numbers))))
            == "ok"
        )

    await until(back, "the link")


async def test_what_would_open_more_or_end_the_bridge_is_forbidden_unless_configured(
    subject: Subject, client: Client
) -> None:
    wanted = {"name": "more", "address": "tcp::127.0.0.1:9"}
    assert code(await client.ask("bridge", "call/open", wanted)) == "forbidden"
    assert (
        code(await client.ask("bridge", "call/close", {"name": subject.device}))
        == "forbidden"
    )
    assert code(await client.ask("bridge", "call/shutdown", {})) == "forbidden"
    assert (
        code(await client.ask(subject.device, *subject.mark(next(subject.numbers))))
        == "ok"
    )
