"""A Cognito that answers at once, in a process of its own, so that it is not what is measured.

`python -m benchmarks.stand_in PORT`: AdminUpdateDeviceStatus succeeds for every device; `Stats` tells and
forgets what was asked.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from device_status_worker.local.probe import free_port

HOST = "127.0.0.1"


@dataclass(frozen=True)
class Seen:
    """What the stand-in was asked since the last time."""

    requests: int
    devices: int
    """Different ones."""
    seconds: float
    """From the first request to the last."""
    busiest_second: int
    """Most requests in any second, wherever it begins."""

    @property
    def rate(self) -> float:
        """Requests a second."""
        return (self.requests - 1) / self.seconds if self.seconds else 0.0


class StandIn:
    """The client side: where it listens, and what it saw."""

    def __init__(self, port: int) -> None:
        self._port = port

    @property
    def environment(self) -> dict[str, str]:
        """With it boto3 calls this and nothing else."""
        return {
            "AWS_ENDPOINT_URL_COGNITO_IDENTITY_PROVIDER": f"http://{HOST}:{self._port}",
            "AWS_ACCESS_KEY_ID": "benchmark",
            "AWS_SECRET_ACCESS_KEY": "benchmark",
            "AWS_DEFAULT_REGION": "eu-west-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def count(self) -> int:
        """Requests so far."""
        return int(self._ask("Count")["requests"])

    def seen(self) -> Seen:
        """What it saw since it was last asked this."""
        return Seen(**self._ask("Stats"))

    def _ask(self, what: str) -> dict[str, float]:
        connection = http.client.HTTPConnection(HOST, self._port, timeout=30)
        connection.request("POST", "/", b"{}", {"X-Amz-Target": f"Benchmark.{what}"})
        answer: dict[str, float] = json.loads(connection.getresponse().read())
        connection.close()
        return answer


@contextmanager
def running() -> Iterator[StandIn]:
    """Start it, and end it with the context."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.stand_in", str(port)], stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        process.stdout.readline()
        yield StandIn(port)
    finally:
        process.terminate()
        process.wait()


class _Server:
    def __init__(self) -> None:
        self.times: list[float] = []
        self.devices: Counter[str] = Counter()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                received_at = time.monotonic()
                length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
                body = await reader.readexactly(length)
                answer = json.dumps(self._answer(head, body, received_at)).encode()
                writer.write(
                    b"HTTP/1.1 200 OK\r\nContent-Type: application/x-amz-json-1.1\r\n"
                    b"x-amzn-RequestId: benchmark\r\nContent-Length: %d\r\n\r\n%s" % (len(answer), answer)
                )
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    def _answer(self, head: bytes, body: bytes, received_at: float) -> dict[str, float]:
        if b"benchmark.count" in head:
            return {"requests": len(self.times)}
        if b"benchmark.stats" in head:
            answer = {
                "requests": len(self.times),
                "devices": len(self.devices),
                "seconds": self.times[-1] - self.times[0] if self.times else 0.0,
                "busiest_second": _busiest_second(self.times),
            }
            self.times, self.devices = [], Counter()
            return answer
        self.times.append(received_at)
        self.devices[json.loads(body)["DeviceKey"]] += 1
        return {}


def _busiest_second(times: list[float]) -> int:
    window: deque[float] = deque()
    most = 0
    for at in times:
        window.append(at)
        while window[0] <= at - 1:
            window.popleft()
        most = max(most, len(window))
    return most


async def _main(port: int) -> None:
    server = await asyncio.start_server(_Server().serve, HOST, port, backlog=500)
    print("ready", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1])))
