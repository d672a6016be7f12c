import csv
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import train
from fashion.commands.main import run
from fashion.metrics.predictions import Predictions
from fashion.models import checkpoints

REPO = Path(train.__file__).parent


@pytest.fixture
def label(run_dir, capsys):
    """Run the command on some paths and return its rows by photo and what it printed."""

    def label(*paths, output, ckpt_path=run_dir / "checkpoints" / "best.ckpt", more=()):
        arguments = [f"ckpt_path={ckpt_path}", *map(str, paths), f"output={output}", *more]
        run("predict", arguments)
        with open(output, newline="", encoding="utf-8", errors="surrogateescape") as file:
            rows = {row["photo"]: row for row in csv.DictReader(file)}
        return rows, capsys.readouterr().out

    return label


def test_labels_are_those_of_the_report(run_dir, tiny_root, label, tmp_path):
    rows, printed = label(tiny_root / "images", output=tmp_path / "labels.csv")
    assert "0 unreadable" in printed
    predictions = Predictions.load(run_dir / "predictions.npz")
    assert len(predictions.targets) > 5
    assert predictions.temperature != 1
    for id_, probabilities in zip(predictions.image_ids, predictions.calibrated(), strict=True):
        row = rows[str(tiny_root / "images" / f"{id_}.jpg")]
        order = np.argsort(-probabilities, kind="stable")
        labels = [row[f"label_{place}"] for place in (1, 2, 3)]
        assert labels == [predictions.class_names[k] for k in order]
        shown = [float(row[f"probability_{place}"]) for place in (1, 2, 3)]
        assert shown == pytest.approx(probabilities[order].tolist(), abs=1e-5)


def changed_checkpoint(run_dir, path, change):
    checkpoint = checkpoints.read(run_dir / "checkpoints" / "best.ckpt")
    change(checkpoint)
    torch.save(checkpoint, path)
    return path


def probabilities_of(row):
    places = [place for place in (1, 2, 3) if row[f"label_{place}"]]
    return {row[f"label_{place}"]: float(row[f"probability_{place}"]) for place in places}


def test_several_checkpoints_give_the_mean_of_their_probabilities(
    run_dir, tiny_root, label, tmp_path
):
    def make_another(checkpoint):
        """Swap two classes, in names and weights, and shift the head."""
        names = checkpoint["hyper_parameters"]["class_names"]
        names[0], names[1] = names[1], names[0]
        for key in ("backbone.fc.weight", "backbone.fc.bias"):
            checkpoint["state_dict"][key][[0, 1]] = checkpoint["state_dict"][key][[1, 0]]
        checkpoint["state_dict"]["backbone.fc.bias"][2] += 2
        checkpoint["calibration"]["temperature"] = 2.0

    other = changed_checkpoint(run_dir, tmp_path / "a=b, c.ckpt", make_another)
    photos = sorted((tiny_root / "images").iterdir())[:5]
    one, _ = label(*photos, output=tmp_path / "1.csv")
    two, _ = label(*photos, output=tmp_path / "2.csv", ckpt_path=other)
    both, _ = label(*photos, output=tmp_path / "3.csv", more=[f"ckpt_path={other}"])
    assert len(both) == 5
    for name, row in both.items():
        parts = [probabilities_of(rows[name]) for rows in (one, two)]
        assert parts[0] != pytest.approx(parts[1], abs=1e-3)
        mean = {key: (parts[0][key] + parts[1][key]) / 2 for key in parts[0]}
        assert probabilities_of(row) == pytest.approx(mean, abs=2e-6)


def test_checkpoints_of_other_classes_are_refused(run_dir, tiny_root, label, tmp_path):
    def rename(checkpoint):
        checkpoint["hyper_parameters"]["class_names"][0] = "Hats"

    other = changed_checkpoint(run_dir, tmp_path / "other.ckpt", rename)
    with pytest.raises(SystemExit, match=r"other\.ckpt' tells other classes apart than"):
        label(tiny_root / "images", output=tmp_path / "x.csv", more=[f"ckpt_path={other}"])


def test_labels_that_are_not_sure_enough_are_said_to_be(run_dir, tiny_root, label, tmp_path):
    def make_unsure(checkpoint):
        """Have the calibration know a half of right answers at most, but for the surest."""
        confidences = torch.linspace(0.3, 0.9, 7)
        hits = confidences > 0.75
        checkpoint["calibration"] |= {"confidences": confidences, "hits": hits}

    ckpt_path = changed_checkpoint(run_dir, tmp_path / "unsure.ckpt", make_unsure)
    output = tmp_path / "labels.csv"
    photos = tiny_root / "images"
    rows, printed = label(photos, output=output, ckpt_path=ckpt_path, more=["precision=0.95"])
    assert len(rows) == len(list(photos.iterdir()))
    for row in rows.values():
        assert row["sure"] == ("yes" if float(row["probability_1"]) >= 0.8 else "no")
    refused = sum(row["sure"] == "no" for row in rows.values())
    assert f"{len(rows)} photos labelled, {refused} of them not sure, 0 unreadable" in printed


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["precision=2"], r"precision=2\.0 must be above 0 and at most 1"),
        (["precision=high"], r"precision='high' must be above 0 and at most 1"),
        (["precision=0.9", "twice"], r"precision=0\.9 needs the threshold of one model"),
    ],
)
def test_a_precision_that_cannot_be_had_is_named(
    more, message, run_dir, tiny_root, label, tmp_path
):
    best = run_dir / "checkpoints" / "best.ckpt"
    more = [f"ckpt_path={best}" if word == "twice" else word for word in more]
    with pytest.raises(SystemExit, match=message):
        label(tiny_root / "images", output=tmp_path / "x.csv", more=more)


def test_a_checkpoint_without_a_calibration_labels_but_cannot_refuse(
    run_dir, tiny_root, label, tmp_path
):
    ckpt_path = changed_checkpoint(
        run_dir, tmp_path / "old.ckpt", lambda checkpoint: checkpoint.pop("calibration")
    )
    rows, _ = label(tiny_root / "images", output=tmp_path / "x.csv", ckpt_path=ckpt_path)
    predictions = Predictions.load(run_dir / "predictions.npz")
    row = rows[str(tiny_root / "images" / f"{predictions.image_ids[0]}.jpg")]
    highest = predictions.probabilities[0].max()
    assert float(row["probability_1"]) == pytest.approx(highest, abs=1e-5)
    with pytest.raises(SystemExit, match=r"from before there were calibrations"):
        label(
            tiny_root / "images",
            output=tmp_path / "x.csv",
            ckpt_path=ckpt_path,
            more=["precision=0.9"],
        )


def test_a_calibration_that_is_damaged_is_refused(run_dir, tiny_root, label, tmp_path):
    def damage(checkpoint):
        checkpoint["calibration"]["temperature"] = -1.0

    ckpt_path = changed_checkpoint(run_dir, tmp_path / "bad.ckpt", damage)
    with pytest.raises(SystemExit, match="temperature=-1"):
        label(tiny_root / "images", output=tmp_path / "x.csv", ckpt_path=ckpt_path)


NAMES = [
    "two words.jpg",
    "naïve ☂.png",
    'quo"te, comma.jpg',
    "line\nbreak.jpg",
    "output=x.jpg",
    "=1+1.png",
]


def test_names_may_hold_any_characters(tiny_root, label, tmp_path):
    folder = tmp_path / "photos" / "deep=er"
    folder.mkdir(parents=True)
    photo = Image.open(next((tiny_root / "images").iterdir())).convert("RGB")
    undecodable = os.fsdecode(b"latin\xe9.jpg")
    for name in [*NAMES, undecodable]:
        photo.save(folder / name)
    rows, _ = label(tmp_path / "photos", output=tmp_path / "labels.csv")
    assert {Path(name).name for name in rows} == {*NAMES, undecodable}
    assert len({row["probability_1"] for row in rows.values()}) <= 3  # jpg and png differ a little


def test_zips_and_single_files_are_labelled_too(tiny_root, label, tmp_path):
    photo = next((tiny_root / "images").iterdir())
    archive = tmp_path / "more.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.write(photo, "a/b.jpg")
        file.writestr("readme.txt", "no photo")
        file.writestr("__MACOSX/b.jpg", "no photo")
    rows, _ = label(archive, photo, output=tmp_path / "labels.csv")
    assert list(rows) == [f"{archive}/a/b.jpg", str(photo)]
    one, other = rows.values()
    assert one["probability_1"] == other["probability_1"]


def test_a_file_that_is_no_photo_is_a_row_that_says_so(tiny_root, label, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "empty.jpg").touch()
    (folder / "text.png").write_text("hello")
    whole = next((tiny_root / "images").iterdir()).read_bytes()
    (folder / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "whole.jpg").write_bytes(whole)
    rows, printed = label(folder, output=tmp_path / "labels.csv")
    errors = {Path(name).name: row["error"] for name, row in rows.items()}
    assert errors["whole.jpg"] == ""
    assert errors["empty.jpg"] == "empty file"
    assert errors["text.png"] == "not a photo of a known format"
    assert "truncated" in errors["cut.jpg"]
    assert "1 photo labelled, 3 unreadable" in printed


def test_a_damaged_file_in_a_zip_is_a_row_that_says_so(tiny_root, label, tmp_path):
    photo, archive = next((tiny_root / "images").iterdir()), tmp_path / "damaged.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.write(photo, "a.jpg")
        file.write(photo, "b.jpg")
    content = bytearray(archive.read_bytes())
    content[200] ^= 255
    archive.write_bytes(content)
    rows, _ = label(archive, output=tmp_path / "labels.csv")
    assert "damaged zip entry" in rows[f"{archive}/a.jpg"]["error"]
    assert rows[f"{archive}/b.jpg"]["error"] == ""


@pytest.mark.parametrize("batch_size", ["0", "-1", "many"])
def test_a_wrong_batch_size_is_named(batch_size, run_dir, tiny_root):
    ckpt_path = run_dir / "checkpoints" / "best.ckpt"
    arguments = [f"ckpt_path={ckpt_path}", str(tiny_root), f"batch_size={batch_size}"]
    with pytest.raises(SystemExit, match=f"batch_size='{batch_size}' must be"):
        run("predict", arguments)


def test_a_damaged_checkpoint_is_refused_whatever_is_damaged(run_dir, tmp_path):
    whole = (run_dir / "checkpoints" / "best.ckpt").read_bytes()
    ckpt_path = tmp_path / "best.ckpt"
    rng = np.random.default_rng(0)
    damaged = [whole[:size] for size in rng.integers(0, len(whole), 20)]
    damaged += [bytes([0x80, 2]) + rng.bytes(100) for _ in range(20)]
    for content in damaged:
        ckpt_path.write_bytes(content)
        with pytest.raises(ValueError, match=r"best\.ckpt' is not a complete checkpoint") as caught:
            checkpoints.read(ckpt_path)
        assert "\n" not in str(caught.value)


class Planted:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_checkpoint_with_code_in_it_is_refused_and_not_run(label, tiny_root, tmp_path):
    planted, ckpt_path = tmp_path / "planted", tmp_path / "best.ckpt"
    torch.save({"run": {}, "preprocessing": {}, "state_dict": Planted(planted)}, ckpt_path)
    with pytest.raises(SystemExit, match=r"best\.ckpt' is not a complete checkpoint"):
        label(tiny_root / "images", output=tmp_path / "x.csv", ckpt_path=ckpt_path)
    assert not planted.exists()
    assert not (tmp_path / "x.csv").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train.py"], r"Pass bundle=DIR or ckpt_path=FILE, one of them\."),
        (["ckpt_path=x.ckpt"], r"There is nothing to work on; pass photo files, folders or zips\."),
        (["photo.jpg"], r"'photo\.jpg' does not exist; pass photo files, folders or zips\."),
    ],
)
def test_incomplete_arguments_are_named(arguments, message, monkeypatch):
    monkeypatch.chdir(REPO)
    with pytest.raises(SystemExit, match=message):
        run("predict", arguments)


@pytest.mark.parametrize("output", ["", "{folder}"])
def test_an_output_that_is_no_file_is_refused_before_anything_is_labelled(
    output, run_dir, tiny_root, tmp_path
):
    ckpt_path = run_dir / "checkpoints" / "best.ckpt"
    words = [f"ckpt_path={ckpt_path}", str(tiny_root), f"output={output.format(folder=tmp_path)}"]
    with pytest.raises(SystemExit, match=r"^output=.* is a folder; pass the name of a CSV file\.$"):
        run("predict", words)


def test_a_command_that_labels_nothing_says_so_to_scripts(run_dir, tmp_path, capsys):
    (tmp_path / "empty.jpg").touch()
    words = [f"ckpt_path={run_dir / 'checkpoints' / 'best.ckpt'}", str(tmp_path / "empty.jpg")]
    with pytest.raises(SystemExit) as caught:
        run("predict", [*words, f"output={tmp_path / 'labels.csv'}"])
    assert caught.value.code == 1
    assert "0 photos labelled, 1 unreadable" in capsys.readouterr().out
