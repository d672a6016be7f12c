"""The model that is served, and how another takes its place."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

from fashion.bundles.bundle_files import BundleFiles
from fashion.bundles.onnx_model import OnnxModel
from fashion.bundles.verify import verify

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class ServedModel:
    """A bundle that has passed its self-test here.

    Attributes:
        network: What computes its probabilities.
        name: What it is called.
        id: See `fashion.bundles.manifest.bundle_id`.
        int8: Whether its quantised network is served.
        precision: That sure labels are to have; None where none are marked.
        threshold: The confidence that a sure label has at least.
        named_threshold: The same of labels by photo and name; None where it isn't known.
        metrics: What was measured of it, as `bundle.json` has it.
    """

    network: OnnxModel
    name: str
    id: str
    int8: bool
    precision: float | None
    threshold: float | None
    metrics: Mapping[str, Any] | None
    named_threshold: float | None = None


def load(bundle: Path, *, int8: bool = False, precision: float | None = None) -> ServedModel:
    """Load a bundle and let it prove itself.

    Raises:
        FileNotFoundError: There is nothing.
        ValueError: It is no bundle, damaged, labels other than it did when it was made, or can't
            reach the precision.
    """
    files = BundleFiles(bundle)
    network = OnnxModel(files, int8=int8)
    threshold = None if precision is None else network.threshold(precision)
    verdict = verify(files, int8=int8, model=network)
    if verdict.faults:
        raise ValueError(
            f"{files.subject} doesn't pass its own test: {' '.join(verdict.faults)} "
            "fashion verify tells more."
        )
    return ServedModel(
        network=network,
        name=files.manifest.name,
        id=files.id,
        int8=int8,
        precision=precision,
        threshold=threshold,
        metrics=files.manifest.facts.get("metrics"),
        named_threshold=_named_threshold(network, precision),
    )


def _named_threshold(network: OnnxModel, precision: float | None) -> float | None:
    if precision is None or network.names is None:
        return None
    return network.names.threshold(precision)


class Models:
    """The model of now.

    Args:
        first: With which it begins.
        bundle: Where the next one is looked for.

    Attributes:
        current: The model that photos are labelled by from now on.
        failure: Why the last bundle was refused; None if it wasn't.
    """

    def __init__(self, first: ServedModel, bundle: Path) -> None:
        self.current = first
        self.failure: str | None = None
        self._bundle = bundle
        self._loading = Lock()

    def reload(self) -> bool:
        """Load the bundle again, and serve it if it passes its test; it takes seconds.

        Returns:
            Whether it took the place of the one before. Photos that were decoded for that one are
            still labelled by it.
        """
        with self._loading:
            before = self.current
            try:
                self.current = load(self._bundle, int8=before.int8, precision=before.precision)
            except Exception as error:
                is_told = isinstance(error, ValueError | OSError)
                self.failure = str(error)
                log.error("%s stays, for the bundle was refused: %s", before.id, error,
                          exc_info=None if is_told else error)  # fmt: skip
                return False
            self.failure = None
            log.warning("%s is served from now on, after %s.", self.current.id, before.id)
            return True
