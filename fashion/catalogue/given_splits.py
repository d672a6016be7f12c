"""The splits that a catalogue gives: read from a column or folders, checked, and looked at."""

import os
from collections.abc import Iterator

import pandas as pd

from fashion.catalogue.folders import divide, folders_of
from fashion.catalogue.root import CatalogueRoot
from fashion.catalogue.splits import SPLITS
from fashion.catalogue.structure import SPLIT_WORDS, splits_named
from fashion.wording import first_of, many

ODD = 20  # one photo in so many may have another word for a split
ABSENT = "label not in train"  # a reason in the audit


def read_given(
    root: CatalogueRoot, table: pd.DataFrame, words: "pd.Series[str] | None"
) -> list[str]:
    """Return the split that a table gives each of its photos, empty where it gives none.

    Args:
        root: The catalogue.
        table: Its rows.
        words: What `data.split_column` says of each row; None: the folders of the photos say it.

    Raises:
        ValueError: The words are no splits.
    """
    if words is not None:
        return splits_named(words)
    photos = table["photo"].dropna()
    top = len(f"{root.path}{os.sep}") if root.path.is_dir() else 0
    folders, distinct = folders_of(photo[top:].replace(os.sep, "/") for photo in photos)
    named = splits_named(divide(distinct, is_packed=False)[0])
    given = pd.Series([named[folder] for folder in folders], index=photos.index, dtype=object)
    return given.reindex(table.index, fill_value="").tolist()


def check_words(words: "pd.Series[str]", subject: str) -> Iterator[str]:
    """Say which words name no split.

    Args:
        words: One for each photo that has any.
        subject: The key and its value.

    Raises:
        ValueError: More than a few do.
    """
    other = words[[not split for split in splits_named(words)]].value_counts()
    if other.empty:
        return
    shown = ", ".join(f"{word!r} ({count:,})" for word, count in other.head(5).items())
    shown += ", …" if len(other) > 5 else ""
    if other.sum() * ODD > len(words):
        raise ValueError(
            f"{subject} says {shown} of {other.sum():,} of {len(words):,} photos, which is no "
            f"split. Pass a column of {', '.join(SPLIT_WORDS)}, or correct these."
        )
    yield f"{subject} says {shown}, which is no split: {other.sum():,} photos are left out."


def check_given(given: "pd.Series[str]") -> None:
    """Refuse splits of which nothing can be learned or tested.

    Args:
        given: `train`, `val` or `test` of each photo that is used.

    Raises:
        ValueError: There is no train, or train alone.
    """
    counts = given.value_counts()
    found = ", ".join(f"{name} ({counts[name]:,})" for name in SPLITS if name in counts)
    if "train" not in counts:
        raise ValueError(
            f"data.split=given: no labelled photo is in train; there is {found or 'none at all'}. "
            "Pass a data.split_column that names it, add a folder train with the classes' folders, "
            "or pass data.split=random."
        )
    if len(counts) < 2:
        raise ValueError(
            f"data.split=given: all labelled photos are in {found}, so that nothing is held out. "
            "Pass another data.split_column, add a folder test with the classes' folders, or pass "
            "data.split=random."
        )


def notes_on_given(table: pd.DataFrame) -> Iterator[str]:
    """Say what was added to the given splits, and what they part.

    Args:
        table: The catalogue table with its columns `given`, `split` and `product`.
    """
    for name in SPLITS[1:]:
        added = table[(table["split"] == name) & (table["given"] != name)]
        if len(added):
            yield (
                f"No {name} split is given: {len(added):,} photos of train are drawn for it, by "
                "data.split_seed."
            )
    parted = table.groupby("product")["given"].nunique() > 1
    if parted.any():
        yield (
            f"{parted.sum():,} of {len(parted):,} products have photos in more than one of the "
            "given splits, so that a model may be tested on products that it has seen."
        )


def notes_on_absent(table: pd.DataFrame) -> Iterator[str]:
    """Say which classes a split lacks.

    Args:
        table: The catalogue table with its column `split`.
    """
    counts = pd.crosstab(table["label"], table["split"]).reindex(columns=SPLITS, fill_value=0)
    for name in SPLITS[1:]:
        absent = counts.index[counts[name] == 0].tolist()
        if absent:
            yield (
                f"{many(len(absent), 'class has', 'classes have')} no {name} photo "
                f"({first_of(absent)}): "
                f"the figures of {name} say nothing of {'it' if len(absent) == 1 else 'them'}."
            )
