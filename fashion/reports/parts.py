"""The parts of a report: one that fails is missing, and named, and spoils no other."""

import logging
import signal
from collections.abc import Callable
from typing import TypeVar

MAX_REASON = 200  # characters; a GPU without memory has a lot to say
Part = TypeVar("Part")
log = logging.getLogger(__name__)


class Parts:
    """Makes parts of a report.

    Args:
        is_stopped: Whether the process has been asked to end, which is no failure of a part.

    Attributes:
        failed: Those that couldn't be made, each with the reason.
    """

    def __init__(self, is_stopped: Callable[[], bool] = lambda: False) -> None:
        self.is_stopped = is_stopped
        self.failed: dict[str, str] = {}

    def make(self, name: str, make: Callable[[], Part], otherwise: Part) -> Part:
        """Return what `make` does, or where it fails warn, note the failure and do without.

        Args:
            name: What the part is called in the report.
            make: Makes it.
            otherwise: What stands in for it.

        Raises:
            SystemExit: The process has been asked to end; the report is not finished.
        """
        try:
            part = make()
            self._end_if_stopped()
            return part
        except Exception as error:
            self._end_if_stopped()
            self.failed[name] = _reason(error)
            log.warning("The report lacks the %s: %s", name, self.failed[name])
            log.debug("What the %s failed with:", name, exc_info=True)
            return otherwise

    def _end_if_stopped(self) -> None:
        if self.is_stopped():
            raise SystemExit(128 + signal.SIGTERM)


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        text = f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    elif isinstance(error, (OSError, ValueError)):
        text = str(error)
    else:
        text = f"{type(error).__name__}: {error}"
    words = " ".join(text.split())
    return words if len(words) <= MAX_REASON else f"{words[: MAX_REASON - 1]}…"
