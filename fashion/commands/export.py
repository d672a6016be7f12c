"""`fashion export`: a bundle of checkpoints."""

import logging
import sys
from collections.abc import Mapping
from typing import Any

from fashion.commands.words import truth
from fashion.export.export import Exported, export
from fashion.files import size_text
from fashion.metrics.metrics import FIGURES
from fashion.wording import many


def run(settings: dict[str, Any], files: list[str]) -> None:
    """Export checkpoints."""
    logging.basicConfig(level="WARNING", format="%(message)s")
    try:
        exported = export(
            settings["ckpt_path"],
            settings["output"],
            name=settings.get("name"),
            license_id=settings.get("license"),
            photos=settings.get("photos"),
            int8=truth("int8", settings),
            bfloat16=truth("bfloat16", settings),
            overwrite=truth("overwrite", settings),
            tell=_tell,
        )
    except KeyboardInterrupt:
        sys.exit(f"Stopped; {settings['output']} is as it was.")
    sys.stdout.write("".join(f"{line}\n" for line in _lines(exported)))


def _tell(sentence: str) -> None:
    sys.stderr.write(f"{sentence}\n")


def _lines(exported: Exported) -> list[str]:
    manifest = exported.manifest
    size = size_text(sum(file.bytes for file in manifest.files.values()))
    return [
        f"{exported.path}: {manifest.name}, {len(manifest.files) + 1} files of {size}",
        f"id: {exported.id}",
        _figures(manifest.facts["metrics"]),
        _parity(manifest.facts["parity"]),
        *([_fewer("int8", manifest.facts["parity"])] if manifest.int8 else []),
        *([_fewer("bfloat16", manifest.facts["parity"])] if manifest.bfloat16 else []),
    ]


def _figures(metrics: Mapping[str, Any] | None) -> str:
    if metrics is None:
        return "No figures: the run's folder has no predictions of the test split."
    each = (
        f"{name} {metrics[name]['value']:.4f} ({metrics[name]['low']:.4f} to "
        f"{metrics[name]['high']:.4f})"
        for name in FIGURES
    )
    return f"test: {', '.join(each)}"


def _parity(parity: Mapping[str, Any]) -> str:
    near = f", {parity['near_ties']} nearly tied ones another" if parity["near_ties"] else ""
    return (
        f"As the checkpoint on {many(parity['photos'], 'photo')} {parity['source']} and "
        f"{parity['odd_photos']} odd ones: probabilities within {parity['max_difference']:.1e}, "
        f"{parity['same_label']} labels the same{near}, {parity['unreadable']} unreadable for both."
    )


def _fewer(name: str, parity: Mapping[str, Any]) -> str:
    facts = parity[name]
    accuracy = facts["accuracy"]
    return (
        f"{name}: {facts['speed']:.2f} times as fast here, accuracy {accuracy[name]:.4f} where "
        f"float32 has {accuracy['float32']:.4f}, on {many(facts['photos'], 'validation photo')}."
    )
