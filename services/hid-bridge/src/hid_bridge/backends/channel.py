"""The seam between a session and whatever opens its device."""

from collections.abc import Callable, Sequence
from typing import Literal, Protocol

from busbar.bridge.errors import BusbarError, LinkLost, Retry
from hid_bridge.address import Address, HidNode

# A report begins with the byte of its number where the device numbers its reports.
OnReport = Callable[[bytes, float], None]  # an input report, Unix s
OnLost = Callable[[BusbarError], None]


class HidChannel(Protocol):
    """One open device.

    What is sent and asked begins with the byte of the report's number, 0 where reports
    are not numbered; so does what is asked for.
    """

    node: HidNode

    async def write(self, report: bytes) -> None:
        """Send an output report."""

    async def send_feature(self, report: bytes) -> None:
        """Send a feature report."""

    async def get_report(
        self, kind: Literal["input", "feature"], number: int, size: int
    ) -> bytes:
        """Ask for a report of at most `size` bytes after its number."""

    async def close(self) -> None:
        """Close the device."""


class Finder(Protocol):
    """What lists devices."""

    async def nodes(self) -> Sequence[HidNode]:
        """Return the devices that are there."""

    async def until_changed(self, limit: float) -> None:
        """Wait until devices may have come or gone, at most so long (s)."""


class Backend(Finder, Protocol):
    """What finds and opens devices."""

    async def open(
        self, node: HidNode, on_report: OnReport, on_lost: OnLost, timeout: float
    ) -> HidChannel:
        """Open a device; raise NotAllowed or LinkLost."""


class NotThere(LinkLost):
    """No device fits the address, or more than one; it is tried when one comes."""

    retry = Retry(0.1, 0.1)


class NotAllowed(LinkLost):
    """The rights are missing: somebody has to install a rule."""

    retry = Retry(2.0, 10.0)


async def find(backend: Finder, address: Address, text: str) -> HidNode:
    """Return the one device that fits an address; raise NotThere."""
    nodes = await backend.nodes()
    fitting = [each for each in nodes if address.fits(each)]
    if len(fitting) == 1:
        return fitting[0]
    if not fitting:
        raise NotThere(f"no device fits {text}; {len(nodes)} others are there")
    shown = "; ".join(map(str, fitting[:5]))
    raise NotThere(
        f"{len(fitting)} devices fit {text}: {shown}. Add ::interface= or ::port="
    )
