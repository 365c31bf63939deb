"""One open conversation with one processor, to which we are a panel."""

import asyncio
import contextlib
import logging
import math
from functools import partial
from typing import Any

from busbar.bridge import DeviceTimeout, LinkLost, Property, Turn
from busbar.codecs import cip
from busbar.codecs.cip import Command, Form, Join, Message, Update
from cip_bridge.join_publisher import JoinPublisher, encode, firmware
from cip_bridge.join_state import Value
from cip_bridge.joins import generic
from cip_bridge.panel_role.commands import PanelCommands
from cip_bridge.panel_role.conversation import (
    LEAVE_LIMIT,
    OPEN_LIMIT,
    PanelConversation,
)
from cip_bridge.panel_role.holds import Holds
from cip_bridge.panel_role.resend import Resend
from cip_bridge.ramps import Ramps

log = logging.getLogger("busbar.cip")

CLOCK = Property(
    "clock", str | None, title="The processor's clock, without a zone; null: none sent"
)
ENDED = Property(
    "_update_ended",
    bool,
    title="The last update came to its end: what it left out is at its default",
)
UPDATE_TIMEOUT = 10.0  # s


class PanelSession:
    """Joins from and to one processor."""

    def __init__(
        self,
        publisher: JoinPublisher,
        conversation: PanelConversation,
        resend: Resend,
    ) -> None:
        self._publisher = publisher
        self._outlet = publisher.outlet
        self._joins = publisher.joins
        self._conversation = conversation
        conversation.on_messages = self.on_messages
        conversation.outputs = resend.outputs
        self._holds = Holds(self._send_press)
        self._ramps = Ramps(publisher, self._drive)
        self._buttons = PanelCommands(
            publisher, conversation, self._holds, self._ramps, self._update
        )
        self.commands = (self._buttons,)
        self._loop = asyncio.get_running_loop()
        # loop time at which an update is taken to be over at the latest
        self._updating_until = self._loop.time() + OPEN_LIMIT
        self._clock: str | None = None
        self._updated = asyncio.Event()
        self._half_ended = False  # an update has ended and the query not yet
        self._knows_firmware = False

    async def start(self) -> None:
        """Take the update; raise LinkLost. Afterwards every join has its value."""
        self._joins.begin_update()
        await self._conversation.update()
        self._joins.recent_buttons.clear()
        self._updating_until = -math.inf
        self._publisher.publish_all_sent()
        self._outlet.values({CLOCK.path: self._clock})
        if not self._conversation.ends_updates:
            self._outlet.values({ENDED.path: False})
            log.warning(
                "%s does not end its update: joins that it does not send are unknown",
                self._publisher.name,
                extra={"device": self._publisher.name},
            )

    async def serve(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._conversation.serve(), name="conversation")
            tasks.create_task(self._holds.run(), name="held buttons")

    async def leave(self) -> None:
        """Release what is held; a processor does so itself when a panel is silent."""
        try:
            with contextlib.suppress(LinkLost, TimeoutError):
                async with asyncio.timeout(LEAVE_LIMIT):
                    await self._holds.release_all()
        finally:
            self._joins.ignored += self._conversation.skipped
            for join in self._joins.release_pressed():
                self._publisher.publish_sent(join, False)

    def on_messages(self, messages: list[Message]) -> None:
        """Take what the processor says."""
        updates: list[Update] = []
        for message in messages:
            if not isinstance(message, Update):
                self._publish(updates)
                updates = []
                self._handle_alone(message)
                continue
            value = self._joins.receive(message)
            if value is message.value:
                updates.append(message)
            elif value is not None:
                updates.append(message._replace(value=value))
        self._publish(updates)
        self._publisher.publish_skipped(self._conversation.skipped)

    def _publish(self, updates: list[Update]) -> None:
        """Publish values; outside of an update each message is an event, too."""
        as_events = self._loop.time() >= self._updating_until
        self._publisher.publish_received(updates, as_events)

    async def refresh(self, device: str) -> None:
        await self._update()

    async def set(self, device: str, path: str, value: Any, turn: Turn) -> Any:
        join, raw = self._publisher.resolve(path, value)
        pulse = self._publisher.paths.momentary(join)
        if pulse is not None and path != generic(join):
            await self._set_momentary(join, pulse if raw else None, turn)
            return value
        self._ramps.forget(join)
        await self._drive(join, raw)
        return value

    async def _drive(self, join: Join, raw: Value) -> None:
        update = Update(join, raw, cip.FORMS[join.kind])
        frame = self._encode(update)
        self._holds.forget(join)
        await self._conversation.send(partial(self._record_sent, update, frame))

    async def _set_momentary(
        self, join: Join, seconds: float | None, turn: Turn
    ) -> None:
        """Press for so long; None: release."""
        if seconds is None:
            await self._holds.release(join)
        else:
            await self._buttons.pulse_once(join, seconds, turn)

    async def _send_press(self, join: Join, pressed: bool) -> None:
        update = Update(join, pressed, Form.BUTTON)
        frame = self._encode(update)
        await self._conversation.send(partial(self._record_sent, update, frame))

    def _encode(self, message: Update | Command) -> bytes:
        return encode(message, self._conversation.style)

    def _record_sent(self, update: Update, frame: bytes) -> bytes:
        """Record a value at the moment when its frame is written; return the frame.

        So an update that ends before it is read has the value, too.
        """
        self._joins.drive(update)
        self._publisher.publish_sent(update.join, update.value)
        return frame

    async def _update(self, timeout: float | None = None) -> None:
        """Ask for all joins and wait for them."""
        self._updated.clear()
        self._updating_until = self._loop.time() + UPDATE_TIMEOUT
        if not self._joins.updating:
            self._joins.begin_update()  # it may come without its first frame
        await self._conversation.send(self._encode(Command(cip.START)))
        try:
            async with asyncio.timeout(timeout or UPDATE_TIMEOUT):
                await self._updated.wait()
        except TimeoutError as error:
            raise DeviceTimeout("the update did not end in time") from error

    def _handle_alone(self, message: Message) -> None:
        try:
            self._handle(message)
        except Exception as error:  # it costs this message only
            self._outlet.failed([], error)

    def _handle(self, message: Message) -> None:
        match message:
            case Command(code=cip.START):
                self._half_ended = False
                self._updating_until = self._loop.time() + UPDATE_TIMEOUT
                self._joins.begin_update()
            case Command(code=cip.END_OF_UPDATE):
                self._half_ended = True
                self._end_update()
            case Command(code=cip.END_OF_QUERY) if self._half_ended:
                # of the same update, though the next may have been asked for
                self._half_ended = False
            case Command(code=cip.END_OF_QUERY):  # some may send but one of them
                self._end_update()
            case Command(code=cip.ALL_CLEAR):
                self._joins.clear()
                self._publisher.publish_all_received()
            case cip.Clock(time):
                self._clock = time.isoformat()
                self._outlet.values({CLOCK.path: self._clock})
            case cip.About(text):
                self._identify(text)

    def _end_update(self) -> None:
        self._updating_until = -math.inf
        if self._joins.end_update():
            self._publisher.publish_all_received()
            self._outlet.values({ENDED.path: True})
        self._updated.set()

    def _identify(self, text: str) -> None:
        """Describe the processor by its version.

        The first one is its own, others are of what is connected to it.
        """
        if self._knows_firmware:
            return
        version = firmware(text)
        if version is not None:
            self._knows_firmware = True
            self._outlet.describe(self._outlet.description.with_(firmware=version))
