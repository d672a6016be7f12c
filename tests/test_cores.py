import os
from types import SimpleNamespace

import psutil
import pytest
import torch

from fashion import cores
from fashion.data.loaders import BatchPlan


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine of 64 cores whose groups are files in a folder."""
    monkeypatch.setattr(psutil.Process, "cpu_affinity", lambda self: list(range(64)), raising=False)
    monkeypatch.setattr(cores, "CGROUP", tmp_path / "cgroup")
    monkeypatch.setattr(cores, "CGROUPS", tmp_path / "fs")
    return tmp_path


def write(machine, own, **files):
    (machine / "cgroup").write_text(own)
    for name, text in files.items():
        path = machine / "fs" / name.replace("__", "/").replace("_max", ".max")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_without_groups_the_affinity_decides(machine):
    assert cores.usable_cores() == 64


@pytest.mark.parametrize(
    ("quota", "expected"),
    [("max 100000\n", 64), ("200000 100000\n", 2), ("150000 100000\n", 2), ("10000 100000\n", 1)],
)
def test_a_quota_counts_in_whole_cores(quota, expected, machine):
    write(machine, "0::/job\n", job__cpu_max=quota)
    assert cores.usable_cores() == expected


def test_the_smallest_quota_of_the_groups_above_decides(machine):
    files = {"cpu_max": "max 100000", "a__cpu_max": "300000 100000", "a__b__cpu_max": "max 100000"}
    write(machine, "0::/a/b\n", **files)
    assert cores.usable_cores() == 3


def test_a_container_sees_its_own_group_as_the_root(machine):
    write(machine, "0::/\n", cpu_max="200000 100000")
    assert cores.usable_cores() == 2


def test_groups_of_the_first_version_count(machine):
    """Of a container, whose group isn't found under the path that it has outside."""
    folder = machine / "fs" / "cpu,cpuacct"
    folder.mkdir(parents=True)
    (folder / "cpu.cfs_quota_us").write_text("400000\n")
    (folder / "cpu.cfs_period_us").write_text("100000\n")
    (machine / "cgroup").write_text("5:memory:/docker/1\n4:cpu,cpuacct:/docker/1\n")
    assert cores.usable_cores() == 4
    (folder / "cpu.cfs_quota_us").write_text("-1\n")
    assert cores.usable_cores() == 64


def test_what_cannot_be_read_sets_no_limit(machine):
    write(machine, "0::/a\n", a__cpu_max="nonsense")
    assert cores.usable_cores() == 64


def test_pytorch_computes_in_as_many_threads(machine, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        write(machine, "0::/\n", cpu_max="200000 100000")
        cores.limit_threads()
        assert torch.get_num_threads() == 2
        monkeypatch.setenv("OMP_NUM_THREADS", "3")  # as the user says
        torch.set_num_threads(3)
        cores.limit_threads()
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_operations_of_one_thread_end_with_their_block():
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        with cores.one_thread_an_operation():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("usable", "processes", "workers"),
    [(1, 1, 1), (2, 1, 1), (4, 1, 3), (64, 1, 8), (16, 4, 3)],
)
def test_a_loader_starts_one_worker_less_than_its_share_of_the_cores(
    usable, processes, workers, monkeypatch
):
    monkeypatch.setattr("fashion.data.loaders.usable_cores", lambda: usable)
    plan = BatchPlan(8, None, num_processes=processes, processes_here=processes)
    assert plan.workers(1).number == workers


def test_the_smallest_limit_of_the_groups_above_is_the_memory(machine, monkeypatch):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(total=1000))
    assert cores.usable_memory() == 1000
    write(machine, "0::/a/b\n", a__memory_max="600\n", a__b__memory_max="max\n")
    assert cores.usable_memory() == 600
    folder = machine / "fs" / "memory"
    folder.mkdir()
    (folder / "memory.limit_in_bytes").write_text("300\n")
    (machine / "cgroup").write_text("5:memory:/docker/1\n4:cpu,cpuacct:/docker/1\n")
    assert cores.usable_memory() == 300
    (folder / "memory.limit_in_bytes").write_text(f"{2**63 - 4096}\n")  # none
    assert cores.usable_memory() == 1000


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system sets none")
def test_a_process_confined_to_a_core_has_one(monkeypatch):
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert cores.usable_cores() == 1
    finally:
        os.sched_setaffinity(0, before)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("flags : fma avx2 avx512f", False),
        ("flags : avx2 avx512_vnni", True),
        ("flags : avx2 avx_vnni", True),
        ("Features : asimd asimddp", True),
        ("model name : a CPU that speaks of avx512_vnni_less", False),
    ],
)
def test_int8_products_are_told_by_the_flags(flags, expected, tmp_path, monkeypatch):
    (tmp_path / "cpuinfo").write_text(f"processor : 0\n{flags}\n")
    monkeypatch.setattr(cores, "CPU_INFO", tmp_path / "cpuinfo")
    assert cores.has_int8_products() is expected


def test_where_no_flags_are_told_there_are_none(tmp_path, monkeypatch):
    monkeypatch.setattr(cores, "CPU_INFO", tmp_path / "none")
    assert cores.has_int8_products() is False
