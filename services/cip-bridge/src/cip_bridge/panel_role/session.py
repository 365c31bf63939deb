"""One open conversation with one processor, to which we are a panel."""

import asyncio
import contextlib
from functools import partial
from typing import Any

from busbar.bridge import DeviceTimeout, LinkLost, Property, Turn
from busbar.codecs import cip
from busbar.codecs.cip import Command, Form, Join, Message, Update
from cip_bridge.join_publisher import JoinPublisher, firmware
from cip_bridge.panel_role.commands import PanelCommands
from cip_bridge.panel_role.conversation import LEAVE_LIMIT, PanelConversation
from cip_bridge.panel_role.holds import Holds

CLOCK = Property("clock", str, title="The processor's clock, without a zone")
UPDATE_TIMEOUT = 10.0  # s


class PanelSession:
    """Joins from and to one processor."""

    def __init__(
        self, publisher: JoinPublisher, conversation: PanelConversation
    ) -> None:
        self._publisher = publisher
        self._outlet = publisher.outlet
        self._joins = publisher.joins
        self._conversation = conversation
        conversation.on_messages = self.on_messages
        conversation.outputs = self.outputs
        self._holds = Holds(self._send_press)
        self.commands = (
            PanelCommands(publisher, conversation, self._holds, self._update),
        )
        self._updated = asyncio.Event()
        self._half_ended = False  # an update has ended and the query not yet
        self._knows_firmware = False

    async def start(self) -> None:
        """Take the update; raise LinkLost. Afterwards every join has its value."""
        self._joins.begin_update()
        await self._conversation.update()
        self._publisher.publish_all_sent()

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
            for join in self._joins.release_pressed():
                self._publisher.publish_sent(join, False)

    def on_messages(self, messages: list[Message]) -> None:
        """Take what the processor says."""
        updates: list[Update] = []
        for message in messages:
            if not isinstance(message, Update):
                self._publisher.publish_received(updates)
                updates = []
                self._handle_alone(message)
                continue
            value = self._joins.receive(message)
            if value is message.value:
                updates.append(message)
            elif value is not None:
                updates.append(message._replace(value=value))
        self._publisher.publish_received(updates)
        self._publisher.publish_skipped(self._conversation.skipped)

    def outputs(self) -> list[Update]:
        """Return what is sent again after an update.

        Buttons that are held are pressed again anyway.
        """
        updates = []
        for join, value in self._joins.sent.known.items():
            if join not in self._joins.pressed:
                updates.append(Update(join, value, cip.FORMS[join.kind]))
        return updates

    async def refresh(self, device: str) -> None:
        await self._update()

    async def set(self, device: str, path: str, value: Any, turn: Turn) -> Any:
        join, raw = self._publisher.resolve(path, value)
        update = Update(join, raw, cip.FORMS[join.kind])
        frame = self._encode(update)
        self._holds.forget(join)
        await self._conversation.send(partial(self._record_sent, update, frame))
        return value

    async def _send_press(self, join: Join, pressed: bool) -> None:
        update = Update(join, pressed, Form.BUTTON)
        frame = self._encode(update)
        await self._conversation.send(partial(self._record_sent, update, frame))

    def _encode(self, message: Update | Command) -> bytes:
        return cip.encode(message, self._conversation.style)

    def _record_sent(self, update: Update, frame: bytes) -> bytes:
        """Record a value at the moment when its frame is written; return the frame.

        So an update that ends before it is read has the value, too.
        """
        self._joins.drive(update)
        self._publisher.publish_sent(update.join, update.value)
        return frame

    async def _update(self, timeout: float | None = None) -> None:
        """Ask for all joins and wait for them.

        What is set meanwhile goes out behind the outputs that follow an update.
        """
        self._updated.clear()
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
                self._outlet.values({CLOCK.path: time.isoformat()})
            case cip.About(text):
                self._identify(text)

    def _end_update(self) -> None:
        if self._joins.end_update():
            self._publisher.publish_all_received()
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
