"""Photos that kill or hold up what decodes them, disks that are full, files that are damaged."""

import json
import sys
import zipfile

import pytest

from fashion.jobs import crew
from fashion.locks import alone

KILLER = "if content.startswith(b'kill'): os.abort()"


def test_a_photo_that_kills_twice_is_a_row_that_says_so(label, plant, cells, photos, predict):
    predicted = predict(str(photos))
    (photos / "0007.png").write_bytes(b"kill")
    (photos / "0009.png").write_bytes(b"kill")
    plant(KILLER)
    job = label(f"input={photos}", "workers=1")
    rows = cells(job)
    assert [rows[k]["error"] for k in (7, 9)] == ["the decoder died twice"] * 2
    plant()
    (photos / "0009.png").write_bytes((photos / "0010.png").read_bytes())
    before = (job / "predictions.csv").read_bytes()
    label(f"input={photos}")
    assert (job / "predictions.csv").read_bytes() == before
    label(f"input={photos}", "retry_failed=true")
    again = cells(job)
    assert again[7]["error"] == "not a photo of a known format"
    assert again[9]["probability_1"] == again[10]["probability_1"]
    lines = [content.splitlines() for content in (before, predicted)]
    assert [k for k, pair in enumerate(zip(*lines, strict=True), -1) if pair[0] != pair[1]] == [
        7,
        9,
    ]


def test_a_death_outlasts_whoever_counts(label, plant, cells, photos, monkeypatch, tmp_path):
    class StoppedError(Exception):
        pass

    (photos / "0007.png").write_bytes(b"kill")
    plant("if content.startswith(b'kill'): time.sleep(0.5), os.abort()")
    give = crew.Worker.give
    monkeypatch.setattr(crew.Worker, "give", second_raises(give, StoppedError))
    with pytest.raises(StoppedError):
        label(f"input={photos}", "workers=1")
    kept = json.loads((tmp_path / "job" / "deaths" / "rows-000000000000.json").read_text())
    assert kept["7"] == ["the decoder died twice"]
    monkeypatch.setattr(crew.Worker, "give", give)
    assert cells(label(f"input={photos}", "workers=1"))[7]["error"] == "the decoder died twice"


def second_raises(function, error):
    """Return a function that raises an error the second time that it is called."""
    calls = []

    def call(*arguments):
        calls.append(arguments)
        if len(calls) > 1:
            raise error
        return function(*arguments)

    return call


def test_the_time_for_a_photo_is_bounded(label, plant, cells, photos):
    (photos / "0020.png").write_bytes(b"slow")
    plant("if content.startswith(b'slow'): time.sleep(600)")
    rows = cells(label(f"input={photos}", "photo_s=2"))
    assert rows[20]["error"] == "took longer than 2 seconds twice"
    assert [k for k, row in enumerate(rows) if row["error"]] == [7, 11, 20]


def test_a_worker_that_dies_of_something_else_ends_the_job_in_a_sentence(label, plant, photos):
    plant(at_start="worker.open_bundle = lambda *files, **options: os.abort()")
    with pytest.raises(SystemExit, match=r"has died 5 times on the photos 0 to 15.*fewer workers"):
        label(f"input={photos}", "workers=1")


def test_a_full_disk_is_a_sentence_and_the_job_goes_on_later(label, plant, cells, photos):
    plant(
        at_start="""
def full(number):
    raise OSError(28, "No space left on device")
durable.os.fsync = full
"""
    )
    with pytest.raises(SystemExit, match=r"can't be written \(No space left on device\).*make"):
        label(f"input={photos}")
    plant()
    assert len(cells(label(f"input={photos}"))) == 40


def test_an_output_that_can_t_be_a_folder_is_a_sentence(label, photos, tmp_path):
    (tmp_path / "file").write_text("mine")
    for output in (tmp_path / "file", tmp_path / "file" / "job"):
        with pytest.raises(SystemExit, match=r"file.* can't be written .*kept: mend this, and"):
            label(f"input={photos}", output=output)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_disk_that_fills_at_the_end_is_a_sentence_too(label, photos, monkeypatch, tmp_path):
    from fashion.jobs import ending

    def full(rows):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ending, "csv_bytes", full)
    with pytest.raises(SystemExit, match=r"can't be written \(No space left on device\)"):
        label(f"input={photos}")
    monkeypatch.undo()
    left = [path.name for path in (tmp_path / "job").iterdir()]
    assert not {"predictions.csv", "summary.json"} & {*left}
    assert not [name for name in left if name.endswith(".part")]
    label(f"input={photos}")


def test_damaged_results_are_told_and_made_again(label, photos):
    job = label(f"input={photos}")
    before = (job / "predictions.csv").read_bytes()
    (job / "predictions.csv").unlink()
    path = job / "results" / "rows-000000000016.parquet"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(SystemExit, match=r"is damaged .*Delete it and type the same again"):
        label(f"input={photos}")
    path.unlink()
    label(f"input={photos}")
    assert (job / "predictions.csv").read_bytes() == before


def test_results_of_other_rows_are_told(label, photos):
    job = label(f"input={photos}")
    (job / "predictions.csv").unlink()
    first, second, *_ = sorted((job / "results").iterdir())
    second.write_bytes(first.read_bytes())
    with pytest.raises(SystemExit, match="doesn't hold the results of its photos"):
        label(f"input={photos}")


def test_another_list_of_photos_is_told(label, photos):
    job = label(f"input={photos}")
    path = job / "manifest" / "part-00000.parquet"
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(SystemExit, match="isn't the list of photos that the job began with"):
        label(f"input={photos}")


def test_a_damaged_job_is_told(label, photos):
    job = label(f"input={photos}")
    (job / "job.json").write_text("{}")
    with pytest.raises(SystemExit, match=r"job.json is damaged .*Pass another output"):
        label(f"input={photos}")


def test_a_zip_that_is_cut_off_while_it_is_labelled_has_rows_that_say_so(
    label, cells, plant, photos, tmp_path
):
    path = tmp_path / "shop.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for k in range(40):
            archive.write(photos / "0000.png", f"{k:02}.png")
    plant(f"os.truncate({str(path)!r}, 1500)")  # by the first photo that is decoded
    rows = cells(label(f"input={path}", "workers=1"))
    errors = [row["error"] for row in rows]
    assert rows[0]["label_1"]
    assert errors[39].startswith("damaged zip entry: ")
    assert "damaged zip entry: " not in errors


def test_two_processes_don_t_work_on_one_job(label, photos):
    job = label(f"input={photos}")
    with alone(job / "job.json", "a job"), pytest.raises(SystemExit, match="another process works"):
        label(f"input={photos}")


def test_a_bundle_that_changes_under_a_job_is_told(label, plant, photos):
    plant(at_start="worker.BundleFiles.id = property(lambda self: 'x', lambda self, id: None)")
    with pytest.raises(SystemExit, match="has changed since the job began"):
        label(f"input={photos}")
    assert crew.COMMAND[0] == sys.executable
