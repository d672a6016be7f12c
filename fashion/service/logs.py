"""The log: a line of JSON each, on the standard error."""

import json
import logging
from datetime import UTC, datetime

LIBRARIES = ("uvicorn", "uvicorn.error", "asyncio")  # whose messages go the same way


class Lines(logging.Formatter):
    """A record as one line of JSON: its time, level, message, and what else is told of it."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line = {"time": time, "level": record.levelname.lower(), "message": record.getMessage()}
        line.update(getattr(record, "facts", {}))
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=True)


def write_log(*, debug: bool) -> None:
    """Have this process log in this form.

    Args:
        debug: Whether the names of photos are told, too.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(Lines())
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.captureWarnings(True)
    logging.getLogger("fashion").setLevel(logging.DEBUG if debug else logging.INFO)
    for name in LIBRARIES:
        logging.getLogger(name).setLevel(logging.WARNING)
