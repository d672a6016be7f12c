"""What a checkpoint's file decides of a catalogue: what is read, not where this machine writes."""

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fashion.data.settings import DataSettings
from fashion.shards import INDEX

REVIEWS = ("exclude", "relabel", "more")  # what only their own catalogue has a use for
log = logging.getLogger(__name__)


def trained_settings(
    node: Mapping[str, Any], typed: Mapping[str, Any], *, of_any_photos: bool = False
) -> DataSettings:
    """Take the settings of a run's catalogue from its checkpoint.

    The file may come from anyone, so that its `data.cache_dir` counts only where this user has a
    cache already. Other settings are of what is read.

    Args:
        node: `data` of the configuration in the checkpoint, of any release.
        typed: Settings that take the place of these.
        of_any_photos: Whether `typed` may name another catalogue than the one trained on, which
            lists of that one's ids don't suit.

    Raises:
        ValueError: A setting is unknown or out of range.
    """
    kept = dict(node)
    if "cache_dir" not in typed and kept.get("cache_dir") and not is_own_cache(kept["cache_dir"]):
        _leave_aside(kept, "cache_dir", "there is no cache of yours")
    if of_any_photos and is_elsewhere(node.get("root"), typed):
        for key in REVIEWS:
            if kept.get(key) and key not in typed:
                _leave_aside(kept, key, "it is about the photos that were trained on")
        names = kept.get("rename")
        if names and "rename" not in typed and not Path(names).expanduser().is_file():
            _leave_aside(kept, "rename", "the file isn't there")
    return DataSettings.from_config({**kept, **typed})


def is_own_cache(folder: str | Path) -> bool:
    """Return whether this user has packed photos in a folder before."""
    path = Path(folder).expanduser()
    try:
        is_mine = not hasattr(os, "getuid") or path.stat().st_uid == os.getuid()
        return is_mine and any(path.glob(f"photos/*/{INDEX}"))
    except OSError:
        return False


def is_elsewhere(root: str | None, typed: Mapping[str, Any]) -> bool:
    """Return whether `data.root` as typed is another one than that of a run."""
    if "root" not in typed:
        return False
    before, now = (_resolved(each) for each in (root, typed["root"]))
    return before != now


def _resolved(root: str | None) -> Path | None:
    return None if root is None else Path(root).expanduser().resolve()


def _leave_aside(kept: dict[str, Any], key: str, why: str) -> None:
    log.info(
        "data.%s=%s of the checkpoint is left aside: %s; pass it to have it all the same",
        *(key, kept[key], why),
    )
    kept[key] = None
