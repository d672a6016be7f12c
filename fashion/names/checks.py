"""What shows that names don't tell the label: run on each model of names that a report is on."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from fashion.names.fitting import NamedPhotos, fit_names
from fashion.names.masking import Mask
from fashion.names.name_model import NameModel
from fashion.names.words import compounds, stem

CHECKED = 20  # words of a name, so that others in their place make none too long to be read


def surviving_label_words(mask: Mask, names: Iterable[str], labels: Sequence[str]) -> list[str]:
    """Return the words that a mask leaves though they have the stem of a label's word, in order.

    Args:
        mask: The one in question.
        names: Those that it is tried on.
        labels: The words of all labels, see `fashion.names.label_words.label_words`.
    """
    stems = {stem(word) for word in labels}
    kept = {word for name in names for word in mask.keep(name)}
    return sorted(word for word in kept if stem(word) in stems)


def relabelled(mask: Mask, name: str, labels: Sequence[str], seed: int = 0) -> str:
    """Return a name in which each word that a mask takes out is another label's word instead.

    Args:
        mask: Says which words tell a label.
        name: Any.
        labels: As in `surviving_label_words`; one at least.
        seed: Of the draw.
    """
    rng = np.random.default_rng(seed)
    read = compounds(name)
    return " ".join(
        str(rng.choice(labels)) if mask.tells(parts) else "-".join(parts) for parts in read
    )


def largest_change(model: NameModel, names: Sequence[str], labels: Sequence[str]) -> float:
    """Return by how much a probability changes at most when names have other labels' words.

    Args:
        model: The one in question.
        names: Those that it is tried on, of each the first `CHECKED` words.
        labels: As in `surviving_label_words`.
    """
    names = [" ".join(map("-".join, compounds(name)[:CHECKED])) for name in names]
    mask = model.mask if model.mask.kind != "none" else Mask("types", tuple(labels))
    renamed = [relabelled(mask, name, labels, seed) for seed, name in enumerate(names)]
    before, after = (np.exp(model.log_probabilities(each)) for each in (names, renamed))
    if (np.isnan(before) != np.isnan(after)).any():
        return 1.0
    return float(np.nan_to_num(np.abs(before - after)).max(initial=0))


def permuted_fit(
    splits: Sequence[NamedPhotos], mask: Mask, num_classes: int, seed: int = 0
) -> tuple[NameModel, list[str]]:
    """Fit a model after the names were permuted among all photos, so that they say nothing.

    Args:
        splits: Train, val and test.
        mask: What of a name is read.
        num_classes: K.
        seed: Of the permutation.

    Returns:
        The model, and the names that the photos of test have now.
    """
    names = [name for split in splits for name in split.names]
    order: NDArray[np.intp] = np.random.default_rng(seed).permutation(len(names))
    ends = np.cumsum([len(split.names) for split in splits])[:-1]
    train, val, test = (
        NamedPhotos([names[place] for place in places], split.targets, split.probabilities)
        for places, split in zip(np.split(order, ends), splits, strict=True)
    )
    return fit_names(train, val, mask, num_classes), list(test.names)
