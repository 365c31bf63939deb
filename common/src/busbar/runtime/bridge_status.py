"""The bridge's own status as the broker has it: the will, a second process, repair.

Source: docs/contract.md, 5.
"""

import asyncio

import msgspec

from busbar.contract import messages
from busbar.contract.messages import Fault, Status
from busbar.mqtt.outbox import Message
from busbar.mqtt.reconnect import Received
from busbar.publish.device import BridgeContext, DevicePublisher

ECHO = 0.5  # s to wait for our own retained status after a reconnect
REPAIR = 1.0  # s between repairs


class BridgeStatus:
    """Watches the topic `bridge/status`."""

    def __init__(self, context: BridgeContext, device: DevicePublisher) -> None:
        self.topic = device.topic("status")
        self._context = context
        self._device = device
        self._loop = asyncio.get_running_loop()
        self._started = context.now()
        self._announced = False
        self._predecessors: set[str] = set()
        self._echo: asyncio.Future[Status] = self._loop.create_future()
        self._repaired = -REPAIR
        self._due: asyncio.TimerHandle | None = None

    @property
    def will(self) -> Message:
        """The last will: it says that we vanished."""
        gone = Fault("link", "the bridge is gone without a word")
        return Message(
            self.topic,
            messages.encode(Status("offline", None, self._context.boot, 0, 0, gone)),
            retain=True,
        )

    def begin(self) -> None:
        """A new connection: what is retained will come."""
        self._echo = self._loop.create_future()

    def announce(self) -> None:
        """Publish our status, after that of all devices."""
        self._announced = True
        self._context.outbox.retain(self.topic, self._device.status_payload)

    async def is_taken(self) -> bool:
        """After a reconnect.

        Has another process published its status under our name meanwhile?
        """
        if not self._announced:
            return False
        try:
            async with asyncio.timeout(ECHO):
                status = await asyncio.shield(self._echo)
        except TimeoutError:
            return False  # the broker has lost it
        newer = status.since is None or status.since >= self._started
        return (
            status.boot != self._context.boot
            and status.boot not in self._predecessors
            and newer
        )

    def on_status(self, received: Received, *, connected: bool) -> None:
        """Take note of a message on the topic.

        A wrong one is repaired, at most once a second.
        """
        status = _decoded(received.payload)
        if status is None:  # cleared, or somebody's nonsense
            self._repair(connected)
            return
        if (
            received.retain
            and not self._announced
            and status.boot != self._context.boot
        ):
            self._predecessors.add(status.boot)
        if not self._echo.done():
            self._echo.set_result(status)
        if status.boot != self._context.boot or status.state != self._device.status:
            self._repair(connected)

    def _repair(self, connected: bool) -> None:
        if connected and self._due is None:
            self._due = self._loop.call_at(self._repaired + REPAIR, self._repair_now)

    def _repair_now(self) -> None:
        self._due = None
        self._repaired = self._loop.time()
        self.announce()


def _decoded(payload: bytes) -> Status | None:
    try:
        return msgspec.json.decode(payload, type=Status)
    except msgspec.MsgspecError:
        return None
