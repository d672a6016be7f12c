"""Fetch the published catalogue from Kaggle."""

from pathlib import Path

HANDLES = {
    "small": "paramaggarwal/fashion-product-images-small",
    "full": "paramaggarwal/fashion-product-images-dataset",
}


def download(size: str, folder: Path) -> Path:
    """Fetch one of the two published sets into `folder`, which then serves as `data.root`."""
    import kagglehub

    kagglehub.dataset_download(HANDLES[size], output_dir=str(folder))
    return folder
