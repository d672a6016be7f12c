import base64
import csv
import io
import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fashion.catalogue.split_catalogue import SplitCatalogue
from fashion.catalogue.table import Catalogue
from fashion.data.settings import DataSettings
from fashion.reports.explore import explore, sampled_classes, warnings

SETTINGS = {"min_images": 10, "fit": "pad"}
NASTY = '=HYPERLINK("http://x")<script>alert(1)</script> & $x_1$ ' + "very long " * 40


def run(root, folder, **changes):
    settings = {**SETTINGS, "cache_dir": str(folder / "cache"), **changes}
    settings = DataSettings.from_config({"root": str(root), **settings})
    return explore(settings, 64, folder / "out")


def read(folder, name):
    with open(folder / "out" / name, newline="", encoding="utf-8-sig") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def hostile(write_catalogue, tmp_path_factory):
    """The folder of a page on a catalogue of twins, odd labels and odd photos, and its audit."""
    tmp_path = tmp_path_factory.mktemp("hostile")
    labels = [NASTY, "-2+3", "Ünï “cödé”"]
    rows = [
        {
            "id": str(i),
            "articleType": labels[i % 3],
            "gender": "Women" if i % 5 else "",
            "baseColour": f"@colour {i % 4}",
            "productDisplayName": f"{NASTY} {i}",
        }
        for i in range(60)
    ]
    folder = write_catalogue(tmp_path / "catalogue", rows, greyscale={"7"})
    shutil.copy(folder / "images" / "0.jpg", folder / "images" / "3.jpg")
    shutil.copy(folder / "images" / "0.jpg", folder / "images" / "4.jpg")
    (folder / "images" / "9.jpg").write_bytes(b"no photo")
    Image.new("CMYK", (300, 200), (0, 90, 0, 20)).save(folder / "images" / "12.jpg")
    return tmp_path, run(folder, tmp_path)


def test_the_audit_counts_everything(hostile):
    tmp_path, audit = hostile
    assert audit == json.loads((tmp_path / "out" / "audit.json").read_text())
    assert (audit["rows_in_file"], audit["rows_kept"]) == (60, 59)
    assert audit["dropped"] == {"unreadable image": 1}
    assert audit["classes"] == 3
    assert audit["modes"] == {"RGB": 57, "L": 1, "CMYK": 1}
    assert audit["train"] + audit["val"] + audit["test"] == 59
    assert audit["twins"] >= 3
    assert audit["twin_groups_of_several_labels"] >= 1
    assert audit["upscaled"] == 0
    warnings = " ".join(audit["warnings"])
    assert "fewer than 10 test photos" in warnings
    assert "more than one label" in warnings
    assert "can't be decoded" in warnings


def test_the_tables_agree_with_the_catalogue(hostile):
    tmp_path, _ = hostile
    classes = read(tmp_path, "class_distribution.csv")
    assert [int(row["photos"]) for row in classes] == [20, 20, 19]
    assert {row["kept"] for row in classes} == {"True"}
    shares = pd.DataFrame(read(tmp_path, "shares.csv"))
    by_column = shares.astype({"photos": int}).groupby("column")["photos"].sum().to_dict()
    assert by_column == {"gender": 59, "baseColour": 59}
    crosses = pd.DataFrame(read(tmp_path, "label_by_column.csv"))
    assert crosses.astype({"photos": int})["photos"].sum() == 118
    images = pd.DataFrame(read(tmp_path, "images.csv")).set_index("id")
    assert images.loc["12", ["width", "height", "mode"]].tolist() == ["300", "200", "CMYK"]
    twins = pd.DataFrame(read(tmp_path, "twins.csv")).set_index("id")
    assert twins.loc[["0", "3", "4"], "group"].nunique() == 1
    assert len(read(tmp_path, "splits.csv")) == 59
    assert len(read(tmp_path, "audit.csv")) == 1


def test_hostile_text_is_escaped_everywhere(hostile):
    tmp_path, _ = hostile
    page = (tmp_path / "out" / "index.html").read_text()
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page
    assert "http" not in re.sub(r"http://x|http://www\.w3\.org", "", page)
    tables = list((tmp_path / "out").glob("*.csv"))
    assert len(tables) == 10
    for path in tables:
        with open(path, newline="", encoding="utf-8") as file:
            cells = [cell for row in csv.reader(file) for cell in row]
        risky = [cell for cell in cells if cell[:1] in tuple("=+-@\t\r")]
        assert not [cell for cell in risky if not re.fullmatch(r"-?\d+(\.\d+)?", cell)], path


@pytest.mark.parametrize("width", [1200, 390])
def test_the_page_opens_in_a_browser(hostile, browse, width):
    found = browse(hostile[0] / "out" / "index.html", width)
    assert found.pop("pictures") > 20
    assert found == {"broken": 0, "too_wide": 0, "stacked": 0, "console": []}


@pytest.mark.parametrize(("ratio", "warned"), [(1.0, 0), (9.99, 0), (10.0, 1), (69.27, 1)])
def test_classes_of_very_different_size_are_warned_of(ratio, warned):
    sizes = {"Tshirts": round(100 * ratio), "Ties": 100}
    kept = pd.DataFrame({"label": sizes.keys(), "photos": sizes.values(), "test": [99, 10]})
    largest, smallest = kept[["label", "photos"]].to_dict("records")
    counts = dict.fromkeys(
        ("classes_with_few_test_photos", "test_with_twin_in_train", "upscaled"), 0
    )
    said = warnings(
        {
            **counts, "twin_groups_of_several_labels": 0, "dropped": {}, "imbalance_ratio": ratio,
            "largest_class": largest, "smallest_class": smallest,
        },
        kept,
    )  # fmt: skip
    assert len(said) == warned
    assert all("“Tshirts” has" in sentence for sentence in said)


MINE = ("budget.csv", "figures/holiday.png")


@pytest.fixture(scope="module")
def tiny_page(tiny_root, tmp_path_factory):
    """The folder of the page on the tiny catalogue, in which files of the user's lay before."""
    folder = tmp_path_factory.mktemp("tiny page")
    (folder / "out" / "figures").mkdir(parents=True)
    for name in MINE:
        (folder / "out" / name).write_text("mine")
    run(tiny_root, folder)
    return folder


def test_nothing_of_the_user_s_is_deleted(tiny_page):
    assert all((tiny_page / "out" / name).read_text() == "mine" for name in MINE)


def test_each_class_is_shown_with_photos_of_its_own(tiny_page):
    page = (tiny_page / "out" / "index.html").read_text()
    samples = page.partition('id="samples"')[2]
    shown = {}
    for section in samples.split("<section")[1:]:
        label = re.search(r"<h4>(\w+) \(\d+\)</h4>", section)[1]
        photos = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', section)
        pixels = [Image.open(io.BytesIO(base64.b64decode(photo))) for photo in photos]
        shown[label] = [tuple(photo.resize((3, 3)).getpixel((1, 1))) for photo in pixels]
    assert {label: len(colours) for label, colours in shown.items()} == {
        "Jeans": 8, "Shirts": 8, "Watches": 8,
    }  # fmt: skip
    for label, colours in shown.items():
        red, green, blue = np.array(colours).T
        of_label = {"Jeans": blue > red, "Shirts": red > 2 * green, "Watches": green > 2 * blue}
        assert of_label[label].sum() >= 7, label  # one Shirts is grey


def test_rare_labels_stand_in_the_distribution(tiny_page):
    classes = pd.DataFrame(read(tiny_page, "class_distribution.csv")).set_index("label")
    assert classes.loc["Umbrellas", ["photos", "kept", "share"]].tolist() == ["2", "False", "0"]
    assert classes["share"].astype(float).sum() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("zipped", [False, True])
def test_a_folder_a_class_is_explored(tmp_path, zipped):
    rng = np.random.default_rng(0)
    for label in ("Hats", "Shoes"):
        (tmp_path / "shop" / label).mkdir(parents=True)
        for i in range(12):
            pixels = rng.integers(0, 256, (40, 30, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "shop" / label / f"{i}.png")
    root = tmp_path / "shop"
    if zipped:
        root = shutil.make_archive(str(tmp_path / "zipped"), "zip", root)
    audit = run(root, tmp_path)
    assert (audit["classes"], audit["rows_kept"], audit["upscaled"]) == (2, 24, 24)
    assert "no other column" in (tmp_path / "out" / "index.html").read_text()


def test_the_command_takes_the_keys_of_training(tiny_root, tmp_path):
    words = [f"data.root={tiny_root}", f"output_dir={tmp_path / 'page'}", "data.min_images=10"]
    words += [f"data.cache_dir={tmp_path / 'cache'}", "data.batch_size=16"]
    command = [sys.executable, "-m", "fashion", "explore"]
    done = subprocess.run([*command, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "120 kept in 3 classes" in done.stderr
    assert (tmp_path / "page" / "index.html").exists()
    wrong = subprocess.run([*command, "data.rooot=x"], capture_output=True, text=True)
    assert wrong.returncode == 1
    assert "rooot" in wrong.stderr


@pytest.mark.parametrize(
    ("counts", "settings", "reason"),
    [
        ({"Jeans": 4, "Shirts": 4, "Hats": 4}, {}, "data.min_images=100 leaves 0 of 3 classes"),
        ({"Jeans": 4, "Shirts": 4, "Hats": 4}, {"min_images": 3}, "a split of 10 % has 1 photos"),
        ({"Jeans": 3}, {"min_images": 1}, "data.min_images=1 leaves 1 of 1 classes"),
    ],
)
def test_what_cannot_be_trained_on_can_be_looked_at(
    write_catalogue, tmp_path, counts, settings, reason
):
    labels = [label for label, number in counts.items() for _ in range(number)]
    rows = [{"id": str(i), "articleType": label} for i, label in enumerate(labels)]
    root = write_catalogue(tmp_path / "few", rows)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "splits.csv").write_text("of an exploration before")
    given = {"root": str(root), "cache_dir": str(tmp_path / "cache"), **settings}
    audit = explore(DataSettings.from_config(given), 48, tmp_path / "out")
    assert audit["warnings"][0].startswith("This can be looked at, but not trained on: data.")
    assert reason in audit["warnings"][0]
    assert (audit["rows_kept"], audit["classes"]) == (len(rows), len(counts))
    assert audit["all"] == len(rows)
    assert "splits_sha256" not in audit
    assert not (tmp_path / "out" / "splits.csv").exists()
    table = read(tmp_path, "class_distribution.csv")
    assert {row["label"]: int(row["photos"]) for row in table} == counts
    page = (tmp_path / "out" / "index.html").read_text()
    assert "shared out into splits" in page
    assert page.count("data:image/jpeg") >= len(rows)


@pytest.mark.parametrize("key", ["label_column", "group_column", "rename"])
def test_a_mistake_is_no_catalogue_to_look_at(tiny_root, tmp_path, key):
    mistyped = tmp_path / "colour.csv"
    mistyped.write_text("old,new\nnone,Hats\n")
    given = {"root": str(tiny_root), "cache_dir": str(tmp_path), "min_images": 10}
    given[key] = str(mistyped) if key == "rename" else "colour"
    with pytest.raises(ValueError, match=rf"data\.{key}"):
        explore(DataSettings.from_config(given), 48, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_labels_that_look_alike_or_like_none_are_told_with_a_list_that_mends_them(
    write_catalogue, tmp_path
):
    spellings = ["Shirts", "Shirts", "shirts", "Jeans", "nan"] * 12 + ["SHÍRTS"]
    rows = [{"id": str(i), "articleType": label} for i, label in enumerate(spellings)]
    folder = write_catalogue(tmp_path / "catalogue", rows)
    audit = run(folder, tmp_path, min_images=5)
    assert read(tmp_path, "rename.csv") == [
        {"old": "shirts", "new": "Shirts", "photos": "12"},
        {"old": "SHÍRTS", "new": "Shirts", "photos": "1"},
        {"old": "nan", "new": "", "photos": "12"},
    ]
    alike, none = audit["warnings"][:2]
    assert alike.startswith(
        "“Shirts” and “shirts” (12), “Shirts” and “SHÍRTS” (1) differ in case, "
    )
    assert none.startswith("“nan” (12) looks like no label at all.")
    names = shutil.copy(tmp_path / "out" / "rename.csv", tmp_path / "rename.csv")
    mended = run(folder, tmp_path, min_images=5, rename=str(names))
    assert (mended["classes"], mended["dropped"]) == (2, {"no label": 12})
    assert mended["relabelled"] == 13
    assert not any("data.rename" in warning for warning in mended["warnings"])


def test_of_many_classes_the_largest_smallest_and_most_doubtful_have_samples(tmp_path):
    names = [f"class {i:03}" for i in range(100)]
    labels = np.repeat(names, np.arange(1, 101))
    table = pd.DataFrame({"id": np.arange(len(labels)).astype(str), "label": labels})
    splits = SplitCatalogue.undivided(catalogue_of(table), names)
    doubted = pd.Series(["class 050"] * 3 + ["class 041"] + ["unknown"] * 9)
    chosen = sampled_classes(splits, doubted)
    assert chosen == [*names[:20], "class 041", "class 050", *names[80:]]
    few = SplitCatalogue.undivided(catalogue_of(table), names[:60])
    assert sampled_classes(few, doubted) == names[:60]


def catalogue_of(table):
    table = table.assign(line=table.index + 2, photo=table["id"])
    dropped = pd.DataFrame(columns=["line", "id", "label", "reason", "detail", "photo"])
    return Catalogue(table, dropped, len(table), pd.DataFrame(index=table["line"]), "a table")
