"""One mapping from name to device and link."""

from contextlib import asynccontextmanager

from busbar.link.open_link import OpenLink
from busbar.link.session import Link
from busbar.publish.device import DevicePublisher
from busbar.runtime.directory import DeviceDirectory
from tests.device import PSU, Bench, bench
from tests.running import Running
from tests.toy import Toy, service


@asynccontextmanager
async def nothing(_port):
    yield None


def link_of(made: Bench) -> OpenLink:
    host = Running(service(Toy()), "bridge: {name: lab}\n").bridge
    return OpenLink(made.bus, Link("psu", "tcp::psu", nothing, {}), {}, host)


async def test_a_device_is_found_with_its_link_until_it_is_removed():
    made = await bench()
    link, directory = link_of(made), DeviceDirectory()
    directory.add(made.device, link)
    assert "psu" in directory
    assert directory.find("psu") == (made.device, link)
    directory.remove(made.device)
    assert "psu" not in directory
    assert directory.find("psu") is None


async def test_a_device_that_was_replaced_does_not_take_its_successor_with_it():
    made = await bench()
    link, directory = link_of(made), DeviceDirectory()
    directory.add(made.device, link)
    successor = DevicePublisher(made.bus, "psu", PSU, lambda described: described)
    directory.add(successor, link)
    directory.remove(made.device)
    assert directory.find("psu") == (successor, link)
