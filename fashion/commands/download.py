"""`fashion download`: the published catalogue from Kaggle."""

import sys
from pathlib import Path

from fashion.catalogue.download import HANDLES, download

FOLDER = "data/fashion-product-images"


def run(settings: dict[str, str], sizes: list[str]) -> None:
    """Fetch a catalogue."""
    if len(sizes) > 1:
        raise ValueError(f"{' and '.join(sizes)} are two catalogues; pass one of them.")
    [size] = sizes or ["small"]
    try:
        folder = download(size, Path(settings.get("output_dir", FOLDER)))
    except ModuleNotFoundError:
        raise
    except Exception as error:  # the client's own errors, the network's and Kaggle's
        sys.exit(f"{HANDLES[size]} could not be fetched: {error}")
    sys.stdout.write(f"data.root={folder}\n")
