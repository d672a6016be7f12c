"""Requests that no library sends: bodies that lie, dawdle or never end, headers that inject."""

import io
import json
import re
import threading

import pytest
from PIL import Image


def photo(grey=240, size=(20, 30), kind="PNG"):
    """Return the file of a photo of one grey."""
    content = io.BytesIO()
    Image.new("RGB", size, (grey,) * 3).save(content, kind)
    return content.getvalue()


HEAD = "POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"


def said(connection):
    """Return all that the service sends until it closes the connection."""
    received = b""
    try:
        while part := connection.recv(2**16):
            received += part
    except ConnectionResetError:
        pass
    return received


def reply_to(service, request):
    """Return the status and the body of the first reply to some bytes."""
    with service.connect() as connection:
        connection.sendall(request)
        return first_reply(connection)


def first_reply(connection):
    received = b""
    while b"\r\n\r\n" not in received:
        part = connection.recv(2**16)
        if not part:
            return (0, received)
        received += part
    head, _, body = received.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
    while length and len(body) < int(length[1]):
        body += connection.recv(2**16)
    return int(head.split()[1]), body


def lives(service):
    return service.post(data=photo()).status_code == 200


def chunk(content):
    return b"%x\r\n%b\r\n" % (len(content), content)


def test_a_body_in_chunks_is_read(service):
    content = photo()
    chunks = chunk(content[:10]) + chunk(content[10:]) + chunk(b"")
    request = f"{HEAD}Transfer-Encoding: chunked\r\n\r\n".encode() + chunks
    status, body = reply_to(service, request)
    assert (status, json.loads(body)["photos"][0]["width"]) == (200, 20)


@pytest.mark.parametrize("size", [10_000, 150_000])
def test_a_body_in_chunks_that_is_too_large_is_refused_before_its_end(size, service):
    with service.connect() as connection:
        connection.sendall(f"{HEAD}Transfer-Encoding: chunked\r\n\r\n".encode())
        for _ in range(200_000 // size + 1):
            connection.sendall(chunk(b"\0" * size))
        status, body = first_reply(connection)  # nothing has said that this is all
    assert (status, json.loads(body)["code"]) == (413, "too_large")
    assert lives(service)


def test_what_its_header_says_is_too_large_is_refused_unread(service):
    with service.connect() as connection:
        connection.sendall(f"{HEAD}Content-Length: 200001\r\n\r\n".encode())
        status, body = first_reply(connection)
    assert (status, json.loads(body)["code"]) == (413, "too_large")


def test_who_waits_to_be_asked_for_a_body_that_is_too_large_is_not_asked(service):
    request = f"{HEAD}Content-Length: 300000\r\nExpect: 100-continue\r\n\r\n"
    assert reply_to(service, request.encode())[0] == 413
    request = f"{HEAD}Content-Length: 3000\r\nExpect: 100-continue\r\n\r\n"
    with service.connect() as connection:
        connection.sendall(request.encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 100 ")


def test_who_sends_a_large_body_without_looking_gets_the_reply(service):
    with service.connect() as connection:
        connection.sendall(f"{HEAD}Content-Length: 5000000\r\n\r\n".encode() + b"\0" * 5_000_000)
        status, body = first_reply(connection)
        assert (status, json.loads(body)["code"]) == (413, "too_large")
        connection.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert first_reply(connection) == (200, b'{"status":"ok"}')


def test_a_body_shorter_than_said_is_slow(service):
    with service.connect() as connection:
        connection.sendall(f"{HEAD}Content-Length: 1000\r\n\r\n".encode() + b"\0" * 10)
        status, body = first_reply(connection)
        assert (status, json.loads(body)["code"]) == (408, "slow")
        assert said(connection) == b""  # and it is closed, though nothing more was sent


def test_a_body_that_dribbles_is_slow(service):
    with service.connect() as connection:
        connection.sendall(f"{HEAD}Content-Length: 100000\r\n\r\n".encode())
        stop = threading.Event()

        def dribble():
            while not stop.wait(0.1):
                try:
                    connection.sendall(b"\0")
                except OSError:
                    return

        sender = threading.Thread(target=dribble)
        sender.start()
        status, body = first_reply(connection)
        assert (status, json.loads(body)["code"]) == (408, "slow")
        assert said(connection) == b""  # who goes on all the same is cut off
        stop.set()
        sender.join()


@pytest.mark.parametrize("sent", ["", "GET", "GET / HTTP/1.1\r\n", f"{HEAD}X-More: "])
def test_a_header_that_does_not_end_is_dropped(sent, service):
    with service.connect() as connection:
        connection.sendall(sent.encode())
        assert said(connection) == b""
    assert lives(service)


def test_a_second_header_that_does_not_end_is_dropped(service):
    with service.connect() as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert first_reply(connection)[0] == 200
        connection.sendall(b"GET /livez HTTP/1.1\r\nHo")
        assert said(connection) == b""


def test_a_client_that_leaves_in_the_middle_is_let_go(service):
    for sent in (b"", b"\0" * 500):
        with service.connect() as connection:
            connection.sendall(f"{HEAD}Content-Length: 1000\r\n\r\n".encode() + sent)
    assert lives(service)


@pytest.mark.parametrize(
    "request_",
    [
        "GET /livez HTTP/1.1\r\n\r\n",
        "GET /livez HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n",
        "GET /livez HTTP/1.1\r\nHost: localhost\r\nX: a\0b\r\n\r\n",
        "GET /livez HTTP/1.1\r\nHost: localhost\r\nX : a\r\n\r\n",
        "GET /livez\r\n\r\n",
        "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        f"{HEAD}Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
        f"{HEAD}Content-Length: -5\r\n\r\nabcde",
        f"{HEAD}Content-Length: five\r\n\r\nabcde",
        f"{HEAD}Content-Length: 99999999999999999999999999\r\n\r\n",
        f"{HEAD}Transfer-Encoding: gzip\r\n\r\nabcde",
        f"{HEAD}Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        f"GET /livez HTTP/1.1\r\nHost: localhost\r\nX-Long: {'a' * 1_000_000}\r\n\r\n",
        "GET /" + "a" * 1_000_000 + " HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /livez HTTP/1.1\r\nHost: localhost\r\n" + "X: a\r\n" * 200_000 + "\r\n",
    ],
)
def test_what_is_no_http_is_refused(request_, service):
    try:
        status, body = reply_to(service, request_.encode("latin-1"))
    except ConnectionResetError:
        status, body = 0, b""  # it didn't read to the end
    assert status in (0, 400, 403, 501)
    assert b"Traceback" not in body
    assert b"uvicorn" not in body.lower()
    assert lives(service)


def test_a_request_hidden_behind_another_is_none(service):
    """Two lengths: whichever counts, what is behind it isn't answered as a request of its own."""
    hidden = b"GET /v1/model HTTP/1.1\r\nHost: localhost\r\n\r\n"
    length = f"{HEAD}Content-Length: {5 + len(hidden)}\r\nTransfer-Encoding: chunked\r\n\r\n"
    with service.connect() as connection:
        connection.sendall(length.encode() + b"0\r\n\r\n" + hidden)
        connection.shutdown(1)
        replies = said(connection)
    assert replies.count(b"HTTP/1.1 ") <= 2
    assert b'"classes"' not in replies or replies.count(b"HTTP/1.1 4") >= 1


@pytest.mark.parametrize(
    "value",
    ["a\r\nX-Injected: yes", "a\nX-Injected: yes", "a%0d%0aX-Injected:%20yes", "\x00", "é" * 9],
)
def test_nothing_that_is_sent_gets_into_a_header(value, service):
    request = (
        f"GET /livez?name={value if '%' in value else ''} HTTP/1.1\r\nHost: localhost\r\n"
        f"X-Request-ID: {value}\r\n\r\n"
    )
    with service.connect() as connection:
        connection.sendall(request.encode())
        connection.shutdown(1)
        head = said(connection).partition(b"\r\n\r\n")[0].lower()
    assert b"\nx-injected" not in head


FORM = "multipart/form-data; boundary=x"
FIELD = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n\r\n'
STARRED = b"--x\r\nContent-Disposition: form-data; name=photos; filename*=utf-8''a.png\r\n\r\nx\r\n"
PART = b'--x\r\nContent-Disposition: form-data; name="photos"; filename="a.png"\r\n'


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ((PART + b"\r\n\r\n") * 9_000 + b"--x--\r\n", 413, "too_many"),
        (FIELD * 15_000, 400, "bad_request"),
        (PART + b"X-Long: " + b"a" * 900_000 + b"\r\n\r\n" + b"--x--\r\n", 400, "bad_request"),
        (PART + b"X: a\r\n" * 100_000 + b"\r\n--x--\r\n", 400, "bad_request"),
        (PART + b"\r\n" + b"a" * 100, 400, "bad_request"),
        (b"--x\r\n\r\n\r\n--x--\r\n", 400, "bad_request"),
        (b"--y--\r\n", 400, "bad_request"),
        (b"\r\n" * 1000, 400, "bad_request"),
        (STARRED + b"--x--\r\n", 400, ""),
    ],
    ids=range(9),
)  # fmt: skip
def test_forms_that_nobody_sends_are_refused(body, status, code, service):
    reply = service.post(data=body, kind=FORM)
    if code:
        assert (reply.status_code, reply.json()["code"]) == (status, code)
    assert reply.status_code < 500
    assert lives(service)


@pytest.mark.parametrize(
    "charset", ["utf-7", "utf-16", "undefined", "punycode", "zlib", "idna", "x"]
)
def test_a_form_in_any_encoding_is_answered(charset, service):
    body = PART.replace(b"a.png", b"+2AA-\\ud800\xff") + b"\r\n" + photo() + b"\r\n--x--\r\n"
    reply = service.post(data=body, kind=f"{FORM}; charset={charset}")
    assert reply.status_code in (200, 400)


def test_a_form_that_never_closes_is_no_photo(service):
    body = PART + b"\r\n" + photo()
    reply = service.post(data=body, kind=FORM)
    assert reply.status_code == 400


def test_a_boundary_that_is_too_long_is_refused(service):
    reply = service.post(data=b"--x--\r\n", kind=f"multipart/form-data; boundary={'x' * 5000}")
    assert reply.status_code == 400
