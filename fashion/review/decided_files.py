"""Decisions from a CSV: a list of ids and labels, or what the page exports."""

import json
from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from fashion.catalogue.labels import clean_text
from fashion.catalogue.listing import stem
from fashion.catalogue.review import read_list
from fashion.review.decisions import LABELLED, Decision
from fashion.review.review_store import ReviewStore
from fashion.wording import did_you_mean

PAGE = ("photo", "final_label", "decision", "decided_at")
LISTS = (("id", "label"), ("sha256", "label"), ("photo", "label"))


class Row(NamedTuple):
    """A row of the file: the photo as it is written, and what was decided."""

    line: int
    photo: str
    label: str
    kind: str
    at: str


class Imported(NamedTuple):
    """What became of the rows.

    Attributes:
        new: How many decisions the folder has now that it hadn't.
        known: How many it had.
        undecided: Rows that say nothing of their photo.
        unknown: What is written for photos that aren't in the folder.
        ambiguous: What is written for photos where the folder has several of that name.
    """

    new: int
    known: int
    undecided: int
    unknown: list[str]
    ambiguous: list[str]


def import_decisions(store: ReviewStore, file: str | Path, person: str) -> Imported:
    """Keep the decisions of a file, all or none.

    A photo is told by its SHA-256, its name as it was sent, or that without its ending. A list's
    decisions are of the time at which the file was last changed, so that it may be imported again.

    Args:
        store: The folder.
        file: The CSV.
        person: Who decided.

    Raises:
        FileNotFoundError: The file isn't there.
        ValueError: It is no such table, or has a label that is none of the served model's.
        OSError: The folder can't be written.
    """
    subject = repr(str(file))
    rows, is_page = _read(subject, file)
    decided = [row for row in rows if row.kind]
    _check_labels(subject, decided, json.loads(store.fact("classes")))
    by_name = _photos_by_name(store)
    decisions: list[Decision] = []
    unknown: list[str] = []
    ambiguous: list[str] = []
    for row in decided:
        found = by_name.get(row.photo, set())
        if len(found) == 1:
            decisions.append(_decision(subject, row, *found))
        else:
            (ambiguous if found else unknown).append(row.photo)
    stored = store.decide(person, decisions, saw_labels=not is_page)
    undecided = len(rows) - len(decided)
    return Imported(stored.new, stored.stored - stored.new, undecided, unknown, ambiguous)


def _read(subject: str, file: str | Path) -> tuple[list[Row], bool]:
    """Return the rows, and whether the file is the page's."""
    rows = read_list(subject, file, (PAGE, *LISTS), None)
    if rows and len(rows[0][1]) == len(PAGE):
        page = [
            Row(line, clean_text(photo), label, kind, at) for line, (photo, label, kind, at) in rows
        ]
        return page, True
    changed = datetime.fromtimestamp(Path(file).expanduser().stat().st_mtime, UTC).isoformat()
    listed = [
        Row(line, clean_text(photo), label, "corrected" if label else "", changed)
        for line, (photo, label) in rows
    ]
    return listed, False


def _check_labels(subject: str, rows: Iterable[Row], classes: list[str]) -> None:
    wrong = [row for row in rows if row.label and classes and row.label not in classes]
    if wrong:
        hint = did_you_mean(wrong[0].label, classes, quoted=True)
        raise ValueError(
            f"{subject}: the label {wrong[0].label!r} in line {wrong[0].line} is none of the "
            f"served model's classes{hint}, and so are {len(wrong) - 1:,} more. Correct them, or "
            "strike the rows out."
        )


def _decision(subject: str, row: Row, sha256: str) -> Decision:
    label = row.label if row.kind in LABELLED else None
    try:
        return Decision(sha256, row.kind, label, row.at)
    except ValueError as error:
        raise ValueError(f"{subject}, line {row.line}: {error}") from error


def _photos_by_name(store: ReviewStore) -> dict[str, set[str]]:
    """Return the photos of each SHA-256, name, and name without its ending."""
    found: dict[str, set[str]] = defaultdict(set)
    for sha256, name in store.rows("SELECT sha256, name FROM names"):
        for key in (sha256, clean_text(name), clean_text(stem(name))):
            found[key].add(sha256)
    return dict(found)
