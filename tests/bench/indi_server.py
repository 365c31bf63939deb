"""An INDI server with a whole observatory, for whoever is measured.

`python -m tests.bench.indi_server` prints its port, then does what each line says.

It has as many devices, vectors and members as the eleven simulators of indi-bin 1.9.9
once they are connected. Elements have the layout of indiserver, BLOBs are one line of
base64.
"""

import asyncio
import json
import random
import sys
import time
from collections.abc import Iterator

from busbar.codecs.indi import (
    DefMember,
    DefVector,
    ElementReader,
    EnableBLOB,
    GetProperties,
    Kind,
    NewBlob,
    PingReply,
    PingRequest,
    SetVector,
    encode,
    set_blob,
)

SIZES = {
    "CCD": 65,
    "Guide": 42,
    "Telescope": 42,
    "Dome": 30,
    "Focuser": 26,
    "Weather": 17,
    "Rotator": 15,
    "Panel": 9,
    "GPS": 7,
    "Filter": 7,
    "SQM": 6,
}
COUNTS: dict[Kind, int] = {
    "BLOB": 3,
    "Switch": 130,
    "Number": 95,
    "Text": 37,
    "Light": 1,
}
KINDS: list[Kind] = [kind for kind, count in COUNTS.items() for _ in range(count)]
VECTORS = len(KINDS)
MEMBERS = 655
# has no divisor in common with 266: large devices have vectors of all common kinds
STRIDE = 89
CHANGING = 20  # number vectors of one device that change, each in its turn
CAMERA = "CCD"
PIECE = 256 * 1024  # bytes of one write
STAMP = "2026-01-01T00:00:00"
FIRST = {"Switch": "On", "Text": "some text", "Light": "Ok", "BLOB": ""}
SET = """\
<setNumberVector device="{}" name="{}" state="Busy" timeout="60" timestamp="{}">
    <oneNumber name="M0">
{:.20g}
    </oneNumber>
    <oneNumber name="M1">
{:.20g}
    </oneNumber>
</setNumberVector>
"""


def observatory() -> list[DefVector]:
    """Return all definitions."""
    devices = [name for name, size in SIZES.items() for _ in range(size)]
    spare = MEMBERS - COUNTS["BLOB"] - 2 * (VECTORS - COUNTS["BLOB"])
    found = []
    for place, device in enumerate(devices):
        kind = KINDS[place * STRIDE % VECTORS]
        members = 1
        if kind != "BLOB":
            members = 3 if spare > 0 else 2
            spare -= 1
        name = f"{kind.upper()}_{place}"
        found.append(_definition(device, kind, name, members))
    return found


def _definition(device: str, kind: Kind, name: str, members: int) -> DefVector:
    made = tuple(_member(kind, place) for place in range(members))
    perm = "ro" if kind in ("Light", "BLOB") else "rw"
    rule = "AnyOfMany" if kind == "Switch" else ""
    return DefVector(
        kind,
        device,
        name,
        made,
        f"Label of {name}",
        "Main Control",
        "Ok",
        perm,
        rule,
        60.0,
        STAMP,
    )


def _member(kind: Kind, place: int) -> DefMember:
    name = f"M{place}"
    label = f"Label {place}"
    if kind == "Number":
        return DefMember(name, label, f"{place + 0.5}", "%g", "0", "0", "0")
    return DefMember(name, label, FIRST[kind])


def changing() -> list[str]:
    """Return the names of the vectors of the camera that change."""
    return _of_camera("Number")[:CHANGING]


def camera() -> str:
    """Return the name of the vector that has the images."""
    return _of_camera("BLOB")[0]


def _of_camera(kind: Kind) -> list[str]:
    vectors = [each for each in observatory() if each.device == CAMERA]
    return [each.name for each in vectors if each.kind == kind]


def sets(first: int, count: int) -> Iterator[tuple[str, int]]:
    """Vectors and values of their first member, numbered on and on."""
    names = changing()
    for number in range(first, first + count):
        yield names[number % CHANGING], number


def pixels(size: int) -> bytes:
    """Return the image of a size (bytes), always the same."""
    return random.Random(size).randbytes(size)


class Client:
    """A connection: what it has asked for, and what waits to be written."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self.images = "Never"
        self._writer = writer
        self._waiting: asyncio.Queue[bytes] = asyncio.Queue()

    def send(self, data: bytes) -> None:
        self._waiting.put_nowait(data)

    async def write(self) -> None:
        while True:
            data = memoryview(await self._waiting.get())
            for start in range(0, len(data), PIECE):
                self._writer.write(data[start : start + PIECE])
                await self._writer.drain()


class Server:
    """Sends the same to all clients, one after the other as indiserver does."""

    def __init__(self) -> None:
        self._clients: set[Client] = set()
        self._first = 0  # when the first client came (ns)
        self._images: dict[int, bytes] = {}
        self._camera = camera()
        self._names = changing()
        self._frames = 0

    async def serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._first = self._first or time.monotonic_ns()
        client = Client(writer)
        self._clients.add(client)
        writing = asyncio.create_task(client.write())
        try:
            asked = ElementReader()
            while data := await reader.read(PIECE):
                asked.feed(data)
                for element in asked.elements():
                    self._answer(client, element)
        except ConnectionError:
            pass
        finally:
            self._clients.discard(client)
            writing.cancel()
            writer.close()

    def _answer(self, client: Client, element: object) -> None:
        match element:
            case GetProperties(device, name):
                client.send(_definitions(device, name))
            case EnableBLOB(_, value, name) if name in ("", self._camera):
                client.images = value
            case PingRequest(uid):
                client.send(encode(PingReply(uid)))

    async def came(self) -> int:
        """Return when the first client came (ns)."""
        return self._first

    async def sets(self, first: int, count: int, pause: int) -> int:
        """Send so many sets, with a pause (us) between them; 0: all at once.

        Return when that began (ns).
        """
        elements = [self._set(name, value) for name, value in sets(first, count)]
        if not pause:
            elements = [b"".join(elements)]
        began = time.monotonic_ns()
        for number, each in enumerate(elements):
            due = began / 1e9 + number * pause / 1e6
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            self._values(each)
        return began

    async def stamped(self, count: int, frame: int, pause: int) -> int:
        """Send so many sets whose value is the time (us), at random 200 a second.

        Meanwhile a frame (bytes) every pause (ms). Return how many frames.
        """
        self._frames = 0
        filming = asyncio.create_task(self._film(frame, pause / 1000))
        for number in range(count):
            await asyncio.sleep(random.uniform(0.0, 0.01))
            name = self._names[number % CHANGING]
            self._values(self._set(name, time.monotonic_ns() // 1000))
        filming.cancel()
        await asyncio.gather(filming, return_exceptions=True)
        return self._frames

    async def image(self, size: int) -> int:
        """Send one image (bytes) once a client wants it.

        Return when that began (ns).
        """
        data = self._image(size)
        while not any(each.images != "Never" for each in self._clients):  # noqa: ASYNC110  # rare enough
            await asyncio.sleep(0.01)
        began = time.monotonic_ns()
        for client in self._clients:
            if client.images != "Never":
                client.send(data)
        return began

    async def _film(self, size: int, pause: float) -> None:
        """Send frames; none if they have no size."""
        while size:
            await self.image(size)
            self._frames += 1
            await asyncio.sleep(pause)

    def _values(self, data: bytes) -> None:
        for client in self._clients:
            if client.images != "Only":
                client.send(data)

    def _set(self, name: str, value: int) -> bytes:
        return SET.format(CAMERA, name, STAMP, float(value), value / 1000).encode()

    def _image(self, size: int) -> bytes:
        if size not in self._images:
            vector = SetVector("BLOB", CAMERA, self._camera, {}, "Ok", 60.0, STAMP)
            blob = NewBlob(pixels(size), ".fits", size)
            self._images[size] = set_blob(vector, {"M0": blob})
        return self._images[size]


def _definitions(device: str, name: str) -> bytes:
    """Return the definitions of a device and vector, "" = all, in one piece."""
    found = []
    for vector in observatory():
        if device in ("", vector.device) and name in ("", vector.name):
            found.append(encode(vector))
    return b"".join(found)


async def main() -> None:
    """Say the port, then do what each line says."""
    server = Server()
    async with await asyncio.start_server(server.serve, "127.0.0.1", 0) as listening:
        print(listening.sockets[0].getsockname()[1], flush=True)
        tasks = {
            "came": server.came,
            "sets": server.sets,
            "stamped": server.stamped,
            "image": server.image,
        }
        while line := await asyncio.to_thread(sys.stdin.readline):
            task, *numbers = line.split()
            found = await tasks[task](*map(int, numbers))
            print(json.dumps(found), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
