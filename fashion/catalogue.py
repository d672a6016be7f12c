"""styles.csv -> an audited table of photos and labels -> a `split` column.

The catalogue table has one row a photo, in the order of styles.csv, with the columns `id` (text),
`photo` (the name that `CatalogueRoot.read` takes), `label` (text) and, after `assign_splits`,
`split` (`train`, `val` or `test`).
"""

import csv
import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from fashion.root import CatalogueRoot

SPLITS = ("train", "val", "test")
DROPPED_COLUMNS = ["line", "id", "label", "reason", "detail"]


@dataclass(frozen=True)
class Catalogue:
    """The kept rows and the account of all others.

    Attributes:
        table: The catalogue table (see the module's docstring).
        dropped: One row for each row of styles.csv that is not in `table`: `line` (1 is the
            header), `id`, `label`, `reason`, `detail`.
        rows_in_file: Rows of styles.csv after the header.
    """

    table: pd.DataFrame
    dropped: pd.DataFrame
    rows_in_file: int

    @property
    def class_names(self) -> list[str]:
        """The labels in the table, sorted; a label's place is its target."""
        return sorted(self.table["label"].unique())

    @property
    def rows_read(self) -> int:
        """Rows that were not malformed, the number the study calls its data set."""
        return self.rows_in_file - int((self.dropped["reason"] == "malformed").sum())

    def counts(self) -> dict[str, int]:
        """Rows kept and rows dropped by reason; they add up to `rows_in_file`."""
        by_reason = self.dropped["reason"].value_counts(sort=False)
        return {"kept": len(self.table), **{str(k): int(v) for k, v in by_reason.items()}}

    def without(
        self, rows: pd.DataFrame, reason: str, detail: "str | pd.Series[str]"
    ) -> "Catalogue":
        """Move some rows of the table to the dropped ones."""
        dropped = rows.assign(reason=reason, detail=detail)[DROPPED_COLUMNS]
        return replace(
            self,
            table=self.table.drop(rows.index),
            dropped=pd.concat([self.dropped, dropped], ignore_index=True),
        )

    def describe(self) -> str:
        """One line for the screen that accounts for every row."""
        dropped = self.dropped["reason"].value_counts()
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in dropped.items()) or "none"
        return (
            f"{self.rows_in_file:,} rows in styles.csv = {len(self.table):,} kept in "
            f"{self.table['label'].nunique()} classes + {len(self.dropped):,} dropped ({reasons})"
        )


def load_catalogue(
    root: CatalogueRoot,
    label_column: str = "articleType",
    min_images: int = 100,
    malformed_rows: str = "skip",
) -> Catalogue:
    """Read styles.csv and keep the rows with an image and a label of at least `min_images` rows.

    Args:
        root: Where styles.csv and the photos lie.
        label_column: The column to classify by.
        min_images: Labels with fewer photos are dropped as rare.
        malformed_rows: `skip` rows with more or fewer fields than the header, as pandas does and as
            the study did, or `repair` those whose last field holds unquoted commas.

    Raises:
        ValueError: The table can't be used; the sentence names the key, the value and the way out.
    """
    if malformed_rows not in ("skip", "repair"):
        raise ValueError(f"data.malformed_rows={malformed_rows!r} is unknown; pass skip or repair.")
    if min_images < 1:
        raise ValueError(f"data.min_images={min_images} must be at least 1.")
    header, rows = _read_rows(root)
    for column in ("id", label_column):
        if column not in header:
            key, value = ("label_column", column) if column == label_column else ("root", root.path)
            raise ValueError(
                f"data.{key}={str(value)!r}: {root.csv_name} has no column {column!r}; "
                f"its columns are {', '.join(header)}."
            )
    table, dropped = _sort_rows(header, rows, label_column, malformed_rows == "repair")
    _check_ids(table, root)
    table["photo"] = table["id"].map(root.photos)
    catalogue = Catalogue(table, dropped, len(rows))
    catalogue = catalogue.without(table[table["label"] == ""], "no label", "")
    table = catalogue.table
    catalogue = catalogue.without(table[table["photo"].isna()], "no image", "")
    if catalogue.table.empty:
        raise ValueError(
            f"data.root={str(root.path)!r}: no row of {root.csv_name} has a photo images/<id>.jpg "
            "beside it. Pass the folder or zip that holds both."
        )
    return _drop_rare(catalogue, min_images, label_column)


def drop_unreadable(
    catalogue: Catalogue, unreadable: dict[str, str], min_images: int, label_column: str
) -> Catalogue:
    """Drop rows whose photo can't be decoded, then labels that became rare by it.

    Args:
        catalogue: As `load_catalogue` returned it.
        unreadable: Maps an id to what is wrong with its photo.
        min_images: As in `load_catalogue`.
        label_column: For messages.
    """
    if not unreadable:
        return catalogue
    rows = catalogue.table[catalogue.table["id"].isin(unreadable.keys())]
    kept = catalogue.without(rows, "unreadable image", rows["id"].map(unreadable))
    return _drop_rare(kept, min_images, label_column)


def assign_splits(table: pd.DataFrame, split_seed: int = 0) -> pd.DataFrame:
    """Add the column `split`: 80 % train, 10 % val, 10 % test, stratified by label.

    Val and test have round(N / 10) rows each; every class has the same number of rows in both, at
    least one, apportioned by largest remainder. Which rows those are is decided by the SHA-256 of
    seed and id, so it depends on no library's random numbers and not on the order of the rows.

    Raises:
        ValueError: A class has fewer than 3 rows, or there are more classes than rows in a split.
    """
    counts = table["label"].value_counts().sort_index()
    if counts.min() < 3:
        raise ValueError(
            f"data.min_images: the class {counts.idxmin()!r} has {counts.min()} photos, too few "
            "for the three splits. Pass data.min_images=3 or more."
        )
    held_out = _apportion(counts, (len(table) + 5) // 10)
    digests = [hashlib.sha256(f"{split_seed}:{id_}".encode()).digest() for id_ in table["id"]]
    order = pd.Series(digests, index=table.index).sort_values()
    rank = table.loc[order.index].groupby("label", sort=False).cumcount().reindex(table.index)
    quota = table["label"].map(held_out)
    split = pd.Series("train", index=table.index)
    split[rank < 2 * quota] = "test"
    split[rank < quota] = "val"
    return table.assign(split=split)


def splits_csv(table: pd.DataFrame) -> bytes:
    """Return `id,label,split` as CSV, the same bytes on any machine."""
    text: str = table[["id", "label", "split"]].to_csv(index=False, lineterminator="\n")
    return text.encode()


def splits_sha256(table: pd.DataFrame) -> str:
    """Return the SHA-256 (hex) of `splits_csv`."""
    return hashlib.sha256(splits_csv(table)).hexdigest()


def write_tables(catalogue: Catalogue, table: pd.DataFrame, folder: Path) -> None:
    """Write `splits.csv` (every kept row) and `audit.csv` (every dropped row) into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "splits.csv").write_bytes(splits_csv(table))
    catalogue.dropped.sort_values("line").to_csv(folder / "audit.csv", index=False)


def _read_rows(root: CatalogueRoot) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Return the header and `(line, fields)` of each row; a blank line is no row."""
    try:
        text = root.read(root.csv_name).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"data.root={str(root.path)!r}: {root.csv_name} is not UTF-8 (byte {error.start}). "
            "Save it as UTF-8."
        ) from error
    except (OSError, ValueError) as error:
        raise ValueError(
            f"data.root={str(root.path)!r}: {root.csv_name} can't be read ({error}). "
            "Fetch the catalogue again."
        ) from error
    try:
        numbered = list(_numbered(io.StringIO(text, newline="")))
    except csv.Error as error:
        raise ValueError(
            f"data.root={str(root.path)!r}: {root.csv_name} is not a CSV table ({error}). "
            "Save it with commas and closed quotes."
        ) from error
    if len(numbered) < 2:
        raise ValueError(f"data.root={str(root.path)!r}: {root.csv_name} has no rows.")
    header, rows = numbered[0][1], numbered[1:]
    for line, fields in rows:
        # A quote that is never closed swallows whole rows into one field.
        if any(part.count(",") >= len(header) - 1 for f in fields for part in f.split("\n")[1:]):
            raise ValueError(
                f"data.root={str(root.path)!r}: a quote in line {line} of {root.csv_name} is not "
                "closed and swallows the rows after it. Close or remove it."
            )
    return header, rows


def _numbered(lines: io.StringIO) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(lines)
    line = 1
    for fields in reader:
        if fields:
            yield line, fields
        line = reader.line_num + 1


def _sort_rows(
    header: list[str], rows: list[tuple[int, list[str]]], label_column: str, repair: bool
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Split the rows into well-formed ones (`line`, `id`, `label`) and malformed ones."""
    width = len(header)
    id_place, label_place = header.index("id"), header.index(label_column)
    good, bad = [], []
    for line, fields in rows:
        if repair and len(fields) > width:
            fields = [*fields[: width - 1], ",".join(fields[width - 1 :])]
        if len(fields) == width:
            good.append((line, fields[id_place], fields[label_place]))
        else:
            id_ = fields[id_place] if len(fields) > id_place else ""
            bad.append((line, id_, "", "malformed", f"{len(fields)} fields, not {width}"))
    table = pd.DataFrame(good, columns=["line", "id", "label"])
    return table, pd.DataFrame(bad, columns=DROPPED_COLUMNS)


def _check_ids(table: pd.DataFrame, root: CatalogueRoot) -> None:
    unsafe = table["id"].str.contains(r"[/\\\x00]") | table["id"].isin(["", ".", ".."])
    if unsafe.any():
        row = table[unsafe].iloc[0]
        raise ValueError(
            f"data.root={str(root.path)!r}: the id {row['id']!r} in line {row['line']} of "
            f"{root.csv_name} is no file name in images/. Correct that row."
        )
    repeated = table[table["id"].duplicated(keep=False)]
    if not repeated.empty:
        first = repeated["id"].iloc[0]
        lines = ", ".join(map(str, repeated[repeated["id"] == first]["line"]))
        raise ValueError(
            f"data.root={str(root.path)!r}: {repeated['id'].nunique()} ids of {root.csv_name} "
            f"stand in several rows, {first!r} in lines {lines}. Remove the repeated rows."
        )


def _drop_rare(catalogue: Catalogue, min_images: int, label_column: str) -> Catalogue:
    table = catalogue.table
    counts = table["label"].map(table["label"].value_counts())
    rare = counts < min_images
    detail = counts[rare].map(lambda count: f"{count} photos, fewer than {min_images}")
    without_rare = catalogue.without(table[rare], "rare label", detail)
    kept = without_rare.table
    if kept["label"].nunique() < 2:
        largest = table["label"].value_counts().head(2)
        raise ValueError(
            f"data.min_images={min_images} leaves {kept['label'].nunique()} of "
            f"{table['label'].nunique()} classes of data.label_column={label_column!r}; a "
            "classifier needs two. The largest classes are "
            + ", ".join(f"{name!r} ({count})" for name, count in largest.items())
            + ". Lower data.min_images or pass another data.label_column."
        )
    return without_rare


def _apportion(counts: "pd.Series[int]", total: int) -> "pd.Series[int]":
    """Divide `total` seats among the classes by largest remainder, at least one each."""
    if total < len(counts):
        raise ValueError(
            f"data.min_images keeps {len(counts)} classes, but a split of 10 % has {total} photos, "
            "so that not every class can be in it. Raise data.min_images."
        )
    # Whole numbers only: a float's rounding must not decide a split.
    quota, remainder = counts * total // counts.sum(), counts * total % counts.sum()
    seats = quota.clip(lower=1)
    by_claim = (
        remainder.where(quota >= 1, -1)
        .sort_index()
        .sort_values(ascending=False, kind="stable")
        .index
    )
    while (missing := total - int(seats.sum())) > 0:
        seats[by_claim[:missing]] += 1
    while (surplus := int(seats.sum()) - total) > 0:
        seats[seats[by_claim[::-1]].loc[lambda s: s > 1].index[:surplus]] -= 1
    return seats
