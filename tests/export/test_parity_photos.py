import shutil
import zipfile

import pandas as pd
import pytest

from fashion.export.odd_photos import drawn_photos, odd_photos
from fashion.export.parity_photos import choose_photos
from fashion.models import checkpoints


@pytest.fixture
def checkpoint(run_dir):
    return checkpoints.read(run_dir / "checkpoints" / "best.ckpt")


def read(photos):
    return {photo.name: photo.read() for photo in photos}


def test_they_are_of_the_validation_split(run_dir, checkpoint, tiny_root):
    photos = choose_photos(run_dir / "checkpoints" / "best.ckpt", checkpoint)
    splits = pd.read_csv(run_dir / "splits.csv", dtype=str).set_index("id")["split"]
    assert [photo.name for photo in photos.chosen] == list(splits.index[splits == "val"])
    assert photos.source == "of the validation split"
    for name, content in read(photos.chosen).items():
        assert content == (tiny_root / "images" / f"{name}.jpg").read_bytes()
    assert read(photos.odd) == odd_photos()


@pytest.mark.parametrize("damage", ["gone", "changed"])
def test_they_are_of_all_splits_where_these_are_not_known(damage, run_dir, checkpoint, tmp_path):
    path = tmp_path / "run" / "checkpoints" / "best.ckpt"
    path.parent.mkdir(parents=True)
    if damage == "changed":
        text = (run_dir / "splits.csv").read_text()
        (tmp_path / "run" / "splits.csv").write_text(text.replace("train", "val"))
    photos = choose_photos(path, checkpoint)
    assert photos.source == "of the catalogue"
    assert len(photos.chosen) == 120  # malformed rows and rare classes are no part of it


def test_they_are_drawn_where_the_catalogue_is_gone(run_dir, checkpoint, caplog):
    checkpoint["run"]["config"]["data"]["root"] = "/nowhere"
    photos = choose_photos(run_dir / "checkpoints" / "best.ckpt", checkpoint)
    assert [*read(photos.chosen).values()] == drawn_photos(200)
    assert photos.source == "that the project draws, for the catalogue isn't there"
    assert "'/nowhere' does not exist" in caplog.text


def test_they_are_drawn_where_the_checkpoint_knows_no_catalogue(checkpoint, tmp_path):
    photos = choose_photos(tmp_path / "best.ckpt", {**checkpoint, "run": {}})
    assert "drawn" in photos.source or "draws" in photos.source


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_they_are_some_of_those_that_are_given_the_same_each_time(kind, checkpoint, tmp_path):
    folder = tmp_path / "given"
    folder.mkdir()
    for number, content in enumerate(drawn_photos(210)):
        (folder / f"{number:03}.jpg").write_bytes(content)
    given = folder
    if kind == "zip":
        given = shutil.make_archive(str(tmp_path / "given"), "zip", folder)
    first, second = (choose_photos("best.ckpt", checkpoint, given) for _ in range(2))
    names = [photo.name for photo in first.chosen]
    assert names == [photo.name for photo in second.chosen] == sorted({*names})
    assert len(names) == 200
    assert first.source == "that were given"


def test_given_ones_that_are_not_there_are_told(checkpoint, tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        choose_photos("best.ckpt", checkpoint, tmp_path / "nowhere")
    with zipfile.ZipFile(tmp_path / "empty.zip", "w"):
        pass
    with pytest.raises(FileNotFoundError, match="no photo"):
        choose_photos("best.ckpt", checkpoint, tmp_path / "empty.zip")
