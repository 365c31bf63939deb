"""Section 2: locks, their scope, who waits for them, and what they pause."""

import pytest

from busbar.testing.fakes import until
from tests.contract.client import Client, code
from tests.contract.subject import Subject

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.section("2")]


async def test_a_lock_keeps_others_out_until_it_ends_and_shows_its_owner(
    subject: Subject, client: Client
) -> None:
    device, number = subject.device, f"set/{subject.number}"
    held = (await client.ask(device, "call/lock", {"ttl": 30, "owner": "bench 3"}))[
        "result"
    ]
    refused = await client.ask(device, number, {"_value": 3})
    assert code(refused) == "locked"
    assert refused["error"]["detail"]["owner"] == "bench 3"
    shown = lambda: client.last(f"{subject.base}{device}/state/_lock")  # noqa: E731
    await until(lambda: (shown() or {}).get("owner") == "bench 3", "the owner")
    assert (
        code(await client.ask(device, number, {"_value": 3, "_lease": held["lease"]}))
        == "ok"
    )
    assert code(await client.ask(device, "call/refresh", {})) == "ok"  # safe
    again = (
        await client.ask(device, "call/lock", {"ttl": 60, "_lease": held["lease"]})
    )["result"]
    assert again["until"] > held["until"]
    assert code(await client.ask(device, "call/unlock", {})) == "locked"
    assert (
        code(await client.ask(device, "call/unlock", {"_lease": held["lease"]})) == "ok"
    )
    await until(lambda: shown() is None, "nobody")
    short = await client.ask(device, "call/lock", {"ttl": 0.2})
    # it ends by itself
    waited = await client.ask(device, number, {"_value": 4, "_wait": 20})
    assert (code(short), code(waited)) == ("ok", "ok")


async def test_who_waits_for_a_lock_is_served_first_come_first_served(
    subject: Subject, client: Client
) -> None:
    device, numbers = subject.device, [next(subject.numbers) for _ in range(5)]
    lease = (await client.ask(device, "call/lock", {"ttl": 60}))["result"]["lease"]
    calls = [subject.mark(number) for number in numbers]
    ids = [
        client.send(device, target, {**fields, "_wait": 30, "_ttl": 5})
        for target, fields in calls
    ]
    # all of them have arrived
    assert code(await client.ask(device, "call/cancel", {"id": "none"})) == "unknown"
    assert not set(ids) & {each["id"] for each in client.replies(device)}
    await client.ask(device, "call/unlock", {"_lease": lease})
    assert [code(await client.outcome(device, calls[0][0], each)) for each in ids] == [
        "ok"
    ] * 5
    assert [each for each in subject.marks() if each in numbers] == numbers


async def test_the_scope_is_the_channel_only_where_devices_share_a_link(
    subject: Subject, client: Client, traits: frozenset[str]
) -> None:
    lease = (await client.ask(subject.device, "call/lock", {"ttl": 30}))["result"][
        "lease"
    ]
    there = await client.ask(subject.neighbour, "call/lock", {"ttl": 30})
    assert code(there) == ("locked" if "shared" in traits else "ok")
    await client.ask(subject.device, "call/unlock", {"_lease": lease})
    await client.ask(
        subject.neighbour,
        "call/unlock",
        {"_lease": (there.get("result") or {}).get("lease")},
    )


@pytest.mark.needs("shared")
async def test_a_lock_of_a_device_leaves_its_neighbours_alone_and_holds_the_channel(
    subject: Subject, client: Client
) -> None:
    device, other = subject.device, subject.neighbour
    narrow = (await client.ask(other, "call/lock", {"ttl": 30, "scope": "device"}))[
        "result"
    ]["lease"]
    assert (
        code(await client.ask(device, f"set/{subject.number}", {"_value": 3})) == "ok"
    )
    assert code(await client.ask(device, "call/lock", {"scope": "channel"})) == "locked"
    assert code(await client.ask(other, "call/unlock", {"_lease": narrow})) == "ok"


@pytest.mark.needs("polls")
async def test_a_lock_can_pause_polls(subject: Subject, client: Client) -> None:
    lease = (
        await client.ask(subject.device, "call/lock", {"ttl": 30, "polls": False})
    )["result"]["lease"]
    await client.outcome(
        subject.device, subject.slow, await subject.busy(client, 0, _lease=lease)
    )
    subject.polls()
    await client.outcome(
        subject.device, subject.slow, await subject.busy(client, 0.4, _lease=lease)
    )
    await client.outcome(
        subject.device, subject.slow, await subject.busy(client, 0.1, _lease=lease)
    )
    assert subject.polls() == 0
    await client.ask(subject.device, "call/unlock", {"_lease": lease})
    await until(subject.polls, "polls again")
