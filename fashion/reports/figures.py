"""The report's figures, drawn from tables and arrays."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter, StrMethodFormatter
from numpy.typing import NDArray

from fashion.reports.choice import ALL, MOST, choose_classes, choose_sizes
from fashion.reports.names import figure_names, short_label, width

Curve = tuple[NDArray[np.float64], NDArray[np.float64]]

# Okabe and Ito's palette, told apart by readers with any colour vision.
BLUE, SKY, ORANGE, VERMILION = "#0072B2", "#56B4E9", "#E69F00", "#D55E00"
GREEN, PURPLE, INK, GREY = "#009E73", "#CC79A7", "#222222", "#B8BCC2"
NAMED = (VERMILION, BLUE, GREEN, PURPLE, ORANGE)

SMALL_K = 12
TITLE = 0.12  # inches that a letter of a heading takes at most, but for rare ones
WRITTEN = " (counts written: mistakes of 5 images, or of 2 that make 5 % of the class)"


def plot_history(history: pd.DataFrame, best_epoch: int | None, title: str) -> Figure:
    """Draw loss, accuracy, macro scores and learning rate over the epochs, the best one marked.

    Args:
        history: One row per epoch: `epoch` and any of `train/loss`, `val/loss`, `train/accuracy`,
            `val/accuracy`, `val/macro_f1`, `val/macro_auprc`, `lr`; gaps may be NaN.
        best_epoch: In the numbering of `epoch`, from 0, or None; the figure counts from 1.
        title: Heading of the figure.
    """
    figure = new_figure(11, 7.4, title)
    panels = {
        "Loss": {"train/loss": ("training", SKY), "val/loss": ("validation", VERMILION)},
        "Accuracy": {
            "train/accuracy": ("training", SKY),
            "val/accuracy": ("validation", VERMILION),
        },
        "Macro scores, validation": {
            "val/macro_f1": ("macro-F1", BLUE),
            "val/macro_auprc": ("macro-AUPRC", ORANGE),
        },
        "Learning rate": {"lr": ("_", INK)},
    }
    for axes, (heading, lines) in zip(figure.subplots(2, 2).flat, panels.items(), strict=True):
        _plot_panel(axes, history, lines, best_epoch)
        axes.set_title(heading, loc="left", fontsize=11)
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:.2e}"))
    return figure


def _plot_panel(
    axes: Axes,
    history: pd.DataFrame,
    lines: Mapping[str, tuple[str, str]],
    best_epoch: int | None,
) -> None:
    epochs = history["epoch"].to_numpy(float) + 1
    marker = "o" if len(epochs) <= 40 else ""
    for column, (label, colour) in lines.items():
        values = history.get(column, pd.Series(dtype=float)).to_numpy(float)
        known = np.isfinite(values)
        if known.any():
            axes.plot(
                epochs[known], values[known], color=colour, label=label, marker=marker, markersize=4
            )
    if not axes.lines:
        axes.text(0.5, 0.5, "not recorded", transform=axes.transAxes, ha="center", color="#777777")
    elif best_epoch is not None:
        axes.axvline(
            best_epoch + 1,
            color=INK,
            linestyle=":",
            linewidth=1.2,
            label=f"best epoch, {best_epoch + 1}",
        )
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize=9)
    axes.set_xlim(epochs.min() - 0.5, epochs.max() + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=12, min_n_ticks=1))
    axes.set_xlabel("epoch")
    tidy(axes, grid="both")


def plot_per_class_f1(table: pd.DataFrame, title: str) -> Figure:
    """Draw each class's F1 as a bar, best on top, with its support; of many those of most loss.

    Args:
        table: One row per class: `class`, `recall`, `f1`, `support`.
        title: Heading of the figure.
    """
    shown = figure_names(table["class"])
    present = table["support"] > 0
    mean = table["f1"][present].mean()
    over = "" if present.all() else f" over the {present.sum()} of {len(table)} classes with images"
    table = table.iloc[choose_classes(table)].sort_values(["f1", "support"], ascending=True)
    figure = new_figure(8.5, 1.5 + 0.235 * len(table), title)
    axes = figure.subplots()
    y = np.arange(len(table))
    axes.barh(y, table["f1"], height=0.72, color=np.where(table["f1"] < mean, SKY, BLUE))
    axes.axvline(mean, color=VERMILION, linestyle="--", linewidth=1.4, zorder=0.9)
    for i, (f1, support) in enumerate(zip(table["f1"], table["support"], strict=True)):
        inside = f1 > 0.1
        axes.text(
            f1 - 0.01 if inside else f1 + 0.01,
            i,
            f"{f1:.2f}" if support else "no image",
            va="center",
            ha="right" if inside else "left",
            fontsize=8,
            color="white" if f1 >= mean and inside else INK,
        )
        axes.text(1.1, i, f"{support:,}", va="center", ha="right", fontsize=8, color=INK)
    axes.text(1.1, len(table) - 0.45, "images", ha="right", fontsize=8, color=INK)
    name_rows(axes, [shown[str(name)] for name in table["class"]])
    axes.set_xlim(0, 1.11)
    axes.set_xticks(np.linspace(0, 1, 6))
    axes.set_xlabel(f"F1 (dashed: macro-F1{over}, {mean:.3f})")
    tidy(axes, grid="x")
    return figure


def plot_class_distribution(class_counts: Mapping[str, Mapping[str, int]], title: str) -> Figure:
    """Draw the images of each class as a bar stacked from the splits, largest class on top.

    Of many classes these are the largest and the smallest.

    Args:
        class_counts: {class: {split: images}}, every class with the same splits.
        title: Heading of the figure.
    """
    table = pd.DataFrame.from_dict(dict(class_counts), orient="index")
    shown = figure_names(table.index)
    chosen, which = choose_sizes(table.sum(axis=1))
    table = table.loc[chosen.index]
    figure = new_figure(8.5, 1.7 + 0.235 * len(table), title)
    axes = figure.subplots()
    left = np.zeros(len(table))
    for split, colour in zip(table.columns, (BLUE, ORANGE, GREEN), strict=False):
        axes.barh(
            np.arange(len(table)), table[split], left=left, height=0.72, color=colour, label=split
        )
        left += table[split].to_numpy(float)
    for i, counts in enumerate(table.itertuples(index=False)):
        parts = " / ".join(f"{count:,}" for count in counts)
        words = f"{sum(counts):,}   ({parts})" if len(counts) > 1 else parts
        axes.text(left[i] + left.max() * 0.01, i, words, va="center", fontsize=8)
    name_rows(axes, [shown[str(name)] for name in table.index])
    axes.set_xlim(0, left.max() * 1.3)
    is_divided = len(table.columns) > 1
    axes.set_xlabel((f"images ({' / '.join(table.columns)})" if is_divided else "images") + which)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    if is_divided:
        figure.legend(loc="outside upper right", frameon=False, ncols=3)
    tidy(axes, grid="x")
    return figure


def plot_confusion_matrix(
    counts: NDArray[np.int64], class_names: Sequence[str], title: str
) -> Figure:
    """Draw the confusion matrix, each row in shares of its true class.

    Up to a dozen classes every count is written out; above, only the mistakes that stand out.

    Args:
        counts: `(K, K)`, true classes down, predicted classes across.
        class_names: `(K,)`.
        title: Heading of the figure.
    """
    k = len(class_names)
    cells = max(2.6, 0.225 * k)
    shown = figure_names(class_names)
    labels = [shown[str(name)] for name in class_names]
    names = 0.3 + 0.077 * max(map(width, labels))
    height = cells + names * (2 if k > SMALL_K else 1) + 1.1
    figure = new_figure(cells + names + 2.3, height, title)
    axes = figure.subplots()
    support = counts.sum(axis=1, keepdims=True)
    shares = counts / np.maximum(support, 1)
    # The square root lifts mistakes of a few percent off the white ground.
    image = axes.imshow(shares, cmap="Blues", norm=PowerNorm(0.5, 0, 1), aspect="equal")
    size = 11 if k <= SMALL_K else 7.5
    for i, j in np.argwhere(_worth_writing(counts, shares)):
        colour = "white" if shares[i, j] > 0.35 else INK
        axes.text(j, i, f"{counts[i, j]:,}", ha="center", va="center", fontsize=size, color=colour)
    axes.set_xticks(range(k), labels)
    axes.set_yticks(
        range(k), [f"{label}  {n:,}" for label, n in zip(labels, support[:, 0], strict=True)]
    )
    axes.tick_params(length=0, labelsize=10.5, labeltop=k > SMALL_K)
    axes.tick_params(axis="x", rotation=90)
    axes.set_xticks(np.arange(k + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(k + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="#E4E7EB", linewidth=0.5)
    axes.tick_params(which="minor", length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("predicted class" + ("" if k <= SMALL_K else WRITTEN))
    axes.set_ylabel("true class, with its number of images")
    bar = figure.colorbar(image, ax=axes, shrink=0.5, pad=0.015, ticks=[0, 0.05, 0.2, 0.5, 1])
    bar.ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    bar.set_label("share of the true class")
    return figure


def _worth_writing(counts: NDArray[np.int64], shares: NDArray[np.float64]) -> NDArray[np.bool_]:
    if len(counts) <= SMALL_K:
        return counts > 0
    mistakes = ~np.eye(len(counts), dtype=bool)
    return mistakes & (counts >= 2) & ((shares >= 0.05) | (counts >= 5))


def plot_pr_curves(
    curves: Mapping[str, Curve], micro: Curve, average_precisions: Mapping[str, float], title: str
) -> Figure:
    """Draw a precision-recall curve per class, their macro mean and the micro mean.

    The five classes with the lowest average precision are coloured and named; where there are more
    than a figure shows, some of the others are drawn, from the lowest to the highest.

    Args:
        curves: {class: (precision, recall)} of the classes with images, recall falling from 1 to 0.
        micro: The same over all `N * K` decisions pooled.
        average_precisions: {class: average precision} of these classes, and of those without
            images, so that names are the same in all figures.
        title: Heading of the figure.
    """
    figure = new_figure(10.5, 6.6, title)
    axes = figure.subplots()
    shown = figure_names(average_precisions)
    rising = sorted(curves, key=lambda name: average_precisions[name])
    worst, others = rising[: len(NAMED)], rising[len(NAMED) :]
    drawn = others
    if len(curves) > ALL:
        drawn = [others[i] for i in np.linspace(0, len(others) - 1, MOST).astype(int)]
    for name in drawn:
        _step(axes, curves[name], color=GREY, linewidth=0.6, alpha=0.7)
    for name, colour in zip(worst, NAMED, strict=False):
        words = f"{average_precisions[name]:.3f}  {shown[name]}"
        _step(axes, curves[name], color=colour, linewidth=1.5, label=words)
    if others:
        some = f"{len(drawn)} of {len(others):,} " if len(drawn) < len(others) else ""
        axes.plot([], [], color=GREY, label=f"{some}other classes")
    macro = float(np.mean([average_precisions[name] for name in curves]))
    _step(axes, _mean_curve(curves), color=INK, linewidth=2.8, label=f"{macro:.3f}  macro mean")
    pooled = -float(np.sum(np.diff(micro[1]) * micro[0][:-1]))
    words = f"{pooled:.3f}  micro, all decisions pooled"
    _step(axes, micro, color=INK, linewidth=1.8, linestyle="--", label=words)
    axes.set(xlim=(0, 1.01), ylim=(0, 1.02), xlabel="recall", ylabel="precision")
    figure.legend(
        loc="outside right upper",
        frameon=False,
        fontsize=9,
        title="average precision",
        alignment="left",
    )
    tidy(axes, grid="both")
    return figure


def _step(axes: Axes, curve: Curve, **style: Any) -> None:
    precision, recall = curve
    # The curve's last point, precision 1 at recall 0, is a convention that no score reaches.
    axes.step(recall, [*precision[:-1], precision[-2]], where="post", **style)


def _mean_curve(curves: Mapping[str, Curve]) -> Curve:
    grid = np.linspace(1, 0, 201)
    # On the grid a precision holds from its own recall down to the next lower one.
    places = [np.searchsorted(-recall, -grid, side="right") - 1 for _, recall in curves.values()]
    values = [
        precision[:-1][np.minimum(place, len(precision) - 2)]
        for place, (precision, _) in zip(places, curves.values(), strict=True)
    ]
    return np.mean(values, axis=0), grid


def new_figure(width_in_inches: float, height: float, title: str) -> Figure:
    """Start a figure of so many inches with a heading, which is broken where it is too long."""
    figure = Figure(figsize=(width_in_inches, height), dpi=130, layout="constrained")
    lines = textwrap.wrap(short_label(title, 200), max(20, int(width_in_inches / TITLE)))
    figure.suptitle("\n".join(lines), fontsize=13, fontweight="bold", x=0.01, ha="left")
    return figure


def name_rows(axes: Axes, labels: Sequence[str]) -> None:
    """Write names, as `figure_names` returns them, beside the bars at 0, 1, 2 and so on."""
    axes.set_yticks(range(len(labels)), labels, fontsize=9)
    axes.set_ylim(-0.7, len(labels) - 0.3)
    axes.tick_params(axis="y", length=0)


def tidy(axes: Axes, grid: Literal["x", "both"]) -> None:
    """Draw a light grid and no frame."""
    axes.grid(axis=grid, color="#E4E7EB", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
