"""Command `busbar replay`: a recording on a broker again, in order, at any speed."""

import asyncio
import secrets
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click
import msgspec

from busbar.cli import bus
from busbar.cli.observe import kept
from busbar.cli.options import command
from busbar.cli.output import Output
from busbar.cli.settings import Settings
from busbar.contract.messages import Status
from busbar.contract.topics import BRIDGE
from busbar.errors import BusbarError, Forbidden
from busbar.mqtt.connection import Connection, connection
from busbar.mqtt.outbox import Message

if TYPE_CHECKING:
    from busbar.cli.recording.tape import Taped

AHEAD = 1000  # messages that wait for the broker
COMMANDS = ("set", "call")


class Feed:
    """The source of a connection that sends in order, counting what was delivered."""

    def __init__(self) -> None:
        self.wake: Callable[[], None] = lambda: None
        self.sent = 0
        self.refusals: list[str] = []
        self._waiting: deque[Message] = deque()
        self._unconfirmed = 0
        self._confirmed = asyncio.Event()

    async def put(self, message: Message) -> None:
        """Send a message once there is room."""
        await self._wait_for_room(AHEAD)
        self._waiting.append(message)
        self._unconfirmed += 1
        self.wake()

    async def drained(self) -> None:
        """Return when the broker has taken all."""
        await self._wait_for_room(1)

    async def _wait_for_room(self, limit: int) -> None:
        """Return once fewer messages than `limit` are unconfirmed."""
        while self._unconfirmed >= limit:
            self._confirmed.clear()
            await self._confirmed.wait()

    def lower(self, limit: int | None) -> None: ...

    def pull(self) -> Message | None:
        return self._waiting.popleft() if self._waiting else None

    def delivered(self, message: Message) -> None:
        self.sent += 1
        self._unconfirmed -= 1
        self._confirmed.set()

    def refused(self, message: Message, why: BusbarError) -> None:
        self.refusals.append(f"{message.topic}: {why}")
        self._unconfirmed -= 1
        self._confirmed.set()

    def returned(self, messages: list[Message]) -> None: ...


class Plan(NamedTuple):
    """One replay: the file, and where and how it is played."""

    file: Path
    recorded: str  # root
    root: str
    speed: float  # 0: as fast as it goes
    commands: bool

    def topic(self, recorded: str) -> str:
        """Return where a recorded topic goes."""
        return f"{self.root}{recorded.removeprefix(self.recorded)}"

    def plays(self, topic: str) -> bool:
        """Return whether messages of a recorded topic are played."""
        levels = topic.removeprefix(f"{self.recorded}/").split("/")
        return self.commands or len(levels) < 3 or levels[2] not in COMMANDS


@command("replay")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option(
    "--speed",
    type=click.FloatRange(min=0),
    default=1.0,
    metavar="X",
    help="2: twice as fast; 0: at once",
)
@click.option(
    "--commands", is_flag=True, help="also what was sent to devices: set and call"
)
@click.option(
    "--force", is_flag=True, help="even where a bridge of the same name is online"
)
@click.option("--clean", is_flag=True, help="at the end remove what is retained")
def replay_command(
    settings: Settings,
    output: Output,
    file: Path,
    speed: float,
    commands: bool,
    force: bool,
    clean: bool,
) -> None:
    """Play a recording to a broker.

    Under the root that it was recorded from, unless --root says another; without what
    was sent to devices.
    """
    from busbar.cli.recording import tape  # the extra `record`

    found, topics, complete = tape.about(file)
    recorded = Settings(root=found.get("root")).prefix
    root = settings.prefix if settings.root else recorded
    plan = Plan(file, recorded, root, speed, commands)
    if not complete:
        output.note(f"{file} was not finished; what it has is played")
    counts = {topic: count for topic, count in topics.items() if plan.plays(topic)}
    messages = tape.messages(file)
    sent = bus.run(_replay(settings, plan, counts, messages, force, clean, output))
    if output.json:
        outcome = {"messages": sent, "root": root, "complete": complete}
        output.document({"file": str(file), **outcome})
    else:
        output.note(f"{sent} messages played under {root}")


async def _replay(
    settings: Settings,
    plan: Plan,
    topics: Mapping[str, int],
    messages: "Iterator[Taped]",
    force: bool,
    clean: bool,
    output: Output,
) -> int:
    if not force:
        await _refuse_living(settings, plan, topics)
    feed = Feed()
    async with _sending(settings, feed) as link:
        with output.progress(f"playing {plan.file.name}", sum(topics.values())) as show:
            retained = await _while_open(link, _play(plan, messages, feed, show))
        if clean:
            for topic in retained:
                await _while_open(link, feed.put(Message(topic, b"", retain=True)))
        await _while_open(link, feed.drained())
    if feed.refusals:
        raise Forbidden(
            f"the broker refused {len(feed.refusals)} messages; the first: "
            f"{feed.refusals[0]}"
        )
    return sum(topics.values())


async def _play(
    plan: Plan,
    messages: "Iterator[Taped]",
    feed: Feed,
    show: Callable[[float, str], None],
) -> list[str]:
    """Send each message at its time; return the topics that are retained now."""
    loop = asyncio.get_running_loop()
    started = loop.time()
    first = None
    retained: dict[str, bool] = {}
    played = 0
    for each in messages:
        if not plan.plays(each.topic):
            continue
        if first is None:
            first = each.time
        if plan.speed:
            pause = started + (each.time - first) / plan.speed - loop.time()
            await asyncio.sleep(max(0.0, pause))
        message = _message(plan, each)
        await feed.put(message)
        if each.retain:
            retained[message.topic] = bool(each.payload)
        played += 1
        show(played, f"{played} messages")
    await feed.drained()
    return [topic for topic, there in retained.items() if there]


def _message(plan: Plan, taped: "Taped") -> Message:
    # All at QoS 1: a broker may let QoS 0 overtake, and the order is the point.
    return Message(
        plan.topic(taped.topic),
        taped.payload,
        qos=1,
        retain=taped.retain,
        content_type=taped.content_type,
    )


@asynccontextmanager
async def _sending(settings: Settings, feed: Feed) -> AsyncIterator[Connection]:
    name = f"busbar-replay-{secrets.token_hex(4)}"
    async with connection(settings.endpoint, feed, lambda _: None, name) as link:
        link.begin()
        yield link


async def _while_open(
    link: Connection, work: Coroutine[Any, Any, list[str] | None]
) -> list[str]:
    """Do something while the connection lasts; raise BrokerLost."""
    task = asyncio.ensure_future(work)
    try:
        waiting: list[asyncio.Future[Any]] = [task, link.closed]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            await link.closed
        return await task or []
    finally:
        task.cancel()


async def _refuse_living(
    settings: Settings, plan: Plan, topics: Mapping[str, int]
) -> None:
    """Raise Forbidden when a recorded bridge is online where it would be played."""
    suffix = f"/{BRIDGE}/status"
    wanted = [plan.topic(topic) for topic in topics if topic.endswith(suffix)]
    if not wanted:
        return
    found = await kept(settings.endpoint, *wanted)
    for topic, seen in found.items():
        with suppress(msgspec.MsgspecError):
            if msgspec.json.decode(seen.payload, type=Status).state == "online":
                name = topic.removesuffix(suffix).removeprefix(f"{plan.root}/")
                raise Forbidden(
                    f"the bridge {name} is online under {plan.root}; --root NAME "
                    f"plays it beside, --force over it"
                )
