"""SplitCatalogue: a catalogue whose photos are shared out for training, validation and test."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fashion.attributes import Heads
from fashion.catalogue.attributes import (
    attribute_facts,
    attributes_in,
    choose_values,
    column_of,
    describe_attribute,
    targets_of,
)
from fashion.catalogue.given_splits import notes_on_absent, notes_on_given
from fashion.catalogue.groups import groups_of_all, joined
from fashion.catalogue.sharing import Ties, classes_of
from fashion.catalogue.splits import (
    SPLITS,
    TWINS,
    assign_folds,
    assign_given_splits,
    assign_grouped_splits,
    assign_splits,
)
from fashion.catalogue.table import UNKNOWN, Catalogue
from fashion.catalogue.table_cells import DROPPED_COLUMNS
from fashion.files import write_file
from fashion.tables import csv_text
from fashion.wording import many

TWIN_COLUMNS = ["group", "id", "label", "distance"]


@dataclass(frozen=True)
class SplitCatalogue:
    """The kept photos with their splits and twins.

    Attributes:
        catalogue: Accounts for every row.
        table: The catalogue table with its column `split`.
        twins: As `fashion.twins.groups.find_twins` returns it.
        class_names: The K labels in the order of their targets.
        names: The splits; `all` alone where the photos aren't shared out.
        knows_twins: Whether anybody has looked for them.
        more: How many photos of another catalogue are in train, and how many were refused for each
            reason; None where there is none.
        refused_more: Those that were, in the columns of the audit.
        attributes: The values of each attribute, in the order of their targets.
    """

    catalogue: Catalogue
    table: pd.DataFrame
    twins: pd.DataFrame
    class_names: list[str]
    names: tuple[str, ...] = SPLITS
    knows_twins: bool = True
    more: dict[str, int] | None = None
    refused_more: pd.DataFrame | None = None
    attributes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def undivided(
        cls,
        catalogue: Catalogue,
        class_names: list[str],
        twins: pd.DataFrame | None = None,
        attributes: Mapping[str, tuple[str, ...]] | None = None,
    ) -> "SplitCatalogue":
        """Take all photos of some classes, in this order of targets; there may be none.

        Args:
            catalogue: Whatever it has of other labels is dropped.
            class_names: Those that a model knows.
            twins: As above; None: nobody has looked for any.
            attributes: Those that it knows; the catalogue may lack some.
        """
        table = catalogue.table
        kept = catalogue.without(table[~table["label"].isin(class_names)], UNKNOWN, "")
        return cls(
            kept,
            kept.table.assign(split="all"),
            pd.DataFrame(columns=TWIN_COLUMNS) if twins is None else twins,
            list(class_names),
            names=("all",),
            knows_twins=twins is not None,
            attributes=attributes or {},
        )

    @property
    def heads(self) -> Heads:
        """What a model of these photos tells apart."""
        return Heads.of(self.class_names, self.attributes)

    @property
    def own(self) -> pd.DataFrame:
        """The rows of the catalogue itself, without those that were added to train."""
        return self.table.iloc[: len(self.table) - (self.more or {}).get("added", 0)]

    @property
    def is_divided(self) -> bool:
        """Whether there are splits."""
        return self.names == SPLITS

    @cached_property
    def groups(self) -> "pd.Series[int]":
        """The group of twins of each row of the table, or one of its own."""
        return groups_of_all(self.table, self.twins)

    @property
    def is_given(self) -> bool:
        """Whether the splits are those that the catalogue gives."""
        return "given" in self.table

    def notes(self) -> list[str]:
        """Return what to mind of the splits, a sentence each."""
        if not self.is_divided:
            return []
        given = notes_on_given(self.table) if self.is_given else ()
        return [*given, *notes_on_absent(self.table)]

    def rows(self, split: str) -> pd.DataFrame:
        """Return the rows of one split, or of `all`."""
        return self.table if split == "all" else self.table[self.table["split"] == split]

    def targets(self, split: str) -> np.ndarray:
        """Return the places of a split's labels in `class_names`, `(N,)` int64.

        Where there are attributes, it is `(N, H)`: a column for each of `heads`.
        """
        rows = self.rows(split)
        labels = pd.Categorical(rows["label"], categories=self.class_names)
        targets: np.ndarray = labels.codes.astype(np.int64)
        if not self.attributes:
            return targets
        others = [targets_of(rows, name, values) for name, values in self.attributes.items()]
        return np.stack([targets, *others], axis=1)

    def has_twin(self, split: str) -> np.ndarray | None:
        """Return `(N,)` bool: which rows of a split, or of `all`, have a twin in `train`.

        None where there is no `train`, or nobody has looked for twins.
        """
        if not self.is_divided or not self.knows_twins:
            return None
        is_trained = (self.table["split"] == "train").to_numpy(bool)
        groups, _ = pd.factorize(self.groups)
        others = np.bincount(groups[is_trained], minlength=len(groups))[groups] - is_trained
        chosen = slice(None) if split == "all" else (self.table["split"] == split).to_numpy(bool)
        has_twin: np.ndarray = others[chosen] > 0
        return has_twin

    def class_counts(self) -> dict[str, dict[str, int]]:
        """Return the photos of each class in each split."""
        classes, labels = classes_of(self.table["label"])
        split = pd.Categorical(self.table["split"], categories=self.names).codes
        width = len(self.names)
        counts = np.bincount(labels * width + split, minlength=len(classes) * width)
        return {
            name: dict(zip(self.names, row, strict=True))
            for name, row in zip(classes, counts.reshape(-1, width).tolist(), strict=True)
        }

    def facts(self) -> dict[str, object]:
        """Return the counts that a summary gives of every row, split and twin."""
        kept, products = self.catalogue.counts(), self.catalogue.num_products
        sizes = self.table["split"].value_counts()
        return {
            "rows_in_file": self.catalogue.rows_in_file,
            "rows_read": self.catalogue.rows_read,
            "rows_kept": kept.pop("kept"),
            "dropped": kept,
            "classes": len(self.class_names),
            **({"products": products} if products else {}),
            **{split: int(sizes.get(split, 0)) for split in self.names},
            "relabelled": len(self.catalogue.relabelled),
            **({"more": self.more} if self.more else {}),
            **({"attributes": self.attribute_facts()} if self.attributes else {}),
            **self.twin_facts(),
        }

    def attribute_facts(self) -> dict[str, dict[str, Any]]:
        """Return what `fashion.catalogue.attributes.attribute_facts` does."""
        return attribute_facts(self.table, self.attributes)

    def describe_attributes(self) -> list[str]:
        """Return a line for the screen on each attribute."""
        return [describe_attribute(*each) for each in self.attribute_facts().items()]

    def twin_facts(self) -> dict[str, int]:
        """Return what there is to say of twins: nothing where nobody has looked for any."""
        if not self.knows_twins:
            return {}
        facts = {"twins": len(self.twins), "twin_groups": int(self.twins["group"].nunique())}
        has_twin = self.has_twin("test")
        if has_twin is not None:
            facts["test_with_twin_in_train"] = int(has_twin.sum())
        return facts

    def describe_twins(self) -> str:
        """One line for the screen."""
        facts = self.twin_facts()
        if not facts:
            return "twins are not looked for; data.count_twins=true counts them in the test split"
        leaked = facts["test_with_twin_in_train"]
        hint = "" if self.is_given else "; data.split=grouped keeps twins together"
        return (
            f"{many(facts['twins'], 'photo is a twin', 'photos are twins')} of others, in "
            f"{many(facts['twin_groups'], 'group')}; {leaked:,} of "
            f"{many(len(self.rows('test')), 'test photo')} with a twin in train"
            f"{hint if leaked else ''}"
        )

    def csv(self) -> bytes:
        """Return `id,label,split` of the kept rows as CSV, the same bytes on any machine.

        Columns of attributes stand behind these.
        """
        columns = ["id", "label", "split", *map(column_of, attributes_in(self.table))]
        return csv_text(self.table[columns]).encode()

    def sha256(self) -> str:
        """Return the SHA-256 (hex) of `csv`."""
        return self._sha256

    @cached_property
    def _sha256(self) -> str:
        return hashlib.sha256(self.csv()).hexdigest()

    def write_tables(self, folder: Path) -> None:
        """Write `splits.csv` (every kept row) and `audit.csv` (every dropped row) into `folder`.

        Where there are no splits, a `splits.csv` that was there is deleted.
        """
        folder.mkdir(parents=True, exist_ok=True)
        if self.is_divided:
            write_file(folder / "splits.csv", self.csv())
        else:
            (folder / "splits.csv").unlink(missing_ok=True)
        dropped = self.catalogue.dropped[DROPPED_COLUMNS].sort_values("line")
        if self.refused_more is not None and len(self.refused_more):
            dropped = pd.concat([dropped, self.refused_more[DROPPED_COLUMNS]])
        write_file(folder / "audit.csv", csv_text(dropped))


def split_catalogue(
    catalogue: Catalogue,
    twins: pd.DataFrame | None,
    *,
    kind: str,
    seed: int,
    folds: int | None = None,
    fold: int = 0,
    min_images: int = 1,
) -> SplitCatalogue:
    """Share out the photos of a catalogue.

    Args:
        catalogue: Its table has no splits yet.
        twins: As `fashion.twins.groups.find_twins` returns it; None: nobody has looked for any.
        kind: `random`, `grouped` or `given`. Photos of one product are in one split but for those
            that are given.
        seed: Decides the splits, and nothing else does.
        folds: How many folds take the place of the splits; None: none do.
        fold: Which of them is tested on, from 0.
        min_images: Values of attributes that fewer photos have don't count.

    Raises:
        ValueError: A class can't be in every split, or an attribute has too few values.
    """
    table = catalogue.table
    knows_twins = twins is not None
    twins = pd.DataFrame(columns=TWIN_COLUMNS) if twins is None else twins
    groups, ties = _groups(catalogue, twins, kind)
    if kind == "given":
        table = assign_given_splits(table, groups, seed)
    elif folds is not None:
        table = assign_folds(table, groups, folds, fold, seed, ties or TWINS)
    elif ties:
        table = assign_grouped_splits(table, groups, seed, ties)
    else:
        table = assign_splits(table, seed)
    return SplitCatalogue(
        catalogue,
        table,
        twins,
        catalogue.class_names,
        knows_twins=knows_twins,
        attributes=choose_values(table, min_images),
    )


def _groups(
    catalogue: Catalogue, twins: pd.DataFrame, kind: str
) -> tuple["pd.Series[int]", Ties | None]:
    """Return the group of each row that no split may part, and what they are, if they are any."""
    table = catalogue.table
    setting, product = catalogue.grouped_by, table.get("product", table["id"])
    has_products = catalogue.num_products is not None
    if kind == "random":
        groups = pd.Series(pd.factorize(product)[0], index=table.index)
        ties = Ties(setting, "products", f"another {setting.partition('=')[0]}")
        return groups, ties if has_products else None
    groups = groups_of_all(table, twins)
    if not has_products:
        return groups, TWINS
    groups = pd.Series(joined(groups, product), index=table.index)
    return groups, TWINS._replace(groups=f"groups of twins and products ({setting})")
