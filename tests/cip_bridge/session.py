"""A session of our panel role, on a cable, in the hands of a test."""

import asyncio
from contextlib import asynccontextmanager

from busbar.codecs import cip
from busbar.link.arbiter import Turn
from cip_bridge.join_publisher import JoinPublisher
from cip_bridge.join_state import JoinState
from cip_bridge.panel_role.resend import Resend
from cip_bridge.panel_role.session import PanelSession
from cip_bridge.paths import JoinPaths
from tests.cip_bridge.outlet import Outlet
from tests.cip_bridge.peer import talk

TURN = Turn(None, lambda: None, lambda fraction, message: None)


@asynccontextmanager
async def session():
    """A session that serves, on a cable.

    Gives (session, outlet, peer, the task that serves).
    """
    outlet = Outlet()
    async with talk() as (conversation, peer, _):
        joins, paths = JoinState(), JoinPaths()
        publisher = JoinPublisher(outlet, joins, paths)
        resend = Resend(joins, paths, left=False)
        made = PanelSession(publisher, conversation, resend)
        opening = asyncio.create_task(conversation.wait_for_greeting())
        await peer.says(cip.Hello())
        await opening
        task = asyncio.create_task(made.serve())
        try:
            yield made, outlet, peer, task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await made.leave()
