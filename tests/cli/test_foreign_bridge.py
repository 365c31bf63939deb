"""A bridge that answers nonsense costs one line, an exit code and no traceback."""

from collections.abc import Iterator

import pytest

from tests.broker import Mosquitto
from tests.cli.command import Done, busbar, ended, start
from tests.contract.wrong_bridge import WrongBridge, Yard

FAULTS = {
    "lease": "a lock without a lease",
    "scan": "a scan of nothing known",
    "info": "an info that is none",
    "schema": "a schema that is none",
}


@pytest.fixture(scope="module")
def broker() -> Iterator[Mosquitto]:
    with Mosquitto() as running:
        wrong = [WrongBridge(running.port, *each) for each in FAULTS.items()]
        with Yard(*wrong):
            yield running


def one_line(done: Done, code: int, text: str) -> None:
    assert done.code == code, done
    assert done.err.count("\n") == 1
    assert text in done.err


def test_a_lock_without_a_lease_runs_no_program(broker: Mosquitto) -> None:
    done = busbar("lock", "lease/lamp", "--", "true", BUSBAR_URL=broker.url)
    one_line(done, 3, "lease/lamp lock: the result is not as declared")


def test_a_scan_of_something_else_is_one_line(broker: Mosquitto) -> None:
    done = busbar("scan", "scan", BUSBAR_URL=broker.url)
    one_line(done, 3, "scan/bridge scan: the result is not as declared")


@pytest.mark.parametrize("level", [(), ("--active",), ("--all",)])
def test_conformance_reports_a_bridge_whose_own_info_cannot_be_read(
    broker: Mosquitto, level: tuple[str, ...]
) -> None:
    arguments = ("conformance", "info", "--seconds", "1", *level)
    done = busbar(*arguments, BUSBAR_URL=broker.url)
    assert (done.code, done.err) == (7, "")
    assert "VIOLATED  An info has its shape" in done.out
    assert "the check failed" not in done.out
    unread = "busbar/info/bridge has no status, info and state that could be read"
    assert (unread in done.out) == bool(level)


def test_show_of_a_device_with_a_wrong_schema(broker: Mosquitto) -> None:
    done = busbar("show", "schema/lamp", BUSBAR_URL=broker.url)
    assert (done.code, done.err) == (0, "")
    assert "seen/{name}" in done.out
    assert "?" in done.out


def test_a_command_with_a_wrong_schema_is_sent_and_that_is_said(
    broker: Mosquitto,
) -> None:
    done = busbar("call", "schema/lamp", "refresh", BUSBAR_URL=broker.url)
    why = "the schema of refresh cannot be used: properties: 5 is no object of schemas"
    one_line(done, 0, f"sent unchecked; {why}")


def test_tab_offers_nothing_for_arguments_that_cannot_be_read(
    broker: Mosquitto,
) -> None:
    words = {"COMP_WORDS": "busbar call schema/lamp refresh x", "COMP_CWORD": "4"}
    asked = {"_BUSBAR_COMPLETE": "bash_complete", "BUSBAR_URL": broker.url}
    done = ended(start(**words, **asked))
    assert (done.code, done.out.strip(), done.err) == (0, "", "")
