"""The machine that a benchmark runs on."""

import os
import platform
from pathlib import Path

import numpy as np
import torch

INSTRUCTION_SETS = ("sse4", "avx", "fma", "f16c", "amx", "asimd", "sve", "neon")


def machine() -> dict[str, object]:
    """Return the processor's name, its vector instructions, its cores and the memory."""
    facts = {}
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        facts = dict(line.replace("\t", "").split(":", 1) for line in lines if ":" in line)
    flags = facts.get("flags", facts.get("Features", "")).split()
    return {
        "cpu": facts.get("model name", platform.processor() or platform.machine()).strip(),
        "cpu_flags": [flag for flag in flags if flag.startswith(INSTRUCTION_SETS)],
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "load_average": os.getloadavg()[0],
        "system": platform.platform(),
        "torch": torch.__version__,
    }


def drop_page_cache(path: Path) -> float:
    """Have the system forget a file, and return the fraction that it still remembers.

    Pages that a process has mapped can't be dropped.
    """
    file = os.open(path, os.O_RDONLY)
    os.fsync(file)
    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
    places = np.linspace(0, path.stat().st_size - 1, 200, dtype=np.int64)
    cached = sum(_is_cached(file, int(place)) for place in places)
    os.close(file)
    return cached / len(places)


def _is_cached(file: int, place: int) -> bool:
    try:
        os.preadv(file, [bytearray(1)], place, os.RWF_NOWAIT)
    except BlockingIOError:
        return False
    return True
