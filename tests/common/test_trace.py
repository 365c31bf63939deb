"""TRACE shows every message both ways (contract 2, `log_level`), and never a secret."""

import logging
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from busbar.net.trace import SHOWN, TRACE, Redact, Wire, readable

FORMAT = logging.Formatter("%(message)s")


def written(
    secrets: set[str], message: str, *arguments: object, exc_info: object = None
) -> str:
    """Return what a handler with the filter writes."""
    record = logging.LogRecord("busbar", TRACE, "", 0, message, arguments, exc_info)  # type: ignore[arg-type]
    assert Redact(frozenset(secrets)).filter(record) is True
    return FORMAT.format(record)


def test_the_level_has_a_name_below_debug():
    assert logging.getLevelName(TRACE) == "TRACE"
    assert TRACE < logging.DEBUG


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (b"", "''"),
        (b"*IDN?\n", r"'*IDN?\n'"),
        (b"a\tb\r\n", r"'a\tb\r\n'"),
        (b"it's", '"it\'s"'),
        (b"a\\b", r"'a\\b'"),
        (b"\x00\x01\xff", "00 01 ff"),
        (b"caf\xc3\xa9", "63 61 66 c3 a9"),
        (b"\x1b[2J", "1b 5b 32 4a"),
        (b"\x7f", "7f"),
    ],
)
def test_printable_ascii_is_shown_as_text_and_the_rest_as_hex(data, shown):
    assert readable(data) == shown


@given(st.binary(max_size=300))
def test_what_is_shown_is_one_printable_line(data):
    assert readable(data).isprintable()
    assert readable(data).isascii()


def test_a_long_message_is_elided_with_its_size():
    assert readable(b"x" * SHOWN) == f"'{'x' * SHOWN}'"
    assert readable(b"x" * 1000) == f"'{'x' * SHOWN}'... (1000 bytes)"
    assert readable(b"\x00" * 1000) == f"{'00 ' * (SHOWN - 1)}00... (1000 bytes)"


def test_both_directions_are_logged_by_device(caplog):
    with caplog.at_level(TRACE, "busbar.wire"):
        Wire("psu").sent(b"VOLT?\n")
        Wire("psu").received(b"5.02\n")
    assert [
        (record.name, record.levelno, record.message) for record in caplog.records
    ] == [
        ("busbar.wire.psu", TRACE, r"-> 'VOLT?\n'"),
        ("busbar.wire.psu", TRACE, r"<- '5.02\n'"),
    ]


def test_nothing_is_logged_above_trace(caplog):
    with caplog.at_level(logging.DEBUG, "busbar.wire"):
        Wire("psu").sent(b"VOLT?\n")
    assert caplog.records == []


def test_a_secret_is_replaced_in_the_message_and_its_arguments():
    assert (
        written({"hunter2"}, "hunter2 -> %s %d", "a hunter2 b", 5) == "*** -> a *** b 5"
    )


def test_a_record_without_a_secret_stays_as_it_is():
    assert written({"hunter2"}, "%s of 100 %%", 5) == "5 of 100 %"


def test_a_message_with_a_secret_and_a_percent_sign_is_not_formatted_again():
    assert written({"hunter2"}, "%s", "hunter2 %s %d") == "*** %s %d"


def test_a_longer_secret_goes_before_the_shorter_one_inside_it():
    assert written({"hunter", "hunter2"}, "hunter2 hunter") == "*** ***"


def test_an_empty_secret_is_none():
    assert written({""}, "abc") == "abc"


def test_a_secret_in_a_traceback_is_replaced():
    try:
        raise ValueError("no login with hunter2")
    except ValueError:
        text = written({"hunter2"}, "failed", exc_info=sys.exc_info())
    assert "ValueError: no login with ***" in text
    assert "hunter2" not in text


@pytest.mark.parametrize(
    "secret",
    [
        "hunter2",
        "pass word",
        "a\\b",
        "it's",
        'say "x"',
        'it\'s "x"',
        "tab\there",
        "größe",
        "\x1b",
    ],
)
def test_a_secret_on_the_wire_is_replaced_as_text_and_as_hex(secret):
    for around in (
        b"%s",
        b'LOGIN "%s"\r\n',
        b"LOGIN '%s'",
        b"\x00\x01%s\xff",
        b"'%s\"",
        b"\\%s",
    ):
        shown = readable(around.replace(b"%s", secret.encode()))
        assert shown != written({secret}, "-> %s", shown)
        assert "***" in written({secret}, "-> %s", shown)


secrets = st.text(
    st.characters(codec="utf-8", exclude_characters="*"), min_size=4, max_size=20
)


@given(secrets, st.binary(max_size=40), st.binary(max_size=40))
def test_no_secret_survives_whatever_is_around_it(secret, before, after):
    text = written({secret}, "%s", readable(before + secret.encode() + after))
    assert secret not in text
    assert secret.encode().hex(" ") not in text
    assert "***" in text
