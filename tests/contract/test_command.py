"""The command `busbar conformance`: exit codes, the text, JSON and JUnit."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
from paho.mqtt import publish

from busbar.cli.check.conformance.checks import CHECKS, TITLES
from busbar.cli.group import run
from tests.broker import Mosquitto
from tests.contract.wrong_bridge import WrongBridge, Yard

FAULTS = {"right": "", "wrong": "counters missing"}


def main(arguments: list[str]) -> int:
    return run(["conformance", *arguments])


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with (
        Mosquitto() as broker,
        Yard(
            *(WrongBridge(broker.port, name, fault) for name, fault in FAULTS.items())
        ),
    ):
        yield broker.url


def test_a_bridge_that_keeps_the_contract_gives_0_json_and_junit(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    junit = tmp_path / "report.xml"
    arguments = [
        "right",
        "--device",
        "lamp",
        "--active",
        "--seconds",
        "0.5",
        "--json",
        "--junit",
        str(junit),
    ]
    assert main(["--broker", url, *arguments]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["devices"] == ["bridge", "lamp"]
    assert found["summary"]["violated"] == 0
    not_tried = [each for each in found["checks"] if each["state"] == "not tried"]
    assert all(each["why_not"] and not each["made"] for each in not_tried)
    assert len(found["checks"]) + len(found["not_asked_for"]) == len(CHECKS)
    suite = ElementTree.parse(junit).getroot()
    assert int(suite.attrib["tests"]) == len(found["checks"])
    assert (
        int(suite.attrib["skipped"])
        == len(not_tried)
        == len(suite.findall("testcase/skipped"))
    )
    assert not suite.findall("testcase/failure")


def test_a_violation_gives_7_and_says_what_and_where(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    junit = tmp_path / "report.xml"
    assert (
        main(["wrong", "--broker", url, "--seconds", "0.5", "--junit", str(junit)]) == 7
    )
    shown = capsys.readouterr().out
    assert "4 The bridge's own device\n  VIOLATED" in shown
    assert "busbar/wrong/bridge/state: uptime is None" in shown
    assert shown.splitlines()[-1].count("more with --active")
    failures = ElementTree.parse(junit).getroot().findall("testcase/failure")
    assert [each.attrib["message"] for each in failures] == [
        ("busbar/wrong/bridge/state: uptime is None")
    ]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["nobody"], 5, "no bridge has said anything on busbar/nobody/bridge/status"),
        (
            ["right", "--device", "fridge", "--active", "--seconds", "0"],
            5,
            "nothing is said of busbar/right/fridge",
        ),
        (["a/b"], 2, "bridge name 'a/b'"),
        (["right", "--broker", "mqtt://127.0.0.1:9"], 6, "cannot connect"),
    ],
)
def test_what_cannot_be_checked_has_its_exit_code(
    arguments: list[str],
    code: int,
    said: str,
    url: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["--broker", url, *arguments]) == code
    assert said in capsys.readouterr().err


def test_every_check_has_a_section_and_a_sentence_of_its_own() -> None:
    assert {each.section for each in CHECKS} == TITLES.keys()
    assert len({each.sentence for each in CHECKS}) == len(CHECKS) >= 70


def test_a_bridge_of_which_only_the_broker_knows_is_not_examined(
    url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    long_ago = time.time() - 1000
    status = {"state": "online", "since": long_ago, "boot": "a", "revision": 1}
    snapshot = {"boot": "a", "seq": 1, "time": long_ago, "values": {}, "bad": {}}
    said = {"status": {**status, "seq": 1, "reason": None}, "state": snapshot}
    port = int(url.rpartition(":")[2])
    for channel, payload in said.items():
        topic = f"busbar/remembered/bridge/{channel}"
        publish.single(topic, json.dumps(payload), 1, retain=True, port=port)
    assert main(["--broker", url, "remembered"]) == 5
    assert "no sign of life for 1000 s" in capsys.readouterr().err
