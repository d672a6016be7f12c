"""A bundle's network in eight bits: kept only where it labels as well, and faster, on this machine.

References:
    Jacob et al., Quantization and Training of Neural Networks for Efficient
    Integer-Arithmetic-Only Inference, 2018.
"""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import fashion.bundles.engine  # isort: skip - before ONNX Runtime's own parts  # noqa: F401
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

from fashion.bundles.graph_check import DOMAINS, IMAGES, PROBABILITIES
from fashion.bundles.manifest import Calibrated
from fashion.bundles.onnx_model import OnnxGraph
from fashion.cores import has_int8_products
from fashion.export.judged import worth_having
from fashion.export.run_photos import RunPhotos

NUM_SAMPLES = 256  # training photos whose values the ranges come from
SAMPLES_AT_ONCE = 8


def quantised(
    graph: bytes, photos: RunPhotos, temperature: float, num_classes: int
) -> tuple[bytes, Calibrated, dict[str, Any]]:
    """Quantise a graph on training photos, and hold it to the whole validation split.

    Args:
        graph: As `fashion.export.graph.write_graph` writes it.
        photos: Of the run.
        temperature: By which the graph divides its logits.
        num_classes: K.

    Returns:
        The quantised graph, what the validation split says of its probabilities, and the figures.

    Raises:
        ValueError: It isn't worth having, or the graph is that of several networks.
    """
    samples = photos.sample("train", NUM_SAMPLES)
    small, side = quantise(graph, samples), samples.shape[1]
    before, after = (OnnxGraph(each, "the graph", side, num_classes) for each in (graph, small))
    verdict = worth_having("int8", before, after, photos)
    facts = {**verdict.facts, "reduced_range": not has_int8_products()}
    own = verdict.calibration
    return with_temperature(small, own.temperature), verdict.calibrated(temperature), facts


def quantise(graph: bytes, samples: NDArray[np.uint8]) -> bytes:
    """Return a graph whose convolutions multiply bytes, weights a channel at a time.

    What stands before the first convolution and behind the last stays in float32. Where the
    processor sums products of bytes in 16 bits, weights have seven bits, so that no sum overflows.

    Args:
        graph: As `fashion.export.graph.write_graph` writes it.
        samples: Photos `(M, H, W, 3)` by which the ranges of values are set.
    """
    with TemporaryDirectory() as folder:
        source, prepared, target = (Path(folder) / f"{name}.onnx" for name in "abc")
        source.write_bytes(graph)
        quant_pre_process(source, prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            target,
            _Samples(samples),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            reduce_range=not has_int8_products(),
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=_ends(onnx.load(prepared).graph),
            calibrate_method=CalibrationMethod.MinMax,
        )
        model = onnx.load(target)
    props = {entry.key: entry.value for entry in onnx.load_from_string(graph).metadata_props}
    del model.metadata_props[:]
    helper.set_model_props(model, props)
    own = [each for each in model.opset_import if each.domain in DOMAINS]  # others stand there idle
    del model.opset_import[:]
    model.opset_import.extend(own)
    return _written(model)


def with_temperature(graph: bytes, temperature: float) -> bytes:
    """Return a graph whose logits are divided by a further temperature.

    Raises:
        ValueError: It isn't one network whose last step is a softmax.
    """
    model = onnx.load_from_string(graph)
    last = [node for node in model.graph.node if PROBABILITIES in node.output]
    if [node.op_type for node in last] != ["Softmax"]:
        raise ValueError("int8=true is for one network; pass one ckpt_path.")
    (softmax,) = last
    factor = numpy_helper.from_array(np.array(1 / temperature, np.float32), "int8_temperature")
    scaled = helper.make_node("Mul", [softmax.input[0], factor.name], ["int8_logits"])
    softmax.input[0] = scaled.output[0]
    model.graph.initializer.append(factor)
    model.graph.node.insert([*model.graph.node].index(softmax), scaled)
    return _written(model)


class _Samples(CalibrationDataReader):  # type: ignore[misc]  # it isn't typed
    """Hands photos to the quantiser, some at a time."""

    def __init__(self, samples: NDArray[np.uint8]) -> None:
        starts = range(0, len(samples), SAMPLES_AT_ONCE)
        self._batches = iter([samples[first : first + SAMPLES_AT_ONCE] for first in starts])

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        batch = next(self._batches, None)
        return None if batch is None else {IMAGES: batch}


def _written(model: onnx.ModelProto) -> bytes:
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def _ends(graph: onnx.GraphProto) -> list[str]:
    """Return the names of the nodes before the first convolution, and behind the last."""
    places = [place for place, node in enumerate(graph.node) if node.op_type == "Conv"]
    first, last = (places[0], places[-1]) if places else (len(graph.node), -1)
    return [node.name for place, node in enumerate(graph.node) if not first <= place <= last]
