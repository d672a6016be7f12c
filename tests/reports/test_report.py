import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, f1_score
from statsmodels.stats.proportion import proportion_confint

from fashion.files import WRITTEN
from fashion.metrics.calibration import fit_calibration
from fashion.metrics.predictions import confused_pairs, per_class_table
from fashion.metrics.study import beside_study, has_study_classes, load_study
from fashion.reports import figures
from fashion.reports.error_analysis import ErrorAnalysis
from fashion.reports.pages import Sheet
from fashion.reports.parts import Parts
from fashion.reports.report import (
    render_mistakes,
    render_report,
    tabulate,
    write_report,
)
from fashion.reports.summary import headline, summarise

COUNTS = np.array([[5, 2, 1], [0, 4, 0], [3, 1, 6]])
ABC = ("Bags", "Caps", "Shoes")
MACRO = ("macro_f1", "macro_auprc")
NASTY = (
    "<script>alert(1)</script>",
    "$x_1$ & co",
    "A name that is far too long for any figure axis",
)


def make_run(class_names, **changes):
    run = {
        "model": "resnet50",
        "seed": 42,
        "split": "test",
        "drawn_sample": False,
        "data": {
            **{"rows_in_file": 120, "rows_read": 118, "rows_kept": 100, "classes": 3},
            "relabelled": 0,
            **{"train": 80, "val": 10, "test": 10, "dropped": {"malformed": 2, "rare label": 18}},
            **{"split": "stratified", "split_seed": 42, "splits_sha256": "9f86d0"},
            **{"label_column": "articleType", "input_size": 224, "fit": "squash", "root": "/data"},
            **{"views": 0},
        },
        "class_counts": {name: {"train": 8, "val": 1, "test": 1} for name in class_names},
        "trainable_parameters": {"backbone": 4_465_664, "head": 110_646},
        "total_parameters": 23_618_678,
        "best_epoch": 1,
        "epochs": 3,
        "seconds": {"total": 30.0, "per_epoch": 10.0},
        "versions": {"torch": "2.9.0"},
        "config": {"model": {"optimizer": {"lr": 1e-4}, "weights": None}, "note": "<b>&"},
    }
    return {**run, **changes}


def make_history(epochs=3):
    scores = np.linspace(0.5, 0.9, epochs) if epochs else []
    names = ("train/loss", "train/accuracy", "val/loss", "val/accuracy", "val/macro_f1")
    columns = dict.fromkeys((*names, "val/macro_auprc"), scores)
    return pd.DataFrame({"epoch": range(epochs), "lr": 1e-4, **columns, "seconds": 10.0})


@pytest.fixture(scope="module")
def predictions(from_counts):
    return from_counts(COUNTS, ABC)


def page(predictions, run, history=None):
    """Return `index.html` without its figures, which take most of a report's time."""
    summary = summarise(predictions, run, ErrorAnalysis())
    tables = tabulate(predictions, ErrorAnalysis())
    history = make_history() if history is None else history
    return render_report(predictions, summary, tables, history, pictures={})


def analyse_all(predictions):
    """Make up all that an analysis can hold."""
    rng = np.random.default_rng(0)
    white = "data:image/gif;base64,R0lGODlhAQABAIAAAP///wAAACwAAAAAAQABAAACAkQBADs="
    changes = [("unchanged", ""), ("blur", "a little"), ("blur", "a lot"), ("darker", NASTY[0])]
    robustness = pd.DataFrame(changes, columns=["name", "level"])
    return ErrorAnalysis(
        calibration=fit_calibration(predictions.probabilities, predictions.targets),
        unknown=rng.uniform(0.2, 0.9, 30).astype(np.float32),
        robustness=robustness.assign(accuracy=[0.7, 0.6, 0.2, 0.0], support=22),
        pairs=[Sheet(f"{NASTY[0]} taken for {NASTY[1]}", [(white, NASTY[2])])],
        maps=[Sheet(NASTY[0], [(white, "1163")] * 3)],
    )


@pytest.fixture(scope="module")
def nasty_report(from_counts, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    run = make_run(NASTY, model="timm", drawn_sample=True)
    predictions = from_counts(COUNTS, NASTY)
    write_report(predictions, run, make_history(), folder, analyse_all(predictions))
    return folder


@pytest.fixture(scope="module")
def plain_report(predictions, nasty_report, tmp_path_factory):
    """A report that took the place of another, beside files of the user's; and its summary."""
    folder = tmp_path_factory.mktemp("plain") / "report"
    shutil.copytree(nasty_report, folder)
    (folder / "budget.csv").write_text("mine")
    (folder / "figures" / "holiday.png").write_text("mine")
    (folder / "risk_coverage.csv").write_text("edited by hand")
    run = make_run(ABC, best_epoch=None, epochs=0, seconds={"total": 0, "per_epoch": 0.0})
    return folder, write_report(predictions, run, pd.DataFrame(), folder), run


@pytest.fixture(scope="module")
def study_report(from_counts, tmp_path_factory):
    names = load_study()["class_names"]
    counts = np.eye(len(names), dtype=int) * 10
    counts[names.index("Flats"), names.index("Heels")] = 10
    counts[names.index("Tshirts"), names.index("Tops")] = 4
    folder = tmp_path_factory.mktemp("study")
    return write_report(from_counts(counts, names), make_run(names), make_history(), folder), folder


def test_a_report_is_these_files(nasty_report):
    files = {path.relative_to(nasty_report).as_posix() for path in nasty_report.rglob("*.*")}
    figures = ("class_distribution", "confusion_matrix", "history", "per_class_f1", "pr_curves")
    figures += ("reliability", "risk_coverage", "unknown", "robustness")
    tables = ("per_class", "confused_pairs", "reliability_before", "reliability_after")
    tables += ("risk_coverage", "refusal", "lowest_recall", "robustness")
    assert files == {
        *("summary.json", "index.html", "mistakes.html", WRITTEN),
        *(f"{name}.csv" for name in tables),
        *(f"figures/{name}.png" for name in figures),
    }


def test_what_an_earlier_report_had_and_this_one_has_not_goes(plain_report):
    folder, _, _ = plain_report
    for name in ("refusal.csv", "figures/robustness.png", "figures/history.png"):
        assert not (folder / name).exists()
    assert "temperature" not in (folder / "index.html").read_text()
    assert "No history of epochs" in (folder / "index.html").read_text()


def test_what_this_project_did_not_write_stays(plain_report):
    folder, _, _ = plain_report
    assert (folder / "budget.csv").read_text() == "mine"
    assert (folder / "figures" / "holiday.png").read_text() == "mine"
    assert (folder / "risk_coverage.csv").read_text() == "edited by hand"


def test_a_part_that_fails_is_named_and_leaves_the_others(predictions, monkeypatch, tmp_path):
    def fail(*_):
        raise ZeroDivisionError("<b>&")

    monkeypatch.setattr(figures, "plot_pr_curves", fail)
    parts = Parts()
    parts.make("class-activation maps", lambda: 1 / 0, [])
    summary = write_report(predictions, make_run(ABC), make_history(), tmp_path, parts=parts)
    assert summary == json.loads((tmp_path / "summary.json").read_text())
    assert summary["failed_parts"] == {
        "class-activation maps": "ZeroDivisionError: division by zero",
        "figure pr_curves": "ZeroDivisionError: <b>&",
    }
    drawn = {path.stem for path in (tmp_path / "figures").iterdir()}
    assert drawn == {"class_distribution", "confusion_matrix", "history", "per_class_f1"}
    for name in ("index.html", "mistakes.html"):
        shown = (tmp_path / name).read_text()
        assert "<li>class-activation maps: ZeroDivisionError: division by zero</li>" in shown
        assert "<li>figure pr_curves: ZeroDivisionError: &lt;b&gt;&amp;</li>" in shown
    assert 'href="figures/pr_curves.png"' not in (tmp_path / "index.html").read_text()


def test_the_summary_says_how_far_the_confidence_can_be_trusted(nasty_report):
    block = json.loads((nasty_report / "summary.json").read_text())["test"]
    assert block["calibration"].keys() == {
        *("temperature", "error_before", "error_after", "area_under_risk_coverage")
    }
    assert block["unknown"]["photos"] == 30
    assert 0 < block["unknown"]["auroc"] < 1


def test_thresholds_are_written_with_the_digits_that_tell_float32_apart(nasty_report):
    written = pd.read_csv(nasty_report / "risk_coverage.csv", dtype=str)["threshold"]
    assert max(map(len, written)) == len("0.123456789")
    assert written.tolist() == [f"{np.float32(digits):.9g}" for digits in written]


def test_the_classes_found_least_stand_with_what_they_are_taken_for(plain_report):
    table = pd.read_csv(plain_report[0] / "lowest_recall.csv", keep_default_na=False)
    assert table["class"].tolist() == ["Shoes", "Bags", "Caps"]
    assert table["recall"].tolist() == pytest.approx([0.6, 0.625, 1])
    assert table["taken_for"].tolist() == ["Bags", "Caps", ""]
    assert table["taken_for_count"].tolist() == [3, 2, 0]


def test_the_summary_is_the_run_with_its_scores(predictions, plain_report):
    folder, summary, run = plain_report
    assert summary == json.loads((folder / "summary.json").read_text())
    summary = dict(summary)
    test = summary.pop("test")
    assert summary == run
    over_all, over_present = test.pop("over_all_classes"), test.pop("over_present_classes")
    assert over_all == over_present == {"classes": 3, **{k: test[k] for k in MACRO}}
    assert set(test) == {"accuracy", *MACRO, "support", "absent_classes"}
    assert (test["accuracy"], test["support"], test["absent_classes"]) == (15 / 22, 22, [])
    assert test["macro_f1"] == pytest.approx(per_class_table(predictions)["f1"].mean())


def test_the_scores_are_named_after_the_split(predictions):
    summary = summarise(predictions, make_run(ABC, split="val"), ErrorAnalysis())
    assert summary["val"]["support"] == 22
    assert "test" not in summary


def test_undefined_numbers_are_null_in_the_summary(predictions, tmp_path):
    seconds = {"total": float("nan"), "per_epoch": np.float32("inf")}
    run = make_run(ABC, seconds=seconds, seed=np.int64(7), config={"folder": tmp_path})
    text = json.dumps(summarise(predictions, run, ErrorAnalysis()))
    summary = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert summary["seconds"] == {"total": None, "per_epoch": None}
    assert (summary["seed"], summary["config"]) == (7, {"folder": str(tmp_path)})


def test_absent_classes_are_named(from_counts):
    predictions = from_counts(np.array([[5, 0, 1], [0, 0, 0], [0, 2, 3]]), ABC)
    summary = summarise(predictions, make_run(ABC), ErrorAnalysis())
    assert summary["test"]["absent_classes"] == ["Caps"]
    words = "No image of Caps here: the macro figures are given over the 2 classes"
    html = page(predictions, make_run(ABC))
    assert words in html
    assert re.search("Caps <span[^>]*>no image</span></th>(<td[^>]*>\N{EN DASH}</td>){4}", html)


def test_macro_figures_are_given_over_the_present_and_over_all_classes(from_counts):
    predictions = from_counts(np.array([[5, 0, 1], [0, 0, 0], [0, 2, 3]]), ABC)
    summary = summarise(predictions, make_run(ABC), ErrorAnalysis())
    targets, predicted = predictions.targets, predictions.probabilities.argmax(axis=1)
    f1 = f1_score(targets, predicted, labels=[0, 2], average=None)
    precision = [
        average_precision_score(targets == k, predictions.probabilities[:, k]) for k in (0, 2)
    ]
    for name, classes in (("over_present_classes", 2), ("over_all_classes", 3)):
        figures = {"macro_f1": sum(f1) / classes, "macro_auprc": sum(precision) / classes}
        assert summary["test"][name] == pytest.approx({"classes": classes, **figures})
    assert "over the 2 of 3 classes that have images" in headline(summary)
    html = page(predictions, make_run(ABC))
    assert f"over all 3: {sum(f1) / 3:.4f}" in html
    assert f"over all 3: {sum(precision) / 3:.4f}" in html
    table = tabulate(predictions, ErrorAnalysis())["per_class"]
    assert table["average_precision"].isna().tolist() == [False, True, False]


def test_the_tables_can_be_read_back(predictions, plain_report):
    folder = plain_report[0]
    table, pairs = (pd.read_csv(folder / f"{name}.csv") for name in ("per_class", "confused_pairs"))
    pd.testing.assert_frame_equal(table, per_class_table(predictions), atol=1e-6, check_dtype=False)
    pd.testing.assert_frame_equal(pairs, confused_pairs(predictions), atol=1e-6, check_dtype=False)
    assert re.search(r"\d\.\d{7,}", (folder / "per_class.csv").read_text()) is None


def test_a_report_without_mistakes_says_so(from_counts):
    predictions = from_counts(np.eye(2, dtype=int) * 4, ABC[:2])
    shown = page(predictions, make_run(ABC[:2]), make_history(1))
    assert "No image of this split was mistaken" in shown
    assert "±0.00" not in shown


@pytest.mark.parametrize(
    ("photos", "words"), [(18, "18 photos were dropped as too rare. The"), (7, "; 7 of them were")]
)
def test_a_sample_of_the_unknown_is_told_from_all_of_them(predictions, photos, words):
    known = fit_calibration(predictions.probabilities, predictions.targets)
    analysis = ErrorAnalysis(known, np.full(photos, 0.5, np.float32))
    summary = summarise(predictions, make_run(ABC), analysis)
    tables = tabulate(predictions, analysis)
    assert words in render_report(predictions, summary, tables, make_history(), pictures={})
    assert "Changed photos" not in render_mistakes(summary, tables, analysis, pictures={})


class Loads(HTMLParser):
    def __init__(self):
        super().__init__()
        self.addresses, self.tags = [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.addresses += [value for name, value in attrs if name in ("src", "href", "srcset")]


@pytest.mark.parametrize(
    ("name", "images", "links"), [("index.html", 8, 9), ("mistakes.html", 5, 2)]
)
def test_the_pages_load_nothing_from_elsewhere(nasty_report, name, images, links):
    page = (nasty_report / name).read_text()
    loads = Loads()
    loads.feed(page)
    assert loads.tags.count("img") == images
    local = [a for a in loads.addresses if a.startswith(("data:", "#"))]
    number, links = links, set(loads.addresses) - set(local)
    assert len(links) == number
    assert all((nasty_report / link).is_file() for link in links)
    assert "http" not in re.sub(r'"data:[^"]*"', "", page)
    assert "url(" not in page


def test_markup_in_names_and_settings_is_escaped(nasty_report):
    for name in ("index.html", "mistakes.html"):
        page = (nasty_report / name).read_text()
        loads = Loads()
        loads.feed(page)
        assert loads.tags.count("script") == 1
        assert "alert(1)</script>" not in page
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "&lt;b&gt;&amp;" in (nasty_report / "index.html").read_text()


def test_the_drawn_sample_is_named_in_title_and_summary(nasty_report):
    page = (nasty_report / "index.html").read_text()
    assert re.search("<title>[^<]*drawn sample", page)
    assert re.search("<h1>[^<]*drawn sample", page)
    assert json.loads((nasty_report / "summary.json").read_text())["drawn_sample"] is True


def test_rows_that_nobody_accounts_for_are_shown(predictions):
    run = make_run(ABC)
    assert "not accounted for" not in page(predictions, run)
    run["data"]["dropped"]["rare label"] = 11
    assert re.search("not accounted for</th><td.*>\N{MINUS SIGN}7<", page(predictions, run))


def test_the_study_stands_beside_a_run_with_its_classes(study_report):
    summary, folder = study_report
    assert summary["study"] == {"test_accuracy": 0.9215, "macro_auprc": 0.9341}
    page = (folder / "index.html").read_text()
    assert "Beside the study" in page
    assert all(model["name"] in page for model in load_study()["models"].values())
    accuracy, count = summary["test"]["accuracy"], summary["test"]["support"]
    low, high = proportion_confint(round(accuracy * count), count, method="wilson")
    assert f"{100 * low:.2f}\xa0% to {100 * high:.2f}\xa0% (Wilson" in page


@pytest.mark.parametrize("change", [{"drawn_sample": True}, {"split": "val"}, {"model": "timm"}])
def test_the_study_keeps_away_from_other_runs(from_counts, change):
    names = load_study()["class_names"]
    predictions = from_counts(np.eye(len(names), dtype=int), names)
    run = make_run(names, **change)
    assert "study" not in summarise(predictions, run, ErrorAnalysis())
    assert ("Beside the study" in page(predictions, run)) == (change == {"model": "timm"})


def test_pairs_and_recalls_are_put_beside_the_studys(study_report):
    summary, folder = study_report
    table, pairs = (pd.read_csv(folder / f"{name}.csv") for name in ("per_class", "confused_pairs"))
    beside = beside_study(summary, table, pairs)
    first, flats = beside["pairs"][0], beside["pairs"][3]
    assert (first["true"], first["study"], first["count"], first["rank"]) == ("Tshirts", 26, 4, 2)
    assert (flats["predicted"], flats["study"], flats["count"], flats["rank"]) == (
        "Heels",
        17,
        10,
        1,
    )
    assert (beside["pairs"][1]["count"], beside["pairs"][1]["rank"]) == (0, None)
    assert beside["recalls"][0] == {"class": "Flats", "study": 0.3, "recall": 0.5, "support": 20}
    accuracies = [model["test_accuracy"] for model in beside["models"]]
    assert accuracies == sorted(accuracies, reverse=True)
    assert sum(model["run"] for model in beside["models"]) == 1


def test_the_studys_figures_are_complete():
    study = load_study()
    assert len(study["class_names"]) == len(set(study["class_names"])) == 54
    assert study["class_names"] == sorted(study["class_names"])
    assert len(study["models"]) == 6
    assert study["models"]["nasnetlarge"]["test_accuracy"] == 0.9319
    assert len(study["confused_pairs"]["pairs"]) == 10
    named = {name for pair in study["confused_pairs"]["pairs"] for name in pair[:2]}
    assert named | set(study["low_recall"]) <= set(study["class_names"])
    assert has_study_classes(reversed(study["class_names"]))
    assert not has_study_classes(study["class_names"][:-1])


def test_ten_of_ten_right_is_not_surely_all(tmp_path, from_counts):
    predictions = from_counts(np.diag([6, 4, 0]), ABC)
    predictions = replace(predictions, has_twin=np.arange(10) < 2)
    calibration = fit_calibration(predictions.probabilities, predictions.targets)
    analysis = ErrorAnalysis(calibration=calibration)
    write_report(predictions, make_run(ABC), pd.DataFrame(), tmp_path, analysis)
    page = (tmp_path / "index.html").read_text()
    assert "72.25\xa0% to 100.00\xa0% (95" in page
    assert "34.24\xa0% to 100.00\xa0%" in page  # the two with a twin
    assert "72.2\xa0% to 100.0\xa0%" in page  # those that a threshold answers
    assert "100.00\xa0% to" not in page


@pytest.mark.parametrize("width", [1280, 500])
@pytest.mark.parametrize(("name", "pictures"), [("index.html", 8), ("mistakes.html", 5)])
def test_the_pages_open_in_a_browser(nasty_report, browse, name, pictures, width):
    found = browse(nasty_report / name, width)
    assert found.pop("pictures") == pictures
    assert found == {"broken": 0, "too_wide": 0, "stacked": 0, "console": []}
