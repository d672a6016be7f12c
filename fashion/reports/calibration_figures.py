"""The figures of a calibration, drawn from tables and arrays."""

from collections.abc import Mapping
from itertools import cycle

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

from fashion.reports.figures import BLUE, INK, NAMED, SKY, VERMILION, new_figure, tidy
from fashion.wording import many

COLOURS = [colour for colour in NAMED if colour != BLUE]  # beside a curve in blue
PALE = "#F2B48C"
BINS = 25


def plot_reliability(panels: Mapping[str, tuple[pd.DataFrame, float]], title: str) -> Figure:
    """Draw accuracy over confidence, and how many images are where.

    Args:
        panels: By their headings, one or two: a table as
            `fashion.metrics.calibration.reliability_table` returns it, and the expected calibration
            error.
        title: Heading of the figure.
    """
    figure = new_figure(4.2 + 3.15 * len(panels), 6.8, title)
    grid = figure.subplots(
        2, len(panels), sharex=True, sharey="row", squeeze=False, height_ratios=[3, 1]
    )
    for column, (heading, (table, error)) in enumerate(panels.items()):
        _plot_bins(grid[0, column], table)
        _plot_counts(grid[1, column], table)
        words = f"{heading}: calibration error {error:.1%}"
        grid[0, column].set_title(words, loc="left", fontsize=11)
    grid[0, 0].set_ylabel("share that is right")
    grid[1, 0].set_ylabel("images")
    diagonal, *bars = grid[0, 0].get_legend_handles_labels()[0]
    figure.legend(
        handles=[*bars, diagonal],
        loc="outside lower left",
        frameon=False,
        fontsize=9,
        ncols=2 * len(panels),
    )
    return figure


def _plot_bins(axes: Axes, table: pd.DataFrame) -> None:
    accuracy, confidence = np.nan_to_num(table[["accuracy", "confidence"]].to_numpy(float).T)
    common = np.minimum(accuracy, confidence)
    parts = {
        "right": (common, np.zeros_like(common), BLUE),
        "right more often than it says": (accuracy - common, common, SKY),
        "right less often than it says": (confidence - common, common, PALE),
    }
    for label, (height, bottom, colour) in parts.items():
        _plot_bars(axes, table, height, bottom, colour, label)
    axes.plot([0, 1], [0, 1], color=INK, linestyle="--", linewidth=1.2, label="calibrated")
    axes.set(xlim=(0, 1), ylim=(0, 1.01))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    tidy(axes, grid="both")


def _plot_counts(axes: Axes, table: pd.DataFrame) -> None:
    _plot_bars(axes, table, table["count"].to_numpy(float), 0, BLUE, "images")
    middles = (table["low"] + table["high"]) / 2
    for x, count in zip(middles, table["count"], strict=True):
        if count:
            axes.annotate(
                f"{count:,}",
                (x, count),
                xytext=(0, 1.5),
                textcoords="offset points",
                ha="center",
                va="bottom",
                fontsize=7,
            )
    axes.set_xlabel("confidence")
    axes.margins(y=0.25)
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.tick_params(axis="y", length=0, labelleft=False)
    tidy(axes, grid="x")


def _plot_bars(
    axes: Axes,
    table: pd.DataFrame,
    height: NDArray[np.float64],
    bottom: NDArray[np.float64] | float,
    colour: str,
    label: str,
) -> None:
    axes.bar(
        table["low"],
        height,
        table["high"] - table["low"],
        bottom,
        align="edge",
        color=colour,
        edgecolor="white",
        linewidth=np.where(height > 0, 0.8, 0),
        label=label,
    )


def plot_risk_coverage(curve: pd.DataFrame, thresholds: pd.DataFrame, title: str) -> Figure:
    """Draw the precision of a model that answers only some images, and the chosen thresholds.

    Args:
        curve: As `fashion.metrics.calibration.risk_coverage` returns it.
        thresholds: As `fashion.metrics.calibration.refusal_table` returns it for the same images;
            may be empty.
        title: Heading of the figure.
    """
    figure = new_figure(10.5, 5.2, title)
    axes = figure.subplots()
    axes.step(
        curve["coverage"],
        curve["precision"],
        where="post",
        color=BLUE,
        linewidth=1.8,
        marker="o" if len(curve) <= 40 else "",
        markersize=4,
    )
    for i, (row, colour) in enumerate(zip(_rows(thresholds), cycle(COLOURS), strict=False)):
        axes.axhline(row["wanted"], color=colour, linestyle="--", linewidth=1)
        # Each has its own size, or equal ones would hide each other.
        axes.plot(
            row["coverage"],
            row["precision"],
            color=colour,
            label=_words(row),
            marker="o",
            markersize=max(12 - 3 * i, 5),
            markeredgewidth=0,
            linestyle="",
        )
    # The images of highest confidence may begin with a mistake, which would flatten the rest.
    shown = [curve["precision"].iloc[-1], *thresholds["precision"], *thresholds["wanted"]]
    margin = 0.1 * (1.02 - np.nanmin(shown))
    axes.set(xlim=(0, 1.01), ylim=(np.nanmin(shown) - margin, 1 + 0.4 * margin))
    axes.set(xlabel="share of images answered", ylabel="share of the answers that is right")
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    if len(thresholds):
        figure.legend(
            loc="outside lower left",
            frameon=False,
            fontsize=9,
            title="thresholds chosen on the validation split (dashed: the precision wanted)",
            alignment="left",
        )
    tidy(axes, grid="both")
    return figure


def _rows(table: pd.DataFrame) -> list[dict[str, float]]:
    return [dict(zip(table.columns, row, strict=True)) for row in table.to_numpy(float)]


def _words(row: dict[str, float]) -> str:
    words = f"{row['wanted'] * 100:g}% wanted"
    if np.isnan(row["threshold"]):
        return f"{words}: out of reach"
    words += f": confidence from {row['threshold']:.3f}, {row['coverage']:.1%} of images answered"
    if not np.isnan(row["precision"]):
        words += f", {row['precision']:.1%} of them right"
    if not np.isnan(row["unknown_refused"]):
        words += f", {row['unknown_refused']:.1%} of unknown photos refused"
    return words


def plot_unknowns(
    known: NDArray[np.float32], unknown: NDArray[np.float32], title: str, auroc: float
) -> Figure:
    """Draw how the confidences of photos of known classes and of other photos are spread.

    Args:
        known: `(N,)` confidences of photos of the known classes.
        unknown: `(M,)` confidences of other photos.
        title: Heading of the figure.
        auroc: As `fashion.metrics.calibration.unknowns_auroc` returns it.
    """
    figure = new_figure(9, 4.8, title)
    axes = figure.subplots()
    bins = np.linspace(0, 1, BINS + 1)
    parts = (("known classes", BLUE, known), ("unknown", VERMILION, unknown))
    for name, colour, confidences in parts:
        shares = np.histogram(confidences, bins)[0] / max(len(confidences), 1)
        label = f"{name}, {many(len(confidences), 'photo')}"
        axes.stairs(shares, bins, fill=True, color=colour, alpha=0.3)
        axes.stairs(shares, bins, color=colour, linewidth=1.6, label=label)
    axes.set(xlim=(0, 1.004), xlabel="confidence", ylabel="share of the photos")
    axes.set_title(f"AUROC {auroc:.3f}", loc="left", fontsize=11)
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    figure.legend(loc="outside lower left", frameon=False, ncols=2)
    tidy(axes, grid="both")
    return figure
