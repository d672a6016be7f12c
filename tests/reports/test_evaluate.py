import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch

import train
from fashion.commands.main import run
from fashion.metrics.predictions import Predictions
from fashion.models import checkpoints
from fashion.reports import run_report
from fashion.reports.evaluate import evaluate

REPO = Path(train.__file__).parent


@pytest.fixture
def ckpt_path(run_dir):
    return run_dir / "checkpoints" / "best.ckpt"


CPU = {"accelerator": "cpu", "enable_progress_bar": False}


def test_the_report_is_rewritten_with_the_same_figures(run_dir, ckpt_path, tmp_path):
    folder = tmp_path / "moved"
    shutil.copytree(run_dir, folder)
    before = json.loads((folder / "report" / "summary.json").read_text())
    shutil.rmtree(folder / "report")
    summary = evaluate(folder / "checkpoints" / "best.ckpt", trainer=CPU)
    assert summary == json.loads((folder / "report" / "summary.json").read_text())
    for key in ("test", "data", "seconds", "best_epoch", "trainable_parameters", "seed", "model"):
        assert summary[key] == before[key], key
    tables = [pd.read_csv(path / "report" / "per_class.csv") for path in (run_dir, folder)]
    pd.testing.assert_frame_equal(*tables)


def test_another_split_goes_into_folders_of_its_own(ckpt_path, tmp_path):
    summary = evaluate(ckpt_path, split="val", output_dir=tmp_path, trainer=CPU)
    assert summary["val"]["support"] == summary["data"]["val"]
    assert (tmp_path / "report-val" / "index.html").exists()
    assert len(Predictions.load(tmp_path / "predictions-val.npz").targets) == 12


def test_validation_figures_are_those_of_the_best_epoch(run_dir, ckpt_path, tmp_path):
    summary = evaluate(ckpt_path, split="val", output_dir=tmp_path, trainer=CPU)
    best = pd.read_csv(run_dir / "history.csv").iloc[summary["best_epoch"]]
    for key in ("accuracy", "macro_f1", "macro_auprc"):
        assert summary["val"][key] == pytest.approx(best[f"val/{key}"], abs=1e-6)


def test_other_splits_than_those_trained_on_are_refused(ckpt_path, tmp_path):
    with pytest.raises(ValueError, match=r"splits differ from those that ckpt_path was trained on"):
        evaluate(ckpt_path, data={"split_seed": 3}, output_dir=tmp_path)


def test_all_rows_of_another_catalogue_can_be_evaluated(ckpt_path, write_catalogue, tmp_path):
    labels = ["Jeans", "Watches", "Hats"] * 10
    rows = [{"id": str(i), "articleType": label} for i, label in enumerate(labels)]
    root = write_catalogue(tmp_path / "other", rows)
    data = {"root": str(root), "min_images": 3, "batch_size": 4}
    summary = evaluate(ckpt_path, split="all", data=data, output_dir=tmp_path, trainer=CPU)
    assert summary["all"]["support"] == 20
    assert summary["all"]["absent_classes"] == ["Shirts"]
    assert summary["data"]["dropped"] == {"unknown label": 10}


def test_a_catalogue_without_a_known_class_is_refused(ckpt_path, write_catalogue, tmp_path):
    rows = [{"id": str(i), "articleType": "Hats" if i % 2 else "Caps"} for i in range(20)]
    root = write_catalogue(tmp_path / "other", rows)
    data = {"root": str(root), "min_images": 3, "batch_size": 4}
    with pytest.raises(ValueError, match=r"data\.root='.*other' has no photo .* 'Jeans'"):
        evaluate(ckpt_path, split="all", data=data, output_dir=tmp_path, trainer=CPU)


def test_the_command_takes_paths_with_commas_and_equals_signs(ckpt_path, tmp_path):
    folder = tmp_path / "timm,model.backbone=a, b"
    folder.mkdir()
    shutil.copy(ckpt_path, folder / "best.ckpt")
    arguments = [f"ckpt_path={folder / 'best.ckpt'}", "split=val", "trainer.accelerator=cpu"]
    run("evaluate", arguments)
    assert (folder / "report-val" / "summary.json").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ckpt_path=nowhere.ckpt"], r"ckpt_path='nowhere\.ckpt' does not exist"),
        (["split=test"], r"ckpt_path is missing"),
        (["ckpt_path=x", "splitt=val"], r"splitt is unknown"),
        (["ckpt_path=CKPT", "split=dev"], r"split='dev' is unknown; pass train, val, test or all"),
        (
            ["ckpt_path=CKPT", "data.rooot=x"],
            r"data\.rooot is unknown \(did you mean data\.root\?\); there are root",
        ),
        (["ckpt_path=CKPT", "data.root=nowhere"], r"data\.root='nowhere' does not exist"),
        (["ckpt_path=CKPT", "data=sample"], r"data='sample' is no setting; pass data\.KEY=VALUE"),
        (
            ["ckpt_path=CKPT", "trainer.devces=2"],
            r"trainer\.devces is unknown; there are: .*devices",
        ),
        (["ckpt_path=CKPT", "trainer.accelerator=quantum"], r"trainer\.accelerator='quantum'"),
        (
            ["ckpt_path=CKPT", "trainer.devices=2", "trainer.accelerator=cpu", "data.batch_size=5"],
            r"data\.batch_size=5 .*Pass data\.batch_size=4 or 6\.",
        ),
        (["ckpt_path=CKPT", "trainer.accelerator=tpu"], r"^trainer\.accelerator=tpu: "),
    ],
)
def test_wrong_arguments_end_in_one_sentence(arguments, message, ckpt_path):
    arguments = [argument.replace("CKPT", str(ckpt_path)) for argument in arguments]
    with pytest.raises(SystemExit, match=message) as caught:
        run("evaluate", arguments)
    assert "\n" not in str(caught.value)


@pytest.fixture
def uncalibrated(run_dir, tmp_path):
    """A copy of the run from before there were calibrations."""
    folder = tmp_path / "uncalibrated"
    shutil.copytree(run_dir, folder)
    path = folder / "checkpoints" / "best.ckpt"
    checkpoint = checkpoints.read(path)
    checkpoint.pop("calibration")
    path.unlink()
    torch.save(checkpoint, path)
    return folder


def test_a_checkpoint_that_cannot_be_written_is_no_reason_to_fail(
    uncalibrated, monkeypatch, caplog
):
    def refuse(path, state):
        raise PermissionError(f"no right to write {path}")

    monkeypatch.setattr(run_report, "store_calibration", refuse)
    best = uncalibrated / "checkpoints" / "best.ckpt"
    summary = evaluate(best, trainer=CPU, robustness_photos=0)
    assert summary["test"]["support"] > 0
    assert "lacks the calibration in the checkpoint: no right to write" in caplog.text
    assert "calibration" not in checkpoints.read(best)
