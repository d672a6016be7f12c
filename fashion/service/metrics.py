"""What is counted for Prometheus; no label holds a name, an address or other free text."""

from collections.abc import Sequence

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

from fashion.service.models import ServedModel

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """The counters of one service.

    Attributes:
        requests: By route and status.
        seconds: That requests took.
        photos: By what became of them.
        labels: By the likeliest class.
        confidence: Of the likeliest class.
        batch: Photos that were computed together.
        waiting: Photos that wait or are computed.
        reloads: Of the bundle, by whether it was taken.
    """

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.requests = Counter(
            "fashion_requests", "Requests.", ("route", "status"), registry=registry
        )
        self.seconds = Histogram(
            "fashion_request_seconds", "From header to reply.", buckets=SECONDS, registry=registry
        )
        self.photos = Counter(
            "fashion_photos", "Photos by what became of them.", ("outcome",), registry=registry
        )
        self.labels = Counter(
            "fashion_labels", "Photos by their likeliest label.", ("label",), registry=registry
        )
        self.confidence = Histogram(
            "fashion_confidence",
            "Probability of the likeliest label.",
            buckets=[tenth / 10 for tenth in range(1, 11)],
            registry=registry,
        )
        self.batch = Histogram(
            "fashion_batch_photos",
            "Photos computed together.",
            buckets=(1, 2, 4, 8, 16, 32),
            registry=registry,
        )
        self.waiting = Gauge(
            "fashion_waiting_photos", "Photos that wait or are computed.", registry=registry
        )
        self.reloads = Counter(
            "fashion_reloads", "Bundles loaded again.", ("outcome",), registry=registry
        )
        self._stages = Histogram(
            "fashion_stage_seconds", "By stage.", ("stage",), buckets=SECONDS, registry=registry
        )
        self._model = Gauge(
            "fashion_model_info", "The model that is served.", ("name", "id", "engine"),
            registry=registry,
        )  # fmt: skip

    def stage(self, name: str, seconds: float) -> None:
        """Count a stage of one photo or request."""
        self._stages.labels(name).observe(seconds)

    def serve(self, model: ServedModel) -> None:
        """Tell which model is served."""
        self._model.clear()
        self._model.labels(model.name, model.id, model.network.engine).set(1)

    def labelled(self, label: str, confidence: float, sure: bool | None) -> None:
        """Count a photo that was labelled."""
        outcome = {None: "labelled", True: "sure", False: "unsure"}[sure]
        self.photos.labels(outcome).inc()
        self.labels.labels(label).inc()
        self.confidence.observe(confidence)

    def refused(self, codes: Sequence[str]) -> None:
        """Count photos that were not."""
        for code in codes:
            self.photos.labels(code).inc()

    def text(self) -> bytes:
        """Return all of it in Prometheus' form."""
        return generate_latest(self._registry)
