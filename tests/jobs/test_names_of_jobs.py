import csv
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fashion.bundles.bundle_files import BundleFiles
from fashion.commands.main import run
from fashion.jobs.folder import JobFolder
from fashion.labelling.label_files import label_files


@pytest.fixture
def names_file(tmp_path):
    """Returns names_file(photos, *names): a CSV that names the first photos."""

    def write(photos, *names):
        path = tmp_path / "names.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow(["photo", "name"])
            rows.writerows(zip(photos, names, strict=False))
        return path

    return write


@pytest.fixture
def selftest(named_bundle):
    return sorted((named_bundle / "selftest" / "photos").iterdir())


def label(bundle, output, *words):
    run("label", [f"bundle={bundle}", f"output={output}", *map(str, words)])
    with (output / "predictions.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("precision", [None, 0.9])
@pytest.mark.parametrize("shard", [2, 1024])
def test_a_job_with_names_tells_what_predict_does(
    named_bundle, selftest, names_file, tmp_path, precision, shard
):
    names = names_file(selftest, "Nike", "Watch", "", "Casio \ud7ff Black")
    told = [] if precision is None else [f"precision={precision}"]
    output = tmp_path / "job"
    folder = f"input={selftest[0].parent}"
    rows = label(named_bundle, output, folder, f"names={names}", f"shard={shard}", *told)
    alone = tmp_path / "alone.csv"
    label_files(
        [selftest[0].parent], bundle=named_bundle, output=alone, names=names, precision=precision
    )
    assert (output / "predictions.csv").read_bytes() == alone.read_bytes()
    assert [row["name_used"] for row in rows][:2] == ["yes", "no"]
    assert JobFolder(output).read().reads_names
    assert json.loads((output / "summary.json").read_bytes())["named"] == 1


def test_a_table_has_names_of_its_own_and_a_file_s_come_first(
    named_bundle, selftest, names_file, tmp_path, caplog
):
    table = tmp_path / "photos.parquet"
    told = [str(photo) for photo in selftest]
    pq.write_table(pa.table({"photo": told, "name": ["Nike", "Nike", None, ""]}), table)
    rows = label(named_bundle, tmp_path / "job", f"input={table}")
    assert [row["name_used"] for row in rows][:3] == ["yes", "yes", "no"]
    assert rows[0]["label_1"] == "Grey"
    names = names_file(told, "Watch")
    rows = label(named_bundle, tmp_path / "both", f"input={table}", f"names={names}")
    assert [row["name_used"] for row in rows][:2] == ["no", "yes"]
    assert "names 1 of 4 photos" in caplog.text


def test_a_bundle_without_names_leaves_those_of_a_table_and_refuses_a_file(
    bundle, selftest, names_file, tmp_path, caplog
):
    table = tmp_path / "photos.parquet"
    pq.write_table(pa.table({"photo": [*map(str, selftest)], "name": ["Nike"] * 4}), table)
    rows = label(bundle, tmp_path / "job", f"input={table}")
    assert "name_used" not in rows[0]
    assert f"reads no names; those in {table} are left" in caplog.text
    names = names_file(selftest, "Nike")
    with pytest.raises(SystemExit, match=r"names=.*the model knows no names"):
        label(bundle, tmp_path / "other", f"input={table}", f"names={names}")


def test_names_of_other_photos_begin_no_job(named_bundle, selftest, names_file, tmp_path):
    output = tmp_path / "job"
    with pytest.raises(SystemExit, match="names none of the 4 photos"):
        label(
            named_bundle,
            output,
            f"input={selftest[0].parent}",
            f"names={names_file('abc', 'Nike')}",
        )
    assert not (output / "job.json").exists()
    assert [*(output / "manifest").iterdir()] == []


def test_other_names_are_another_job_s_and_grow_with_the_input(
    named_bundle, selftest, names_file, tmp_path
):
    output, folder = tmp_path / "job", tmp_path / "photos"
    folder.mkdir()
    for photo in selftest[:2]:
        (folder / photo.name).write_bytes(photo.read_bytes())
    told = [folder / photo.name for photo in selftest]
    words = [f"input={folder}", f"names={names_file(told, 'Nike')}"]
    label(named_bundle, output, *words)
    names_file(told, "Nike", "", "Nike")
    with pytest.raises(SystemExit, match="with other names"):
        label(named_bundle, output, *words)
    (folder / selftest[2].name).write_bytes(selftest[2].read_bytes())
    rows = label(named_bundle, output, *words, "update=true")
    assert [row["name_used"] for row in rows] == ["yes", "no", "yes"]
    told = json.loads((output / "job.json").read_bytes())
    assert told["settings"]["bundle"] == BundleFiles(named_bundle).id
    label(named_bundle, output, *words)  # finished
