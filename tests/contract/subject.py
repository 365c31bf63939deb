"""What the suite wants of a bridge under test.

To start and end it, and a device that does what the test says.
"""

import itertools
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from busbar.testing.fakes import until
from tests.contract.client import Client

Fields = dict[str, Any]
Call = tuple[str, Fields]  # target and payload of a command


@dataclass
class Subject:
    """One bridge that can be started, with a device behind it under the test's control.

    `number` and `switch` are properties to write (the number from 0 to 30), `refusing`
    one that the device always refuses, `text` is the name of a command, `slow` the
    target of the command that `busy` sends. `errors` are further commands by the code
    they fail with. What not every bridge has is there by its traits.
    """

    bridge: str
    device: str
    neighbour: str  # another device; by the trait "shared" on the same link
    number: str
    switch: str
    read_only: str
    refusing: str
    text: str
    slow: str
    large: Call  # its result has more than 4 KiB
    errors: dict[str, Call]
    synchronised: bool  # what the bridge knows of its clock

    @property
    def base(self) -> str:
        return f"busbar/{self.bridge}/"

    async def start(self) -> None:
        """Start the bridge."""
        raise NotImplementedError

    async def kill(self) -> None:
        """End it without a word, as SIGKILL does."""
        raise NotImplementedError

    async def stop(self) -> None:
        """End it cleanly."""
        raise NotImplementedError

    def left(self) -> str | None:
        """Return why it has ended, "" if it did as asked; None while it runs."""
        raise NotImplementedError

    def change(self, path: str, value: Any) -> None:
        """Let the device itself change a value."""
        raise NotImplementedError

    def unplug(self) -> None:
        """Break the link to the device."""
        raise NotImplementedError

    async def plug(self) -> None:
        """Let the device be reached again."""
        raise NotImplementedError

    @cached_property
    def numbers(self) -> Iterator[int]:
        """Marks that nobody has used with this device."""
        return itertools.count(1)

    def mark(self, number: int) -> Call:
        """Return a command that the device remembers."""
        raise NotImplementedError

    def marks(self) -> list[int]:
        """Return the marks that it remembers, in order."""
        raise NotImplementedError

    async def busy(self, client: Client, seconds: float, **fields: Any) -> str:
        """Occupy the device with a command for so long.

        Return its id and target once it runs.
        """
        raise NotImplementedError

    async def blob(self, client: Client) -> str:
        """Let the device send a blob; return its name."""
        raise NotImplementedError

    # By trait.

    def polls(self) -> int:
        """Return how often the device was polled since the last call ("polls")."""
        raise NotImplementedError

    def polled_before(self, number: int) -> int:
        """Return how often it was polled after the last call of `polls` and before it
        got a mark ("polls")."""
        raise NotImplementedError

    @property
    def progress(self) -> Call:
        """A command that reports its progress ("progress")."""
        raise NotImplementedError

    @property
    def interrupt(self) -> str:
        """A safe command that ends the running one ("interrupt")."""
        raise NotImplementedError

    @property
    def waiting(self) -> Call:
        """A long command that does not hold the link ("waiting")."""
        raise NotImplementedError

    def event(self, fields: Fields) -> str:
        """Let something happen; return the name of the event ("event")."""
        raise NotImplementedError

    def discover(self, names: list[str]) -> None:
        """Let the device have properties of these foreign names, in this order, with
        the name as value ("names")."""
        raise NotImplementedError

    def trouble(self, path: str) -> None:
        """Let the device send a property that cannot be read ("trouble")."""
        raise NotImplementedError

    def nan(self) -> str:
        """Let the device send what is no number; return the path ("trouble")."""
        raise NotImplementedError

    async def advance(self, seconds: float) -> None:
        """Move the bridge's clock ("clock")."""
        raise NotImplementedError

    async def settle(self) -> None:
        """Let so much time pass that a device which has not appeared is gone (5.4).

        Nothing to do where none can.
        """

    async def online(self, client: Client, mark: int = 0) -> None:
        """Wait until bridge and device are online and the snapshot has values."""

        def there() -> bool:
            newest = {
                each.topic: each.json
                for each in client.seen[mark:]
                if each.payload and "/st" in each.topic
            }
            states = [
                newest.get(f"{self.base}{name}/status", {}).get("state")
                for name in (self.device, "bridge")
            ]
            values = newest.get(f"{self.base}{self.device}/state", {}).get("values", {})
            return (
                states == ["online", "online"]
                and self.number in values
                and self.switch in values
            )

        await until(there, f"{self.bridge} online", 60)


class Make(Protocol):
    """Makes a bridge, not yet started; left = gone."""

    def __call__(
        self, url: str, protocol: str, folder: Path, more: str = ""
    ) -> AbstractAsyncContextManager[Subject]: ...


@dataclass(frozen=True)
class Kind:
    """One bridge under the suite and what it can show beside what every bridge can."""

    make: Make
    traits: frozenset[str] = frozenset()
