"""How long a command may wait for its start (contract 2)."""

import pytest

from busbar.command.execution import TTL, ttl_of
from busbar.command.request import Request
from busbar.contract.messages import Metadata
from busbar.mqtt.reconnect import Received


@pytest.mark.parametrize(
    ("ttl", "expiry", "seconds"),
    [(None, None, TTL), (None, 3.0, 3.0), (5.0, 3.0, 5.0), (0.0, 3.0, 0.0)],
)
def test_the_ttl_is_that_of_the_command_then_of_the_message_then_ours(
    ttl: float | None, expiry: float | None, seconds: float
):
    received = Received("busbar/lab/psu/set", b"{}", retain=False, expiry=expiry)
    request = Request(received, "psu", "set", 0.0, Metadata(ttl=ttl))
    assert ttl_of(request) == seconds
