"""The other end of a conversation, in the hands of a test."""

import asyncio
from contextlib import asynccontextmanager

from busbar.codecs import cip
from busbar.codecs.cip import Command, Form, Join, Update
from busbar.net.streams import ByteStream
from busbar.testing.fakes import null_modem
from cip_bridge.panel_role.conversation import PanelConversation

LIMIT = 20.0  # s; generous, only a failure needs it
ACCEPTED, SIGN_ON = cip.ConnectResult(0), cip.Connect(0x0A)
START, END, QUERY = (
    Command(cip.START),
    Command(cip.END_OF_UPDATE),
    Command(cip.END_OF_QUERY),
)


def digital(number, value, form=Form.DIGITAL):
    return Update(Join("digital", number), value, form)


def analog(number, value):
    return Update(Join("analog", number), value, Form.ANALOG)


def serial(number, value):
    return Update(Join("serial", number), value, Form.SERIAL)


class Peer:
    """Says messages or bytes, hears messages.

    `heard` is all so far, `raw` the same as bytes.
    """

    def __init__(self, stream: ByteStream) -> None:
        self.stream, self.heard, self.raw = stream, [], b""
        self._reader, self._next = cip.Reader(), 0

    async def says(self, *messages):
        await self.stream.write(
            b"".join(
                each if isinstance(each, bytes) else cip.encode(each)
                for each in messages
            )
        )

    async def hears(self, wanted):
        """Return the next message that is equal, or of this class.

        Those before it are passed over.
        """
        async with asyncio.timeout(LIMIT):
            while True:
                while self._next < len(self.heard):
                    found = self.heard[self._next]
                    self._next += 1
                    if found == wanted or (
                        isinstance(wanted, type) and isinstance(found, wanted)
                    ):
                        return found
                data = await self.stream.read()
                self.raw += data
                self._reader.feed(data)
                self.heard.extend(self._reader.messages())

    async def accepts(self, *dump, result=ACCEPTED):
        """Greet, accept, and send a dump: all that a processor does."""
        await self.says(cip.Hello())
        sign_on = await self.hears(cip.Connect)
        await self.says(result)
        await self.hears(START)
        await self.says(START, *dump, END, QUERY)
        return sign_on


@asynccontextmanager
async def talk(outputs=(), sign_on=SIGN_ON, **options):
    """A conversation over a cable, its peer, and what it has told."""
    here, there = await null_modem("cip")
    told = []
    conversation = PanelConversation(here, sign_on, **options)
    conversation.on_messages = told.extend
    conversation.outputs = lambda: list(outputs)
    try:
        yield conversation, Peer(there), told
    finally:
        await conversation.close()
        await there.close()


async def open_up(conversation):
    """All steps up to being able to serve."""
    await conversation.wait_for_greeting()
    await conversation.sign_on()
    await conversation.update()


@asynccontextmanager
async def serving(outputs=(), *dump):
    """A conversation that has been opened and serves."""
    async with talk(outputs) as (conversation, peer, told):
        opening = asyncio.create_task(open_up(conversation))
        await peer.accepts(*dump)
        await opening
        task = asyncio.create_task(conversation.serve())
        try:
            yield conversation, peer, told, task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
