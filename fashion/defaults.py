"""The folder `conf/` and the defaults that it states."""

from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

CONF = next(
    folder
    for folder in (Path(__file__).parent / "conf", Path(__file__).parents[1] / "conf")
    if folder.is_dir()
)


@lru_cache
def default_settings() -> dict[str, Any]:
    """Return the settings of a run whose user typed none, but for what Hydra works out.

    Returns:
        Plain containers and values, `data`, `model`, `trainer` and `callbacks` among them;
        interpolations stand as they are written. Not to be changed.
    """
    settings = _read("config.yaml")
    settings.pop("hydra")
    for group, option in (("data", "fashion"), ("model", "base"), ("trainer", "default")):
        settings[group] = _read(f"{group}/{option}.yaml")
    return settings


def _read(name: str) -> dict[str, Any]:
    settings: dict[str, Any] = yaml.safe_load((CONF / name).read_text(encoding="utf-8"))
    settings.pop("defaults", None)
    return settings
