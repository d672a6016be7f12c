"""Signals: it ends without losing what it accepted, and takes another bundle only if that works."""

import json
import shlex
import shutil
import signal
import subprocess
import threading
from contextlib import ExitStack

import pytest
import requests

from fashion.bundles.manifest import GRAPH, NAME, Calibrated, bundle_id

PATIENCE_S = 120


class Callers:
    """Threads that send one photo after the other until the service doesn't listen any more."""

    def __init__(self, service, content, number=4):
        self.statuses = []
        self.failures = []
        self.ids = set()
        self._service = service
        self._content = content
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._call) for _ in range(number)]
        for thread in self._threads:
            thread.start()

    def _call(self):
        with requests.Session() as session:
            while not self._stop.is_set():
                try:
                    reply = session.post(
                        f"{self._service.url}/v1/predict", data=self._content, timeout=PATIENCE_S,
                        headers={"Content-Type": "image/png"},
                    )  # fmt: skip
                except requests.ConnectionError as error:
                    if "refused" not in str(error):
                        self.failures.append(error)
                    return
                self.statuses.append(reply.status_code)
                self.ids.add(reply.json()["model"]["id"])

    def join(self):
        self._stop.set()
        for thread in self._threads:
            thread.join(PATIENCE_S)


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_well_without_requests(sig, start, served_bundle):
    service = start(served_bundle, "drain_s=1")
    assert service.end(sig) == 0


def test_what_was_accepted_is_answered_before_it_ends(start, served_bundle, until, photo):
    service = start(served_bundle, "drain_s=8")
    callers = Callers(service, photo())
    until(lambda: len(callers.statuses) > 20)
    service.process.send_signal(signal.SIGTERM)
    reply = service.get("/readyz")
    assert (reply.status_code, reply.json()) == (503, {"status": "draining"})
    assert reply.headers["connection"] == "close"
    assert service.process.wait(PATIENCE_S) == 0
    callers.join()
    assert {*callers.statuses} == {200}
    assert callers.failures == []


def test_who_waits_to_be_accepted_when_the_end_comes_is_answered(in_thread, photo, monkeypatch):
    it = in_thread(drain_s=8)
    accept, content = it.server._accept_waiting, photo()
    head = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
    with ExitStack() as stack:
        waiting = []

        def knock(sockets):  # nothing else runs in the service meanwhile
            for _ in range(5):
                waiting.append(stack.enter_context(it.running.connect()))
                waiting[-1].sendall(head % len(content) + content)
            accept(sockets)

        monkeypatch.setattr(it.server, "_accept_waiting", knock)
        assert it.running.get("/livez").status_code == 200
        it.server.handle_exit(signal.SIGTERM, None)
        it.thread.join(PATIENCE_S)
        assert len(waiting) == 5
        for each in waiting:
            assert each.recv(100).startswith(b"HTTP/1.1 200 ")


def test_a_slow_request_is_answered_before_it_ends(start, served_bundle, photo, until):
    service = start(served_bundle, "drain_s=8")
    content = photo()
    with service.connect() as connection, service.connect() as late:
        head = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
        connection.sendall(head % len(content) + content[:10])
        until(lambda: service.get("/livez").status_code == 200)
        service.process.send_signal(signal.SIGTERM)
        until(lambda: refuses(service))
        connection.sendall(content[10:])
        assert connection.recv(100).startswith(b"HTTP/1.1 200 ")
        late.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert late.recv(100).startswith((b"HTTP/1.1 200 ", b""))
    assert service.process.wait(PATIENCE_S) == 0


def refuses(service):
    try:
        service.connect().close()
    except ConnectionRefusedError:
        return True
    return False


def test_a_client_that_never_ends_does_not_hold_it_up(start, served_bundle):
    service = start(served_bundle, "drain_s=1", "receive_s=30")
    with service.connect() as connection:
        connection.sendall(
            b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n"
        )
        assert service.get("/livez").status_code == 200
        assert service.end(signal.SIGTERM) == 0


@pytest.fixture
def linked(tmp_path, make_draft):
    """Two bundles, and a link to the first."""
    first = make_draft().write(tmp_path / "first")
    draft = make_draft()
    draft.options["name"] = "brighter"
    second = draft.write(tmp_path / "second")
    link = tmp_path / "now"
    link.symlink_to(first)
    return link, first, second


def point(link, target):
    new = link.with_name("new")
    new.symlink_to(target)
    new.replace(link)


def identity(folder):
    return bundle_id((folder / NAME).read_bytes())


def test_another_bundle_takes_over_without_losing_a_request(linked, start, until, photo):
    link, first, second = linked
    service = start(link)
    callers = Callers(service, photo())
    until(lambda: len(callers.statuses) > 10)
    for target in (second, first, second):
        point(link, target)
        service.process.send_signal(signal.SIGHUP)
        until(lambda target=target: service.get("/v1/model").json()["id"] == identity(target))
    assert service.get("/v1/model").json()["name"] == "brighter"
    callers.join()
    assert {*callers.statuses} == {200}
    assert callers.failures == []
    assert callers.ids == {identity(first), identity(second)}
    metrics = service.get("/metrics").text
    assert 'fashion_reloads_total{outcome="taken"} 3.0' in metrics
    assert f'id="{identity(second)}"' in metrics
    assert f'id="{identity(first)}"' not in metrics


def gone(folder, make_draft):
    shutil.rmtree(folder)


def damaged(folder, make_draft):
    path = folder / GRAPH
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def mislabelling(folder, make_draft):
    """A bundle whose files are as they were written, and that labels other than it says."""
    draft = make_draft()
    name = "selftest/expected.json"
    draft.files[name] = draft.files[name].replace(b'"probabilities": [0.', b'"probabilities": [0.9')
    shutil.rmtree(folder)
    draft.write(folder)


def uncalibrated(folder, make_draft):
    draft = make_draft()
    draft.options["calibration"] = Calibrated()
    shutil.rmtree(folder)
    draft.write(folder)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (gone, "does not exist"),
        (damaged, "it was changed or is damaged"),
        (mislabelling, "doesn't pass its own test"),
        (uncalibrated, "has no calibration"),
    ],
)
def test_a_bundle_that_does_not_work_does_not_take_over(
    spoil, reason, linked, start, photo, until, make_draft
):
    link, first, second = linked
    service = start(link, "precision=0.9")
    spoil(second, make_draft)
    point(link, second)
    service.process.send_signal(signal.SIGHUP)
    until(lambda: "reload" in service.get("/readyz").json())
    reply = service.get("/readyz")
    assert (reply.status_code, reply.json()["status"]) == (200, "ready")
    assert str(link) not in reply.text
    [line] = [line for line in service.log() if line["level"] == "error"]
    assert reason in line["message"]
    assert service.post(data=photo()).json()["model"]["id"] == identity(first)

    shutil.rmtree(second, ignore_errors=True)
    draft = make_draft()
    draft.options["name"] = "mended"
    draft.write(second)
    service.process.send_signal(signal.SIGHUP)
    until(lambda: service.get("/v1/model").json()["name"] == "mended")
    assert service.get("/readyz").json() == {"status": "ready"}


def test_what_it_says_first_can_be_typed(start, served_bundle, tmp_path, photo):
    service = start(served_bundle)
    told = service.process.stdout.readline()
    assert told.strip().startswith("try: curl ")
    words = told.strip().removeprefix("try: curl ").split(" ")
    assert words[-1] == f"{service.url}/v1/predict"
    (tmp_path / "photo.jpg").write_bytes(photo(kind="JPEG"))
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("there is no curl to type it for")
    done = subprocess.run(
        ["curl", "-sS", *shlex.split(told.strip())[2:]],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert json.loads(done.stdout)["photos"][0]["labels"][0]["label"] == "Bright"


def test_it_listens_only_once_it_is_ready(start, served_bundle, tmp_path):
    (tmp_path / "began").touch()  # by the clock of files, which may be milliseconds behind
    began = (tmp_path / "began").stat().st_mtime
    service = start(served_bundle)
    assert service.get("/readyz").json() == {"status": "ready"}
    assert service.log_path.stat().st_mtime >= began
