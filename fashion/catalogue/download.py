"""Fetch the published catalogue from Kaggle."""

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
        raise ImportError(
            "kagglehub is missing: in a checkout, run pip install -e '.[kaggle]'."
        ) from error
    kagglehub.dataset_download(HANDLES[size], output_dir=str(folder))
    return folder
