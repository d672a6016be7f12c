"""The figures of the study that is reproduced."""

from collections.abc import Iterable, Mapping
from importlib import resources
from typing import Any

import pandas as pd
import yaml


def load_study() -> dict[str, Any]:
    """Read the study's figures.

    Returns:
        `splits` {split: images}; `models` {model: name, input_size, test_accuracy, macro_auprc};
        `training` {fact: words}; `confused_pairs` {model, pairs: [true, predicted, count]};
        `low_recall` {class: recall}; `class_names`, the 54 article types in alphabetical order.
    """
    text = resources.files("fashion.metrics").joinpath("study.yaml").read_text(encoding="utf-8")
    study: dict[str, Any] = yaml.safe_load(text)
    return study


def has_study_classes(class_names: Iterable[str]) -> bool:
    """Tell whether these are the study's 54 article types, in any order."""
    return sorted(class_names) == sorted(load_study()["class_names"])


def beside_study(
    run: Mapping[str, Any], per_class: pd.DataFrame, pairs: pd.DataFrame
) -> dict[str, Any]:
    """Put a run's figures beside the study's; the run must have the study's classes.

    Args:
        run: A run's summary.
        per_class: `class`, `recall` and `support` of each class.
        pairs: Every confused pair with its `count`, most frequent first.

    Returns:
        `models`, the study's six and the run, best accuracy first; `pairs` and `recalls`, the
        study's with the run's; `pairs_model`, `images` and `training` of the study.
    """
    study = load_study()
    scores = run[run["split"]]
    this = {
        "name": f"{run['model']}, this run, {run['split']} split",
        "input_size": run["data"]["input_size"],
        "test_accuracy": scores["accuracy"],
        "macro_auprc": scores["macro_auprc"],
    }
    models = [
        *({**model, "run": False} for model in study["models"].values()),
        {**this, "run": True},
    ]
    measured = per_class.set_index("class")
    return {
        "models": sorted(models, key=lambda model: -model["test_accuracy"]),
        "pairs": _pairs_beside(study["confused_pairs"]["pairs"], pairs),
        "recalls": [
            {"class": name, "study": recall, **measured.loc[name, ["recall", "support"]].to_dict()}
            for name, recall in study["low_recall"].items()
        ],
        "pairs_model": study["models"][study["confused_pairs"]["model"]]["name"],
        "images": study["splits"]["test"],
        "training": study["training"],
    }


def _pairs_beside(studied: Iterable[tuple[str, str, int]], pairs: pd.DataFrame) -> list[Any]:
    counts = {
        (true, predicted): count
        for true, predicted, count in zip(
            pairs["true"], pairs["predicted"], pairs["count"], strict=True
        )
    }
    ranks = pairs["count"].rank(ascending=False, method="min").astype(int)
    places = dict(zip(counts, ranks, strict=True))
    return [
        {
            "true": true,
            "predicted": predicted,
            "study": count,
            "count": counts.get((true, predicted), 0),
            "rank": places.get((true, predicted)),
        }
        for true, predicted, count in studied
    ]
