import hashlib
import io
import os
import shutil
import socket
import threading
import time
from pathlib import Path

import pytest
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from PIL import Image, UnidentifiedImageError
from playwright.sync_api import sync_playwright
from starlette.concurrency import run_in_threadpool

from fashion.catalogue.sample import draw_sample
from fashion.service import page as page_module
from fashion.tables import attribute_columns

CLASSES = [
    *("Shirts", "T-shirts", "Jeans", "Watches", "Sports Shoes", "Tops", "Café Tables"),
    *("<b>Bold</b>", "=SUM(A1)", "Umbrellas", "Bags, Small"),
]
NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu"]
VIOLATIONS = """
window.violations = [];
addEventListener("securitypolicyviolation", (event) =>
    violations.push(`${event.violatedDirective} ${event.blockedURI} ${event.sample}`));
"""


class StubServer:
    """The routes that the page calls, with labels that follow from a photo's bytes.

    Attributes:
        url: Where it is, once it runs.
        precision: Given to the page; None: nothing is sure.
        token: What it asks for.
        faults: Answers, each given once, in place of the next predictions.
        delay: Seconds that a prediction takes.
        hangs: While set, predictions aren't answered.
        seen: The names of the photos that were asked for, in their order.
        queue: The photos that wait for review, `{sha256: (content, facts)}`; None: no review.
        decisions: What the page sent.
        blind: Whether sure photos are blind.
    """

    def __init__(self):
        self.precision = 0.98
        self.token = None
        self.faults = []
        self.delay = 0.0
        self.hangs = threading.Event()
        self.seen, self.decisions = [], []
        self.queue = None
        self.blind = False
        self.classes = list(CLASSES)
        self.attributes = {}
        self.names = None
        self.products = {}
        self.app = self._app()
        self._port = 0
        self._server = None

    @property
    def url(self):
        return f"http://127.0.0.1:{self._port}/"

    def labels(self, content):
        digest = hashlib.sha256(content).digest()
        first = digest[0] % len(self.classes)
        names = [*self.classes[first:], *self.classes[:first]][:5]
        top = 0.35 + 0.64 * digest[1] / 255
        shares = [top, *((1 - top) * share for share in (0.5, 0.25, 0.15, 0.1))]
        return [
            {"label": name, "probability": round(share, 6)}
            for name, share in zip(names, shares, strict=False)
        ]

    def confidence(self, content):
        return self.labels(content)[0]["probability"]

    def is_sure(self, content):
        return self.confidence(content) >= 0.7

    def start(self):
        config = uvicorn.Config(self.app, port=self._port, log_level="error", lifespan="off")
        self._server = uvicorn.Server(config)
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", self._port))
        self._port = sock.getsockname()[1]
        run = self._server.run
        self._thread = threading.Thread(target=run, kwargs={"sockets": [sock]}, daemon=True)
        self._thread.start()
        while not self._server.started:
            time.sleep(0.01)

    def stop(self):
        self.hangs.clear()
        self._server.should_exit = self._server.force_exit = True
        self._thread.join()

    def _app(self):
        app = FastAPI(docs_url=None, redoc_url=None)
        app.include_router(page_module.router())

        @app.middleware("http")
        async def ask_for_token(request: Request, answer):
            wanted = f"Bearer {self.token}"
            is_open = request.url.path == "/" or request.url.path.startswith("/static/")
            if self.token and not is_open and request.headers.get("authorization") != wanted:
                return problem(401, "This needs the service's token.")
            return await answer(request)

        @app.get("/v1/model")
        def model():
            return {
                "name": "drawn-shop", "id": "sha256:0123", "classes": self.classes,
                "precision": self.precision, "threshold": self.precision and 0.7,
                "attributes": self.attributes,
                "attribute_columns": attribute_columns(self.attributes),
                "limits": {"max_mb": 20}, "review": self.queue is not None,
                **({"names": self.names} if self.names else {}),
            }  # fmt: skip

        @app.post("/v1/predict")
        async def predict(request: Request, name: str = "photo", top: int = 5, product: str = ""):
            content = await request.body()
            self.seen.append(name)
            self.products[name] = product
            return await run_in_threadpool(self._predict, content, name)

        @app.get("/v1/review")
        def review(limit: int = 50, after: int = 0):
            waiting = [facts for _, facts in self.queue.values()]
            following = after + limit if len(waiting) > after + limit else None
            return {
                "photos": waiting[after : after + limit],
                "left": len(waiting), "next": following and str(following),
            }  # fmt: skip

        @app.get("/v1/review/photos/{sha256}")
        def photo(sha256: str):
            return Response(self.queue[sha256][0], media_type="image/jpeg")

        @app.post("/v1/review/decisions")
        async def decide(request: Request):
            sent = await request.json()
            self.decisions += [{"person": sent["person"], **each} for each in sent["decisions"]]
            return {"stored": len(sent["decisions"]), "unknown": []}

        return app

    def _predict(self, content, name):
        while self.hangs.is_set():
            time.sleep(0.02)
        time.sleep(self.delay)
        if self.faults:
            return self.faults.pop(0)
        try:
            with Image.open(io.BytesIO(content)) as image:
                width, height = image.size
        except UnidentifiedImageError:
            return problem(422, "It is no photo of a known format; send JPEG, PNG or WebP.")
        told = {
            "photo": name, "sha256": hashlib.sha256(content).hexdigest(),
            "width": width, "height": height, "labels": self.labels(content),
        }  # fmt: skip
        if self.attributes:
            told["attributes"] = {
                name: {"label": values[len(content) % len(values)], "probability": 0.75}
                for name, values in self.attributes.items()
            }
        if self.products[name]:
            told["name_used"] = self.products[name] != "nothing"
        if self.precision:
            told["sure"] = self.is_sure(content)
        if self.queue is not None and not (told["sure"] and not self.blind):
            told["review"] = "blind" if told["sure"] else "unsure"
        model = {"name": "drawn-shop", "id": "sha256:0123", "precision": self.precision}
        return JSONResponse({"model": model, "photos": [told]})


def problem(status, detail, **headers):
    return JSONResponse(
        {"type": "about:blank", "title": "No", "status": status, "code": "no", "detail": detail},
        status, headers=headers, media_type="application/problem+json",
    )  # fmt: skip


@pytest.fixture
def fault():
    """Returns fault(status, detail, **headers), an answer with an error."""
    return problem


@pytest.fixture
def server():
    """The page's server, running."""
    stub = StubServer()
    stub.start()
    yield stub
    stub.stop()


@pytest.fixture(scope="session")
def drawn(tmp_path_factory):
    """The paths of 200 drawn photos."""
    folder = draw_sample(tmp_path_factory.mktemp("drawn"), 200)
    return sorted((folder / "images").iterdir())


@pytest.fixture
def folder(drawn, tmp_path):
    """A folder with 12 photos in two folders below, and what lies about in folders."""
    top = tmp_path / "new photos"
    for place, photo in enumerate(drawn[:12]):
        below = top / ("shirts" if place % 2 else "jeans")
        below.mkdir(parents=True, exist_ok=True)
        shutil.copy(photo, below / photo.name)
    (top / ".DS_Store").write_bytes(b"x")
    (top / "notes.txt").write_text("no photo")
    return top


@pytest.fixture(scope="session")
def chromium():
    """A browser, which all tests share; its windows are private ones."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip("there is no Chromium to open pages in")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


class Shop:
    """A person at the page.

    Attributes:
        page: Playwright's page.
        console: What the console said.
    """

    def __init__(self, context, url):
        self.console = []
        self.page = context.new_page()
        self.page.set_default_timeout(20_000)
        self.page.on("console", lambda message: self.console.append(message.text))
        self.page.on("pageerror", lambda error: self.console.append(str(error)))
        self._devtools = context.new_cdp_session(self.page)
        self.page.goto(url)

    def drop(self, *paths):
        """Drop files and folders onto the page, as a file manager does."""
        data = {"items": [], "files": [os.fspath(path) for path in paths], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self._devtools.send(
                "Input.dispatchDragEvent", {"type": kind, "x": 200, "y": 300, "data": data}
            )

    def until(self, condition, seconds=20):
        """Wait until an expression of the page's holds; its policy forbids that it looks itself."""
        end = time.monotonic() + seconds
        while not self.page.evaluate(condition):
            assert time.monotonic() < end, f"{condition} never held; {self.summary()}"
            self.page.wait_for_timeout(50)

    def summary(self):
        return self.page.text_content("#summary")

    def wait_for(self, photos, words=""):
        """Wait until so many photos are there and none waits; return the summary."""
        told = "document.getElementById('summary').textContent"
        self.until(f"{told}.startsWith('{photos:,} photo') && {told}.includes('{words}')", 120)
        return self.summary()

    def press(self, *keys):
        for key in keys:
            self.page.keyboard.press(key)

    def chosen(self):
        """Return the name and the label of the photo that keys go to."""
        return self.page.text_content("#panel .name")

    def export(self, form="csv", which="all"):
        """Return the bytes of the CSV."""
        self.page.click("#export")
        self.page.check(f"input[name=form][value={form}]")
        self.page.check(f"input[name=which][value={which}]")
        with self.page.expect_download() as download:
            self.page.click("#save")
        return Path(download.value.path()).read_bytes()

    def kept(self, store):
        """Return how many values a store of the browser's database has."""
        return self.page.evaluate(
            """(store) => new Promise((resolve) => {
                indexedDB.open("fashion").onsuccess = ({ target: { result } }) => {
                    const asked = result.transaction(store).objectStore(store).getAll();
                    asked.onsuccess = () => { result.close(); resolve(asked.result.length); };
                };
            })""",
            store,
        )

    def violations(self):
        """Return what broke the content policy."""
        return self.page.evaluate("violations")


@pytest.fixture
def open_shop(chromium):
    """Returns open_shop(url, ...), a person at the page in a fresh browser.

    With `profile`, a folder, it is no private window: what the browser keeps is on the disk.
    """
    contexts = []

    def open_page(url, width=1280, height=800, profile=None, **options):
        options["viewport"] = {"width": width, "height": height}
        if profile is None:
            context = chromium.new_context(**options)
        else:
            path = next(filter(None, map(shutil.which, NAMES)))
            context = chromium.browser_type.launch_persistent_context(
                profile, executable_path=path, args=FLAGS, **options
            )
        context.add_init_script(VIOLATIONS)
        contexts.append(context)
        return Shop(context, url)

    yield open_page
    for context in contexts:
        context.close()
