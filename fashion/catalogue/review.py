"""What a person decided on photos and classes, in CSV files.

`data.exclude` and `data.relabel` name photos by their ids, or all photos of a product by its;
`data.rename` names classes. Photos get their new labels first, then classes their new names, and
only then is anything dropped, so that a list of photos may have the names of before or after.
"""

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from fashion.catalogue.changed_ids import find_change
from fashion.catalogue.csv_rows import CsvForm, Row, open_rows, unclosed
from fashion.catalogue.labels import clean_text
from fashion.tables import unmark_text
from fashion.wording import did_you_mean, many

if TYPE_CHECKING:  # pandas is loaded where a table is read
    import pandas as pd

EXCLUDED = "excluded"  # the reason in the audit
NEW_LABEL = ("suggested_label", "label")  # the first of these columns that a file has
RENAMED = (("old", "new"), ("from", "to"), ("label", "new_label"))  # the first that a file has


@dataclass(frozen=True)
class Review:
    """Decisions on single photos and on classes.

    Attributes:
        excluded: Ids of photos to leave out.
        labels: Maps ids to the label that takes the place of the catalogue's.
        renamed: Maps labels to the one that takes their place; an empty one is none.
    """

    excluded: frozenset[str] = frozenset()
    labels: dict[str, str] = field(default_factory=dict)
    renamed: dict[str, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        """Return whether anything was decided."""
        return bool(self.excluded or self.labels or self.renamed)

    def check(self, ids: Iterable[str], labels: Iterable[str]) -> list[str]:
        """Check that a catalogue has these ids and labels.

        Args:
            ids: The catalogue's, products' among them.
            labels: Those that its rows have.

        Returns:
            What to mind, in sentences.

        Raises:
            ValueError: It lacks one, or an id is both excluded and relabelled.
        """
        both = sorted(self.excluded & self.labels.keys())
        if both:
            raise ValueError(
                f"data.exclude and data.relabel both name the id {both[0]!r}; keep it in one."
            )
        if self.excluded or self.labels:
            all_ids = set(ids)
            _check_ids("exclude", self.excluded, all_ids)
            _check_ids("relabel", self.labels, all_ids)
        all_labels = {*labels, *self.labels.values()} - {""}
        unknown = [label for label in self.renamed if label not in all_labels]
        if unknown:
            hint = did_you_mean(unknown[0], all_labels, quoted=True)
            raise ValueError(
                f"data.rename: no row of the catalogue has the label {unknown[0]!r}{hint}. Correct "
                "its spelling, or strike it out."
            )
        return self._new_labels({*labels, *self.renamed.values()})

    def reduced_to(self, ids: Iterable[str], labels: Iterable[str]) -> "Review":
        """Return what a catalogue can follow that may lack some photos and labels.

        Args:
            ids: As in `check`.
            labels: As in `check`.
        """
        here = set(ids)
        relabelled = {id_: label for id_, label in self.labels.items() if id_ in here}
        known = {*labels, *relabelled.values()}
        renamed = {old: new for old, new in self.renamed.items() if old in known}
        return Review(self.excluded & here, relabelled, renamed)

    def relabel(self, table: "pd.DataFrame") -> "pd.Series[str]":
        """Return the label of each row of a catalogue table."""
        labels = table["label"]
        for column in ("product", "id") if self.labels else ():  # an id's own comes last
            new = table[column].map(self.labels)
            labels = labels.mask(new.notna(), new)
        new = labels.map(self.renamed) if self.renamed else labels
        return labels.mask(new.notna(), new)

    def excludes(self, table: "pd.DataFrame") -> "pd.Series[bool]":
        """Return which rows of a catalogue table are left out."""
        return table["id"].isin(self.excluded) | table["product"].isin(self.excluded)

    def _new_labels(self, known: set[str]) -> list[str]:
        new = Counter(label for label in self.labels.values() if label not in known)
        return [
            f"data.relabel brings the label {label!r}, which no row of the catalogue has, for "
            f"{many(count, 'photo')}{did_you_mean(label, known, quoted=True)}."
            for label, count in new.items()
        ]


def read_review(
    exclude: str | Path | None,
    relabel: str | Path | None,
    rename: str | Path | None = None,
    encoding: str | None = None,
) -> Review:
    """Read the files, of which any may be None.

    Args:
        exclude: A CSV with the column `id`.
        relabel: A CSV with the columns `id` and `suggested_label` or `label`.
        rename: A CSV with the columns `old` and `new`; a label without a new one counts as none.
        encoding: Of those that are neither UTF-8 nor marked.

    Raises:
        FileNotFoundError: A file isn't there.
        ValueError: A file is no such table, or decides twice on one id or label.
    """
    excluded: set[str] = set()
    labels: dict[str, str] = {}
    renamed: dict[str, str] = {}
    if exclude:
        subject = f"data.exclude={str(exclude)!r}"
        for line, (id_,) in read_list(subject, exclude, (("id",),), encoding):
            _check_cell(subject, line, "id", id_)
            excluded.add(id_)
    if relabel:
        subject = f"data.relabel={str(relabel)!r}"
        wanted = tuple(("id", column) for column in NEW_LABEL)
        for line, (id_, label) in read_list(subject, relabel, wanted, encoding):
            _check_cell(subject, line, "id", id_)
            _check_cell(subject, line, "label", label)
            if labels.setdefault(id_, label) != label:
                raise ValueError(f"{subject} gives the id {id_!r} two labels; keep one.")
    if rename:
        subject = f"data.rename={str(rename)!r}"
        for line, (old, new) in read_list(subject, rename, RENAMED, encoding):
            _check_cell(subject, line, "old label", old)
            if renamed.setdefault(old, new) != new:
                raise ValueError(f"{subject} gives the label {old!r} two names; keep one.")
        renamed = _without_chains(subject, renamed)
    return Review(frozenset(excluded), labels, renamed)


def _check_ids(key: str, named: Collection[str], all_ids: set[str]) -> None:
    unknown = sorted(set(named) - all_ids)
    if unknown:
        change = find_change(unknown, all_ids)
        hint = "Remove them, or pass the catalogue's own file."
        if change:
            hint = f"For {change.id!r} there is {change.known!r}: {change.what}."
        raise ValueError(
            f"data.{key}: {len(unknown)} of {len(named)} ids are not in the catalogue, "
            f"{unknown[0]!r} for one. {hint}"
        )


def _without_chains(subject: str, renamed: dict[str, str]) -> dict[str, str]:
    """Return a map in which no new name is renamed itself.

    Raises:
        ValueError: One is.
    """
    renamed = {old: new for old, new in renamed.items() if old != new}
    for old, new in renamed.items():
        if new in renamed:
            raise ValueError(
                f"{subject} renames {old!r} to {new!r}, and that to {renamed[new]!r}. Give each "
                "label the name that it shall have in the end."
            )
    return renamed


def _check_cell(subject: str, line: int, name: str, cell: str) -> None:
    if not cell:
        raise ValueError(f"{subject} has no {name} in line {line}. Fill it in, or strike the row.")


def read_list(
    subject: str, file: str | Path, choices: tuple[tuple[str, ...], ...], encoding: str | None
) -> list[tuple[int, tuple[str, ...]]]:
    """Return the rows of a list that people wrote, labels cleaned.

    Args:
        subject: What sentences begin with: the key and its value.
        file: The list.
        choices: Columns, of which the first choice that the list has is taken.
        encoding: Of a list that is neither UTF-8 nor marked.

    Returns:
        Of each row its line and its cells in those columns.

    Raises:
        FileNotFoundError: The file isn't there.
        ValueError: It is no such table.
    """
    path = Path(file).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"{subject} does not exist.")
    wanted = list(dict.fromkeys(name for columns in choices for name in columns))
    form = CsvForm(encoding=encoding if encoding and not _is_utf8(path) else None)
    with open_rows(lambda: path.open("rb"), subject, wanted, form) as table:
        header = table.header
        columns = next((each for each in choices if set(each) <= set(header)), None)
        if columns is None:
            words = ", or ".join(" and ".join(each) for each in choices)
            raise ValueError(f"{subject} needs the columns {words}; it has {', '.join(header)}.")
        repeated = [name for name in columns if header.count(name) > 1]
        if repeated:
            raise ValueError(f"{subject} has several columns {repeated[0]!r}. Keep one.")
        places = [header.index(name) for name in columns]
        rows = []
        for row in table.rows:
            _check_quotes(subject, row, any(True for _ in table.swallowed(row)))
            if any(map(str.strip, row.fields)):
                cells = [*map(unmark_text, row.fields), *[""] * len(header)]
                chosen = (
                    str.strip(cells[i]) if header[i] == "id" else clean_text(cells[i])
                    for i in places
                )
                rows.append((row.line, tuple(chosen)))
    return rows


def _is_utf8(path: Path) -> bool:
    try:
        path.read_bytes().decode()
    except UnicodeDecodeError:
        return False
    return True


def _check_quotes(subject: str, row: Row, holds_rows: bool) -> None:
    if row.is_open or holds_rows:
        num_lines = max(len(cell.splitlines()) for cell in row.fields) - 1
        raise ValueError(unclosed(subject, row.line, num_lines))
