"""A bundle's network, computed by ONNX Runtime on the processor."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fashion.bundles.bundle_files import BundleFiles
from fashion.bundles.engine import onnxruntime
from fashion.bundles.graph_check import IMAGES, PROBABILITIES, check_graph
from fashion.bundles.manifest import GRAPH, INT8_GRAPH
from fashion.cores import usable_cores
from fashion.wording import many

PIXELS = 8 * 224 * 224  # computed at once: what lies between layers stays in the caches


class OnnxGraph:
    """A graph that is checked, and ready to compute.

    Args:
        content: The ONNX file.
        subject: How it is told in messages.
        side: Of the photos that it takes, in pixels.
        num_classes: How many probabilities it returns.
        threads: That compute it; None: as many as there are cores.

    Raises:
        ValueError: It isn't safe, takes or gives something else, or doesn't run here.
    """

    def __init__(
        self, content: bytes, subject: str, side: int, num_classes: int, threads: int | None = None
    ) -> None:
        check_graph(content, subject, (None, side, side, 3), num_classes)
        self._batch_size = max(1, PIXELS // side**2)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or usable_cores()
        options.inter_op_num_threads = 1
        options.log_severity_level = 3  # errors, which are raised anyway
        try:
            self._session = onnxruntime.InferenceSession(
                content, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its errors are of a dozen classes without a common one
            reason = " ".join(str(error).split())[:200]
            raise ValueError(f"{subject} can't be computed here: {reason}") from error

    def probabilities(self, photos: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return calibrated probabilities `(B, W)` for `photos` `(B, H, W, 3)`, `B >= 1`."""
        parts = [
            self._session.run([PROBABILITIES], {IMAGES: photos[first : first + self._batch_size]})
            for first in range(0, len(photos), self._batch_size)
        ]
        return np.concatenate([part for (part,) in parts])


class OnnxModel:
    """A bundle's model, ready to label.

    Args:
        files: The bundle's.
        int8: Whether to take its quantised network.
        threads: See `OnnxGraph`.

    Raises:
        ValueError: It has none, or a graph that isn't safe or doesn't run here.

    Attributes:
        class_names: This and the next two: see `fashion.labelling.labeller.Model`.
        heads: See above.
        preprocessing: See above.
        engine: What computes it, in words.
    """

    def __init__(
        self, files: BundleFiles, *, int8: bool = False, threads: int | None = None
    ) -> None:
        manifest = files.manifest
        calibration = manifest.int8 if int8 else manifest.calibration
        if calibration is None:
            raise ValueError(
                f"int8=true: {files.subject} has no quantised network; fashion export int8=true "
                "makes one, or leave int8 out."
            )
        self.class_names: Sequence[str] = manifest.classes
        self.heads = manifest.heads
        self.preprocessing: Mapping[str, Any] = manifest.preprocessing
        self._calibration = calibration
        name = INT8_GRAPH if int8 else GRAPH
        self._graph = OnnxGraph(
            files.read(name),
            f"{files.subject}: {name}",
            manifest.preprocessing["input_size"],
            self.heads.width,
            threads,
        )
        self.engine = (
            f"ONNX Runtime {onnxruntime.__version__} in {'int8' if int8 else 'float32'} on "
            f"{many(threads or usable_cores(), 'core')}"
        )

    def probabilities(self, photos: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return calibrated probabilities; see `OnnxGraph.probabilities`."""
        return self._graph.probabilities(photos)

    def threshold(self, precision: float) -> float:
        """Return the confidence that a label needs; see `Calibrated.threshold`."""
        return self._calibration.threshold(precision)
