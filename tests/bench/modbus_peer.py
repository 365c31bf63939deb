"""A bare loop of reads by pymodbus.

`PYTHON modbus_peer.py PORT REGISTERS COUNT`, in pymodbus's environment.

Prints the seconds of all reads as JSON. Source of the values: modbus_server.
"""

import asyncio
import json
import sys
import time

from pymodbus.client import AsyncModbusTcpClient

SIZE = 1 << 16  # values of a register


async def main(port: int, registers: int, count: int) -> None:
    client = AsyncModbusTcpClient("127.0.0.1", port=port)
    await client.connect()
    answers = []
    began = time.perf_counter()
    for _ in range(count):
        answers.append(
            (
                await client.read_holding_registers(0, count=registers, device_id=1)
            ).registers
        )
    passed = time.perf_counter() - began
    client.close()
    for number, answer in enumerate(answers, answers[0][0]):
        if answer != [(number + address) % SIZE for address in range(registers)]:
            raise RuntimeError(f"read {number} is wrong: {answer}")
    print(json.dumps(passed))


if __name__ == "__main__":
    asyncio.run(main(*map(int, sys.argv[1:])))
