"""What is said of photos and of the model, in the form of the API."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from fashion.attributes import Heads
from fashion.service.models import ServedModel
from fashion.service.photos import Labelled, Outcome
from fashion.service.settings import Limits
from fashion.tables import attribute_columns


class Label(BaseModel):
    """A class, and how likely it is."""

    label: str
    probability: float


class PhotoError(BaseModel):
    """Why a photo has no labels."""

    code: str
    detail: str


class PhotoLabels(BaseModel):
    """What became of one photo: labels or an error."""

    photo: str = Field(description="Its name as it was sent.")
    sha256: str | None = None
    width: int | None = Field(None, description="In pixels, by the file's header.")
    height: int | None = None
    labels: list[Label] | None = Field(None, description="The likeliest first.")
    attributes: dict[str, Label] | None = Field(
        None, description="The likeliest value of each, where the model tells some."
    )
    sure: bool | None = Field(None, description="Given where the service has a precision.")
    name_used: bool | None = Field(None, description="Given where the product's name was sent.")
    review: str | None = Field(None, description="unsure or blind: kept for a person to look at.")
    error: PhotoError | None = None


class ModelName(BaseModel):
    """The model that labelled."""

    name: str
    id: str
    precision: float | None
    threshold: float | None


class Prediction(BaseModel):
    """The reply of /v1/predict."""

    model: ModelName
    photos: list[PhotoLabels]


class ModelFacts(ModelName):
    """The reply of /v1/model."""

    classes: list[str]
    attributes: dict[str, list[str]] | None = None
    attribute_columns: list[tuple[str, str]] | None = Field(
        None, description="The columns of `fashion predict` for each attribute."
    )
    preprocessing: dict[str, Any]
    metrics: dict[str, Any] | None
    engine: str
    int8: bool
    limits: dict[str, float]
    review: bool
    names: str | None = Field(None, description="What is masked in names, where it reads some.")


class ProblemFacts(BaseModel):
    """An error, as application/problem+json."""

    type: str
    title: str
    status: int
    code: str
    detail: str


def model_name(model: ServedModel) -> dict[str, Any]:
    """Return a `ModelName`."""
    return {
        "name": model.name,
        "id": model.id,
        "precision": model.precision,
        "threshold": model.threshold,
    }


def model_facts(model: ServedModel, limits: Limits, *, review: bool) -> dict[str, Any]:
    """Return a `ModelFacts`."""
    attributes = model.network.heads.plain()
    columns = attribute_columns(attributes)
    return {
        **model_name(model),
        "classes": list(model.network.class_names),
        **({"attributes": attributes, "attribute_columns": columns} if attributes else {}),
        "preprocessing": dict(model.network.preprocessing),
        "metrics": model.metrics,
        "engine": model.network.engine,
        "int8": model.int8,
        "limits": {
            "max_mb": limits.max_mb,
            "max_pixels": limits.max_pixels,
            "max_photos": limits.max_photos,
            "max_request_mb": limits.max_request_mb,
        },
        "review": review,
        **({"names": names.mask.kind} if (names := model.network.names) else {}),
    }


def photo_labels(
    name: str, outcome: Outcome, model: ServedModel, top: int, review: str | None = None
) -> dict[str, Any]:
    """Return a `PhotoLabels`, without what it doesn't have."""
    if not isinstance(outcome, Labelled):
        error = {"code": outcome.code, "detail": f"{name} {outcome.reason}"}
        return {"photo": name, "error": error}
    told: dict[str, Any] = {
        "photo": name,
        "sha256": outcome.sha256,
        "width": outcome.width,
        "height": outcome.height,
        "labels": [
            {"label": label, "probability": round(probability, 6)}
            for label, probability in likeliest(model.network.heads, outcome, top)
        ],
    }
    heads = model.network.heads
    values = zip(heads.attributes, heads.values(outcome.probabilities), strict=True)
    if heads.attributes:
        told["attributes"] = {
            name: {"label": value, "probability": round(probability, 6)}
            for name, (value, probability) in values
        }
    if (sure := is_sure(outcome, model)) is not None:
        told["sure"] = sure
    if outcome.name_used is not None:
        told["name_used"] = outcome.name_used
    if review is not None:
        told["review"] = review
    return told


def likeliest(heads: Heads, outcome: Labelled, top: int) -> list[tuple[str, float]]:
    """Return the likeliest classes of a photo, those alike in the order of the classes."""
    probabilities = _of_label(heads, outcome)
    places = np.argsort(-probabilities, kind="stable")[:top]
    return [(heads.class_names[place], float(probabilities[place])) for place in places]


def _of_label(heads: Heads, outcome: Labelled) -> NDArray[np.float32]:
    own: NDArray[np.float32] = heads.outputs(outcome.probabilities[None])[0][0]
    return own


def threshold_of(outcome: Labelled, model: ServedModel) -> float | None:
    """Return the confidence that a photo's label needs; None where nobody asked."""
    return model.named_threshold if outcome.name_used else model.threshold


def is_sure(outcome: Labelled, model: ServedModel) -> bool | None:
    """Return whether the likeliest label is sure enough; None where nobody asked."""
    threshold = threshold_of(outcome, model)
    if threshold is None:
        return None
    return bool(_of_label(model.network.heads, outcome).max() >= threshold)


def health(status: str, more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the reply of /livez and /readyz."""
    return {"status": status, **(more or {})}
