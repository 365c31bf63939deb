"""Tab offers what lives on the bus, quickly, and never an error."""

import subprocess

import pytest

from tests.broker import find, free_port
from tests.cli.command import Bench, ended


def offered(
    bench: Bench, words: str, shell: str = "bash", **environment: str
) -> list[str]:
    """Return what Tab offers after the words, of which the last one is being typed."""
    number = words.split(" ")[-1] if shell == "fish" else str(len(words.split(" ")) - 1)
    about = {
        "COMP_WORDS": words,
        "COMP_CWORD": number,
        "_BUSBAR_COMPLETE": f"{shell}_complete",
    }
    done = ended(bench.process(**about, **environment))
    assert (done.code, done.err) == (0, "")
    return done.out.split("\n")[:-1]


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("busbar sh", ["plain,show"]),
        ("busbar get b", ["plain,bench/bridge", "plain,bench/psu"]),
        ("busbar set bench/psu set", ["plain,setpoint/voltage"]),
        ("busbar set bench/psu v", []),
        ("busbar get bench/psu v", ["plain,voltage"]),
        ("busbar call bench/psu que", ["plain,query", "plain,query_binary"]),
        ("busbar call bench/psu query_binary b", ["plain,blob="]),
        ("busbar log b", ["plain,bench"]),
        ("busbar config show --bridge sc", ["plain,scpi"]),
    ],
)
def test_names_come_from_the_bus(bench: Bench, words: str, wanted: list[str]) -> None:
    assert [each for each in offered(bench, words) if each] == wanted


def test_other_shells_show_titles_too(bench: Bench) -> None:
    assert "Send a query and return the answer" in offered(
        bench, "busbar call bench/psu query", "zsh"
    )
    assert any(
        line == "plain,query\tSend a query and return the answer"
        for line in offered(bench, "busbar call bench/psu q", "fish")
    )


def test_without_a_broker_nothing_is_offered_and_nothing_is_said(bench: Bench) -> None:
    assert [
        each
        for each in offered(
            bench, "busbar get b", BUSBAR_URL=f"mqtt://127.0.0.1:{free_port()}"
        )
        if each
    ] == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_is_one_that_the_shell_can_read(bench: Bench, shell: str) -> None:
    done = bench("completion", shell)
    assert f"_BUSBAR_COMPLETE={shell}_complete" in done.out
    subprocess.run([find(shell), "-n"], input=done.out, text=True, check=True)
