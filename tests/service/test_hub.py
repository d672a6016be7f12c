"""Hugging Face's own client against the service."""

import base64
import json

import pytest
from huggingface_hub import InferenceClient
from huggingface_hub.errors import HfHubHTTPError

TOKEN = "a-token-of-more-than-16"  # of the service that is `locked`


@pytest.mark.parametrize("top", [None, 1, 2])
def test_its_client_gets_labels(top, service, tmp_path, photo):
    client = InferenceClient(model=f"{service.url}/hf")
    (tmp_path / "x.png").write_bytes(photo(240))
    for image in (str(tmp_path / "x.png"), photo(240)):
        labels = client.image_classification(image, top_k=top)
        assert labels[0].label == "Bright"
        assert len(labels) == (top or 3)
        told = service.post(data=photo(240)).json()["photos"][0]["labels"]
        assert [(each.label, each.score) for each in labels] == [
            (each["label"], each["probability"]) for each in told[:top]
        ]


def test_its_client_gets_errors(service, photo):
    client = InferenceClient(model=f"{service.url}/hf")
    with pytest.raises(HfHubHTTPError) as error:
        client.image_classification(b"no photo")
    assert error.value.response.status_code == 422
    assert "can't be read" in str(error.value)


def test_its_client_sends_the_token(locked, photo):
    client = InferenceClient(model=f"{locked.url}/hf", token=TOKEN)
    assert client.image_classification(photo(10))[0].label == "Dark, or =so"
    with pytest.raises(HfHubHTTPError) as error:
        InferenceClient(model=f"{locked.url}/hf", token="another").image_classification(photo(10))
    assert error.value.response.status_code == 401


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{", "no JSON of the form"),
        (b"[]", "no JSON of the form"),
        (b"[" * 100_000, "no JSON of the form"),
        (b'{"inputs": 5}', "no JSON of the form"),
        (b'{"inputs": "***"}', "no JSON of the form"),
        (b'{"inputs": "http://169.254.169.254/latest"}', "no JSON of the form"),
        (b'{"inputs": "", "parameters": {"top_k": 0}}', "top_k=0 must be a whole number from 1"),
        (b'{"inputs": "", "parameters": {"top_k": true}}', "top_k=True must be"),
        (b'{"inputs": "", "parameters": {"function_to_apply": "sigmoid"}}', "'sigmoid'"),
    ],
)
def test_what_is_wrong_with_its_json_is_told(body, words, service):
    reply = service.post("/hf", body, "application/json")
    assert (reply.status_code, reply.json()["code"]) == (400, "bad_request")
    assert words in reply.json()["detail"]


def test_base64_may_have_what_a_photo_may(service):
    def post(content):
        body = {"inputs": base64.b64encode(content).decode()}
        return service.post("/hf", json.dumps(body), "application/json")

    assert post(b"\0" * 190_000).status_code == 422
    assert post(b"\0" * 1_000_000).status_code == 413
