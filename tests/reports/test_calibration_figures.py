import numpy as np
import pytest
from matplotlib.text import Text
from scipy.special import softmax

from fashion.metrics.calibration import (
    calibration_error,
    fit_calibration,
    refusal_table,
    reliability_table,
    risk_coverage,
    unknowns_auroc,
)
from fashion.metrics.scaling import Calibration
from fashion.reports.calibration_figures import plot_reliability, plot_risk_coverage, plot_unknowns

SIZES = (4215, 12, 1)


def draw(n, seed):
    """Draw the probabilities of a model that is right more often than it says."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, 20))
    targets = rng.integers(0, 20, n)
    logits[np.arange(n), targets] += rng.gamma(3, 3, n)
    return (0.88 * softmax(logits, axis=1) + 0.12 / 20).astype(np.float32), targets


def parts(n):
    calibration = fit_calibration(*draw(n, seed=0))
    probabilities, targets = draw(n, seed=1)
    scaled = calibration.calibrate(probabilities)
    rng = np.random.default_rng(2)
    noise = softmax(1.5 * rng.normal(size=(n // 4, 20)), axis=1).astype(np.float32)
    unknown = calibration.calibrate(noise).max(axis=1)
    return calibration, probabilities, scaled, targets, unknown


def reliability_figure(n):
    _, probabilities, scaled, targets, _ = parts(n)
    tables = [reliability_table(scores, targets) for scores in (probabilities, scaled)]
    errors = [calibration_error(scores, targets) for scores in (probabilities, scaled)]
    panels = dict(zip(HEADINGS, zip(tables, errors, strict=True), strict=True))
    return plot_reliability(panels, "Calibration: resnet50, test split")


def risk_figure(n):
    calibration, _, scaled, targets, unknown = parts(n)
    confidences, hits = scaled.max(axis=1), scaled.argmax(axis=1) == targets
    table = refusal_table(calibration, confidences, hits, unknown)
    return plot_risk_coverage(risk_coverage(confidences, hits), table, "Precision over coverage")


def unknowns_figure(n):
    scaled, unknown = parts(n)[2], parts(n)[4]
    known = scaled.max(axis=1)
    return plot_unknowns(known, unknown, "Unknown photos", unknowns_auroc(known, unknown))


FIGURES = {
    "reliability": reliability_figure,
    "risk_coverage": risk_figure,
    "unknowns": unknowns_figure,
}


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_a_whole_picture_of_sane_size(name, n, check_figure):
    check_figure(FIGURES[name](n), most=1500)


HEADINGS = ("As the model says", "After temperature scaling")


def shown(figure):
    figure.draw_without_rendering()
    return " | ".join(text.get_text() for text in figure.findobj(Text))


def reliability_of(confidences, hits):
    probabilities = np.float32([[c, 1 - c] for c in confidences])
    return reliability_table(probabilities, 1 - np.array(hits, int), num_bins=5)


def test_each_panel_names_its_error_and_counts_its_images():
    before = reliability_of([0.9] * 1200 + [0.7], [True] * 1201)
    after = reliability_of([0.95] * 7, [True] * 7)
    panels = dict(zip(HEADINGS, [(before, 0.1004), (after, 0.05)], strict=True))
    words = shown(plot_reliability(panels, "Calibration"))
    assert "As the model says: calibration error 10.0%" in words
    assert "After temperature scaling: calibration error 5.0%" in words
    assert "1,200" in words
    assert "7" in words.split(" | ")
    assert "nan" not in words


def test_the_gap_lies_between_confidence_and_accuracy():
    table = reliability_of([0.9, 0.9, 0.7, 0.7], [True, False, True, True])
    figure = plot_reliability({"As labelled": (table, 0.35)}, "Calibration")
    spans = [
        [(bar.get_y(), bar.get_y() + bar.get_height()) for bar in bars][3:]
        for bars in figure.axes[0].containers
    ]
    assert spans[0] == [pytest.approx((0, 0.7)), pytest.approx((0, 0.5))]
    assert spans[1] == [pytest.approx((0.7, 1)), pytest.approx((0.5, 0.5))]
    assert spans[2] == [pytest.approx((0.7, 0.7)), pytest.approx((0.5, 0.9))]


def test_every_threshold_is_marked_and_put_into_words():
    confidences, hits = np.float32([0.9, 0.8, 0.7, 0.6]), np.array([True, True, False, True])
    calibration = Calibration(1.0, confidences, hits)
    unknown = np.float32([0.1, 0.85])
    table = refusal_table(calibration, confidences, hits, unknown, (0.75, 0.995))
    figure = plot_risk_coverage(risk_coverage(confidences, hits), table, "Precision")
    words = shown(figure)
    assert (
        "75% wanted: confidence from 0.600, 100.0% of images answered, 75.0% of them right, 50.0% "
        "of unknown photos refused"
    ) in words
    assert "99.5% wanted: confidence from 0.800, 50.0% of images answered, 100.0%" in words
    points = [line.get_xydata()[0].tolist() for line in figure.axes[0].lines[2::2]]
    assert points == [[1, 0.75], [0.5, 1]]


def test_a_precision_out_of_reach_is_said_so_and_nothing_is_said_of_unknown_photos():
    confidences, hits = np.float32([0.9, 0.5]), np.array([False, False])
    calibration = Calibration(1.0, confidences, hits)
    curve = risk_coverage(confidences, hits)
    figure = plot_risk_coverage(curve, refusal_table(calibration, confidences, hits), "Precision")
    words = shown(figure)
    assert "99% wanted: out of reach" in words
    assert "nan" not in words
    assert "unknown" not in words


def test_histograms_are_shares_of_their_own_photos():
    known, unknown = np.float32([0.99, 0.98, 1.0, 0.1]), np.float32([0.0, 0.5])
    figure = plot_unknowns(known, unknown, "Unknown photos", 0.875)
    words = shown(figure)
    assert "AUROC 0.875" in words
    assert "known classes, 4 photos" in words
    assert "unknown, 2 photos" in words
    shares = [patch.get_data().values for patch in figure.axes[0].patches[::2]]
    assert [share.sum() for share in shares] == [1, 1]
    assert shares[0][-1] == 0.75
