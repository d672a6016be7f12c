"""Fetch the published catalogue from Kaggle."""

import argparse
import sys
from pathlib import Path

HANDLES = {
    "small": "paramaggarwal/fashion-product-images-small",
    "full": "paramaggarwal/fashion-product-images-dataset",
}


def download(size: str, folder: Path) -> Path:
    """Fetch one of the two published sets into `folder`, which then serves as `data.root`.

    Raises:
        ImportError: kagglehub is not installed.
    """
    try:
        import kagglehub
    except ImportError as error:
        raise ImportError("kagglehub is missing: run pip install 'fashion[kaggle]'.") from error
    kagglehub.dataset_download(HANDLES[size], output_dir=str(folder))
    return folder


def main() -> None:
    """Fetch a catalogue from the command line."""
    parser = argparse.ArgumentParser(prog="fashion download", description=__doc__)
    parser.add_argument("size", nargs="?", choices=HANDLES, default="small")
    parser.add_argument("folder", nargs="?", type=Path, default=Path("data/fashion-product-images"))
    options = parser.parse_args()
    try:
        folder = download(options.size, options.folder)
    except Exception as error:  # the client's own errors, the network's and Kaggle's
        sys.exit(f"{HANDLES[options.size]} could not be fetched: {error}")
    sys.stdout.write(f"data.root={folder}\n")


if __name__ == "__main__":
    main()
