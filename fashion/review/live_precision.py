"""How often sure labels are right, told from the blind share of them that people decided on."""

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from fashion.review.binomial import effective, jeffreys
from fashion.review.decisions import Said, standing
from fashion.review.review_store import ReviewStore

DRAWN = """
SELECT model, threshold, sha256, labels, rate, at FROM predictions
WHERE sure = 1 AND rate > 0 ORDER BY model, threshold, sha256
"""


class Checked(NamedTuple):
    """A sure label of the blind share, beside what people decided.

    Attributes:
        label: That the model was sure of.
        rate: The share of sure photos that was drawn then.
        right: The share of the people who gave the photo that label; None where nobody has decided
            without a suggestion yet, or all have left it out.
    """

    label: str
    rate: float
    right: float | None


class Precision(NamedTuple):
    """How often sure labels are right.

    Attributes:
        drawn: Photos of the blind share.
        decided: How many of them people decided on.
        right: Of these how many have the label that they were sure of; two people who disagree
            make a half.
        precision: Each decided photo counted for as many as it was drawn from; None without any.
        low: The end of its 95 % interval.
        high: Its other end.
    """

    drawn: int
    decided: int
    right: float
    precision: float | None
    low: float
    high: float


def checked_labels(store: ReviewStore) -> dict[tuple[str, float], list[Checked]]:
    """Return the blind share of each model, by its id and threshold.

    A decision counts that was made without a suggestion, and after the label: a model may have
    been trained on older ones.
    """
    said = store.decisions("WHERE blind = 1")
    found = defaultdict(list)
    for model, threshold, sha256, labels, rate, at in store.rows(DRAWN):
        label = json.loads(labels)[0][0]
        later = [each for each in said.get(sha256, ()) if each.stored >= at]
        found[model, threshold].append(Checked(label, rate, _share_right(label, later)))
    return dict(found)


def precision_of(checked: Iterable[Checked]) -> Precision:
    """Return how often some sure labels are right."""
    checked = list(checked)
    decided = [(each.right, 1 / each.rate) for each in checked if each.right is not None]
    if not decided:
        return Precision(len(checked), 0, 0, None, 0.0, 1.0)
    weights = [weight for _, weight in decided]
    share = math.fsum(right * weight for right, weight in decided) / math.fsum(weights)
    count = effective(weights)
    low, high = jeffreys(min(share * count, count), count)
    right = math.fsum(right for right, _ in decided)
    return Precision(len(checked), len(decided), right, share, low, high)


def by_label(checked: Iterable[Checked]) -> Iterator[tuple[str, Precision]]:
    """Yield the labels with how often each is right, those with most decided photos first."""
    parts: Mapping[str, list[Checked]] = defaultdict(list)
    for each in checked:
        parts[each.label].append(each)
    found = {label: precision_of(part) for label, part in parts.items()}
    yield from sorted(found.items(), key=lambda item: (-item[1].decided, -item[1].drawn, item[0]))


def _share_right(label: str, said: list[Said]) -> float | None:
    votes = [each.label == label for each in standing(said).values() if each.kind != "left_out"]
    return sum(votes) / len(votes) if votes else None
