"""The words of `python train.py` as a configuration, for commands beside it."""

import sys
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from fashion.commands.folders import register_resolvers
from fashion.models.backbone import pretrained_cfg

CONF = Path(__file__).parents[2] / "conf"


def compose_settings(overrides: list[str], command: str) -> DictConfig:
    """Compose what `python train.py` would from these words, or exit with what is wrong."""
    if not CONF.is_dir():
        sys.exit(f"There is no {CONF}: run python -m {command} in the project's folder.")
    register_resolvers()
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            cfg = compose("config", overrides)
        pretrained_cfg(cfg.model.backbone)
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        sys.exit(str(error.__cause__ or error))
    return cfg


def container(node: DictConfig) -> dict[str, Any]:
    """Return a node's settings without the keys that are Hydra's own."""
    settings: Any = OmegaConf.to_container(node, resolve=True)
    return {key: value for key, value in settings.items() if not key.startswith("_")}
