import multiprocessing
import pickle
import time
from functools import partial

import numpy as np
import pytest
import torch

from fashion.catalogue.root import open_root
from fashion.catalogue.table import load_catalogue
from fashion.data.batches import BatchLoader, BatchSampler, ProductDataset
from fashion.data.loaders import BatchPlan
from fashion.data.photo_store import open_store

BATCH, SIDE = 8, 16


@pytest.fixture(scope="module")
def store(tiny_root, tmp_path_factory):
    root = open_root(tiny_root)
    table = load_catalogue(root, min_images=10).table
    return open_store(root, table, SIDE, "squash", "bilinear", tmp_path_factory.mktemp("cache"))


@pytest.fixture
def make_loader(store):
    def make(num_workers=1, shuffle_seed=0, augment=False, **options):
        slots = np.arange(120)[::-1]
        dataset = ProductDataset(
            store, slots, np.arange(120) % 3, augment=augment, rotation=10, seed=0
        )
        sampler = BatchSampler(120, BATCH, shuffle_seed=shuffle_seed)
        return BatchLoader(
            dataset, batch_size=None, sampler=sampler, num_workers=num_workers, **options
        )

    return make


def assert_same(batches, others):
    assert len(batches) == len(others) == 120 // BATCH
    for batch, other in zip(batches, others, strict=True):
        assert type(batch) is type(other)
        for part, same in zip(batch, other, strict=True):
            assert part.dtype == same.dtype
            torch.testing.assert_close(part, same, rtol=0, atol=0)


def addresses(batches):
    return {batch.inputs.data_ptr() for batch in batches}


def in_ring(loader, batch):
    photos = loader.dataset.ring.photos
    return 0 <= batch.inputs.data_ptr() - photos.ctypes.data < photos.nbytes


@pytest.mark.parametrize("augment", [False, True])
@pytest.mark.parametrize("num_workers", [1, 2])
def test_workers_deliver_the_batches_of_a_single_process(make_loader, num_workers, augment):
    alone = list(make_loader(0, augment=augment))
    batches = []
    for batch in make_loader(num_workers, augment=augment):
        assert batch.inputs.shape == (BATCH, 3, SIDE, SIDE)
        assert batch.inputs.is_contiguous(memory_format=torch.channels_last)
        batches.append(type(batch)(*(part.clone() for part in batch)))
    assert_same(batches, alone)


def test_memory_is_used_again_once_a_batch_is_gone(make_loader):
    loader = make_loader()
    seen = set()
    for batch in loader:
        assert in_ring(loader, batch)
        seen.add(batch.inputs.data_ptr())
    assert 1 < len(seen) <= loader.prefetch_factor + 2


def test_workers_share_the_slots(make_loader):
    loader = make_loader(2, prefetch_factor=1)
    batches = list(loader)
    assert loader.dataset.ring.taken.sum() == len(loader.dataset.ring.photos) == 2 + 2
    assert_same(batches, list(make_loader(0)))


GB = 10**9


@pytest.mark.parametrize(
    ("memory", "processes", "asked", "expected"),
    [
        (64, 1, None, (8, 2)),  # 18 batches of 0.1 GB are less than a sixteenth
        (64, 2, None, (8, 2)),
        (64, 4, None, (8, 1)),
        (24, 1, None, (8, 1)),
        (8, 1, None, (3, 1)),
        (1, 1, None, (1, 1)),
        (1, 1, 6, (6, 1)),  # as was asked for
        (1, 1, 0, (0, 1)),
    ],
)
def test_batches_ahead_take_a_part_of_the_memory(memory, processes, asked, expected, monkeypatch):
    monkeypatch.setattr("fashion.data.loaders.usable_cores", lambda: 64)
    monkeypatch.setattr("fashion.data.loaders.usable_memory", lambda: memory * GB)
    plan = BatchPlan(512, asked, num_processes=processes, processes_here=processes)
    batch = GB // 10
    workers = plan.workers(batch)
    assert (workers.number, workers.prefetch) == expected
    assert workers.held_bytes == (expected[0] * expected[1] + 2) * batch


def test_a_loader_short_of_memory_delivers_the_same_batches(store, monkeypatch):
    alone = list(plan_loader(store, 0))
    monkeypatch.setattr("fashion.data.loaders.usable_cores", lambda: 4)
    monkeypatch.setattr("fashion.data.loaders.usable_memory", lambda: 16 * 4 * BATCH * 3 * SIDE**2)
    loader = plan_loader(store, None)
    assert (loader.num_workers, loader.prefetch_factor) == (2, 1)
    assert_same([type(b)(*(part.clone() for part in b)) for b in loader], alone)
    assert len(loader.dataset.ring.photos) == 4


def test_batches_that_are_kept_are_never_overwritten(make_loader):
    loader = make_loader()
    batches = list(loader)
    assert_same(batches, list(make_loader(0)))
    assert len(addresses(batches)) == len(batches)
    kept = [in_ring(loader, batch) for batch in batches]
    assert sum(kept) == loader.prefetch_factor + 2
    # Nor do the others lie in PyTorch's shared memory, which a container has little of.
    assert not any(part.is_shared() for batch in batches for part in batch)
    del batches
    assert not loader.dataset.ring.taken.any()


def test_a_view_of_a_batch_keeps_it_too(make_loader):
    expected = [batch.inputs[3, 1].clone() for batch in make_loader(0)]
    views = [batch.inputs[3, 1] for batch in make_loader()]
    torch.testing.assert_close(views, expected, rtol=0, atol=0)


def test_epochs_broken_off_cost_no_memory(make_loader):
    loader = make_loader(persistent_workers=True)
    for _ in range(10):
        for place, batch in enumerate(loader):
            assert in_ring(loader, batch)
            if place == 3:
                break
        del batch
    iterator = iter(loader)
    deadline = time.monotonic() + 30
    while loader.dataset.ring.taken.sum() < loader.prefetch_factor and time.monotonic() < deadline:
        time.sleep(0.01)
    assert loader.dataset.ring.taken.sum() == loader.prefetch_factor
    del iterator


def test_two_iterators_at_once_do_not_disturb_each_other(make_loader):
    loader = make_loader()
    pairs = list(zip(loader, loader, strict=True))
    alone = list(make_loader(0))
    assert_same([first for first, _ in pairs], alone)
    assert_same([second for _, second in pairs], alone)


def test_a_forked_process_frees_no_slot_of_its_parent(make_loader, monkeypatch):
    loader = make_loader()
    batch = next(iter(loader))
    taken = loader.dataset.ring.taken.sum()
    monkeypatch.setattr("os.getpid", lambda: 0)
    del batch
    assert loader.dataset.ring.taken.sum() == taken


def test_padding_fills_the_last_ordered_batch(store):
    dataset = ProductDataset(
        store, np.arange(10), np.zeros(10, int), augment=False, rotation=0, seed=0
    )
    sampler = BatchSampler(10, BATCH)
    *_, last = BatchLoader(dataset, batch_size=None, sampler=sampler, num_workers=1)
    assert last.rows.tolist() == [8, 9] + [-1] * 6
    np.testing.assert_array_equal(last.inputs.permute(0, 2, 3, 1)[1], store.take(np.array([9]))[0])


@pytest.fixture(params=["fork", "spawn"])
def method(request):
    """How this process starts others: as on Linux, or as on macOS and Windows."""
    before = multiprocessing.get_start_method(allow_none=True)
    multiprocessing.set_start_method(request.param, force=True)
    yield request.param
    multiprocessing.set_start_method(before, force=True)


def plan_loader(store, num_workers):
    """A plan's loader of photos that are augmented and then changed, as corruptions do."""
    changes = [partial(np.add, np.uint8(row)) for row in range(120)]
    dataset = ProductDataset(
        store, np.arange(120)[::-1], np.arange(120) % 3, augment=True, rotation=10, seed=0,
        changes=changes,
    )  # fmt: skip
    plan = BatchPlan(BATCH, num_workers)
    return plan.load(dataset, plan.shuffled(120, 0, None), persistent=True)


def test_workers_started_anew_deliver_the_same_batches(store, method):
    alone = list(plan_loader(store, 0))
    loader = plan_loader(store, 1)
    assert loader.multiprocessing_context.get_start_method() == method
    assert_same(list(loader), alone)
    assert (loader.dataset.ring is not None) == (method == "fork")
    loader.sampler.set_epoch(1)
    other = plan_loader(store, 0)
    other.sampler.set_epoch(1)
    assert_same(list(loader), list(other))


def test_a_loader_that_starts_its_workers_anew_gets_no_ring(make_loader):
    """Where others are forked, too: what isn't forked shares no memory."""
    loader = make_loader(multiprocessing_context="spawn")
    assert_same(list(loader), list(make_loader(0)))
    assert loader.dataset.ring is None


def test_a_ring_is_never_sent(make_loader):
    loader = make_loader()
    next(iter(loader))
    with pytest.raises(TypeError, match="forked processes alone"):
        pickle.dumps(loader.dataset)
