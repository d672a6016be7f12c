"""Where a run is written: two resolvers for Hydra's folders in conf/config.yaml."""

import hashlib
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import OmegaConf

from fashion.training.run_folder import CHECKPOINTS

MAX_NAME = 200  # bytes of a folder's name; file systems take 255


def register_resolvers() -> None:
    """Make `run_dir` and `sweep_subdir` known to OmegaConf; may be called again."""
    OmegaConf.register_new_resolver("run_dir", run_dir, replace=True, use_cache=True)
    OmegaConf.register_new_resolver("sweep_subdir", sweep_subdir, replace=True)


def run_dir(ckpt_path: str | None, model: str) -> str:
    """Return the folder of the run that `ckpt_path` belongs to, or a new one named by the time."""
    if ckpt_path and Path(ckpt_path).parent.name == CHECKPOINTS:
        return str(Path(ckpt_path).parents[1])
    return f"outputs/{model}/{datetime.now():%Y-%m-%d_%H-%M-%S}"


def sweep_subdir(model: str, varied: Sequence[str], quoted: Sequence[str] = ()) -> str:
    """Return `<model>[,key=value...]`: the model and what else the sweep varies.

    It holds no number and no time, so that the same command finds its own runs again.

    Args:
        model: The model's name.
        varied: Keys that differ from job to job.
        quoted: Those of them whose value is in quotes that the user didn't type.
    """
    job = OverridesParser.create().parse_overrides(list(HydraConfig.get().overrides.task))
    parts = [
        f"{override.key_or_group}={_as_typed(override, override.key_or_group in quoted)}"
        for override in job
        if override.key_or_group in varied and override.key_or_group != "model"
    ]
    name = ",".join([model, *parts]).replace("/", "_")
    if len(name.encode()) <= MAX_NAME:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{name.encode()[: MAX_NAME - 9].decode(errors='ignore')}-{digest}"


def _as_typed(override: Override, is_quoted: bool) -> str:
    value = override.value()
    return value if is_quoted and isinstance(value, str) else override.get_value_element_as_str()


def varied_keys(overrides: Iterable[str], searched: Iterable[str] = ()) -> list[str]:
    """Return the keys that differ from job to job of a sweep, in their order.

    Args:
        overrides: The words of the command line.
        searched: `key=value` of `hydra.sweeper.params`, which those words take precedence over.
    """
    parser = OverridesParser.create()
    typed = {o.key_or_group: o for o in parser.parse_overrides(list(overrides))}
    given = {o.key_or_group: o for o in parser.parse_overrides(list(searched))}
    return [key for key, override in {**given, **typed}.items() if override.is_sweep_override()]
