"""A bundle's network in eight bits: kept only where it labels as well, and faster, on this machine.

References:
    Jacob et al., Quantization and Training of Neural Networks for Efficient
    Integer-Arithmetic-Only Inference, 2018.
"""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

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
from fashion.export.run_photos import Batch, RunPhotos
from fashion.metrics.calibration import calibration_error, fit_calibration
from fashion.metrics.intervals import compare_pairs
from fashion.metrics.scaling import Calibration

NUM_SAMPLES = 256  # training photos whose values the ranges come from
SAMPLES_AT_ONCE = 8
MOST_LOST = 0.003  # of the accuracy
LEAST_SPEED = 1.3  # times that of float32, or it isn't worth a file


@dataclass(frozen=True)
class Verdict:
    """What the whole validation split says of the quantised network beside the other.

    Attributes:
        calibration: Of the quantised network; its temperature is on top of the graph's.
        facts: For `bundle.json`.
        faults: Why it isn't worth having, in words.
    """

    calibration: Calibration
    facts: dict[str, Any]
    faults: list[str]


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
    verdict = judge(before, after, photos.batches("val", "Validating int8"))
    if verdict.faults:
        raise ValueError(
            f"int8=true: on {verdict.facts['photos']:,} validation photos the network in eight "
            f"bits isn't worth having: {'; '.join(verdict.faults)}. Leave int8 out."
        )
    own = verdict.calibration
    calibrated = Calibrated(
        temperature=temperature * own.temperature, photos=len(own.hits), curve=own.curve()
    )
    return with_temperature(small, own.temperature), calibrated, verdict.facts


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


def judge(float32: OnnxGraph, int8: OnnxGraph, validation: Iterable[Batch]) -> Verdict:
    """Label the validation split by both, batch by batch in turn, and compare figures and time."""
    seconds = {"float32": 0.0, "int8": 0.0}
    parts: dict[str, list[NDArray[np.float32]]] = {name: [] for name in seconds}
    targets = []
    for squares, classes in validation:
        targets.append(classes)
        for name, model in (("float32", float32), ("int8", int8)):
            started = time.perf_counter()
            parts[name].append(model.probabilities(squares))
            seconds[name] += time.perf_counter() - started
    truth = np.concatenate(targets)
    before, after = (np.concatenate(parts[name]) for name in ("float32", "int8"))
    hits = {name: p.argmax(axis=1) == truth for name, p in (("float32", before), ("int8", after))}
    calibration = fit_calibration(after, truth)
    facts = {
        "photos": len(truth),
        "accuracy": {name: float(hit.mean()) for name, hit in hits.items()},
        "mcnemar_p": float(compare_pairs(hits)["p"].iloc[0]),
        "calibration_error": {
            "float32": calibration_error(before, truth),
            "int8": calibration_error(calibration.calibrate(after), truth),
        },
        "speed": seconds["float32"] / seconds["int8"],
        "reduced_range": not has_int8_products(),
    }
    return Verdict(calibration, facts, list(_faults(facts)))


def _faults(facts: dict[str, Any]) -> Iterator[str]:
    lost = facts["accuracy"]["float32"] - facts["accuracy"]["int8"]
    if lost > MOST_LOST:
        yield f"it loses {100 * lost:.2f} points of accuracy, more than {100 * MOST_LOST:.1f}"
    elif lost > 0 and facts["mcnemar_p"] < 0.05:
        yield f"it is less often right, which is no chance (p = {facts['mcnemar_p']:.3f})"
    if facts["speed"] < LEAST_SPEED:
        yield f"it is {facts['speed']:.2f} times as fast on this machine, less than {LEAST_SPEED}"


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
