import re
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from fashion.catalogue.review import read_review
from fashion.metrics.predictions import Predictions
from fashion.reports.suspects import find_suspects, gather, load_catalogue_of, write_suspects
from fashion.training.run_folder import RunFolder


def predictions(targets, probabilities, ids=None):
    names = tuple(f"class {k}" for k in range(probabilities.shape[1]))
    ids = np.array(ids if ids is not None else [str(i) for i in range(len(targets))])
    return Predictions(ids, probabilities.astype(np.float32), targets.astype(np.int64), names)


@pytest.fixture
def planted():
    """Predictions that are right but for noise, of labels of which every fiftieth is wrong."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 6, 3000)
    logits = rng.normal(size=(3000, 6)) + 6 * np.eye(6)[truth]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    given = truth.copy()
    given[::50] = (truth[::50] + rng.integers(1, 6, 60)) % 6
    return predictions(given, probabilities), truth


def test_planted_label_errors_are_found_with_their_right_label(planted):
    found, truth = planted
    suspects = find_suspects(found)
    rows = suspects["id"].astype(int)
    wrong = set(range(0, 3000, 50))
    assert len(wrong & set(rows)) >= 55
    assert len(set(rows) - wrong) <= 10
    of_wrong = suspects[rows.isin(wrong)]
    names = "class " + pd.Series(truth[of_wrong["id"].astype(int)]).astype(str)
    assert (of_wrong["suggested_label"].to_numpy() == names.to_numpy()).mean() > 0.95
    assert (suspects["given_label"] != suspects["suggested_label"]).all()
    worst = suspects["given_probability"]
    assert worst.iloc[:20].mean() < worst.iloc[-20:].mean()


def test_a_suspect_has_the_probabilities_of_both_its_labels(planted):
    found, _ = planted
    suspects = find_suspects(found)
    assert len(suspects) >= 55
    rows = suspects["id"].astype(int).to_numpy()
    given = found.probabilities[rows, found.targets[rows]]
    np.testing.assert_allclose(suspects["given_probability"], given, rtol=1e-5)
    highest = found.probabilities[rows].max(axis=1)
    np.testing.assert_allclose(suspects["suggested_probability"], highest, rtol=1e-5)


def test_runs_are_put_together_and_refused_where_they_overlap(planted, tmp_path):
    whole, _ = planted
    for part, rows in (("0", slice(0, 1500)), ("1", slice(1500, 3000))):
        (tmp_path / part).mkdir()
        share = (whole.targets[rows], whole.probabilities[rows], whole.image_ids[rows])
        predictions(*share).save(tmp_path / part / "predictions.npz")
    gathered = gather([RunFolder(tmp_path / "0"), RunFolder(tmp_path / "1")])
    assert gathered.image_ids.tolist() == whole.image_ids.tolist()
    with pytest.raises(ValueError, match="1,500 photos are predicted by several of the runs, '0'"):
        gather([RunFolder(tmp_path / "0"), RunFolder(tmp_path / "0")])
    with pytest.raises(FileNotFoundError, match=r"nowhere' holds no predictions\.npz"):
        gather([RunFolder(tmp_path / "nowhere")])
    other = predictions(np.array([0, 1]), np.eye(3)[:2], ["a", "b"])
    (tmp_path / "2").mkdir()
    other.save(tmp_path / "2" / "predictions.npz")
    with pytest.raises(ValueError, match="differ in their classes"):
        gather([RunFolder(tmp_path / "0"), RunFolder(tmp_path / "2")])


@pytest.fixture(scope="module")
def page(run_dir, tmp_path_factory):
    """A page on thirty photos, each given its label with 10 % and suggested another with 90 %."""
    folder = tmp_path_factory.mktemp("suspects")
    loaded = load_catalogue_of(RunFolder(run_dir))
    rows = loaded.catalogue.table[:30]
    suspects = pd.DataFrame(
        {
            "id": rows["id"],
            "given_label": rows["label"],
            "suggested_label": "<b>Very</b> " * 20,
            "given_probability": 0.1,
            "suggested_probability": 0.9,
        }
    )
    write_suspects(suspects, 120, loaded, folder)
    return folder / "index.html"


def test_each_photo_stands_above_both_probabilities(page):
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", page.read_text())
    assert len(captions) == 30
    assert all(re.fullmatch(r"1\d\d\d: 90%, given 10%", caption) for caption in captions)


def test_photos_that_are_gone_leave_a_grey_square_and_the_list_whole(
    run_dir, tiny_root, tmp_path, caplog
):
    root = shutil.copytree(tiny_root, tmp_path / "catalogue")
    (root / "images" / "1000.jpg").unlink()
    loaded = load_catalogue_of(RunFolder(run_dir), str(root))
    (root / "images" / "1001.jpg").write_bytes(b"no photo")
    names = {"given_label": "Jeans", "suggested_label": "Shirts"}
    suspects = pd.DataFrame({"id": ["1000", "1001", "1002"], **names})
    suspects = suspects.assign(given_probability=0.1, suggested_probability=0.9)
    write_suspects(suspects, 120, loaded, tmp_path)
    html = (tmp_path / "index.html").read_text()
    assert html.count("data:image/svg+xml") == 2
    assert "The files of 2 of these photos are gone or can" in html
    assert "The files of 2 photos on the page can't be read" in caplog.text
    assert len(pd.read_csv(tmp_path / "suspect_labels.csv")) == 3


def test_a_class_of_too_few_photos_since_is_no_reason_to_fail(run_dir, tiny_root, tmp_path):
    root = shutil.copytree(tiny_root, tmp_path / "catalogue")
    for id_ in range(1000, 1120):
        if id_ % 3 or id_ > 1012:
            (root / "images" / f"{id_}.jpg").unlink()
    loaded = load_catalogue_of(RunFolder(run_dir), str(root))
    assert len(loaded.catalogue.table) == 6  # two of a rare label among them


@pytest.mark.parametrize("width", [1200, 390])
def test_the_page_opens_in_a_browser(page, browse, width):
    found = browse(page, width)
    assert found == {"pictures": 30, "broken": 0, "too_wide": 0, "stacked": 0, "console": []}


def test_the_command_writes_a_list_that_relabel_takes(run_dir, tmp_path):
    command = [
        sys.executable,
        "-m",
        "fashion",
        "suspects",
        str(run_dir),
        f"output_dir={tmp_path}",
    ]
    out = subprocess.run(command, capture_output=True, text=True)
    assert out.returncode == 0, out.stderr
    assert re.search(r"\d+ of 24 labels are suspect: .*index\.html", out.stdout)
    review = read_review(None, tmp_path / "suspect_labels.csv")
    suspects = pd.read_csv(tmp_path / "suspect_labels.csv", dtype={"id": str})
    assert review.labels == dict(zip(suspects["id"], suspects["suggested_label"], strict=True))
    assert "Suspect labels" in (tmp_path / "index.html").read_text()
