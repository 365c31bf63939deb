"""What is known of a command before it is run, or refused (contract 2)."""

import asyncio

import pytest

from busbar.command.request import Claim, Request, peek
from busbar.contract.messages import Metadata
from busbar.errors import LinkLost, Offline
from busbar.mqtt.reconnect import Received


@pytest.mark.parametrize(
    ("payload", "sender"),
    [
        (b'{"_id": "a", "_reply": "busbar/reply/me"}', ("a", "busbar/reply/me")),
        (b'{"_id": "a", "_ttl": "nonsense"}', ("a", None)),
        (b'{"_id": 1.5}', (None, None)),
        (b"{", (None, None)),
        (b"5", (None, None)),
        (b"", (None, None)),
    ],
)
def test_a_refused_command_still_finds_its_sender(
    payload: bytes, sender: tuple[str | None, str | None]
):
    found = peek(payload)
    assert (found.id, found.reply) == sender


def test_who_names_no_patience_does_not_wait():
    assert Claim.of(Metadata(lease="l")) == Claim("l", 0.0)


async def test_the_first_error_that_ends_a_command_is_its_outcome():
    received = Received("busbar/lab/psu/set", b"{}", retain=False)
    request = Request(received, "psu", "set", 0.0)
    request.task = asyncio.create_task(asyncio.sleep(60))
    request.entered = True
    first = LinkLost("unplugged")
    request.end(first)
    request.end(Offline("gone"))
    assert request.ended_by is first
    with pytest.raises(asyncio.CancelledError):
        await request.task
