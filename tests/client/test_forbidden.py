"""A broker that does not let us subscribe to all that a program asks for."""

import asyncio

import pytest

from busbar.client import Client, Forbidden
from busbar.net.endpoint import Endpoint
from busbar.testing.fakes import until
from tests.refusing_broker import refusing_broker


@pytest.mark.parametrize(("protocol", "code"), [("5", 0x87), ("3.1.1", 0x80)])
async def test_only_the_series_that_is_forbidden_ends_and_says_so(
    protocol: str, code: int, caplog: pytest.LogCaptureFixture
) -> None:
    async with refusing_broker(code, b"/event/secret") as url:
        endpoint = Endpoint(url, protocol=protocol)
        async with Client(endpoint, settled=False, timeout=60) as client:
            allowed = client.events("lab/toy", "fine")
            secret = client.events("lab/toy", "secret/more")
            waiting = asyncio.ensure_future(anext(allowed))
            with pytest.raises(Forbidden, match="event/secret/more"):
                await anext(secret)
            with pytest.raises(Forbidden):  # again: it was given up in between
                await anext(client.events("lab/toy", "secret/more"))
            client.subscribe("lab/toy/event/secret", print)
            await until(lambda: "callback of" in caplog.text, "the end of the callback")
            assert not waiting.done()
            waiting.cancel()
            assert client._needs.keys() == {allowed._queue}
