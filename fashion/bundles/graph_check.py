"""A look at a stranger's ONNX graph before an engine parses it."""

import json
from collections.abc import Iterator, Sequence

import onnx

DOMAINS = {"", "ai.onnx"}  # of operators that every engine has, and that do nothing but compute
IMAGES, PROBABILITIES = "images", "probabilities"
CLASSES, ATTRIBUTES = "fashion.classes", "fashion.attributes"  # keys of the graph's metadata


def check_graph(content: bytes, subject: str, shape: Sequence[int | None], classes: int) -> None:
    """Refuse a graph that is more than arithmetic on its own numbers, or no labeller of photos.

    Args:
        content: The ONNX file.
        subject: How it is told in messages.
        shape: Of the photos that it is to take, None for the batch.
        classes: How many probabilities it is to return.

    Raises:
        ValueError: It is no ONNX, has operators beside those of ONNX itself, functions, numbers in
            other files, or other inputs or outputs than `(B, H, W, 3)` uint8 and `(B, K)` float32.
    """
    try:
        model = onnx.load_model_from_string(content)
    except Exception as error:  # protobuf's own, which is no ValueError
        raise ValueError(f"{subject} is no ONNX graph ({error}).") from error
    strange = {each.domain for each in model.opset_import} | {
        node.domain for graph in _graphs(model.graph) for node in graph.node
    }
    if strange - DOMAINS:
        raise ValueError(
            f"{subject} asks for operators of {', '.join(map(repr, sorted(strange - DOMAINS)))}, "
            "which no bundle needs; it isn't loaded."
        )
    if model.functions or model.training_info:
        raise ValueError(f"{subject} has functions or a training, which no bundle needs.")
    if any(_is_elsewhere(tensor) for tensor in _tensors(model.graph)):
        raise ValueError(f"{subject} takes numbers from other files; it isn't loaded.")
    inputs, outputs = (
        [_facts(value) for value in values] for values in (model.graph.input, model.graph.output)
    )
    wanted_in = [(IMAGES, onnx.TensorProto.UINT8, tuple(shape))]
    wanted_out = [(PROBABILITIES, onnx.TensorProto.FLOAT, (None, classes))]
    if inputs != wanted_in or outputs != wanted_out:
        raise ValueError(
            f"{subject} isn't one that labels photos of {tuple(shape[1:])} as {classes} classes."
        )


def labels_in(content: bytes, key: str = CLASSES) -> object:
    """Return the classes that a graph names in its metadata; None where it names none.

    Args:
        content: The ONNX file.
        key: `CLASSES`, or `ATTRIBUTES` for the values of each attribute.
    """
    for entry in onnx.load_model_from_string(content).metadata_props:
        if entry.key == key:
            try:
                return json.loads(entry.value)
            except ValueError:
                return None
    return None


def _facts(value: onnx.ValueInfoProto) -> tuple[str, int, tuple[int | None, ...]]:
    tensor = value.type.tensor_type
    shape = [each.dim_value if each.HasField("dim_value") else None for each in tensor.shape.dim]
    return value.name, tensor.elem_type, tuple(shape)


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """Yield a graph and those inside its nodes."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                if inner.node or inner.initializer:
                    yield from _graphs(inner)


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    for each in _graphs(graph):
        yield from each.initializer
        for sparse in each.sparse_initializer:
            yield from (sparse.values, sparse.indices)
        for node in each.node:
            for attribute in node.attribute:
                yield from (attribute.t, *attribute.tensors)
                for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                    yield from (sparse.values, sparse.indices)


def _is_elsewhere(tensor: onnx.TensorProto) -> bool:
    is_external: bool = tensor.data_location == onnx.TensorProto.EXTERNAL or bool(
        tensor.external_data
    )
    return is_external
