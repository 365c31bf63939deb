"""A broker of a few lines that lets everybody in and answers as it is told."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

CONNACK, PUBACK, SUBACK, UNSUBACK, PINGRESP = 0x20, 0x40, 0x90, 0xB0, 0xD0
CONNECT, PUBLISH, SUBSCRIBE, UNSUBSCRIBE, PINGREQ, DISCONNECT = 1, 3, 8, 10, 12, 14


@asynccontextmanager
async def refusing_broker(code: int, part: bytes = b"") -> AsyncIterator[str]:
    """Enter with its url.

    `code` is its answer to each filter and message (QoS 1) whose topic has the `part`.
    """
    tasks: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(_serve(reader, writer, code, part))
        tasks.add(task)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield f"mqtt://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _serve(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    code: int,
    part: bytes,
) -> None:
    """Source: MQTT 5.0 and 3.1.1, 2 and 3."""
    version5 = False
    try:
        while True:
            kind, body = await _packet(reader)
            if kind == CONNECT:
                version5 = body[6] == 5
                _send(writer, CONNACK, b"\0\0\0"[: 2 + version5])
            elif kind == SUBSCRIBE:
                filters = _filters(body[2 + version5 :])
                codes = bytes(code if part in each else 1 for each in filters)
                _send(writer, SUBACK, body[:2] + b"\0"[:version5] + codes)
            elif kind == UNSUBSCRIBE:
                _send(writer, UNSUBACK, body[:2] + b"\0\0"[: 2 * version5])
            elif kind == PUBLISH:
                behind = 2 + int.from_bytes(body[:2], "big")
                number = body[behind : behind + 2]
                answer = code if part in body[2:behind] else 0
                _send(writer, PUBACK, number + bytes([answer, 0])[: 2 * version5])
            elif kind == PINGREQ:
                _send(writer, PINGRESP, b"")
            elif kind == DISCONNECT:
                return
    except asyncio.IncompleteReadError:
        return
    finally:
        writer.close()


async def _packet(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = (await reader.readexactly(1))[0]
    length = shift = 0
    while True:
        byte = (await reader.readexactly(1))[0]
        length |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return head >> 4, await reader.readexactly(length)


def _filters(body: bytes) -> list[bytes]:
    """Return the filters, each of which has its length before and options behind it."""
    found = []
    while body:
        behind = 2 + int.from_bytes(body[:2], "big")
        found.append(body[2:behind])
        body = body[behind + 1 :]
    return found


def _send(writer: asyncio.StreamWriter, head: int, body: bytes) -> None:
    writer.write(bytes([head, len(body)]) + body)
