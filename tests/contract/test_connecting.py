"""Sections 1 and 5: connecting, announcing, leaving.

Each bridge has a broker of its own here.
"""

import json

import pytest

from busbar.testing.fakes import until
from tests.contract.client import Client, code
from tests.contract.conftest import Fresh
from tests.contract.subject import Subject
from tests.contract.subjects import SUBJECTS

pytestmark = [pytest.mark.section("1"), pytest.mark.section("5")]


async def announced(subject: Subject, client: Client, mark: int) -> None:
    """Check the order of 5.3 among the messages since: devices, bridge, leaves."""
    await until(lambda: any("/state/" in name for name in client.names(mark)), "a leaf")
    online = next(
        mark + i
        for i, s in enumerate(client.seen[mark:])
        if s.topic == f"{subject.base}bridge/status"
        and s.payload
        and s.json["state"] == "online"
    )
    before = client.names(mark)[: online - mark]
    assert not [name for name in before if "/state/" in name], before
    # the whole picture is there with the status of the bridge
    for device in (subject.device, subject.neighbour):
        assert {
            f"{device}/{channel}" for channel in ("status", "info", "state")
        } <= set(before), before
        told = {
            channel: said(client, device, channel, online)
            for channel in ("status", "info", "state")
        }
        assert told["info"]["revision"] >= told["status"]["revision"]
        assert told["state"]["seq"] >= told["status"]["seq"]


def said(client: Client, device: str, channel: str, until_: int) -> dict[str, int]:
    topic = f"{client.base}{device}/{channel}"
    return dict(
        [
            each.json
            for each in client.seen[:until_]
            if each.topic == topic and each.payload
        ][-1]
    )


async def test_at_the_start_all_comes_in_order_and_retained_commands_are_refused(
    fresh: Fresh,
) -> None:
    subject, client = fresh.subject, fresh.client
    stale = [
        f"{subject.base}{topic}"
        for topic in (
            "old/status",
            "old/info",
            "old/state",
            "old/state/x",
            "old/blob/b",
        )
    ]
    stale.append(f"{subject.base}{subject.device}/state/gone")
    command, unknown = (
        f"{subject.base}{subject.device}/{each}"
        for each in (f"set/{subject.number}", "call/nothing")
    )
    for topic in [*stale, command, unknown, "busbar/other/x/status"]:
        client.forge(topic, "29")
    await until(
        lambda: set(stale) <= {each.topic for each in client.seen}, "the left-overs"
    )
    mark = len(client.seen)
    await subject.start()
    await subject.online(client, mark)
    await announced(subject, client, mark)
    await until(lambda: len(client.replies(subject.device)) == 2, "both outcomes")
    assert {code(each) for each in client.replies(subject.device)} == {"retained"}
    await subject.settle()
    await until(
        lambda: not any(client.last(each) for each in [*stale, command, unknown]),
        "all cleared",
    )
    kept = await client.kept()
    assert not set(kept) & {*stale, command, unknown}
    assert "busbar/other/x/status" in kept
    assert (
        json.loads(kept[f"{subject.base}{subject.device}/state"])["values"][
            subject.number
        ]
        != 29
    )


async def test_after_a_reconnect_all_is_announced_again_although_somebody_wiped_it(
    fresh: Fresh,
) -> None:
    subject, client = fresh.subject, fresh.client
    await fresh.online()
    await until(
        lambda: client.on(f"{subject.base}{subject.device}/state/{subject.number}"),
        "the leaves",
    )
    before = set(await client.kept())
    fresh.proxy.accepting = False
    fresh.proxy.cut()
    await until(lambda: client.status("bridge")["state"] == "offline", "the will")
    for topic in before:
        client.publish(topic, "", retain=True)
    await until(
        lambda: before <= {each.topic for each in client.seen if not each.payload},
        "all wiped",
    )
    subject.change(subject.number, 17.0)
    mark = len(client.seen)
    fresh.proxy.accepting = True
    await subject.online(client, mark)
    await announced(subject, client, mark)
    await until(
        lambda: before <= {each.topic for each in client.seen[mark:]}, "all of it"
    )
    await client.value(subject.device, subject.number, 17.0)
    assert before <= set(await client.kept())


async def test_a_bridge_that_dies_is_offline_by_its_will_and_its_successor_takes_over(
    fresh: Fresh,
) -> None:
    subject, client = fresh.subject, fresh.client
    await fresh.online()
    boot = client.status("bridge")["boot"]
    await subject.kill()
    await until(lambda: client.status("bridge")["state"] == "offline", "the will")
    will = client.status("bridge")
    assert (will["boot"], will["since"]) == (boot, None)
    assert will["reason"]["code"] == "link"
    mark = len(client.seen)
    await subject.start()
    await subject.online(client, mark)
    assert client.status("bridge")["boot"] != boot
    assert code(await client.ask("bridge", "call/list", {})) == "ok"


async def test_a_clean_stop_says_stopped_for_all_fails_what_runs_and_leaves_no_will(
    fresh: Fresh,
) -> None:
    subject, client = fresh.subject, fresh.client
    await fresh.online()
    working = await subject.busy(client, 0.9)
    mark = len(client.seen)
    await subject.stop()
    assert subject.left() == ""
    for device in (subject.device, subject.neighbour, "bridge"):
        await until(
            lambda d=device: client.status(d)["state"] == "stopped", f"{device} stopped"
        )
    assert code(await client.outcome(subject.device, subject.slow, working)) in (
        "ok",
        "cancelled",
    )
    statuses = [
        each.json["state"]
        for each in client.seen[mark:]
        if each.topic == f"{subject.base}bridge/status"
    ]
    assert set(statuses) == {"stopped"}
    state = client.snapshot(subject.device)
    assert {fault["code"] for fault in state["bad"].values()} == {"offline"}
    assert {path for path in state["values"] if not path.startswith("_")} <= state[
        "bad"
    ].keys()


async def test_a_second_bridge_of_the_same_name_makes_the_first_one_leave(
    fresh: Fresh, tmp_path_factory: pytest.TempPathFactory
) -> None:
    subject, client = fresh.subject, fresh.client
    await fresh.online()
    boot = client.status("bridge")["boot"]
    async with SUBJECTS[fresh.kind].make(
        fresh.broker.url, client.protocol, tmp_path_factory.mktemp("second")
    ) as second:
        await second.start()
        await until(lambda: subject.left() is not None, "the first to leave", 60)
        assert "duplicate bridge name" in str(subject.left())
        # the first took the name from the second once more before it knew
        await client.abreast()
        await until(lambda: client.status("bridge")["boot"] != boot, "the second")
        await until(
            lambda: client.status("bridge")["state"] == "online",
            "the second to serve",
            60,
        )
        assert second.left() is None
        assert code(await client.ask("bridge", "call/list", {})) == "ok"


async def test_our_own_status_is_repaired_when_somebody_clears_or_falsifies_it(
    fresh: Fresh,
) -> None:
    subject, client = fresh.subject, fresh.client
    await fresh.online()
    topic, good = f"{subject.base}bridge/status", client.status("bridge")
    boot, since = good["boot"], good["since"]
    for wrong in (json.dumps({**good, "state": "offline"}), ""):
        mark = len(client.on(topic))
        client.forge(topic, wrong)
        told = lambda m=mark: [each.payload for each in client.on(topic)[m:]]  # noqa: E731
        await until(lambda t=told, w=wrong: w.encode() in t(), "what was forged")
        await until(lambda t=told, w=wrong: t()[-1] != w.encode(), "the repair")
        assert [client.status("bridge")[key] for key in ("state", "boot", "since")] == [
            "online",
            boot,
            since,
        ]


@pytest.mark.parametrize("channel", ["status", "info"])
async def test_what_others_publish_on_topics_of_a_device_is_repaired(
    fresh: Fresh, channel: str
) -> None:
    subject, client = fresh.subject, fresh.client
    await fresh.online()
    topic = f"{subject.base}{subject.device}/{channel}"
    good = client.on(topic)[-1].json
    kept = {key: value for key, value in good.items() if key not in ("seq", "reason")}
    for wrong in (json.dumps({**good, "boot": "0ther000"}), ""):
        mark = len(client.on(topic))
        client.forge(topic, wrong)
        told = lambda m=mark: [each.payload for each in client.on(topic)[m:]]  # noqa: E731
        await until(lambda t=told, w=wrong: w.encode() in t(), "what was forged")
        await until(lambda t=told, w=wrong: t()[-1] != w.encode(), "the repair")
        now = client.on(topic)[-1].json
        assert {key: now[key] for key in kept} == kept


async def test_clean_removes_what_does_not_live_and_publishes_what_does(
    fresh: Fresh,
) -> None:
    subject, client = fresh.subject, fresh.client
    await fresh.online()
    await until(
        lambda: client.on(f"{subject.base}{subject.device}/state/{subject.number}"),
        "the leaves",
    )
    before = set(await client.kept())
    stale = f"{subject.base}old/state/x"
    client.forge(stale, "1")
    await until(lambda: client.on(stale), "the left-over")
    mark = len(client.seen)
    assert code(await client.ask("bridge", "call/clean", {})) == "ok"
    await until(
        lambda: before <= {each.topic for each in client.seen[mark:] if each.payload},
        "all of it",
    )
    assert not client.on(stale)[-1].payload
    kept = await client.kept()
    assert before <= kept.keys()
    assert stale not in kept
