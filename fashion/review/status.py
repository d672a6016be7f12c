"""What a review folder holds, in lines for people."""

from collections.abc import Iterator

from fashion.files import size_text
from fashion.review.live_precision import Precision, by_label, checked_labels, precision_of
from fashion.review.outcomes import outcomes
from fashion.review.review_store import ReviewStore
from fashion.wording import many

MOST = 20  # disagreements, and labels of a model, that are listed


def describe(store: ReviewStore) -> Iterator[str]:
    """Yield what there is to say of a review folder, a line each."""
    (photos, taken) = store.rows("SELECT count(*), total(bytes) FROM photos")[0]
    yield f"{many(photos, 'photo')} kept, {size_text(taken)}"
    if full := int(store.fact("full")):
        yield f"{many(full, 'photo')} not kept for want of room: raise review_gb, or forget some"
    waiting = dict(store.rows("SELECT kind, count(*) FROM photos WHERE decided=0 GROUP BY kind"))
    yield f"{waiting.get('unsure', 0):,} unsure and {waiting.get('blind', 0):,} blind wait"
    yield from _decided(store)
    checked = checked_labels(store)
    for (model, threshold), labels in checked.items():
        yield f"{model}, sure from {threshold:.4f}: {describe_precision(precision_of(labels))}"
        of_labels = [(label, it) for label, it in by_label(labels) if it.decided]
        yield from (f"  {label}: {describe_precision(it)}" for label, it in of_labels[:MOST])
        if len(of_labels) > MOST:
            yield f"  … and {many(len(of_labels) - MOST, 'label')} of fewer photos"
    if not checked:
        yield "no sure photo was drawn for the blind share yet, which tells the live precision"


def describe_precision(found: Precision) -> str:
    """Return how often sure labels are right, in words."""
    drawn = f"{found.decided:,} of {many(found.drawn, 'blind photo')} decided"
    if found.precision is None:
        return drawn
    return (
        f"{drawn}, {found.right:,g} right: {found.precision:.1%} "
        f"({found.low:.1%} to {found.high:.1%})"
    )


def _decided(store: ReviewStore) -> Iterator[str]:
    decided = list(outcomes(store))
    people = {person for each in decided for person in each.by_person}
    yield f"{many(len(decided), 'photo')} decided by {many(len(people), 'person', 'people')}"
    apart = [each for each in decided if each.agreed is None]
    if apart:
        yield f"{many(len(apart), 'photo')} on which people disagree, so that nothing is exported:"
        yield from (f"  {each.describe()}" for each in apart[:MOST])
        if len(apart) > MOST:
            yield f"  … and {len(apart) - MOST:,} more"
