"""The figures of a catalogue, drawn from tables."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter, StrMethodFormatter

from fashion.reports.choice import choose_sizes
from fashion.reports.figures import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    name_rows,
    new_figure,
    tidy,
)
from fashion.reports.names import figure_names, short_label, width
from fashion.wording import many

EMPTY = "(empty)"
LEGEND = 90  # Latin letters that a line of a legend holds
BARS_DRAWN = 300  # bars of labels; more are drawn as one area
BARS = 14  # values of a column that are drawn; the rest are added up
COLOURS = (BLUE, ORANGE, GREEN, VERMILION, SKY, PURPLE, INK, "#F0E442")


def plot_long_tail(distribution: pd.DataFrame, min_images: int, title: str) -> Figure:
    """Draw the photos of every label over its rank, kept and dropped ones, on a log scale.

    Args:
        distribution: One row a label, largest first: `label`, `photos`, `kept`.
        min_images: The least photos of a kept label.
        title: Heading of the figure.
    """
    figure = new_figure(10.5, 4.4, title)
    axes = figure.subplots()
    rank = np.arange(1, len(distribution) + 1)
    for kept, colour, word in ((True, BLUE, "kept"), (False, GREY, "dropped as rare")):
        these = distribution["kept"].to_numpy(bool) == kept
        if these.any():
            photos = distribution["photos"][these].sum()
            words = f"{many(int(these.sum()), 'label')} {word}, {many(int(photos), 'photo')}"
            heights = distribution["photos"].where(these, 0)
            if len(rank) <= BARS_DRAWN:
                axes.bar(rank[these], heights[these], 0.85, color=colour, label=words)
            else:
                axes.fill_between(rank, heights, step="mid", color=colour, label=words, lw=0)
    axes.axhline(min_images, color=VERMILION, linestyle="--", linewidth=1.2)
    axes.text(len(rank) + 0.6, min_images * 1.06, f"{min_images:,}", ha="right", color=VERMILION)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="rank of the label", ylabel="photos", xlim=(0, len(rank) + 1))
    axes.legend(frameon=False)
    tidy(axes, grid="both")
    return figure


def plot_shares(shares: pd.DataFrame, title: str) -> Figure:
    """Draw for each column the share of each value, the most frequent on top.

    Args:
        shares: `column`, `value`, `photos`, `share`, the most frequent value of a column first.
        title: Heading of the figure.
    """
    columns = list(dict.fromkeys(shares["column"]))
    parts = [_largest(shares[shares["column"] == column]) for column in columns]
    rows = [parts[i : i + 2] for i in range(0, len(parts), 2)]
    heights = [max(map(len, row)) + 2.2 for row in rows]
    figure = new_figure(11, 0.7 + 0.235 * sum(heights), title)
    grid = figure.subplots(len(rows), 2, squeeze=False, height_ratios=heights)
    for axes in grid.flat[len(parts) :]:
        axes.set_axis_off()
    headings = figure_names(columns)
    for axes, column, part in zip(grid.flat, columns, parts, strict=False):
        y = -np.arange(len(part)) + len(part) - 1
        axes.barh(y, part["share"], height=0.72, color=BLUE)
        for place, share, photos in zip(y, part["share"], part["photos"], strict=True):
            words = f"{share:.1%}   {photos:,}"
            axes.text(share + 0.01, place, words, va="center", fontsize=8, color=INK)
        values = figure_names(shares["value"][shares["column"] == column])
        name_rows(axes, [values.get(value, value) or EMPTY for value in part["value"][::-1]])
        axes.set_xlim(0, max(part["share"]) * 1.35)
        axes.set_title(headings[column], loc="left", fontsize=11)
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.xaxis.set_major_locator(MaxNLocator(nbins=5))
        tidy(axes, grid="x")
    return figure


def _largest(part: pd.DataFrame) -> pd.DataFrame:
    if len(part) <= BARS + 1:
        return part
    rest = part[BARS:]
    other = {
        "column": part["column"].iloc[0],
        "value": f"{len(rest)} others",
        "photos": rest["photos"].sum(),
        "share": rest["share"].sum(),
    }
    return pd.concat([part[:BARS], pd.DataFrame([other])], ignore_index=True)


def plot_label_by_column(crosses: pd.DataFrame, column: str, title: str) -> Figure:
    """Draw how the photos of each label divide by the values of a column.

    Args:
        crosses: `label`, `column`, `value`, `photos`.
        column: Which one.
        title: Heading of the figure.
    """
    part = crosses[crosses["column"] == column]
    counts = part.pivot(index="label", columns="value", values="photos").fillna(0)
    counts = counts[counts.sum().sort_values(ascending=False, kind="stable").index]
    labels = figure_names(counts.index)
    sizes, which = choose_sizes(counts.sum(axis=1))
    counts = counts.loc[sizes.index]
    shares = counts.div(counts.sum(axis=1), axis=0)
    figure = new_figure(8.5, 1.7 + 0.235 * len(counts), title)
    axes = figure.subplots()
    left = np.zeros(len(shares))
    values = figure_names(shares.columns)
    for value, colour in zip(shares.columns, COLOURS, strict=False):
        y = np.arange(len(shares))
        label = values[str(value)] or EMPTY
        axes.barh(y, shares[value], left=left, height=0.72, color=colour, label=label)
        left += shares[value].to_numpy(float)
    name_rows(axes, [labels[str(name)] for name in counts.index])
    axes.set(xlim=(0, 1), xlabel=f"share of the label's photos by {short_label(column)}{which}")
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    columns = max(1, LEGEND // (5 + max(map(width, values.values()))))
    figure.legend(loc="outside lower left", frameon=False, ncols=columns)
    tidy(axes, grid="x")
    return figure


def plot_images(images: pd.DataFrame, input_size: int, title: str) -> Figure:
    """Draw the photos' longer sides, their aspect ratios and the sizes of their files.

    Args:
        images: `width`, `height`, `bytes`.
        input_size: Marked among the sides, in pixels.
        title: Heading of the figure.
    """
    figure = new_figure(11, 3.6, title)
    panels = figure.subplots(1, 3)
    longer = images[["width", "height"]].max(axis=1)
    values = {
        "longer side in pixels": longer,
        "width / height": images["width"] / images["height"],
        "file size in KiB": images["bytes"] / 1024,
    }
    for axes, (label, column) in zip(panels, values.items(), strict=True):
        axes.hist(column, bins=40, color=BLUE)
        axes.set_xlabel(label)
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        tidy(axes, grid="both")
    panels[0].axvline(input_size, color=VERMILION, linestyle="--", label=f"input, {input_size} px")
    panels[0].legend(frameon=False)
    panels[0].set_ylabel("photos")
    return figure
