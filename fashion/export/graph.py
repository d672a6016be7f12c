"""From checkpoints to one ONNX graph: photos in, calibrated probabilities out."""

import json
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import onnx
import onnxscript  # noqa: F401 - PyTorch's exporter needs it, and asks for it late
import torch
from torch import Tensor, nn

from fashion.attributes import Heads
from fashion.bundles.graph_check import ATTRIBUTES, CLASSES, IMAGES, PROBABILITIES
from fashion.bundles.manifest import MAX_FILE_BYTES
from fashion.labelling.checkpoint_models import (
    heads_of,
    load_attribute_calibrations,
    load_calibration,
)
from fashion.models.backbone import normalise, plain_network
from fashion.models.weights import PREFIX

EXAMPLE_PHOTOS = 2  # with one the exporter would take the batch for a constant


@dataclass(frozen=True, eq=False)
class Part:
    """A checkpoint's network, plain as timm builds it, and what goes with it.

    Attributes:
        backbone: timm's name, with the tag of its first weights.
        network: In evaluation mode, from normalised photos to logits.
        mean: As `fashion.models.backbone.normalisation` returns it; the next as well.
        std: See above.
        temperatures: By which each head's logits are divided; 1 where none is known.
        heads: What the logits stand for.
    """

    backbone: str
    network: nn.Module
    mean: Tensor
    std: Tensor
    temperatures: tuple[float, ...]
    heads: Heads

    @property
    def class_names(self) -> tuple[str, ...]:
        """The K labels in the order of the logits."""
        return self.heads.class_names

    @property
    def temperature(self) -> float:
        """That of the label's head."""
        return self.temperatures[0]


def read_part(checkpoint: Mapping[str, Any]) -> Part:
    """Rebuild a checkpoint's network from its architecture.

    Args:
        checkpoint: As `fashion.models.checkpoints.read` returns it.

    Raises:
        ValueError: Its weights aren't those of its network, or its calibration is none.
    """
    settings = checkpoint["hyper_parameters"]
    backbone, heads = settings["backbone"], heads_of(checkpoint)
    others = load_attribute_calibrations(checkpoint)
    calibrations = [load_calibration(checkpoint), *map(others.get, heads.attributes)]
    network = plain_network(backbone, heads.width, checkpoint["preprocessing"]["input_size"])
    state = checkpoint["state_dict"]
    own = {key.removeprefix(PREFIX): state[key] for key in state if key.startswith(PREFIX)}
    try:
        network.load_state_dict(own)
    except RuntimeError as error:
        raise ValueError(
            f"A checkpoint's weights don't fit its own model {backbone!r} "
            f"({' '.join(str(error).split())[:200]}). Pass another one."
        ) from error
    temperatures = tuple(each.temperature if each else 1.0 for each in calibrations)
    return Part(backbone, network.eval(), state["mean"], state["std"], temperatures, heads)


class ProbabilityNetwork(nn.Module):
    """What the graph computes: the mean of calibrated probabilities.

    Args:
        parts: One or several, of the same classes in any order; that of the first is the graph's.
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(part.network for part in parts)
        self.temperatures = [part.temperatures for part in parts]
        self.heads = [part.heads for part in parts]
        labels = parts[0].heads.labels
        for number, part in enumerate(parts):
            self.register_buffer(f"mean{number}", part.mean.clone())
            self.register_buffer(f"std{number}", part.std.clone())
            is_in_order = part.heads.labels == labels
            columns = torch.tensor([part.heads.labels.index(label) for label in labels])
            self.register_buffer(f"columns{number}", None if is_in_order else columns)

    def forward(self, images: Tensor) -> Tensor:
        """Return probabilities `(B, W)` for uint8 `images` `(B, H, W, 3)`."""
        photos = images.permute(0, 3, 1, 2)
        parts = [
            self._probabilities(number, network, photos)
            for number, network in enumerate(self.networks)
        ]
        return parts[0] if len(parts) == 1 else torch.stack(parts).mean(dim=0)

    def _probabilities(self, number: int, network: nn.Module, photos: Tensor) -> Tensor:
        mean, std, columns = (
            getattr(self, f"{name}{number}") for name in ("mean", "std", "columns")
        )
        logits = self.heads[number].outputs(network(normalise(photos, mean, std)))
        told = [
            (of_head / temperature).softmax(dim=1)
            for of_head, temperature in zip(logits, self.temperatures[number], strict=True)
        ]
        probabilities: Tensor = told[0] if len(told) == 1 else torch.cat(told, dim=1)
        return probabilities if columns is None else probabilities[:, columns]


def write_graph(
    parts: Sequence[Part], path: Path, name: str, preprocessing: Mapping[str, Any]
) -> None:
    """Write the graph as one ONNX file that names no place on this machine.

    Args:
        parts: As `ProbabilityNetwork` takes them.
        path: The file.
        name: What the bundle is called.
        preprocessing: Of the photos that it takes.

    Raises:
        ValueError: PyTorch can't bring this network into ONNX, or not into one file.
    """
    backbones = " and ".join(dict.fromkeys(part.backbone for part in parts))
    num_bytes = sum(4 * each.numel() for part in parts for each in part.network.parameters())
    if num_bytes > MAX_FILE_BYTES:
        raise ValueError(
            f"The weights of {backbones} have {num_bytes:,} bytes, more than the "
            f"{MAX_FILE_BYTES:,} that one ONNX file may have. Pass a smaller model, or fewer."
        )
    network = ProbabilityNetwork(parts).eval()
    side = preprocessing["input_size"]
    example = torch.zeros((EXAMPLE_PHOTOS, side, side, 3), dtype=torch.uint8)
    try:
        with _quiet(), torch.no_grad():
            program = torch.onnx.export(
                network,
                (example,),
                input_names=[IMAGES],
                output_names=[PROBABILITIES],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                dynamo=True,
                external_data=False,
                optimize=True,
                verbose=False,
            )
            assert program is not None
            graph = program.model_proto
    except torch.onnx.OnnxExporterError as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"PyTorch can't bring {backbones} into ONNX: {reason}") from error
    _forget_origins(graph)
    temperatures = [part.temperature for part in parts]
    facts = {
        "fashion.schema": "1",
        "fashion.name": name,
        CLASSES: json.dumps(parts[0].class_names, ensure_ascii=False),
        "fashion.preprocessing": json.dumps(dict(preprocessing)),
        "fashion.temperature": json.dumps(temperatures if len(parts) > 1 else temperatures[0]),
    }
    if attributes := parts[0].heads.plain():
        facts[ATTRIBUTES] = json.dumps(attributes, ensure_ascii=False)
    onnx.helper.set_model_props(graph, facts)
    path.write_bytes(graph.SerializeToString(deterministic=True))


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's notes on itself, which no user can act on, from screen and log."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _forget_origins(model: onnx.ModelProto) -> None:
    """Drop the notes of where each operator was written, which have paths of this machine."""
    graph = model.graph
    del model.metadata_props[:], graph.metadata_props[:]
    for each in (*graph.node, *graph.input, *graph.output, *graph.initializer, *graph.value_info):
        del each.metadata_props[:]
        each.ClearField("doc_string")
