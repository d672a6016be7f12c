"""The names of a run: once its model of photos is trained, one of names is fitted beside it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import pandas as pd

from fashion.catalogue.split_catalogue import SplitCatalogue
from fashion.data.settings import DataSettings
from fashion.metrics.intervals import compare_pairs
from fashion.metrics.predictions import Predictions
from fashion.names.checks import permuted_fit
from fashion.names.fitting import NamedPhotos, fit_names
from fashion.names.label_words import (
    TiedWord,
    determined_columns,
    label_words,
    read_synonyms,
    tied_words,
)
from fashion.names.masking import Mask
from fashion.names.name_model import NameModel

KEY = "names"  # in a checkpoint


@dataclass(frozen=True, eq=False)
class RunNames:
    """What a run keeps of names.

    Attributes:
        model: Tells classes by names.
        record: What a report tells of its fit, plain values: `column`; `determined`, how many
            values each column has that follows from the label; `label_words`; `tied`, rows of
            `fashion.names.label_words.TiedWord`; `permuted`, see `try_permuted`.
    """

    model: NameModel
    record: Mapping[str, Any]

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps: tensors and plain values."""
        return {**self.model.state(), "record": dict(self.record)}

    @classmethod
    def of_checkpoint(cls, checkpoint: Mapping[str, Any]) -> "RunNames | None":
        """Return what a checkpoint keeps, if it keeps any.

        Raises:
            ValueError: What it keeps is damaged.
        """
        state = checkpoint.get(KEY)
        if state is None:
            return None
        model = NameModel.from_state(state, len(checkpoint["hyper_parameters"]["class_names"]))
        record = state.get("record")
        if not isinstance(record, Mapping):
            raise ValueError("the names' record must be a mapping.")
        return cls(model, record)

    def fits(self, settings: DataSettings) -> bool:
        """Return whether it is of the names that a run's settings ask for."""
        asked = (settings.text_column, settings.text_mask)
        return asked == (self.record.get("column"), self.model.mask.kind)


def names_of(splits: SplitCatalogue, ids: "Sequence[str] | np.ndarray") -> list[str]:
    """Return the names of photos by their ids; empty where they have none."""
    names = splits.table.set_index("id")["name"].reindex(list(ids)).fillna("")
    return names.astype(str).tolist()


def fit_run_names(
    splits: SplitCatalogue, settings: DataSettings, val: Predictions, test: Predictions
) -> RunNames:
    """Fit the model of names on the training split and its weight beside photos on validation.

    Args:
        splits: The run's, its table with names.
        settings: Name the column, and what is taken out.
        val: What the model of photos says of the validation split, its temperature known.
        test: The same of the test split, on which nothing is fitted: permuted names are tried on
            it.

    Raises:
        ValueError: Nothing is left of the names to learn from.
    """
    train = splits.rows("train")
    names = train["name"].fillna("").astype(str).tolist()
    labels = train["label"].astype(str)
    values = determined_values(splits)
    dropped = splits.catalogue.dropped["label"].astype(str).unique()
    told = label_words([*splits.class_names, *dropped, *chain.from_iterable(values.values())])
    kind = settings.text_mask
    synonyms = read_synonyms() if kind == "synonyms" else []
    mask = Mask(kind, told, synonyms)
    tied = tied_words([mask.keep(name) for name in names], labels)
    if kind == "synonyms":
        mask = Mask(kind, told, synonyms, [each.word for each in tied])
    targets = splits.targets("train")
    named = [NamedPhotos(names, targets.reshape(len(targets), -1)[:, 0])]  # the label's alone
    named += [
        NamedPhotos(names_of(splits, part.image_ids), part.targets, part.calibrated())
        for part in (val, test)
    ]
    model = fit_names(named[0], named[1], mask, len(splits.class_names))
    record = {
        "column": settings.text_column,
        "determined": {
            column: len(each)
            for column, each in values.items()
            if column not in np.atleast_1d(settings.label_column)
        },
        "label_words": told,
        "tied": [list(each) for each in tied],
        "permuted": try_permuted(named, mask, len(splits.class_names)),
    }
    return RunNames(model, record)


def determined_values(splits: SplitCatalogue) -> dict[str, list[str]]:
    """Return all values of each column that follows from the label in the training split."""
    own = splits.own
    train = own[own["split"] == "train"]
    attributes = splits.catalogue.attributes
    columns = {
        str(name): attributes[name].loc[train["line"]].astype(str).str.strip().tolist()
        for name in attributes
        if isinstance(attributes[name].dtype, pd.CategoricalDtype)
    }
    found = determined_columns(train["label"].astype(str).tolist(), columns)
    return {name: sorted(map(str, attributes[name].unique())) for name in found}


def try_permuted(named: Sequence[NamedPhotos], mask: Mask, num_classes: int) -> dict[str, Any]:
    """Return what a model fitted on permuted names makes of the test split: it should be nothing.

    Returns:
        `majority`, the share of the largest class; the accuracies `names`, `photos` and `both`;
        `weight`, that of names beside photos; `p` of McNemar's test of photos and both.
    """
    test = named[-1]
    assert test.probabilities is not None
    model, names = permuted_fit(named, mask, num_classes)
    joined, used = model.join(test.probabilities, names)
    own = np.nan_to_num(model.log_probabilities(names)).argmax(axis=1)
    right = {
        "photos": test.probabilities.argmax(axis=1) == test.targets,
        "both": joined.argmax(axis=1) == test.targets,
    }
    return {
        "majority": float(np.bincount(test.targets).max() / len(test.targets)),
        "names": float(((own == test.targets) & used).mean()),
        **{source: float(hits.mean()) for source, hits in right.items()},
        "weight": model.fusion.name,
        "p": float(compare_pairs(right)["p"].iloc[0]),
    }


def tied_of(record: Mapping[str, Any]) -> list[TiedWord]:
    """Return the words that a record says the training split ties to one class."""
    return [TiedWord(*row) for row in record.get("tied", [])]
