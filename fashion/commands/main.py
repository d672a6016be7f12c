"""Find the command that the first word names."""

import sys
from importlib import import_module

MODULES = {
    "explore": "fashion.reports.explore",
    "suspects": "fashion.reports.suspects",
    "evaluate": "fashion.reports.evaluate",
    "predict": "fashion.labelling.predict",
    "compare": "fashion.reports.compare",
    "doctor": "fashion.commands.checks",
    "cache": "fashion.data.photo_store",
    "download": "fashion.catalogue.download",
}


def main() -> None:
    """Run the command that the command line names."""
    word, *rest = sys.argv[1:] or [""]
    if word not in MODULES:
        sys.exit(f"fashion {word}: there are {', '.join(MODULES)}.")
    sys.argv = [f"fashion {word}", *rest]
    import_module(MODULES[word]).main()
