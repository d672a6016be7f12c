import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from fashion.data import preparation
from fashion.data.batches import PADDING
from fashion.data.datamodule import FashionDataModule
from fashion.data.loaders import BatchPlan

SETTINGS = {"batch_size": 8, "rotation": 10.0}


def make(settings, *, input_size=32, seed=0):
    return FashionDataModule(settings, input_size=input_size, interpolation="bilinear", seed=seed)


@pytest.fixture(scope="module")
def build(tiny_root, data_settings, tmp_path_factory):
    cache_dir = tmp_path_factory.mktemp("cache")

    def build(seed=0, **changes):
        settings = {**SETTINGS, "cache_dir": str(cache_dir), **changes}
        datamodule = make(data_settings(tiny_root, **settings), seed=seed)
        datamodule.setup()
        return datamodule

    return build


def epoch_of(datamodule, epoch):
    loader = datamodule.train_dataloader()
    loader.sampler.set_epoch(epoch)
    return list(loader)


def test_batches_are_uint8_channels_last_and_of_one_shape(build):
    datamodule = build()
    shapes = set()
    for batch in epoch_of(datamodule, 0):
        assert batch.inputs.dtype == torch.uint8
        assert batch.inputs.is_contiguous(memory_format=torch.channels_last)
        assert batch.targets.dtype == batch.rows.dtype == torch.int64
        shapes.add((batch.inputs.shape, batch.targets.shape))
    assert shapes == {((8, 3, 32, 32), (8,))}


def test_targets_are_the_places_of_the_labels(build):
    datamodule = build()
    labels = datamodule.splits.rows("val")["label"].tolist()
    seen = {}
    for batch in datamodule.val_dataloader():
        for row, target in zip(batch.rows.tolist(), batch.targets.tolist(), strict=True):
            if row != PADDING:
                seen[row] = datamodule.splits.class_names[target]
    assert [seen[row] for row in range(len(labels))] == labels


@pytest.mark.parametrize("num_workers", [1, 2])
def test_the_number_of_workers_changes_nothing(build, num_workers):
    plain = epoch_of(build(), 1)
    parallel = epoch_of(build(num_workers=num_workers), 1)
    for one, other in zip(plain, parallel, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_augmentation_depends_on_seed_epoch_and_row(build):
    def first_photo(seed, epoch):
        for batch in epoch_of(build(seed=seed), epoch):
            if 0 in batch.rows:
                return batch.inputs[batch.rows.tolist().index(0)]
        return None

    again = first_photo(0, 0)
    assert again is not None
    assert torch.equal(first_photo(0, 0), again)
    others = [first_photo(0, epoch) for epoch in (1, 2)] + [first_photo(7, 0)]
    assert not any(other is not None and torch.equal(other, again) for other in others)


def test_augmentation_flips_half_and_rotates_on_white(build):
    dataset = build(rotation=30.0).train_dataloader().dataset
    photo = np.zeros((32, 32, 3), np.uint8)
    photo[:, :16] = 100
    flat = [dataset._augmented(photo, (0, 0, row)) for row in range(200)]
    corners = np.array([image[0, 0].max() for image in flat])
    assert (corners == 255).mean() > 0.5  # white shows where a turned photo leaves the square
    left = np.array([image[16, 4].mean() for image in flat])
    assert 0.35 < (left < 50).mean() < 0.65
    unturned = build(rotation=0).train_dataloader().dataset
    kinds = {unturned._augmented(photo, (0, 0, row)).tobytes() for row in range(50)}
    assert kinds == {photo.tobytes(), photo[:, ::-1].tobytes()}


def test_validation_photos_are_not_augmented(build):
    datamodule = build()
    places = pd.Series(range(len(datamodule.store.ids)), index=datamodule.store.ids)
    expected = datamodule.store.take(places[datamodule.splits.rows("val")["id"]].to_numpy())
    shown = torch.cat([batch.inputs for batch in datamodule.val_dataloader()])[: len(expected)]
    assert np.array_equal(shown.permute(0, 2, 3, 1).numpy(), expected)


def test_seed_and_split_seed_decide_different_things(build):
    base, reseeded, resplit = build(), build(seed=5), build(split_seed=5)
    assert base.state_dict() == reseeded.state_dict()
    assert base.state_dict() != resplit.state_dict()


def test_splits_of_another_catalogue_are_refused(build):
    with pytest.raises(ValueError, match=r"splits differ from those that ckpt_path was trained on"):
        build(split_seed=1).load_state_dict(build().state_dict())


def test_facts_account_for_every_row(build):
    facts = build().facts()
    assert facts["rows_in_file"] == facts["rows_kept"] + sum(facts["dropped"].values())
    assert facts["rows_kept"] == facts["train"] + facts["val"] + facts["test"]
    assert facts["drawn_sample"] is False


def trainer_with(devices, hosts, host, accumulate=1):
    strategy = SimpleNamespace(
        num_devices=devices, distributed_sampler_kwargs={"num_replicas": hosts, "rank": host}
    )
    fit_loop = SimpleNamespace(epoch_progress=None, epoch_loop=SimpleNamespace(batch_progress=None))
    fit_loop.epoch_progress = SimpleNamespace(current=None)
    return SimpleNamespace(strategy=strategy, accumulate_grad_batches=accumulate, fit_loop=fit_loop)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_each_host_feeds_its_own_part_of_every_batch(build, accumulate):
    whole = build()
    parts = [build(), build()]
    for host, datamodule in enumerate(parts):
        datamodule.trainer = trainer_with(4, 2, host, accumulate)
        datamodule.plan.check()
    expected = [set(batch.rows.tolist()) for batch in whole.train_dataloader()]
    fed = [[batch.rows.tolist() for batch in part.train_dataloader()] for part in parts]
    assert {len(rows) for part in fed for rows in part} == {8 // 2 // accumulate}
    for step, rows in enumerate(expected):
        micro = range(step * accumulate, (step + 1) * accumulate)
        together = [row for part in fed for k in micro for row in part[k]]
        assert sorted(together) == sorted(rows)
    evaluated = [row for part in parts for batch in part.val_dataloader() for row in batch.rows]
    assert len(evaluated) == 16  # 12 photos and what fills the second batch
    assert sorted(row for row in evaluated if row != PADDING) == list(range(12))


@pytest.mark.parametrize(
    ("batch_size", "devices", "photos", "enough"),
    [(64, 1, 12, 12), (64, 8, 12, 16), (64, 8, 1, 8), (5, 2, 100, 6), (64, 4, 100, 64)],
)
def test_a_batch_to_evaluate_is_no_larger_than_the_photos_need(batch_size, devices, photos, enough):
    trainer = trainer_with(devices, 1, 0)
    assert BatchPlan.of_trainer(batch_size, 0, trainer).enough_for(photos) == enough


def test_a_batch_that_the_devices_cannot_share_is_refused_with_the_nearest(build):
    datamodule = build(batch_size=12)
    datamodule.trainer = trainer_with(8, 1, 0)
    with pytest.raises(ValueError, match=r"=12 .* by 8 \(8 devices x .*batch_size=8 or 16"):
        datamodule.plan.check()
    datamodule.trainer = trainer_with(4, 1, 0, accumulate=2)
    with pytest.raises(ValueError, match=r"by 8 \(4 devices x trainer\.accumulate_grad_batches=2"):
        datamodule.plan.check()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fit": "crop"}, r"data\.fit='crop' is unknown; pass squash or pad"),
        ({"split": "grouped2"}, r"data\.split='grouped2' is unknown; pass random"),
        ({"rotation": -1}, r"data\.rotation=-1 must be a number, 0 or more"),
        ({"batch_size": 0}, r"data\.batch_size=0 must be a whole number, 1 or more"),
        ({"batch_size": True}, r"data\.batch_size=True must be a whole number"),
        (
            {"label_column": None},
            r"data\.label_column=null: a table has a column .* data\.table=null",
        ),
        ({"batch_size": 4096}, r"data\.batch_size=4096 is larger than the training split of \d+"),
        ({"malformed_rows": "drop"}, r"data\.malformed_rows='drop' is unknown"),
        ({"sampler": "even"}, r"data\.sampler='even' is unknown; pass shuffle or sqrt or balanced"),
        ({"folds": 1}, r"data\.folds=1: pass a number of 2 or more, or null"),
        ({"folds": 5, "fold": 5}, r"data\.fold=5: pass one from 0 to 4 with data\.folds=5"),
        ({"fold": 1}, r"data\.fold=1 needs data\.folds"),
    ],
)
def test_wrong_settings_are_named(build, changes, message):
    with pytest.raises(ValueError, match=message):
        build(**changes)


def test_the_drawn_sample_is_used_without_a_root(data_settings, sample_cache):
    datamodule = make(data_settings(None, **SETTINGS, cache_dir=str(sample_cache)))
    datamodule.load_catalogue()
    facts = datamodule.facts()
    assert facts["drawn_sample"] is True
    assert facts["classes"] == 54


@pytest.fixture(scope="module")
def build_twinned(tiny_root, data_settings, tmp_path_factory):
    """As `build`, on a catalogue in which 39 photos are copies of others of their label."""
    folder = tmp_path_factory.mktemp("twinned")
    shutil.copytree(tiny_root, folder / "tiny")
    rng = np.random.default_rng(0)
    for id_ in range(1000, 1120):
        pixels = rng.integers(0, 256, (60, 45, 3), np.uint8)
        if id_ % 9 >= 6:  # three ids on is the same label
            shutil.copy(folder / f"tiny/images/{id_ - 3}.jpg", folder / f"tiny/images/{id_}.jpg")
        else:
            Image.fromarray(pixels).save(folder / f"tiny/images/{id_}.jpg")

    def build(**changes):
        settings = {**SETTINGS, "cache_dir": str(folder / "cache"), **changes}
        datamodule = make(data_settings(folder / "tiny", **settings))
        datamodule.setup()
        return datamodule

    return build


def test_grouped_splits_keep_twins_together_and_random_ones_are_counted(build_twinned):
    random, grouped = build_twinned(count_twins=True), build_twinned(split="grouped")
    groups = random.splits.twins.set_index("id")["group"]
    assert len(groups) == 78
    assert groups.nunique() == 39
    for datamodule in (random, grouped):
        splits = datamodule.splits.table.set_index("id")["split"]
        of_twins = splits[groups.index].groupby(groups).nunique()
        in_train = set(groups[splits[groups.index] == "train"])
        leaked = [id_ for id_ in groups.index if splits[id_] == "test" and groups[id_] in in_train]
        facts = datamodule.facts()
        assert (facts["twins"], facts["twin_groups"]) == (78, 39)
        assert (
            facts["test_with_twin_in_train"]
            == len(leaked)
            == datamodule.splits.has_twin("test").sum()
        )
        if datamodule is grouped:
            assert (of_twins == 1).all()
            assert not leaked
        else:
            assert len(leaked) >= 2
    whole = pd.Series(random.splits.has_twin("all"), index=random.splits.rows("all")["id"])
    assert whole[groups.index].sum() == whole.sum()
    assert grouped.state_dict() != random.state_dict()


def test_random_splits_are_the_same_without_looking_for_twins(build_twinned, monkeypatch, caplog):
    counted = build_twinned(count_twins=True)
    monkeypatch.setattr(preparation, "find_twins", lambda *_: pytest.fail("looked for twins"))
    with caplog.at_level("INFO"):
        random = build_twinned()
    assert random.state_dict() == counted.state_dict()
    assert random.splits.has_twin("test") is None
    assert not [key for key in random.facts() if "twin" in key]
    assert "data.count_twins=true" in caplog.text


def test_a_file_is_read_once_to_pack_it_and_to_find_its_twins(
    build_twinned, data_settings, tmp_path
):
    settings = build_twinned(split="grouped").settings
    loaded = preparation.load(replace(settings, cache_dir=str(tmp_path)))
    read = []

    def reading(name):
        read.append(name)
        return root.read(name)

    root = loaded.root
    loaded = replace(loaded, root=replace(root, read=reading))
    store = preparation.pack(loaded, 16, "bilinear")
    splits = preparation.split(loaded, store.unreadable)
    assert sorted(read) == sorted(loaded.catalogue.table["photo"])
    assert splits.facts()["twin_groups"] == 39
    preparation.pack(loaded, 20, "bilinear")
    assert len(read) == 2 * len(loaded.catalogue.table)


@pytest.mark.parametrize(
    ("given", "settings", "wanted"),
    [
        (None, {}, False),
        (None, {"folds": 3}, False),
        (None, {"split": "grouped"}, True),
        (None, {"count_twins": True}, True),
        (("train", "val", "test"), {"split": "given"}, False),
        (("train", "val", "test"), {"split": "given", "count_twins": True}, True),
        (("train", "test"), {"split": "given"}, True),
    ],
)
def test_twins_are_wanted_where_they_decide_something(given, settings, wanted, data_settings):
    table = pd.DataFrame({"id": ["1", "2", "3"]})
    if given:
        table["given"] = [*given, "train"][:3]
    assert preparation.wants_twins(data_settings("anywhere", **settings), table) is wanted


def test_folds_test_every_photo_once(build_twinned):
    tested = [
        id_
        for fold in range(4)
        for id_ in build_twinned(split="grouped", folds=4, fold=fold).splits.rows("test")["id"]
    ]
    assert sorted(tested) == sorted(build_twinned().splits.table["id"])
    assert build_twinned(folds=4, fold=1).facts()["fold"] == 1


def test_reviewed_lists_are_followed_and_counted(tiny_root, data_settings, tmp_path):
    (tmp_path / "exclude.csv").write_text("id\n1000\n1003\n")
    (tmp_path / "relabel.csv").write_text("id,label\n1006,Jeans\n")
    settings = {**SETTINGS, "cache_dir": str(tmp_path)}
    settings |= {key: str(tmp_path / f"{key}.csv") for key in ("exclude", "relabel")}
    datamodule = make(data_settings(tiny_root, **settings))
    datamodule.setup()
    facts = datamodule.facts()
    assert (facts["rows_kept"], facts["relabelled"]) == (118, 1)
    assert facts["dropped"]["excluded"] == 2
    labels = datamodule.splits.table.set_index("id")["label"]
    assert labels["1006"] == "Jeans"
    assert "1000" not in labels


@pytest.fixture(scope="module")
def build_lopsided(data_settings, tmp_path_factory, write_catalogue):
    """As `build`, on a catalogue with seven Shirts for each of its Jeans."""
    folder = tmp_path_factory.mktemp("lopsided")
    rows = [{"id": str(i), "articleType": "Jeans" if i % 8 == 0 else "Shirts"} for i in range(320)]
    root = write_catalogue(folder / "catalogue", rows)

    def build(**changes):
        settings = {**SETTINGS, "cache_dir": str(folder / "cache"), **changes}
        datamodule = make(data_settings(root, **settings))
        datamodule.setup()
        return datamodule

    return build


@pytest.mark.parametrize(
    ("sampler", "shirts_for_each_jeans"), [("shuffle", 7), ("sqrt", 7**0.5), ("balanced", 1)]
)
def test_a_sampler_draws_a_class_as_often_as_it_says(
    sampler, shirts_for_each_jeans, build_lopsided
):
    datamodule = build_lopsided(sampler=sampler)
    targets = torch.cat(
        [batch.targets for epoch in range(8) for batch in epoch_of(datamodule, epoch)]
    )
    share = shirts_for_each_jeans / (1 + shirts_for_each_jeans)
    assert targets.float().mean().item() == pytest.approx(share, abs=0.04)
