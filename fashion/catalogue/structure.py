"""What a user says of a catalogue's structure: its folders, products, given splits and names."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from fashion.catalogue.root import CatalogueRoot

# The words that a column or a folder has for each split, in any case.
SPLIT_WORDS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}


def split_named(word: str) -> str:
    """Return the split that a word names, empty where it names none."""
    return SPLIT_WORDS.get(word.strip().casefold(), "")


def splits_named(words: "Sequence[str] | pd.Series[str]") -> list[str]:
    """Return the split that each of some words names, empty where it names none."""
    places, distinct = pd.factorize(np.asarray(words, dtype=object))
    named = [split_named(word) for word in distinct]
    return [named[place] for place in places]


@dataclass(frozen=True)
class Structure:
    """How photos belong together, beside their labels.

    Levels count the folders of a photo's path: 1 is the first below the root, -1 the photo's own.

    Attributes:
        label_level: Where there is no table: the folder that names a photo's label.
        group_level: Where there is no table: the folder whose photos are of one product.
        group_column: The table's column in which photos of one product have the same value.
        keeps_splits: Whether the splits are those that the catalogue gives.
        split_column: The table's column that gives them; None: folders do.
        text_column: The table's column of the photos' names; None: nobody reads them.
    """

    label_level: int = -1
    group_level: int | None = None
    group_column: str | None = None
    keeps_splits: bool = False
    split_column: str | None = None
    text_column: str | None = None

    def of_labels(self, root: CatalogueRoot) -> "Structure":
        """Return what is left where a model is tried on photos that it may not come from."""
        if root.csv_name is None:
            return Structure(self.label_level)
        return Structure(text_column=self.text_column)

    def check(self, root: CatalogueRoot) -> None:
        """Refuse what the catalogue has no use for.

        Raises:
            ValueError: A key of tables is passed for folders, or one of folders for a table.
        """
        place = f"data.root={str(root.path)!r}"
        if root.csv_name is None:
            for key, other in (
                ("group_column", "data.group_level"),
                ("split_column", ""),
                ("text_column", ""),
            ):
                if (column := getattr(self, key)) is not None:
                    instead = f"; pass {other}=<a level of folders>" if other else ""
                    raise ValueError(
                        f"data.{key}={column!r}: {place} has no table, but a folder of photos for "
                        f"each class{instead or f'; leave data.{key} out'}."
                    )
            return
        for key, default, column in (
            ("label_level", -1, "label_column"),
            ("group_level", None, "group_column"),
        ):
            if (level := getattr(self, key)) != default:
                raise ValueError(
                    f"data.{key}={level!r} counts folders, but {place} holds {root.table_name}; "
                    f"pass data.{column}=<its column>, or data.table=null to read the folders."
                )

    def columns(self) -> dict[str, str]:
        """Return the columns that a table needs for it, by their keys."""
        named = {key: getattr(self, key) for key in ("group_column", "split_column", "text_column")}
        return {key: name for key, name in named.items() if name is not None}
