"""The splits that a run was trained on: drawn again, and which photos have changed since."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from fashion.catalogue.review import read_review
from fashion.data.datamodule import FashionDataModule
from fashion.data.more_photos import load_more
from fashion.data.preparation import load
from fashion.data.settings import DataSettings
from fashion.training.run_folder import RunFolder


@dataclass(frozen=True)
class TrainedSplits:
    """What a checkpoint and the `splits.csv` of its run tell of the splits.

    Attributes:
        run: The run's folder, which may be gone.
        sha256: Of the `splits.csv`, as the checkpoint has it.
    """

    run: RunFolder
    sha256: str

    @cached_property
    def table(self) -> pd.DataFrame | None:
        """Label and split of each photo by its id; None where the run's own file isn't there."""
        try:
            content = self.run.splits.read_bytes()
        except OSError:
            return None
        if hashlib.sha256(content).hexdigest() != self.sha256:
            return None
        return pd.read_csv(self.run.splits, dtype=str, keep_default_na=False).set_index("id")

    def trained_ids(self) -> frozenset[str] | None:
        """Return the ids of the training split; None where they aren't known."""
        if self.table is None:
            return None
        return frozenset(self.table.index[self.table["split"] == "train"])

    def set_up(self, datamodule: FashionDataModule) -> None:
        """Set a catalogue up, and check that its splits are these.

        Args:
            datamodule: Not set up yet.

        Raises:
            FileNotFoundError: No catalogue lies at `data.root`.
            ValueError: They differ, or the catalogue can't be used.
            OSError: The disk lacks the room.
        """
        try:
            datamodule.setup()
        except (FileNotFoundError, ValueError) as error:  # the photos that are left may be too few
            changes = self._changes(datamodule)
            if not changes:
                raise
            raise _differ(datamodule, changes) from error
        if datamodule.splits.sha256() != self.sha256:
            raise _differ(datamodule, self._changes(datamodule))

    def _changes(self, datamodule: FashionDataModule) -> list[str]:
        """Say which photos have changed since the training; nothing where that isn't known."""
        if self.table is None:
            return []
        before = self.table["label"]
        found = self._found(datamodule.settings)
        unreadable = list(datamodule.store.unreadable) if datamodule.store else []
        now = found.drop(unreadable, errors="ignore")
        gone = before.index.difference(now.index, sort=False)
        stayed = before.index.intersection(now.index, sort=False)
        relabelled = stayed[before[stayed].ne(now[stayed])]
        added: Iterable[str] = ()
        if datamodule.store:
            kept = pd.Index(datamodule.splits.table["id"])
            added = kept.difference(before.index, sort=False)
        return [
            f"{len(ids):,} {words}, {ids[0]!r} for one"
            for ids, words in (
                (list(gone), f"of its {len(before):,} photos are gone or can't be read"),
                (list(relabelled), "have another label"),
                (list(added), "are new"),
            )
            if ids
        ]

    def _found(self, settings: DataSettings) -> "pd.Series[str]":
        """Return the label of each photo that is there now, by its id."""
        loaded = load(settings, keep_rare=True)
        tables = [loaded.catalogue.table]
        if settings.more:
            names = read_review(None, None, settings.rename, settings.encoding)
            tables.append(load_more(settings, loaded.root, loaded.catalogue, names)[1].table)
        labels = [table.set_index("id")["label"].astype(object) for table in tables]
        found: pd.Series[str] = pd.concat(labels)
        return found


def _differ(datamodule: FashionDataModule, changes: Iterable[str]) -> ValueError:
    what = ", and ".join(changes)
    return ValueError(
        f"data.root={datamodule.settings.root!r}: the catalogue's splits differ from those that "
        f"ckpt_path was trained on{f': {what}' if what else ''}. Pass the same catalogue and data "
        "settings, or split=all to report on all photos that are there."
    )
