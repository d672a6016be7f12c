"""The figures of a comparison of runs, drawn from tables."""

from collections.abc import Mapping
from itertools import cycle

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import (
    LogLocator,
    MaxNLocator,
    NullFormatter,
    PercentFormatter,
    StrMethodFormatter,
)

from fashion.reports.choice import choose_classes, in_words
from fashion.reports.figures import (
    BLUE,
    GREEN,
    INK,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    new_figure,
    tidy,
)
from fashion.reports.names import figure_names, width

COLOURS = (BLUE, ORANGE, GREEN, VERMILION, SKY, PURPLE, INK, "#8C6D31")
LINES = ("-", "--", ":")
KINDS = {"run": BLUE, "seeds": GREEN, "ensemble": VERMILION}


def plot_validation(histories: Mapping[str, pd.DataFrame], labels: Mapping[str, str]) -> Figure:
    """Draw the validation accuracy of each run over its epochs, the best epoch marked.

    Args:
        histories: By run: one row an epoch, `epoch`, `val/accuracy` and `val/macro_auprc`, which
            chose the best one.
        labels: How each run is written.
    """
    figure = new_figure(10.5, 5.6, "Validation accuracy over the epochs")
    axes = figure.subplots()
    styles = [(colour, line) for line in LINES for colour in COLOURS]
    for (name, history), (colour, line) in zip(histories.items(), cycle(styles), strict=False):
        history = history.dropna(subset=["val/accuracy"])
        if history.empty:
            continue
        epochs = history["epoch"].to_numpy(float) + 1
        values = history["val/accuracy"].to_numpy(float)
        axes.plot(epochs, values, color=colour, linestyle=line, linewidth=1.6, label=labels[name])
        best = history["val/macro_auprc"].fillna(-1).to_numpy().argmax()
        axes.plot(epochs[best], values[best], "o", color=colour, markersize=6)
    axes.plot([], [], "o", color=INK, markersize=6, label="best macro-AUPRC: the epoch kept")
    axes.set(xlabel="epoch", ylabel="validation accuracy")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    figure.legend(loc="outside right upper", frameon=False, fontsize=9)
    tidy(axes, grid="both")
    return figure


def plot_intervals(table: pd.DataFrame, labels: Mapping[str, str]) -> Figure:
    """Draw accuracy and macro-AUPRC of each row with its interval, the study's figure beside.

    Args:
        table: A comparison's finished rows, best first, with the study's figures or without.
        labels: How each of its rows is written.
    """
    table = table.iloc[::-1]
    figure = new_figure(11, 1.9 + 0.34 * len(table), "Test figures with their 95 % intervals")
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, name, words in (
        (left, "accuracy", "accuracy"),
        (right, "macro_auprc", "macro-AUPRC"),
    ):
        _plot_dots(axes, table, name)
        axes.set_xlabel(words)
        tidy(axes, grid="x")
    left.xaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    for axes in (left, right):
        axes.xaxis.set_major_locator(MaxNLocator(nbins=5))
    left.set_yticks(range(len(table)), [labels[name] for name in table["run"]], fontsize=9)
    left.set_ylim(-0.7, len(table) - 0.3)
    left.tick_params(axis="y", length=0)
    for kind, words in (("seeds", "mean over seeds"), ("ensemble", "ensemble")):
        if (table["kind"] == kind).any():
            left.plot([], [], "o", color=KINDS[kind], label=words)
    if "study_accuracy" in table and table["study_accuracy"].notna().any():
        left.plot([], [], "D", color=INK, markerfacecolor="none", markersize=5, label="study")
    if left.get_legend_handles_labels()[0]:
        left.plot([], [], "o", color=KINDS["run"], label="run")
        figure.legend(loc="outside lower right", frameon=False, ncols=4, fontsize=9)
    return figure


def _plot_dots(axes: Axes, table: pd.DataFrame, name: str) -> None:
    y = np.arange(len(table))
    values = table[name].to_numpy(float)
    low, high = (table[f"{name}_{end}"].to_numpy(float) for end in ("low", "high"))
    colours = [KINDS[kind] for kind in table["kind"]]
    axes.hlines(y, low, high, color=colours, linewidth=2.2, alpha=0.55)
    axes.scatter(values, y, color=colours, s=34, zorder=3)
    if f"study_{name}" in table:
        study = table[f"study_{name}"].to_numpy(float)
        axes.scatter(study, y, marker="D", s=26, facecolors="none", edgecolors=INK, zorder=2)


def plot_cost(table: pd.DataFrame, labels: Mapping[str, str]) -> Figure:
    """Draw the accuracy of runs against what they cost: in use, and in training.

    Args:
        table: A comparison's runs with `accuracy`, `images_per_second`, `seconds_per_epoch`.
        labels: How each run is written.
    """
    figure = new_figure(11, 4.8, "Accuracy against cost")
    colours = dict(zip(table["run"], cycle(COLOURS), strict=False))
    for axes, name, words in zip(
        figure.subplots(1, 2, sharey=True),
        ("images_per_second", "seconds_per_epoch"),
        ("photos labelled a second on this machine", "seconds of an epoch where it was trained"),
        strict=True,
    ):
        priced = table[table[name].notna() & (table[name].astype(float) > 0)]
        if priced.empty:
            axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center")
        else:
            _plot_costs(axes, priced, name, colours, labels)
        axes.set_xlabel(words)
        tidy(axes, grid="both")
    axes = figure.axes[0]
    axes.set_ylabel("test accuracy")
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    # Both panels have the same runs in the same colours, as far as they were measured.
    named = {
        label: handle
        for axes in figure.axes
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(
        named.values(), named.keys(), loc="outside right upper", frameon=False, fontsize=9
    )
    return figure


def _plot_costs(
    axes: Axes,
    table: pd.DataFrame,
    name: str,
    colours: Mapping[str, str],
    labels: Mapping[str, str],
) -> None:
    for row in table.to_dict("records"):
        label, colour = labels[row["run"]], colours[row["run"]]
        axes.scatter(row[name], row["accuracy"], s=60, color=colour, label=label, zorder=3)
    axes.set_xscale("log")
    values = table[name].astype(float)
    axes.set_xlim(values.min() / 1.6, values.max() * 1.6)
    decades = np.log10(values.max() / values.min())
    subs = (1, 2, 5) if decades < 1.5 else (1, 3) if decades < 2.5 else (1,)
    axes.xaxis.set_major_locator(LogLocator(subs=subs))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def plot_class_f1(tables: Mapping[str, pd.DataFrame], labels: Mapping[str, str]) -> Figure:
    """Draw the F1 of each class by run side by side, hardest on top; of many those of most loss.

    Args:
        tables: By run: one row a class, which is the index: `f1`, and of many classes `recall` and
            `support`. All have the same index.
        labels: How each run is written.
    """
    scores = pd.DataFrame({name: table["f1"] for name, table in tables.items()})
    classes, which = figure_names(scores.index), in_words(len(scores))
    every = pd.concat([table.select_dtypes("number") for table in tables.values()])
    mean = every.groupby(level=0, sort=False).mean()
    scores = scores.iloc[choose_classes(mean)]
    scores = scores.loc[scores.mean(axis=1).sort_values().index]
    names = [labels[name] for name in scores.columns]
    longest = 0.075 * max(map(width, names))
    height = 1.2 + 0.225 * len(scores) + longest
    figure = new_figure(max(3.2 + 0.62 * len(names), 6.5), height, f"F1 of {which}")
    axes = figure.subplots()
    axes.imshow(scores.to_numpy(float), cmap="RdYlBu", vmin=0, vmax=1, aspect="auto")
    for (i, j), value in np.ndenumerate(scores.to_numpy(float)):
        colour = "white" if value < 0.12 or value > 0.88 else INK
        axes.text(j, i, f"{value:.2f}", ha="center", va="center", fontsize=8, color=colour)
    axes.set_yticks(range(len(scores)), [classes[str(name)] for name in scores.index], fontsize=9)
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=9)
    axes.tick_params(length=0, labeltop=True, labelbottom=False)
    axes.spines[:].set_visible(False)
    return figure
