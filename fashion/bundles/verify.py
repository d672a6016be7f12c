"""The proof that a bundle is whole, and labels on this machine as where it was made."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from PIL import __version__ as pillow

from fashion.bundles.bundle_files import BundleFiles
from fashion.bundles.graph_check import ATTRIBUTES, labels_in
from fashion.bundles.manifest import EXPECTED, GRAPH, HUB_CONFIG, INT8_GRAPH, PHOTOS
from fashion.bundles.onnx_model import OnnxModel
from fashion.catalogue.images import decode_image, decode_or_say_why
from fashion.wording import many

TOLERANCE = 1e-4  # of a probability, as at export


@dataclass
class SelfTest:
    """What became of the bundle's own photos here.

    Attributes:
        same_pixels: How many decode to the very pixels they had at export.
        other_pixels: How many don't.
        same_refusal: How many are refused, as they were.
        wrong: What is refused here alone, or there alone, in words.
        difference: The largest of a probability where the pixels are the same.
        other_difference: The same where they aren't.
    """

    same_pixels: int = 0
    other_pixels: int = 0
    same_refusal: int = 0
    wrong: list[str] = field(default_factory=list)
    difference: float = 0.0
    other_difference: float = 0.0


@dataclass(frozen=True)
class Verdict:
    """What was found.

    Attributes:
        lines: What is as it should be, or differs, in sentences.
        faults: What is wrong.
    """

    lines: list[str]
    faults: list[str]


def verify(files: BundleFiles, *, int8: bool = False, model: OnnxModel | None = None) -> Verdict:
    """Check each file, the classes in all of them, and the self-test.

    Args:
        files: The bundle's.
        int8: Whether to test the quantised network.
        model: That network, where it is loaded already.

    Raises:
        ValueError: The bundle can't be computed at all.
    """
    lines, faults = _check_files(files)
    if faults:
        return Verdict(lines, faults)
    faults += _check_classes(files)
    model = model or OnnxModel(files, int8=int8)
    test = self_test(files, model)
    told = _told(test, files, model.engine)
    is_equal = test.same_pixels and (test.difference <= TOLERANCE or int8)
    (lines if is_equal else faults).append(told)
    lines += _pixels_told(test, files)
    return Verdict(lines, faults + test.wrong)


def self_test(files: BundleFiles, model: OnnxModel) -> SelfTest:
    """Label the bundle's own photos."""
    test = SelfTest()
    for expected in json.loads(files.read(EXPECTED)):
        content = files.read(f"{PHOTOS}/{expected['photo']}")
        square = decode_or_say_why(partial(decode_image, content, **model.preprocessing))
        if isinstance(square, str) or "error" in expected:
            _compare_refusals(test, expected, square)
            continue
        wanted = np.array(expected["probabilities"], np.float32)
        difference = float(np.abs(model.probabilities(square[None])[0] - wanted).max())
        if hashlib.sha256(square.tobytes()).hexdigest() == expected["pixels_sha256"]:
            test.same_pixels += 1
            test.difference = max(test.difference, difference)
        else:
            test.other_pixels += 1
            test.other_difference = max(test.other_difference, difference)
    return test


def _compare_refusals(
    test: SelfTest, expected: Mapping[str, Any], square: "np.ndarray | str"
) -> None:
    if isinstance(square, str) and "error" in expected:
        test.same_refusal += 1
    elif isinstance(square, str):
        test.wrong.append(f"{expected['photo']} can't be read here: {square}.")
    else:
        test.wrong.append(f"{expected['photo']} is read here, and was refused at export.")


def _check_files(files: BundleFiles) -> tuple[list[str], list[str]]:
    faults = []
    listed = files.manifest.files
    for name in listed:
        try:
            files.read(name)
        except (ValueError, OSError) as error:
            faults.append(str(error))
    size = sum(facts.bytes for facts in listed.values()) / 1e6
    lines = [] if faults else [f"{many(len(listed), 'file')}, {size:,.1f} MB, are as listed."]
    if others := sorted({*files.names()} - {*listed}):
        lines.append(f"Not of the bundle, and not looked at: {', '.join(others[:5])}.")
    return lines, faults


def _check_classes(files: BundleFiles) -> list[str]:
    """Return which files name other classes than the manifest."""
    classes, listed = list(files.manifest.classes), files.manifest.files
    named = {name: labels_in(files.read(name)) for name in (GRAPH, INT8_GRAPH) if name in listed}
    if HUB_CONFIG in listed:
        named[HUB_CONFIG] = json.loads(files.read(HUB_CONFIG)).get("label_names")
    attributes = files.manifest.heads.plain()
    graphs = [name for name in named if name != HUB_CONFIG] if attributes else []
    return [
        f"{name} has other attributes than bundle.json, or in another order."
        for name in graphs
        if json.dumps(labels_in(files.read(name), ATTRIBUTES)) != json.dumps(attributes)
    ] + [
        f"{name} has other classes than bundle.json, or in another order."
        for name, labels in named.items()
        if labels != classes
    ]


def _told(test: SelfTest, files: BundleFiles, engine: str) -> str:
    if not test.same_pixels:
        return f"No photo decodes to the pixels it had at export, so that {engine} isn't tested."
    differs = "agrees" if test.difference <= TOLERANCE else "differs by more than it may"
    return (
        f"On {many(test.same_pixels, 'photo')} with the pixels of export, {engine} {differs}: its "
        f"probabilities are within {test.difference:.1e}."
    )


def _pixels_told(test: SelfTest, files: BundleFiles) -> list[str]:
    if not test.other_pixels:
        return []
    versions: Any = files.manifest.facts.get("training") or {}
    before = (versions.get("versions") or {}).get("pillow", "another version")
    decode = "decodes" if test.other_pixels == 1 else "decode"
    return [
        f"{many(test.other_pixels, 'photo')} {decode} to other pixels here (Pillow {pillow}; at "
        f"export {before}), by which probabilities differ by up to {test.other_difference:.1e}."
    ]
