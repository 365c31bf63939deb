"""One exit code for each class of error, and they stay what they are."""

import pytest

from busbar.cli import exits
from busbar.client import LeaseLost, Stale
from busbar.contract.messages import Fault
from busbar.errors import BY_CODE, ConfigError
from busbar.mqtt.reconnect import BrokerLost
from tests.cli.command import busbar


def test_every_error_of_the_contract_has_an_exit_code() -> None:
    assert exits.BY_ERROR.keys() == BY_CODE.keys()
    retryable = {code for code, error in BY_CODE.items() if error.retryable}
    assert {
        code
        for code, number in exits.BY_ERROR.items()
        if number in (exits.BUSY, exits.OFFLINE)
    } == retryable


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (BY_CODE["internal"](""), 1),
        (ConfigError(""), 2),
        (BY_CODE["out_of_range"](""), 3),
        (BY_CODE["device"](""), 3),
        (BY_CODE["locked"](""), 4),
        (LeaseLost(""), 4),
        (BY_CODE["timeout"](""), 5),
        (Stale("psu voltage", Fault("offline", "gone")), 5),
        (BrokerLost(""), 6),
    ],
)
def test_the_exit_codes_do_not_change(error: exits.Expected, code: int) -> None:
    assert exits.exit_code(error) == code


def test_help_has_the_table_and_the_variables() -> None:
    shown = busbar("--help")
    assert shown.code == 0
    for code in exits.MEANINGS:
        assert f"\n  {code} " in shown.out
    for name in (
        "BUSBAR_URL",
        "BUSBAR_USERNAME",
        "BUSBAR_PASSWORD_FILE",
        "BUSBAR_CA_FILE",
        "BUSBAR_ROOT",
    ):
        assert name in shown.out.replace("\n                             ", " ")
