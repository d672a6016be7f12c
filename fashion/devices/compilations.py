"""What XLA compiles in a run: the summary's `xla` block, and a warning when it doesn't end."""

import logging
from typing import Any

READING = "aten::_local_scalar_dense"  # the host reads a scalar
log = logging.getLogger(__name__)


class Compilations:
    """Counts XLA's compilations since it was made, by epoch."""

    def __init__(self) -> None:
        self.start = self.seen = _metrics()
        self.epochs: list[dict[str, Any]] = []
        self.epoch: int | None = None

    def enter_epoch(self, epoch: int) -> bool:
        """Note that a batch of an epoch begins, and return whether it is the first."""
        if epoch == self.epoch:
            return False
        self.leave_epoch()
        self.epoch = epoch
        return True

    def leave_epoch(self) -> None:
        """Note what the epoch compiled; after the first one that should be nothing."""
        if self.epoch is None:
            return
        now = _metrics()
        new, self.seen = _difference(now, self.seen), now
        if new["graphs"] and self.epochs:
            log.warning(
                "XLA compiled %d more graphs in epoch %d; after the first epoch every graph should "
                "be there. PT_XLA_DEBUG=1 tells where they come from.",
                new["graphs"],
                self.epoch,
            )
        if new["fallbacks"] and not self.epochs:
            names = ", ".join(new["fallbacks"])
            log.warning("XLA lacks %s: the host computes them while the device waits.", names)
        self.epochs.append(new)
        self.epoch = None

    def facts(self) -> dict[str, Any]:
        """Return the counts since the start.

        Returns:
            `graphs` compiled, `compile_seconds`, both also `..._by_epoch` for the epochs that this
            process trained, `executions` of graphs, `fallbacks` (operators that the host computed,
            with their counts), and `cache_hits`, `cache_misses` and `cache_failures` of the
            persistent compilation cache, if XLA_PERSISTENT_CACHE_PATH switches it on.
        """
        by_epoch = {
            f"{key}_by_epoch": [epoch[key] for epoch in self.epochs]
            for key in ("graphs", "compile_seconds")
        }
        return _difference(_metrics(), self.start) | by_epoch


def _metrics() -> dict[str, Any]:
    from torch_xla.debug import metrics

    def count(*names: str) -> int:
        return sum(metrics.counter_value(name) or 0 for name in names)

    graphs, nanoseconds = (metrics.metric_data("CompileTime") or (0, 0))[:2]
    names = [name for name in metrics.counter_names() if name.startswith("aten::")]
    return {
        "graphs": graphs,
        "compile_seconds": nanoseconds / 1e9,
        # Each execution looks its graph up; the metric ExecuteTime counts none under SPMD.
        "executions": count("CachedCompile", "UncachedCompile"),
        "fallbacks": {name: count(name) for name in names if name != READING},
        "cache_hits": count("PersistentCacheHit"),
        "cache_misses": count("PersistentCacheMiss"),
        "cache_failures": count("PersistentCacheDeserializeFailure"),
    }


def _difference(now: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    fallbacks = {
        name: count - before["fallbacks"].get(name, 0) for name, count in now["fallbacks"].items()
    }
    return {
        **{key: round(now[key] - before[key], 3) for key in now if key != "fallbacks"},
        "fallbacks": {name: count for name, count in fallbacks.items() if count},
    }
