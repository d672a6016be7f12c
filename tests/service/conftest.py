"""A service in a process of its own, and one in a thread whose network waits to be told."""

import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import requests
from PIL import Image

from fashion.attributes import Heads
from fashion.service.models import Models, ServedModel
from fashion.service.server import Server
from fashion.service.service import Service
from fashion.service.settings import Limits, Settings

PATIENCE_S = 120  # of a test on a busy machine; nothing is timed
TOKEN = "a-token-of-more-than-16"


def draw(grey=240, size=(20, 30), kind="PNG"):
    """Return the file of a photo of one grey."""
    content = io.BytesIO()
    Image.new("RGB", size, (grey,) * 3).save(content, kind)
    return content.getvalue()


def wait_until(condition):
    """Wait until something is so."""
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


@dataclass
class Running:
    """A service that runs.

    Attributes:
        url: Its address.
        process: The process.
        log_path: Its standard error.
        bundle: The bundle that it serves.
    """

    url: str
    process: subprocess.Popen | None = None
    log_path: Path | None = None
    bundle: Path | None = None
    session: requests.Session = field(default_factory=requests.Session)

    @property
    def port(self):
        return int(self.url.rpartition(":")[2])

    def get(self, path, **options):
        return self.session.get(self.url + path, timeout=PATIENCE_S, **options)

    def post(self, path="/v1/predict", data=None, kind="image/png", headers=None, **options):
        headers = {**({"Content-Type": kind} if kind else {}), **(headers or {})}
        return self.session.post(
            self.url + path, data=data, headers=headers, timeout=PATIENCE_S, **options
        )

    def post_form(self, parts, **options):
        return self.session.post(
            f"{self.url}/v1/predict", files=parts, timeout=PATIENCE_S, **options
        )

    def connect(self):
        """Return a socket to it."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_S)

    def log(self):
        """Return the lines of its log."""
        return [json.loads(line) for line in self.log_path.read_text().splitlines()]

    def end(self, sig=signal.SIGINT):
        """End it, and return the status of the process."""
        self.process.send_signal(sig)
        return self.process.wait(PATIENCE_S)


class Network:
    """What stands in for a network: it keeps what it is asked, and can be made to wait.

    Attributes:
        batches: What it has been asked, the mean of each photo.
        gate: Open, or it waits.
        asked: Told when it begins to wait.
    """

    class_names = ("Bright", "Dark", "Grey")
    heads = Heads(class_names)
    engine = "a stand-in"

    def __init__(self, mark=0.5):
        self.preprocessing = {"input_size": 8, "fit": "squash", "interpolation": "bilinear"}
        self.mark = mark
        self.batches = []
        self.gate = threading.Event()
        self.gate.set()
        self.asked = threading.Semaphore(0)

    def probabilities(self, photos):
        self.batches.append([int(each.mean()) for each in photos])
        self.asked.release()
        assert self.gate.wait(PATIENCE_S)
        rest = (1 - self.mark) / 2
        return np.tile(np.float32([self.mark, rest, rest]), (len(photos), 1))


def as_served(network, name="stand-in"):
    """Return a network as a model that is served."""
    return ServedModel(network, name, name, False, None, None, None)


@dataclass
class InThread:
    """A service in this process.

    Attributes:
        running: How it is called.
        network: What labels in it.
        service: The service.
        server: uvicorn's.
        thread: It runs there.
    """

    running: Running
    network: Network
    service: Service
    server: Server
    thread: threading.Thread


@pytest.fixture(scope="session")
def photo():
    """Returns photo(grey, size, kind), the file of a photo of one grey."""
    return draw


@pytest.fixture(scope="session")
def until():
    """Returns until(condition), which waits until something is so."""
    return wait_until


@pytest.fixture(scope="session")
def network():
    """Returns network(mark), what stands in for a network."""
    return Network


@pytest.fixture(scope="session")
def served():
    """Returns served(network, name), a network as a model that is served."""
    return as_served


@pytest.fixture(scope="session")
def start(tmp_path_factory):
    """Returns start(bundle, *words, **environment), which has `fashion serve` running."""
    started = []

    def start_one(bundle, *words, **environment):
        folder = tmp_path_factory.mktemp("service")
        command = [sys.executable, "-m", "fashion", "serve", f"bundle={bundle}", "port=0", *words]
        log_path = folder / "log"
        with log_path.open("wb") as log:
            process = subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, **environment},
                text=True,
            )
        started.append(process)
        first = process.stdout.readline()
        found = re.search(r"http://\S+", first)
        assert found, log_path.read_text()
        url = found[0].replace("localhost", "127.0.0.1")
        return Running(url, process, log_path, Path(bundle))

    yield start_one
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture(scope="session")
def served_bundle(tmp_path_factory, make_draft):
    """A bundle that isn't changed."""
    return make_draft().write(tmp_path_factory.mktemp("bundles") / "brightness")


@pytest.fixture(scope="session")
def service(start, served_bundle):
    """A service with a precision, whose limits are small."""
    limits = ("max_mb=0.2", "max_request_mb=1", "max_photos=4", "max_pixels=1000000")
    return start(served_bundle, "precision=0.9", "receive_s=2", *limits)


@pytest.fixture(scope="session")
def locked(start, served_bundle):
    """A service that asks for a token."""
    return start(served_bundle, FASHION_TOKEN=TOKEN)


@pytest.fixture
def in_thread():
    """Returns in_thread(**limits), a service whose network is a `Network`."""
    ends = []

    def start_one(models=None, **limits):
        network = Network()
        models = models or Models(as_served(network), Path("nowhere"))
        settings = Settings(bundle=Path("nowhere"), limits=Limits(**limits))
        service = Service(settings, models)
        bound = socket.create_server(("127.0.0.1", 0))
        server = Server(service, bound)
        thread = threading.Thread(target=server.run, args=([bound],))
        thread.start()

        def end():
            network.gate.set()
            server.handle_exit(signal.SIGINT, None)
            thread.join(PATIENCE_S)

        ends.append(end)
        running = Running(f"http://127.0.0.1:{bound.getsockname()[1]}")
        return InThread(running, network, service, server, thread)

    yield start_one
    for end in ends:
        end()
