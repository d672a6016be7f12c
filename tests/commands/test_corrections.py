import csv
import hashlib
import shutil

import numpy as np
import pytest
from PIL import Image

from fashion.commands.main import run
from fashion.review.decisions import Decision
from fashion.review.review_store import ReviewStore

AT = "2026-11-28T12:00:00Z"


@pytest.fixture
def folder(tmp_path, tiny_root):
    """A review folder with a photo of `tiny_root`, one that shows the same, and a new one."""
    store = ReviewStore(tmp_path / "review")
    smaller, new = tmp_path / "smaller.jpg", tmp_path / "new.jpg"
    Image.open(tiny_root / "images" / "1001.jpg").resize((90, 120)).save(smaller, quality=92)
    pixels = np.random.default_rng(3).integers(0, 256, (60, 45, 3), np.uint8)
    Image.fromarray(pixels).save(new)
    for path in (tiny_root / "images" / "1004.jpg", smaller, new):
        content = path.read_bytes()
        store.offer(
            content, sha256=hashlib.sha256(content).hexdigest(), name=path.name, size=(60, 80),
            labels=[("Shirts", 0.5)], sure=False, model="m", threshold=0.9,
        )  # fmt: skip
    store.close()
    return tmp_path / "review"


def corrections(*words):
    run("corrections", [str(word) for word in words])


def decide(folder, name, kind, label=None):
    store = ReviewStore(folder)
    (sha256,) = store.find(name)
    store.decide("anna", [Decision(sha256, kind, label, AT)])
    store.close()
    return sha256


def test_corrections_of_a_catalogue_and_new_photos_are_parted(folder, tiny_root, tmp_path, capsys):
    decide(folder, "1004.jpg", "corrected", "Watches")
    decide(folder, "smaller.jpg", "no_class")
    new = decide(folder, "new.jpg", "corrected", "Shirts")
    data = [f"data.root={tiny_root}", f"data.cache_dir={tmp_path / 'cache'}"]
    corrections("export", f"review={folder}", f"output={tmp_path / 'out'}", *data)
    said = capsys.readouterr().out
    assert said == (
        f"{tmp_path / 'out'}: 1 new photo for data.more, 1 of the catalogue relabelled, 1 of the "
        "catalogue excluded.\n"
    )
    assert (tmp_path / "out" / "relabel.csv").read_text() == "id,label\n1004,Watches\n"
    assert (tmp_path / "out" / "exclude.csv").read_text() == "id\n1001\n"
    with (tmp_path / "out" / "more" / "corrections.csv").open() as file:
        assert [row["id"] for row in csv.DictReader(file)] == [new]


def test_status_import_and_forget(folder, tmp_path, capsys):
    corrections("status", f"review={folder}")
    assert "3 unsure and 0 blind wait\n" in capsys.readouterr().out
    (tmp_path / "list.csv").write_text("id,label\nnew,Jeans\nnone,Jeans\n")
    corrections("import", f"review={folder}", "person=anna", tmp_path / "list.csv")
    assert capsys.readouterr().out == "1 decision kept, 1 photo isn't in the folder (none).\n"
    sha256 = decide(folder, "new.jpg", "no_class")
    corrections("forget", f"review={folder}", f"sha256={sha256}")
    assert capsys.readouterr().out == "1 photo forgotten, of 1.\n"
    with pytest.raises(SystemExit) as ended:
        corrections("forget", f"review={folder}", f"sha256={sha256}")
    assert ended.value.code == 1


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["status"], "review is missing"),
        (["status", "review=nowhere"], "review='nowhere' is no review folder"),
        (["statsu", "review={folder}"], "'statsu' does not exist; pass status, export, import"),
        (["export", "review={folder}"], "output is missing; pass output=DIR"),
        (["export", "review={folder}", "output=out"], "nobody has decided on a photo yet"),
        (["import", "review={folder}", "person=anna"], "import takes one CSV, but there are 0"),
        (["import", "review={folder}", "list.csv"], "person is missing; pass person=NAME"),
        (["forget", "review={folder}"], "sha256 is missing"),
        (["forget", "review={folder}", "sha256=12"], "sha256='12' must be 64 digits"),
        (["status", "review={folder}", "person=anna"], "person= is nothing to status; it takes"),
        (["status", "review={folder}", "list.csv"], "status takes no file, but there is"),
        (["list.csv", "review={folder}"], "'list.csv' is unknown; pass status, export"),
    ],
)
def test_a_wrong_word_ends_in_a_sentence(words, sentence, folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    (folder.parent / "list.csv").write_text("id,label\nnew,Jeans\n")
    with pytest.raises(SystemExit) as ended:
        corrections(*(word.format(folder=folder) for word in words))
    assert str(ended.value).startswith(sentence) or sentence in str(ended.value)
    assert "\n" not in str(ended.value)


def test_a_catalogue_that_isnt_there_is_told(folder, tmp_path):
    decide(folder, "new.jpg", "no_class")
    with pytest.raises(SystemExit, match=r"data\.root='nowhere' does not exist"):
        corrections("export", f"review={folder}", f"output={tmp_path / 'out'}", "data.root=nowhere")
    shutil.rmtree(folder)
