"""The binary messages of a device: on the bus, or in a file where too large for it.

Source: docs/contract.md, 3.
"""

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from busbar.mqtt.outbox import Message, Outbox

log = logging.getLogger("busbar.blobs")


class BlobPublisher:
    """The blobs of one device.

    `folder` is for those that are too large, `file` gives each of them a new name.
    """

    def __init__(
        self,
        outbox: Outbox,
        folder: Path | None,
        topic: Callable[[str], str],
        file: Callable[[str], str],
    ) -> None:
        self._outbox = outbox
        self._folder = folder
        self._topic = topic
        self._file = file
        self._retained: dict[str, Message] = {}  # what clears each

    def put(
        self,
        name: str,
        data: bytes,
        content_type: str,
        *,
        retain: bool,
        file: str | None,
    ) -> str | None:
        """Publish one that has been saved as `file`, or not.

        Return the name of its file, if there is one now.
        """
        message = Message(
            self._topic(name), data, qos=0, retain=retain, content_type=content_type
        )
        if retain:
            self._retained[name] = replace(message, payload=b"")
        fits = message.size <= self._outbox.limit
        if file is None and not fits and self._folder is not None:
            return self._save(self._folder / self._file(name), message)
        if fits or file is None:  # else the file is all there is
            self._outbox.put(message)
        return file

    def remove_all(self) -> None:
        """Clear those that are retained."""
        for message in self._retained.values():
            self._outbox.put(message)

    def _save(self, path: Path, message: Message) -> str | None:
        try:
            path.write_bytes(message.payload)
        except OSError as error:
            path.unlink(missing_ok=True)  # half a file is none
            log.warning(
                "%s (%d bytes) is lost: %s", message.topic, len(message.payload), error
            )
            self._outbox.dropped += 1
            return None
        return path.name
