"""The callers of the service's benchmark, in a process of their own: few steps a request.

Their processor's time is measured, for on this machine it is taken from the service.
"""

import asyncio
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any

PATIENCE_S = 120


@dataclass
class Told:
    """What became of requests: the status and the seconds of each that was answered."""

    statuses: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    failures: int = 0


def requests_of(folder: Path) -> Iterator[bytes]:
    """Yield requests with the photos of a folder, over and over."""
    found = []
    for path in sorted(folder.glob("**/*.*")):
        content = path.read_bytes()
        head = (
            "POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\n"
            f"Content-Length: {len(content)}\r\n\r\n"
        )
        found.append(head.encode() + content)
    return cycle(found)


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> int:
    """Send a request, read its reply to the end, and return its status."""
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    [length] = [line.partition(":")[2] for line in lines if line.startswith("content-length:")]
    await reader.readexactly(int(length))
    return int(lines[0].split()[1])


async def saturate(port: int, requests: Iterator[bytes], callers: int, number: int) -> Told:
    """Have callers send one request after the other, that many in all."""
    told = Told()
    left = iter(range(number))

    async def call() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in left:
            began = time.monotonic()
            told.statuses.append(await ask(reader, writer, next(requests)))
            told.seconds.append(time.monotonic() - began)
        writer.close()

    await asyncio.gather(*(call() for _ in range(callers)))
    return told


async def overload(port: int, requests: Iterator[bytes], rate: float, seconds: float) -> Told:
    """Send requests at a rate, whatever becomes of those before."""
    told = Told()

    async def call(request: bytes) -> None:
        began = time.monotonic()
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            told.statuses.append(await ask(reader, writer, request))
            told.seconds.append(time.monotonic() - began)
            writer.close()
        except (OSError, asyncio.IncompleteReadError):
            told.failures += 1

    began, calls = time.monotonic(), []
    for place in range(int(rate * seconds)):
        await asyncio.sleep(began + place / rate - time.monotonic())
        calls.append(asyncio.ensure_future(call(next(requests))))
    await asyncio.wait_for(asyncio.gather(*calls), PATIENCE_S)
    return told


async def beside_slow(port: int, requests: Iterator[bytes], slow: int, number: int) -> Told:
    """Send one request after the other, while slow connections each send a byte a second."""
    opened = [await asyncio.open_connection("127.0.0.1", port) for _ in range(slow)]
    head = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n"
    for place, (_, writer) in enumerate(opened):
        writer.write(head[:20] if place % 2 else head)  # half of them in the header

    async def dribble() -> None:
        while True:
            await asyncio.sleep(1)
            for _, writer in opened:
                writer.write(b"a")

    dribbling = asyncio.ensure_future(dribble())
    told = await saturate(port, requests, 1, number)
    dribbling.cancel()
    for _, writer in opened:
        writer.transport.abort()
    return told


CASES = {"saturate": saturate, "overload": overload, "beside_slow": beside_slow}


def main(words: Sequence[str]) -> dict[str, Any]:
    """Run a case: its name, the port, a folder of photos, and its own numbers."""
    name, port, folder, *numbers = words
    requests = requests_of(Path(folder))
    arguments = [float(each) if "." in each else int(each) for each in numbers]
    began, used = time.monotonic(), time.process_time()
    told = asyncio.run(CASES[name](int(port), requests, *arguments))
    return {
        "statuses": {status: told.statuses.count(status) for status in sorted({*told.statuses})},
        "seconds_of_200": sorted(
            seconds
            for status, seconds in zip(told.statuses, told.seconds, strict=True)
            if status == 200
        ),
        "longest_s": max(told.seconds),
        "failures": told.failures,
        "wall_s": time.monotonic() - began,
        "processor_s": time.process_time() - used,
    }


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1:])))
