"""Label files by a bundle as who has nothing else would: without what the bundle was made with.

`python -m fashion.export.fresh_process BUNDLE FOLDER` labels the files `0`, `1`, … of a folder, and
leaves `labels.npz` there: `errors` `(N,)`, in words, empty where there is none, and `probabilities`
`(N, W)`, 0 where there is one. Where the folder has `names.json`, a list of names, `named` `(N, K)`
is by photo and name, each photo taking the next one.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

REFUSED = (
    *("torch", "torchvision", "timm", "lightning", "pandas", "scipy", "sklearn", "onnxscript"),
)
NAMES = "names.json"
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

    files = [path for path in Path(folder).iterdir() if path.name != NAMES]
    paths = sorted(files, key=lambda path: int(path.name))
    model = OnnxModel(BundleFiles(bundle))
    labeller = Labeller([model])
    outcomes = list(labeller.label([Photo(path.name, path.read_bytes) for path in paths], BATCH))
    nothing = np.zeros(labeller.heads.width, np.float32)
    errors = [each if isinstance(each, str) else "" for each in outcomes]
    rows = [nothing if isinstance(each, str) else each for each in outcomes]
    probabilities = np.stack(rows)
    labels: dict[str, Any] = {"errors": np.array(errors), "probabilities": probabilities}
    if Path(folder, NAMES).is_file():
        names = json.loads(Path(folder, NAMES).read_bytes())
        assert model.names is not None
        named = [names[place % len(names)] for place in range(len(rows))]
        k = len(labeller.class_names)
        labels["named"] = model.names.join(probabilities[:, :k], named)[0]
    np.savez(Path(folder, LABELS), **labels)


if __name__ == "__main__":
    main(*sys.argv[1:])
