"""The splits that a run was trained on, drawn again; where they differ, what has changed."""

import hashlib
from collections.abc import Iterable, Mapping

import pandas as pd

from fashion.data.datamodule import FashionDataModule
from fashion.data.preparation import load
from fashion.training.run_folder import RunFolder


def set_up_as_trained(
    datamodule: FashionDataModule, state: Mapping[str, str], run: RunFolder
) -> None:
    """Set a catalogue up, and check that its splits are those of a training.

    Args:
        datamodule: Not set up yet.
        state: What the checkpoint knows of the splits; see `FashionDataModule.state_dict`.
        run: The run's folder, whose `splits.csv` tells which photos have changed.

    Raises:
        FileNotFoundError: No catalogue lies at `data.root`.
        ValueError: They differ, or the catalogue can't be used.
        OSError: The disk lacks the room.
    """
    try:
        datamodule.setup()
    except (FileNotFoundError, ValueError) as error:  # the photos that are left may be too few
        changes = _changes(datamodule, state, run)
        if not changes:
            raise
        raise _differ(datamodule, changes) from error
    if datamodule.state_dict() != state:
        raise _differ(datamodule, _changes(datamodule, state, run))


def _differ(datamodule: FashionDataModule, changes: Iterable[str]) -> ValueError:
    what = ", and ".join(changes)
    return ValueError(
        f"data.root={datamodule.settings.root!r}: the catalogue's splits differ from those that "
        f"ckpt_path was trained on{f': {what}' if what else ''}. Pass the same catalogue and data "
        "settings, or split=all to report on all photos that are there."
    )


def _changes(datamodule: FashionDataModule, state: Mapping[str, str], run: RunFolder) -> list[str]:
    """Say which photos have changed since the training; nothing where that isn't known."""
    before = _labels_of(run, state["splits_sha256"])
    if before is None:
        return []
    found = load(datamodule.settings, keep_rare=True).catalogue.table.set_index("id")["label"]
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


def _labels_of(run: RunFolder, sha256: str) -> "pd.Series[str] | None":
    """Return the label of each photo by its id, where the run's own file is there."""
    try:
        content = run.splits.read_bytes()
    except OSError:
        return None
    if hashlib.sha256(content).hexdigest() != sha256:
        return None
    return pd.read_csv(run.splits, dtype=str, keep_default_na=False).set_index("id")["label"]
