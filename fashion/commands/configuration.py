"""The words of a training as a configuration; what is wrong with them in one sentence."""

import re
from collections.abc import Callable, Iterator
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from fashion.commands.extras import describe_lack
from fashion.commands.folders import register_resolvers
from fashion.commands.overrides import Overrides, read_overrides
from fashion.defaults import CONF
from fashion.models.backbone import pretrained_cfg
from fashion.wording import did_you_mean


def compose_settings(words: list[str]) -> DictConfig:
    """Compose what a training would from these words, for a command beside it.

    Raises:
        ValueError: A word is wrong.
    """
    cfg = compose_words(words)
    pretrained_cfg(cfg.model.backbone)
    return cfg


def compose_words(words: list[str]) -> DictConfig:
    """Compose what a training would from these words.

    Raises:
        ValueError: A word is wrong.
    """
    overrides = read_overrides(words)
    if overrides.flags:
        raise ValueError(f"{overrides.flags[0]} is for training alone; leave it out here.")
    return _compose(overrides.words)


def check_words(overrides: Overrides) -> None:
    """Compose what Hydra is going to, so that what is wrong is told in our words.

    Of a sweep each value is composed once, not with each of another key.

    Raises:
        ValueError: A word is wrong.
    """
    for words in _jobs(overrides.words):
        _compose(words, return_hydra_config=True)


def container(node: DictConfig) -> dict[str, Any]:
    """Return a node's settings without the keys that are Hydra's own."""
    settings: Any = OmegaConf.to_container(node, resolve=True)
    return {key: value for key, value in settings.items() if not key.startswith("_")}


def _compose(words: list[str], return_hydra_config: bool = False) -> DictConfig:
    register_resolvers()
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            cfg = compose("config", words, return_hydra_config=return_hydra_config)
            for word in words:
                if "${" in word:
                    OmegaConf.select(cfg, word.partition("=")[0].lstrip("+"))
            return cfg
    except (HydraException, OmegaConfBaseException) as error:
        raise ValueError(_sentence(error)) from error


def _jobs(words: list[str]) -> Iterator[list[str]]:
    """Yield the words of jobs that together have every value of a sweep."""
    choices = []
    for word in words:
        override = OverridesParser.create().parse_override(word)
        if override.is_discrete_sweep():
            key = word.partition("=")[0]
            choices.append([f"{key}={value}" for value in override.sweep_string_iterator()])
        elif not override.is_sweep_override():
            choices.append([word])
    first = [values[0] for values in choices]
    yield first
    for i, values in enumerate(choices):
        for value in values[1:]:
            yield [*first[:i], value, *first[i + 1 :]]


def _sentence(error: Exception) -> str:
    """Say in a sentence what Hydra says in several lines."""
    text = f"{error}\n{error.__cause__ or ''}"
    for pattern, say in HYDRAS.items():
        if match := re.search(pattern, text):
            return say(*match.groups())
    return " ".join(str(error.__cause__ or error).split())


def _unknown_key(key: str) -> str:
    group = key.rpartition(".")[0]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        node = OmegaConf.select(compose("config", return_hydra_config=True), group)
    return f"{key} is unknown{did_you_mean(key, [f'{group}.{name}' for name in node or ()])}."


def _unknown_option(group: str, name: str, listed: str) -> str:
    names = listed.split()
    engine, kind = name.partition("_")[0], group.rpartition("/")[2]
    if engine not in {each.partition("_")[0] for each in names}:
        lack = describe_lack(f"{group}={name}", f"hydra-{engine}-{kind}")
        if lack:
            return lack
    return f"{group}={name} is unknown{did_you_mean(name, names)}; there are {', '.join(names)}."


OPTIONS = r"Could not find '(\S+)/([^/\s]+)'\s+Available options in .*:\n((?:\t\S+\n?)+)"
# What Hydra says, and how we say it.
HYDRAS: dict[str, Callable[..., str]] = {
    r"Interpolation key '(\S+)' not found\s+full_key: (\S+)": lambda name, key: (
        f"{key}: there is no setting {name} that ${{{name}}} could stand for; type \\${{ where the "
        "characters themselves are meant."
    ),
    r"full_key: (\S+)": _unknown_key,
    OPTIONS: _unknown_option,
    r"already at '(\S+)'": lambda key: f"{key} is there already; type {key}=VALUE without a plus.",
    r"Could not delete from config. '(\S+)'": lambda key: f"~{key}: there is no such key.",
}
