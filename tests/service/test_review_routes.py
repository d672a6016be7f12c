import hashlib
import io

import pytest
from PIL import Image

pytest.importorskip("fastapi")
from fastapi import FastAPI
from starlette.testclient import TestClient

from fashion.review.review_store import ReviewStore
from fashion.service.problems import tell_problems
from fashion.service.review_routes import router

AT = "2026-11-28T12:00:00Z"
LABELS = [("Tops", 0.6), ("Shirts", 0.3)]


@pytest.fixture
def store(tmp_path):
    store = ReviewStore(tmp_path / "review", blind=1.0)
    yield store
    store.close()


@pytest.fixture
def client(store):
    app = FastAPI()
    tell_problems(app)
    app.include_router(router(store, lambda: ["Shirts", "Tops"]))
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def photo():
    """Returns photo(number, size), a PNG with a text in it."""

    def make(number=1, size=(60, 80), **options):
        file = io.BytesIO()
        Image.new("RGB", size, (number, 90, 200)).save(file, "PNG", **options)
        return file.getvalue() + b"<script>alert(1)</script>"

    return make


def keep(store, content, **values):
    sha256 = hashlib.sha256(content).hexdigest()
    said = {"name": "a.png", "size": (60, 80), "labels": LABELS, "sure": False, "model": "m"}
    store.offer(content, sha256=sha256, threshold=0.9, **said | values)
    return sha256


def test_the_queue_tells_labels_of_unsure_photos_alone(client, store, photo):
    unsure, blind = keep(store, photo(1)), keep(store, photo(2), sure=True, name="<b>.png")
    assert client.get("/v1/review").json() == {
        "photos": [
            {"sha256": unsure, "name": "a.png", "width": 60, "height": 80, "kind": "unsure",
             "labels": [{"label": label, "probability": share} for label, share in LABELS]},
            {"sha256": blind, "name": "<b>.png", "width": 60, "height": 80, "kind": "blind"},
        ],
        "left": 2,
        "next": None,
    }  # fmt: skip
    first = client.get("/v1/review", params={"limit": 1}).json()
    second = client.get("/v1/review", params={"limit": 1, "after": first["next"]}).json()
    assert [page["photos"][0]["sha256"] for page in (first, second)] == [unsure, blind]
    only = client.get("/v1/review", params={"kind": "blind"}).json()
    assert (len(only["photos"]), only["left"]) == (1, 1)


@pytest.mark.parametrize("query", ["kind=sure", "limit=0", "limit=x", f"after={'x' * 101}"])
def test_a_wrong_query_is_refused(query, client):
    reply = client.get(f"/v1/review?{query}")
    assert 400 <= reply.status_code < 500
    assert query.partition("=")[0] in reply.json()["detail"]


def test_a_photo_is_encoded_again_and_no_browser_runs_it(client, store, photo):
    content = photo(size=(3000, 1500))
    reply = client.get(f"/v1/review/photos/{keep(store, content)}")
    assert reply.headers["content-type"] == "image/jpeg"
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert reply.headers["content-security-policy"] == "default-src 'none'; sandbox"
    assert reply.headers["content-disposition"].startswith('inline; filename="')
    assert Image.open(io.BytesIO(reply.content)).size == (1024, 512)
    assert b"script" not in reply.content


@pytest.mark.parametrize("name", ["0" * 64, "0" * 63, "A" * 64, "..%2f..%2freview.sqlite", "x"])
def test_what_is_no_photo_of_the_folder_isnt_found(name, client):
    reply = client.get(f"/v1/review/photos/{name}")
    assert reply.status_code == 404
    assert reply.headers["content-type"] == "application/problem+json"


def test_a_kept_photo_that_cant_be_decoded_isnt_found(client, store):
    sha256 = keep(store, b"<svg onload=alert(1)>")
    assert client.get(f"/v1/review/photos/{sha256}").status_code == 404


def decision(sha256, label=None, kind="corrected", at=AT):
    return {"sha256": sha256, "label": label, "kind": kind, "at": at}


def send(client, *decisions, person="anna"):
    return client.post("/v1/review/decisions", json={"person": person, "decisions": decisions})


def test_decisions_are_kept_once(client, store, photo):
    sha256 = keep(store, photo())
    sent = [decision(sha256, "Shirts"), decision("f" * 64, kind="no_class")]
    for _ in range(2):
        assert send(client, *sent).json() == {"stored": 1, "unknown": ["f" * 64]}
    assert [(said.person, said.label) for said in store.said(sha256)] == [("anna", "Shirts")]
    assert client.get("/v1/review").json()["left"] == 0


@pytest.mark.parametrize(
    ("sent", "person", "sentence"),
    [
        (decision("0" * 64, "Shrits"), "anna", "'Shrits' is none of the model's classes (did you"),
        (decision("0" * 64, "Tops", "no_class"), "anna", "kind='no_class' takes no label"),
        (decision("0" * 64, None), "anna", "kind='corrected' needs a label"),
        (decision("0" * 64, "Tops", at="noon"), "anna", "at='noon' must be a time"),
        (decision("0" * 64, "Tops"), " ", "person=' ' must be a name"),
    ],
)  # fmt: skip
def test_a_wrong_decision_is_told_and_none_of_its_request_kept(
    sent, person, sentence, client, store, photo
):
    sha256 = keep(store, photo())
    reply = send(client, decision(sha256, "Tops"), sent, person=person)
    assert (reply.status_code, store.said(sha256)) == (422, [])
    assert sentence in reply.json()["detail"]


@pytest.mark.parametrize("body", [b"", b"[]", b'{"person": 3}', b"\xff"])
def test_what_is_no_list_of_decisions_is_refused(body, client):
    reply = client.post("/v1/review/decisions", content=body)
    assert 400 <= reply.status_code < 500


def test_more_than_a_thousand_decisions_at_once_are_refused(client):
    reply = send(client, *[decision("0" * 64, "Tops")] * 1001)
    assert 400 <= reply.status_code < 500
