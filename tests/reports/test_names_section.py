"""Names beside photos in a run's report: fitted after training, kept, and telling no label."""

import csv
import json
import shutil

import numpy as np
import pytest

from fashion.metrics.predictions import Predictions
from fashion.models import checkpoints
from fashion.names.masking import Mask
from fashion.reports.evaluate import evaluate
from fashion.reports.names_section import acquaintance, label_shares, run_checks
from fashion.training.run_names import RunNames

QUICK = {
    "trainer": {"accelerator": "cpu", "enable_progress_bar": False},
    "robustness_photos": 0,
}
BRANDS = {"Shirts": ["Arrow", "Zodiac"], "Jeans": ["Lee", "Levis"], "Watches": ["Casio", "Titan"]}
MASTER = {"Shirts": "Apparel", "Jeans": "Apparel", "Watches": "Accessories"}


@pytest.fixture(scope="module")
def named_root(tiny_root, tmp_path_factory):
    """The catalogue of the run with names: a brand that mostly goes with the class, the label."""
    root = shutil.copytree(tiny_root, tmp_path_factory.mktemp("named") / "catalogue")
    rng = np.random.default_rng(0)
    with (root / "styles.csv").open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    place = {name: header.index(name) for name in header}
    for row in rows[:120]:
        label = row[place["articleType"]]
        brands = BRANDS[label if rng.random() < 0.8 else rng.choice([*BRANDS])]
        name = f"{rng.choice(brands)} {rng.choice(['Blue', 'Red'])} {label.rstrip('s')}"
        row[place["productDisplayName"]] = "" if row[0] in ("1003", "1004") else name
        row[place["masterCategory"]] = MASTER[label]
    with (root / "styles.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return root


@pytest.fixture(scope="module")
def named_run(run_dir, named_root, tmp_path_factory):
    """A run whose report was written with names, and its summary."""
    folder = shutil.copytree(run_dir, tmp_path_factory.mktemp("run") / "copy")
    data = {"root": str(named_root), "text_column": "productDisplayName"}
    return folder, evaluate(folder / "checkpoints" / "best.ckpt", data=data, **QUICK)


def test_names_have_figures_of_their_own(named_run, run_dir):
    folder, summary = named_run
    names = summary["test"]["names"]
    before = json.loads((run_dir / "report" / "summary.json").read_text())
    assert summary["test"]["accuracy"] == before["test"]["accuracy"]
    figures = names["figures"]
    assert figures["photo"]["accuracy"] == pytest.approx(summary["test"]["accuracy"])
    assert figures["name"]["accuracy"] > 0.5
    for source in figures.values():
        assert source["accuracy_low"] <= source["accuracy"] <= source["accuracy_high"]
        assert source["macro_auprc_low"] <= source["macro_auprc_high"]
    assert {(test["first"], test["second"]) for test in names["tests"]} == {
        *(("photo", "name"), ("photo", "both"), ("name", "both"))
    }
    assert names["mask"] == "types"
    assert names["determined"]["masterCategory"] >= 2
    assert names["with_own_label"] == names["with_any_label"] == 1
    assert names["used"] <= names["photos"] == 12
    for table in ("names", "names_tests", "names_pairs", "names_tied", "names_acquaintance"):
        assert (folder / "report" / f"{table}.csv").exists()


def test_leak_checks_run_in_the_report(named_run):
    checks = named_run[1]["test"]["names"]["checks"]
    assert checks["surviving"] == []
    assert checks["largest_change"] == 0
    assert checks["passed"]["surviving"]
    assert checks["passed"]["largest_change"]
    assert checks["permuted"].keys() == {"majority", "names", "photos", "both", "weight", "p"}


def test_names_stand_in_a_section_of_their_own(named_run):
    folder, _ = named_run
    page = (folder / "report" / "index.html").read_text()
    assert '<h2 id="names">' in page
    assert "tell the label</strong>" not in page
    beside = page[page.find('id="study"') : page.find('id="training"')]
    assert "name alone" not in beside


def test_the_checkpoint_keeps_names_and_they_are_not_fitted_again(named_run, named_root, tmp_path):
    folder, summary = named_run
    kept = RunNames.of_checkpoint(checkpoints.read(folder / "checkpoints" / "best.ckpt"))
    assert kept.model.mask.kind == "types"
    assert {"shirts", "jeans", "watches", "umbrellas", "accessories"} <= {*kept.model.mask.labels}
    data = {"root": str(named_root), "text_column": "productDisplayName"}
    ckpt_path = folder / "checkpoints" / "best.ckpt"
    stamp = ckpt_path.stat().st_mtime_ns
    again = evaluate(ckpt_path, data=data, output_dir=tmp_path, **QUICK)
    assert again["test"]["names"] == summary["test"]["names"]
    assert ckpt_path.stat().st_mtime_ns == stamp


def test_unmasked_names_are_said_to_tell_the_label(run_dir, named_root, tmp_path, caplog):
    folder = shutil.copytree(run_dir, tmp_path / "copy")
    data = {"root": str(named_root), "text_column": "productDisplayName", "text_mask": "none"}
    summary = evaluate(folder / "checkpoints" / "best.ckpt", data=data, **QUICK)
    assert "they tell the label" in caplog.text
    names = summary["test"]["names"]
    assert not names["checks"]["passed"]["surviving"]
    assert {"shirt", "jean", "watche"} & {*names["checks"]["surviving"]}
    assert not names["checks"]["passed"]["largest_change"]
    assert "tell the label</strong>" in (folder / "report" / "index.html").read_text()


def test_a_column_that_is_not_there_is_named(run_dir, named_root, tmp_path):
    ckpt_path = run_dir / "checkpoints" / "best.ckpt"
    data = {"root": str(named_root), "text_column": "productDisplayname"}
    with pytest.raises(
        ValueError, match=r"data\.text_column='productDisplayname'.*mean 'productDisplayName'"
    ):
        evaluate(ckpt_path, data=data, output_dir=tmp_path, **QUICK)


def test_damaged_names_in_a_checkpoint_are_refused(named_run, tmp_path):
    folder, _ = named_run
    checkpoint = checkpoints.read(folder / "checkpoints" / "best.ckpt")
    for damage in ({**checkpoint["names"], "record": 1}, {"mask": {}}, []):
        with pytest.raises(ValueError, match="names"):
            RunNames.of_checkpoint({**checkpoint, "names": damage})


def test_a_label_word_that_survives_fails_the_check(named_run):
    kept = RunNames.of_checkpoint(checkpoints.read(named_run[0] / "checkpoints" / "best.ckpt"))
    model = kept.model
    leaking = RunNames(
        type(model)(Mask("none"), model.rarity, model.weights, model.bias, model.fusion),
        kept.record,
    )
    checks = run_checks(leaking, ["Arrow Blue Shirt"])
    assert checks["surviving"] == ["shirt"]
    assert checks["passed"]["surviving"] is False


def test_shares_of_names_with_label_words():
    predictions = Predictions(
        np.array(["a", "b", "c"]),
        np.full((3, 2), 0.5, np.float32),
        np.array([0, 0, 1]),
        ("Shirts", "Watches"),
    )
    names = ["Red T-Shirt", "Watch with shirt print?", ""]
    assert label_shares(names, predictions, ["shirts", "watches"]) == {
        "with_own_label": 1,
        "with_any_label": 1,
    }
    names = ["Red", "a watch", "shirt"]
    assert label_shares(names, predictions, ["shirts", "watches"]) == {
        "with_own_label": 0,
        "with_any_label": pytest.approx(2 / 3),
    }


def test_accuracy_on_names_seen_and_unseen():
    hits = {"photo": np.array([True, False, True]), "both": np.array([True, True, False])}
    table = acquaintance(hits, np.array([True, False, False]), np.array([True, True, False]))
    assert table.to_dict("records") == [
        {"names": "seen", "support": 1, "photo": 1.0, "both": 1.0},
        {"names": "unseen", "support": 1, "photo": 0.0, "both": 1.0},
        {"names": "no name", "support": 1, "photo": 1.0, "both": 0.0},
    ]
