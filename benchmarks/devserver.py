"""The embedded QStash server: how fast it takes messages in and gives them out, and what they cost.

``python -m benchmarks.devserver [--sizes 1000,10000,100000] [--db]``

Three processes: the server, a trivial receiver (a raw socket protocol, no framework) and this one,
which publishes over keep-alive connections. Each figure is printed for every size, and beside it
how it grew from the smallest: 1.0x is flat.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.sharedctypes import Synchronized
from multiprocessing.synchronize import Event
from pathlib import Path
from urllib.parse import urlsplit

SRC = Path(__file__).resolve().parents[1] / "src"
BODY = b'{"v":1,"kind":"task","task":"shop.tasks.add","id":"0123456789","args":[2,3]}'
#: Connections that publish at the same time.
PUBLISHERS = 8


class _Receiver(asyncio.Protocol):
    """Counts requests and answers 200 to each."""

    def __init__(self, count: Synchronized[int]) -> None:
        self.count = count
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while True:
            head, mark, rest = self.buffer.partition(b"\r\n\r\n")
            if not mark:
                return
            at = head.lower().find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(rest) < length:
                return
            self.buffer = rest[length:]
            self.count.value += 1
            self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")


def _receive(port: Synchronized[int], count: Synchronized[int], ready: Event) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: _Receiver(count), "127.0.0.1", 0, backlog=1024)
        port.value = server.sockets[0].getsockname()[1]
        ready.set()
        await server.serve_forever()

    asyncio.run(main())


@contextmanager
def receiver() -> Iterator[tuple[str, Synchronized[int]]]:
    port = multiprocessing.Value("i", 0)
    count = multiprocessing.Value("i", 0, lock=False)
    ready = multiprocessing.Event()
    process = multiprocessing.Process(target=_receive, args=(port, count, ready), daemon=True)
    process.start()
    ready.wait()
    yield f"http://127.0.0.1:{port.value}/", count
    process.terminate()
    process.join()


class Server:
    """The server process, as ``python -m django_qstash.devserver`` starts it."""

    def __init__(self, *options: str) -> None:
        command = [sys.executable, "-m", "django_qstash.devserver", "--port=0", "--quiet", *options]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(SRC)}
        )
        self.environment = {}
        for line in self.process.stdout:
            name, sign, value = line.strip().partition("=")
            if sign:
                self.environment[name] = value
            if name == "QSTASH_NEXT_SIGNING_KEY":
                break
        self.url = self.environment["QSTASH_URL"]
        self.token = self.environment["QSTASH_TOKEN"]

    def memory(self) -> int:
        """Bytes of resident memory."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
        return int(line.split()[1]) * 1024

    def cpu(self) -> float:
        """Seconds of processor time used so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()
        self.process.stdout.close()


async def _exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes
) -> bytes:
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    at = head.lower().index(b"content-length:")
    body = await reader.readexactly(int(head[at + 15 :].split(b"\r\n", 1)[0]))
    if not head.startswith(b"HTTP/1.1 200"):
        raise SystemExit(f"Not published: {head!r} {body!r}")
    return body


def _request(server: Server, path: str, body: bytes, headers: dict[str, str]) -> bytes:
    lines = [
        f"POST {path} HTTP/1.1",
        f"Host: {urlsplit(server.url).netloc}",
        f"Authorization: Bearer {server.token}",
        f"Content-Length: {len(body)}",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def _publish(server: Server, request: bytes, total: int) -> float:
    """Seconds that ``total`` equal requests take over all connections."""
    parts = urlsplit(server.url)
    left = total

    async def one() -> None:
        nonlocal left
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        while left > 0:
            left -= 1
            await _exchange(reader, writer, request)
        writer.close()

    start = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(PUBLISHERS)))
    return time.perf_counter() - start


def publishing(server: Server, destination: str, size: int) -> dict[str, float]:
    """Delayed messages, one request each: requests a second, and bytes each costs waiting."""
    headers = {"Content-Type": "application/json", "Upstash-Delay": "1d"}
    request = _request(server, f"/v2/publish/{destination}", BODY, headers)
    asyncio.run(_publish(server, request, 200))
    before = server.memory()
    took = asyncio.run(_publish(server, request, size))
    return {
        "publishes/s": size / took,
        "bytes/message": max(0, server.memory() - before) / size,
    }


def delivering(
    server: Server, destination: str, count: Synchronized[int], size: int
) -> dict[str, float]:
    """Messages that are all due at one moment: deliveries a second from the first to the last."""
    due = time.time() + 1 + size / 20000
    item = {
        "destination": destination,
        "headers": {"Content-Type": "application/json", "Upstash-Not-Before": str(due)},
        "body": BODY.decode(),
    }
    start = count.value
    left = size
    while left:
        part = min(left, 1000)
        body = json.dumps([item] * part).encode()
        asyncio.run(_publish_once(server, _request(server, "/v2/batch", body, {})))
        left -= part
    while count.value == start:
        time.sleep(0.001)
    # Late batches are delivered while others are still published; only the rest is measured.
    begun, first = time.perf_counter(), count.value
    cpu = server.cpu()
    while count.value < start + size:
        time.sleep(0.002)
    took = time.perf_counter() - begun
    return {
        "deliveries/s": (start + size - first) / took,
        "cpu ms/delivery": (server.cpu() - cpu) * 1000 / (start + size - first),
    }


async def _publish_once(server: Server, request: bytes) -> None:
    parts = urlsplit(server.url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    await _exchange(reader, writer, request)
    writer.close()


def through(
    server: Server, destination: str, count: Synchronized[int], size: int
) -> dict[str, float]:
    """Publish without delay, one request each, and wait for the last: messages a second."""
    headers = {"Content-Type": "application/json"}
    request = _request(server, f"/v2/publish/{destination}", BODY, headers)
    start = count.value
    begun = time.perf_counter()
    asyncio.run(_publish(server, request, size))
    while count.value < start + size:
        time.sleep(0.002)
    return {"through/s": size / (time.perf_counter() - begun)}


def latency(server: Server, destination: str, count: Synchronized[int]) -> dict[str, float]:
    """Milliseconds from sending a publish to its arrival at the receiver; the median of 200."""

    async def measure() -> list[float]:
        parts = urlsplit(server.url)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        request = _request(server, f"/v2/publish/{destination}", BODY, {})
        times = []
        for _ in range(200):
            before = count.value
            start = time.perf_counter()
            await _exchange(reader, writer, request)
            while count.value == before:  # noqa: ASYNC110 - another process counts
                await asyncio.sleep(0)
            times.append(time.perf_counter() - start)
        writer.close()
        return times

    times = sorted(asyncio.run(measure()))
    return {"latency ms": times[len(times) // 2] * 1000}


def main(argv: Sequence[str] = ()) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="1000,10000,100000")
    parser.add_argument("--db", action="store_true", help="with a journal in a temporary file")
    options = parser.parse_args(argv)
    sizes = [int(size) for size in options.sizes.split(",")]
    print(f"{os.cpu_count()} cores, Python {sys.version.split()[0]}, journal: {options.db}")
    first: dict[str, float] = {}
    for size in sizes:
        with receiver() as (destination, count), tempfile.TemporaryDirectory() as folder:
            extra = ["--db", f"{folder}/journal.sqlite3"] if options.db else []
            figures: dict[str, float] = {}
            for measure in (publishing, delivering, through):
                server = Server(*extra)
                arguments = (count, size) if measure is not publishing else (size,)
                figures.update(measure(server, destination, *arguments))
                if measure is publishing:
                    # Beside all the waiting ones.
                    figures.update(latency(server, destination, count))
                server.stop()
                for file in Path(folder).iterdir():
                    file.unlink()
        print(f"\n{size} messages")
        for name, value in figures.items():
            first.setdefault(name, value)
            print(f"  {name:<16} {value:>12.2f}   {value / first[name]:5.2f}x of {sizes[0]}")


if __name__ == "__main__":
    main(sys.argv[1:])
