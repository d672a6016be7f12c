"""From checkpoints to a bundle: its files are written, and proved, before it is one."""

import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from fashion.bundles.bundle_files import BundleFiles
from fashion.bundles.manifest import (
    EXPECTED,
    GRAPH,
    HUB_CONFIG,
    HUB_WEIGHTS,
    INT8_GRAPH,
    NAME,
    PHOTOS,
    Calibrated,
    FileFacts,
    Manifest,
    bundle_id,
)
from fashion.bundles.onnx_model import OnnxModel
from fashion.export.card import write_card
from fashion.export.facts import (
    Source,
    attributes,
    calibrated,
    measured,
    predictions_of,
    thresholds,
    training,
)
from fashion.export.graph import Part, read_part, write_graph
from fashion.export.hub_layout import why_not, write_layout
from fashion.export.judged import worth_having
from fashion.export.parity import prove
from fashion.export.parity_photos import ParityPhotos, choose_photos
from fashion.export.place import check_place, unfinished
from fashion.export.quantised import quantised
from fashion.export.run_photos import RunPhotos
from fashion.labelling.bfloat16 import Bfloat16Network
from fashion.labelling.checkpoint_models import CheckpointModel, heads_of, read_alike
from fashion.labelling.hub_models import read_network
from fashion.metrics.predictions import Predictions
from fashion.training.facts import versions
from fashion.wording import many

CARD = "README.md"
LARGE = 1000  # modules; the exporter takes minutes for as many
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Exported:
    """A bundle that was written.

    Attributes:
        path: Its folder.
        id: See `fashion.bundles.manifest.bundle_id`.
        manifest: Its `bundle.json`.
    """

    path: Path
    id: str
    manifest: Manifest


@dataclass(frozen=True)
class _Plan:
    """What is to be written."""

    name: str
    license_id: str | None
    fewer: Mapping[str, RunPhotos]  # int8 and bfloat16, where they are asked for
    sources: Sequence[Source]
    photos: ParityPhotos
    tell: Callable[[str], object]

    @property
    def preprocessing(self) -> dict[str, Any]:
        kept: dict[str, Any] = self.sources[0].checkpoint["preprocessing"]
        return kept


def export(
    ckpt_paths: Sequence[str | Path],
    output: str | Path,
    *,
    name: str | None = None,
    license_id: str | None = None,
    photos: str | Path | None = None,
    int8: bool = False,
    bfloat16: bool = False,
    overwrite: bool = False,
    tell: Callable[[str], object] = log.info,
) -> Exported:
    """Write a bundle.

    Args:
        ckpt_paths: Of one model, or of several whose probabilities are averaged.
        output: The folder, which is there only once it is whole and proved.
        name: What it is called; without it as its folder.
        license_id: Of the weights, such as `mit`; None: none is known.
        photos: See `choose_photos`.
        int8: Add the network in eight bits; see `fashion.export.quantised.quantised`.
        bfloat16: Try `model.safetensors` in bfloat16; see `fashion.export.judged.worth_having`.
        overwrite: Take the place of an older bundle.
        tell: Is handed what is being done, a sentence at a time.

    Raises:
        FileNotFoundError: A checkpoint, the photos or the output's folder isn't there.
        ValueError: Something else is there, checkpoints don't go together, or the bundle wouldn't
            label as they do.
    """
    output = Path(output).expanduser()
    check_place(output, overwrite=overwrite)
    name = name or output.absolute().name
    for key, value in (("name", name), ("license", license_id or "none")):
        if not value.strip() or not value.isprintable():
            raise ValueError(f"{key}={value!r} must be a line of text.")
    sources = [
        Source(Path(path), checkpoint)
        for path, checkpoint in zip(ckpt_paths, read_alike(ckpt_paths), strict=True)
    ]
    _check_preprocessing(sources)
    chosen = choose_photos(sources[0].path, sources[0].checkpoint, photos)
    asked = [key for key, value in (("int8", int8), ("bfloat16", bfloat16)) if value]
    if asked and heads_of(sources[0].checkpoint).attributes:
        raise ValueError(
            f"{asked[0]}=true is for a network of one label, and ckpt_path={str(ckpt_paths[0])!r} "
            f"tells attributes, too; leave {asked[0]} out."
        )
    fewer = {key: _run_photos(key, sources) for key in asked}
    plan = _Plan(name, license_id or None, fewer, sources, chosen, tell)
    with unfinished(output) as folder:
        manifest = _write(folder, plan)
        content = manifest.to_json()
        (folder / NAME).write_bytes(content)
    return Exported(output, bundle_id(content), manifest)


def _run_photos(key: str, sources: Sequence[Source]) -> RunPhotos:
    if len(sources) > 1:
        raise ValueError(f"{key}=true is for one network; pass one ckpt_path.")
    return RunPhotos(sources[0], key)


def _check_preprocessing(sources: Sequence[Source]) -> None:
    first = sources[0]
    for source in sources[1:]:
        one, other = first.checkpoint["preprocessing"], source.checkpoint["preprocessing"]
        for key in one:
            if one[key] != other.get(key):
                raise ValueError(
                    f"ckpt_path={str(source.path)!r} takes photos with {key}={other.get(key)!r}, "
                    f"ckpt_path={str(first.path)!r} with {key}={one[key]!r}, and a bundle decodes "
                    "each photo once. Pass checkpoints that agree, or export each."
                )


def _write(folder: Path, plan: _Plan) -> Manifest:
    """Write all files but `bundle.json`, and return that."""
    parts = [read_part(source.checkpoint) for source in plan.sources]
    reason = why_not(parts)
    _write_networks(folder, plan, parts, has_hub=reason is None)
    _write_photos(folder, plan)
    manifest = Manifest(
        name=plan.name,
        classes=parts[0].class_names,
        preprocessing=plan.preprocessing,
        calibration=calibrated(plan.sources),
        attributes=attributes(plan.sources),
        files=_listed(folder),
    )
    del parts  # the proof needs memory for the checkpoints' own networks
    (folder / NAME).write_bytes(manifest.to_json())
    parity = _prove(folder, plan, has_hub=reason is None)
    for key, add in (("int8", _add_int8), ("bfloat16", _try_bfloat16)):
        if key in plan.fewer:
            manifest, parity[key] = add(folder, plan, manifest)
    test = predictions_of(plan.sources, "test")
    facts = _facts(plan, manifest.calibration, parity, test)
    if reason is not None:
        facts["left_out"] = {"files": [HUB_CONFIG, HUB_WEIGHTS], "why": reason}
    files = _listed(folder)
    manifest = replace(manifest, files=files, facts=facts)
    size = sum(file.bytes for file in files.values())
    card = write_card(manifest, test, num_files=len(files) + 2, num_bytes=size)
    (folder / CARD).write_text(card, encoding="utf-8")
    return replace(manifest, files=_listed(folder))


def _write_networks(folder: Path, plan: _Plan, parts: Sequence[Part], *, has_hub: bool) -> None:
    names = " and ".join(part.backbone for part in parts)
    is_large = any(sum(1 for _ in part.network.modules()) > LARGE for part in parts)
    minutes = " This takes minutes." if is_large else ""
    plan.tell(f"Bringing {names} into ONNX.{minutes}")
    (folder / GRAPH).parent.mkdir()
    write_graph(parts, folder / GRAPH, plan.name, plan.preprocessing)
    if has_hub:
        write_layout(parts[0], folder, plan.preprocessing, plan.license_id)


def _prove(folder: Path, plan: _Plan, *, has_hub: bool) -> dict[str, Any]:
    """Return what the gate has measured, and write what the self-test is to give."""
    chosen, odd = len(plan.photos.chosen), len(plan.photos.odd)
    plan.tell(f"Proving it on {many(chosen, 'photo')} {plan.photos.source} and {odd} odd ones.")
    models = [CheckpointModel(each.checkpoint, torch.device("cpu")) for each in plan.sources]
    proof = prove(folder, models, plan.photos, has_hub=has_hub)
    text = json.dumps(proof.selftest, indent=1) + "\n"
    (folder / EXPECTED).write_text(text, encoding="utf-8")
    return proof.facts


def _facts(
    plan: _Plan, calibration: Calibrated, parity: dict[str, Any], test: Predictions | None
) -> dict[str, Any]:
    """Return what `bundle.json` says for people."""
    if test is not None:
        plan.tell(f"Computing the intervals of {many(len(test.targets), 'test photo')}.")
    trained = [training(source) for source in plan.sources]
    runs = trained[0] if len(trained) == 1 else {"runs": trained}
    return {
        "created": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "fashion": versions().get("fashion"),
        "thresholds": thresholds(calibration),
        "metrics": None if test is None else measured(test),
        "training": {**runs, "versions": versions()},
        "parity": parity,
        "license": {"weights": plan.license_id},
    }


def _add_int8(folder: Path, plan: _Plan, manifest: Manifest) -> tuple[Manifest, dict[str, Any]]:
    """Add the network in eight bits; return the manifest with its calibration, and its figures."""
    plan.tell("Bringing it into eight bits, and labelling the validation split by both.")
    graph = (folder / GRAPH).read_bytes()
    temperature = manifest.calibration.temperature or 1.0
    small, calibration, facts = quantised(
        graph, plan.fewer["int8"], temperature, len(manifest.classes)
    )
    (folder / INT8_GRAPH).write_bytes(small)
    return replace(manifest, int8=calibration), facts


def _try_bfloat16(folder: Path, plan: _Plan, manifest: Manifest) -> tuple[Manifest, dict[str, Any]]:
    """Return the manifest with the calibration of its network in bfloat16, and the figures."""
    if HUB_WEIGHTS not in manifest.files:
        raise ValueError(
            f"bfloat16=true: the bundle has no {HUB_WEIGHTS} to compute. Leave bfloat16 out."
        )
    plan.tell("Compiling it in bfloat16, and labelling the validation split by both.")
    files = BundleFiles(folder, key="output")
    network = Bfloat16Network(*read_network(files), plan.preprocessing["input_size"])
    verdict = worth_having("bfloat16", OnnxModel(files), network, plan.fewer["bfloat16"])
    temperature = manifest.calibration.temperature or 1.0
    return replace(manifest, bfloat16=verdict.calibrated(temperature)), verdict.facts


def _write_photos(folder: Path, plan: _Plan) -> None:
    (folder / PHOTOS).mkdir(parents=True)
    for photo in plan.photos.odd:
        (folder / PHOTOS / photo.name).write_bytes(photo.read())


def _listed(folder: Path) -> dict[str, FileFacts]:
    """Return hash and size of each file that is there, but for `bundle.json`."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    names = [path.relative_to(folder).as_posix() for path in paths]
    return {
        name: FileFacts(_digest(path), path.stat().st_size)
        for name, path in zip(names, paths, strict=True)
        if name != NAME
    }


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
