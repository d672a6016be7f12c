"""styles.csv, or folders of photos -> an audited table of photos and labels.

The catalogue table has one row a photo, in the order of styles.csv, with the columns `line` (in
that file; 1 is the header), `id` (text), `photo` (the name that `CatalogueRoot.read` takes),
`product` (the id, but for photos that share one in the table, which share it here, or whatever else
photos of one product share), `label` (text), `given` (a split, where those of the catalogue are
kept) and, after `assign_splits`, `split` (`train`, `val` or `test`). Attributes have columns of
their own, see `fashion.catalogue.attributes`; a cell without a value is empty.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pandas as pd

from fashion.catalogue.attributes import column_of, without_no_values
from fashion.catalogue.csv_rows import CsvForm
from fashion.catalogue.folders import read_folders
from fashion.catalogue.given_splits import ABSENT, check_given, check_words, read_given
from fashion.catalogue.groups import joined
from fashion.catalogue.labels import clean_text
from fashion.catalogue.notes import why_dropped
from fashion.catalogue.review import EXCLUDED, Review
from fashion.catalogue.root import CatalogueRoot
from fashion.catalogue.structure import Structure
from fashion.catalogue.table_cells import DROPPED_COLUMNS, Columns
from fashion.catalogue.table_rows import no_file_name, read_table
from fashion.wording import many

RELABELLED_COLUMNS = ["line", "id", "label", "label_before"]
RARE, UNKNOWN = "rare label", "unknown label"


class TooFewClassesError(ValueError):
    """A catalogue that can be looked at, but not trained on."""


@dataclass(frozen=True)
class Catalogue:
    """The kept rows and the account of all others.

    Attributes:
        table: The catalogue table (see the module's docstring).
        dropped: One row for each row of styles.csv that is not in `table`: `line`, `id`, `label`,
            `reason`, `detail` and `photo`, where there is one.
        rows_in_file: Rows of styles.csv after the header, or photos in folders.
        attributes: See `fashion.catalogue.table_cells.Cells.columns`.
        source: What the rows were read from, in messages.
        relabelled: Rows of `table` whose label a review replaced: `line`, `id`, `label` as it is
            and `label_before`.
        labelled_by: What decides the labels, in messages.
        way_out: What else could decide them, to go on with "Lower data.min_images".
        grouped_by: What tells the products, in messages.
        notes: What to mind of how it was read, in sentences.
    """

    table: pd.DataFrame
    dropped: pd.DataFrame
    rows_in_file: int
    attributes: pd.DataFrame
    source: str
    relabelled: pd.DataFrame = field(
        default_factory=lambda: pd.DataFrame(columns=RELABELLED_COLUMNS)
    )
    labelled_by: str = ""
    way_out: str = ""
    grouped_by: str = ""
    notes: tuple[str, ...] = ()

    @property
    def class_names(self) -> list[str]:
        """The labels in the table, sorted; a label's place is its target."""
        return sorted(self.table["label"].unique())

    @property
    def rare(self) -> pd.DataFrame:
        """The rows dropped for a label of too few photos, with the columns of the table."""
        return self._dropped_as(RARE)

    @property
    def of_no_class(self) -> pd.DataFrame:
        """The rows whose label a model of these classes can't know, rare ones among them."""
        return self._dropped_as(RARE, UNKNOWN)

    @property
    def num_products(self) -> int | None:
        """The products in the table; None where each has one photo."""
        products = self.table.get("product", self.table["id"])
        return int(products.nunique()) if products.duplicated().any() else None

    @property
    def rows_read(self) -> int:
        """Rows that were not malformed, the number the study calls its data set."""
        return self.rows_in_file - int((self.dropped["reason"] == "malformed").sum())

    def _dropped_as(self, *reasons: str) -> pd.DataFrame:
        chosen = self.dropped["reason"].isin(reasons)
        return self.dropped[chosen][["line", "id", "photo", "label"]]

    def counts(self) -> dict[str, int]:
        """Rows kept and rows dropped by reason; they add up to `rows_in_file`."""
        by_reason = self.dropped["reason"].value_counts(sort=False)
        return {"kept": len(self.table), **{str(k): int(v) for k, v in by_reason.items()}}

    def without(
        self, rows: pd.DataFrame, reason: str, detail: "str | pd.Series[str]"
    ) -> "Catalogue":
        """Move some rows of the table to the dropped ones."""
        dropped = rows.assign(reason=reason, detail=detail)[[*DROPPED_COLUMNS, "photo"]]
        return replace(
            self,
            table=self.table.drop(rows.index),
            dropped=pd.concat([self.dropped, dropped], ignore_index=True),
            relabelled=self.relabelled[~self.relabelled["line"].isin(rows["line"])],
        )

    def describe(self) -> str:
        """One line for the screen that accounts for every row."""
        dropped = self.dropped["reason"].value_counts()
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in dropped.items()) or "none"
        relabelled = f"; {len(self.relabelled):,} relabelled" if len(self.relabelled) else ""
        number = self.num_products
        products = f"; photos of {many(number, 'product')}" if number else ""
        return (
            f"{many(self.rows_in_file, 'row')} in {self.source} = {len(self.table):,} kept in "
            f"{many(self.table['label'].nunique(), 'class', 'classes')} + {len(self.dropped):,} "
            f"dropped ({reasons})"
            f"{relabelled}{products}"
        )


def load_catalogue(
    root: CatalogueRoot,
    label_column: str = "articleType",
    min_images: int | None = 100,
    malformed_rows: str = "skip",
    *,
    id_column: str | None = "id",
    image_column: str | None = None,
    form: CsvForm | None = None,
    review: Review | None = None,
    structure: Structure | None = None,
    attributes: Sequence[str] = (),
) -> Catalogue:
    """Read the table and keep the rows with an image and a label of at least `min_images` rows.

    Where each class has a folder of photos, the label is the name of a photo's folder and the
    columns are not asked for.

    Args:
        root: Where the table and the photos lie.
        label_column: The column to classify by.
        min_images: Labels with fewer photos are dropped as rare; None keeps all, be it but one.
        malformed_rows: `skip` rows with more or fewer fields than the header, as pandas does and as
            the study did, or `repair` those whose last field holds unquoted commas.
        id_column: Names each row; None takes the photo's path for a name.
        image_column: The photo's path, relative to the table or to images/; None: the photo is
            images/<id> with any ending.
        form: How the table is written, where its bytes don't tell.
        review: Which photos to leave out, and which to label otherwise; without `min_images` what
            is not there is passed over.
        structure: Levels of folders, products, given splits; None: as `Structure` is by default.
        attributes: Further columns whose values are kept.

    Raises:
        ValueError: The table can't be used; the sentence names the key, the value and the way out.
    """
    if malformed_rows not in ("skip", "repair"):
        raise ValueError(f"data.malformed_rows={malformed_rows!r} is unknown; pass skip or repair.")
    if min_images is not None and min_images < 1:
        raise ValueError(f"data.min_images={min_images} must be at least 1.")
    structure = structure or Structure()
    structure.check(root)
    # Each is named as the user did, at its place in a list.
    asked = {f"label_column[{place}]": name for place, name in enumerate(attributes, 1)}
    others = {**structure.columns(), **asked}
    columns = Columns(id=id_column, image=image_column, label=label_column, others=others)
    if root.csv_name is None and attributes:
        raise ValueError(
            f"data.label_column={[label_column, *attributes]!r}: data.root={str(root.path)!r} has "
            "no table, and folders tell one label of each photo; leave data.label_column out."
        )
    if root.csv_name is None:
        catalogue, malformed = _from_folders(root, structure), ""
    else:
        catalogue, malformed = _from_table(root, columns, malformed_rows == "repair", form)
    if review:
        catalogue = _reviewed(catalogue, review, is_own=min_images is not None)
    if root.csv_name is not None:
        catalogue = _with_structure(catalogue, root, structure)
        catalogue = _with_attributes(catalogue, attributes)
    catalogue = _drop_incomplete(catalogue, root, columns)
    notes = why_dropped(catalogue.dropped, catalogue.rows_in_file, root, columns, malformed)
    notes = [*root.listing_notes, *catalogue.notes, *root.finder.notes(columns.image), *notes]
    catalogue = replace(catalogue, notes=tuple(notes))
    if catalogue.table.empty:
        raise ValueError(_nothing_left(catalogue, root, columns))
    if structure.keeps_splits:
        table = catalogue.table
        catalogue = catalogue.without(table[table["given"] == ""], "no split", "")
    return _drop_rare(catalogue, min_images)


def drop_unreadable(
    catalogue: Catalogue, unreadable: dict[str, str], min_images: int | None
) -> Catalogue:
    """Drop rows whose photo can't be decoded, then labels that became rare by it.

    Args:
        catalogue: As `load_catalogue` returned it.
        unreadable: Maps an id to what is wrong with its photo.
        min_images: As in `load_catalogue`.
    """
    if not unreadable:
        return catalogue
    rows = catalogue.table[catalogue.table["id"].isin(unreadable.keys())]
    kept = catalogue.without(rows, "unreadable image", rows["id"].map(unreadable))
    return _drop_rare(kept, min_images)


def _from_folders(root: CatalogueRoot, structure: Structure) -> Catalogue:
    found = read_folders(root, structure)
    level = structure.label_level
    return Catalogue(
        table=found.table if structure.keeps_splits else found.table.drop(columns="given"),
        dropped=pd.DataFrame(columns=DROPPED_COLUMNS),
        rows_in_file=len(found.table),
        attributes=pd.DataFrame(index=found.table["line"]),
        source=root.table_name,
        labelled_by="the folders" if level == -1 else f"data.label_level={level}",
        way_out=found.way_out,
        grouped_by=f"data.group_level={structure.group_level}",
        notes=tuple(found.notes),
    )


def _from_table(
    root: CatalogueRoot, columns: Columns, repair: bool, form: CsvForm | None
) -> tuple[Catalogue, str]:
    """Return the rows, and the first malformed one in words."""
    rows = read_table(root, columns, repair, form)
    notes = []
    if rows.inherited:
        notes = [
            f"{rows.inherited:,} rows of {root.table_name} have no label and take that of the "
            f"first row with one of their data.id_column={columns.id!r}."
        ]
    catalogue = Catalogue(
        table=rows.table,
        dropped=rows.dropped,
        rows_in_file=rows.rows_in_file,
        attributes=rows.attributes,
        source=root.table_name,
        labelled_by=f"data.label_column={columns.label!r}",
        way_out="or pass another data.label_column.",
        grouped_by=f"data.id_column={columns.id!r}",
        notes=tuple(notes),
    )
    return catalogue, rows.malformed


def _with_structure(catalogue: Catalogue, root: CatalogueRoot, structure: Structure) -> Catalogue:
    """Join products by a column of the table, and add the column `given`."""
    table = catalogue.table
    if structure.group_column is not None:
        values = _cleaned_cells(catalogue, structure.group_column)
        own = [value or (id_,) for value, id_ in zip(values, table["id"], strict=True)]
        table = table.assign(product=joined(table["product"], own))
        catalogue = replace(catalogue, grouped_by=f"data.group_column={structure.group_column!r}")
    if not structure.keeps_splits:
        return replace(catalogue, table=table)
    words, notes = None, catalogue.notes
    if structure.split_column is not None:
        words = _cleaned_cells(catalogue, structure.split_column)
        subject = f"data.split_column={structure.split_column!r}"
        notes = (*notes, *check_words(words[words != ""], subject))
    return replace(catalogue, table=table.assign(given=read_given(root, table, words)), notes=notes)


def _with_attributes(catalogue: Catalogue, attributes: Sequence[str]) -> Catalogue:
    """Add the column of each attribute."""
    cells = {
        column_of(name): without_no_values(_cleaned_cells(catalogue, name)).to_numpy(object)
        for name in attributes
    }
    return replace(catalogue, table=catalogue.table.assign(**cells))


def _cleaned_cells(catalogue: Catalogue, column: str) -> "pd.Series[str]":
    """Return what a column has for each row of the table."""
    cells = catalogue.attributes[clean_text(column)].loc[catalogue.table["line"]]
    return cells.map(clean_text).astype(str)


def _reviewed(catalogue: Catalogue, review: Review, is_own: bool) -> Catalogue:
    """Follow a person's decisions, all of them where they were made on this very catalogue."""
    before = catalogue.table
    ids = [*before["id"], *before["product"], *catalogue.dropped["id"]]
    labels = before["label"].unique()
    review = review if is_own else review.reduced_to(ids, labels)
    notes = review.check(ids, labels)
    table = before.assign(label=review.relabel(before))
    changed = table["label"] != before["label"]
    relabelled = table.assign(label_before=before["label"])[changed][RELABELLED_COLUMNS]
    catalogue = replace(
        catalogue, table=table, relabelled=relabelled, notes=(*catalogue.notes, *notes)
    )
    return catalogue.without(table[review.excludes(table)], EXCLUDED, "")


def _drop_incomplete(catalogue: Catalogue, root: CatalogueRoot, columns: Columns) -> Catalogue:
    """Drop the rows without a label, then those without a photo."""
    rows = catalogue.table[catalogue.table["label"] == ""]
    relabelled = catalogue.relabelled
    before = dict(zip(relabelled["line"], relabelled["label_before"], strict=True))
    was = [f"{before[line]!r} before" if line in before else "" for line in rows["line"]]
    catalogue = catalogue.without(rows, "no label", pd.Series(was, index=rows.index, dtype=str))
    rows = catalogue.table[catalogue.table["photo"].isna()]
    detail = pd.Series("", index=rows.index)
    if root.csv_name and columns.image is None:
        detail = detail.mask(no_file_name(rows["id"]), "the id is no file name")
    elif columns.image is not None:  # what no photo was found by
        cells = catalogue.attributes.loc[rows["line"], columns.image]
        detail = cells.astype(str).set_axis(rows.index)
    return catalogue.without(rows, "no image", detail)


def _nothing_left(catalogue: Catalogue, root: CatalogueRoot, columns: Columns) -> str:
    """Return the sentence for a catalogue in which no row is whole."""
    where = f"{root.photo_folder}<id>.jpg beside it"
    if columns.image:
        where = f"where data.image_column={columns.image!r} says"
    wrong = f"no row of {root.table_name} has a photo {where}"
    way_out = (
        "Pass the folder or zip that holds both, or the data.image_column of the photos' paths."
    )
    counts = catalogue.dropped["reason"].value_counts()
    if "no image" not in counts:
        wrong = f"no row of {root.table_name} is left"
        way_out = f"They fell as {', '.join(f'{reason} ({n:,})' for reason, n in counts.items())}."
    way_out = " ".join(catalogue.notes) or way_out
    return f"data.root={str(root.path)!r}: {wrong}. {way_out}"


def _drop_rare(catalogue: Catalogue, min_images: int | None) -> Catalogue:
    """Drop labels of too few photos and, where the splits are given, those that train lacks."""
    if min_images is None:
        return catalogue
    table = catalogue.table
    counts = table["label"].map(table["label"].value_counts())
    rare = counts < min_images
    detail = counts[rare].map(lambda count: f"{many(count, 'photo')}, fewer than {min_images}")
    kept = catalogue.without(table[rare], RARE, detail)
    if "given" in kept.table:
        check_given(kept.table["given"])
        in_train = kept.table.loc[kept.table["given"] == "train", "label"]
        absent = kept.table[~kept.table["label"].isin(in_train)]
        kept = kept.without(absent, ABSENT, "")
    if kept.table["label"].nunique() < 2:
        largest = table["label"].value_counts().head(2)
        raise TooFewClassesError(
            f"data.min_images={min_images} leaves {kept.table['label'].nunique()} of "
            f"{table['label'].nunique()} classes of {catalogue.labelled_by}; a "
            "classifier needs two. The largest classes are "
            + ", ".join(f"{name!r} ({count})" for name, count in largest.items())
            + f". Lower data.min_images {catalogue.way_out}"
            + "".join(f" {note}" for note in catalogue.notes)
        )
    return kept
