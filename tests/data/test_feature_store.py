import errno
import os
import re
import shutil
import signal
import subprocess
import sys
from collections import namedtuple
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

import train
from fashion import shards
from fashion.commands.configuration import compose_words
from fashion.data.batches import PADDING, ProductDataset
from fashion.data.cache import delete_stores, list_stores
from fashion.data.datamodule import FashionDataModule
from fashion.data.feature_data import FeatureDataset
from fashion.data.feature_store import MissingSampler, open_features, view_names
from fashion.models.cut import BoundaryTensor
from fashion.reports.evaluate import evaluate
from fashion.training.inference import fill_features

REPO = Path(__file__).parents[2]
BOUNDARY = (BoundaryTensor("map", (3, 4, 2)), BoundaryTensor("row", (6,)))
KEPT = (96 * 2 + 12) * (24 + 6) * 4  # bytes of two views of the tiny catalogue, in float32


def features_of(photos):
    """Features that tell photos apart: a map `(3, 4, 2)` and a row of 6."""
    means = photos.float().mean((2, 3))
    maps = means[:, :, None, None] + torch.arange(8.0).reshape(4, 2)
    return maps, torch.cat([means, -means], dim=1)


@pytest.fixture(scope="module")
def make_datamodule(tiny_root, data_settings):
    """Returns make(cache_dir, **settings) -> a datamodule over the tiny catalogue, set up."""

    def make(cache_dir, input_size=16, seed=0, **settings):
        given = {"batch_size": 16, "views": 2, "views_precision": "float32"}
        given |= {"cache_dir": str(cache_dir), **settings}
        made = FashionDataModule(
            data_settings(tiny_root, **given),
            input_size=input_size,
            interpolation="bilinear",
            seed=seed,
        )
        made.setup()
        return made

    return make


@pytest.fixture(scope="module")
def packed(make_datamodule, tmp_path_factory):
    """A cache with the photos of the tiny catalogue and no features of them."""
    cache_dir = tmp_path_factory.mktemp("packed")
    make_datamodule(cache_dir)
    return cache_dir


@pytest.fixture
def datamodule(make_datamodule, packed, tmp_path):
    """Returns datamodule(**settings) over the tiny catalogue, set up, with a cache of its own."""
    shutil.copytree(packed, tmp_path / "cache")
    return lambda **settings: make_datamodule(**{"cache_dir": tmp_path / "cache", **settings})


def counting(calls):
    def compute(photos):
        calls.append(len(photos))
        return features_of(photos)

    return compute


def plain_photos(datamodule, split):
    ids = {id_: slot for slot, id_ in enumerate(datamodule.store.ids)}
    slots = np.array([ids[id_] for id_ in datamodule.splits.rows(split)["id"]])
    return torch.from_numpy(datamodule.store.take(slots)).permute(0, 3, 1, 2)


def test_validation_reads_the_features_of_the_plain_photos(datamodule):
    made = datamodule()
    made.fill_features("key", BOUNDARY, features_of)
    batches = list(made.val_dataloader())
    for place, expected in enumerate(features_of(plain_photos(made, "val"))):
        kept = torch.cat([batch.inputs[place] for batch in batches])[: len(expected)]
        assert torch.equal(kept, expected)
    assert batches[0].inputs[0].is_contiguous(memory_format=torch.channels_last)
    rows = torch.cat([batch.rows for batch in batches])
    assert rows[: len(made.splits.rows("val"))].tolist() == list(
        range(len(made.splits.rows("val")))
    )
    assert set(rows[len(made.splits.rows("val")) :].tolist()) <= {PADDING}


def test_each_epoch_takes_the_next_view_and_then_the_first_again(datamodule):
    made = datamodule(views=3)
    made.fill_features("key", BOUNDARY, features_of)
    loader = made.loader("train", evaluate=False)
    num_photos = len(made.store)
    every = ProductDataset(
        made.store, np.arange(num_photos), np.zeros(num_photos, np.int64), augment=True,
        rotation=10, seed=0, plain_first=True,
    )  # fmt: skip
    plain = torch.from_numpy(made.store.take(np.arange(num_photos))).permute(0, 3, 1, 2)
    seen = []
    for epoch in range(4):
        loader.sampler.set_epoch(epoch)
        view = epoch % 3
        for batch, (_, rows) in zip(loader, loader.sampler, strict=True):
            slots = made.slots("train")[rows]
            photos = every[view, slots].inputs
            assert torch.equal(photos, plain[slots]) == (view == 0)
            for part, expected in zip(batch.inputs, features_of(photos), strict=True):
                assert torch.equal(part, expected)
        seen.append(batch.inputs[1])
    assert made.facts()["views"] == 3


def test_a_device_yields_what_the_store_does(datamodule):
    made = datamodule(views=3)
    made.fill_features("key", BOUNDARY, features_of)
    loaders = [made.loader("train", evaluate=False), made.loader("val", evaluate=True)]
    made.keep_on_device(torch.device("cpu"))
    for kept, expected in zip(
        [made.loader("train", evaluate=False), made.loader("val", evaluate=True)],
        loaders,
        strict=True,
    ):
        for epoch in range(4):
            kept.sampler.set_epoch(epoch)
            expected.sampler.set_epoch(epoch)
            for batch, other in zip(kept, expected, strict=True):
                assert batch.inputs.shape == (16,)
                batch = made.on_after_batch_transfer(batch, 0)
                for part, wanted in zip(batch.inputs, other.inputs, strict=True):
                    assert torch.equal(part, wanted)
                assert torch.equal(batch.targets, other.targets)
    made.teardown("fit")
    assert isinstance(made.loader("val", evaluate=True).dataset[0, np.arange(3)].inputs, tuple)


@pytest.mark.parametrize(
    ("wanted", "device", "free", "expected"),
    [
        (None, "cpu", 10**9, False),
        (None, "cuda", 10**9, True),
        (None, "cuda", 2 * KEPT, True),
        (None, "cuda", 2 * KEPT - 1, False),
        (None, "cuda", None, False),
        (False, "cuda", 10**9, False),
        (True, "cpu", KEPT, True),
        (True, "xla", None, True),
    ],
)
def test_features_go_to_the_device_where_it_has_the_room(
    datamodule, wanted, device, free, expected
):
    made = datamodule(views_on_device=wanted)
    assert made.fits_device(torch.device(device), BOUNDARY, free) is expected


def test_a_device_without_the_room_that_it_was_asked_for_is_refused(datamodule):
    made = datamodule(views_on_device=True)
    with pytest.raises(
        ValueError, match=r"data\.views_on_device=true: .* free on cuda.* Pass data"
    ):
        made.fits_device(torch.device("cuda"), BOUNDARY, KEPT - 1)


def test_a_wrong_switch_is_named(data_settings, tiny_root):
    with pytest.raises(ValueError, match=r"data\.views_on_device='yes': pass true, false or null"):
        data_settings(tiny_root, views_on_device="yes")


def test_bfloat16_rounds_and_nothing_else(datamodule):
    made = datamodule(views=1, views_precision="bfloat16")
    made.fill_features("key", BOUNDARY, features_of)
    (maps, rows), *_ = made.loader("val", evaluate=True).dataset[0, np.arange(5)]
    expected = features_of(plain_photos(made, "val")[:5])
    assert maps.dtype == rows.dtype == torch.bfloat16
    assert torch.equal(maps, expected[0].bfloat16())
    assert torch.equal(rows, expected[1].bfloat16())


def test_what_is_there_is_not_computed_again(datamodule):
    calls = []
    datamodule(views=1).fill_features("key", BOUNDARY, counting(calls))
    train, val = (len(datamodule().splits.rows(split)) for split in ("train", "val"))
    assert sum(calls) == -(-(train + val) // 16) * 16
    calls.clear()
    datamodule(views=1).fill_features("key", BOUNDARY, counting(calls))
    assert calls == []
    datamodule(views=2).fill_features("key", BOUNDARY, counting(calls))  # the second view alone
    assert sum(calls) == -(-train // 16) * 16


@pytest.mark.parametrize(
    ("settings", "key", "boundary", "again"),
    [
        ({}, "key", BOUNDARY, 0),
        ({"seed": 1}, "key", BOUNDARY, 1),  # the plain view stays
        ({"rotation": 5}, "key", BOUNDARY, 1),
        ({"views": 1, "seed": 1}, "key", BOUNDARY, 0),
        ({}, "other weights", BOUNDARY, 2),
        ({}, "key", BOUNDARY[::-1], 2),
        ({"views_precision": "bfloat16"}, "key", BOUNDARY, 2),
        ({"input_size": 24}, "key", BOUNDARY, 2),
        ({"fit": "pad"}, "key", BOUNDARY, 2),
    ],
)
def test_a_store_is_keyed_by_all_that_decides_it(datamodule, settings, key, boundary, again):
    datamodule().fill_features("key", BOUNDARY, features_of)
    calls = []
    made = datamodule(**settings)

    def compute(photos):
        calls.append(len(photos))
        return features_of(photos)[:: 1 if boundary is BOUNDARY else -1]

    made.fill_features(key, boundary, compute)
    train, val = -(-len(made.splits.rows("train")) // 16), -(-(96 + 12) // 16)
    assert len(calls) == (0, train, train + val)[again]


def test_another_split_computes_only_the_photos_it_lacks(datamodule):
    datamodule(views=1).fill_features("key", BOUNDARY, features_of)
    made = datamodule(views=1, split_seed=1)
    calls = []
    made.fill_features("key", BOUNDARY, counting(calls))
    assert 0 < sum(calls) < len(made.splits.rows("train"))
    for place, expected in enumerate(features_of(plain_photos(made, "val"))):
        kept = torch.cat([batch.inputs[place] for batch in made.val_dataloader()])
        assert torch.equal(kept[: len(expected)], expected)


class InterruptionError(Exception):
    pass


def test_an_interrupted_filling_goes_on_where_it_was(datamodule):
    calls = []

    def stop_at_the_fourth(photos):
        if len(calls) == 3:
            raise InterruptionError
        return counting(calls)(photos)

    with pytest.raises(InterruptionError):
        datamodule().fill_features("key", BOUNDARY, stop_at_the_fourth)
    made = datamodule()
    calls.clear()
    made.fill_features("key", BOUNDARY, counting(calls))
    train, val = len(made.splits.rows("train")), len(made.splits.rows("val"))
    assert len(calls) == -(-(train + val) // 16) + -(-train // 16) - 3
    whole = datamodule(cache_dir=str(made.settings.cache_folder / "other"))
    whole.fill_features("key", BOUNDARY, features_of)
    slots = made.slots("train")
    for view in (0, 1):
        for part, expected in zip(
            made.features.read(view, slots), whole.features.read(view, slots), strict=True
        ):
            assert torch.equal(part, expected)


def test_what_was_written_but_not_yet_on_the_disk_is_computed_again(datamodule, monkeypatch):
    """The power fails: nothing that only the page cache knew counts as done."""

    def fail(file):
        raise PowerError

    class PowerError(BaseException):
        pass

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(PowerError):
        datamodule(views=1).fill_features("key", BOUNDARY, features_of)
    monkeypatch.undo()
    calls = []
    datamodule(views=1).fill_features("key", BOUNDARY, counting(calls))
    assert len(calls) == -(-(96 + 12) // 16)


def test_a_disk_without_room_is_refused_before_anything_is_computed(datamodule, monkeypatch):
    made = datamodule()
    disk = namedtuple("disk", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: disk(10**9, 10**9, KEPT - 1))
    calls = []
    with pytest.raises(OSError, match=r"204 photos \(2 views\) take 24\.5 kB") as caught:
        made.fill_features("key", BOUNDARY, counting(calls))
    assert calls == []
    for way_out in ("data.views=2: pass fewer, 0", "model.input_size", "data.cache_dir", "store"):
        assert way_out in str(caught.value)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: disk(10**9, 10**9, KEPT))
    made.fill_features("key", BOUNDARY, features_of)


def test_a_disk_that_fills_up_on_the_way_is_named_and_what_was_done_stays(datamodule, monkeypatch):
    monkeypatch.setattr(shards, "MAX_RECORDS", 16)  # every batch
    write_all, written = shards.write_all, []

    def write_until_full(file, rows):
        written.append(len(rows))
        if len(written) == 8:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write_all(file, rows)

    monkeypatch.setattr(shards, "write_all", write_until_full)
    made = datamodule(views=1)
    with pytest.raises(OSError, match=r"cache is full\. data\.views=1: pass fewer"):
        made.fill_features("key", BOUNDARY, features_of)
    monkeypatch.undo()
    store = open_features(
        made.settings.cache_folder, f"{made.store.shards.folder.name} key", made.store.keys,
        BOUNDARY, precision="float32", views=("plain",),
    )  # fmt: skip
    assert len(store.missing(0, np.arange(120))) == 120 - 32


def test_batches_of_missing_photos_are_padded_and_padding_is_not_written(tmp_path):
    store = open_features(
        tmp_path,
        "key",
        np.arange(14).view(shards.KEY),
        BOUNDARY[1:],
        precision="float32",
        views=view_names(2, 10, 0),
    )
    sampler = MissingSampler(store, [np.array([5, 1, 2]), np.array([6])], 2)
    assert [(view, slots.tolist()) for view, slots in sampler] == [
        (0, [1, 2]), (0, [5, PADDING]), (1, [6, PADDING]),
    ]  # fmt: skip
    assert (len(sampler), sampler.num_photos) == (3, 4)
    dataset = FeatureDataset(store, np.arange(7), np.zeros(7, np.int64), 2)
    assert len(dataset) == 7


def test_features_are_listed_and_deleted_like_photos(datamodule):
    made = datamodule()
    made.fill_features("key", BOUNDARY, features_of)
    cache_dir = made.settings.cache_folder
    listed = list_stores(cache_dir)
    features = listed[listed["kind"] == "features"]
    assert sorted(features["photos"]) == [96, 96 + 12]
    assert features["state"].tolist() == ["complete"] * 2
    keys = sorted(features["key"])
    with pytest.raises(ValueError, match=rf"'{keys[0]}' is in use by another process, so it stays"):
        delete_stores(cache_dir, [keys[0]])
    assert (
        delete_stores(cache_dir, ["all"]) == listed.loc[listed["kind"] == "twins", "key"].tolist()
    )
    del made
    assert delete_stores(cache_dir, keys) == keys
    assert list_stores(cache_dir)["kind"].tolist() == ["photos"]


CUT = (
    "model=timm",
    "model.backbone=test_resnet",
    "model.pretrained=false",
    r"model.unfreeze=['^layer4\.']",
    "model.input_size=48",
    "model.optimizer.lr=1e-3",
    "model.dropout=0",
    "data.min_images=20",
    "data.batch_size=16",
    "data.num_workers=0",
    "trainer.accelerator=cpu",
    "trainer.max_epochs=3",
    "trainer.log_every_n_steps=1",
    "trainer.enable_progress_bar=false",
)


@pytest.fixture
def fit(tiny_root, caplog):
    """Returns fit(folder, *overrides) -> the history of a run in that folder, and what it said."""
    caplog.set_level("INFO")

    def fit(folder, *overrides):
        caplog.clear()
        words = [f"data.root={tiny_root}", f"output_dir={folder}", "model_name=timm", *CUT]
        train.main(compose_words([*words, *overrides]))
        return pd.read_csv(folder / "history.csv").drop(columns="seconds"), caplog.text

    return fit


@pytest.mark.filterwarnings("ignore:The dirpath has changed")  # it goes on in another folder
def test_the_checkpoint_of_a_cut_run_is_an_ordinary_one(fit, tmp_path):
    cache = f"data.cache_dir={tmp_path / 'cache'}"
    both, _ = fit(tmp_path / "a", cache, "data.views=1", "trainer.max_epochs=2")
    page = (tmp_path / "a" / "report" / "index.html").read_text()
    assert "the plain one in every epoch" in page
    checkpoint = tmp_path / "a" / "checkpoints" / "last.ckpt"
    weights = torch.load(checkpoint, weights_only=True)["state_dict"]
    fit(tmp_path / "b", cache, "trainer.max_epochs=1")
    ordinary = torch.load(tmp_path / "b" / "checkpoints" / "last.ckpt", weights_only=True)
    assert weights.keys() == ordinary["state_dict"].keys()
    on, log = fit(tmp_path / "c", cache, "trainer.max_epochs=3", f"ckpt_path={checkpoint}")
    assert "data.views (1 -> 0)" in log
    pd.testing.assert_frame_equal(on[:2], both)
    assert len(on) == 3
    evaluated = evaluate(checkpoint, output_dir=tmp_path / "d", trainer={"accelerator": "cpu"})
    assert evaluated["test"]["support"] == 12


def test_a_run_killed_while_it_fills_the_store_goes_on(fit, tiny_root, tmp_path):
    expected, _ = fit(tmp_path / "whole", f"data.cache_dir={tmp_path / 'cache'}", "data.views=2")
    script = """
import os, runpy, signal
from fashion import shards
from fashion.data.feature_store import FeatureStore
add, shards.MAX_RECORDS = FeatureStore.add, 16
def killing(self, adder, slots, parts, calls=[]):
    calls.append(slots)
    if len(calls) == 9:
        os.kill(os.getpid(), signal.SIGKILL)
    add(self, adder, slots, parts)
FeatureStore.add = killing
runpy.run_path("train.py", run_name="__main__")
"""
    arguments = [
        f"data.root={tiny_root}", f"hydra.run.dir={tmp_path / 'run'}",
        f"data.cache_dir={tmp_path / 'other'}", "data.views=2", *CUT,
    ]  # fmt: skip
    killed = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=REPO,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    stores = list_stores(tmp_path / "other").set_index("kind").loc["features"]
    assert stores["photos"].sum() > 0
    resumed, log = fit(tmp_path / "run", f"data.cache_dir={tmp_path / 'other'}", "data.views=2")
    pd.testing.assert_frame_equal(resumed, expected)
    told = re.search(r"features of (\d+) photos \(2 views\)", log)
    assert int(told.group(1)) < 96 * 2 + 12


def test_a_model_without_a_frozen_front_says_so_and_trains(fit, tmp_path):
    _, log = fit(
        tmp_path / "run", f"data.cache_dir={tmp_path / 'cache'}",
        "data.views=2", "model.unfreeze=all", "trainer.max_epochs=1",
    )  # fmt: skip
    assert "data.views=2 has no effect: test_resnet can't be cut in two (all its layers" in log
    assert not (tmp_path / "cache" / "features").exists()


def test_a_trial_computes_the_features_of_its_batches_alone(fit, tmp_path):
    _, log = fit(
        tmp_path / "run", f"data.cache_dir={tmp_path / 'cache'}",
        "trainer=debug", "trainer.fast_dev_run=2", "data.views=2", "data.batch_size=8",
    )  # fmt: skip
    assert "The features of 44 photos (2 views)" in log
    stores = list_stores(tmp_path / "cache").set_index("kind").loc["features"]
    assert sorted(stores["photos"]) == [2 * 8, 2 * 8 + 12]  # validation has 12 photos


def test_several_tpu_hosts_are_refused(datamodule):
    classifier = SimpleNamespace(cut_network=lambda: object())
    strategy = SimpleNamespace(compute=None, distributed_sampler_kwargs={"num_replicas": 2})
    with pytest.raises(ValueError, match=r"data\.views=2: several TPU hosts can't fill"):
        fill_features(SimpleNamespace(strategy=strategy), classifier, datamodule())
