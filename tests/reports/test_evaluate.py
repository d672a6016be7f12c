import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import train
from fashion.attributes import Heads
from fashion.commands.main import run
from fashion.data.preparation import prepare_labelled
from fashion.data.trained_settings import trained_settings
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


@pytest.fixture
def change(tiny_root, tmp_path):
    """A copy of the catalogue of the run, to be changed."""
    return shutil.copytree(tiny_root, tmp_path / "changed")


@pytest.mark.parametrize("number", [1, 25])  # of which the others are too few for the settings
def test_photos_that_are_gone_are_named_with_the_way_out(ckpt_path, change, tmp_path, number):
    gone = [str(id_) for id_ in range(1000, 1000 + 3 * number, 3)]
    for id_ in gone:
        (change / "images" / f"{id_}.jpg").unlink()
    with pytest.raises(
        ValueError,
        match=rf"splits differ .*: {number} of its 120 photos are gone or can't be read, '1000' for"
        r" one\. .* split=all",
    ):
        evaluate(ckpt_path, data={"root": str(change)}, output_dir=tmp_path, trainer=CPU)


def test_photos_that_are_new_or_relabelled_are_named(ckpt_path, change, tmp_path):
    table = change / "styles.csv"
    text = table.read_text().replace("\n1002,Men", "\n1002,Women")
    lines = text.splitlines()
    row = next(line for line in lines if line.startswith("1002,"))
    lines[lines.index(row)] = row.replace("Watches", "Jeans", 1)
    lines.append(row.replace("1002", "4000", 1))
    table.write_text("\n".join(lines) + "\n")
    shutil.copy(change / "images" / "1002.jpg", change / "images" / "4000.jpg")
    with pytest.raises(
        ValueError, match=r": 1 have another label, '1002' for one, and 1 are new, '4000' for one"
    ):
        evaluate(ckpt_path, data={"root": str(change)}, output_dir=tmp_path, trainer=CPU)


def test_without_the_run_s_folder_a_change_is_told_in_general(ckpt_path, change, tmp_path):
    moved = shutil.copy(ckpt_path, tmp_path / "best.ckpt")
    (change / "images" / "1000.jpg").unlink()
    with pytest.raises(ValueError, match=r"was trained on\. Pass the same catalogue .* split=all"):
        evaluate(moved, data={"root": str(change)}, output_dir=tmp_path, trainer=CPU)


# What somebody has labelled by hand: photos of each label, and how many of them are of known ones.
LABELLED = {
    "a dozen": ({"Jeans": 4, "Shirts": 4, "Watches": 4}, 12),
    "a part of the classes": ({"Jeans": 2, "Shirts": 2}, 4),
    "one class": ({"Shirts": 3}, 3),
    "one photo": ({"Watches": 1}, 1),
    "others among them": ({"Jeans": 3, "Hats": 5, "Boots": 1}, 3),
}


@pytest.mark.parametrize("counts", LABELLED)
def test_any_labelled_photos_can_be_evaluated(ckpt_path, write_catalogue, tmp_path, caplog, counts):
    photos, known = LABELLED[counts]
    labels = [label for label, number in photos.items() for _ in range(number)]
    rows = [{"id": str(i), "articleType": label} for i, label in enumerate(labels)]
    root = write_catalogue(tmp_path / "other", rows)
    if counts.startswith("one"):  # in folders, of which a catalogue to train on needs two
        (root / "styles.csv").unlink()
        for row in rows:
            folder = root / row["articleType"]
            folder.mkdir(exist_ok=True)
            (root / "images" / f"{row['id']}.jpg").rename(folder / f"{row['id']}.jpg")
        (root / "images").rmdir()
    data = {"root": str(root), "cache_dir": str(tmp_path / "cache")}
    summary = evaluate(
        ckpt_path, split="all", data=data, output_dir=tmp_path, trainer=CPU, robustness_photos=0
    )
    scores = summary["all"]
    assert scores["support"] == summary["data"]["rows_kept"] == known
    assert scores["absent_classes"] == sorted({"Jeans", "Shirts", "Watches"} - photos.keys())
    assert scores["over_present_classes"]["classes"] == 3 - len(scores["absent_classes"])
    assert scores.get("unknown", {"photos": 0})["photos"] == len(labels) - known
    assert summary["data"]["dropped"] == ({"unknown label": 6} if "Hats" in photos else {})
    assert "with_twin_in_train" not in scores
    assert "trained_on" not in scores
    assert "twins" not in summary["data"]
    assert "failed_parts" not in summary
    assert not [record for record in caplog.records if record.levelname == "WARNING"]
    page = (tmp_path / "report-all" / "index.html").read_text()
    assert page.count("no image</span>") == len(scores["absent_classes"])
    assert Predictions.load(tmp_path / "predictions-all.npz").has_twin is None


def test_copies_of_trained_photos_are_no_twins_of_a_split_made_up(ckpt_path, change, tmp_path):
    """A catalogue whose photos are all twins would have them in a training split of its own."""
    photo = (change / "images" / "1001.jpg").read_bytes()
    for path in (change / "images").iterdir():
        path.write_bytes(photo)
    data = {"root": str(change), "cache_dir": str(tmp_path / "cache")}
    summary = evaluate(
        ckpt_path, split="all", data=data, output_dir=tmp_path, trainer=CPU, robustness_photos=0
    )
    assert not [key for key in (*summary["all"], *summary["data"]) if "twin" in key]


def test_a_catalogue_without_a_known_class_is_refused(ckpt_path, write_catalogue, tmp_path):
    rows = [{"id": str(i), "articleType": "Hats" if i % 2 else "Caps"} for i in range(20)]
    root = write_catalogue(tmp_path / "other", rows)
    data = {"root": str(root)}
    with pytest.raises(ValueError, match=r"data\.root='.*other' has no photo .* 'Jeans'.*'Caps'"):
        evaluate(ckpt_path, split="all", data=data, output_dir=tmp_path, trainer=CPU)


def test_photos_that_cannot_be_decoded_are_left_out(write_catalogue, data_settings, tmp_path):
    rows = [{"id": str(i), "articleType": "Jeans"} for i in range(3)]
    root = write_catalogue(tmp_path / "other", rows)
    (root / "images" / "0.jpg").write_bytes(b"no photo")
    settings = data_settings(root, cache_dir=str(tmp_path))
    _, _, splits = prepare_labelled(settings, Heads.of(["Jeans", "Shirts"]), 48, "bilinear")
    assert splits.facts()["dropped"] == {"unreadable image": 1}
    assert splits.rows("all")["id"].tolist() == ["1", "2"]
    for i in (1, 2):
        (root / "images" / f"{i}.jpg").write_bytes(b"no photo")
    with pytest.raises(ValueError, match=r"none of the 3 photos .* can be decoded, '0' for one"):
        prepare_labelled(settings, Heads.of(["Jeans", "Shirts"]), 48, "bilinear")


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
        (["split=test"], r"^Pass ckpt_path=FILE or results=JOB, one of them\."),
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
            r"trainer\.devces is unknown \(did you mean trainer\.devices\?\); there are acc",
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


def doctored(ckpt_path, folder, **data):
    """Write a checkpoint whose file has other settings of `data`."""
    checkpoint = checkpoints.read(ckpt_path)
    checkpoint["run"]["config"]["data"] |= data
    torch.save(checkpoint, folder / "stranger.ckpt")
    return folder / "stranger.ckpt"


def test_a_stranger_s_checkpoint_does_not_choose_where_this_machine_writes(
    ckpt_path, write_catalogue, tmp_path, monkeypatch, caplog
):
    caplog.set_level("INFO")
    own, theirs = tmp_path / "own", tmp_path / "theirs"
    monkeypatch.setattr("fashion.data.settings.default_cache_dir", lambda: own)
    (theirs / "photos").mkdir(parents=True)  # of photos, not of packed ones
    stranger = doctored(ckpt_path, tmp_path, cache_dir=str(theirs))
    root = write_catalogue(tmp_path / "other", [{"id": "1", "articleType": "Jeans"}])
    data = {"root": str(root)}
    evaluate(stranger, split="all", data=data, output_dir=tmp_path, trainer=CPU)
    assert [path for path in theirs.rglob("*") if path.is_file()] == []
    assert list(own.glob("photos/*/store.json"))
    assert f"data.cache_dir={theirs} of the checkpoint is left aside" in caplog.text


def test_the_caches_that_a_checkpoint_names_count_where_there_are_some(run_dir, tmp_path):
    node = checkpoints.read(run_dir / "checkpoints" / "best.ckpt")["run"]["config"]["data"]
    assert trained_settings(node, {}).cache_dir == node["cache_dir"]
    other = {**node, "cache_dir": str(tmp_path)}
    assert trained_settings(other, {}).cache_dir is None
    assert trained_settings(other, {"cache_dir": "typed"}).cache_dir == "typed"


def test_lists_of_trained_photos_do_not_count_for_others(run_dir, tmp_path):
    node = checkpoints.read(run_dir / "checkpoints" / "best.ckpt")["run"]["config"]["data"]
    node = {**node, "exclude": "a.csv", "relabel": "b.csv"}

    def lists(typed, **how):
        settings = trained_settings(node, typed, **how)
        return settings.exclude, settings.relabel

    assert lists({}) == lists({}, of_any_photos=True) == ("a.csv", "b.csv")
    assert lists({"root": node["root"] + "/."}, of_any_photos=True) == ("a.csv", "b.csv")
    assert lists({"root": "moved"}) == ("a.csv", "b.csv")
    assert lists({"root": "other"}, of_any_photos=True) == (None, None)
    assert lists({"root": None}, of_any_photos=True) == (None, None)
    assert lists({"root": "other", "exclude": "c"}, of_any_photos=True) == ("c", None)


def test_names_of_trained_labels_count_for_other_photos_as_far_as_they_have_them(
    run_dir, write_catalogue, tmp_path
):
    node = checkpoints.read(run_dir / "checkpoints" / "best.ckpt")["run"]["config"]["data"]
    names = tmp_path / "rename.csv"
    names.write_text("old,new\ntees,Shirts\npants,Jeans\n")
    rows = [{"id": "1", "articleType": "tees"}, {"id": "2", "articleType": "Jeans"}]
    typed = {"root": str(write_catalogue(tmp_path / "other", rows)), "cache_dir": str(tmp_path)}
    settings = trained_settings({**node, "rename": str(names)}, typed, of_any_photos=True)
    _, _, splits = prepare_labelled(
        settings, Heads.of(["Jeans", "Shirts", "Watches"]), 48, "bilinear"
    )
    assert splits.rows("all")["label"].tolist() == ["Shirts", "Jeans"]
    names.unlink()
    settings = trained_settings({**node, "rename": str(names)}, typed, of_any_photos=True)
    assert settings.rename is None


def test_how_much_of_its_own_catalogue_a_model_was_trained_on_is_told(ckpt_path, tmp_path):
    evaluate(ckpt_path, split="all", output_dir=tmp_path, trainer=CPU, robustness_photos=0)
    summary = json.loads((tmp_path / "report-all" / "summary.json").read_text())
    splits = pd.read_csv(ckpt_path.parents[1] / "splits.csv", dtype=str)
    trained = set(splits["id"][splits["split"] == "train"])
    predictions = Predictions.load(tmp_path / "predictions-all.npz")
    flags = np.array([id_ in trained for id_ in predictions.image_ids])
    for name, part in (("trained_on", flags), ("not_trained_on", ~flags)):
        expected = {"accuracy": predictions.hits()[part].mean(), "support": part.sum()}
        assert summary["all"][name] == pytest.approx(expected)
    page = (tmp_path / "report-all" / "index.html").read_text()
    assert f"The model was trained on {len(trained)} of these images" in page


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
    def refuse(path, *state):
        raise PermissionError(f"no right to write {path}")

    monkeypatch.setattr(run_report, "store_calibration", refuse)
    best = uncalibrated / "checkpoints" / "best.ckpt"
    summary = evaluate(best, trainer=CPU, robustness_photos=0)
    assert summary["test"]["support"] > 0
    assert "lacks the calibration in the checkpoint: no right to write" in caplog.text
    assert "calibration" not in checkpoints.read(best)
