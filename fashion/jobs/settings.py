"""What a job is asked for: what changes its results, and how it is done."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

ENGINES = ("local", "ray")


@dataclass(frozen=True, kw_only=True)
class JobSettings:
    """What decides the results, and can't change within a job.

    Attributes:
        bundle: Its id, see `fashion.bundles.manifest.bundle_id`.
        int8: Whether its quantised network labels.
        dtype: What the other one is computed in.
        precision: That sure labels are to have; None where none are marked.
        batch_size: Photos that are computed at once; last digits depend on it.
        shard: Photos of a file of results; the last digits depend on it where it is no multiple of
            `batch_size`.
        probabilities: Whether all probabilities are kept.
        zip_encoding: The code page of names in zips that are no UTF-8.
        names: The SHA-256 of the CSV of products' names, if one is passed.
        input: Where the photos are, as absolute paths.
    """

    bundle: str
    int8: bool = False
    dtype: str = "float32"
    precision: float | None = None
    batch_size: int = 64
    shard: int = 1024
    probabilities: bool = False
    zip_encoding: str | None = None
    names: str | None = None
    input: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what can't be.

        Raises:
            ValueError: A number is out of its range.
        """
        for key in ("batch_size", "shard"):
            if getattr(self, key) < 1:
                raise ValueError(f"{key}={getattr(self, key)} must be a whole number from 1.")

    def to_json(self) -> dict[str, Any]:
        """Return them for a file."""
        return {**asdict(self), "input": [*self.input]}

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> "JobSettings":
        """Read what `to_json` returned.

        Raises:
            KeyError: As TypeError, it is something else.
        """
        return cls(**{**told, "input": tuple(told["input"])})

    def differences(self, other: "JobSettings", *, grows: bool) -> list[str]:
        """Name what differs from another job's.

        Args:
            other: That of the other job.
            grows: The input may differ, and the names of what it has gained.
        """
        mine, others = asdict(self), asdict(other)
        free = {"input"} if grows else set()
        if grows and mine["names"] and others["names"]:
            free.add("names")
        return [key for key in mine if mine[key] != others[key] and key not in free]


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How a job is done; whatever it is, the results are the same.

    Attributes:
        engine: Of `ENGINES`.
        ray_address: Of the cluster that is joined; None starts one on this machine.
        workers: Processes that label; None: as many as suit the cores or the cluster.
        photo_s: Seconds that reading and decoding a photo may take.
    """

    engine: str = "local"
    ray_address: str | None = None
    workers: int | None = None
    photo_s: float = 20.0

    def __post_init__(self) -> None:
        """Refuse what can't be.

        Raises:
            ValueError: A setting is out of its range, or says nothing beside another.
        """
        if self.engine not in ENGINES:
            raise ValueError(f"engine={self.engine!r} must be one of {', '.join(ENGINES)}.")
        if self.ray_address is not None and self.engine != "ray":
            raise ValueError(f"ray_address={self.ray_address!r} is for engine=ray; pass that, too.")
        if self.workers is not None and self.workers < 1:
            raise ValueError(f"workers={self.workers} must be a whole number from 1.")
        if not 0 < self.photo_s < math.inf:
            raise ValueError(f"photo_s={self.photo_s} must be above 0.")
