import numpy as np
import pytest

from fashion.review.live_precision import Checked, by_label, checked_labels, precision_of
from fashion.review.review_store import ReviewStore


def test_the_blind_share_tells_how_often_sure_labels_are_right(store, offer, decide):
    photos = [offer(store, number, sure=True, confidence=0.95) for number in range(8)]
    offer(store, 100)  # unsure, which says nothing of sure ones
    for sha256, label in zip(photos, ["Tops"] * 4 + ["Shirts"], strict=False):
        decide(store, sha256, label)
    decide(store, photos[5], kind="no_class")
    decide(store, photos[6], kind="left_out")
    ((model, checked),) = checked_labels(store).items()
    assert model == ("sha256:one", 0.9)
    found = precision_of(checked)
    assert (found.drawn, found.decided, found.right) == (8, 6, 4)
    assert found.precision == pytest.approx(4 / 6)
    assert found.low < 4 / 6 < found.high


def test_people_who_disagree_make_a_half(store, offer, decide):
    sha256 = offer(store, 1, sure=True)
    decide(store, sha256, "Tops")
    decide(store, sha256, "Shirts", person="ben")
    assert precision_of(*checked_labels(store).values()).right == 0.5
    decide(store, sha256, "Tops", person="ben")
    assert precision_of(*checked_labels(store).values()).right == 1


def test_only_blind_decisions_after_the_label_count(store, offer, decide):
    suggested, trained = offer(store, 1, sure=True), offer(store, 2, sure=True)
    decide(store, suggested, "Tops", saw_labels=True)
    decide(store, trained, "Tops")
    offer(store, 2, sure=True, model="sha256:two")
    checked = checked_labels(store)
    assert [each.right for each in checked["sha256:one", 0.9]].count(1) == 1
    assert [each.right for each in checked["sha256:two", 0.9]] == [None]


def test_shares_drawn_at_other_rates_count_for_what_they_stand_for(folder, offer, decide):
    for rate, numbers, label in ((1.0, range(40), "Tops"), (0.25, range(40, 400), "Shirts")):
        store = ReviewStore(folder, blind=rate)
        for number in numbers:
            offer(store, number, sure=True)
        for photo in store.queue("blind", limit=500).photos:
            decide(store, photo.sha256, label)
        store.close()
    (checked,) = checked_labels(ReviewStore(folder)).values()
    late = len(checked) - 40
    assert 60 < late < 120
    found = precision_of(checked)
    assert found.precision == pytest.approx(40 / (40 + 4 * late))
    assert found.low < 40 / 400 < found.high


def test_labels_have_figures_of_their_own():
    checked = [Checked("Tops", 1, 1), Checked("Tops", 1, 0), Checked("Hats", 1, None)]
    found = dict(by_label(checked))
    assert list(found) == ["Tops", "Hats"]
    assert (found["Tops"].precision, found["Hats"].precision) == (0.5, None)
    assert (found["Hats"].drawn, found["Hats"].low, found["Hats"].high) == (1, 0, 1)


@pytest.mark.parametrize("rate", [0.02, 0.05, 0.2])
def test_the_interval_holds_the_truth_in_930_to_980_of_1000_months(rate):
    """A month is 1,500 to 6,000 photos of a calibrated model, of which the sure ones count."""
    drawn = np.random.default_rng(round(1000 * rate))
    held = 0
    for _ in range(1_000):
        logits = drawn.normal(3.2, 2.5, drawn.integers(1_500, 6_001))
        sure = (confidences := 1 / (1 + np.exp(-logits)))[confidences > 0.9]
        hits = drawn.random(len(sure)) < sure
        blind = hits[drawn.random(len(hits)) < rate].tolist()
        found = precision_of(Checked("Tops", rate, float(hit)) for hit in blind)
        held += found.low <= hits.mean() <= found.high
    assert 930 <= held <= 980
