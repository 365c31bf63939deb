"""Blobs as files.

The names come from the bus, so they are mapped as any foreign name is (contract 1).
"""

import mimetypes
import time as clock
from pathlib import Path

from busbar.client.types import Blob
from busbar.contract.names import level

LIKELY = {
    "image/fits": ".fits",
    "application/fits": ".fits",
    "image/png": ".png",
    "application/octet-stream": ".bin",
    "application/vnd.sigrok.session": ".sr",
    "application/jsonl": ".jsonl",
}


def save(blob: Blob, folder: Path) -> Path:
    """Write a blob into a folder under its own name and return the path.

    Raise OSError.
    """
    stamp = clock.strftime("%Y%m%dT%H%M%S", clock.gmtime(blob.time))
    stem = ".".join(
        [*(level(part) for part in (*blob.device.split("/", 1), blob.name)), stamp]
    )
    kind = blob.content_type or "application/octet-stream"
    suffix = LIKELY.get(kind) or mimetypes.guess_extension(kind) or ".bin"
    count = 0
    while True:
        path = folder / f"{stem}{f'_{count}' if count else ''}{suffix}"
        try:
            with path.open("xb") as file:
                file.write(blob.data)
        except FileExistsError:
            count += 1
        else:
            return path
