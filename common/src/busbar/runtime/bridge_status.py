"""The bridge's own status: the will, and whether another process has the name.

Source: docs/contract.md, 5.
"""

import asyncio
import contextlib
import logging

import msgspec

from busbar.contract import messages
from busbar.contract.messages import Fault, Status
from busbar.mqtt.outbox import Message, Outbox
from busbar.mqtt.reconnect import Received
from busbar.publish.device import BridgeContext, DevicePublisher
from busbar.runtime.name_claim import Claim, Happened, Verdict, step

log = logging.getLogger("busbar.bridge")

ECHO = 0.5  # s to wait for the retained status after a reconnect
QUESTIONS = 1.0  # s between two: whoever serves repairs its status once a second
# s; whoever lives has reconnected by then (at most 3 s) and answered twice
PATIENCE = 6.0


class BridgeStatus:
    """Watches the topic `bridge/status`."""

    def __init__(self, context: BridgeContext, device: DevicePublisher) -> None:
        self.topic = device.topic("status")
        self._boot = context.boot
        self._device = device
        self._loop = asyncio.get_running_loop()
        self._claim = Claim(device.since, context.boot)
        self._retained: asyncio.Future[Status] = self._loop.create_future()

    @property
    def verdict(self) -> Verdict:
        """Whether to serve, to ask who else does, or to leave."""
        return self._claim.verdict

    @property
    def will(self) -> Message:
        """The last will: it says that we vanished."""
        gone = Fault("link", "the bridge is gone without a word")
        return Message(
            self.topic,
            messages.encode(Status("offline", None, self._boot, 0, 0, gone)),
            retain=True,
        )

    def begin(self) -> None:
        """A new connection: what is retained will come."""
        self._retained = self._loop.create_future()

    async def look(self) -> None:
        """Look at what is retained; the first time there is nothing to ask about."""
        found = None
        if self._claim.served:
            with contextlib.suppress(TimeoutError):  # the broker has lost it
                async with asyncio.timeout(ECHO):
                    found = await self._retained
        self._step(Happened.CONNECTED, found)
        if self.verdict is Verdict.ASK:
            log.warning(
                "another process has published %s while we were away; asking whether "
                "it lives",
                self.topic,
            )

    async def ask(self, outbox: Outbox) -> None:
        """Ask whoever serves under our name, until it is plain that somebody does."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                while self.verdict is Verdict.ASK:
                    outbox.put(Message(self.topic, self._question()))
                    self._step(Happened.ASKED)
                    await asyncio.sleep(QUESTIONS)

    def give_up(self) -> None:
        """Nobody answers, or nobody can be asked."""
        self._step(Happened.UNANSWERED)

    def on_status(self, received: Received) -> None:
        """Take note of a message on the topic."""
        try:
            status = msgspec.json.decode(received.payload, type=Status)
        except msgspec.MsgspecError:
            return  # cleared, or somebody's nonsense
        if not received.retain:
            self._step(Happened.HEARD, status)
        elif not self._retained.done():
            self._retained.set_result(status)

    def _question(self) -> bytes:
        """Return a status that whoever serves will repair; it is not retained."""
        why = Fault("link", "asks whether another process has this name")
        since = self._device.since
        return messages.encode(Status("connecting", since, self._boot, 0, 0, why))

    def _step(self, happened: Happened, status: Status | None = None) -> None:
        self._claim = step(self._claim, happened, status)
