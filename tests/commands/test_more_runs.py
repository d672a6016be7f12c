"""Runs with `data.more`, from the first word to the comparison."""

import csv
import json
import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import train
from fashion.commands.configuration import compose_words
from fashion.commands.main import run
from fashion.metrics.predictions import Predictions
from fashion.reports.comparison import compare, read_runs
from fashion.reports.evaluate import evaluate
from fashion.training.run_folder import RunFolder

CPU = {"accelerator": "cpu", "enable_progress_bar": False}


@pytest.fixture(scope="module")
def more(tmp_path_factory, tiny_root):
    """Twenty new photos, one of a label that isn't known, and a copy of each third photo."""
    folder = tmp_path_factory.mktemp("export") / "more"
    (folder / "images").mkdir(parents=True)
    rows = []
    for number in range(21):
        pixels = np.random.default_rng((number, 9)).integers(0, 256, (60, 45, 3), np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"n{number}.jpg", quality=90)
        rows.append((f"n{number}", ["Shirts", "Jeans", "Watches"][number % 3]))
    rows[-1] = ("n20", "Hats")
    for number in range(1000, 1120, 3):
        shutil.copy(tiny_root / "images" / f"{number}.jpg", folder / "images")
        rows.append((str(number), "Shirts"))
    with (folder / "corrections.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("id", "label"), *rows])
    return folder


@pytest.fixture(scope="module")
def words(tiny_root, tmp_path_factory, more):
    """The settings of `run_dir`, and these photos, from stored features."""
    return [
        f"data.root={tiny_root}",
        f"data.cache_dir={tmp_path_factory.mktemp('cache')}",
        "model_name=timm", "model=timm", "model.backbone=test_resnet", "model.pretrained=false",
        "model.input_size=48", "model.optimizer.lr=1e-3", "data.min_images=20",
        "data.batch_size=16", "data.num_workers=0", "data.views=1", f"data.more={more}",
        "trainer.accelerator=cpu", "trainer.max_epochs=2", "trainer.log_every_n_steps=1",
        "trainer.enable_progress_bar=false",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def more_run(words, tmp_path_factory):
    """A finished run with `data.more`."""
    folder = tmp_path_factory.mktemp("more_run")
    train.main(compose_words([*words, f"output_dir={folder}"]))
    return folder


def test_a_run_with_corrections_is_paired_with_one_without(run_dir, more_run):
    before, after = (
        Predictions.load(RunFolder(folder).predictions("test")).sorted_by_id()
        for folder in (run_dir, more_run)
    )
    assert before.image_ids.tolist() == after.image_ids.tolist()
    comparison = compare(read_runs([run_dir, more_run]))
    assert comparison.warning == ""
    names = {run_dir.name, more_run.name}
    assert names in [{*pair} for pair in comparison.pairs[["first", "second"]].to_numpy()]


def test_the_summary_counts_them(run_dir, more_run, tiny_root):
    splits = pd.read_csv(run_dir / "splits.csv", dtype=str)
    copies = splits[splits["id"].astype(int).isin(range(1000, 1120, 3))]
    held_out = int((copies["split"] != "train").sum())
    assert held_out > 0
    summary = json.loads((more_run / "report" / "summary.json").read_text())
    assert summary["data"]["more"] == {
        "added": 20 + len(copies) - held_out,
        "unknown label": 1,
        "twin of val or test": held_out,
    }
    assert summary["data"]["train"] == 96 + summary["data"]["more"]["added"]
    assert summary["data"]["views"] == 1


def test_a_run_is_evaluated_with_them_and_all_photos_without(more_run, more, tmp_path):
    ckpt_path = more_run / "checkpoints" / "best.ckpt"
    before = json.loads((more_run / "report" / "summary.json").read_text())
    assert evaluate(ckpt_path, output_dir=tmp_path, trainer=CPU)["test"] == before["test"]
    whole = evaluate(ckpt_path, split="all", output_dir=tmp_path, trainer=CPU)
    assert whole["data"]["all"] == 120
    nowhere = {"more": str(tmp_path / "gone")}
    assert evaluate(ckpt_path, split="all", data=nowhere, output_dir=tmp_path, trainer=CPU)
    with pytest.raises(FileNotFoundError, match=r"data\.more=.*gone' does not exist"):
        evaluate(ckpt_path, data=nowhere, output_dir=tmp_path, trainer=CPU)
    with pytest.raises(ValueError, match=r"of its .* photos are gone"):
        evaluate(ckpt_path, data={"more": None}, output_dir=tmp_path, trainer=CPU)


def test_a_run_goes_on_with_the_same_photos_wherever_they_lie(words, more_run, more, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(more_run, folder)
    shutil.rmtree(folder / "report")
    moved = shutil.copytree(more, tmp_path / "moved")
    again = [
        *(word for word in words if not word.startswith(("data.more", "trainer.max_epochs"))),
        *(f"output_dir={folder}", f"ckpt_path={folder / 'checkpoints' / 'last.ckpt'}"),
        "trainer.max_epochs=3",
    ]
    with pytest.raises(Exception, match="splits differ from those that ckpt_path was trained on"):
        train.main(compose_words(again))
    train.main(compose_words([*again, f"data.more={moved}"]))
    assert len(pd.read_csv(folder / "history.csv")) == 3


def test_doctor_and_explore_know_them(words, more, tiny_root, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "400")
    data = [word for word in words if word.startswith("data.") and "cache" not in word]
    cache = f"data.cache_dir={tmp_path / 'cache'}"
    run("explore", [*data, cache, f"output_dir={tmp_path / 'page'}"])
    audit = json.loads((tmp_path / "page" / "audit.json").read_text())
    assert audit["more"]["unknown label"] == 1
    assert audit["train"] == 96 + audit["more"]["added"]
    capsys.readouterr()
    with pytest.raises(SystemExit):
        run("doctor", [*data, cache, "model=timm", "model.backbone=test_resnet",
                       "model.pretrained=false", "model.input_size=48"])  # fmt: skip
    assert f"180 photos of 3 classes in {tiny_root} and {more}" in capsys.readouterr().out
