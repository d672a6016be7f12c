"""The page as it is served, without a browser."""

import gzip
import re
import zipfile
from pathlib import Path

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from fashion.service import page

STATIC = page.STATIC
OWN = sorted(STATIC.glob("*.js"))


@pytest.fixture
def client():
    app = FastAPI()
    app.include_router(page.router())
    return TestClient(app)


def test_the_page_s_files_are_kept_for_good_under_names_that_change_with_them(client, tmp_path):
    shown = client.get("/")
    assert shown.headers["content-type"] == "text/html; charset=utf-8"
    assert shown.headers["cache-control"] == "no-cache"
    links = re.findall(r'(?:src|href)="(static/[^"]+)"', shown.text)
    assert len(links) == 3
    for link in links:
        sent = client.get(f"/{link}")
        assert sent.status_code == 200
        assert sent.headers["cache-control"] == "public, max-age=31536000, immutable"
    for name in ("page.js", "../page.py", "%2e%2e/page.py", "vendor/idb.LICENSE"):
        assert client.get(f"/static/0123456789abcdef/{name}").status_code == 404
    digest = links[0].split("/")[1]
    for name in ("../page.py", "%2e%2e%2fpage.py", "vendor/idb.LICENSE", "index.html", ""):
        assert client.get(f"/static/{digest}/{name}").status_code == 404


def test_another_file_is_another_path(monkeypatch, tmp_path):
    def digest():
        app = FastAPI()
        app.include_router(page.router())
        return re.search("static/([0-9a-f]{16})/", TestClient(app).get("/").text)[1]

    before = digest()
    for path in STATIC.glob("*.*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "make.js").write_text("// another")
    monkeypatch.setattr(page, "STATIC", tmp_path)
    assert digest() != before


def test_the_policy_lets_nothing_in_from_elsewhere(client):
    for path in ("/", f"/static/{_digest(client)}/page.js"):
        headers = client.get(path).headers
        policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
        assert policy.pop("img-src") == "'self' blob:"
        assert policy.pop("require-trusted-types-for") == "'script'"
        assert policy.pop("trusted-types") == "fashion"
        assert set(policy.values()) == {"'none'", "'self'"}
        assert policy["default-src"] == policy["frame-ancestors"] == "'none'"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cross-origin-opener-policy"] == "same-origin"


def test_files_are_packed_for_those_who_take_it(client):
    total = 0
    for path in STATIC.rglob("*.js"):
        link = f"/static/{_digest(client)}/{path.relative_to(STATIC).as_posix()}"
        plain = client.get(link, headers={"Accept-Encoding": "identity"})
        assert plain.content == path.read_bytes()
        assert "content-encoding" not in plain.headers
        packed = client.get(link)
        assert packed.headers["content-encoding"] == "gzip"
        assert packed.content == path.read_bytes()
        total += len(gzip.compress(path.read_bytes()))
    assert total < 60_000
    assert int(client.head("/").headers["content-length"]) > 1000


def test_the_own_script_stays_small_and_writes_no_html():
    assert len(OWN) > 5
    lines = [line.strip() for path in OWN for line in path.read_text("utf-8").splitlines()]
    code = [line for line in lines if line and not line.startswith(("//", "/*", "*"))]
    assert len(code) <= 800
    text = "\n".join(code)
    assert not re.search(
        r"(inner|outer)HTML|insertAdjacent|document\.write|\b(eval|Function)\(", text
    )
    assert not re.search(r"https?://", text)


def test_the_page_s_html_has_no_script_style_or_address_of_its_own():
    html = (STATIC / "index.html").read_text("utf-8")
    assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:|https?://", html)
    assert re.findall("<script[^>]*>", html) == [
        '<script type="module" src="static/DIGEST/page.js">'
    ]
    used = set(re.findall(r'\bthe\("([\w-]+)"\)', "".join(path.read_text("utf-8") for path in OWN)))
    assert used <= set(re.findall(r'\sid="([\w-]+)"', html))


def test_what_is_not_our_own_has_its_licence_beside_it():
    vendored = sorted((STATIC / "vendor").glob("*.js"))
    assert len(vendored) == 4
    for path in vendored:
        licence = path.with_suffix(".LICENSE").read_text("utf-8")
        assert "Permission" in licence
        assert re.match(
            rf"/\* \S+ \d+\.\d+\.\d+, (MIT|ISC), see {path.stem}\.LICENSE \*/", path.read_text()
        )


def test_the_wheel_has_the_page(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    files = {path.relative_to(STATIC).as_posix() for path in STATIC.rglob("*") if path.is_file()}
    assert len(files) > 15
    assert {f"fashion/service/static/{name}" for name in files} <= names
    assert not any("axe" in Path(name).name for name in names)


def _digest(client):
    return re.search("static/([0-9a-f]{16})/", client.get("/").text)[1]
