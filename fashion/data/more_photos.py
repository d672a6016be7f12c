"""Photos of another catalogue that are added to the training split, and no other."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from fashion.catalogue.attributes import column_of
from fashion.catalogue.csv_rows import CsvForm, parse_delimiter
from fashion.catalogue.joined_roots import JoinedRoot, mark
from fashion.catalogue.review import Review
from fashion.catalogue.root import CatalogueRoot, open_root
from fashion.catalogue.split_catalogue import SplitCatalogue
from fashion.catalogue.structure import Structure
from fashion.catalogue.table import UNKNOWN, Catalogue, load_catalogue
from fashion.data.settings import DataSettings
from fashion.twins.across import Side, find_nearest
from fashion.wording import first_of, many

CORRECTIONS = "corrections.csv"  # the table that fashion corrections export writes
PREFIX = "more:"  # of their ids
TWIN = "twin of val or test"  # this and UNKNOWN are reasons in the audit
COLUMNS = ["line", "id", "label", "reason", "detail"]
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class MorePhotos:
    """What `data.more` brings.

    Attributes:
        subject: The key and its value, which sentences begin with.
        table: As a catalogue's; ids have a prefix, photos the mark of a `JoinedRoot`.
        refused: Rows that aren't in it: `line`, `id`, `label`, `reason` and `detail`.
    """

    subject: str
    table: pd.DataFrame
    refused: pd.DataFrame

    def without(
        self, rows: "pd.Series[bool]", reason: str, detail: "str | pd.Series[str]"
    ) -> "MorePhotos":
        """Refuse some of the rows."""
        refused = self.table[rows].assign(reason=reason, detail=detail)[COLUMNS]
        parts = [part for part in (self.refused, refused) if len(part)]
        together = pd.concat(parts, ignore_index=True) if parts else self.refused
        return replace(self, table=self.table[~rows], refused=together)

    def facts(self) -> dict[str, int]:
        """Return how many photos are added, and how many refused for each reason."""
        counts = self.refused["reason"].value_counts(sort=False)
        return {"added": len(self.table), **{str(k): int(n) for k, n in counts.items()}}

    def describe(self) -> Iterable[str]:
        """Yield what was refused, a sentence for each reason, and what is added."""
        for reason, rows in self.refused.groupby("reason", sort=False):
            what = f"{many(len(rows), 'row is', 'rows are')} refused"
            example = f"{rows['id'].iloc[0]!r} for one"
            if reason == UNKNOWN:
                counts = rows["label"].value_counts()
                labels = first_of(f"{label!r} ({n:,})" for label, n in counts.items())
                yield f"{self.subject}: {what}, whose labels the catalogue doesn't have: {labels}."
            elif reason == TWIN:
                yield (
                    f"{self.subject}: {what} as twins of validation or test photos, {example}, of "
                    f"{rows['detail'].iloc[0]!r}."
                )
            else:
                yield f"{self.subject}: {what} ({reason}), {example}."
        added = many(len(self.table), "photo is", "photos are")
        yield f"{self.subject}: {added} added to the training split."


def load_more(
    settings: DataSettings, root: CatalogueRoot, catalogue: Catalogue, review: Review
) -> tuple[CatalogueRoot, MorePhotos]:
    """Read `data.more`, decoding no photo.

    It is an export of corrections, or like `data.root` in all its settings.

    Args:
        settings: Name it.
        root: The catalogue's.
        catalogue: Whose labels are known.
        review: Whose names of classes count here, too.

    Returns:
        What reads the photos of both, and those that are added.

    Raises:
        FileNotFoundError: There is no catalogue.
        ValueError: It can't be used.
    """
    assert settings.more is not None
    subject = f"data.more={settings.more!r}"
    try:
        other, found = _read(settings, Path(settings.more).expanduser(), review)
    except (FileNotFoundError, ValueError) as error:
        told = str(error).replace("data.root=", "data.more=")
        raise type(error)(told if told.startswith(subject) else f"{subject}: {told}") from error
    prefix = PREFIX
    while catalogue.table["id"].str.startswith(prefix).any():
        prefix += PREFIX
    attributes = [column_of(name) for name in settings.attributes]
    table = found.table[["line", "id", "photo", "label"]]
    values = found.table.reindex(columns=attributes, fill_value="")  # corrections have none
    table = table.assign(**{column: values[column] for column in attributes})
    table = table.assign(id=prefix + table["id"].astype(str), label=table["label"].astype(object))
    table = table.assign(photo=[mark(name) for name in table["photo"]], product=table["id"])
    refused = found.dropped[COLUMNS].assign(id=prefix + found.dropped["id"].astype(str))
    more = MorePhotos(subject, table, refused)
    return JoinedRoot.of(root, other), _known(more, catalogue.class_names)


def _read(settings: DataSettings, path: Path, review: Review) -> tuple[CatalogueRoot, Catalogue]:
    is_export = (path / CORRECTIONS).is_file()
    root = open_root(
        path,
        CORRECTIONS if is_export else settings.table,
        least_folders=1,
        photo_folder=None if is_export else settings.photo_folder,
        zip_encoding=settings.zip_encoding,
        cache_dir=settings.cache_folder,
    )
    names = Review(renamed=review.renamed)
    if is_export:
        return root, load_catalogue(root, "label", None, review=names)
    return root, load_catalogue(
        root,
        settings.label,
        None,
        settings.malformed_rows,
        id_column=settings.id_column,
        image_column=settings.image_column,
        form=CsvForm(parse_delimiter(settings.delimiter), settings.encoding),
        review=names,
        structure=Structure(label_level=settings.label_level).of_labels(root),
        attributes=settings.attributes,
    )


def _known(more: MorePhotos, class_names: list[str]) -> MorePhotos:
    return more.without(~more.table["label"].isin(class_names), UNKNOWN, "")


def add_to_training(
    splits: SplitCatalogue,
    more: MorePhotos,
    root: CatalogueRoot,
    unreadable: dict[str, str],
    cache_dir: Path,
) -> tuple[SplitCatalogue, MorePhotos]:
    """Add photos to the training split; validation and test stay as they are, to the row.

    Args:
        splits: Without them.
        more: As `load_more` returned it.
        root: What reads the photos of both.
        unreadable: Maps an id to what is wrong with its photo.
        cache_dir: Where twins are kept.

    Returns:
        The splits with them, and what was added in the end.

    Raises:
        OSError: A photo can't be read now, or the cache can't be written.
    """
    ids = more.table["id"]
    more = more.without(ids.isin(unreadable.keys()), "unreadable image", ids.map(unreadable))
    more = _known(more, splits.class_names)  # classes may have become too rare
    held_out = splits.table[splits.table["split"] != "train"]
    ours, theirs = (
        Side(root.keys(table["photo"]), table["photo"].tolist(), root.read)
        for table in (more.table, held_out)
    )
    places = find_nearest(ours, theirs, cache_dir).places if len(more.table) else np.empty(0, int)
    twins = pd.Series(held_out["id"].to_numpy(object)[places], index=more.table.index)
    more = more.without(pd.Series(places >= 0, index=more.table.index), TWIN, twins)
    return with_more(splits, more), more


def with_more(splits: SplitCatalogue, more: MorePhotos) -> SplitCatalogue:
    """Return the splits with photos in train that no check has to pass any more."""
    table = more.table.assign(split="train")
    if "given" in splits.table:
        table = table.assign(given="train")
    first = splits.table.index.max() + 1
    table.index = pd.RangeIndex(first, first + len(table))
    kept = [column for column in splits.table if column in table]
    together = pd.concat([splits.table, table[kept]])
    return replace(splits, table=together, more=more.facts(), refused_more=more.refused)
