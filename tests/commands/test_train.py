import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hydra.errors import CompactHydraException
from sklearn.metrics import accuracy_score, average_precision_score, f1_score
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import train
from fashion.commands.configuration import compose_words
from fashion.metrics.predictions import Predictions
from fashion.models import checkpoints
from fashion.models.backbone import pretrained_cfg
from fashion.reports.evaluate import evaluate
from fashion.training.classifier import ProductClassifier

REPO = Path(train.__file__).parent
TINY = (
    "model=timm",
    "model.backbone=test_resnet",
    "model.pretrained=false",
    "model.input_size=64",
    "model.unfreeze=all",
    "model.optimizer.lr=1e-3",
    "data.min_images=20",
    "data.batch_size=16",
    "data.num_workers=0",
    "trainer.accelerator=cpu",
    "trainer.max_epochs=3",
    "trainer.log_every_n_steps=1",
    "trainer.enable_progress_bar=false",
)


@pytest.fixture(scope="module")
def data(tiny_root, tmp_path_factory):
    return f"data.root={tiny_root}", f"data.cache_dir={tmp_path_factory.mktemp('cache')}"


def run(folder, *overrides):
    """Train in this process, in `folder`, and return the test macro-AUPRC."""
    names = (f"output_dir={folder}", "model_name=timm")
    return train.main(compose_words([*names, *TINY, *overrides]))


def command(*overrides, module=("train.py",), cwd=REPO, **environment):
    """Run a command in a process of its own."""
    return subprocess.run(
        [sys.executable, *module, *overrides],
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        timeout=900,
    )


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    score = run(folder, *data)
    summary = json.loads((folder / "report" / "summary.json").read_text())
    assert summary["test"]["macro_auprc"] == score
    return folder, summary


def test_a_run_leaves_everything_it_promises(finished):
    folder, _ = finished
    for name in (
        "checkpoints/best.ckpt",
        "checkpoints/last.ckpt",
        "history.csv",
        "csv/metrics.csv",
        "splits.csv",
        "audit.csv",
        "predictions.npz",
        "report/index.html",
        "report/summary.json",
        "report/per_class.csv",
        "report/confused_pairs.csv",
        "report/figures/history.png",
    ):
        assert (folder / name).stat().st_size > 0, name
    assert sorted(path.name for path in (folder / "checkpoints").iterdir()) == [
        "best.ckpt",
        "last.ckpt",
    ]
    assert not list(folder.rglob("*.part"))


def test_separable_colours_are_learned(finished):
    assert finished[1]["test"]["accuracy"] >= 0.75  # chance is a third


def test_history_and_logs_hold_one_row_an_epoch(finished):
    folder, summary = finished
    history = pd.read_csv(folder / "history.csv")
    figures = ["accuracy", "loss", "macro_auprc", "macro_f1"]
    assert history["epoch"].tolist() == [0, 1, 2]
    assert {"lr", "seconds", "train/loss", "train/accuracy"} <= set(history)
    assert {f"val/{name}" for name in figures} <= set(history)
    # 1e-3 along a cosine, before each third of the steps.
    assert history["lr"].tolist() == pytest.approx([1e-3, 0.75e-3, 0.25e-3], abs=1e-12)
    assert summary["best_epoch"] == history["val/macro_auprc"].argmax()
    assert summary["seconds"]["total"] == pytest.approx(history["seconds"].sum(), abs=0.06)
    log = pd.read_csv(folder / "csv" / "metrics.csv")
    events = EventAccumulator(str(folder / "tensorboard")).Reload()
    for name in figures:
        expected = history[f"val/{name}"].tolist()
        assert log[f"val/{name}"].dropna().tolist() == pytest.approx(expected, rel=1e-5)
        scalars = [event.value for event in events.Scalars(f"val/{name}")]
        assert scalars == pytest.approx(expected, rel=1e-5)


def test_every_row_of_the_catalogue_is_in_splits_or_audit(finished, tiny_root):
    folder, summary = finished
    data = summary["data"]
    splits, audit = pd.read_csv(folder / "splits.csv"), pd.read_csv(folder / "audit.csv")
    rows = len((tiny_root / "styles.csv").read_text().splitlines()) - 1
    assert len(splits) + len(audit) == data["rows_in_file"] == rows
    assert len(splits) == data["rows_kept"] == data["train"] + data["val"] + data["test"] == 120
    assert audit["reason"].value_counts().to_dict() == data["dropped"]
    digest = hashlib.sha256((folder / "splits.csv").read_bytes()).hexdigest()
    assert digest == data["splits_sha256"]


def test_the_summary_has_every_promised_key(finished):
    _, summary = finished
    assert (summary["model"], summary["seed"]) == ("timm", 0)
    promised = {
        "data": "rows_read rows_kept classes train val test split_seed splits_sha256",
        "trainable_parameters": "backbone head",
        "test": "accuracy macro_f1 macro_auprc",
        "seconds": "total per_epoch",
        "versions": "python torch lightning timm torchmetrics fashion",
    }
    for block, keys in promised.items():
        assert set(keys.split()) <= summary[block].keys()
        assert None not in summary[block].values()
    assert isinstance(summary["best_epoch"], int)
    assert summary["data"]["classes"] == 3
    assert summary["trainable_parameters"]["head"] == 96 * 3 + 3


def test_the_predictions_give_the_summary_s_figures_in_scikit_learn(finished):
    folder, summary = finished
    predictions = Predictions.load(folder / "predictions.npz")
    splits = pd.read_csv(folder / "splits.csv", dtype=str)
    assert predictions.image_ids.tolist() == splits["id"][splits["split"] == "test"].tolist()
    labels = np.array(predictions.class_names)[predictions.targets]
    assert labels.tolist() == splits["label"][splits["split"] == "test"].tolist()
    predicted = predictions.probabilities.argmax(axis=1)
    one_hot = np.eye(3)[predictions.targets]
    expected = {
        "accuracy": accuracy_score(predictions.targets, predicted),
        "macro_f1": f1_score(predictions.targets, predicted, average="macro"),
        "macro_auprc": average_precision_score(one_hot, predictions.probabilities),
    }
    for name, value in expected.items():
        assert summary["test"][name] == pytest.approx(value, abs=1e-6)


def test_the_best_checkpoint_stands_on_its_own(finished):
    folder, summary = finished
    checkpoint = torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)
    assert checkpoint["hyper_parameters"]["class_names"] == ["Jeans", "Shirts", "Watches"]
    interpolation = pretrained_cfg("test_resnet").interpolation
    assert checkpoint["preprocessing"] == {
        "input_size": 64,
        "interpolation": interpolation,
        "fit": "squash",
    }
    assert checkpoint["run"]["config"] == summary["config"]
    assert checkpoint["epoch"] == summary["best_epoch"]


def test_the_report_is_on_the_best_checkpoint(finished, tmp_path):
    folder, summary = finished
    again = evaluate(folder / "checkpoints" / "best.ckpt", output_dir=tmp_path)
    assert again["test"] == summary["test"]


def test_the_debug_trainer_runs_one_batch_of_everything(data, tmp_path):
    run(tmp_path, *data, "trainer=debug")
    summary = json.loads((tmp_path / "report" / "summary.json").read_text())
    assert summary["epochs"] == 1
    assert not (tmp_path / "checkpoints").exists()


def last_weights(folder):
    return checkpoints.read(folder / "checkpoints" / "last.ckpt")["state_dict"]


def test_the_number_of_workers_changes_no_weight(finished, data, tmp_path):
    run(tmp_path, *data, "data.num_workers=2")
    expected, weights = last_weights(finished[0]), last_weights(tmp_path)
    assert all(torch.equal(weights[key], expected[key]) for key in expected)


def test_another_seed_changes_the_weights_and_not_the_splits(finished, data, tmp_path):
    run(tmp_path, *data, "seed=1", "trainer.max_epochs=1")
    expected, weights = last_weights(finished[0]), last_weights(tmp_path)
    assert not torch.equal(weights["backbone.fc.weight"], expected["backbone.fc.weight"])
    splits = [(folder / "splits.csv").read_bytes() for folder in (finished[0], tmp_path)]
    assert splits[0] == splits[1]


def test_accumulated_gradients_keep_the_batch_of_a_step(finished, data, tmp_path):
    # Nothing but the head trains, so that no BatchNorm sees the smaller parts.
    alone = ("model.unfreeze=[]", "model.dropout=0", "data.rotation=0")
    run(tmp_path / "whole", *data, *alone)
    run(tmp_path / "parts", *data, *alone, "trainer.accumulate_grad_batches=4")
    whole, parts = (
        checkpoints.read(tmp_path / name / "checkpoints" / "last.ckpt")
        for name in ("whole", "parts")
    )
    assert whole["global_step"] == parts["global_step"] == 3 * (96 // 16)
    for key, value in whole["state_dict"].items():
        torch.testing.assert_close(parts["state_dict"][key], value, atol=1e-5, rtol=1e-4)


USER_ERRORS = {
    "data.root=nowhere": r"data\.root='nowhere' does not exist\. Correct the path\.$",
    "data.label_column=colour": r"data\.label_column='colour':.*its columns are id, gender",
    "data.min_images=41": r"data\.min_images=41 leaves 0 of 4 classes",
    "data.malformed_rows=drop": r"data\.malformed_rows='drop' is unknown; pass skip or repair",
    "data.batch_size=97": r"data\.batch_size=97 is larger than the training split of 96 photos",
    "data.batch_size=many": r"data\.batch_size='many' must be a whole number, 1 or more",
    "data.fit=crop": r"data\.fit='crop' is unknown; pass squash or pad",
    "model.unfreeze=[layer9]": r"model\.unfreeze: 'layer9' matches none of the \d+ parameters",
    "model.unfreeze=some": r"model\.unfreeze='some' is neither all nor a list",
    "model.weights=no.safetensors": r"model\.weights='no\.safetensors' does not exist",
    "model.backbone=resnt50": r"model\.backbone='resnt50' is not a timm model.*resnet50",
    "model.backbone=???": r"model\.backbone is not set",
    "model.dropout=2": r"model\.dropout=2 must be",
    "model.dropout=some": r"model\.dropout='some' must be",
    "trainer.accelerator=quantum": r"trainer\.accelerator='quantum'",
    "trainer.accumulate_grad_batches=3": r"data\.batch_size=16.*Pass data\.batch_size=15 or 18",
    "ckpt_path=last": r"ckpt_path='last': there is no checkpoint",
    "ckpt_path=nowhere.ckpt": r"ckpt_path='nowhere\.ckpt': there is no checkpoint",
}


@pytest.mark.parametrize("override", USER_ERRORS)
def test_a_wrong_setting_is_one_sentence_before_any_weights(override, data, tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("weights were asked for")

    monkeypatch.setattr("fashion.models.backbone._reach_hub", refuse)
    monkeypatch.setattr("fashion.models.backbone.load_weights", refuse)
    with pytest.raises(CompactHydraException, match=USER_ERRORS[override]) as caught:
        run(tmp_path, *data, "model.pretrained=true", override)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "checkpoints").exists()


def test_an_unreachable_hub_is_named_with_both_ways_out(data, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("fashion.models.backbone.try_to_load_from_cache", lambda *_: None)
    ways_out = r"model\.weights=FILE\.safetensors.*model\.pretrained=false"
    with pytest.raises(CompactHydraException, match=ways_out):
        run(tmp_path, *data, "model.pretrained=true")


def test_a_folder_with_a_run_is_not_written_over(finished, data):
    with pytest.raises(CompactHydraException, match=r"already holds a run\. Pass ckpt_path=last"):
        run(finished[0], *data)


def test_a_run_is_resumed_on_its_own_splits_alone(finished, data):
    for override in ("data.split_seed=1", "data.malformed_rows=repair"):
        with pytest.raises(CompactHydraException, match=r"data\.") as caught:
            run(finished[0], *data, "ckpt_path=last", override)
        assert "\n" not in str(caught.value)


def test_a_wrong_setting_ends_the_command_with_a_sentence_and_no_traceback(data, tmp_path):
    result = command(*TINY, *data, f"hydra.run.dir={tmp_path}", "data.label_column=colour")
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert len(re.findall(r"^data\.label_column='colour'.*\.$", result.stderr, re.MULTILINE)) == 1


def test_a_batch_that_two_devices_cannot_share_is_refused_with_the_nearest(data, tmp_path):
    with pytest.raises(CompactHydraException, match=r"data\.batch_size=15.*=14 or 16\."):
        run(tmp_path, *data, "data.batch_size=15", "trainer.devices=2", "trainer.strategy=ddp")


@pytest.mark.slow
def test_a_sweep_leaves_a_folder_a_model_and_one_table(data, tmp_path):
    result = command(
        "--multirun",
        *(item for item in TINY if not item.startswith(("model=", "model.backbone="))),
        *data,
        "model=resnet50,densenet201",
        "model.unfreeze=[]",
        "model.input_size=32",
        "trainer.max_epochs=1",
        f"hydra.sweep.dir={tmp_path}",
    )
    assert result.returncode == 0, result.stderr
    folders = {path.name for path in tmp_path.iterdir() if path.is_dir()}
    assert folders == {"resnet50", "densenet201", "figures"}
    table = pd.read_csv(tmp_path / "comparison.csv")
    assert set(table["run"]) == {"resnet50", "densenet201", "ensemble of 2"}
    assert (table["status"] == "finished").all()
    assert "study_accuracy" not in table  # these are not the study's classes
    page = (tmp_path / "index.html").read_text()
    assert all(name in page for name in table["run"])
    assert all(f'href="{name}/report/index.html"' in page for name in ("resnet50", "densenet201"))


@pytest.mark.slow
def test_a_failed_job_is_a_row_and_the_others_still_run(start_command, data, tmp_path):
    started = start_command(
        "train.py",
        "--multirun",
        *TINY,
        *data,
        "model.weights=no.safetensors,null",
        "seed=0",
        "trainer.max_epochs=1",
        "sweep_name=some",
        f"hydra.sweep.dir={tmp_path}",
    )
    status, said = started.finish()
    assert status == 1
    assert "Traceback" not in said
    table = pd.read_csv(tmp_path / "comparison.csv").set_index("run")
    failed, other = "timm,model.weights=no.safetensors", "timm,model.weights=null"
    assert table["status"].to_dict() == {failed: "failed", other: "finished"}
    assert table.loc[failed, "error"].startswith("model.weights='no.safetensors' does not exist")
    assert (tmp_path / other / "report" / "summary.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize("columns", ["articleType", "[articleType,gender]"])
def test_two_processes_train_and_evaluate_as_one_does(columns, write_catalogue, data, tmp_path):
    labels, genders = ["Shirts", "Jeans", "Watches"] * 43, ["Men", "Women", "", "Men"] * 33
    rows = [
        {"id": str(i), "articleType": label, "gender": genders[i]} for i, label in enumerate(labels)
    ]
    root = write_catalogue(tmp_path / "catalogue", rows)
    two = ("trainer.devices=2", "trainer.strategy=ddp", "trainer.accelerator=cpu")
    settings = (f"data.root={root}", "data.batch_size=8", "trainer.max_epochs=1")
    settings += (f"data.label_column={columns}",)
    folder = tmp_path / "run"
    result = command(*TINY, *data, *settings, *two, f"hydra.run.dir={folder}")
    assert result.returncode == 0, result.stderr
    ckpt_path = folder / "checkpoints" / "best.ckpt"
    again = tmp_path / "again"
    module = ("-m", "fashion", "evaluate")
    result = command(f"ckpt_path={ckpt_path}", f"output_dir={again}", *two, module=module)
    assert result.returncode == 0, result.stderr
    alone = evaluate(ckpt_path, output_dir=tmp_path / "alone", trainer={"accelerator": "cpu"})
    one = Predictions.load(tmp_path / "alone" / "predictions.npz")
    assert len(one.targets) == 13  # divides neither by two processes nor by a batch of 8
    for other_folder in (folder, again):
        other = Predictions.load(other_folder / "predictions.npz")
        assert len(set(other.image_ids)) == len(other.image_ids)
        assert other.image_ids.tolist() == one.image_ids.tolist()
        np.testing.assert_array_equal(other.targets, one.targets)
        np.testing.assert_allclose(other.probabilities, one.probabilities, atol=1e-6)
        assert other.attributes.keys() == one.attributes.keys()
        for name, each in one.attributes.items():
            told = other.attributes[name]
            assert told.image_ids.tolist() == each.image_ids.tolist()
            np.testing.assert_array_equal(told.targets, each.targets)
            np.testing.assert_allclose(told.probabilities, each.probabilities, atol=1e-6)
        summary = json.loads((other_folder / "report" / "summary.json").read_text())
        assert summary["test"]["support"] == alone["test"]["support"]
        for name in ("accuracy", "macro_f1", "macro_auprc"):
            assert summary["test"][name] == pytest.approx(alone["test"][name], abs=1e-6)


def test_a_checkpoint_s_model_is_the_one_that_was_trained(finished):
    checkpoint = checkpoints.read(finished[0] / "checkpoints" / "best.ckpt")
    classifier = ProductClassifier.restore(checkpoint)
    assert not classifier.training
    state = classifier.state_dict()
    assert all(torch.equal(state[key], value) for key, value in checkpoint["state_dict"].items())
