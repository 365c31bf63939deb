"""We are a panel: one open conversation with one processor, as a session."""

import asyncio
import contextlib
from functools import partial
from typing import Any

from busbar.bridge import (
    DeviceTimeout,
    LinkLost,
    Locked,
    NoArguments,
    Outlet,
    Turn,
    command,
)
from busbar.codecs import cip
from busbar.codecs.cip import Command, Form, Join, Message, Update
from cip_bridge.join_publisher import (
    CLOCK,
    Button,
    Get,
    Press,
    Pulse,
    Send,
    Surface,
    firmware,
    frames_of,
)  # fmt: skip
from cip_bridge.join_state import Board
from cip_bridge.panel_role.conversation import LEAVE_LIMIT, Conversation
from cip_bridge.panel_role.holds import Holds
from cip_bridge.paths import Paths

UPDATE_TIMEOUT = 10.0  # s


class PanelSession:
    """Joins from and to one processor."""

    def __init__(self, outlet: Outlet, board: Board, paths: Paths) -> None:
        self._surface = Surface(outlet, board, paths)
        self._board, self._outlet = board, outlet
        self._holds = Holds(self._press)
        self._conversation: Conversation | None = None
        self._updated = asyncio.Event()
        self._half_ended = False  # an update has ended and the query not yet
        self._knows_firmware = False

    def attach(self, conversation: Conversation) -> None:
        """Speak over this conversation, whose `told` and `outputs` are ours."""
        self._conversation = conversation

    async def start(self) -> None:
        """Take the update; raise LinkLost. Afterwards every join has its value."""
        self._board.begin_update()
        await self._talk.update()
        self._surface.went_all()

    async def serve(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._talk.serve(), name="conversation")
            tasks.create_task(self._holds.run(), name="held buttons")

    async def leave(self) -> None:
        """Let go of what is held.

        A processor does so by itself when it hears no more of us.
        """
        try:
            with contextlib.suppress(LinkLost, TimeoutError):
                async with asyncio.timeout(LEAVE_LIMIT):
                    await self._holds.release_all()
        finally:
            for join in self._board.let_go():
                self._surface.went(join, False)

    def told(self, messages: list[Message]) -> None:
        """Take what the processor says."""
        updates: list[Update] = []
        for message in messages:
            if isinstance(message, Update):
                value = self._board.take(message)
                if value is not None:
                    updates.append(
                        message
                        if value is message.value
                        else message._replace(value=value)
                    )
            else:
                self._surface.came(updates)
                updates = []
                self._take(message)
        self._surface.came(updates)
        self._surface.count(self._talk.skipped + self._board.ignored)

    def outputs(self) -> list[Update]:
        """Return what is to be sent again after an update.

        Buttons that are held are pressed again anyway.
        """
        board = self._board
        outs = board.outs.known.items()
        return [
            Update(join, value, cip.FORMS[join.kind])
            for join, value in outs
            if join not in board.pressed
        ]

    async def refresh(self, device: str) -> None:
        await self._update()

    async def set(self, device: str, path: str, value: Any, turn: Turn) -> Any:
        join, raw = self._surface.wanted(path, value)
        update = Update(join, raw, cip.FORMS[join.kind])
        frame = cip.encode(update, self._talk.style)
        self._holds.forget(join)
        await self._talk.send(partial(self._noted, update, frame))
        return value

    @command(holds="exchange")
    async def press(self, device: str, arguments: Press, turn: Turn) -> None:
        """Press a button and hold it; pressing again renews."""
        join = self._surface.paths.button(arguments.join)
        hold = await self._holds.press(join, arguments.seconds)
        turn.when_unlocked(("hold", join), lambda: self._holds.end(hold))

    @command(holds="exchange")
    async def release(self, device: str, arguments: Button, turn: Turn) -> None:
        """Release a button."""
        await self._holds.release(self._surface.paths.button(arguments.join))

    @command(holds="exchange", timeout=20.0)
    async def pulse(self, device: str, arguments: Pulse, turn: Turn) -> None:
        """Press a button and release it; not while somebody holds it."""
        join = self._surface.paths.button(arguments.join)
        if join in self._holds.joins:
            raise Locked(f"{arguments.join!r} is held down already; `release` it first")
        hold = await self._holds.press(join, arguments.seconds)
        turn.release()
        try:
            await hold.over.wait()
        finally:
            self._holds.end(hold)

    @command(timeout=30.0)
    async def update_request(
        self, device: str, arguments: NoArguments, turn: Turn
    ) -> None:
        """Ask the processor for all joins; done when they have come."""
        await self._update(turn.asked)

    @command(holds="exchange")
    async def get(self, device: str, arguments: Get, turn: Turn) -> bool | float | str:
        """Return the newest value of a join; one that never came is at its default."""
        return self._surface.read(arguments)  # type: ignore[no-any-return]  # one of these

    @command(holds="exchange")
    async def send(self, device: str, arguments: Send, turn: Turn) -> None:
        """Send raw frames, given in hex."""
        await self._talk.send(frames_of(arguments.frames))

    @property
    def _talk(self) -> Conversation:
        # attached before anything is told or asked
        assert self._conversation is not None
        return self._conversation

    async def _update(self, asked: float | None = None) -> None:
        """Ask for all joins and wait.

        What is set meanwhile goes out behind the outputs that follow an update.
        """
        self._updated.clear()
        if not self._board.updating:
            self._board.begin_update()  # it may come without its first frame
        await self._talk.send(cip.encode(Command(cip.START), self._talk.style))
        try:
            async with asyncio.timeout(asked or UPDATE_TIMEOUT):
                await self._updated.wait()
        except TimeoutError as error:
            raise DeviceTimeout("the update did not end in time") from error

    def _take(self, message: Message) -> None:
        match message:
            case Command(code=cip.START):
                self._half_ended = False
                self._board.begin_update()
            case Command(code=cip.END_OF_UPDATE):
                self._half_ended = True
                self._end_update()
            case Command(code=cip.END_OF_QUERY) if self._half_ended:
                # of the same update, though the next may have been asked for
                self._half_ended = False
            case Command(code=cip.END_OF_QUERY):  # some may send but one of them
                self._end_update()
            case Command(code=cip.ALL_CLEAR):
                self._board.clear()
                self._surface.came_all()
            case cip.Clock(time):
                self._outlet.values({CLOCK.path: time.isoformat()})
            case cip.About(text):
                self._identify(text)

    def _end_update(self) -> None:
        if self._board.end_update():
            self._surface.came_all()
        self._updated.set()

    def _identify(self, text: str) -> None:
        """The first version is the processor's own.

        Others are of what is connected to it.
        """
        version = None if self._knows_firmware else firmware(text)
        if version is not None:
            self._knows_firmware = True
            self._outlet.describe(self._outlet.description.with_(firmware=version))

    async def _press(self, join: Join, pressed: bool) -> None:
        update = Update(join, pressed, Form.BUTTON)
        await self._talk.send(
            partial(self._noted, update, cip.encode(update, self._talk.style))
        )

    def _noted(self, update: Update, frame: bytes) -> bytes:
        """Note a value that is written, for an update that ends before it, too."""
        self._board.drive(update)
        self._surface.went(update.join, update.value)
        return frame
