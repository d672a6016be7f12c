"""The figures of the study that is reproduced."""

from collections.abc import Iterable
from importlib import resources
from typing import Any

import yaml


def load_study() -> dict[str, Any]:
    """Read the study's figures.

    Returns:
        `splits` {split: images}; `models` {model: name, input_size, test_accuracy, macro_auprc};
        `training` {fact: words}; `confused_pairs` {model, pairs: [true, predicted, count]};
        `low_recall` {class: recall}; `class_names`, the 54 article types in alphabetical order.
    """
    text = resources.files("fashion").joinpath("study.yaml").read_text(encoding="utf-8")
    study: dict[str, Any] = yaml.safe_load(text)
    return study


def has_study_classes(class_names: Iterable[str]) -> bool:
    """Tell whether these are the study's 54 article types, in any order."""
    return sorted(class_names) == sorted(load_study()["class_names"])
