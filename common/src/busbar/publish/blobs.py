"""The binary messages of a device: on the bus, or in a file where too large for it.

Source: docs/contract.md, 3.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from busbar.errors import BusbarError, TooLarge
from busbar.mqtt.outbox import Message, Outbox
from busbar.publish.files import FileWriter

log = logging.getLogger("busbar.blobs")


@dataclass(frozen=True)
class BlobOutcome:
    """What became of a blob: published, in a file of the folder, or dropped."""

    file: str | None = None  # its name in the folder
    error: BusbarError | None = None  # why nobody can get it

    def check(self) -> None:
        """Raise why nobody can get it."""
        if self.error is not None:
            raise self.error


PUBLISHED = BlobOutcome()
Done = Callable[[BlobOutcome], None]


class BlobPublisher:
    """The blobs of one device.

    `folder` is for those that are too large, `file` gives each of them a new name.
    """

    def __init__(
        self,
        outbox: Outbox,
        writer: FileWriter,
        folder: Path | None,
        topic: Callable[[str], str],
        file: Callable[[str], str],
    ) -> None:
        self._outbox = outbox
        self._writer = writer
        self._folder = folder
        self._topic = topic
        self._file = file
        self._retained: dict[str, Message] = {}  # what clears each

    def put(
        self,
        name: str,
        data: bytes,
        content_type: str,
        done: Done,
        *,
        retain: bool,
        file: str | None,
    ) -> None:
        """Publish one that has been saved as `file`, or not.

        `done` is called with what became of it, for a file once it is whole.
        """
        message = Message(
            self._topic(name), data, qos=0, retain=retain, content_type=content_type
        )
        if retain:
            self._retained[name] = replace(message, payload=b"")
        fits = message.size <= self._outbox.limit
        if fits or (file is None and self._folder is None):
            self._outbox.put(message)  # which counts one that is too large
        if fits or file is not None:  # else the file is all there is
            done(BlobOutcome(file))
        elif self._folder is not None:
            self._save(self._folder / self._file(name), message, done)
        else:
            done(BlobOutcome(error=self._too_large(message)))

    def remove_all(self) -> None:
        """Clear those that are retained."""
        for message in self._retained.values():
            self._outbox.put(message)

    def _too_large(self, message: Message) -> TooLarge:
        size, limit = len(message.payload), self._outbox.limit
        text = (
            f"{size} bytes; a message may have {limit}, and no `folder` is configured"
        )
        return TooLarge(text, limit=limit)

    def _save(self, path: Path, message: Message, done: Done) -> None:
        def on_end(error: BusbarError | None) -> None:
            if error is None:
                done(BlobOutcome(path.name))
                return
            log.warning("%s is lost: %s", message.topic, error)
            self._outbox.dropped += 1
            done(BlobOutcome(error=error))

        self._writer.write(path, message.payload, on_end)
