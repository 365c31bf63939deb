"""One page of errors.

Each code of contract 3.5 has one class, and says whether a retry makes sense.
"""

import pytest

from busbar import errors
from busbar.contract.messages import ReplyError

# Contract 3.5; `*` = retryable.
CODES = [
    "bad_request",
    "unknown",
    "read_only",
    "out_of_range",
    "too_large",
    "retained",
    "forbidden",
    "locked*",
    "overloaded*",
    "expired*",
    "duplicate",
    "offline*",
    "timeout*",
    "cancelled*",
    "link*",
    "protocol",
    "device",
    "internal",
]


def test_every_code_of_the_contract_has_exactly_one_class():
    assert set(errors.BY_CODE) == {code.rstrip("*") for code in CODES}
    assert all(kind.code == code for code, kind in errors.BY_CODE.items())
    assert set(errors.BY_CODE.values()) == set(errors.BusbarError.__subclasses__())


@pytest.mark.parametrize("code", CODES)
def test_a_retry_makes_sense_where_the_contract_says_so(code):
    assert errors.BY_CODE[code.rstrip("*")].retryable is code.endswith("*")


def test_an_error_carries_its_message_and_facts_for_programs():
    error = errors.DeviceRefused(
        "the device says -222", code=-222, text="Data out of range"
    )
    assert str(error) == error.message == "the device says -222"
    assert error.detail == {"code": -222, "text": "Data out of range"}


def test_an_error_becomes_the_error_of_a_reply():
    reply = ReplyError.of(
        errors.Locked("locked by bench 3", owner="bench 3", seconds=2.5)
    )
    assert reply == ReplyError(
        "locked", "locked by bench 3", True, {"owner": "bench 3", "seconds": 2.5}
    )


def test_our_cancelled_is_not_the_cancellation_of_a_task():
    """Nobody who catches BusbarError may swallow the end of a task."""
    import asyncio

    assert not issubclass(errors.Cancelled, asyncio.CancelledError)
    assert not issubclass(errors.DeviceTimeout, TimeoutError)


def test_a_configuration_error_has_no_code_on_the_wire():
    assert not issubclass(errors.ConfigError, errors.BusbarError)
