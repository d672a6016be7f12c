"""`README.md`: what a bundle is, for people, and for model hubs in its first lines."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from huggingface_hub import EvalResult, ModelCardData
from jinja2 import Environment, PackageLoader, StrictUndefined

from fashion.bundles.manifest import Manifest
from fashion.metrics.intervals import wilson
from fashion.metrics.predictions import Predictions, per_class_table
from fashion.wording import many

TAGS = ("image-classification", "fashion", "onnx")
HUB_TAGS = ("timm", "transformers")  # where timm's layout is there
METRICS = {"accuracy": "accuracy", "macro_f1": "f1", "macro_auprc": "average_precision"}
NAMES = {"accuracy": "accuracy", "macro_f1": "macro-F1", "macro_auprc": "macro-AUPRC"}
TRAINING = {
    "backbone": "network",
    "weights": "began with",
    "photos": "photos",
    "epochs": "epochs",
    "config_sha256": "SHA-256 of its settings",
    "split_sha256": "SHA-256 of its splits",
}
DRAWN = ", of a catalogue that the project has drawn: they say nothing of real photos"
FILL = ", and fills the square with the mean colour where this project has white"
MOST_CLASSES = 100  # in a table of all
WEAKEST = 20  # of more classes
# What hubs know; another licence is `other` there, with its name beside it.
HUB_LICENSES = """
apache-2.0 mit openrail bigscience-openrail-m creativeml-openrail-m bigscience-bloom-rail-1.0
bigcode-openrail-m afl-3.0 artistic-2.0 bsl-1.0 bsd bsd-2-clause bsd-3-clause
bsd-3-clause-clear c-uda cc cc0-1.0 cc-by-2.0 cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-sa-3.0
cc-by-sa-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nd-4.0 cc-by-nc-nd-3.0
cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cdla-sharing-1.0
cdla-permissive-1.0 cdla-permissive-2.0 wtfpl ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1
agpl-3.0 gfdl gpl gpl-2.0 gpl-3.0 lgpl lgpl-2.1 lgpl-3.0 isc lppl-1.3c ms-pl mpl-2.0 odc-by
odbl openrail++ osl-3.0 postgresql ofl-1.1 ncsa unlicense zlib pddl lgpl-lr other unknown
"""


def write_card(
    manifest: Manifest, predictions: Predictions | None, *, num_files: int, num_bytes: int
) -> str:
    """Return the card.

    Args:
        manifest: Of the bundle, but for the card's own hash.
        predictions: Of the test split, where they are known.
        num_files: How many files the bundle has, with the card and `bundle.json`.
        num_bytes: What the others take.
    """
    environment = Environment(
        loader=PackageLoader("fashion.export"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"code": _code, "share": _share, "figure": _figure, "small": _small}
    environment.globals |= {"many": many, "NAMES": NAMES, "TRAINING": TRAINING}
    facts, runs = manifest.facts, _runs(manifest)
    fit, classes = manifest.preprocessing["fit"], _classes(predictions)
    is_weakest = len(classes) < len(manifest.classes) and len(classes) == WEAKEST
    text: str = environment.get_template("README.md").render(
        front=_front_matter(manifest),
        manifest=manifest,
        has_hub="left_out" not in facts,
        left_out=facts.get("left_out"),
        runs=runs,
        drawn=DRAWN if any(run["drawn_sample"] for run in runs) else "",
        classes=classes,
        classes_told="Found least often in the test split" if is_weakest else "In the test split",
        num_files=num_files,
        megabytes=f"{num_bytes / 1e6:,.1f}",
        side=manifest.preprocessing["input_size"],
        fit=fit,
        fill=FILL if fit == "pad" else "",
        timm=facts["parity"].get("timm"),
        **{
            key: facts[key]
            for key in ("metrics", "parity", "thresholds", "license", "created", "fashion")
        },
    )
    return text


def _runs(manifest: Manifest) -> list[dict[str, Any]]:
    trained = manifest.facts["training"]
    runs: list[dict[str, Any]] = trained.get("runs", [trained])
    return runs


def _front_matter(manifest: Manifest) -> str:
    facts = manifest.facts
    given = facts["license"]["weights"]
    known = given is None or given.lower() in HUB_LICENSES.split()
    data = ModelCardData(
        library_name="timm" if "left_out" not in facts else None,
        pipeline_tag="image-classification",
        tags=[*TAGS, *(HUB_TAGS if "left_out" not in facts else ())],
        license=given if known else "other",
        license_name=None if known else given,
        model_name=manifest.name,
        eval_results=_results(facts["metrics"]) or None,
    )
    yaml: str = data.to_yaml()
    return yaml.strip()


def _results(metrics: Mapping[str, Any] | None) -> list[EvalResult]:
    if metrics is None:
        return []
    return [
        EvalResult(
            task_type="image-classification",
            dataset_type="image-folder",
            dataset_name="test split of the catalogue that it was trained on",
            metric_type=kind,
            metric_name=NAMES[name],
            metric_value=metrics[name]["value"],
        )
        for name, kind in METRICS.items()
    ]


def _classes(predictions: Predictions | None) -> Sequence[Mapping[Any, Any]]:
    """Return rows on classes, all of them or the weakest: those found least often first."""
    if predictions is None:
        return []
    table = per_class_table(predictions)
    table = table[table["support"] > 0]
    if len(table) > MOST_CLASSES:
        table = table.sort_values("recall", kind="stable").head(WEAKEST)
    ends = [wilson(*row) for row in table[["recall", "support"]].itertuples(index=False)]
    table[["low", "high"]] = np.array(ends) if ends else pd.DataFrame(columns=["low", "high"])
    return table.to_dict("records")


def _code(text: object) -> str:
    """Return a text as code in Markdown, within a table as well."""
    plain = " ".join(str(text).split()).replace("|", "\\|")
    return f"`` {plain} ``" if "`" in plain else f"`{plain}`"


def _share(value: float) -> str:
    return f"{100 * value:.1f} %"


def _figure(value: float) -> str:
    return f"{value:.4f}"


def _small(value: float | None) -> str:
    return "not known" if value is None else f"{value:.1e}"
