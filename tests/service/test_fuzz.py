"""Uploads that nobody thinks of: the service lives, and answers each as one of its kinds."""

import base64
import io
import json
import os
import re

import numpy as np
import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image


def photo(grey=240, size=(20, 30), kind="PNG"):
    """Return the file of a photo of one grey."""
    content = io.BytesIO()
    Image.new("RGB", size, (grey,) * 3).save(content, kind)
    return content.getvalue()


PATIENCE_S = 120
KINDS = ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"]
MAGIC = [
    *(b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBP", b"GIF89a", b"BM", b"II*\0"),
    *(b"MM\0*", b"\0\0\0\x1cftypavif", b"\0\0\0\x1cftypheic", b"\0\0\0\x0cjP  \r\n\x87\n"),
    *(
        b"%!PS-Adobe-3.0 EPSF-3.0\n",
        b"%PDF-1.7",
        b"<svg/>",
        b"SIMPLE  =",
        b"P6 9 9 255\n",
        b"PK\3\4",
    ),
]
HEADERS = ["Content-Type", "Accept", "X-Request-ID", "Origin", "Cookie", "Range", "TE", "Expect-CT"]
# What a reply may never tell: paths, memory, versions, what the code is called.
TELLING = re.compile(
    r"/(usr|home|work|tmp|root|opt)/|site-packages|\.py\b|0x[0-9a-f]{6}|Traceback|Error\b|"
    r"uvicorn|starlette|fastapi|pillow|PIL\b|python|\d+\.\d+\.\d+",
    re.IGNORECASE,
)


def seeds():
    rng = np.random.default_rng(7)
    pixels = rng.integers(0, 256, (24, 18, 3), np.uint8)
    found = []
    for kind in KINDS:
        for mode in ("RGB", "L", "P"):
            content = io.BytesIO()
            if (kind, mode) not in (("JPEG", "P"),):
                Image.fromarray(pixels).convert(mode).save(content, kind)
                found.append(content.getvalue())
    content = io.BytesIO()
    frames = [Image.fromarray(pixels), Image.fromarray(pixels[::-1])]
    frames[0].save(content, "GIF", save_all=True, append_images=frames[1:])
    return [*found, content.getvalue(), photo()]


@st.composite
def spoilt_photos(draw):
    """A photo's file some bytes of which are others, twice there, or gone."""
    content = bytearray(draw(st.sampled_from(seeds())))
    for _ in range(draw(st.integers(1, 6))):
        place = draw(st.integers(0, max(0, len(content) - 1)))
        length = draw(st.integers(1, 40))
        kind = draw(st.sampled_from(["set", "cut", "twice", "end", "insert"]))
        if kind == "set":
            content[place : place + length] = draw(st.binary(min_size=1, max_size=8))
        elif kind == "cut":
            del content[place : place + length]
        elif kind == "twice":
            content[place:place] = content[place : place + length] * draw(st.integers(1, 50))
        elif kind == "end":
            del content[place:]
        else:
            content[place:place] = draw(st.binary(max_size=40))
    return bytes(content)


BODIES = st.one_of(
    spoilt_photos(),
    st.binary(max_size=300),
    st.tuples(st.sampled_from(MAGIC), st.binary(max_size=300)).map(b"".join),
)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=40)
PRINTED = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40)
HEADER_SETS = st.dictionaries(st.sampled_from(HEADERS), PRINTED.map(str.strip), max_size=3)
PIECES = [
    *(b"--x\r\n", b"--x--\r\n", b"--x", b"\r\n", b"\r\n\r\n", b"Content-Disposition: form-data; "),
    *(
        b'name="photos"',
        b'; filename="a"',
        b"; filename*=utf-8''%ff",
        b"Content-Type: image/png\r\n",
    ),
    *(b": ", b"=", b";", b'"', b"\0"),
]
RAW_FORMS = st.lists(st.one_of(st.sampled_from(PIECES), BODIES), max_size=12).map(b"".join)
CHARSETS = st.sampled_from(["", "; charset=utf-7", "; charset=unicode_escape", "; charset=idna"])
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), TEXTS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
ASKED = st.fixed_dictionaries(
    {"inputs": st.one_of(JSON, BODIES.map(lambda body: base64.b64encode(body).decode()))},
    optional={
        "parameters": st.one_of(
            JSON, st.dictionaries(st.sampled_from(["top_k", "function_to_apply"]), JSON)
        ),
    },
)
FORMS = st.lists(st.tuples(TEXTS, BODIES), min_size=1, max_size=4)


def check(reply):
    """Check that a reply is one of those that there are, and tells nothing of the machine."""
    status = reply.status_code
    assert status == 200 or 400 <= status < 500, (status, reply.text)
    if status == 200 and isinstance(reply.json(), dict):
        for each in reply.json()["photos"]:
            assert ("labels" in each) is not ("error" in each)
            if "error" in each:
                detail = each["error"]["detail"].replace(each["photo"], "")
                assert not TELLING.search(detail), detail
    elif reply.headers["content-type"] == "application/problem+json":
        assert {*reply.json()} == {"type", "title", "status", "code", "detail"}
    assert reply.headers["x-content-type-options"] == "nosniff"


def send(service, body, name, headers):
    url = f"{service.url}/v1/predict"
    given_headers = {"Content-Type": "image/png", **headers}
    reply = service.session.post(
        url, body, params={"name": name}, headers=given_headers, timeout=PATIENCE_S
    )
    check(reply)


def send_form(service, parts):
    form = [("photos", (name or "x", body)) for name, body in parts]
    check(service.session.post(f"{service.url}/v1/predict", files=form, timeout=PATIENCE_S))


def fuzz(service, examples):
    """Send that many of each kind, and see that the process lives and nothing failed in it."""
    calm = settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=examples < 1000,
        suppress_health_check=[*HealthCheck],
    )
    before = service.process.pid

    @calm
    @given(body=BODIES, name=TEXTS, headers=HEADER_SETS)
    def one(body, name, headers):
        send(service, body, name, headers)

    @calm
    @given(parts=FORMS)
    def several(parts):
        send_form(service, parts)

    @calm
    @given(body=RAW_FORMS, charset=CHARSETS)
    def form(body, charset):
        check(service.post(data=body, kind=f"multipart/form-data; boundary=x{charset}"))

    @calm
    @given(asked=ASKED)
    def hub(asked):
        check(service.post("/hf", json.dumps(asked), "application/json"))

    one()
    several()
    form()
    hub()
    assert (service.process.poll(), service.process.pid) == (None, before)
    assert service.post(data=photo()).status_code == 200
    faults = [line for line in service.log() if line["level"] in ("error", "critical")]
    assert faults == []
    assert not os.path.exists("x")


@pytest.fixture
def own_service(start, served_bundle):
    """A service whose log is that of one test."""
    return start(served_bundle, "max_mb=0.2", "max_request_mb=1")


@pytest.mark.slow
def test_spoilt_uploads_are_answered(own_service):
    fuzz(own_service, 100)


@pytest.mark.long
def test_many_spoilt_uploads_are_answered(own_service):
    fuzz(own_service, 20_000)


def test_what_would_be_told_is_found():
    for telling in ("in /usr/lib/x", "<PIL.X at 0x7f3a21>", "ValueError: no", "Pillow 13.0.0"):
        assert TELLING.search(telling)
    assert not TELLING.search("a.png can't be read: not a photo of a known format.")
    reply = requests.Response()
    reply.status_code, reply._content = 500, b""
    with pytest.raises(AssertionError):
        check(reply)
