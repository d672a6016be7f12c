import numpy as np
import pytest

from fashion.batches import PADDING, BatchSampler


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
