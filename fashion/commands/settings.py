"""The settings in `conf/` as the command line knows them: their names, defaults, help, and kind.

Hydra isn't imported; the files are read as they are, with the comment behind each key as its help.
"""

import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

import yaml

from fashion.commands.words import Command, expand, typed, unquoted
from fashion.defaults import CONF

FILES = {
    "": "config",
    "data.": "data/fashion",
    "model.": "model/base",
    "trainer.": "trainer/default",
}
GROUPS = ("data", "model", "trainer")
# Settings whose value is a path, and others whose value is text whatever it looks like.
PATH_KEYS = frozenset(
    {
        "ckpt_path",
        "output_dir",
        "data.root",
        "data.exclude",
        "data.relabel",
        "data.rename",
        "data.more",
        "data.cache_dir",
        "model.weights",
        "trainer.default_root_dir",
        "hydra.run.dir",
        "hydra.sweep.dir",
    }
)
LIST_KEYS = frozenset({"data.label_column"})  # texts that may be several, in a list
TEXT_KEYS = PATH_KEYS | {
    "data.table",
    "data.delimiter",
    "data.encoding",
    "data.id_column",
    "data.image_column",
    "data.label_column",
    "model.backbone",
    "model_name",
    "sweep_name",
    "hydra.sweep.subdir",
    "hydra.job.name",
}


class Setting(NamedTuple):
    """A key of `conf/`.

    Attributes:
        default: Its value, as the file spells it.
        help: What it decides, in one line.
    """

    default: str
    help: str


@cache
def settings() -> dict[str, Setting]:
    """Return every setting that may be typed, but for those of Hydra itself."""
    return {
        prefix + key: setting
        for prefix, name in FILES.items()
        for key, setting in _read(CONF / f"{name}.yaml").items()
        if not key.startswith(("hydra.", "defaults")) and key.rpartition(".")[2][:1] != "_"
    }


def nodes() -> set[str]:
    """Return what settings are grouped under, such as `callbacks.best`."""
    return {
        key.rsplit(".", depth)[0] for key in settings() for depth in range(1, key.count(".") + 1)
    }


def options(group: str) -> list[str]:
    """Return the files of a group, which `group=NAME` chooses from."""
    return sorted(path.stem for path in (CONF / group).glob("*.yaml") if path.stem != "base")


def value_of(key: str, value: str) -> object:
    """Return what a typed value stands for, where no Hydra reads it."""
    if key in PATH_KEYS and value.lower() != "null":
        return expand(value)
    is_list = key in LIST_KEYS and value[:1] == "["
    if key in TEXT_KEYS and not is_list and value.lower() != "null":
        return unquoted(value)
    try:
        return typed(value)
    except ValueError as error:
        raise ValueError(f"{key}={error}") from error


def described(command: Command) -> list[tuple[str, str]]:
    """Return the settings of training that matter to a command and have help, each with it.

    Those without help are how the parts fit together.
    """
    everything = [
        *((f"{group}=NAME", f"one of {', '.join(options(group))}") for group in GROUPS),
        *((_with_default(key, it), it.help) for key, it in settings().items() if it.help),
        ("trainer.KEY=VALUE", "any other argument of Lightning's Trainer"),
        ("hydra.run.dir=DIR", "the run's folder; without it one below outputs/, named by the time"),
        ("--multirun", "a sweep: key=a,b trains with each value"),
    ]
    return [
        (key, help_)
        for key, help_ in everything
        if key.startswith(command.helps_on) and not key.startswith(command.helps_not_on)
    ]


def _with_default(key: str, setting: Setting) -> str:
    is_plain = setting.default not in ("null", "???") and "$" not in setting.default
    return f"{key}={setting.default if is_plain else 'VALUE'}"


def _read(path: Path) -> dict[str, Setting]:
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    tree = yaml.compose(text, yaml.SafeLoader)
    return {
        key: Setting(_spelt(node, text), _comment(lines[node.start_mark.line]))
        for key, node in (_leaves(tree, "") if tree else ())
    }


def _leaves(node: yaml.Node, prefix: str) -> list[tuple[str, yaml.Node]]:
    if not isinstance(node, yaml.MappingNode):
        return [(prefix.rstrip("."), node)]
    return [leaf for key, value in node.value for leaf in _leaves(value, f"{prefix}{key.value}.")]


def _spelt(node: yaml.Node, text: str) -> str:
    is_short = node.start_mark.line == node.end_mark.line
    return text[node.start_mark.index : node.end_mark.index] if is_short else "..."


def _comment(line: str) -> str:
    match = re.search(r"\s# (.*)$", line)
    return match[1] if match else ""
