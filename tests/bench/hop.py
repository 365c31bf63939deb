"""The bare hop over a broker with paho, where hop.c cannot be built.

Same arguments, same output.
"""

import json
import re
import sys
import threading
import time
from typing import Any

from tests.bench.client import connected

SILENCE = 3.0  # s; then whatever is missing does not come any more
_VALUES = re.compile(rb'"value":(\d+)')


def publish(port: int, topic: str, count: int, pause: float) -> None:
    """Send stamps (monotonic ns) at QoS 0."""
    with connected(port) as client:
        due = time.monotonic()
        for _ in range(count):
            time.sleep(max(0.0, due - time.monotonic()))
            last = client.publish(topic, b"%d" % time.monotonic_ns())
            due += pause
        last.wait_for_publish()
    print("{}")


def listen(port: int, filter_: str, count: int, _pause: float) -> None:
    """Print `ready`, then the ages (ns) of the stamps that came, as JSON."""
    ages: list[int] = []
    news = threading.Event()

    def on_message(_client: Any, _userdata: Any, message: Any) -> None:
        received = time.monotonic_ns()
        if not message.retain:
            stamps = [
                int(stamp)
                for stamp in _VALUES.findall(message.payload) or [message.payload]
            ]
            ages.extend(received - stamp for stamp in stamps if stamp > 0)
            news.set()

    with connected(port, on_message) as client:
        client.on_subscribe = lambda *_: print("ready", flush=True)
        client.subscribe(filter_)
        while len(ages) < count and (news.wait(SILENCE) or not ages):
            news.clear()
    ages.sort()
    print(
        json.dumps(
            {
                "seen": len(ages),
                "p50": ages[len(ages) // 2],
                "p99": ages[len(ages) * 99 // 100],
            }
        )
    )


def main(role: str, port: str, topic: str, count: str, pause: str) -> None:
    {"publish": publish, "listen": listen}[role](
        int(port), topic, int(count), int(pause) / 1e9
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
