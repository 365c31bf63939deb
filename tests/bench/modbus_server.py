"""Units on a TCP port of this machine.

`python -m tests.bench.modbus_server`, a task per line.

The register at address A holds A + N at the N-th read of its unit, so everything that
is read is news, and tells which read it belongs to. A write of four registers is a time
(monotonic ns): when it was asked for. A silent unit is silent.
"""

import asyncio
import json
import struct
import sys
import time
from collections import Counter

SIZE = 1 << 16  # values of a register
HOLDING, WRITE = 3, 16  # functions
REGISTERS = b"".join(struct.pack(">H", number % SIZE) for number in range(SIZE + 125))
# transaction, protocol, length, unit, function, address, count
_REQUEST = struct.Struct(">HHHBBHH")


class Units(asyncio.Protocol):
    """All units of one connection, whoever is connected."""

    def __init__(
        self, reads: Counter[int], silent: set[int], delays: list[int]
    ) -> None:
        self._reads, self._silent, self._delays = reads, silent, delays
        self._pending = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        now = time.monotonic_ns()
        data = self._pending + data
        while len(data) >= _REQUEST.size and len(data) >= (
            end := 6 + int.from_bytes(data[4:6], "big")
        ):
            self._answer(data[:end], now)
            data = data[end:]
        self._pending = data

    def _answer(self, request: bytes, now: int) -> None:
        transaction, _, _, unit, function, address, count = _REQUEST.unpack_from(
            request
        )
        if unit in self._silent:
            return
        if function == HOLDING:
            self._reads[unit] += 1
            start = 2 * ((address + self._reads[unit]) % SIZE)
            pdu = bytes((function, 2 * count)) + REGISTERS[start : start + 2 * count]
        elif function == WRITE and count == 4:
            self._delays.append(now - int.from_bytes(request[13:21], "big"))
            pdu = request[7:12]
        else:
            pdu = bytes((function | 0x80, 1))
        self._transport.write(
            struct.pack(">HHHB", transaction, 0, 1 + len(pdu), unit) + pdu
        )


async def main() -> None:
    """Say the port, then do what each line says."""
    reads, silent, delays = Counter[int](), set[int](), list[int]()
    tasks = {
        # how often each unit was read until now (ns)
        "reads": lambda: (time.monotonic_ns(), reads),
        "silence": silent.add,
        "speak": silent.discard,
        "delays": lambda: delays,  # of the writes (ns)
        "forget": delays.clear,
    }
    loop = asyncio.get_running_loop()
    async with await loop.create_server(
        lambda: Units(reads, silent, delays), "127.0.0.1", 0
    ) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            task, *numbers = line.split()
            print(json.dumps(tasks[task](*map(int, numbers))), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
