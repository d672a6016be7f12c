"""Where a run is written: two resolvers for Hydra's folders in conf/config.yaml."""

import sys
from datetime import datetime
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import OmegaConf


def register_resolvers() -> None:
    """Make `run_dir` and `sweep_subdir` known to OmegaConf; may be called again."""
    OmegaConf.register_new_resolver("run_dir", run_dir, replace=True, use_cache=True)
    OmegaConf.register_new_resolver("sweep_subdir", sweep_subdir, replace=True)


def run_dir(ckpt_path: str | None, model: str) -> str:
    """Return the folder of the run that `ckpt_path` belongs to, or a new one named by the time."""
    if ckpt_path and Path(ckpt_path).parent.name == "checkpoints":
        return str(Path(ckpt_path).parents[1])
    return f"outputs/{model}/{datetime.now():%Y-%m-%d_%H-%M-%S}"


def sweep_subdir(model: str) -> str:
    """Return `<model>[,key=value...]`: the model and what else the command line varies.

    It holds no number and no time, so that the same command finds its own runs again.
    """
    varied = _swept_keys(sys.argv[1:]) - {"model"}
    job = OverridesParser.create().parse_overrides(list(HydraConfig.get().overrides.task))
    parts = [
        f"{override.key_or_group}={override.get_value_element_as_str()}"
        for override in job
        if override.key_or_group in varied
    ]
    return ",".join([model, *parts]).replace("/", "_")


def _swept_keys(arguments: list[str]) -> set[str]:
    keys = set()
    for argument in arguments:
        try:
            override = OverridesParser.create().parse_override(argument)
        except HydraException:  # an option such as --multirun, or its value
            continue
        if override.is_sweep_override():
            keys.add(override.key_or_group)
    return keys
