"""A service that is asked more than it can do: who comes too late is told so."""

import json
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from fashion.service.models import Models

PATIENCE_S = 120


def test_who_comes_when_the_line_is_full_is_told_when_to_come_again(
    in_thread, photo, until, network
):
    it = in_thread(queue=4, max_photos=4, max_batch=2)
    it.network.gate.clear()
    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(it.running.post, data=photo(grey)) for grey in (10, 20, 30, 40)]
        until(lambda: it.service.line.free == 0)
        reply = it.running.post(data=photo())
        assert (reply.status_code, reply.json()["code"]) == (503, "busy")
        assert reply.headers["retry-after"] == "1"
        assert "queue=4" in reply.json()["detail"]
        it.network.gate.set()
        assert [each.result().status_code for each in waiting] == [200] * 4
    assert it.running.post(data=photo()).status_code == 200
    assert sum(map(len, it.network.batches)) == 5


def test_a_full_line_refuses_before_the_body_is_sent(in_thread, photo, until, network):
    it = in_thread(queue=1, max_photos=1)
    it.network.gate.clear()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(it.running.post, data=photo())
        until(lambda: it.service.line.free == 0)
        with it.running.connect() as connection:
            connection.sendall(
                b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999\r\n\r\n"
            )
            assert connection.recv(100).startswith(b"HTTP/1.1 503 ")
        it.network.gate.set()
        assert waiting.result().status_code == 200


def test_what_takes_too_long_is_given_up(in_thread, photo, network):
    it = in_thread(deadline_s=1, receive_s=1)
    it.network.gate.clear()
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(it.running.post, data=photo(10))
        assert it.network.asked.acquire(timeout=PATIENCE_S)
        replies = [first, *(pool.submit(it.running.post, data=photo(20)) for _ in range(2))]
        for reply in replies:  # though the network never answers
            assert reply.result().status_code == 503
            assert reply.result().json()["code"] == "late"
    it.network.gate.set()
    assert it.running.post(data=photo(30)).status_code == 200
    assert it.network.batches == [[10], [30]]  # what was given up is never computed


def test_what_a_client_that_has_gone_sent_is_not_computed(in_thread, photo, until, network):
    it = in_thread()
    it.network.gate.clear()
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(it.running.post, data=photo(10))
        assert it.network.asked.acquire(timeout=PATIENCE_S)
        with it.running.connect() as connection:
            content = photo(20)
            connection.sendall(
                b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\n"
                b"Content-Length: %d\r\n\r\n%b" % (len(content), content)
            )
            until(lambda: it.service.line.free == 62)
        until(lambda: it.service.line.free == 63)
        it.network.gate.set()
        assert first.result().status_code == 200
    assert it.network.batches == [[10]]


def test_bodies_together_have_a_limit(in_thread, photo, until):
    it = in_thread(max_mb=0.4, max_request_mb=0.4, buffer_mb=0.5)
    half = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 300000\r\n\r\n"
    with it.running.connect() as connection:
        connection.sendall(half + b"\0" * 299_999)
        until(lambda: it.service.line.free and held(it) > 290_000)
        reply = it.running.post(data=b"\0" * 300_000)
        assert (reply.status_code, reply.json()["code"]) == (503, "busy")
        assert "buffer_mb" in reply.json()["detail"]
        assert it.running.post(data=photo()).status_code == 200
    until(lambda: held(it) == 0)
    assert it.running.post(data=b"\0" * 300_000).status_code == 422


def held(it):
    """Return the bytes that a service holds."""
    app = it.server.config.app
    while not hasattr(app, "held"):
        app = app._app
    return app.held


def test_slow_connections_do_not_hold_up_a_fast_one(in_thread, photo):
    it = in_thread(receive_s=30)
    with ExitStack() as stack:
        for number in range(50):
            connection = stack.enter_context(it.running.connect())
            sent = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n"
            connection.sendall(sent[: number * 2] if number % 2 else sent + b"\0" * number)
        for _ in range(5):
            assert it.running.post(data=photo()).status_code == 200


def test_connections_have_a_limit(in_thread):
    it = in_thread(connections=10, receive_s=30)
    with ExitStack() as stack:
        for _ in range(10):
            stack.enter_context(it.running.connect())
        refused = stack.enter_context(it.running.connect())
        told = refused.recv(1000)
        assert told.startswith(b"HTTP/1.1 503 ")
        assert json.loads(told.partition(b"\r\n\r\n")[2])["code"] == "busy"
        assert refused.recv(10) == b""
    assert it.running.get("/livez").status_code == 200


def test_who_does_not_read_the_reply_is_cut_off(in_thread, until):
    """Its names come back to it: a reply of megabytes, of which it takes nothing."""
    it = in_thread(receive_s=1)
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", it.running.port))
        connection.settimeout(PATIENCE_S)
        asked = b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n"
        try:
            for _ in range(2000):
                connection.sendall(asked)
        except OSError:  # it has had enough, and doesn't read any more, or it has closed
            pass
        until(lambda: not it.server.server_state.connections)


@pytest.mark.parametrize("number", [1, 6])
def test_a_swap_loses_no_request_and_mixes_no_models(
    number, in_thread, photo, until, served, network
):
    old, new = network(0.6), network(0.8)
    models = Models(served(old, "old"), Path("nowhere"))
    it = in_thread(models)
    old.gate.clear()
    with ThreadPoolExecutor(8) as pool:
        before = [pool.submit(it.running.post, data=photo()) for _ in range(number)]
        until(lambda: it.service.line.free == 64 - number)
        models.current = served(new, "new")
        after = [pool.submit(it.running.post, data=photo()) for _ in range(2)]
        until(lambda: it.service.line.free == 62 - number)
        old.gate.set()
        told = [each.result().json() for each in (*before, *after)]
    for names, share, replies in (("old", 0.6, told[:number]), ("new", 0.8, told[number:])):
        for each in replies:
            assert each["model"]["id"] == names
            assert each["photos"][0]["labels"][0]["probability"] == pytest.approx(share)
