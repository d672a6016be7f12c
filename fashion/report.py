"""Predictions on a split -> tables, figures and one page, without the model or the data."""

import json
import math
import os
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from fashion import figures, metrics
from fashion.files import replacing, write_file
from fashion.pages import render, write_figures
from fashion.study import beside_study, half_width, has_study_classes, load_study
from fashion.tables import csv_text

UNREADABLE = (
    *(ValueError, KeyError, TypeError, AttributeError, EOFError),
    *(zipfile.BadZipFile, zlib.error),
)


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a model said about a split: the only thing a report is made of.

    Attributes:
        image_ids: `(N,)` str.
        probabilities: `(N, K)` float32, finite.
        targets: `(N,)` int64 in `[0, K)`.
        class_names: `(K,)`, each once, `K >= 2`.
        has_twin: `(N,)` bool, whether the training split has a twin of the image; None where that
            isn't known.

    Raises:
        ValueError: One of them breaks these rules.
    """

    image_ids: NDArray[np.str_]
    probabilities: NDArray[np.float32]
    targets: NDArray[np.int64]
    class_names: tuple[str, ...]
    has_twin: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        """Refuse what no report can be made of."""
        n, k = len(self.targets), len(self.class_names)
        shapes = {"image_ids": (n,), "probabilities": (n, k), "targets": (n,)}
        kinds = {"image_ids": "str", "probabilities": "float", "targets": "int"}
        if self.has_twin is not None:
            shapes["has_twin"], kinds["has_twin"] = (n,), "bool"
        for name, shape in shapes.items():
            if getattr(self, name).shape != shape:
                raise ValueError(
                    f"{name} has shape {getattr(self, name).shape}, but {n} targets of {k} classes "
                    f"make it {shape}."
                )
        if n == 0 or k < 2 or len(set(self.class_names)) < k:
            raise ValueError(
                f"{n} images of {k} classes: expected 1 and 2 at least, no class twice."
            )
        for name, kind in kinds.items():
            dtype = getattr(self, name).dtype
            if not dtype.name.startswith(kind):
                raise ValueError(f"{name} are of type {dtype}; expected {kind}.")
        if self.targets.min() < 0 or self.targets.max() >= k:
            raise ValueError(
                f"targets run from {self.targets.min()} to {self.targets.max()}; "
                f"{k} classes allow 0 to {k - 1}."
            )
        if not np.isfinite(self.probabilities).all():
            raise ValueError("probabilities hold NaN or infinity: the model has diverged.")

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write one compressed `.npz`, whole or not at all."""
        columns: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        arrays = {name: column for name, column in columns.items() if column is not None}
        arrays["class_names"] = np.array(self.class_names, dtype=np.str_)
        with replacing(Path(path)) as file:
            np.savez_compressed(file, **arrays)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Predictions":
        """Read what `save` wrote.

        Raises:
            ValueError: The file is damaged, or something else.
        """
        try:
            with Path(path).open("rb") as file, np.load(file, allow_pickle=False) as stored:
                arrays = {field.name: stored[field.name] for field in fields(cls)[:4]}
                arrays["has_twin"] = stored.get("has_twin")
            arrays["class_names"] = tuple(arrays["class_names"].tolist())
            return cls(**arrays)
        except UNREADABLE as e:
            raise ValueError(f"{path} holds no predictions of this project: {e}") from e


def per_class_table(predictions: Predictions) -> pd.DataFrame:
    """Tabulate `class`, `precision`, `recall`, `f1`, `average_precision` and `support`.

    Returns:
        One row per class in the order of `class_names`. Undefined scores are 0, the average
        precision of a class without images NaN.
    """
    scores = metrics.per_class_metrics(*_tensors(predictions))
    columns = {name: values.numpy() for name, values in scores.items()}
    return pd.DataFrame({"class": list(predictions.class_names), **columns})


def confusion_counts(predictions: Predictions) -> NDArray[np.int64]:
    """Count images by true class (down) and predicted class (across), `(K, K)`."""
    k = len(predictions.class_names)
    cells = predictions.targets * k + predictions.probabilities.argmax(axis=1)
    return np.bincount(cells, minlength=k * k).reshape(k, k).astype(np.int64)


def confused_pairs(predictions: Predictions, top: int = 20) -> pd.DataFrame:
    """Rank the ordered class pairs (true, predicted) by how often they are mistaken.

    Returns:
        `top` rows at most, most frequent first, equals in the order of the classes: `true`,
        `predicted`, `count`, and `share`, the fraction of the true class's images that went to
        `predicted`. Pairs never confused are absent.
    """
    counts = confusion_counts(predictions)
    support = counts.sum(axis=1)
    np.fill_diagonal(counts, 0)
    order = np.argsort(-counts, axis=None, kind="stable")[: np.count_nonzero(counts)][:top]
    true, predicted = np.unravel_index(order, counts.shape)
    names = np.array(predictions.class_names, dtype=object)
    return pd.DataFrame(
        {
            "true": names[true],
            "predicted": names[predicted],
            "count": counts[true, predicted],
            "share": counts[true, predicted] / support[true],
        }
    )


def write_report(
    predictions: Predictions,
    run: Mapping[str, Any],
    history: pd.DataFrame,
    report_dir: str | os.PathLike[str],
) -> dict[str, Any]:
    """Write `summary.json`, `per_class.csv`, `confused_pairs.csv`, `figures/` and `index.html`.

    Args:
        predictions: Of the split that `run["split"]` names.
        run: What the caller knows of the run; it becomes the base of the summary.
        history: One row per epoch: `epoch`, `lr`, `train/loss`, `val/macro_f1` and so on; empty
            when a checkpoint is evaluated on its own.
        report_dir: Made when missing; an older report in it is replaced.

    Returns:
        The summary as written: `run` with the scores under the split's name, and the study's
        under `study` where they may be compared: the study's model and classes, the test split, no
        drawn sample.
    """
    folder = Path(report_dir)
    folder.mkdir(parents=True, exist_ok=True)
    table, pairs = per_class_table(predictions), confused_pairs(predictions)
    summary = summarise(predictions, run)
    text = json.dumps(summary, indent=2, ensure_ascii=False, allow_nan=False)
    write_file(folder / "summary.json", f"{text}\n")
    write_file(folder / "per_class.csv", csv_text(table, float_format="%.6g"))
    write_file(folder / "confused_pairs.csv", csv_text(pairs, float_format="%.6g"))
    pictures = write_figures(_draw(predictions, summary, table, history), folder / "figures")
    write_file(folder / "index.html", _render(predictions, summary, table, history, pictures))
    return summary


def summarise(predictions: Predictions, run: Mapping[str, Any]) -> dict[str, Any]:
    """Join what is known of the run with its scores, as strict JSON: null where undefined."""
    scores = metrics.classification_metrics(*_tensors(predictions))
    support = np.bincount(predictions.targets, minlength=len(predictions.class_names))
    absent = [name for name, n in zip(predictions.class_names, support, strict=True) if n == 0]
    block = {
        **scores,
        **_by_twin(predictions),
        "support": len(predictions.targets),
        "absent_classes": absent,
    }
    summary = {**run, run["split"]: block}
    study = load_study()["models"].get(run["model"])
    if study and _is_comparable(predictions, run):
        summary["study"] = {key: study[key] for key in ("test_accuracy", "macro_auprc")}
    strict: dict[str, Any] = _jsonable(summary)
    return strict


def _by_twin(predictions: Predictions) -> dict[str, dict[str, float]]:
    """Return accuracy and support of the images with and without a twin in the training split."""
    if predictions.has_twin is None:
        return {}
    right = predictions.probabilities.argmax(axis=1) == predictions.targets
    parts = {
        "with_twin_in_train": predictions.has_twin,
        "without_twin_in_train": ~predictions.has_twin,
    }
    return {
        name: {"accuracy": right[part].mean() if part.any() else math.nan, "support": part.sum()}
        for name, part in parts.items()
    }


def _is_comparable(predictions: Predictions, run: Mapping[str, Any]) -> bool:
    real_test = run["split"] == "test" and not run["drawn_sample"]
    return real_test and has_study_classes(predictions.class_names)


def _tensors(predictions: Predictions) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.tensor(predictions.probabilities), torch.tensor(predictions.targets)


def _jsonable(value: object) -> Any:  # noqa: ANN401 - JSON has no narrower type
    if isinstance(value, Mapping):
        return {str(key): _jsonable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, np.ndarray)):
        return [_jsonable(item) for item in value]
    if isinstance(value, np.generic):
        return _jsonable(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)


def _draw(
    predictions: Predictions,
    run: Mapping[str, Any],
    table: pd.DataFrame,
    history: pd.DataFrame,
) -> dict[str, Figure]:
    drawn = ", drawn sample" if run["drawn_sample"] else ""
    where = f"{run['model']}, {run['split']} split{drawn}"
    names = predictions.class_names
    pictures = {
        "per_class_f1": figures.plot_per_class_f1(table, f"F1 of each class: {where}"),
        "confusion_matrix": figures.plot_confusion_matrix(
            confusion_counts(predictions), names, f"Confusion matrix: {where}"
        ),
        "pr_curves": figures.plot_pr_curves(
            *_curves(predictions),
            dict(zip(table["class"], table["average_precision"], strict=True)),
            f"Precision over recall: {where}",
        ),
        "class_distribution": figures.plot_class_distribution(
            run["class_counts"], f"Images of each class{drawn}"
        ),
    }
    if len(history):
        title = f"Training and validation: {run['model']}{drawn}"
        pictures["history"] = figures.plot_history(history, run["best_epoch"], title)
    return pictures


def _curves(predictions: Predictions) -> tuple[dict[str, figures.Curve], figures.Curve]:
    scores, targets = _tensors(predictions)
    hits = torch.nn.functional.one_hot(targets, scores.shape[1]).bool()

    def trace(column: torch.Tensor, positives: torch.Tensor) -> figures.Curve:
        precision, recall = metrics.precision_recall_curve(column, positives)
        return precision.numpy(), recall.numpy()

    present = [(k, name) for k, name in enumerate(predictions.class_names) if hits[:, k].any()]
    curves = {name: trace(scores[:, k], hits[:, k]) for k, name in present}
    return curves, trace(scores.flatten(), hits.flatten())


def _render(
    predictions: Predictions,
    summary: Mapping[str, Any],
    table: pd.DataFrame,
    history: pd.DataFrame,
    pictures: Mapping[str, str],
) -> str:
    scores = summary[summary["split"]]
    every_pair = confused_pairs(predictions, top=len(predictions.class_names) ** 2)
    comparable = _is_comparable(predictions, summary)
    return render(
        "report.html.j2",
        run=summary,
        scores=scores,
        half_width=half_width(scores["accuracy"], scores["support"]),
        table=table.replace({np.nan: None}).to_dict("records"),
        pairs=every_pair.head(20).to_dict("records"),
        beside=beside_study(summary, table, every_pair) if comparable else None,
        first_epoch=int(history["epoch"].min()) if len(history) else None,
        pictures=pictures,
        config=_flatten(summary["config"]),
    )


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    leaves: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            leaves.update(_flatten(value, f"{prefix}{key}."))
        else:
            leaves[f"{prefix}{key}"] = value
    return leaves
