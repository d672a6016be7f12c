import hashlib
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from fashion.review.decisions import Decision
from fashion.review.review_store import ReviewStore

AT = "2026-11-28T12:00:00Z"
KILLED = """
import os, sys
from fashion.review import review_store, kept_photos
{planted}
store = review_store.ReviewStore(sys.argv[1])
store.offer(b"a photo", sha256={sha256!r}, name="a.jpg", size=(1, 1), labels=[("Tops", 0.5)],
            sure=False, model="m", threshold=0.9)
"""


def test_an_unsure_photo_is_kept_as_it_is(store, offer, jpeg):
    sha256 = offer(store, 1, confidence=0.25)
    assert store.photo(sha256) == jpeg(1)
    (photo,) = store.queue().photos
    assert photo == (sha256, "1.jpg", 60, 80, "unsure", [("Tops", 0.25), ("Shirts", 0.375)])
    assert (store.folder / "photos" / sha256[:2] / sha256).is_file()


def test_a_blind_photo_waits_without_labels(store, offer):
    sha256 = offer(store, 1, confidence=0.99, sure=True)
    (photo,) = store.queue("blind").photos
    assert (photo.sha256, photo.kind, photo.labels) == (sha256, "blind", [])
    assert store.queue("unsure") == ([], 0, None)


def test_the_blind_share_is_drawn_by_bytes_and_salt(tmp_path):
    hashes = [
        hashlib.sha256(bytes([number // 256, number % 256])).hexdigest() for number in range(4000)
    ]
    one, other = ReviewStore(tmp_path / "one", blind=0.05), ReviewStore(tmp_path / "two")
    chosen = {sha256 for sha256 in hashes if one.draw(sha256) < 0.05}
    assert 150 < len(chosen) < 250
    assert chosen != {sha256 for sha256 in hashes if other.draw(sha256) < 0.05}
    again = ReviewStore(tmp_path / "one")
    assert chosen == {sha256 for sha256 in hashes if again.draw(sha256) < 0.05}
    said = {"name": "x", "size": (1, 1), "labels": [("Tops", 0.99)], "sure": True, "model": "m"}
    for sha256 in hashes[:400]:
        kind = one.offer(b"x", sha256=sha256, threshold=0.9, **said)
        assert kind == ("blind" if sha256 in chosen else None)
    assert {row[0] for row in one.rows("SELECT sha256 FROM photos")} == chosen & {*hashes[:400]}
    assert {row[0] for row in one.rows("SELECT rate FROM predictions")} == {0.05}


def test_unsure_photos_are_asked_least_sure_first_and_page_by_page(store, offer, decide):
    unsure = [offer(store, number, confidence=0.8 - number / 100) for number in range(7)]
    blind = {offer(store, number, confidence=0.95, sure=True) for number in range(7, 12)}
    first = store.queue(limit=5)
    assert ([photo.sha256 for photo in first.photos], first.left) == (unsure[:1:-1], 12)
    decide(store, unsure[1], "Tops")
    second = store.queue(limit=5, after=first.next)
    assert [photo.sha256 for photo in second.photos][:1] == unsure[:1]
    assert (second.left, {photo.kind for photo in second.photos[1:]}) == (11, {"blind"})
    last = store.queue(limit=5, after=second.next)
    assert last.next is None
    assert {photo.sha256 for photo in (*second.photos[1:], *last.photos)} == blind
    assert store.queue("unsure", limit=1).left == 6


@pytest.mark.parametrize(
    ("values", "sentence"),
    [(("sure",), "kind='sure'"), ((None, 0), "limit=0"), ((None, 501), "limit=501")],
)
def test_a_wrong_queue_is_refused(values, sentence, store):
    with pytest.raises(ValueError, match=sentence):
        store.queue(*values)


def test_a_decision_sent_twice_is_kept_once(store, offer):
    sha256, unknown = offer(store, 1), "f" * 64
    decisions = [
        Decision(sha256, "corrected", "Shirts", AT),
        Decision(unknown, "no_class", None, AT),
    ]
    assert store.decide("anna", decisions) == (1, 1, [unknown])
    assert store.decide("anna", decisions) == (1, 0, [unknown])
    assert store.decide("ben", decisions[:1]) == (1, 1, [])
    assert [(said.person, said.label) for said in store.said(sha256)] == [
        ("anna", "Shirts"), ("ben", "Shirts"),
    ]  # fmt: skip
    assert store.queue().left == 0


def test_an_undone_decision_has_the_photo_wait_again(store, offer, decide):
    sha256 = offer(store, 1)
    decide(store, sha256, "Shirts")
    decide(store, sha256, kind="undone")
    assert store.queue().left == 1
    decide(store, sha256, "Tops")
    assert store.queue().left == 0
    assert len(store.said(sha256)) == 3


def test_decisions_on_blind_photos_are_marked(store, offer, decide):
    unsure, blind = offer(store, 1), offer(store, 2, sure=True)
    for sha256 in (unsure, blind):
        decide(store, sha256, "Tops")
        decide(store, sha256, "Tops", person="ben", saw_labels=True)
    assert [said.blind for said in store.said(unsure)] == [False, False]
    assert [said.blind for said in store.said(blind)] == [True, False]


def test_what_waits_blindly_goes_on_doing_so(store, offer):
    blind, unsure = offer(store, 1, sure=True, confidence=0.95), offer(store, 2)
    offer(store, 1, model="sha256:two", confidence=0.5)
    offer(store, 2, model="sha256:two", sure=True, confidence=0.97)
    assert {photo.sha256 for photo in store.queue("blind").photos} == {blind, unsure}
    assert store.rows("SELECT count(*) FROM predictions") == [(4,)]


def test_a_full_folder_keeps_no_more_and_says_so_once(folder, offer, caplog):
    store = ReviewStore(folder, max_gb=2e-6)
    kept = [offer(store, number, content=bytes([number]) * 600) for number in range(6)]
    assert [store.photo(sha256) is not None for sha256 in kept] == [True] * 3 + [False] * 3
    assert [record.message for record in caplog.records] == [
        f"review={str(folder)!r} keeps no more photos: they take 2.0 kB, all of review_gb."
    ]
    assert store.fact("full") == "3"
    assert store.forget(kept[:1]) == 1
    assert store.photo(offer(store, 9, content=b"\t" * 600)) is not None


def test_what_goes_wrong_with_a_photo_ends_no_request(store, offer, caplog, monkeypatch):
    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store.photos, "bring", refuse)
    for number in range(3):
        offer(store, number)
    assert [record.message for record in caplog.records] == [
        f"{store.subject} keeps no more photos: [Errno 28] No space left on device."
    ]
    assert store.queue().left == 0


def test_what_is_forgotten_is_nowhere(store, offer, decide):
    kept, gone = offer(store, 1), offer(store, 2, name="a person's name.jpg")
    decide(store, gone, "Tops", person="somebody")
    assert store.forget([gone, "0" * 64]) == 1
    assert store.photo(gone) is None
    assert [photo.sha256 for photo in store.queue().photos] == [kept]
    store.close()
    for path in store.folder.rglob("*"):
        if path.is_file():
            assert b"somebody" not in path.read_bytes()
            assert b"a person's name" not in path.read_bytes()
            assert gone not in path.name
    with pytest.raises(ValueError, match=r"sha256='\.\./x' must be 64 digits"):
        ReviewStore(store.folder).forget(["../x"])


@pytest.mark.parametrize(
    ("planted", "is_kept"),
    [
        ("review_store.ReviewStore._note = lambda *_: os._exit(9)", False),
        ("kept_photos.KeptPhotos.settle = lambda *_: os._exit(9)", True),
    ],
    ids=["before the database knows", "before it is in its place"],
)
def test_a_killed_process_leaves_nothing_half(planted, is_kept, folder):
    sha256 = hashlib.sha256(b"a photo").hexdigest()
    code = KILLED.format(planted=planted, sha256=sha256)
    assert subprocess.run([sys.executable, "-c", code, folder]).returncode == 9
    assert len(list((folder / "photos" / "incoming").iterdir())) == 1
    store = ReviewStore(folder)
    assert list((folder / "photos" / "incoming").iterdir()) == []
    assert store.photo(sha256) == (b"a photo" if is_kept else None)
    assert store.queue().left == is_kept


def test_a_file_that_was_cut_is_not_shown_and_is_kept_anew(store, offer, jpeg):
    sha256 = offer(store, 1)
    path = store.photos.path(sha256)
    path.write_bytes(jpeg(1)[:100])
    assert store.photo(sha256) is None
    path.unlink()
    offer(store, 1)
    assert store.photo(sha256) == jpeg(1)


def test_threads_and_another_reader_share_a_folder(store, folder, offer):
    def work(number):
        sha256 = offer(store, number % 40)
        store.decide(f"person {number % 3}", [Decision(sha256, "corrected", "Tops", AT)])
        return len(other.queue(limit=500).photos)

    other = ReviewStore(folder, must_exist=True)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(160)))
    assert other.rows("SELECT count(*) FROM photos") == [(40,)]
    assert other.rows("SELECT count(*) FROM decisions") == [(120,)]
    assert other.queue().left == 0


def test_a_folder_of_a_later_release_is_refused(folder):
    ReviewStore(folder).close()
    connection = sqlite3.connect(folder / "review.sqlite")
    connection.execute("PRAGMA user_version = 7")
    connection.close()
    with pytest.raises(
        ValueError, match=r"was written by a later release \(form 7, where this one knows 1\)"
    ):
        ReviewStore(folder)


def test_what_is_no_review_folder_is_refused(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"is no review folder: it has no review\.sqlite"):
        ReviewStore(folder, must_exist=True)
    assert not folder.exists()
    folder.mkdir()
    connection = sqlite3.connect(folder / "review.sqlite")
    connection.execute("CREATE TABLE mine (id)")
    connection.close()
    with pytest.raises(ValueError, match="holds another program's database"):
        ReviewStore(folder)
    (folder / "review.sqlite").write_bytes(b"no database at all, but long enough" * 99)
    with pytest.raises(ValueError, match="holds a damaged database"):
        ReviewStore(folder)
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="can't be written"):
        ReviewStore(tmp_path / "file")


@pytest.mark.parametrize(
    ("values", "sentence"),
    [({"max_gb": 0}, "review_gb=0"), ({"max_gb": float("inf")}, "review_gb=inf"),
     ({"blind": -0.1}, "blind=-0.1"), ({"blind": 5}, "blind=5")],
)  # fmt: skip
def test_settings_out_of_range_are_refused(values, sentence, folder):
    with pytest.raises(ValueError, match=sentence):
        ReviewStore(folder, **values)
