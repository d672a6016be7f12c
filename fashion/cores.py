"""What of the processor and the memory this process may use."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from math import ceil
from pathlib import Path

import psutil

CPU_INFO = Path("/proc/cpuinfo")
INT8_PRODUCTS = {"avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm"}  # of x86 and of ARM
CGROUP = Path("/proc/self/cgroup")  # which groups of Linux this process is in
CGROUPS = Path("/sys/fs/cgroup")  # what these groups may take


def usable_cores() -> int:
    """Return the cores that this process may use, 1 or more.

    Those of the machine less what its affinity (`taskset`, SLURM) or its quota (a container, a
    cgroup) leaves out; of a part of a core, that core.
    """
    return max(1, min([_scheduled(), *map(ceil, _quotas())]))


def limit_threads() -> None:
    """Have PyTorch compute in no more threads than there are cores, which knows no quota itself."""
    import torch

    if "OMP_NUM_THREADS" not in os.environ and torch.get_num_threads() > usable_cores():
        torch.set_num_threads(usable_cores())


@contextmanager
def one_thread_an_operation() -> Iterator[None]:
    """Have PyTorch share no operation out among threads, where small ones run in several."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def has_int8_products() -> bool:
    """Return whether the processor multiplies bytes and sums the products in 32 bits.

    Where it doesn't, or isn't asked (Linux alone tells), two products are summed in 16 bits, which
    eight bits of each overflow.
    """
    if not CPU_INFO.is_file():
        return False
    words = CPU_INFO.read_text(errors="replace").split()
    return not INT8_PRODUCTS.isdisjoint(words)


def _scheduled() -> int:
    if hasattr(psutil.Process, "cpu_affinity"):  # macOS has none
        return len(psutil.Process().cpu_affinity() or ()) or 1
    return os.cpu_count() or 1


def usable_memory() -> int:
    """Return the bytes of memory that this process may use: the machine's, or its groups' limit."""
    return min([psutil.virtual_memory().total, *_limits()])


def _limits() -> Iterator[int]:
    for folder in _groups("memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            with suppress(OSError, ValueError):  # this group has none, or may not be read
                yield int((folder / name).read_text())


def _quotas() -> Iterator[float]:
    for folder in _groups("cpu"):
        yield from _quota(folder)


def _groups(controller: str) -> Iterator[Path]:
    """Yield the folders of this process' groups, and of those above them, that limit something."""
    if not CGROUP.is_file():
        return
    for line in CGROUP.read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        mounted = CGROUPS / controllers  # controllers have a folder each in the first version alone
        group = mounted / path.strip("/")
        for folder in (group, *group.parents):
            if folder.is_relative_to(mounted):
                yield folder


def _quota(folder: Path) -> Iterator[float]:
    try:
        if (both := folder / "cpu.max").is_file():
            quota, period = both.read_text().split()
        else:
            names = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
            quota, period = ((folder / name).read_text().strip() for name in names)
        if quota not in ("max", "-1"):
            yield int(quota) / int(period)
    except (OSError, ValueError):  # this group has none, or may not be read
        return
