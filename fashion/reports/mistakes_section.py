"""The section of a report on what a model mistakes, and what harms it."""

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from fashion.metrics.intervals import wilson
from fashion.metrics.predictions import Predictions, confused_pairs, per_class_table
from fashion.reports.error_analysis import ErrorAnalysis
from fashion.reports.figures import BLUE, INK, new_figure, tidy

LOWEST = 10  # classes of lowest recall
SHOWN = ("lowest_recall", "robustness")  # tables, as far as they are known


def tables(predictions: Predictions, analysis: ErrorAnalysis) -> dict[str, pd.DataFrame]:
    """Return `lowest_recall`, and `robustness` where it is known."""
    tables = {"lowest_recall": lowest_recall(predictions)}
    if not analysis.robustness.empty:
        tables["robustness"] = _with_interval(analysis.robustness)
    return tables


def lowest_recall(predictions: Predictions) -> pd.DataFrame:
    """Tabulate the classes that are found least, as the study does with its detection failures.

    Returns:
        `class`, `recall`, `precision`, `f1`, `support`, `missed`, and `taken_for` with its
        `taken_for_count`: what most of the missed ones were taken for, empty where none was.
    """
    table = per_class_table(predictions).set_index("class", drop=False)
    pairs = confused_pairs(predictions, top=len(predictions.targets))
    most = pairs.drop_duplicates("true").set_index("true").reindex(table.index)
    missed = pairs.groupby("true")["count"].sum().reindex(table.index)
    table["missed"] = missed.fillna(0).astype(int)
    table["taken_for"] = most["predicted"].fillna("")
    table["taken_for_count"] = most["count"].fillna(0).astype(int)
    columns = ["class", "recall", "precision", "f1", "support", "missed"]
    present = table[table["support"] > 0].sort_values("recall", kind="stable")
    return present[[*columns, "taken_for", "taken_for_count"]].head(LOWEST).reset_index(drop=True)


def drawings(tables: Mapping[str, pd.DataFrame], where: str) -> dict[str, Callable[[], Figure]]:
    """Return how to draw `robustness`, where it is among the tables."""
    if "robustness" not in tables:
        return {}
    title = f"Accuracy on changed photos: {where}"
    return {"robustness": lambda: plot_robustness(tables["robustness"], title)}


def plot_robustness(table: pd.DataFrame, title: str) -> Figure:
    """Draw the accuracy under each change and grade, with that of the unchanged photos.

    Args:
        table: See `ErrorAnalysis.robustness`, with `low` and `high`.
        title: Heading of the figure.
    """
    unchanged, changed = table.iloc[0], table.iloc[1:].reset_index(drop=True)
    figure = new_figure(9.5, 1.6 + 0.3 * len(changed), title)
    axes = figure.subplots()
    gaps = changed["name"].ne(changed["name"].shift()).cumsum() - 1
    y = changed.index.to_numpy() + 0.7 * gaps.to_numpy()
    axes.axvline(unchanged["accuracy"], color=INK, linestyle="--", linewidth=1.2)
    axes.text(
        unchanged["accuracy"],
        -1.0,
        f"unchanged, {unchanged['accuracy']:.1%} ",
        ha="right",
        va="center",
        fontsize=9,
    )
    axes.hlines(y, changed["low"], changed["high"], color=BLUE, linewidth=2.2, alpha=0.5)
    axes.scatter(changed["accuracy"], y, color=BLUE, s=30, zorder=3)
    for place, accuracy, high in zip(y, changed["accuracy"], changed["high"], strict=True):
        axes.text(high + 0.012, place, f"{accuracy:.1%}", va="center", fontsize=8.5)
    labels = [f"{row['name']}: {row['level']}" for _, row in changed.iterrows()]
    axes.set_yticks(y, labels, fontsize=9)
    axes.set_ylim(y.max() + 0.7, -1.5)
    axes.set_xlim(0, 1.09)
    axes.set_xticks(np.linspace(0, 1, 6), [f"{share:.0%}" for share in np.linspace(0, 1, 6)])
    axes.set_xlabel(f"accuracy on {unchanged['support']:,} photos, with 95 % intervals")
    axes.tick_params(axis="y", length=0)
    tidy(axes, grid="x")
    return figure


def _with_interval(table: pd.DataFrame) -> pd.DataFrame:
    pairs = zip(table["accuracy"], table["support"], strict=True)
    low, high = zip(*(wilson(share, count) for share, count in pairs), strict=True)
    return table.assign(low=low, high=high)
