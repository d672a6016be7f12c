import csv
import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fashion.catalogue.images import decode_image
from fashion.data.datamodule import FashionDataModule

SETTINGS = {"batch_size": 8, "rotation": 10.0}
NEW = [("n0", "Shirts"), ("n1", "Jeans"), ("n2", "Jeans"), ("n3", "Watches")]


@pytest.fixture(scope="module")
def build(tiny_root, data_settings, tmp_path_factory):
    """Returns build(**changes), a datamodule on `tiny_root` that is set up."""
    cache_dir = tmp_path_factory.mktemp("cache")

    def build(root=tiny_root, **changes):
        settings = {**SETTINGS, "cache_dir": str(cache_dir), **changes}
        settings = data_settings(root, **settings)
        module = FashionDataModule(settings, input_size=32, interpolation="bilinear", seed=0)
        module.setup()
        return module

    return build


@pytest.fixture(scope="module")
def draw_photo():
    """Returns draw_photo(path, seed), which writes a photo unlike all others."""

    def draw(path, seed):
        pixels = np.random.default_rng((seed, 5)).integers(0, 256, (60, 45, 3), np.uint8)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path, quality=95)

    return draw


@pytest.fixture(scope="module")
def corrections(build, tiny_root, draw_photo, tmp_path_factory):
    """An export of corrections: four new photos, and one of each kind that isn't added."""
    folder = tmp_path_factory.mktemp("more")
    rows = [*NEW, ("hat", "Hats"), ("empty", "Jeans"), ("gone", "Jeans")]
    for seed, (id_, _) in enumerate(rows[:-1]):
        draw_photo(folder / "images" / f"{id_}.jpg", seed)
    (folder / "images" / "empty.jpg").write_bytes(b"")
    splits = build().splits
    for split in ("train", "val", "test"):
        id_ = splits.rows(split)["id"].iloc[0]
        photo = Image.open(tiny_root / "images" / f"{id_}.jpg").convert("RGB")
        photo.resize((90, 120)).save(folder / "images" / f"{split}.jpg", quality=90)
        rows.append((split, splits.rows(split)["label"].iloc[0]))
    with (folder / "corrections.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("id", "label"), *rows])
    return folder


def test_validation_and_test_stay_as_they_are_to_the_row(build, corrections):
    before, after = build().splits, build(more=str(corrections)).splits
    for split in ("val", "test"):
        kinds = {"check_dtype": False, "check_categorical": False}
        pd.testing.assert_frame_equal(before.rows(split), after.rows(split), **kinds)
        np.testing.assert_array_equal(before.targets(split), after.targets(split))
    added = after.rows("train")["id"].tolist()[len(before.rows("train")) :]
    assert added == [f"more:{id_}" for id_, _ in NEW] + ["more:train"]
    assert after.class_names == before.class_names
    assert after.own["id"].tolist() == before.table["id"].tolist()


def test_what_is_refused_is_counted_and_told(build, corrections, caplog, tmp_path):
    with caplog.at_level("INFO"):
        module = build(more=str(corrections))
    assert module.facts()["more"] == {
        "added": 5,
        "no image": 1,
        "unknown label": 1,
        "unreadable image": 1,
        "twin of val or test": 2,
    }
    subject, splits = f"data.more={str(corrections)!r}: ", build().splits
    twin = splits.table[splits.table["split"] != "train"]["id"]
    said = [record.message for record in caplog.records if record.message.startswith(subject)]
    assert f"{subject}5 photos are added to the training split." in said
    assert (
        f"{subject}1 row is refused, whose labels the catalogue doesn't have: 'Hats' (1)." in said
    )
    (sentence,) = (each for each in said if "twins of validation or test photos" in each)
    assert "2 rows are refused" in sentence
    assert sentence.split("'")[-2] in set(twin)
    module.splits.write_tables(tmp_path)
    audit = pd.read_csv(tmp_path / "audit.csv", dtype=str).set_index("id")
    assert audit.loc["more:hat", ["label", "reason"]].tolist() == ["Hats", "unknown label"]
    assert audit.loc["more:val", "detail"] == splits.rows("val")["id"].iloc[0]
    kept = pd.read_csv(tmp_path / "splits.csv").set_index("id")["split"]
    assert kept[["more:n0", "more:train"]].tolist() == ["train", "train"]


def test_added_photos_are_trained_on_with_their_labels(build, corrections):
    module = build(more=str(corrections))
    content = (corrections / "images" / "n1.jpg").read_bytes()
    expected = decode_image(content, 32, "squash", "bilinear")
    np.testing.assert_array_equal(module.photos(["more:n1"])[0], expected)
    place = module.splits.rows("train")["id"].tolist().index("more:n1")
    assert module.splits.class_names[module.splits.targets("train")[place]] == "Jeans"
    loader = module.train_dataloader()
    drawn = [int(row) for batch in loader for row in batch.rows]
    assert len(module.splits.rows("train")) - 8 < len(drawn) <= len(module.splits.rows("train"))


@pytest.mark.parametrize("fold", [0, 2])
@pytest.mark.parametrize("split", ["random", "grouped"])
def test_folds_stay_as_they_are(build, corrections, fold, split):
    before = build(folds=3, fold=fold, split=split).splits
    after = build(folds=3, fold=fold, split=split, more=str(corrections)).splits
    assert after.rows("test")["id"].tolist() == before.rows("test")["id"].tolist()
    assert set(NEW_IDS) <= set(after.rows("train")["id"])
    names = {"train", "val", "test"}
    refused = after.refused_more.set_index("id")["reason"]
    assert {name for name in names if f"more:{name}" in refused.index} >= {
        name
        for name in names
        if _split_of(before, build().splits.rows(name)["id"].iloc[0]) != "train"
    }


NEW_IDS = [f"more:{id_}" for id_, _ in NEW]


def _split_of(splits, id_):
    return splits.table.set_index("id")["split"][id_]


def test_a_run_is_resumed_with_the_same_photos_alone(build, corrections):
    plain, more = build(), build(more=str(corrections))
    more.load_state_dict(build(more=str(corrections)).state_dict())
    with pytest.raises(ValueError, match="splits differ from those that ckpt_path was trained on"):
        plain.load_state_dict(more.state_dict())


def test_a_catalogue_like_the_first_is_added_too(build, write_catalogue, tmp_path):
    rows = [{"id": str(5000 + i), "articleType": "Jeans"} for i in range(3)]
    more = write_catalogue(tmp_path / "more", [*rows, {"id": "1000", "articleType": "Shirts"}])
    module = build(more=str(more))
    facts = module.facts()
    twin = _split_of(build().splits, "1000") != "train"
    assert facts["more"]["added"] == 4 - twin
    assert facts["train"] == len(build().splits.rows("train")) + 4 - twin


def test_folders_of_photos_are_added_to_folders_of_photos(build, draw_photo, tiny_root, tmp_path):
    for number in range(60):
        source = tiny_root / "images" / f"{1000 + number}.jpg"
        folder = tmp_path / "root" / ["Shirts", "Jeans", "Watches"][number % 3]
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, folder)
    draw_photo(tmp_path / "more" / "Jeans" / "a.jpg", 1)
    module = build(tmp_path / "root", table=None, more=str(tmp_path / "more"))
    assert module.splits.rows("train")["id"].iloc[-1] == "more:Jeans/a.jpg"


def test_given_splits_stay_and_merged_classes_are_merged(
    build, write_catalogue, corrections, tmp_path
):
    names = ["train", "train", "train", "val", "test"]
    rows = [
        {"id": str(i), "articleType": ["Shirts", "Jeans", "Watches"][i % 3],
         "usage": names[i // 3 % 5]}
        for i in range(150)
    ]  # fmt: skip
    root = write_catalogue(tmp_path / "given", rows)
    (tmp_path / "rename.csv").write_text("old,new\nJeans,Trousers\n")
    settings = {"split": "given", "split_column": "usage", "rename": str(tmp_path / "rename.csv")}
    before = build(root, **settings).splits
    after = build(root, more=str(corrections), **settings).splits
    for split in ("val", "test"):
        assert after.rows(split)["id"].tolist() == before.rows(split)["id"].tolist()
    labels = after.table.set_index("id")["label"]
    assert labels["more:n1"] == "Trousers"


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda path: path / "nowhere", "data.more=.*nowhere' does not exist"),
        (lambda path: path, "data.more=.* holds no styles.csv, nor a folder of photos"),
    ],
)
def test_what_is_no_catalogue_is_refused_by_its_key(make, sentence, build, tmp_path):
    with pytest.raises(FileNotFoundError, match=sentence):
        build(more=str(make(tmp_path)))


def test_an_export_without_a_column_is_refused_by_its_key(build, tmp_path):
    (tmp_path / "corrections.csv").write_text("id,class\n1,Jeans\n")
    with pytest.raises(ValueError, match=r"^data\.more=.*label"):
        build(more=str(tmp_path))


def test_ids_never_meet_those_of_the_catalogue(build, tiny_root, draw_photo, tmp_path):
    for number in range(60):
        source = tiny_root / "images" / f"{1000 + number}.jpg"
        folder = tmp_path / "root" / f"more:{['Shirts', 'Jeans', 'Watches'][number % 3]}"
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, folder)
    draw_photo(tmp_path / "more" / "more:Jeans" / "a.jpg", 1)
    module = build(tmp_path / "root", table=None, more=str(tmp_path / "more"))
    assert module.splits.rows("train")["id"].iloc[-1] == "more:more:more:Jeans/a.jpg"
