"""The least that reads reports: `python -m tests.bench.hid_bare NODE`.

It opens a node, reads each report on an event loop, and does nothing with it.
"""

import asyncio
import os
import sys
from pathlib import Path

from hid_bridge.backends.nodes import open_node

SIZE = 16385  # bytes of one read


async def read(node: str) -> None:
    file = open_node(Path(node))
    asyncio.get_running_loop().add_reader(file.fd, lambda: os.read(file.fd, SIZE))
    print("{}", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(read(sys.argv[1]))
