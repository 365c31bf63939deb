"""The commands on a real broker with a real bridge.

What they print, as text and as JSON, and how they end.
"""

import json
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from busbar.cli import exits
from busbar.cli.output import Output, is_table
from busbar.cli.value_table import rows_of
from busbar.cli.watching import _meets
from busbar.contract.describe import Description, Property, by_path
from tests.broker import free_port
from tests.cli.command import LIMIT, Bench, busbar, ended, start, until


def test_ls_lists_devices_with_kind_state_and_title(bench: Bench) -> None:
    assert bench("ls").out.splitlines() == [
        "device        kind    state   title",
        "bench/bridge  bridge  online  scpi-bridge",
        "bench/psu     scpi    online  BUSBAR PSU-SIM 30-5",
    ]
    (row,) = bench("--json", "ls", "*/psu").json
    assert (row["device"], row["kind"], row["state"]) == ("bench/psu", "scpi", "online")


def test_ls_watch_tells_of_what_comes_and_goes(bench: Bench) -> None:
    process = bench.process("ls", "bench/psu", "--watch", "--json", "-n", "1")
    assert process.stdout is not None
    process.stdout.readline()
    assert bench("call", "bench/psu", "disconnect").code == 0
    (row,) = ended(process).lines
    assert row == {"device": "bench/psu", "state": "offline", "reason": row["reason"]}
    assert bench("call", "bench/psu", "connect").code == 0
    until(lambda: bench("get", "bench/psu", "voltage").code == 0, "the power supply")


def test_show_has_values_with_units_and_commands_with_arguments(bench: Bench) -> None:
    shown = bench("show", "bench/psu")
    assert "serial        SIM0001" in shown.out
    assert any(
        line.split()[0] == "voltage" and line.split()[2] == "V"
        for line in shown.out.splitlines()
        if line
    )
    _, _, commands = shown.out.partition("\ncommand ")
    assert commands.split()[:2] == ["title", "arguments"]
    (binary,) = (
        line for line in commands.splitlines() if line.startswith("query_binary")
    )
    assert binary.endswith("  command=string [blob=string]")
    names = [line.split()[0] for line in commands.splitlines()[1:]]
    assert names[0] == "query"
    assert sorted(names[-7:]) == [
        "cancel",
        "connect",
        "disconnect",
        "lock",
        "reconnect",
        "refresh",
        "unlock",
    ]
    document = bench("show", "bench/psu", "--json").json
    assert document["state"] == "online"
    assert document["info"]["properties"]["voltage"]["unit"] == "V"


def test_show_has_room_in_an_object_where_it_can_be_folded(bench: Bench) -> None:
    lease = bench("--json", "call", "bench/psu", "lock", "owner=ada").json["result"][
        "lease"
    ]
    assert '{"owner": "ada", "until": ' in bench("show", "bench/psu").out
    assert bench("call", "bench/psu", "unlock", "--lease", lease).code == 0


def test_show_watch_shows_the_values_again_when_they_have_changed(bench: Bench) -> None:
    assert (
        bench("show", "bench/psu", "--watch", "-n", "1").out.splitlines()[0]
        == "bench/psu  online"
    )
    pictures = bench("show", "bench/psu", "--watch", "--json", "-n", "2").lines
    assert [each["state"] for each in pictures] == ["online", "online"]
    assert pictures[0]["times"] != pictures[1]["times"]


def test_a_property_that_is_rows_is_shown_as_a_table(
    capsys: pytest.CaptureFixture[str],
) -> None:
    output = Output(as_json=False)
    assert is_table([{"pin": 3, "level": True}])
    assert not any(map(is_table, ([], [1], {"pin": 3}, "text", None)))
    output.again()  # clears a terminal only
    output.answer([{"pin": 3, "level": True}, {"pin": 5, "level": None}], None)
    assert capsys.readouterr().out.splitlines() == ["pin  level", "3    true", "5"]


def test_known_members_come_before_their_family_and_readbacks_are_left_out() -> None:
    joins = {"join": range(1, 9)}
    family = Property(
        "digital/{join}", bool, "rw", readback="_out/digital/{join}", parameters=joins
    )
    back = Property("_out/digital/{join}", bool, parameters=joins)
    info = Description("cip", by_path([family, back, Property("clock", str)])).info(
        "theatre", "panel", 1, "9f2c61aa"
    )
    assert list(rows_of(info, {"digital/2": True})) == [
        "clock",
        "digital/2",
        "digital/{join}",
    ]


def test_set_and_get_and_what_they_print(bench: Bench) -> None:
    done = bench("set", "bench/psu", "setpoint/voltage", "5")
    assert (done.code, done.out, done.err) == (0, "5.0\n", "")
    assert (
        bench("set", "bench/psu", "output=on", "setpoint/voltage=3").out
        == "output            true\nsetpoint/voltage  3.0\n"
    )
    assert bench("get", "bench/psu", "output").out == "true\n"
    several = bench("get", "bench/psu", "output", "setpoint/voltage", "--json").json[
        "values"
    ]
    assert {path: each["value"] for path, each in several.items()} == {
        "output": True,
        "setpoint/voltage": 3.0,
    }
    assert bench("set", "--json", "bench/psu", "output", "off").json == {
        "ok": True, "device": "bench/psu", "target": "set/output", "result": False,
    }  # fmt: skip


def test_call_prints_text_as_it_is_and_rows_as_a_table(bench: Bench) -> None:
    assert (
        bench("call", "bench/psu", "query", "*IDN?").out
        == "BUSBAR,PSU-SIM 30-5,SIM0001,1.0\n"
    )
    assert bench("call", "bench/psu", "refresh").out == ""
    assert bench("call", "bench/bridge", "list").out.split()[:3] == [
        "device",
        "kind",
        "address",
    ]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (
            ["set", "bench/psu", "setpoint/voltage", "99"],
            3,
            "setpoint/voltage: 99 is out of range; allowed: at most 30",
        ),
        (
            ["set", "bench/psu", "setpoint/voltage", "-5"],
            3,
            ("the instrument says -222: Data out of range"),
        ),
        (["set", "bench/psu", "voltage", "1"], 3, "bench/psu voltage is read-only"),
        (
            ["set", "bench/psu", "volts", "1"],
            3,
            ("no property 'volts'; did you mean 'voltage'?"),
        ),
        (
            ["get", "bench/psu", "volts"],
            3,
            ("bench/psu has no property 'volts'; did you mean 'voltage'?"),
        ),
        (
            ["call", "bench/psu", "quary"],
            3,
            ("bench/psu has no command 'quary'; did you mean 'query'?"),
        ),
        (["call", "bench/psu", "lock", "ttl=x"], 3, "ttl: expected a number, got x"),
        (
            ["get", "bench/nobody"],
            3,
            "there is no device bench/nobody on mqtt://127.0.0.1:",
        ),
        (["scan", "bench"], 3, "this bridge (scpi) cannot scan"),
        (
            ["set", "bench/psu", "output", "on", "setpoint/voltage", "3"],
            2,
            "'output' is neither PATH VALUE nor",
        ),
        (
            ["watch", "bench/psu/output"],
            2,
            ("'bench/psu/output' is neither BRIDGE/DEVICE nor a pattern"),
        ),
        (["watch", "bench/psu", "a b"], 2, "'a b': a level is 1 to 64 of"),
        (["events", "bench/psu", "a b"], 2, "'a b': a level is 1 to 64 of"),
        (
            ["blobs", "bench/psu", "a b", "--save", "."],
            2,
            "'a b': a level is 1 to 64 of",
        ),
        (["scan", "a b"], 2, "bridge name 'a b'"),
        (["get", "psu"], 2, "'psu' is not the name of a device: BRIDGE/DEVICE"),
        (["get"], 2, "Missing argument 'DEVICE'."),
        (["got"], 2, "no command 'got'; did you mean 'get'? there are: ls, show, "),
        (["shwo"], 2, "did you mean 'show'?"),
        (["ls", "-b", "http://host"], 2, "broker url 'http://host'"),
        (["ls", "--root", "a b"], 2, "root 'a b'"),
        (["ls", "--password-file", "/nowhere"], 2, "cannot read /nowhere"),
    ],
)
def test_an_error_is_one_line_and_its_class_is_the_exit_code(
    bench: Bench, arguments: list[str], code: int, said: str
) -> None:
    done = bench(*arguments)
    assert (done.code, done.out) == (code, "")
    assert done.err.startswith("busbar")
    assert said in done.err
    assert done.err.count("\n") == 1


def test_an_error_is_json_where_json_was_asked_for(bench: Bench) -> None:
    done = bench("set", "bench/psu", "setpoint/voltage", "99", "--json")
    assert done.code == 3
    assert '"code":"out_of_range"' in done.err
    assert '"exit":3' in done.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["got", "--json"], "no command 'got'; did you mean 'get'?"),
        (["--json", "get"], "Missing argument 'DEVICE'. (see busbar get --help)"),
        (
            ["get", "bench", "--json"],
            (
                "'bench' is not the name of a device: "
                "BRIDGE/DEVICE (see busbar get --help)"
            ),
        ),
        (["replay", "/nowhere", "--json"], "does not exist"),
        (["--json", "config"], "Missing command."),
    ],
)
def test_wrong_usage_is_json_too(arguments: list[str], said: str) -> None:
    done = busbar(*arguments)
    told = json.loads(done.err)
    assert (done.code, told["exit"], told["error"]["code"]) == (2, 2, "usage")
    assert said in told["error"]["message"]


def test_the_json_of_a_program_that_is_run_is_not_ours() -> None:
    assert busbar("lock", "psu", "--", "program", "--json").err.startswith(
        "busbar lock: 'psu' is not the name"
    )


@pytest.mark.parametrize("arguments", [[], ["config"]])
def test_without_a_command_it_shows_its_help(arguments: list[str]) -> None:
    done = busbar(*arguments)
    assert (done.code, done.out) == (2, "")
    assert done.err == busbar(*arguments, "--help").out


def test_watch_tells_of_a_path_that_no_known_device_has_and_goes_on(
    bench: Bench,
) -> None:
    done = bench("watch", "bench/psu", "nope", "setpoint/+", "-n", "1", "--json")
    assert [row["path"] for row in done.lines] == ["setpoint/voltage"]
    assert done.err.startswith(
        "no property of bench/psu fits 'nope' (now); waiting; there are: "
    )
    assert done.err.count("\n") == 1
    assert (
        bench("watch", "bench", "volts", "--for", "0").err.count(
            "did you mean 'voltage'?"
        )
        == 1
    )
    done = bench("watch", "bench/nobody", "nope", "--for", "0")
    assert done.err.splitlines()[0] == "there is no device bench/nobody (now); waiting"


@pytest.mark.parametrize(
    ("pattern", "template", "meets"),
    [
        ("digital/+", "digital/{join}", True),
        ("+/5", "digital/{join}", True),
        ("#", "digital/{join}", True),
        ("digital/#", "digital/{join}/name", True),
        ("+", "digital/{join}", False),
        ("analog/+", "digital/{join}", False),
        ("digital/+/x", "digital/{join}", False),
    ],
)
def test_a_pattern_meets_the_members_of_a_family(
    pattern: str, template: str, meets: bool
) -> None:
    assert _meets(pattern, template) is meets


def test_a_device_that_is_offline_gives_5_and_its_last_value_on_request(
    bench: Bench,
) -> None:
    assert bench("call", "bench/psu", "disconnect").code == 0
    try:
        until(
            lambda: bench("get", "bench/psu", "voltage").code == exits.OFFLINE,
            "the end",
        )
        stale = bench("get", "bench/psu", "voltage")
        assert stale.out == ""
        assert stale.err.startswith("busbar: bench/psu voltage: ")
        assert float(bench("get", "bench/psu", "voltage", "--stale").out) < 31
        assert bench("set", "bench/psu", "output", "on").code == exits.OFFLINE
    finally:
        bench("call", "bench/psu", "connect")
        until(
            lambda: bench("get", "bench/psu", "voltage").code == 0, "the power supply"
        )


def test_no_broker_gives_6_at_once() -> None:
    url = f"mqtt://127.0.0.1:{free_port()}"
    done = busbar("ls", "-b", url)
    assert (done.code, done.out) == (6, "")
    assert f"cannot connect to {url}" in done.err
    assert done.err.count("\n") == 1


def test_a_broker_that_says_nothing_gives_6_after_the_given_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"mqtt://127.0.0.1:{server.getsockname()[1]}"
        done = busbar("ls", "--connect-timeout", "0.2", BUSBAR_URL=url)
    assert done.code == 6
    assert done.err.count("\n") == 1


def test_a_lock_runs_a_program_whose_commands_pass_while_others_are_refused(
    bench: Bench,
) -> None:
    own = f"{sys.executable} -m busbar set bench/psu output on"
    other = (
        f"env -u BUSBAR_LEASE {sys.executable} -m busbar set bench/psu output off; "
        f"echo $?"
    )
    process = bench.process(
        "lock",
        "bench/psu",
        "--owner",
        "tests",
        "--",
        "sh",
        "-c",
        f"{own}; {other}; exit 9",
    )
    done = ended(process)
    assert done.code == 9
    assert done.out == "true\n4\n"
    assert "locked by tests" in done.err
    assert bench("set", "bench/psu", "output", "off").code == 0  # it is over


def test_a_stated_timeout_is_that_of_the_whole_command(bench: Bench) -> None:
    bench.bridge.signal(signal.SIGSTOP)
    try:
        for words in (
            ["call", "bench/psu", "refresh", "--ttl", "60"],
            ["call", "bench/psu", "query", "*IDN?", "--wait", "60"],
            ["lock", "bench/psu", "--wait", "60", "--ttl", "1", "--", "true"],
        ):
            at = words.index("bench/psu") + 1
            done = bench("--json", *words[:at], "--timeout", "0.5", *words[at:])
            error = json.loads(done.err)["error"]
            assert (done.code, error["code"], error["retryable"]) == (
                5,
                "timeout",
                True,
            )
            assert "no outcome within 0.5 s; it may have been done" in error["message"]
    finally:
        bench.bridge.signal(signal.SIGCONT)
    until(lambda: bench("lock", "bench/psu", "--", "true").code == 0, "the lease's end")
    done = bench("call", "bench/psu", "refresh", "--timeout", "0")
    assert (done.code, "it was not sent" in done.err) == (5, True)
    assert bench("call", "bench/psu", "refresh", "--timeout", "-1").code == 2


def test_what_somebody_else_has_locked_gives_4(bench: Bench) -> None:
    lease = bench("--json", "call", "bench/psu", "lock", "owner=somebody").json[
        "result"
    ]["lease"]
    assert bench("lock", "bench/psu", "--", "true").code == 4
    assert bench("set", "bench/psu", "output", "on", BUSBAR_LEASE=lease).code == 0
    assert bench("call", "bench/psu", "unlock", "--lease", lease).code == 0


def test_a_program_that_is_not_there_is_an_error_of_usage(bench: Bench) -> None:
    done = bench("lock", "bench/psu", "--", "no-such-program")
    assert done.code == 2
    assert "there is no program 'no-such-program'" in done.err


def test_watch_prints_lines_of_json(bench: Bench) -> None:
    rows = bench("watch", "bench", "setpoint/#", "--json", "-n", "1").lines
    assert [(row["device"], row["path"]) for row in rows] == [
        ("bench/psu", "setpoint/voltage")
    ]


def test_watch_shows_what_changes_until_ctrl_c_which_is_quiet(bench: Bench) -> None:
    process = bench.process("watch", "bench/psu", "output", "--json", "--new")
    assert process.stdout is not None
    try:
        until(lambda: bench("set", "bench/psu", "output", "on").code == 0, "a set")
        until(lambda: _changes(bench, process), "a change")
        process.send_signal(signal.SIGINT)
        done = ended(process)
    finally:
        process.kill()
    assert (done.code, done.err) == (130, "")


def _changes(bench: Bench, process: "subprocess.Popen[str]") -> str:
    """Toggle until the one who watches, once it is there, has seen it."""
    assert process.stdout is not None
    bench("set", "bench/psu", "output", "off")
    bench("set", "bench/psu", "output", "on")
    ready, _, _ = select.select([process.stdout], [], [], 0)
    return process.stdout.readline() if ready else ""


@pytest.mark.parametrize("form", [["--json"], []])
def test_a_reader_that_leaves_ends_it_without_a_word(
    bench: Bench, form: list[str]
) -> None:
    process = bench.process("watch", "bench/psu", "voltage", *form)
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    try:
        assert process.wait(LIMIT) == 141
    finally:
        process.kill()
    assert process.stderr is not None
    assert process.stderr.read() == ""
    process.stderr.close()


def test_events_and_log_end_when_told(bench: Bench) -> None:
    assert (
        bench("events", "bench/psu", "change", "-n", "1", "--json").lines[0]["event"]
        == "change"
    )
    assert bench("log", "--for", "0").code == 0
    assert bench("log", "bench", "--for", "0").code == 0


def test_blobs_are_saved_under_a_name_of_their_own(
    bench: Bench, tmp_path: Path
) -> None:
    process = bench.process(
        "blobs", "bench/psu", "--save", str(tmp_path / "new"), "-n", "1", "--json"
    )
    fetch = ["call", "bench/psu", "query_binary", "command=TRAC1:DATA?", "blob=trace"]
    try:
        until(lambda: bench(*fetch).code == 0 and process.poll() is not None, "a blob")
        (row,) = ended(process).lines
    finally:
        process.kill()
    assert Path(row["file"]).stat().st_size == row["size"]
    assert (row["device"], row["name"]) == ("bench/psu", "trace")


def test_clean_is_done_by_the_bridge_and_without_one_on_request(bench: Bench) -> None:
    assert bench("clean", "bench", "--json").json["removed"] > 10
    refused = bench("clean", "bench", "--gone")
    assert refused.code == 3
    assert "is online" in refused.err
    assert "busbar clean --gone nobody" in bench("clean", "nobody").err


def test_conformance_has_the_options_of_all_commands(bench: Bench) -> None:
    assert (
        bench("--json", "conformance", "bench", "--seconds", "0.1").json["summary"][
            "violated"
        ]
        == 0
    )
    assert bench("conformance").code == 2
    assert bench("conformance", "nobody", "--seconds", "0").code == 5
    assert "--junit" in bench("conformance", "--help").out


def test_help_needs_no_broker_and_every_command_has_it() -> None:
    names = [
        line.split()[0]
        for line in busbar("--help").out.splitlines()
        if line.startswith("  ") and line[2].islower()
    ]
    for name in (name for name in names if not name.isdigit()):
        done = busbar(name, "--help")
        assert done.code == 0
        assert done.out.startswith(f"Usage: busbar {name} ")
    assert "demo" in names


def test_python_m_busbar_is_the_command() -> None:
    assert ended(start("--version")).code == 0
