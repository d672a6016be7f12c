import hashlib
import json
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fashion.catalogue import sample
from fashion.catalogue import sample_drawing as drawing
from fashion.catalogue.sample import MARKER, draw_sample
from fashion.catalogue.sample_products import PALETTE, TYPES
from fashion.metrics.study import has_study_classes

SMALL = 240


@pytest.fixture(scope="module")
def folder(sample_cache):
    return draw_sample(sample_cache)  # which is there


@pytest.fixture(scope="module")
def rows(folder):
    """The rows that pandas reads, malformed ones skipped, with the path of their photos."""
    table = pd.read_csv(folder / "styles.csv", on_bad_lines="skip", keep_default_na=False)
    paths = [folder / "images" / f"{image_id}.jpg" for image_id in table["id"]]
    return table.assign(path=paths)[[path.exists() for path in paths]]


@pytest.fixture(scope="module")
def pixels(rows):
    return np.stack([np.asarray(read(path).convert("RGB")) for path in rows["path"]])


def read(path):
    with Image.open(path) as photo:
        photo.load()
    return photo


def files(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_two_draws_give_the_same_bytes(tmp_path):
    one, other = (draw_sample(tmp_path / name, photos=SMALL) for name in ("one", "other"))
    assert one.name == other.name
    assert len(files(one)) == SMALL + 2
    assert files(one) == files(other)


def test_other_settings_get_another_folder(tmp_path, monkeypatch):
    first = draw_sample(tmp_path, photos=SMALL)
    monkeypatch.setattr(sample, "SEED", sample.SEED + 1)
    second = draw_sample(tmp_path, photos=SMALL)
    assert first.name != second.name
    assert files(first).keys() != files(second).keys()


def test_too_few_photos_are_refused(tmp_path):
    with pytest.raises(ValueError, match="photos=20 leaves article types without a photo"):
        draw_sample(tmp_path, photos=20)


def test_a_second_call_draws_nothing(tmp_path):
    folder = draw_sample(tmp_path, photos=SMALL)
    before = {path: path.stat().st_mtime_ns for path in [folder, *folder.rglob("*")]}
    assert draw_sample(tmp_path, photos=SMALL) == folder
    assert {path: path.stat().st_mtime_ns for path in [folder, *folder.rglob("*")]} == before


def test_a_drawing_that_was_cut_short_is_begun_again(tmp_path, monkeypatch):
    complete = draw_sample(tmp_path / "complete", photos=SMALL)
    drawn = []

    def draw_until_the_crash(draw, rng):
        drawn.append(draw)
        if len(drawn) > 20:
            raise KeyboardInterrupt
        return draw_photo(draw, rng)

    draw_photo = drawing.draw_photo
    monkeypatch.setattr(drawing, "draw_photo", draw_until_the_crash)
    with pytest.raises(KeyboardInterrupt):
        draw_sample(tmp_path / "cut", photos=SMALL)
    monkeypatch.undo()
    (leftover,) = (path for path in (tmp_path / "cut").iterdir() if path.is_dir())
    assert len(list((leftover / "images").iterdir())) > 10
    (leftover / "images" / "1.jpg").write_bytes(b"half a photo")

    folder = draw_sample(tmp_path / "cut", photos=SMALL)
    assert files(folder) == files(complete)
    assert not leftover.exists()


@pytest.mark.parametrize("part", ["styles.csv", MARKER, "images/*.jpg", "images"])
def test_a_sample_that_lost_a_part_is_drawn_again(part, tmp_path):
    folder = draw_sample(tmp_path, photos=SMALL)
    before = files(folder)
    lost = next(folder.glob(part))
    shutil.rmtree(lost) if lost.is_dir() else lost.unlink()
    assert draw_sample(tmp_path, photos=SMALL) == folder
    assert files(folder) == before
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]


def test_a_sample_that_cannot_be_drawn_names_the_folder(tmp_path):
    (tmp_path / "file").touch()
    message = r"^data\.cache_dir='.*file/cache' can't be written \(Not a directory\)\. Pass data"
    with pytest.raises(OSError, match=message):
        draw_sample(tmp_path / "file" / "cache", photos=SMALL)


def test_two_processes_at_once_get_one_complete_catalogue(tmp_path):
    code = "import sys; from fashion.catalogue.sample import draw_sample; "
    code += "print(draw_sample(sys.argv[1], photos=int(sys.argv[2])))"
    command = [sys.executable, "-c", code, str(tmp_path / "shared"), str(SMALL)]
    processes = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    outputs = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert outputs[0][0] == outputs[1][0]
    drew = ["Drawing the sample catalogue" in stderr for _, stderr in outputs]
    assert sorted(drew) == [False, True]
    complete = draw_sample(tmp_path / "alone", photos=SMALL)
    assert files(tmp_path / "shared" / complete.name) == files(complete)


def test_the_file_has_the_published_columns_and_faults(folder, rows):
    header, *lines = (folder / "styles.csv").read_text(encoding="utf-8").splitlines()
    assert header == (
        "id,gender,masterCategory,subCategory,articleType,"
        "baseColour,season,year,usage,productDisplayName"
    )
    fields = [line.split(",") for line in lines]
    assert len(fields) == sample.PHOTOS + drawing.ROWS_WITHOUT_IMAGE == 5_001
    assert len({row[0] for row in fields}) == len(fields)
    assert [int(row[0]) for row in fields] != sorted(int(row[0]) for row in fields)

    broken = [row for row in fields if len(row) > 10]
    assert sorted(row[4] for row in broken) == ["Casual Shoes", "Shirts", "Tshirts"]
    assert all((folder / "images" / f"{row[0]}.jpg").exists() for row in broken)

    images = {path.stem for path in (folder / "images").iterdir()}
    assert len(images) == sample.PHOTOS
    assert len({row[0] for row in fields} - images) == 1
    assert images <= {row[0] for row in fields}
    assert len(rows) == sample.PHOTOS - drawing.BROKEN_ROWS
    assert not (rows == "").any().any()


def test_every_photo_is_a_portrait_jpeg_and_one_in_a_hundred_is_grey(rows):
    photos = [read(path) for path in rows["path"]]
    assert {(photo.format, photo.size) for photo in photos} == {("JPEG", (60, 80))}
    modes = pd.Series([photo.mode for photo in photos]).value_counts()
    assert modes.to_dict() == {"RGB": 4_947, "L": 50}


def test_all_54_types_of_the_study_have_30_photos_and_one_more_is_rare(rows):
    counts = rows["articleType"].value_counts()
    assert counts.pop("Umbrellas") == drawing.RARE_PHOTOS
    assert len(counts) == len(TYPES) == 54
    assert has_study_classes(article.name for article in TYPES)
    assert counts.min() >= 30
    assert 350 <= counts.max() < 0.12 * len(rows)
    expected = drawing.type_counts(sample.PHOTOS)
    assert sum(expected.values()) == sample.PHOTOS
    assert counts.sub(pd.Series(expected)).dropna().isin([0, -1]).all()  # -1: the broken rows


def test_the_other_columns_are_plausible(rows):
    assert set(rows["gender"]) == {"Men", "Women", "Boys", "Girls", "Unisex"}
    assert set(rows["masterCategory"]) == {"Apparel", "Accessories", "Footwear", "Personal Care"}
    assert set(rows["season"]) == {"Summer", "Fall", "Winter", "Spring"}
    assert rows["year"].between(2007, 2019).all()
    assert set(rows["baseColour"]) == set(PALETTE)
    named = zip(rows["productDisplayName"], rows["baseColour"], strict=True)
    assert all(colour in name for name, colour in named)
    assert set(rows.loc[rows["articleType"] == "Bra", "gender"]) == {"Women"}


def test_the_base_colour_is_the_one_drawn(rows, pixels):
    black, white = (
        pixels[(rows["baseColour"] == name) & (rows["articleType"] == "Tshirts"), 35:50, 25:35]
        for name in ("Black", "White")
    )
    assert np.median(black) < 80 < 200 < np.median(white)


def test_no_two_photos_are_alike(pixels):
    hashes = {hashlib.sha256(photo.tobytes()).digest() for photo in pixels}
    assert len(hashes) == len(pixels)


def test_the_background_is_nearly_white(pixels):
    corners = pixels[:, [0, 0, -1, -1], [0, -1, 0, -1]].mean(axis=(1, 2))
    assert corners.min() > 200


@pytest.mark.parametrize(
    "classifier",
    [
        KNeighborsClassifier(1),
        KNeighborsClassifier(50),
        RandomForestClassifier(100, min_samples_leaf=20, random_state=0),
        LogisticRegression(max_iter=1000),
    ],
    ids=["nearest", "neighbours", "forest", "logistic"],
)
def test_the_mean_colour_does_not_tell_the_type(rows, pixels, classifier):
    study = (rows["articleType"] != "Umbrellas").to_numpy()
    means, labels = pixels[study].mean(axis=(1, 2)), rows["articleType"][study]
    split = train_test_split(means, labels, test_size=0.3, stratify=labels, random_state=0)
    train_means, test_means, train_labels, test_labels = split
    fitted = make_pipeline(StandardScaler(), classifier).fit(train_means, train_labels)
    assert fitted.score(test_means, test_labels) < 0.15


def test_the_marker_says_what_was_drawn(folder):
    marker = json.loads((folder / MARKER).read_text(encoding="utf-8"))
    assert marker == {"count": 5_000, "seed": sample.SEED, "version": sample.VERSION}
    assert folder.name.startswith(f"sample-v{sample.VERSION}-")
