"""A service that keeps photos for review, from a photo to the decision on it."""

import pytest

from fashion.commands.main import run
from fashion.review.review_store import ReviewStore

AT = "2100-01-01T00:00:00Z"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("reviewing") / "review"


@pytest.fixture(scope="module")
def reviewing(start, served_bundle, folder):
    """A service that keeps every photo."""
    words = ("precision=0.9", f"review={folder}", "blind=1")
    return start(served_bundle, *words, FASHION_TOKEN="a-token-of-more-than-16")


TOKEN = {"Authorization": "Bearer a-token-of-more-than-16"}


def test_a_photo_goes_from_its_label_to_a_decision(reviewing, photo, folder, capsys):
    kept = {}
    for grey in (250, 150, 120, 60, 5):
        reply = reviewing.post(f"/v1/predict?name={grey}.png", photo(grey), headers=TOKEN)
        (told,) = reply.json()["photos"]
        assert told["review"] == ("blind" if told["sure"] else "unsure")
        kept[told["sha256"]] = told
    assert {told["sure"] for told in kept.values()} == {True, False}
    queue = reviewing.get("/v1/review", headers=TOKEN).json()
    assert queue["left"] == 5
    for waiting in queue["photos"]:
        told = kept[waiting["sha256"]]
        assert (waiting["name"], waiting["kind"]) == (told["photo"], told["review"])
        assert ("labels" in waiting) == (not told["sure"])
    assert reviewing.get("/v1/model", headers=TOKEN).json()["review"] is True
    sha256 = queue["photos"][-1]["sha256"]
    shown = reviewing.get(f"/v1/review/photos/{sha256}", headers=TOKEN)
    assert (shown.status_code, shown.headers["content-type"]) == (200, "image/jpeg")
    assert shown.headers["content-security-policy"] == "default-src 'none'; sandbox"
    label = kept[sha256]["labels"][0]["label"]
    decision = {"sha256": sha256, "label": label, "kind": "corrected", "at": AT}
    sent = {"person": "anna", "decisions": [decision]}
    for _ in range(2):
        reply = reviewing.session.post(
            f"{reviewing.url}/v1/review/decisions", json=sent, headers=TOKEN
        )
        assert reply.json() == {"stored": 1, "unknown": []}
    run("corrections", ["status", f"review={folder}"])  # beside the service
    said = capsys.readouterr().out
    assert "1 photo decided by 1 person\n" in said
    assert "blind photos decided, 1 right: 100.0%" in said


def test_without_the_token_there_is_one_sentence(reviewing):
    for path in ("/v1/review", f"/v1/review/photos/{'0' * 64}"):
        reply = reviewing.get(path)
        assert (reply.status_code, reply.json()["code"]) == (401, "token")


def test_without_a_folder_there_are_no_such_routes(service):
    assert service.get("/v1/review").status_code == 404
    assert service.get("/v1/model").json()["review"] is False


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((), "keeps what isn't sure; pass precision=0.98"),
        (("precision=0.9", "blind=2"), "blind=2.0 must be a share"),
        (("precision=0.9", "review_gb=0"), "review_gb=0.0 must be a number"),
        (("precision=0.9", "review_gb=much"), "review_gb='much' must be a number"),
    ],
)
def test_a_wrong_word_ends_in_a_sentence(words, sentence, served_bundle, tmp_path):
    with pytest.raises(SystemExit) as ended:
        run("serve", [f"bundle={served_bundle}", "port=0", f"review={tmp_path / 'r'}", *words])
    assert sentence in str(ended.value)


def test_a_service_that_ends_leaves_a_whole_folder(start, served_bundle, photo, tmp_path):
    service = start(served_bundle, "precision=0.9", f"review={tmp_path}", "blind=1")
    (told,) = service.post("/v1/predict", photo(130)).json()["photos"]
    assert service.end() == 0
    store = ReviewStore(tmp_path, must_exist=True)
    assert store.photo(told["sha256"]) == photo(130)
    assert store.queue().left == 1
