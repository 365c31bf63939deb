"""What a client and the command line know of a broker that retains much, behind slow
and odd links: everything, or they say that it is a part. The oracle is the retained
set."""

from collections.abc import Iterator

import pytest

from busbar.client import Client
from busbar.net.endpoint import Endpoint
from tests.broker import Mosquitto
from tests.crowd import crowd, names, retain

CROWD = crowd(20, 100, values=24)  # 2020 devices, 54 060 topics


@pytest.fixture(params=["5", "3.1.1"])
def protocol(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def crowded() -> Iterator[Mosquitto]:
    with Mosquitto() as broker:
        retain(broker.port, CROWD)
        yield broker


async def test_two_thousand_devices_are_known_and_good_when_the_client_is_entered(
    crowded: Mosquitto, protocol: str
) -> None:
    async with Client(Endpoint(crowded.url, protocol=protocol)) as bus:
        assert bus.incomplete == ""
        assert list(bus.devices()) == names(CROWD)
        assert {device.stale for device in bus.devices().values()} == {None}
        assert bus.device("b19/d0099")["v0"] == 99
