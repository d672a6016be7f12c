from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from fashion.batches import PADDING
from fashion.data import FashionDataModule

SETTINGS = {
    "label_column": "articleType",
    "min_images": 20,
    "malformed_rows": "skip",
    "fit": "squash",
    "rotation": 10.0,
    "split": "random",
    "split_seed": 0,
    "batch_size": 8,
    "num_workers": 0,
    "backbone": "test_resnet",
    "input_size": 32,
    "seed": 0,
}


@pytest.fixture(scope="module")
def build(tiny_root, tmp_path_factory):
    cache_dir = tmp_path_factory.mktemp("cache")

    def build(**changes):
        settings = {**SETTINGS, "cache_dir": str(cache_dir), **changes}
        datamodule = FashionDataModule(str(tiny_root), **settings)
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
    labels = datamodule.rows("val")["label"].tolist()
    seen = {}
    for batch in datamodule.val_dataloader():
        for row, target in zip(batch.rows.tolist(), batch.targets.tolist(), strict=True):
            if row != PADDING:
                seen[row] = datamodule.class_names[target]
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
    stored = datamodule.store.photos
    places = pd.Series(range(len(datamodule.store.ids)), index=datamodule.store.ids)
    expected = stored[places[datamodule.rows("val")["id"]].to_numpy()]
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
        datamodule.check_batch_size()
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


def test_a_batch_that_the_devices_cannot_share_is_refused_with_the_nearest(build):
    datamodule = build(batch_size=12)
    datamodule.trainer = trainer_with(8, 1, 0)
    with pytest.raises(ValueError, match=r"=12 .* by 8 \(8 devices x .*batch_size=8 or 16"):
        datamodule.check_batch_size()
    datamodule.trainer = trainer_with(4, 1, 0, accumulate=2)
    with pytest.raises(ValueError, match=r"by 8 \(4 devices x trainer\.accumulate_grad_batches=2"):
        datamodule.check_batch_size()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fit": "crop"}, r"data\.fit='crop' is unknown; pass squash or pad"),
        ({"split": "grouped2"}, r"data\.split='grouped2' is unknown; pass random"),
        ({"rotation": -1}, r"data\.rotation=-1 must be 0 or more"),
        ({"batch_size": 0}, r"data\.batch_size=0 must be 1 or more"),
        ({"batch_size": 4096}, r"data\.batch_size=4096 is larger than the training split of \d+"),
        ({"malformed_rows": "drop"}, r"data\.malformed_rows='drop' is unknown"),
    ],
)
def test_wrong_settings_are_named(build, changes, message):
    with pytest.raises(ValueError, match=message):
        build(**changes)


def test_the_drawn_sample_is_used_without_a_root(tmp_path):
    datamodule = FashionDataModule(None, **{**SETTINGS, "cache_dir": str(tmp_path)})
    datamodule.setup()
    facts = datamodule.facts()
    assert facts["drawn_sample"] is True
    assert facts["classes"] == 54
