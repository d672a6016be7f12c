"""Label files by a bundle as who has nothing else would: without what the bundle was made with.

`python -m fashion.export.fresh_process BUNDLE FOLDER` labels the files `0`, `1`, … of a folder, and
leaves `labels.npz` there: `errors` `(N,)`, in words, empty where there is none, and `probabilities`
`(N, W)`, 0 where there is one.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

REFUSED = ("torch", "torchvision", "timm", "lightning", "pandas", "scipy", "onnxscript")
LABELS = "labels.npz"
BATCH = 16


class _Refuse:
    """Finds none of some libraries, wherever they are."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: object = None) -> None:
        if name.partition(".")[0] in REFUSED:
            raise ModuleNotFoundError(f"{name} has no place here", name=name)


def main(bundle: str, folder: str) -> None:
    """Label the files."""
    sys.meta_path.insert(0, _Refuse)
    import numpy as np

    from fashion.bundles.bundle_files import BundleFiles
    from fashion.bundles.onnx_model import OnnxModel
    from fashion.labelling.labeller import Labeller
    from fashion.labelling.photos import Photo

    paths = sorted(Path(folder).iterdir(), key=lambda path: int(path.name))
    labeller = Labeller([OnnxModel(BundleFiles(bundle))])
    outcomes = list(labeller.label([Photo(path.name, path.read_bytes) for path in paths], BATCH))
    nothing = np.zeros(labeller.heads.width, np.float32)
    errors = [each if isinstance(each, str) else "" for each in outcomes]
    rows = [nothing if isinstance(each, str) else each for each in outcomes]
    np.savez(Path(folder, LABELS), errors=np.array(errors), probabilities=np.stack(rows))


if __name__ == "__main__":
    main(*sys.argv[1:])
