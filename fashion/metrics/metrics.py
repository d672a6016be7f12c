"""The three headline metrics and their parts per class, exact and on the host."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torchmetrics.functional.classification import (
    binary_precision_recall_curve,
    multiclass_stat_scores,
)

FIGURES = ("accuracy", "macro_f1", "macro_auprc")  # the headline of each report


@contextmanager
def _one_thread() -> Iterator[None]:
    # These are thousands of tiny operations. Measured on 2 cores that others kept busy, as loader
    # workers do: 6 s with 2 threads that wait for each other, 0.04 s with one.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@_one_thread()
def classification_metrics(probabilities: Tensor, targets: Tensor) -> dict[str, float]:
    """Compute accuracy, macro-F1 and macro-AUPRC.

    Macro-F1 is the mean over all `K` classes, an undefined one counting 0; macro-AUPRC is the mean
    average precision over the classes with at least one image. All three are NaN when a probability
    is not finite, so that a diverged model never looks like a bad one.

    Args:
        probabilities: `(N, K)` float, `K >= 2`.
        targets: `(N,)` int64 in `[0, K)`.

    Returns:
        `accuracy`, `macro_f1` and `macro_auprc`.
    """
    if not torch.isfinite(probabilities).all():
        return dict.fromkeys(FIGURES, float("nan"))
    per_class = per_class_metrics(probabilities, targets)
    hits = probabilities.argmax(dim=1).cpu() == targets.cpu()
    return {
        "accuracy": hits.double().mean().item(),
        "macro_f1": per_class["f1"].mean().item(),
        "macro_auprc": per_class["average_precision"].nanmean().item(),
    }


@_one_thread()
def per_class_metrics(probabilities: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """Compute precision, recall, F1, average precision and support of each class.

    Args:
        probabilities: `(N, K)` float, finite, `K >= 2`; the first of equal maxima is predicted.
        targets: `(N,)` int64 in `[0, K)`.

    Returns:
        `precision`, `recall`, `f1` (0 where undefined) and `average_precision` (NaN for a class
        without images), each `(K,)` float64; `support`, `(K,)` int64.
    """
    probabilities, targets = probabilities.detach().cpu(), targets.cpu()
    true_positives, false_positives, support = _count(probabilities, targets)
    return {
        "precision": _divide(true_positives, true_positives + false_positives),
        "recall": _divide(true_positives, support),
        "f1": _divide(2 * true_positives, true_positives + false_positives + support),
        "average_precision": _average_precisions(probabilities, targets),
        "support": support,
    }


def _count(probabilities: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    # As one sample of N positions: the other path of torchmetrics needs N * K * K numbers as soon
    # as torch_xla is installed or deterministic algorithms are on.
    scores = multiclass_stat_scores(
        probabilities.argmax(dim=1)[None],
        targets[None],
        num_classes=probabilities.shape[1],
        average="none",
        multidim_average="samplewise",
    )[0]
    return scores[:, 0], scores[:, 1], scores[:, 4]


def _divide(numerator: Tensor, denominator: Tensor) -> Tensor:
    return numerator.double() / denominator.clamp(min=1)


def _average_precisions(probabilities: Tensor, targets: Tensor) -> Tensor:
    curves = [
        precision_recall_curve(scores, targets == k) for k, scores in enumerate(probabilities.T)
    ]
    return torch.stack([(recall.diff() * -precision[:-1]).sum() for precision, recall in curves])


@_one_thread()
def precision_recall_curve(scores: Tensor, positives: Tensor) -> tuple[Tensor, Tensor]:
    """Trace precision over recall from recall 1 down to recall 0.

    Each recall has one point, that of the highest score which reaches it.

    Args:
        scores: `(N,)` float, any range.
        positives: `(N,)` bool.

    Returns:
        Precision and recall, float64, of one length; both NaN when nothing is positive.
    """
    if not positives.any():
        return torch.full((2,), torch.nan).double(), torch.full((2,), torch.nan).double()
    # Ranks keep order and ties; scores that leave [0, 1] by rounding would be taken for logits.
    ranks = torch.unique(scores, return_inverse=True)[1] / len(scores)
    precision, recall, _ = binary_precision_recall_curve(ranks, positives.long())
    # The curve comes in float32; its recalls are whole hits, so they can be made exact again.
    total = positives.sum()
    hits = (recall.double() * total).round()
    highest = hits.diff(append=hits.new_tensor([-1.0])) != 0
    return precision[highest].double(), hits[highest] / total
