import pytest
import torch
from torch import distributed as dist
from torch import multiprocessing

from fashion.data.batches import PADDING
from fashion.training import evaluated
from fashion.training.evaluated import Evaluated, to_probabilities


def steps(num_rows, sizes, seed=0):
    """Draw what steps of these sizes return, of shuffled rows and then padding."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.full((sum(sizes),), PADDING)
    rows[:num_rows] = torch.randperm(num_rows, generator=generator)
    rows = rows[torch.randperm(len(rows), generator=generator)]
    return [
        {
            "logits": rows_of.float()[:, None] + torch.arange(5),
            "targets": rows_of % 5,
            "rows": rows_of,
        }
        for rows_of in rows.split(sizes)
    ]


def check(collected, num_rows):
    logits, targets, rows = collected
    assert rows.tolist() == list(range(num_rows))
    assert torch.equal(targets, rows % 5)
    assert torch.equal(logits, rows.float()[:, None] + torch.arange(5))
    assert logits.dtype == torch.float32


@pytest.mark.parametrize("num_rows", [1, 9, 12])
def test_each_row_is_handed_over_once_in_order(num_rows):
    kept = Evaluated()
    for outputs in steps(num_rows, [5, 5, 2]):
        kept.add(outputs)
    check(kept.collect(), num_rows)
    kept.add(steps(2, [2])[0])  # of a second epoch nothing else is left
    check(kept.collect(), 2)


def test_what_a_failed_evaluation_left_is_forgotten():
    kept = Evaluated()
    for outputs in steps(12, [5, 5, 2]):
        kept.add(outputs)
    kept.clear()
    kept.add(steps(2, [2])[0])
    check(kept.collect(), 2)


def test_logits_of_16_bits_become_float32():
    kept = Evaluated()
    outputs = steps(4, [4])[0]
    kept.add({**outputs, "logits": outputs["logits"].bfloat16()})
    check(kept.collect(), 4)


def test_a_step_s_tensors_are_asked_for_after_the_next_step_is_on_its_way():
    log = []

    class Logged(torch.Tensor):
        def cpu(self):
            log.append("taken")
            return super().cpu()

    kept = Evaluated()
    for outputs in steps(4, [2, 2]):
        log.append("step")
        kept.add({name: part.as_subclass(Logged) for name, part in outputs.items()})
    assert log == ["step", "step", *["taken"] * 3]


def collect_a_share(rank, folder, in_all):
    store = dist.FileStore(f"{folder}/store", 2)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=2)
    kept = Evaluated()
    for _ in range(2):  # epochs
        for outputs in steps(9, [6, 4]):
            kept.add({name: part.chunk(2)[rank] for name, part in outputs.items()})
        collected = kept.collect(2, in_all=in_all)
        if in_all or rank == 0:
            check(collected, 9)
        else:
            assert collected is None
    dist.destroy_process_group()


@pytest.mark.parametrize("in_all", [True, False])
def test_processes_with_a_share_of_each_batch_gather_every_row(in_all, tmp_path):
    multiprocessing.spawn(collect_a_share, (tmp_path, in_all), nprocs=2)


@pytest.mark.parametrize("block", [1, 50, 10**6])
def test_probabilities_take_the_place_of_logits(block, monkeypatch):
    monkeypatch.setattr(evaluated, "BLOCK", block)
    logits = torch.randn(40, 7, generator=torch.Generator().manual_seed(0))
    expected = logits.softmax(dim=1)
    assert torch.equal(to_probabilities(logits), expected)
    assert torch.equal(logits, expected)
