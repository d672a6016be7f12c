"""What the routes answer: labels, facts, and each error as a problem with one sentence."""

import csv
import hashlib
import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from fashion.bundles.manifest import NAME, bundle_id
from fashion.catalogue.images import decode_image
from fashion.labelling.label_files import label_files

CLASSES = ("Bright", "Dark, or =so", "Grey")
WAY = {"input_size": 8, "fit": "squash", "interpolation": "bilinear"}


def photo(grey=240, size=(20, 30), kind="PNG"):
    """Return the file of a photo of one grey."""
    content = io.BytesIO()
    Image.new("RGB", size, (grey,) * 3).save(content, kind)
    return content.getvalue()


def problem(reply, status, code):
    """Check that a reply is a problem of this kind, and return its sentence."""
    assert reply.status_code == status, reply.text
    assert reply.headers["content-type"] == "application/problem+json"
    told = reply.json()
    assert {*told} == {"type", "title", "status", "code", "detail"}
    assert (told["type"], told["status"], told["code"]) == ("about:blank", status, code)
    assert re.fullmatch(r"[^\n]{10,300}\.", told["detail"])
    return told["detail"]


def test_a_photo_is_labelled_as_its_network_computes_it(service, expected):
    content = photo(240, (21, 30))
    reply = service.post("/v1/predict?name=folder/Größe%20%F0%9F%91%97.png", content)
    assert (reply.status_code, reply.headers["content-type"]) == (200, "application/json")
    [probabilities] = expected(decode_image(content, **WAY)[None])
    order = np.argsort(-probabilities)
    assert reply.json() == {
        "model": {
            "name": "brightness",
            "id": bundle_id((service.bundle / NAME).read_bytes()),
            "precision": 0.9,
            "threshold": 0.7,
        },
        "photos": [
            {
                "photo": "folder/Größe 👗.png",
                "sha256": hashlib.sha256(content).hexdigest(),
                "width": 21,
                "height": 30,
                "labels": [
                    {"label": CLASSES[k], "probability": pytest.approx(probabilities[k], abs=1e-6)}
                    for k in order
                ],
                "sure": True,
            }
        ],
    }


@pytest.mark.parametrize(("grey", "sure"), [(240, True), (128, False), (10, True)])
def test_a_label_below_the_threshold_is_not_sure(grey, sure, service):
    [labelled] = service.post(data=photo(grey)).json()["photos"]
    assert labelled["sure"] is sure
    assert (labelled["labels"][0]["probability"] >= 0.7) is sure


def test_without_a_precision_nothing_is_said_of_sure(start, served_bundle):
    service = start(served_bundle)
    told = service.post(data=photo()).json()
    assert (told["model"]["precision"], told["model"]["threshold"]) == (None, None)
    assert "sure" not in told["photos"][0]


def test_top_is_how_many_labels_there_are(service):
    def labels(query):
        return service.post(f"/v1/predict{query}", photo()).json()["photos"][0]["labels"]

    assert [len(labels(query)) for query in ("?top=1", "?top=2", "", "?top=99")] == [1, 2, 3, 3]


@pytest.mark.parametrize("kind", ["image/jpeg", "application/octet-stream", "IMAGE/X-ANY; q=1", ""])
def test_a_body_is_one_photo_whatever_picture_it_is_said_to_be(kind, service):
    [labelled] = service.post(data=photo(), kind=kind).json()["photos"]
    assert labelled["photo"] == "photo"


def test_a_bad_photo_of_several_fails_alone(service):
    parts = [
        ("photos", ("one.png", photo(240))),
        ("photos", ("two.txt", b"no photo")),
        ("photos", ("three.png", photo(10))),
        ("photos", ("four.png", b"\0" * 200_001)),
    ]
    reply = service.post_form(parts)
    assert reply.status_code == 200
    one, two, three, four = reply.json()["photos"]
    assert [each["photo"] for each in (one, two, three, four)] == [
        "one.png", "two.txt", "three.png", "four.png",
    ]  # fmt: skip
    assert one["labels"][0]["label"] == "Bright"
    assert three["labels"][0]["label"] == "Dark, or =so"
    assert two["error"] == {
        "code": "unreadable",
        "detail": "two.txt can't be read: not a photo of a known format.",
    }
    assert four["error"]["code"] == "too_large"
    assert "labels" not in two


def test_it_labels_as_fashion_predict_does(service, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number, kind in enumerate(["JPEG", "PNG", "WEBP", "JPEG"]):
        content = photo(int(rng.integers(256)), (40 + number, 50), kind)
        (folder / f"{number}.{kind.lower()}").write_bytes(content)
    output = tmp_path / "labels.csv"
    label_files([folder], output=output, bundle=service.bundle, precision=0.9)
    rows = [*csv.DictReader(output.read_text(encoding="utf-8").splitlines())]
    names = sorted(path.name for path in folder.iterdir())
    parts = [("photos", (name, (folder / name).read_bytes())) for name in names]
    for row, told in zip(rows, service.post_form(parts).json()["photos"], strict=True):
        assert row["sure"] == {True: "yes", False: "no"}[told["sure"]]
        for place, label in enumerate(told["labels"], 1):
            # A spreadsheet would compute what begins with a sign of equality; no program does.
            assert row[f"label_{place}"].lstrip("'") == label["label"]
            assert float(row[f"probability_{place}"]) == pytest.approx(
                label["probability"], abs=2e-6
            )


@pytest.mark.parametrize(
    ("query", "data", "kind", "status", "code", "words"),
    [
        ("", b"no photo", "image/png", 422, "unreadable", "photo can't be read: not a photo of a"),
        ("?name=a.png", photo()[:60], "image/png", 422, "unreadable", "a.png can't be read: "),
        ("", b"", "image/png", 422, "unreadable", "empty file"),
        ("", photo(kind="TIFF")[:-5], "image/tiff", 422, "unreadable", ""),
        ("", b"\0" * 200_001, "image/png", 413, "too_large", "the 0.2 MB that max_mb allows"),
        ("", photo(size=(1001, 1000)), "image/png", 413, "too_many_pixels", "max_pixels=1000000"),
        ("", photo(), "text/plain", 415, "media_type", "'text/plain' is not taken"),
        ("", photo(), "application/x-www-form-urlencoded", 415, "media_type", "octet-stream"),
        ("?top=0", photo(), "image/png", 400, "bad_request", "top='0'"),
        ("?top=two", photo(), "image/png", 400, "bad_request", "top='two'"),
        (f"?name={'x' * 1025}", photo(), "image/png", 400, "bad_request", "1,025 bytes"),
        ("", b"no form", "multipart/form-data; boundary=x", 400, "bad_request", "can't be read"),
        ("", b"no form", "multipart/form-data", 400, "bad_request", "can't be read"),
        ("", b"--x--\r\n", "multipart/form-data; boundary=x", 400, "bad_request", "no file in a"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_request_is_a_problem(query, data, kind, status, code, words, service):
    reply = service.post(f"/v1/predict{query}", data, kind)
    assert words in problem(reply, status, code)


def test_forms_have_limits(service):
    five = [("photos", (f"{number}.png", photo())) for number in range(5)]
    assert "max_photos=4" in problem(service.post_form(five), 413, "too_many")
    large = [("photos", ("a.png", b"\0" * 1_000_001))]
    assert "max_request_mb" in problem(service.post_form(large), 413, "too_large")
    fields = [("photos", ("a.png", photo()))] + [(f"f{n}", (None, "x")) for n in range(5)]
    assert "4 fields" in problem(service.post_form(fields), 400, "bad_request")
    others = [("photo", ("a.png", photo()))]
    assert "-F photos=@photo.jpg" in problem(service.post_form(others), 400, "bad_request")
    no_file = [("photos", (None, "text"))]
    assert "no file in a part photos" in problem(service.post_form(no_file), 400, "bad_request")


def test_a_long_name_in_a_form_fails_alone(service):
    parts = [("photos", ("x" * 1025, photo())), ("photos", ("b.png", photo()))]
    long, other = service.post_form(parts).json()["photos"]
    assert long["error"]["code"] == "bad_name"
    assert len(long["photo"]) < 100
    assert "labels" in other


def test_other_addresses_and_methods_are_problems(service):
    assert "openapi.json" in problem(service.get("/v1/nothing"), 404, "not_found")
    for path in ("/docs", "/redoc", "/v1/predict/", "/../etc/passwd", "/%2e%2e/etc/passwd"):
        assert service.get(path).status_code in (404, 405)
    reply = service.get("/v1/predict")
    problem(reply, 405, "method")
    assert reply.headers["allow"] == "POST"
    problem(service.session.request("TRACE", f"{service.url}/v1/model"), 405, "method")


def test_the_model_is_told(service):
    told = service.get("/v1/model").json()
    assert told["classes"] == [*CLASSES]
    assert told["preprocessing"] == WAY
    assert told["limits"] == {
        "max_mb": 0.2, "max_pixels": 1_000_000, "max_photos": 4, "max_request_mb": 1,
    }  # fmt: skip
    assert (told["int8"], told["review"], told["metrics"]) == (False, False, None)
    assert told["engine"].startswith("ONNX Runtime")


def test_health_is_told(service):
    assert service.get("/livez").json() == {"status": "ok"}
    assert service.get("/readyz").json() == {"status": "ready"}


def counters(service):
    text = service.get("/metrics").text
    lines = re.findall(r"^(fashion_\S+) (\S+)$", text, re.MULTILINE)
    return {name: float(value) for name, value in lines}


def test_metrics_count_what_happens(start, served_bundle):
    service = start(served_bundle, "precision=0.9")
    for grey in (240, 250, 128):
        service.post(data=photo(grey))
    service.post("/v1/predict?name=secret.jpg", b"no photo")
    service.get("/v1/secret")
    found = counters(service)
    assert found['fashion_photos_total{outcome="sure"}'] == 2
    assert found['fashion_photos_total{outcome="unsure"}'] == 1
    assert found['fashion_photos_total{outcome="unreadable"}'] == 1
    assert found['fashion_labels_total{label="Bright"}'] == 2
    assert found['fashion_requests_total{route="/v1/predict",status="200"}'] == 3
    assert found['fashion_requests_total{route="/v1/predict",status="422"}'] == 1
    assert found['fashion_requests_total{route="other",status="404"}'] == 1
    assert found["fashion_batch_photos_count"] == 3
    assert found["fashion_waiting_photos"] == 0
    assert found['fashion_stage_seconds_count{stage="infer"}'] == 3
    assert found["fashion_confidence_count"] == 3
    text = service.get("/metrics").text
    assert "process_resident_memory_bytes" in text
    assert "secret" not in text


def test_the_description_of_the_api_has_its_routes(service):
    told = service.get("/openapi.json").json()
    assert told["openapi"].startswith("3.1")
    assert {*told["paths"]} == {
        "/v1/predict", "/v1/model", "/livez", "/readyz", "/metrics", "/hf",
    }  # fmt: skip
    body = told["paths"]["/v1/predict"]["post"]["requestBody"]["content"]
    assert {*body} == {"image/*", "application/octet-stream", "multipart/form-data"}
    assert "http" not in json.dumps(told["paths"])


def test_each_reply_has_the_id_of_its_request(service):
    first, second = (service.get("/livez").headers["x-request-id"] for _ in range(2))
    assert first != second
    assert (
        service.get("/livez", headers={"X-Request-ID": "mine-1"}).headers["x-request-id"]
        == "mine-1"
    )
    odd = service.get("/livez", headers={"X-Request-ID": "a b\t;c"}).headers["x-request-id"]
    assert re.fullmatch("[0-9a-f]{16}", odd)
    assert service.get("/nothing", headers={"X-Request-ID": "b"}).headers["x-request-id"] == "b"


def test_the_log_has_a_line_a_request_and_nothing_of_the_photos(service):
    service.post("/v1/predict?name=secret.jpg", photo(), headers={"X-Request-ID": "logged-1"})
    service.post("/v1/predict?name=secret.jpg", b"not secret", headers={"X-Request-ID": "logged-2"})
    lines = {line.get("id"): line for line in service.log()}
    assert {*lines["logged-1"]} == {
        "time", "level", "message", "route", "status", "ms", "id", "photos",
    }  # fmt: skip
    assert (lines["logged-1"]["route"], lines["logged-1"]["photos"]) == ("/v1/predict", 1)
    assert (lines["logged-1"]["status"], lines["logged-2"]["status"]) == (200, 422)
    assert "secret" not in service.log_path.read_text()


def test_the_log_names_photos_where_it_is_asked_to(start, served_bundle):
    service = start(served_bundle, "debug=true")
    service.post("/v1/predict?name=a%0Ab.jpg", photo())
    [line] = [line for line in service.log() if line["level"] == "debug"]
    assert line["names"] == ["a\nb.jpg"]
