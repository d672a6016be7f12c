"""What a person decided on single photos: `data.exclude` and `data.relabel`, CSV files by id."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from fashion.catalogue.csv_rows import open_rows
from fashion.tables import unmark_text

EXCLUDED = "excluded"  # the reason in the audit
NEW_LABEL = ("suggested_label", "label")  # the first of these columns that a file has


@dataclass(frozen=True)
class Review:
    """Decisions on single photos.

    Attributes:
        excluded: Ids of photos to leave out.
        labels: Maps ids to the label that takes the place of the catalogue's.
    """

    excluded: frozenset[str] = frozenset()
    labels: dict[str, str] = field(default_factory=dict)

    def check(self, ids: Iterable[str], labels: Iterable[str]) -> None:
        """Check that a catalogue has these ids and labels.

        Raises:
            ValueError: It lacks one, or an id is both excluded and relabelled.
        """
        both = sorted(self.excluded & self.labels.keys())
        if both:
            raise ValueError(
                f"data.exclude and data.relabel both name the id {both[0]!r}; keep it in one."
            )
        all_ids = set(ids)
        for key, named in (("exclude", self.excluded), ("relabel", self.labels)):
            unknown = sorted(set(named) - all_ids)
            if unknown:
                raise ValueError(
                    f"data.{key}: {len(unknown)} of {len(named)} ids are not in the catalogue, "
                    f"{unknown[0]!r} for one. Remove them, or pass the catalogue's own file."
                )
        strange = sorted(set(self.labels.values()) - set(labels))
        if strange:
            raise ValueError(
                f"data.relabel: no row of the catalogue has the label {strange[0]!r}. Correct its "
                "spelling."
            )


def read_review(exclude: str | Path | None, relabel: str | Path | None) -> Review:
    """Read the two files, of which either may be None.

    Args:
        exclude: A CSV with the column `id`.
        relabel: A CSV with the columns `id` and `suggested_label` or `label`.

    Raises:
        FileNotFoundError: A file isn't there.
        ValueError: A file is no such table, or decides twice on one id.
    """
    excluded = [row["id"] for row in _read("exclude", exclude, ())] if exclude else []
    labels: dict[str, str] = {}
    for row in _read("relabel", relabel, NEW_LABEL) if relabel else []:
        label = next(row[column] for column in NEW_LABEL if column in row)
        if labels.setdefault(row["id"], label) != label:
            raise ValueError(
                f"data.relabel={str(relabel)!r} gives the id {row['id']!r} two labels; keep one."
            )
    return Review(frozenset(excluded), labels)


def _read(key: str, file: str | Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    path = Path(file).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"data.{key}={str(file)!r} does not exist.")
    subject = f"data.{key}={str(file)!r}"
    with open_rows(lambda: path.open("rb"), subject) as (header, numbered):
        rows = [
            dict(zip(header, [*map(unmark_text, fields), *[""] * len(header)], strict=False))
            for _, fields in numbered
        ]
    if "id" not in header or (columns and not set(columns) & set(header)):
        wanted = " and ".join(["id", *[" or ".join(columns)][: len(columns)]])
        raise ValueError(
            f"data.{key}={str(file)!r} needs the columns {wanted}; it has {', '.join(header)}."
        )
    return rows
