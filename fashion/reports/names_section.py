"""The section of a report on names beside photos: what they add, and that they don't tell labels.

Its figures stand beside those of the photos alone and never among the study's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fashion.catalogue.split_catalogue import SplitCatalogue
from fashion.metrics.intervals import compare_pairs, figure_intervals
from fashion.metrics.metrics import FIGURES
from fashion.metrics.predictions import Predictions, confused_pairs, score_predictions
from fashion.metrics.resampling import affordable_resamples, bootstrap
from fashion.names.checks import largest_change, surviving_label_words
from fashion.names.label_words import label_words
from fashion.names.masking import Mask
from fashion.training.run_names import RunNames, names_of, tied_of

PAIRS = 10  # the most confused of the photos alone
RESAMPLES = 1_000
SOURCES = ("photo", "name", "both")
# What permuted names may bring: how far above the largest class, what weight, how rare a change.
MAJORITY_MARGIN, WEIGHT, RAREST = 0.02, 0.1, 0.001


@dataclass(frozen=True, eq=False)
class NamesReport:
    """What a report says of names.

    Attributes:
        facts: For the summary, see `look_at_names`.
        tables: `names`, a row of figures for each of `SOURCES`; `names_tests`, McNemar's of each
            two; `names_acquaintance`, the accuracies on names that train has and others;
            `names_pairs`, the photos' most confused pairs before and after; `names_tied`, the words
            that the training split ties to one class.
    """

    facts: dict[str, Any]
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)


def look_at_names(
    predictions: Predictions, splits: SplitCatalogue, run_names: RunNames
) -> NamesReport:
    """Tell what names say of a split, alone and with the photos.

    Alone, a photo without a name that says something gets all classes alike.

    Args:
        predictions: Of the photos, their temperature known.
        splits: Its table has the names.
        run_names: Of the run.

    Returns:
        Its facts: `column`, `mask`, `determined`, `fusion`, `photos`, `used` (photos whose name
        counted), `with_own_label` and `with_any_label` (shares of the names that hold words of
        their own label and of any), and `checks`.
    """
    names = names_of(splits, predictions.image_ids)
    model, record = run_names.model, run_names.record
    sources = said_by(predictions, run_names, names)
    used = model.join(predictions.calibrated(), names)[1]
    hits = {source: each.hits() for source, each in sources.items()}
    facts = {
        "column": record.get("column"),
        "mask": model.mask.kind,
        "determined": record.get("determined", {}),
        "fusion": {"photo": model.fusion.photo, "name": model.fusion.name},
        "photos": len(names),
        "used": int(used.sum()),
        **label_shares(names, predictions, record.get("label_words", [])),
        "checks": run_checks(run_names, names),
    }
    tables = {
        "names": figures_of(sources),
        "names_tests": compare_pairs(hits),
        "names_pairs": pairs_before_and_after(sources),
        "names_tied": pd.DataFrame(tied_of(record), columns=["word", "class", "names", "share"]),
    }
    if splits.is_divided:
        kept = [tuple(model.mask.keep(name)) for name in names]
        train = splits.rows("train")["id"].to_numpy(object)
        known = {tuple(model.mask.keep(name)) for name in names_of(splits, train)}
        seen = np.array([words in known for words in kept])
        tables["names_acquaintance"] = acquaintance(hits, seen, used)
    facts["figures"] = tables["names"].set_index("source").to_dict("index")
    facts["tests"] = tables["names_tests"].to_dict("records")
    return NamesReport(facts, tables)


def said_by(
    predictions: Predictions, run_names: RunNames, names: Sequence[str]
) -> dict[str, Predictions]:
    """Return what photo, name and both say, by `SOURCES`; all calibrated."""
    calibrated, model = predictions.calibrated(), run_names.model
    of_names = np.exp(model.log_probabilities(names))
    alone = np.where(np.isnan(of_names), 1 / of_names.shape[1], of_names).astype(np.float32)
    parts = zip(SOURCES, (calibrated, alone, model.join(calibrated, names)[0]), strict=True)
    return {
        source: replace(predictions, probabilities=probabilities, temperature=1.0)
        for source, probabilities in parts
    }


def figures_of(sources: Mapping[str, Predictions]) -> pd.DataFrame:
    """Tabulate `source` and each of `FIGURES` with the ends of its 95 % interval."""
    rows = []
    for source, predictions in sources.items():
        n, k = predictions.probabilities.shape
        scores = score_predictions(predictions)
        replicates = bootstrap(predictions, affordable_resamples(n, k, RESAMPLES))
        own = {name: scores[name] for name in FIGURES}
        rows.append({"source": source, **own, **figure_intervals(own, replicates, n)})
    return pd.DataFrame(rows)


def pairs_before_and_after(sources: Mapping[str, Predictions]) -> pd.DataFrame:
    """Tabulate the photos' most confused pairs: `true`, `predicted`, `photo` and `both`, counts."""
    photo, both = (
        confused_pairs(sources[source], top=len(sources[source].targets))
        for source in ("photo", "both")
    )
    joined = photo.head(PAIRS).merge(
        both, on=["true", "predicted"], how="left", suffixes=("_photo", "_both")
    )
    counts = {
        source: joined[f"count_{source}"].fillna(0).astype(int) for source in ("photo", "both")
    }
    return joined[["true", "predicted"]].assign(**counts)


def acquaintance(
    hits: Mapping[str, NDArray[np.bool_]], seen: NDArray[np.bool_], used: NDArray[np.bool_]
) -> pd.DataFrame:
    """Tabulate the accuracy of each source on names that train has, too, and on others.

    Args:
        hits: Which photos each source gets right, `(N,)`.
        seen: Which names train has, once masked.
        used: Which say something.
    """
    parts = {"seen": seen & used, "unseen": ~seen & used, "no name": ~used}
    return pd.DataFrame(
        [
            {
                "names": name,
                "support": int(part.sum()),
                **{source: float(hits[source][part].mean()) for source in hits},
            }
            for name, part in parts.items()
            if part.any()
        ]
    )


def label_shares(
    names: Sequence[str], predictions: Predictions, every: Sequence[str]
) -> dict[str, float]:
    """Return the shares of names, of those that there are, that hold words of labels.

    Args:
        names: Of the photos, unmasked.
        predictions: Their labels.
        every: The words of all labels.
    """
    own = [Mask("types", label_words([label])) for label in predictions.class_names]
    any_label, whole = Mask("types", list(every)), Mask("none")
    own_word = any_word = there = 0
    for name, target in zip(names, predictions.targets, strict=True):
        number = len(whole.keep(name))
        there += number > 0
        own_word += len(own[target].keep(name)) < number
        any_word += len(any_label.keep(name)) < number
    return {
        "with_own_label": own_word / max(1, there),
        "with_any_label": any_word / max(1, there),
    }


def run_checks(run_names: RunNames, names: Sequence[str]) -> dict[str, Any]:
    """Return what shows whether names tell labels on a split.

    Returns:
        `surviving`, words that are left though they have a label's stem; `largest_change`, by how
        much a probability changes when names have other labels' words; `permuted`, see
        `fashion.training.run_names.try_permuted`; and `passed`, whether each is as it should be.
    """
    model, record = run_names.model, run_names.record
    words = list(record.get("label_words", []))
    surviving = surviving_label_words(model.mask, names, words)
    change = largest_change(model, names, words) if words else 0.0
    permuted = dict(record.get("permuted", {}))
    passed = {"surviving": not surviving, "largest_change": change == 0}
    if permuted:
        passed["permuted"] = bool(
            permuted["names"] <= permuted["majority"] + MAJORITY_MARGIN
            and permuted["weight"] <= WEIGHT
            and permuted["p"] >= RAREST
        )
    return {
        "surviving": surviving[:20],
        "largest_change": change,
        "permuted": permuted,
        "passed": passed,
    }
