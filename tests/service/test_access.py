"""Who may call: Host, Origin, token."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

TOKEN = "a-token-of-more-than-16"  # of the service that is `locked`
PATIENCE_S = 120


def asked(service, headers, path="/v1/model", method="GET", data=None):
    """Return status and code of a reply."""
    reply = service.session.request(
        method, service.url + path, headers=headers, data=data, timeout=PATIENCE_S
    )
    told = reply.headers["content-type"] == "application/problem+json"
    return reply.status_code, reply.json()["code"] if told else ""


@pytest.mark.parametrize(
    ("host", "is_let_in"),
    [
        ("127.0.0.1:PORT", True),
        ("localhost", True),
        ("LOCALHOST:1", True),
        ("[::1]:PORT", True),
        ("evil.example", False),
        ("evil.example:PORT", False),
        ("localhost.evil.example", False),
        ("localhost:PORT.evil.example", False),
        ("localhost@evil.example", False),
        ("127.0.0.1.", False),
        ("0.0.0.0:PORT", False),
        ("", False),
    ],
)
@pytest.mark.parametrize("path", ["/v1/model", "/livez", "/metrics", "/", "/v1/nothing"])
def test_a_foreign_host_is_refused(path, host, is_let_in, service):
    host = host.replace("PORT", str(service.port))
    found = asked(service, {"Host": host}, path)
    assert (found == (403, "host")) is not is_let_in


@pytest.mark.parametrize(
    ("headers", "is_let_in"),
    [
        ({"Origin": "http://127.0.0.1:PORT"}, True),
        ({"Origin": "http://evil.example"}, False),
        ({"Origin": "null"}, False),
        ({"Origin": "http://127.0.0.1:1"}, False),
        ({"Origin": "http://127.0.0.1:PORT.evil.example"}, False),
        ({"Origin": "file://"}, False),
        ({"Sec-Fetch-Site": "same-origin"}, True),
        ({"Sec-Fetch-Site": "none"}, True),
        ({"Sec-Fetch-Site": "cross-site"}, False),
        ({"Sec-Fetch-Site": "same-site"}, False),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}, False),
        ({"Origin": "http://127.0.0.1:PORT", "Sec-Fetch-Site": "cross-site"}, False),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_pages_of_other_sites_may_not_call(method, headers, is_let_in, service, photo):
    headers = {name: value.replace("PORT", str(service.port)) for name, value in headers.items()}
    path, data = ("/v1/model", None) if method == "GET" else ("/v1/predict", photo())
    found = asked(service, {**headers, "Content-Type": "image/png"}, path, method, data)
    assert found == ((200, "") if is_let_in else (403, "origin"))


def test_a_form_that_another_page_posts_is_refused(service, photo):
    for kind in (
        "text/plain",
        "multipart/form-data; boundary=x",
        "application/x-www-form-urlencoded",
    ):
        headers = {"Origin": "http://evil.example", "Content-Type": kind}
        assert asked(service, headers, "/v1/predict", "POST", photo()) == (403, "origin")


def test_a_link_from_another_site_may_be_followed(service, photo):
    followed = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert asked(service, followed, "/livez")[0] == 200
    assert asked(service, followed, "/v1/predict", "POST", photo())[0] == 403


def test_named_hosts_and_origins_are_let_in(start, served_bundle, photo):
    shop = "https://shop.example"
    service = start(served_bundle, "hosts=photos.example, B.example", f"origins={shop}")
    for host in ("photos.example", "b.example:8443", "localhost"):
        assert asked(service, {"Host": host})[0] == 200
    assert asked(service, {"Host": "c.example"}) == (403, "host")
    own = {"Host": "photos.example", "Origin": "https://photos.example"}
    assert asked(service, own, "/v1/predict", "POST", photo())[0] != 403
    reply = service.post(data=photo(), headers={"Origin": shop, "Sec-Fetch-Site": "cross-site"})
    assert reply.status_code == 200
    assert reply.headers["access-control-allow-origin"] == shop
    asking = {"Origin": shop, "Access-Control-Request-Method": "POST"}
    allowed = service.session.options(f"{service.url}/v1/predict", headers=asking)
    assert allowed.headers["access-control-allow-origin"] == shop
    other = {**asking, "Origin": "https://evil.example"}
    assert asked(service, other, "/v1/predict", "OPTIONS") == (403, "origin")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": ""},
        {"Authorization": TOKEN},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": f"Bearer {TOKEN[:-1]}"},
        {"Authorization": f"Bearer {TOKEN}x"},
        {"Authorization": f"bearer {TOKEN.upper()}"},
        {"Authorization": "Bearer \xff\xfe"},
        {"Cookie": f"token={TOKEN}"},
        {"X-Token": TOKEN},
    ],
)
@pytest.mark.parametrize("path", ["/v1/model", "/metrics", "/openapi.json", "/v1/nothing", "/hf"])
def test_without_its_token_a_service_tells_nothing(path, headers, locked):
    headers = {name: value.encode("latin-1") for name, value in headers.items()}
    assert asked(locked, headers, path) == (401, "token")
    assert asked(locked, headers, f"{path}?token={TOKEN}") == (401, "token")


def test_with_its_token_it_answers(locked, photo):
    headers = {"Authorization": f"Bearer {TOKEN}"}
    assert asked(locked, headers)[0] == 200
    assert locked.post(data=photo(), headers=headers).status_code == 200
    reply = locked.post(data=photo())
    assert (reply.status_code, reply.headers["www-authenticate"]) == (401, "Bearer")
    assert "Authorization: Bearer" in reply.json()["detail"]


def test_health_needs_no_token(locked):
    assert locked.get("/livez").status_code == 200
    assert locked.get("/readyz").status_code == 200
    assert locked.post("/livez").status_code == 401


def test_the_token_is_nowhere_to_be_read(locked):
    headers = {"Authorization": f"Bearer {TOKEN}"}
    replies = [
        locked.get(f"/v1/model?token={TOKEN}", headers=headers),
        locked.get("/metrics", headers=headers),
    ]
    assert [reply.status_code for reply in replies] == [200, 200]
    assert all(TOKEN not in reply.text for reply in replies)
    assert TOKEN not in locked.log_path.read_text()
    line = Path(f"/proc/{locked.process.pid}/cmdline").read_text()
    assert TOKEN not in line


def test_a_token_may_be_in_a_file(start, served_bundle, tmp_path):
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    service = start(served_bundle, f"token_file={tmp_path / 'token'}")
    assert asked(service, {})[0] == 401
    assert asked(service, {"Authorization": f"Bearer {TOKEN}"})[0] == 200


@pytest.mark.parametrize(
    ("words", "environment", "sentence"),
    [
        (["host=0.0.0.0"], {}, r"host='0\.0\.0\.0' lets other machines call, which takes a token"),
        (["host=0.0.0.0"], {"FASHION_TOKEN": TOKEN}, r"pass hosts=NAME,… with the names"),
        (["host=0.0.0.0", "token=none"], {}, r"pass hosts=NAME,… with the names"),
        (["token=secret"], {}, r"token= takes none alone, .* token_file=FILE"),
        (["token_file=absent"], {}, r"token_file='absent' is no file; python -c .* makes one"),
        (["token=none"], {"FASHION_TOKEN": TOKEN}, "token=none and FASHION_TOKEN contradict"),
        ([], {"FASHION_TOKEN": "short"}, "The token of FASHION_TOKEN must be 16 characters"),
        (["hosts=*"], {}, r"hosts='\*' may have no \*"),
        (["host=nowhere.invalid"], {}, "host='nowhere.invalid' is no address of this machine"),
        (["host=192.0.2.1"], {}, "host='192.0.2.1' is no address of this machine"),
        (["port=100000"], {}, "port='100000' must be a whole number"),
        (["port=x"], {}, "port='x' must be a whole number"),
        (["max_mb=x"], {}, "max_mb='x' must be a number"),
        (["max_mb=0"], {}, "max_mb=0.0 must be above 0"),
        (["max_mb=200"], {}, r"max_mb=200 is above max_request_mb=100, .*; raise max_request_mb"),
        (["queue=8"], {}, "max_photos=32 is above queue=8"),
        (["max_photos=1.5"], {}, "max_photos='1.5' must be a whole number"),
        (["precision=0.99"], {}, "precision=0.99"),
        (["precision=x"], {}, "precision='x' must be above 0"),
        (["int8=true"], {}, "int8=true: .* has no quantised network"),
        (["open=perhaps"], {}, "open='perhaps' must be true or false"),
        (["bundle=absent"], {}, "bundle='absent' does not exist"),
        (["prot=1"], {}, r"prot is unknown \(did you mean port\?\)"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_the_words_is_a_sentence(
    words, environment, sentence, served_bundle, monkeypatch, tmp_path, capsys
):
    from fashion.commands.main import run

    monkeypatch.chdir(tmp_path)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as end:
        run("serve", [f"bundle={served_bundle}", "port=0", *words])
    assert re.search(sentence, str(end.value))
    assert "\n" not in str(end.value)


def test_a_port_in_use_is_a_sentence(service, served_bundle):
    words = [f"bundle={served_bundle}", f"port={service.port}"]
    done = subprocess.run(
        [sys.executable, "-m", "fashion", "serve", *words], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"port={service.port} is in use on 127.0.0.1; end what listens")
    assert done.stderr.count("\n") == 1


def test_every_address_with_a_token_and_a_name(start, served_bundle):
    service = start(served_bundle, "host=0.0.0.0", "hosts=photos.example", FASHION_TOKEN=TOKEN)
    assert asked(service, {"Host": "photos.example"}) == (401, "token")
    headers = {"Host": "photos.example", "Authorization": f"Bearer {TOKEN}"}
    assert asked(service, headers)[0] == 200
    assert asked(service, {**headers, "Host": "192.0.2.7"}) == (403, "host")
