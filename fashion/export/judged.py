"""Whether a bundle's network in fewer bits is worth having: as good, and faster, here."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fashion.bundles.manifest import Calibrated
from fashion.export.run_photos import Batch, RunPhotos
from fashion.metrics.calibration import calibration_error, fit_calibration
from fashion.metrics.intervals import compare_pairs
from fashion.metrics.scaling import Calibration

MOST_LOST = 0.003  # of the accuracy
LEAST_SPEED = 1.3  # times that of float32, or it isn't worth a choice


class Network(Protocol):
    """What labels squares `(B, H, W, 3)` by probabilities `(B, K)`."""

    def probabilities(self, photos: NDArray[np.uint8], /) -> NDArray[np.float32]:
        """Return the probabilities."""


@dataclass(frozen=True)
class Verdict:
    """What the whole validation split says of a network in fewer bits beside that in float32.

    Attributes:
        calibration: Of the former; its temperature is on top of the other's.
        facts: For `bundle.json`.
        faults: Why it isn't worth having, in words.
    """

    calibration: Calibration
    facts: dict[str, Any]
    faults: list[str]

    def calibrated(self, temperature: float) -> Calibrated:
        """Return what a bundle keeps of it; logits were divided by a temperature before."""
        own = self.calibration
        return Calibrated(
            temperature=temperature * own.temperature, photos=len(own.hits), curve=own.curve()
        )


def worth_having(name: str, float32: Network, fewer: Network, photos: RunPhotos) -> Verdict:
    """Hold a network in fewer bits to the one in float32 on a run's whole validation split.

    Args:
        name: Of its type, as the setting that asks for it is called.
        float32: The other.
        fewer: That network.
        photos: The run's.

    Raises:
        ValueError: It loses accuracy, or isn't faster here.
    """
    verdict = judge(name, float32, fewer, photos.batches("val", f"Validating {name}"))
    if verdict.faults:
        raise ValueError(
            f"{name}=true: on {verdict.facts['photos']:,} validation photos the network in {name} "
            f"isn't worth having: {'; '.join(verdict.faults)}. Leave {name} out."
        )
    return verdict


def judge(name: str, float32: Network, fewer: Network, validation: Iterable[Batch]) -> Verdict:
    """Label the validation split by both, batch by batch in turn, and compare figures and time."""
    networks = {"float32": float32, name: fewer}
    seconds = dict.fromkeys(networks, 0.0)
    parts: dict[str, list[NDArray[np.float32]]] = {each: [] for each in networks}
    targets: list[NDArray[np.int64]] = []
    for squares, classes in validation:
        if not targets:  # the first call may compile
            for network in networks.values():
                network.probabilities(squares)
        targets.append(classes)
        for each, network in networks.items():
            started = time.perf_counter()
            parts[each].append(network.probabilities(squares))
            seconds[each] += time.perf_counter() - started
    truth = np.concatenate(targets)
    before, after = (np.concatenate(parts[each]) for each in networks)
    hits = {each: np.concatenate(parts[each]).argmax(axis=1) == truth for each in networks}
    calibration = fit_calibration(after, truth)
    facts = {
        "photos": len(truth),
        "accuracy": {each: float(hit.mean()) for each, hit in hits.items()},
        "mcnemar_p": float(compare_pairs(hits)["p"].iloc[0]),
        "calibration_error": {
            "float32": calibration_error(before, truth),
            name: calibration_error(calibration.calibrate(after), truth),
        },
        "speed": seconds["float32"] / seconds[name],
    }
    return Verdict(calibration, facts, list(_faults(name, facts)))


def _faults(name: str, facts: dict[str, Any]) -> Iterator[str]:
    lost = facts["accuracy"]["float32"] - facts["accuracy"][name]
    if lost > MOST_LOST:
        yield f"it loses {100 * lost:.2f} points of accuracy, more than {100 * MOST_LOST:.1f}"
    elif lost > 0 and facts["mcnemar_p"] < 0.05:
        yield f"it is less often right, which is no chance (p = {facts['mcnemar_p']:.3f})"
    if facts["speed"] < LEAST_SPEED:
        yield f"it is {facts['speed']:.2f} times as fast on this machine, less than {LEAST_SPEED}"
