"""`bundle.json`: what a bundle is, holds and was measured to do.

It may come from anyone, so that each part is checked before it is used. Its hash names the bundle:
`files` has the hash of every other file.
"""

import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from PIL import Image

from fashion.attributes import Heads
from fashion.catalogue.images import FITS
from fashion.metrics.scaling import Answered, choose_threshold

SCHEMA = 2  # with attributes; without any a bundle is of the first
NAME = "bundle.json"
GRAPH, INT8_GRAPH = "onnx/model.onnx", "onnx/model_int8.onnx"
HUB_CONFIG, HUB_WEIGHTS = "config.json", "model.safetensors"  # as timm and Transformers read them
EXPECTED = "selftest/expected.json"
PHOTOS = "selftest/photos"
MAX_BYTES = 2**26  # of bundle.json
MAX_FILE_BYTES = 2**31 - 1  # as much as a graph in one file may have
MAX_INPUT_SIZE = 4096
DIGEST = re.compile("[0-9a-f]{64}")


class FileFacts(NamedTuple):
    """A file's SHA-256, in hexadecimal digits, and its size."""

    sha256: str
    bytes: int


@dataclass(frozen=True, kw_only=True)
class Calibrated:
    """What the validation split says of the probabilities.

    Attributes:
        temperature: By which logits were divided; of several networks None, each has its own.
        photos: Of the validation split; 0 where the model was never calibrated.
        curve: See `fashion.metrics.scaling.answered_from`.
    """

    temperature: float | None = None
    photos: int = 0
    curve: tuple[Answered, ...] = ()

    def threshold(self, precision: float) -> float:
        """Return the confidence from which on answers are right as often as is wanted.

        See `fashion.metrics.scaling.choose_threshold`.

        Raises:
            ValueError: The precision is out of range or of reach, or nothing is known.
        """
        if not self.curve:
            raise ValueError(
                f"precision={precision}: the bundle has no calibration, as its checkpoint had none."
            )
        return choose_threshold(self.curve, precision)


class Attribute(NamedTuple):
    """An attribute's values in the order of their probabilities, and what is known of these."""

    values: tuple[str, ...]
    calibration: Calibrated


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The contents of `bundle.json`; keys that aren't known are passed over.

    Attributes:
        name: What the bundle is called.
        classes: The K labels in the order of their probabilities.
        preprocessing: Arguments of `fashion.catalogue.images.decode_image`.
        calibration: See `Calibrated`.
        int8: The same of `INT8_GRAPH`, where that is there.
        bfloat16: The same of `HUB_WEIGHTS` computed in bfloat16, where that was asked for.
        files: The other files by their names, which are paths with slashes.
        attributes: What the network tells beside the classes, by the attribute's name; its
            probabilities stand behind theirs in the same order.
        facts: All else, for people: `created`, `fashion`, `thresholds`, `metrics`, `training`,
            `parity`, `license`.
    """

    name: str
    classes: tuple[str, ...]
    preprocessing: Mapping[str, Any]
    calibration: Calibrated
    files: Mapping[str, FileFacts]
    int8: Calibrated | None = None
    bfloat16: Calibrated | None = None
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def heads(self) -> Heads:
        """What its probabilities stand for."""
        return Heads(self.classes, {name: each.values for name, each in self.attributes.items()})

    def to_json(self) -> bytes:
        """Return the file."""
        attributes = [
            {"name": name, "classes": each.values, "calibration": asdict(each.calibration)}
            for name, each in self.attributes.items()
        ]
        content = {
            **self.facts,
            "schema": SCHEMA if attributes else 1,
            "name": self.name,
            "classes": self.classes,
            **({"attributes": attributes} if attributes else {}),
            "preprocessing": dict(self.preprocessing),
            "calibration": asdict(self.calibration),
            "int8": self.int8 and asdict(self.int8),
            "bfloat16": self.bfloat16 and asdict(self.bfloat16),
            "files": {name: facts._asdict() for name, facts in sorted(self.files.items())},
        }
        return (json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def bundle_id(content: bytes) -> str:
    """Return the id of the bundle that has this `bundle.json`, 64 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def read_manifest(content: bytes, subject: str) -> Manifest:
    """Read `bundle.json`.

    Args:
        content: The file.
        subject: What it is told as, such as `bundle='shoes'`.

    Raises:
        ValueError: It is none, of a later schema, or something in it is wrong.
    """
    try:
        told = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{subject}: {NAME} is no JSON ({error}).") from error
    if not isinstance(told, dict) or "schema" not in told:
        raise ValueError(f"{subject}: {NAME} is that of no bundle; fashion export makes one.")
    schema = told.pop("schema")
    if type(schema) is not int or schema < 1:
        raise ValueError(f"{subject}: schema={schema!r} in {NAME} must be a whole number from 1.")
    if schema > SCHEMA:
        raise ValueError(
            f"{subject} has schema {schema}, and this version of fashion reads schemas up to "
            f"{SCHEMA}; install a later one."
        )
    try:
        fewer = {key: told.pop(key, None) for key in ("int8", "bfloat16")}
        parts = {key: read(told.pop(key)) for key, read in READERS.items()}
        parts |= {key: value and _calibration(value) for key, value in fewer.items()}
        parts["attributes"] = _attributes(told.pop("attributes", []))
    except KeyError as error:
        raise ValueError(f"{subject}: {NAME} lacks {error}.") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{subject}: {NAME} is damaged: {error}.") from error
    return Manifest(**parts, facts=told)


def _name(value: Any) -> str:  # noqa: ANN401 - JSON
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise ValueError(f"name={value!r} is no name")
    return value


def _classes(value: Any) -> tuple[str, ...]:  # noqa: ANN401
    if not isinstance(value, list) or not all(isinstance(each, str) and each for each in value):
        raise ValueError("classes is no list of names")
    if len(value) < 2 or len({*value}) < len(value):
        raise ValueError(f"classes has {len(value)} names, {len({*value})} of them different")
    return tuple(value)


def _attributes(value: Any) -> dict[str, Attribute]:  # noqa: ANN401
    if not isinstance(value, list):
        raise ValueError("attributes is no list")
    attributes = {
        _name(each["name"]): Attribute(_classes(each["classes"]), _calibration(each["calibration"]))
        for each in value
    }
    if len(attributes) < len(value):
        raise ValueError("attributes has a name twice")
    return attributes


def _preprocessing(value: Any) -> dict[str, Any]:  # noqa: ANN401
    side, fit, interpolation = (value[key] for key in ("input_size", "fit", "interpolation"))
    if type(side) is not int or not 1 <= side <= MAX_INPUT_SIZE:
        raise ValueError(f"preprocessing.input_size={side!r} must be from 1 to {MAX_INPUT_SIZE}")
    if fit not in FITS:
        raise ValueError(f"preprocessing.fit={fit!r} must be one of {', '.join(FITS)}")
    names = [each.name.lower() for each in Image.Resampling]
    if interpolation not in names:
        raise ValueError(
            f"preprocessing.interpolation={interpolation!r} must be one of {', '.join(names)}"
        )
    return {"input_size": side, "fit": fit, "interpolation": interpolation}


def _calibration(value: Any) -> Calibrated:  # noqa: ANN401
    temperature, photos = value["temperature"], value["photos"]
    if temperature is not None:
        _share("temperature", temperature, highest=math.inf)
    if type(photos) is not int or photos < 0:
        raise ValueError(f"calibration.photos={photos!r} is no number of photos")
    curve = []
    for row in value["curve"]:
        if not isinstance(row, list) or len(row) != len(Answered._fields):
            raise ValueError("calibration.curve has rows of other than three numbers")
        for name, number in zip(Answered._fields, row, strict=True):
            _share(name, number)
        curve.append(Answered(*row))
    if any(b.precision <= a.precision for a, b in pairwise(curve)):
        raise ValueError("the precisions of calibration.curve don't rise")
    return Calibrated(temperature=temperature, photos=photos, curve=tuple(curve))


def _share(name: str, number: object, highest: float = 1) -> None:
    if type(number) not in (int, float) or not 0 <= number <= highest:  # type: ignore[operator]
        raise ValueError(f"calibration has {name} {number!r}, which is not from 0 to {highest}")


def _files(value: Any) -> dict[str, FileFacts]:  # noqa: ANN401
    files = {}
    for name, facts in value.items():
        path = PurePosixPath(name)
        parts = name.split("/")
        if not name.isprintable() or path.is_absolute() or {"", ".", ".."} & {*parts}:
            raise ValueError(f"files has {name!r}, which is no path inside a bundle")
        if "\\" in name or ":" in name or name == NAME:
            raise ValueError(f"files has {name!r}, which is no path inside a bundle")
        size = facts["bytes"]
        if type(size) is not int or not 0 <= size <= MAX_FILE_BYTES:
            raise ValueError(f"files[{name!r}].bytes={size!r} must be from 0 to {MAX_FILE_BYTES}")
        if not isinstance(facts["sha256"], str) or not DIGEST.fullmatch(facts["sha256"]):
            raise ValueError(f"files[{name!r}].sha256 is no SHA-256")
        files[name] = FileFacts(facts["sha256"], size)
    if GRAPH not in files:
        raise ValueError(f"files lacks {GRAPH}")
    return files


READERS: Mapping[str, Callable[[Any], Any]] = {
    "name": _name,
    "classes": _classes,
    "preprocessing": _preprocessing,
    "calibration": _calibration,
    "files": _files,
}
