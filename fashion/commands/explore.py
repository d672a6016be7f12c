"""`fashion explore`: a page about a catalogue."""

import logging
import sys
from pathlib import Path

from fashion.commands.configuration import compose_settings, container
from fashion.data.settings import DataSettings
from fashion.reports.explore import explore

OUTPUT_DIR = "outputs/explore"


def run(words: list[str]) -> None:
    """Explore the catalogue that the words describe."""
    logging.basicConfig(level="INFO", format="%(message)s")
    is_named = any(word.startswith("output_dir=") for word in words)
    cfg = compose_settings(words)
    output_dir = Path(cfg.output_dir if is_named else OUTPUT_DIR)
    settings = DataSettings.from_config(container(cfg.data))
    audit = explore(settings, cfg.model.input_size, output_dir)
    for warning in audit["warnings"]:
        sys.stdout.write(f"  !!  {warning}\n")
    sys.stdout.write(f"Written: {output_dir / 'index.html'}\n")
