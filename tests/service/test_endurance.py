"""Many requests and many connections: what a service keeps of them is nothing."""

import gc
import io
import resource
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import numpy as np
import psutil
import pytest
import requests
from PIL import Image

from fashion.service.photos import Photo

PATIENCE_S = 120


def mixed_bodies():
    """Return files of many sizes and kinds, some of which are none."""
    random = np.random.default_rng(1)
    found = [random.bytes(10**power) for power in range(6)]
    for side in (20, 60, 120, 300, 700, 1200):
        pixels = random.integers(0, 256, (9, 6, 3), np.uint8)
        image = Image.fromarray(pixels).resize((side * 2 // 3, side))
        for kind in ("JPEG", "PNG", "WEBP", "GIF"):
            content = io.BytesIO()
            image.save(content, kind)
            found.append(content.getvalue())
    return found


def send(running, number, bodies):
    """Send so many requests from four threads, one of eight as a form; return their statuses."""

    def send_some(first):
        with requests.Session() as session:
            url = f"{running.url}/v1/predict"
            for place in range(first, number, 4):
                body = bodies[place * 7 % len(bodies)]
                if place % 8:
                    headers = {"Content-Type": "image/png"}
                    reply = session.post(url, body, headers=headers, timeout=PATIENCE_S)
                else:
                    parts = [("photos", (f"{n}.png", body)) for n in range(3)]
                    reply = session.post(url, files=parts, timeout=PATIENCE_S)
                yield reply.status_code

    with ThreadPoolExecutor(4) as pool:
        return [status for part in pool.map(lambda n: [*send_some(n)], range(4)) for status in part]


def test_no_photo_is_kept_once_it_is_answered(in_thread, until):
    it = in_thread()
    statuses = send(it.running, 60, mixed_bodies())
    assert {*statuses} == {200, 422}
    until(lambda: it.service.line.free == 64)
    gc.collect()
    kept = [Photo("a", b"", it.service.models.current, 0.0)]
    found = [each for each in gc.get_objects() if type(each) is Photo]
    assert kept[0] in found
    # The threads that computed and decoded last hold theirs until the next comes.
    assert len(found) <= 16


@pytest.mark.long
def test_memory_does_not_grow_with_ten_thousand_mixed_requests(start, served_bundle):
    running = start(served_bundle)
    process = psutil.Process(running.process.pid)
    bodies = mixed_bodies()
    send(running, 1000, bodies)
    before = process.memory_info().rss
    statuses = send(running, 10_000, bodies)
    assert len(statuses) == 10_000
    assert {*statuses} == {200, 422}
    assert process.memory_info().rss < 1.1 * before


@pytest.mark.long
def test_a_thousand_slow_connections_do_not_hold_up_a_fast_one(start, served_bundle):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 1500:
        pytest.skip("this user may not have so many files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 1500), hard))
    running = start(served_bundle, "receive_s=60", "deadline_s=60")
    head = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n"
    body = mixed_bodies()[-4]
    with ExitStack() as stack:
        slow = [stack.enter_context(running.connect()) for _ in range(1000)]
        for number, connection in enumerate(slow):
            connection.sendall(head[:20] if number % 2 else head)
        for _ in range(20):
            for connection in slow[::10]:
                connection.sendall(b"a")
            reply = running.post(data=body)
            assert reply.status_code == 200
        process = psutil.Process(running.process.pid)
        assert len(process.net_connections()) > 1000  # they are all open still
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
