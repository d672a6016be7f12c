"""`fashion cache`: the stores of packed photos and of features, listed or deleted."""

import sys
from pathlib import Path

from fashion.data.cache import delete_stores, list_stores
from fashion.data.settings import default_cache_dir
from fashion.files import size_text
from fashion.wording import did_you_mean, many


def run(settings: dict[str, str], words: list[str]) -> None:
    """List the stores of a cache folder, after deleting those that are named."""
    cache_dir = Path(settings.get("data.cache_dir", default_cache_dir())).expanduser()
    action, *keys = words or ["list"]
    if action not in ("list", "delete"):
        hint = did_you_mean(action, ("list", "delete"))
        raise ValueError(
            f"{action!r} is unknown{hint}; pass list, or delete and the KEY of a store."
        )
    if action == "list" and keys:
        raise ValueError(f"list takes no {keys[0]!r}; pass delete {keys[0]} to delete a store.")
    if action == "delete":
        if not keys:
            raise ValueError("delete needs the KEY of a store, or all; fashion cache lists them.")
        deleted = len(delete_stores(cache_dir, keys))
        sys.stdout.write(f"deleted {many(deleted, 'store')}\n")
    sys.stdout.write(f"{cache_dir}\n{_listed(cache_dir)}\n")


def _listed(cache_dir: Path) -> str:
    """Return the stores of a folder as text, one a line."""
    if not cache_dir.is_dir():
        return "there is no such folder, so nothing is kept there"
    stores = list_stores(cache_dir)
    sizes = stores.pop("bytes").map(size_text)
    stores.insert(len(stores.columns) - 1, "size", sizes)
    return stores.to_string(index=False) if len(stores) else "no stores"
