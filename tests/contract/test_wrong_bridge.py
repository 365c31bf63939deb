"""The product finds each planted fault, and nothing in the same bridge without one.

All are looked at at once.
"""

import asyncio
from typing import Any

import pytest

from busbar.cli.check.conformance import examine, report
from busbar.contract.topics import Topics
from busbar.net.endpoint import Endpoint
from tests.broker import Mosquitto
from tests.contract.wrong_bridge import WrongBridge, Yard

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.section("1 to 5")]

SECONDS = 2.5  # to listen: some snapshots
NOT_HERE = {"There is a snapshot at least every 60 s"}
# fault: how hard to look, the beginning or a part of the check that has to find it
FAULTS = {
    "status QoS 0": ("passive", "status, info, state, events and replies have QoS 1"),
    "leaf QoS 1": ("passive", "state/<property> and blobs have QoS 0"),
    "state not retained": (
        "passive",
        ("status, info and state of every device are there and retained"),
    ),
    "leaf not retained": ("passive", "state/<property> is retained"),
    "bad JSON": ("passive", "A state has its shape"),
    "info without commands": ("passive", "An info has its shape"),
    "a topic of its own": ("passive", "Topics are"),
    "an event that info lacks": ("passive", "info names every leaf, event and blob"),
    "another boot in state": ("passive", "boot is the same everywhere"),
    "info behind status": ("passive", "info.revision and state.seq reach"),
    "another contract": ("passive", "info says contract"),
    "a password in address": (
        "passive",
        ("Addresses, reasons and errors have no credentials"),
    ),
    "a command missing": ("passive", "Every device has the commands"),
    "counters missing": ("passive", "The bridge's own state has its counters"),
    "a value out of its schema": ("passive", "A value that is not bad is valid"),
    "a value that info lacks": ("passive", "A property comes only after the info"),
    "a good value called out of range": (
        "passive",
        "A value that is bad with `out_of_range`",
    ),
    "a default out of its schema": ("passive", "Properties make sense"),
    "a family without its range": ("passive", "Properties make sense"),
    "another value in the leaf": ("passive", "A leaf says what the snapshot says"),
    "a code of its own in bad": ("passive", "What is bad says why"),
    "good values of an offline device": ("passive", "While a device is offline"),
    "seq with a gap": ("passive", "seq counts"),
    "a change left out": ("passive", "A snapshot and the changes after it"),
    "too many snapshots": ("passive", "There is a snapshot at most once a second"),
    "times of nothing": ("passive", "`times` has nothing but values"),
    "an event unlike info": ("passive", "Events are as info declares"),
    "milliseconds": ("active", "Times are Unix seconds"),
    "reply retained": ("active", "Events, replies and commands are never retained"),
    "reply of another device": ("active", "A reply names bridge and device"),
    "an error code of its own": (
        "active",
        ("A reply is ok, or has an error of the list"),
    ),
    "retryable wrong": ("active", "A reply is ok, or has an error of the list"),
    "no outcome": ("active", "Every command has exactly one outcome"),
    "two outcomes": ("active", "Every command has exactly one outcome"),
    "unknown command answered ok": ("active", "An unknown command is `unknown`"),
    "another error code": ("active", "An unknown command is `unknown`"),
    "read-only written": ("all", "A read-only property is `read_only`"),
    "misspelt metadata taken": ("active", "Malformed payloads"),
    "empty payload answered": ("active", "An empty payload is ignored"),
    "bare arguments refused": ("active", "`cancel` of what does not run"),
    "MessagePack refused": ("active", "`cancel` of what does not run"),
    "a device not listed": ("active", "`list` of the bridge"),
    "another result": ("active", "Commands declared safe"),
    "_sent ignored": ("active", "A command sent long ago is `expired`"),
    "replies anywhere": ("active", "A reply topic outside"),
    "no private reply": ("active", "The outcome goes to a private reply topic"),
    "id not echoed": ("active", "`_id` is echoed"),
    "another's correlation": ("active", "MQTT 5: Correlation Data"),
    "two locks": ("all", "Others fail with `locked`"),
    "a lock not shown": ("all", "`state/_lock` shows"),
    "a lock that never ends": ("all", "A lock ends by itself"),
    "a lock for ever": ("all", "A lock lasts an hour at most"),
    "_wait ignored": ("all", "With `_wait` a lock is granted"),
    "safe commands locked out": ("all", "A safe command passes a lock"),
    "the same id run twice": ("all", "A command with a known id"),
    "another command with a known id": ("all", "A command with a known id"),
    "a refused id remembered": ("all", "A command that was refused before it started"),
    "words for booleans refused": (
        "all",
        ("Every form of a payload writes the same value"),
    ),
    "half a set applied": ("all", "`set` of several is validated whole"),
    "a range not checked": ("all", "A value out of range or of the wrong type"),
    "writes pass a lock": ("all", "A lock keeps writes of others out"),
    "retained commands executed": (
        "all",
        ("After a reconnect every device is announced again"),
    ),
    "nothing announced after a reconnect": (
        "all",
        ("After a reconnect every device is announced again"),
    ),
    "bridge online first": ("all", "After a reconnect every device is announced again"),
}


RIGHT = {"right5": "5", "right311": "3.1.1"}  # bridges without a fault


async def reports() -> dict[str, report.Report]:
    """Look at all of them at once: it is mostly waiting."""
    names = {fault: f"wrong{number}" for number, fault in enumerate(FAULTS)}
    with Mosquitto() as broker, Yard(*bridges(broker, names)):
        looks = [
            look(broker, names[fault], level) for fault, (level, _) in FAULTS.items()
        ]
        looks += [
            look(broker, name, "all", protocol) for name, protocol in RIGHT.items()
        ]
        found = await asyncio.gather(*looks)
        return dict(zip([*FAULTS, *RIGHT], found, strict=True))


def bridges(broker: Mosquitto, names: dict[str, str]) -> list[WrongBridge]:
    wrong = [WrongBridge(broker.port, name, fault) for fault, name in names.items()]
    return [
        *wrong,
        *(
            WrongBridge(broker.port, name, protocol=protocol)
            for name, protocol in RIGHT.items()
        ),
    ]


async def look(
    broker: Mosquitto, name: str, level: Any, protocol: str = "5"
) -> report.Report:
    return await examine.examine(
        Endpoint(broker.url, protocol=protocol),
        Topics("busbar", name),
        level,
        None,
        SECONDS,
    )


@pytest.mark.timeout(400)
async def test_each_planted_fault_is_found_and_nothing_without_one() -> None:
    """One test, so that no second worker of the suite looks again."""
    found = await reports()
    for fault, (_, sentence) in FAULTS.items():
        violated = [each.sentence for each in found[fault].violated]
        assert any(sentence in each for each in violated), report.text(found[fault])
    for name, protocol in RIGHT.items():
        assert not found[name].violated, report.text(found[name])
        assert not_tried(found[name]) <= not_here(protocol), report.text(found[name])


def not_tried(found: report.Report) -> set[str]:
    return {each.sentence for each in found.results if each.state == "not tried"}


def not_here(protocol: str) -> set[str]:
    if protocol == "5":
        return NOT_HERE
    return NOT_HERE | {"MQTT 5: Correlation Data is echoed"}
