"""`fashion label` against `fashion predict`, and the folder that it leaves."""

import hashlib
import json
import os
import re
import zipfile
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from fashion.catalogue.images import decode_image
from fashion.commands.main import run


def results(job):
    return pa.concat_tables([pq.read_table(path) for path in sorted((job / "results").iterdir())])


def test_the_csv_is_that_of_fashion_predict_to_the_byte(label, predict, photos, tmp_path, capsys):
    Image.new("RGB", (9, 9)).save(photos / "=1+1, \u00e9.png")
    (photos / os.fsdecode(b"\xff\xe9.png")).write_bytes((photos / "0001.png").read_bytes())
    zipped = tmp_path / "more.zip"
    with zipfile.ZipFile(zipped, "w") as archive:
        for name in ("0003.png", "0007.png"):
            archive.write(photos / name, f"in it/{name}")
    job = label(f"input={photos}", f"input={zipped}", "precision=0.85")
    assert (job / "predictions.csv").read_bytes() == predict(
        str(photos), str(zipped), "precision=0.85"
    )
    said = capsys.readouterr().out.splitlines()[0]
    assert re.fullmatch(r"41 photos labelled, \d+ of them not sure, 3 unreadable: .*\.csv", said)


def test_the_csv_is_the_same_for_any_number_of_workers(label, predict, photos):
    job = label(f"input={photos}", "workers=2")
    assert (job / "predictions.csv").read_bytes() == predict(str(photos))


def test_photos_are_called_as_they_are_typed(label, cells, photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    job = label("input=photos")
    assert cells(job)[3]["photo"] == os.path.join("photos", "0003.png")
    monkeypatch.chdir(photos)
    (job / "results" / "rows-000000000016.parquet").unlink()  # paths are kept whole
    label(f"input={tmp_path / 'photos'}")
    assert cells(job)[20]["error"] == ""


def test_results_tell_what_each_file_is(label, photos, expected):
    table = results(label(f"input={photos}")).to_pylist()
    assert [row["row"] for row in table] == [*range(40)]
    assert table[7]["error"] == "not a photo of a known format"
    for row in (table[0], table[7]):
        content = (photos / f"{row['row']:04}.png").read_bytes()
        assert row["sha256"] == hashlib.sha256(content).hexdigest()
        assert row["bytes"] == len(content)
    assert [(row["width"], row["height"]) for row in (table[0], table[7])] == [
        (20, 30),
        (None, None),
    ]
    square = decode_image((photos / "0005.png").read_bytes(), 8, "squash", "bilinear")
    assert table[5]["probability_1"] == pytest.approx(expected(square[None]).max(), abs=1e-5)


def test_the_summary_counts_what_the_csv_has(label, cells, photos):
    job = label(f"input={photos}", "precision=0.85")
    summary = json.loads((job / "summary.json").read_text())
    rows = cells(job)
    sure = Counter(row["sure"] for row in rows)
    assert {key: summary[key] for key in ("photos", "labelled", "refused", "unreadable")} == {
        **{"photos": 40, "labelled": sure["yes"], "refused": sure["no"], "unreadable": 2},
    }
    assert summary["labels"] == Counter(row["label_1"] for row in rows if row["label_1"])
    confidences = [float(row["probability_1"]) for row in rows if row["label_1"]]
    bins, edges = np.histogram(confidences, 20, (0, 1))
    assert summary["confidences"]["photos"] == bins.tolist()
    assert summary["confidences"]["edges"] == pytest.approx(edges)
    assert summary["speed"]["photos"] == 40


def test_a_finished_job_says_so_and_changes_nothing(label, photos, capsys):
    job = label(f"input={photos}")
    before = {path: path.stat().st_mtime_ns for path in job.rglob("*") if path.is_file()}
    label(f"input={photos}")
    assert capsys.readouterr().out.startswith("38 photos") is True
    label(f"input={photos}", "workers=1")
    assert capsys.readouterr().out.startswith("It was finished before: 38 photos labelled, 2 ")
    assert before == {path: path.stat().st_mtime_ns for path in job.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["precision=0.85"], "other precision"),
        (["probabilities=true", "zip_encoding=cp866"], "other probabilities and zip_encoding"),
        (["input=.."], "other input. .* update=true"),
    ],
)
def test_another_job_s_folder_is_refused(words, said, label, photos, monkeypatch):
    monkeypatch.chdir(photos)
    job = label("input=.")
    with pytest.raises(SystemExit, match=f"is a job of 40 photos with {said}.*another output"):
        label(*({} if words[0].startswith("input") else ["input=."]), *words, output=job)


def test_another_bundle_is_refused(label, photos, make_draft, tmp_path):
    job = label(f"input={photos}")
    draft = make_draft()
    draft.options["name"] = "other"
    other = draft.write(tmp_path / "other")
    with pytest.raises(SystemExit, match="with other bundle"):
        label(f"input={photos}", f"bundle={other}", output=job)


def test_a_folder_of_something_else_is_refused(label, photos):
    with pytest.raises(SystemExit, match="holds other files"):
        label(f"input={photos}", output=photos)


def test_grown_input_is_appended_on_request(label, draw, cells, photos):
    job = label(f"input={photos}")
    before = cells(job)
    (photos / "0000.png").rename(photos / "0050.png")
    draw(photos, 5, first=40)
    label(f"input={photos}")
    assert cells(job) == before
    label(f"input={photos}", "update=true")
    after = cells(job)
    assert after[:40] == before
    assert [os.path.basename(row["photo"]) for row in after[40:]] == [
        *(f"{k:04}.png" for k in range(40, 45)),
        "0050.png",
    ]
    assert after[45]["probability_1"] == before[0]["probability_1"]
    assert results(job)["row"].to_pylist() == [*range(46)]
    label(f"input={photos}", "update=true")
    assert cells(job) == after


def test_lists_and_tables_name_photos_from_their_folder(label, cells, photos, tmp_path):
    zipped = tmp_path / "some.zip"
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.write(photos / "0002.png", "two.png")
    (tmp_path / "list.txt").write_text("photos/0001.png\n\nphotos/none.png\n")
    files = ["photos/0001.png", "some.zip", "some.zip"]
    columns = {"file": files, "member": [None, "two.png", "none.png"]}
    pq.write_table(pa.table(columns), tmp_path / "table.parquet")
    columns = {"photo": ["a", "b"], "file": [b"photos/0001.png", b"photos/0002.png"]}
    pq.write_table(pa.table(columns), tmp_path / "named.parquet")
    inputs = [f"input={tmp_path / name}" for name in ("list.txt", "table.parquet", "named.parquet")]
    rows = cells(label(*inputs))
    assert [row["photo"] for row in rows] == [
        *("photos/0001.png", "photos/none.png", "photos/0001.png", "some.zip/two.png"),
        *("some.zip/none.png", "a", "b"),
    ]
    assert "No such file" in rows[1]["error"]
    assert rows[4]["error"] == "the zip has no file of this name"
    ones, twos = ([rows[k]["probability_1"] for k in places] for places in ((0, 2, 5), (3, 6)))
    assert len({*ones}) == len({*twos}) == 1


def test_photos_may_have_addresses(label, cells, photos, tmp_path):
    (tmp_path / "list.txt").write_text(
        f"{(photos / '0001.png').as_uri()}\nphotos/0001.png\nnowhere://x/y.png\n"
    )
    rows = cells(label(f"input={tmp_path / 'list.txt'}"))
    assert rows[0]["photo"] == (photos / "0001.png").as_uri()
    assert rows[0]["probability_1"] == rows[1]["probability_1"]
    assert "nowhere" in rows[2]["error"]


def test_a_manifest_is_the_input_of_another_job(label, photos, tmp_path):
    job = label(f"input={photos}")
    other = label(f"input={job / 'manifest' / 'part-00000.parquet'}", output=tmp_path / "again")
    assert (other / "predictions.csv").read_bytes() == (job / "predictions.csv").read_bytes()


def test_a_table_without_files_is_told(label, tmp_path):
    pq.write_table(pa.table({"name": ["a"]}), tmp_path / "table.parquet")
    with pytest.raises(SystemExit, match="is no table of photos: it has the columns name"):
        label(f"input={tmp_path / 'table.parquet'}")


def test_photos_that_failed_are_tried_again_on_request(label, cells, photos, predict):
    job = label(f"input={photos}")
    before = cells(job)
    (photos / "0007.png").write_bytes((photos / "0006.png").read_bytes())
    label(f"input={photos}")
    assert cells(job) == before
    label(f"input={photos}", "retry_failed=true")
    after = cells(job)
    assert after[7]["probability_1"] == after[6]["probability_1"]
    assert after[11] == before[11]
    assert (job / "predictions.csv").read_bytes() == predict(str(photos))


def test_all_probabilities_are_kept_on_request_and_their_size_is_told(
    label, photos, expected, caplog
):
    table = results(label(f"input={photos}", "probabilities=true"))
    assert "All probabilities take up to 240 bytes" in caplog.text
    kept = table["probabilities"].to_pylist()
    assert kept[7] is None
    square = decode_image((photos / "0005.png").read_bytes(), 8, "squash", "bilinear")
    assert kept[5] == pytest.approx(expected(square[None])[0], abs=1e-3)
    assert table.schema.field("probabilities").type == pa.list_(pa.float16(), 3)


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("shard=0", "shard='0' must be a whole number"),
        ("photo_s=soon", "photo_s='soon' must be a number"),
        ("photo_s=0", "photo_s=0.0 must be above 0"),
        ("workers=-1", "workers='-1' must be a whole number"),
        ("precision=0.99999", "precision=0.99999"),
        ("int8=true", "int8=true: bundle='"),
        ("dtype=float8", "dtype='float8' must be one of"),
        ("input=nowhere", "'nowhere' does not exist"),
        ("input=empty", "There is no photo (.jpg, "),
    ],
)
def test_what_is_wrong_is_told_before_photos_are_listed(
    word, said, bundle, photos, tmp_path, monkeypatch
):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    words = [f"bundle={bundle}", f"output={tmp_path / 'job'}", word]
    if not word.startswith("input"):
        words.append(f"input={photos}")
    with pytest.raises(SystemExit, match=f"^{re.escape(said)}"):
        run("label", words)
    assert not (tmp_path / "job" / "job.json").exists()
