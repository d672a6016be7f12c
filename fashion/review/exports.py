"""What people decided, as training reads it: a catalogue of new photos, and two lists of ids."""

import csv
import io
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from fashion.catalogue.listing import ending_of
from fashion.files import rewriting
from fashion.review.decisions import LABELLED
from fashion.review.outcomes import Outcome, outcomes
from fashion.review.review_store import ReviewStore
from fashion.tables import mark_text
from fashion.wording import many

MORE, TABLE = "more", "corrections.csv"  # the folder of the new photos, and their table


class Known(NamedTuple):
    """A photo of a catalogue.

    Attributes:
        id: Its.
        label: Its, as the catalogue has it.
    """

    id: str
    label: str


class Exported(NamedTuple):
    """How many photos were exported.

    Attributes:
        new: To be added to training.
        relabelled: Of the known catalogue, which get another label.
        confirmed: Of that, which have the label already.
        excluded: Of that, which are left out.
        left_out: New ones that show no class, or were left out.
        apart: On which people disagree.
        lost: Whose file is gone or damaged.
    """

    new: int = 0
    relabelled: int = 0
    confirmed: int = 0
    excluded: int = 0
    left_out: int = 0
    apart: int = 0
    lost: int = 0

    def describe(self) -> str:
        """Return it in a sentence."""
        told = [
            f"{many(self.new, 'new photo')} for data.more",
            f"{self.relabelled:,} of the catalogue relabelled" if self.relabelled else "",
            f"{self.confirmed:,} confirmed" if self.confirmed else "",
            f"{self.excluded:,} of the catalogue excluded" if self.excluded else "",
            f"{self.left_out:,} new ones left out" if self.left_out else "",
            f"{self.apart:,} on which people disagree" if self.apart else "",
            f"{self.lost:,} whose file is gone or damaged" if self.lost else "",
        ]
        return f"{', '.join(filter(None, told))}."


def export(
    store: ReviewStore,
    output: str | Path,
    find_known: Callable[[list[str]], Mapping[str, list[Known]]] | None = None,
) -> Exported:
    """Write `more/`, `relabel.csv` and `exclude.csv`.

    An earlier export in the folder is replaced. Photos on which people disagree are in none.

    Args:
        store: The review folder.
        output: The folder to write.
        find_known: Returns of photos, by their SHA-256, those of the known catalogue that show the
            same; None: there is none, so that all photos are new.

    Raises:
        ValueError: Nobody has decided on any photo.
        OSError: The folder can't be written.
    """
    decided = list(outcomes(store))
    if not decided:
        raise ValueError(
            f"{store.subject}: nobody has decided on a photo yet. Decide on the page of fashion "
            "serve review=DIR, or pass fashion corrections import a CSV."
        )
    settled = [each for each in decided if each.agreed is not None]
    known = find_known([each.sha256 for each in settled]) if find_known else {}
    lists = _Lists(known)
    new = [each for each in settled if not lists.take(each)]
    output = Path(output).expanduser()
    with rewriting(output) as write:
        write("relabel.csv", _csv([("id", "label"), *sorted(lists.labels.items())]))
        write("exclude.csv", _csv([("id",), *((id_,) for id_ in sorted(lists.excluded))]))
    labelled = [each for each in new if _label(each)]
    lost = _write_more(store, output / MORE, labelled)
    return Exported(
        new=len(labelled) - lost,
        relabelled=len(lists.labels),
        confirmed=len(lists.confirmed),
        excluded=len(lists.excluded),
        left_out=len(new) - len(labelled),
        apart=len(decided) - len(settled),
        lost=lost,
    )


class _Lists:
    """Ids of the known catalogue and what was decided on them, the latest where photos differ."""

    def __init__(self, known: Mapping[str, list[Known]]) -> None:
        self._known = known
        self._decided_at: dict[str, str] = {}
        self.labels: dict[str, str] = {}
        self.confirmed: set[str] = set()
        self.excluded: set[str] = set()

    def take(self, outcome: Outcome) -> bool:
        """List what is known of a photo, and return whether anything is."""
        said, found = outcome.agreed, self._known.get(outcome.sha256, [])
        assert said is not None
        for photo in found:
            if said.at < self._decided_at.get(photo.id, ""):
                continue
            self._decided_at[photo.id] = said.at
            self.labels.pop(photo.id, None)
            self.confirmed.discard(photo.id)
            self.excluded.discard(photo.id)
            if said.kind not in LABELLED:
                self.excluded.add(photo.id)
            elif said.label == photo.label:
                self.confirmed.add(photo.id)
            else:
                self.labels[photo.id] = str(said.label)
        return bool(found)


def _label(outcome: Outcome) -> str | None:
    said = outcome.agreed
    return said.label if said and said.kind in LABELLED else None


def _write_more(store: ReviewStore, folder: Path, labelled: list[Outcome]) -> int:
    """Write the catalogue of new photos, and return how many have lost their file."""
    rows, lost = [("id", "label", "photo", "name", "decided_by")], 0
    with rewriting(folder) as write:
        for each in tqdm(labelled, "Writing photos", unit="photo", disable=None):
            content = store.photo(each.sha256)
            if content is None:
                lost += 1
                continue
            photo = f"images/{each.sha256}{ending_of(content)}"
            write(photo, content)
            # Packed photos and features are found by the time of the file, which stays the same.
            changed = store.photos.path(each.sha256).stat().st_mtime_ns
            os.utime(folder / photo, ns=(changed, changed))
            people = " ".join(sorted(each.by_person))
            rows.append((each.sha256, _label(each) or "", photo, each.name, people))
        write(TABLE, _csv(rows))
    return lost


def _csv(rows: Iterable[tuple[str, ...]]) -> str:
    text = io.StringIO(newline="")
    cells = ([mark_text(cell) for cell in row] for row in rows)
    csv.writer(text, lineterminator="\n").writerows(cells)
    return text.getvalue()
