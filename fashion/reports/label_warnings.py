"""Labels of a catalogue that look like another, or like none, and a list that merges them."""

import pandas as pd

from fashion.catalogue.labels import no_values, similar_labels
from fashion.catalogue.split_catalogue import SplitCatalogue

SHOWN = 5  # of such labels, in a sentence
FILE = "rename.csv"


def suggested_names(splits: SplitCatalogue) -> pd.DataFrame:
    """Return what `data.rename` takes to merge labels that look alike and drop what is none.

    Labels that were dropped as rare are among them: another spelling often is.

    Returns:
        `old`; `new`, the most frequent spelling, or nothing; and `photos`, those of the old label.
    """
    labels = pd.concat([splits.table["label"], splits.catalogue.rare["label"]])
    counts = {str(label): int(count) for label, count in labels.value_counts().items()}
    empty = dict.fromkeys(no_values(counts))
    rows = [
        (other, first, counts[other])
        for first, *others in similar_labels(counts)
        for other in others
        if other not in empty
    ]
    rows += [(label, "", counts[label]) for label in empty]
    return pd.DataFrame(rows, columns=["old", "new", "photos"])


def label_warnings(names: pd.DataFrame) -> list[str]:
    """Return what to mind of labels, a sentence or two each.

    Args:
        names: As `suggested_names` returns it.
    """
    sentences = []
    merged, empty = names[names["new"] != ""], names[names["new"] == ""]
    if len(merged):
        pairs = [f"“{new}” and “{old}” ({n:,})" for old, new, n in merged.itertuples(index=False)]
        sentences.append(
            f"{_listed(pairs)} differ in case, spaces or accents alone and are classes of their "
            f"own. To make one of each two, pass {FILE}, which lies beside the page, as "
            "data.rename; strike out the rows that are right as they are."
        )
    if len(empty):
        labels = [f"“{old}” ({n:,})" for old, _, n in empty.itertuples(index=False)]
        sentences.append(
            f"{_listed(labels)} looks like no label at all. To leave such photos out, pass "
            f"{FILE}, where it has no new name, as data.rename."
        )
    return sentences


def _listed(texts: list[str]) -> str:
    more = f" and {len(texts) - SHOWN:,} more" if len(texts) > SHOWN else ""
    return ", ".join(texts[:SHOWN]) + more
