import threading
import time

import numpy as np
import pytest

from fashion.data.batches import (
    BATCHES_AHEAD,
    PADDING,
    BatchSampler,
    DecodedPhotos,
    DeviceLoader,
    ProductDataset,
)


def rows_of(sampler):
    return [rows.tolist() for _, rows in sampler]


def test_a_global_batch_is_the_same_however_many_processes_share_it():
    whole = BatchSampler(53, 12, shuffle_seed=3)
    whole.set_epoch(2)
    assert len(whole) == 4
    for world_size, accumulate in ((1, 3), (2, 1), (3, 2), (4, 1)):
        parts = [
            BatchSampler(
                53,
                12,
                num_parts=world_size * accumulate,
                rank=rank,
                world_size=world_size,
                shuffle_seed=3,
            )
            for rank in range(world_size)
        ]
        for sampler in parts:
            sampler.set_epoch(2)
        shares = np.array([rows_of(sampler) for sampler in parts])
        assert shares.shape == (world_size, 4 * accumulate, 12 // world_size // accumulate)
        assert len(parts[0]) == 4 * accumulate
        for step, expected in enumerate(rows_of(whole)):
            share = shares[:, step * accumulate : (step + 1) * accumulate]
            assert sorted(share.flatten()) == sorted(expected)


def test_training_batches_are_full_distinct_and_shuffled_anew_each_epoch():
    sampler = BatchSampler(50, 8, shuffle_seed=0)
    first = rows_of(sampler)
    assert [len(rows) for rows in first] == [8] * 6
    assert len({row for rows in first for row in rows}) == 48
    assert rows_of(sampler) == first
    sampler.set_epoch(1)
    assert rows_of(sampler) != first


@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_evaluation_shows_each_row_once_and_marks_the_padding(world_size):
    parts = [
        BatchSampler(21, 8, num_parts=world_size, rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]
    rows = [row for sampler in parts for batch in rows_of(sampler) for row in batch]
    assert sorted(row for row in rows if row != PADDING) == list(range(21))
    assert len(rows) == 24
    assert {len(sampler) for sampler in parts} == {3}


def test_skipping_leaves_out_the_first_batches_of_one_epoch_only():
    sampler = BatchSampler(50, 8, shuffle_seed=0)
    sampler.set_epoch(3)
    whole = rows_of(sampler)
    sampler.skip(2)
    assert rows_of(sampler) == whole[2:]
    sampler.set_epoch(4)
    assert len(rows_of(sampler)) == 6


class Loader:
    """A loader of numbers that notes what has been fetched; `fault` is raised in its place."""

    sampler = batch_sampler = None

    def __init__(self, count, fault=None):
        self.count = count
        self.fault = fault
        self.fetched = []

    def __len__(self):
        return self.count

    def __iter__(self):
        for number in range(self.count):
            if number == self.fault:
                raise ValueError(f"photo {number} is gone")
            self.fetched.append(number)
            yield number

    def state_dict(self):
        return {"batches_done": 3}

    def load_state_dict(self, state_dict):
        self.loaded = state_dict


def sent(number):
    return "sent", number


@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_every_batch_is_transferred_once_and_in_order(count):
    loader = DeviceLoader(Loader(count), sent)
    assert len(loader) == count
    for _ in range(2):
        assert list(loader) == [("sent", number) for number in range(count)]


def test_a_few_batches_and_no_more_are_transferred_ahead():
    source = Loader(50)
    batches = iter(DeviceLoader(source, sent))
    assert next(batches) == ("sent", 0)
    deadline = time.monotonic() + 30
    while len(source.fetched) < 1 + BATCHES_AHEAD and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.1)
    assert source.fetched == list(range(1 + BATCHES_AHEAD))
    batches.close()


def test_what_goes_wrong_in_a_loader_or_a_transfer_is_raised_in_its_place():
    received = []
    with pytest.raises(ValueError, match="photo 4 is gone"):
        received.extend(iter(DeviceLoader(Loader(9, fault=4), sent)))
    assert received == [("sent", number) for number in range(4)]

    def full(number):
        raise RuntimeError("the device is full")

    with pytest.raises(RuntimeError, match="the device is full"):
        list(DeviceLoader(Loader(3), full))


def test_an_epoch_left_early_is_over_before_the_next_begins():
    source = Loader(50)
    loader = DeviceLoader(source, sent)
    first = iter(loader)
    next(first)
    second = iter(loader)
    source.fetched.clear()
    assert next(second) == ("sent", 0)
    assert list(first) == []
    assert len(list(second)) == 49
    assert source.fetched == list(range(50))
    assert not [thread for thread in threading.enumerate() if "transfer" in thread.name]


def test_a_loader_on_the_device_resumes_as_its_own_does():
    source = Loader(3)
    loader = DeviceLoader(source, sent)
    assert loader.state_dict() == {"batches_done": 3}
    loader.load_state_dict({"batches_done": 2})
    assert source.loaded == {"batches_done": 2}


def test_rows_are_drawn_as_often_as_their_chances_say():
    chances = np.array([1.0, 3.0, 0.5, 0.5] * 100)
    sampler = BatchSampler(400, 50, shuffle_seed=3, chances=chances)
    drawn = []
    for epoch in range(60):
        sampler.set_epoch(epoch)
        drawn.append(np.concatenate([rows for _, rows in sampler]))
    assert {len(rows) for rows in drawn} == {400}
    shares = np.bincount(np.concatenate(drawn) % 4, minlength=4) / (60 * 400)
    assert shares == pytest.approx([0.2, 0.6, 0.1, 0.1], abs=0.01)
    again = BatchSampler(400, 50, shuffle_seed=3, chances=chances)
    again.set_epoch(7)
    assert np.array_equal(np.concatenate([rows for _, rows in again]), drawn[7])
    cut_network = [
        BatchSampler(400, 50, num_parts=2, rank=r, world_size=2, shuffle_seed=3, chances=chances)
        for r in range(2)
    ]
    shared = [
        np.concatenate(pair) for pair in zip(*([r for _, r in s] for s in cut_network), strict=True)
    ]
    assert np.array_equal(np.concatenate(shared), drawn[0])


def test_photos_are_turned_either_way_as_far_as_the_largest_angle():
    """A bar that stands in the middle looks the same mirrored; its upper end tells the angle."""
    bar = np.full((1, 65, 65, 3), 255, np.uint8)
    bar[:, 8:57, 31:34] = 0
    dataset = ProductDataset(
        DecodedPhotos(bar, 65), np.zeros(400, int), np.zeros(400, int),
        augment=True, rotation=30, seed=0,
    )  # fmt: skip
    ink = 255 - dataset[0, np.arange(400)].inputs[:, 0, :24].double().numpy()
    places = np.indices(ink.shape[1:]) - 32
    down, right = ((ink * place).sum((1, 2)) / ink.sum((1, 2)) for place in places)
    angles = np.degrees(np.arctan2(right, -down))
    assert abs(angles).max() < 31
    np.testing.assert_allclose(
        np.quantile(angles, [0, 0.25, 0.5, 0.75, 1]), range(-30, 31, 15), atol=4
    )
