import itertools
import math

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, softmax
from sklearn.metrics import roc_auc_score
from torchmetrics.functional.classification import multiclass_calibration_error

from fashion.metrics.calibration import (
    area_under_risk_coverage,
    calibration_error,
    fit_calibration,
    fit_temperature,
    refusal_table,
    reliability_table,
    risk_coverage,
    unknowns_auroc,
)
from fashion.metrics.scaling import TEMPERATURES, Calibration, scale


def draw(n, k, seed, temperature=1.0, spread=2.0):
    """Draw logits whose softmax is the chance of each target, and divide them by a temperature."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=spread, size=(n, k))
    targets = (logits + rng.gumbel(size=(n, k))).argmax(axis=1)
    return softmax(logits * temperature, axis=1).astype(np.float32), targets


def draw_hits(n, levels, seed):
    """Draw confidences with ties, and hits that are the likelier the higher the confidence."""
    rng = np.random.default_rng(seed)
    confidences = rng.integers(1, levels + 1, n).astype(np.float32) / np.float32(levels)
    return confidences, rng.random(n) < confidences


CASES = {
    "calibrated": draw(400, 6, seed=0),
    "overconfident": draw(400, 6, seed=1, temperature=3),
    "underconfident": draw(400, 6, seed=2, temperature=0.4),
    "saturated": draw(400, 6, seed=3, temperature=100),
    "two classes": draw(200, 2, seed=4),
    "one image": draw(1, 3, seed=5),
    "uniform": (np.full((60, 4), 0.25, np.float32), np.arange(60) % 4),
    "on the edges": (np.float32([[0.6, 0.4], [0.8, 0.2], [1, 0], [0.2, 0.8]]), np.arange(4) % 2),
    "the study's size": draw(4215, 54, seed=6, temperature=0.5),
}


@pytest.mark.parametrize("planted", [0.25, 0.7, 1.0, 1.8, 5.0])
def test_a_planted_temperature_is_found_again(planted):
    probabilities, targets = draw(20_000, 8, seed=7, temperature=planted)
    assert fit_temperature(probabilities, targets) == pytest.approx(planted, rel=0.03)


def test_no_temperature_has_a_lower_loss():
    probabilities, targets = CASES["overconfident"]

    def loss(temperature):
        scores = log_softmax(np.log(probabilities.astype(float)) / temperature, axis=1)
        return -scores[np.arange(len(targets)), targets].mean()

    fitted = loss(fit_temperature(probabilities, targets))
    assert all(fitted <= loss(t) + 1e-9 for t in np.geomspace(*TEMPERATURES, 400))


def test_probabilities_that_underflowed_have_a_temperature():
    probabilities, targets = draw(50, 4, seed=8, temperature=300)
    assert (probabilities == 0).any()
    temperature = fit_temperature(probabilities, targets)
    assert 1 < temperature <= TEMPERATURES[1]
    assert np.isfinite(scale(probabilities, temperature)).all()


def test_a_model_without_mistake_and_doubt_keeps_its_temperature():
    assert fit_temperature(np.eye(3, dtype=np.float32), np.arange(3)) == 1


@pytest.mark.parametrize("temperature", [*TEMPERATURES, 0.5, 0.99, 1.01, 3.0])
@pytest.mark.parametrize("case", CASES)
def test_scaled_rows_sum_to_one_and_keep_their_largest_class(case, temperature):
    probabilities = CASES[case][0]
    scaled = scale(probabilities, temperature)
    assert scaled.dtype == np.float32
    np.testing.assert_allclose(scaled.sum(axis=1), 1, atol=1e-6)
    assert (scaled.argmax(axis=1) == probabilities.argmax(axis=1)).all()


def test_scaling_is_the_softmax_of_the_divided_logits():
    logits = np.array([[1.0, 2.0, -1.0], [0.0, 0.5, 4.0]])
    scaled = scale(softmax(logits, axis=1).astype(np.float32), 2.5)
    np.testing.assert_allclose(scaled, softmax(logits / 2.5, axis=1), atol=1e-6)


def test_a_temperature_of_one_changes_nothing():
    probabilities = CASES["saturated"][0]
    assert (scale(probabilities, 1.0) == probabilities).all()


def test_classes_that_rounding_draws_level_keep_their_order():
    low = np.float32(0.3)
    probabilities = np.array([[low, np.nextafter(low, np.float32(1)), 0.4 - low, low]], np.float32)
    assert scale(probabilities, 20.0).argmax() == 1


def test_the_error_and_its_bins_are_those_computed_by_hand():
    probabilities = np.float32([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3], [0.4, 0.6], [1.0, 0.0]])
    targets = np.array([0, 0, 0, 1, 0])
    # Of 4 bins the third has 0.7 and 0.6, both right, the last 0.9 and 1, right, and 0.8, wrong.
    expected = 2 / 5 * abs(1 - 0.65) + 3 / 5 * abs(2 / 3 - 0.9)
    assert calibration_error(probabilities, targets, num_bins=4) == pytest.approx(expected)
    table = reliability_table(probabilities, targets, num_bins=4)
    assert table["low"].tolist() == [0, 0.25, 0.5, 0.75]
    assert table["high"].tolist() == [0.25, 0.5, 0.75, 1]
    assert table["count"].tolist() == [0, 0, 2, 3]
    nan = math.nan
    np.testing.assert_allclose(table["confidence"], [nan, nan, 0.65, 0.9], atol=1e-6)
    np.testing.assert_allclose(table["accuracy"], [nan, nan, 1, 2 / 3])


def test_an_edge_belongs_to_the_bin_above_it():
    probabilities = np.float32([[0.5, 0.5], [0.75, 0.25], [1, 0]])
    table = reliability_table(probabilities, np.zeros(3, int), num_bins=4)
    assert table["count"].tolist() == [0, 0, 1, 2]


@pytest.mark.parametrize("num_bins", [1, 2, 5, 15, 100])
@pytest.mark.parametrize("case", CASES)
def test_the_table_adds_up_to_the_error(case, num_bins):
    probabilities, targets = CASES[case]
    table = reliability_table(probabilities, targets, num_bins)
    gaps = (table["accuracy"] - table["confidence"]).abs()
    error = (table["count"] * gaps).sum() / len(targets)
    assert len(table) == num_bins
    assert table["count"].sum() == len(targets)
    assert calibration_error(probabilities, targets, num_bins) == pytest.approx(error, abs=2e-5)


def test_probabilities_just_outside_the_unit_interval_are_not_taken_for_logits():
    probabilities, targets = CASES["overconfident"]
    expected = calibration_error(probabilities, targets)
    slipped = probabilities.copy()
    slipped[0] = [1 + 1e-6, -1e-6, 0, 0, 0, 0]
    slipped[1] = [1, 0, 0, 0, 0, 0]
    probabilities = np.concatenate([slipped[1:2], slipped[1:2], probabilities[2:]])
    assert calibration_error(slipped, targets) == calibration_error(probabilities, targets)
    assert calibration_error(slipped, targets) == pytest.approx(expected, abs=0.01)


def test_calibrating_lowers_the_error_on_other_images():
    fitted = fit_calibration(*draw(4000, 8, seed=9, temperature=2.5))
    probabilities, targets = draw(4000, 8, seed=10, temperature=2.5)
    assert calibration_error(probabilities, targets) > 0.1
    assert calibration_error(fitted.calibrate(probabilities), targets) < 0.03


def test_images_of_equal_confidence_are_accepted_together():
    confidences = np.float32([0.5, 0.9, 0.5, 0.75, 0.5])
    hits = np.array([True, True, False, False, True])
    curve = risk_coverage(confidences, hits)
    assert curve["threshold"].tolist() == [np.float32(0.9), 0.75, 0.5]
    assert curve["coverage"].tolist() == [0.2, 0.4, 1]
    assert curve["precision"].tolist() == [1, 0.5, 0.6]
    assert curve["risk"].tolist() == [0, 0.5, 0.4]


def test_the_area_is_the_mean_over_all_orders_of_equal_confidences():
    confidences = np.float32([0.5, 0.9, 0.5, 0.75, 0.5, 0.75])
    hits = np.array([True, True, False, False, True, True])
    areas = []
    for order in itertools.permutations(range(6)):
        if (np.diff(confidences[list(order)]) <= 0).all():
            errors = ~hits[list(order)]
            areas.append(np.mean(errors.cumsum() / np.arange(1, 7)))
    assert len(areas) == 12
    assert area_under_risk_coverage(confidences, hits) == pytest.approx(np.mean(areas))


def test_without_ties_the_area_is_the_mean_risk_of_the_curve():
    rng = np.random.default_rng(11)
    confidences, hits = rng.permutation(200).astype(np.float32), rng.random(200) < 0.7
    expected = risk_coverage(confidences, hits)["risk"].mean()
    assert area_under_risk_coverage(confidences, hits) == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(12))
def test_the_threshold_is_the_one_of_the_largest_coverage(seed):
    confidences, hits = draw_hits(30 + seed, levels=3 + 4 * seed, seed=seed)
    calibration = Calibration(1.0, confidences, hits)
    for precision in (0.3, 0.5, 0.6, 0.75, 0.8, 0.9, 0.95, 1.0):
        reaching = [c for c in confidences if hits[confidences >= c].mean() >= precision]
        if reaching:
            threshold = calibration.threshold(precision)
            assert threshold == min(reaching)
            assert hits[confidences >= threshold].mean() >= precision
        else:
            with pytest.raises(ValueError, match="out of reach"):
                calibration.threshold(precision)


def test_a_precision_that_equals_a_share_is_reached():
    hits = np.arange(20) > 0
    assert Calibration(1.0, np.full(20, 0.7, np.float32), hits).threshold(0.95) == np.float32(0.7)


def test_an_image_at_the_threshold_is_accepted():
    probabilities, targets = draw(300, 5, seed=12, temperature=0.5)
    calibration = fit_calibration(probabilities, targets)
    threshold = calibration.threshold(0.9)
    assert isinstance(threshold, float)
    assert np.float32(threshold) == threshold
    accepted = calibration.calibrate(probabilities).max(axis=1) >= threshold
    row = risk_coverage(calibration.confidences, calibration.hits).set_index("threshold")
    assert accepted.mean() == row.loc[threshold, "coverage"]
    assert calibration.hits[accepted].mean() == row.loc[threshold, "precision"] >= 0.9


@pytest.mark.parametrize("precision", [0, -0.5, 1.01, 95, math.nan])
def test_a_precision_is_a_share(precision):
    calibration = Calibration(1.0, *draw_hits(20, 5, seed=13))
    expected = f"precision={precision} must be above 0 and at most 1."
    with pytest.raises(ValueError, match=expected):
        calibration.threshold(precision)
    with pytest.raises(ValueError, match=expected):
        refusal_table(calibration, *draw_hits(20, 5, seed=13), precisions=[precision])


def test_the_best_precision_is_named_and_can_be_had():
    hits = np.array([True, True, False, False, False, True])
    calibration = Calibration(1.0, np.float32([0.9, 0.9, 0.9, 0.5, 0.5, 0.5]), hits)
    with pytest.raises(
        ValueError, match=r"precision=0\.9 is out of reach .* best there is 0\.6666"
    ):
        calibration.threshold(0.9)
    assert calibration.threshold(0.6666) == np.float32(0.9)


def test_a_fit_keeps_the_calibrated_confidences_and_the_hits():
    probabilities, targets = CASES["underconfident"]
    calibration = fit_calibration(probabilities, targets)
    assert calibration.temperature == fit_temperature(probabilities, targets) < 1
    assert (calibration.confidences == calibration.calibrate(probabilities).max(axis=1)).all()
    assert (calibration.hits == (probabilities.argmax(axis=1) == targets)).all()


def test_a_confidence_that_rounding_put_above_one_can_be_kept_and_is_accepted():
    probabilities = np.float32([[1.0000001, 0], [0, 1.0000001]])
    calibration = fit_calibration(probabilities, np.arange(2))
    assert calibration.confidences.tolist() == [1, 1]
    assert (calibration.calibrate(probabilities).max(axis=1) >= calibration.threshold(1)).all()


def test_arrays_that_cannot_be_written_to_are_read(recwarn):
    probabilities, targets = (array.copy() for array in CASES["overconfident"])
    probabilities.setflags(write=False)
    targets.setflags(write=False)
    calibration = fit_calibration(probabilities, targets)
    Calibration.from_state(calibration.state())
    assert calibration_error(scale(probabilities, 1.0), targets) > 0
    assert not recwarn.list


def test_a_state_survives_a_checkpoint(tmp_path):
    calibration = fit_calibration(*CASES["overconfident"])
    torch.save({"calibration": calibration.state()}, tmp_path / "best.ckpt")
    stored = torch.load(tmp_path / "best.ckpt", weights_only=True)["calibration"]
    again = Calibration.from_state(stored)
    assert again.temperature == calibration.temperature
    for name in ("confidences", "hits"):
        ours, theirs = getattr(calibration, name), getattr(again, name)
        assert ours.dtype == theirs.dtype
        assert (ours == theirs).all()
    assert again.threshold(0.9) == calibration.threshold(0.9)


FAULTS = {
    "no temperature": ({"temperature": None}, "temperature must be a float"),
    "temperature in words": ({"temperature": "1"}, "temperature must be a float"),
    "temperature as tensor": ({"temperature": torch.tensor(1.0)}, "temperature must be a float"),
    "temperature of 0": ({"temperature": 0.0}, r"temperature=0\.0 must be from"),
    "temperature NaN": ({"temperature": math.nan}, "temperature=nan must be from"),
    "endless temperature": ({"temperature": math.inf}, "temperature=inf must be from"),
    "list": ({"confidences": [0.5, 0.6, 0.7]}, "confidences must be a tensor"),
    "no hits": ({"hits": None}, "hits must be a tensor"),
    "float64": ({"confidences": torch.full((3,), 0.5).double()}, "must be float32 and bool"),
    "bfloat16": ({"confidences": torch.full((3,), 0.5).bfloat16()}, "NumPy cannot hold"),
    "sparse": ({"confidences": torch.full((3,), 0.5).to_sparse()}, "NumPy cannot hold"),
    "meta": ({"confidences": torch.empty(3, device="meta")}, "NumPy cannot hold"),
    "hits as numbers": ({"hits": torch.ones(3)}, "must be float32 and bool"),
    "lengths": ({"hits": torch.ones(4, dtype=torch.bool)}, "must be"),
    "table": ({"confidences": torch.full((3, 2), 0.5)}, "must be"),
    "scalars": ({"confidences": torch.tensor(0.5), "hits": torch.tensor(True)}, "must be"),
    "empty": ({"confidences": torch.empty(0), "hits": torch.ones(0).bool()}, "N at least 1"),
    "above 1": ({"confidences": torch.tensor([0.5, 1.1, 0.2])}, "from 0 to 1"),
    "below 0": ({"confidences": torch.tensor([0.5, -0.1, 0.2])}, "from 0 to 1"),
    "NaN": ({"confidences": torch.tensor([0.5, math.nan, 0.2])}, "from 0 to 1"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_strangers_state_is_refused_in_one_sentence(fault):
    changes, message = FAULTS[fault]
    state = Calibration(1.0, np.float32([0.5, 0.6, 0.7]), np.ones(3, bool)).state()
    Calibration.from_state(state)
    with pytest.raises(ValueError, match=message):
        Calibration.from_state({**state, **changes})


@pytest.mark.parametrize("state", [None, [], "calibration", {}, {"temperature": 1.0}])
def test_something_else_is_no_calibration(state):
    with pytest.raises(ValueError, match="expected temperature, confidences and hits"):
        Calibration.from_state(state)


def test_a_fit_needs_images_and_numbers():
    with pytest.raises(ValueError, match="N at least 1"):
        fit_calibration(np.empty((0, 3), np.float32), np.empty(0, int))
    with pytest.raises(ValueError, match="from 0 to 1"):
        fit_calibration(np.full((5, 3), np.nan, np.float32), np.zeros(5, int))


@pytest.mark.parametrize("levels", [1, 2, 10, 10_000])
def test_the_auroc_of_unknown_photos_is_scikit_learns(levels):
    known = draw_hits(300, levels, seed=14)[0]
    unknown = draw_hits(170, levels, seed=15)[0] ** 2
    truth = np.repeat([True, False], [300, 170])
    expected = roc_auc_score(truth, np.concatenate([known, unknown]))
    assert unknowns_auroc(known, unknown) == pytest.approx(expected, abs=1e-12)


def test_without_photos_there_is_no_auroc():
    some, none = np.float32([0.4, 0.6]), np.empty(0, np.float32)
    assert math.isnan(unknowns_auroc(some, none))
    assert math.isnan(unknowns_auroc(none, some))


def test_refusals_are_counted_on_other_images_than_the_thresholds_are_chosen_on():
    hits = np.array([True, True, True, False])
    calibration = Calibration(1.0, np.float32([0.9, 0.8, 0.7, 0.7]), hits)
    test_confidences = np.float32([0.95, 0.8, 0.75, 0.1, 0.7])
    test_hits = np.array([True, False, True, False, True])
    unknown = np.float32([0.8, 0.2, 0.7])
    table = refusal_table(calibration, test_confidences, test_hits, unknown, (0.75, 1.0))
    assert table["wanted"].tolist() == [0.75, 1]
    assert table["threshold"].tolist() == [np.float32(0.7), np.float32(0.8)]
    assert table["coverage"].tolist() == [0.8, 0.4]
    assert table["precision"].tolist() == [0.75, 0.5]
    assert table["unknown_refused"].tolist() == pytest.approx([1 / 3, 2 / 3])


def test_what_cannot_be_said_of_a_refusal_is_nan():
    calibration = Calibration(1.0, np.float32([0.9, 0.9]), np.array([True, False]))
    confidences, hits = np.float32([0.1, 0.2]), np.array([True, True])
    table = refusal_table(calibration, confidences, hits, precisions=(0.5, 0.99))
    columns = ["wanted", "threshold", "coverage", "precision", "unknown_refused"]
    assert table.columns.tolist() == columns
    nan = math.nan
    np.testing.assert_equal(table.loc[0].tolist(), [0.5, np.float32(0.9), 0, nan, nan])
    np.testing.assert_equal(table.loc[1].tolist(), [0.99, nan, nan, nan, nan])


def test_the_wanted_precisions_are_those_of_the_report():
    confidences, hits = draw_hits(500, 50, seed=16)
    table = refusal_table(Calibration(1.0, confidences, hits), confidences, hits)
    assert table["wanted"].tolist() == [0.95, 0.98, 0.99]
    reached = table.dropna(subset="threshold")
    assert len(reached)
    assert (reached["precision"] >= reached["wanted"]).all()


def test_the_temperature_of_many_images_is_that_of_a_part_of_them(monkeypatch):
    probabilities, targets = draw(40_000, 8, seed=17, temperature=1.8)
    whole = fit_temperature(probabilities, targets)
    monkeypatch.setattr("fashion.metrics.calibration.MOST_IMAGES", 10_000)
    by_images = fit_temperature(probabilities, targets)
    monkeypatch.setattr("fashion.metrics.calibration.MOST_PROBABILITIES", 40_000)
    by_probabilities = fit_temperature(probabilities, targets)
    assert len({whole, by_images, by_probabilities}) == 3
    assert by_images == pytest.approx(whole, rel=0.03)
    assert by_probabilities == pytest.approx(whole, rel=0.06)
    fitted = fit_calibration(probabilities, targets)
    assert fitted.temperature == by_probabilities
    assert len(fitted.confidences) == 40_000


@pytest.mark.parametrize("case", CASES)
def test_the_error_is_that_of_all_probabilities(case):
    probabilities, targets = CASES[case]
    highest = np.nextafter(np.float32(1), np.float32(0))
    expected = multiclass_calibration_error(
        torch.tensor(probabilities.clip(0, highest)),
        torch.tensor(targets),
        num_classes=probabilities.shape[1],
        n_bins=15,
    )
    assert calibration_error(probabilities, targets) == float(expected)
