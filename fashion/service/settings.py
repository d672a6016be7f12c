"""What a service is told when it starts: its bundle, its address, who may call, its limits."""

from dataclasses import dataclass, field, fields
from pathlib import Path

from fashion.review.review_store import BLIND_SHARE, MAX_GB

MEGABYTE = 10**6
LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "[::1]")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much a service takes, and how long it waits.

    Attributes:
        max_mb: Of a photo.
        max_request_mb: Of a request with several photos.
        buffer_mb: Of all bodies that are held at a time; what comes beyond is refused as busy.
        max_pixels: Of a photo, by its header.
        max_photos: Of a request.
        max_batch: Photos that are computed together.
        queue: Photos that wait or are computed at a time; what comes beyond is refused as busy.
        connections: That are open at a time.
        deadline_s: From a request's header to its reply.
        receive_s: For a header, and for a body.
        drain_s: For what has been accepted, once the service is told to end.
    """

    max_mb: float = 20
    max_request_mb: float = 100
    buffer_mb: float = 256
    max_pixels: int = 40_000_000
    max_photos: int = 32
    max_batch: int = 16
    queue: int = 64
    connections: int = 2048
    deadline_s: float = 30
    receive_s: float = 15
    drain_s: float = 20

    def __post_init__(self) -> None:
        """Refuse what can't be.

        Raises:
            ValueError: A limit isn't above zero, or two of them contradict each other.
        """
        for each in fields(self):
            if not getattr(self, each.name) > 0:
                raise ValueError(f"{each.name}={getattr(self, each.name)} must be above 0.")
        for less, more in (
            ("max_mb", "max_request_mb"),
            ("max_request_mb", "buffer_mb"),
            ("max_photos", "queue"),
            ("receive_s", "deadline_s"),
        ):
            if getattr(self, less) > getattr(self, more):
                raise ValueError(
                    f"{less}={getattr(self, less):g} is above {more}={getattr(self, more):g}, so "
                    f"that it could never be used; raise {more} or lower {less}."
                )

    @property
    def max_bytes(self) -> int:
        """Of a photo."""
        return int(self.max_mb * MEGABYTE)

    @property
    def max_request_bytes(self) -> int:
        """Of a request with several photos."""
        return int(self.max_request_mb * MEGABYTE)

    @property
    def buffer_bytes(self) -> int:
        """Of all bodies at a time."""
        return int(self.buffer_mb * MEGABYTE)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What `fashion serve` was told.

    Attributes:
        bundle: Its folder or zip, which may be a link to one.
        int8: Whether to label by its quantised network.
        precision: Marks the labels that are sure enough to be right this often; None marks none.
        hosts: What a request's Host may be, without the port.
        origins: The pages of other sites that may call, such as `https://shop.example`.
        token: Without which nothing but the page and the state of health is told; None asks none.
        page: Whether there is a page for people.
        review: The folder in which photos are kept for people to decide on; None keeps none.
        review_gb: What they may take, in gigabytes.
        blind: The share of sure photos that are kept there, too, and shown without a label.
        open: Whether it is opened in the browser.
        debug: Whether the log has the names of photos.
        limits: See `Limits`.
    """

    bundle: Path
    int8: bool = False
    precision: float | None = None
    hosts: tuple[str, ...] = LOOPBACK_HOSTS
    origins: tuple[str, ...] = ()
    token: str | None = None
    page: bool = True
    review: Path | None = None
    review_gb: float = MAX_GB
    blind: float = BLIND_SHARE
    open: bool = False
    debug: bool = False
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        """Refuse a review of nothing.

        Raises:
            ValueError: No label is sure or unsure.
        """
        if self.review is not None and self.precision is None:
            raise ValueError(
                f"review={str(self.review)!r} keeps what isn't sure; pass precision=0.98, or how "
                "often sure labels are to be right."
            )
