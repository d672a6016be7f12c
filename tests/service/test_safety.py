"""What a stranger's photo or request could do to the machine, tried rule by rule."""

import io
import os
import shutil
import socket
import struct
import subprocess
import sys
import threading
import zlib

import psutil
import pytest
from PIL import Image, PngImagePlugin

NAMES = [
    *("../../etc/passwd", "/etc/passwd", "a\0b.png", "a\r\nb.png", "‮gnp.exe", "con", "."),
    *(
        "<img src=x onerror=alert(1)>.png",
        "$(touch x).png",
        "`id`.png",
        "=cmd|'/c calc'!A1",
        "~root",
    ),
]


def photo(grey=240, size=(20, 30), kind="PNG"):
    """Return the file of a photo of one grey."""
    content = io.BytesIO()
    Image.new("RGB", size, (grey,) * 3).save(content, kind)
    return content.getvalue()


def chunk(kind, content):
    return (
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
    )


def png_of(width, height, rows=b""):
    """Return a PNG whose header says this size, whatever it has."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(rows)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


def noted_png(size):
    """Return a PNG with a note that unpacks to so many bytes."""
    notes = PngImagePlugin.PngInfo()
    notes.add_itxt("note", "a" * size, zip=True)
    content = io.BytesIO()
    Image.new("RGB", (8, 8)).save(content, "PNG", pnginfo=notes)
    return content.getvalue()


def frames(number):
    """Return a GIF of many frames."""
    content = io.BytesIO()
    Image.new("P", (8, 8)).save(content, "GIF")
    whole = content.getvalue()
    start = whole.index(b",\0\0\0\0")  # of the one frame that it has
    return whole[:start] + whole[start:-1] * number + b";"


def scans(number):
    """Return a progressive JPEG with more scans than it needs."""
    content = io.BytesIO()
    Image.new("L", (64, 64), 99).save(content, "JPEG", progressive=True)
    whole = content.getvalue()
    start = whole.rindex(b"\xff\xda")
    return whole[:start] + whole[start:-2] * number + whole[-2:]


OTHER_FORMATS = {
    "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n",
    "ps": b"\xc5\xd0\xd3\xc6" + b"\0" * 26 + b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    "fits": b"SIMPLE  =                    T".ljust(80)
    + b"NAXIS   = 2".ljust(80)
    + b"END".ljust(80),
    "psd": b"8BPS\0\1\0\0\0\0\0\0\0\3" + struct.pack(">IIHH", 9, 9, 8, 3),
    "wmf": b"\xd7\xcd\xc6\x9a\0\0" + b"\0" * 40,
    "ppm": b"P6 9 9 255\n" + b"\0" * 243,
    "svg": b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
    "pdf": b"%PDF-1.7\n1 0 obj\n",
    "ico": b"\0\0\1\0\1\0\x10\x10\0\0\1\0\x20\0\x68\4\0\0\x16\0\0\0",
    "zip": b"PK\3\4" + b"\0" * 60,
    "html": b"<!doctype html><script>alert(1)</script>",
}


@pytest.mark.parametrize("name", OTHER_FORMATS)
def test_other_formats_are_refused_and_no_program_is_run(name, start, served_bundle, tmp_path):
    stub = tmp_path / "bin" / "gs"
    stub.parent.mkdir()
    stub.write_text(f"#!/bin/sh\ntouch {tmp_path}/called\n")
    stub.chmod(0o755)
    service = start(served_bundle, PATH=f"{stub.parent}:{os.environ['PATH']}")
    reply = service.post("/v1/predict?name=photo.jpg", OTHER_FORMATS[name], "image/jpeg")
    assert (reply.status_code, reply.json()["code"]) == (422, "unreadable")
    assert not (tmp_path / "called").exists()
    service.end()


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (png_of(65535, 65535), 413),
        (png_of(10_000, 10_000, b"\0" * 30_000_000), 413),
        (png_of(2**31 - 1, 2**31 - 1), 413),
        (png_of(0, 0), 422),
        (photo(kind="GIF").replace(struct.pack("<HH", 20, 30), b"\xff\xff\xff\xff"), 413),
        (photo(kind="BMP").replace(struct.pack("<ii", 20, 30), b"\xff\xff\xff\x7f" * 2), 413),
        (noted_png(100_000_000), 422),
        (scans(2000), 422),
    ],
    ids=["side", "area", "huge", "empty", "gif", "bmp", "note", "scans"],
)
def test_a_bomb_is_refused_without_taking_memory(content, status, own_service):
    assert len(content) < 200_000
    before = psutil.Process(own_service.process.pid).memory_info().rss
    reply = own_service.post(data=content)
    assert reply.status_code in (status, 422)
    assert psutil.Process(own_service.process.pid).memory_info().rss < before + 50e6
    assert own_service.post(data=photo()).status_code == 200


def test_of_many_frames_the_first_counts(own_service):
    reply = own_service.post(data=frames(10_000), kind="image/gif")
    assert reply.status_code == 200
    assert reply.json()["photos"][0]["width"] == 8


@pytest.fixture(scope="module")
def own_service(start, served_bundle, tmp_path_factory):
    """A service whose folder of temporary files and whose home are watched."""
    folder = tmp_path_factory.mktemp("watched")
    service = start(served_bundle, TMPDIR=str(folder), HOME=str(folder))
    service.folder = folder
    return service


def test_names_are_echoed_and_never_used(own_service):
    before = {*os.listdir()}
    parts = [("photos", (name, photo())) for name in NAMES if "\0" not in name and "\n" not in name]
    told = [each["photo"] for each in own_service.post_form(parts).json()["photos"]]
    assert told == [name for _, (name, _) in parts]
    for name in NAMES:
        reply = own_service.session.post(
            f"{own_service.url}/v1/predict", photo(), params={"name": name},
            headers={"Content-Type": "image/png"},
        )  # fmt: skip
        assert reply.json()["photos"][0]["photo"] == name
        assert reply.headers["content-type"] == "application/json"
    assert {*os.listdir()} == before


def test_nothing_is_written_of_a_large_upload(own_service):
    large = photo(size=(2400, 2400), kind="BMP")
    assert len(large) > 15e6
    parts = [("photos", (f"{n}.bmp", large)) for n in range(3)]
    stop, seen = threading.Event(), set()

    def watch():
        while not stop.is_set():
            seen.update(path.name for path in own_service.folder.rglob("*"))
            files = psutil.Process(own_service.process.pid).open_files()
            seen.update(file.path for file in files if "log" not in file.path)

    watcher = threading.Thread(target=watch)
    watcher.start()
    reply = own_service.post_form(parts)
    stop.set()
    watcher.join()
    assert [each["width"] for each in reply.json()["photos"]] == [2400] * 3
    assert seen == set()


def test_no_address_is_ever_called(own_service):
    """A server that listens is named wherever something can be named; nobody calls it."""
    with socket.create_server(("127.0.0.1", 0)) as trap:
        url = f"http://127.0.0.1:{trap.getsockname()[1]}/x.png"
        svg = f"<svg><image href='{url}'/></svg>".encode()
        own_service.post(f"/v1/predict?name={url}&url={url}&image={url}", url.encode())
        own_service.post(data=svg, kind="image/svg+xml")
        own_service.post(f"/hf?url={url}", f'{{"inputs": "{url}"}}', "application/json")
        own_service.post(f"/hf?url={url}", f'{{"url": "{url}"}}', "application/json")
        own_service.post_form([("photos", (url, url.encode())), ("url", (None, url))])
        own_service.post(
            data=photo(), headers={"Referer": url, "X-Forwarded-For": url, "From": url}
        )
        own_service.get("/v1/model", headers={"X-Forwarded-Host": url})
        trap.settimeout(0.5)
        with pytest.raises(TimeoutError):
            trap.accept()


def test_it_works_without_any_network(served_bundle, tmp_path):
    """In a namespace of its own, where there is nothing but the loopback."""
    unshare = ["unshare", "-rn"]
    if not shutil.which("unshare") or subprocess.run([*unshare, "true"]).returncode:
        pytest.skip("this system lets no process leave the network")
    (tmp_path / "photo.png").write_bytes(photo())
    script = f"""
import subprocess, sys, time, urllib.request
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
server = subprocess.Popen([sys.executable, "-m", "fashion", "serve", "bundle={served_bundle}",
    "port=0"], stdout=subprocess.PIPE, text=True)
url = server.stdout.readline().split(" at ")[1].split()[0]
content = open({str(tmp_path / "photo.png")!r}, "rb").read()
asked = urllib.request.Request(url + "/v1/predict", content, {{"Content-Type": "image/png"}})
print(urllib.request.urlopen(asked).status)
server.terminate()
print(server.wait())
"""
    if not shutil.which("ip"):
        pytest.skip("there is no ip to bring the loopback up with")
    done = subprocess.run(
        [*unshare, sys.executable, "-c", script], capture_output=True, text=True, timeout=300
    )
    assert done.stdout.split() == ["200", "0"], done.stderr


def test_errors_tell_nothing_of_the_machine(own_service):
    replies = [
        own_service.get("/v1/nothing"),
        own_service.post(data=b"x"),
        own_service.post(kind="text/plain", data=b"x"),
        own_service.get("/livez", headers={"Host": "evil.example"}),
        own_service.session.request("PROPFIND", own_service.url),
    ]
    for reply in replies:
        told = reply.text + str(reply.headers)
        assert reply.status_code >= 400
        for word in (
            "uvicorn",
            "Python",
            "/work",
            "fashion/",
            str(own_service.bundle),
            "Traceback",
        ):
            assert word not in told
        assert "server" not in reply.headers


def test_each_reply_is_told_not_to_be_sniffed_framed_or_kept(own_service):
    for reply in (
        own_service.get("/v1/model"),
        own_service.get("/nothing"),
        own_service.post(data=photo()),
    ):
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert reply.headers["cache-control"] == "no-store"
        assert reply.headers["referrer-policy"] == "no-referrer"
        assert reply.headers["cross-origin-resource-policy"] == "same-origin"
        assert "frame-ancestors 'none'" in reply.headers["content-security-policy"]


def test_a_fault_of_its_own_is_told_without_its_reason(in_thread, until):
    it = in_thread()

    def broken(photos):
        raise RuntimeError("/secret/path is out of order")

    it.network.probabilities = broken
    reply = it.running.post(data=photo())
    assert (reply.status_code, reply.json()["code"]) == (500, "internal")
    assert "secret" not in reply.text
    assert reply.headers["x-request-id"]
    until(lambda: it.service.line.free == 64)
