"""The model of a bundle: in bfloat16 if asked, on a GPU where PyTorch finds one, else by ONNX."""

import logging
import shutil
from importlib.util import find_spec
from pathlib import Path

from fashion.bundles.bundle_files import BundleFiles
from fashion.bundles.manifest import HUB_CONFIG, HUB_WEIGHTS
from fashion.bundles.onnx_model import OnnxModel
from fashion.labelling.labeller import Model

DRIVERS = ("/dev/nvidiactl", "/dev/kfd")  # NVIDIA's and AMD's
NEEDED = ("torch", "timm", "safetensors")  # for a network on a GPU
log = logging.getLogger(__name__)


DTYPES = ("float32", "bfloat16")


def open_bundle(
    files: BundleFiles, *, int8: bool = False, dtype: str = "float32", threads: int | None = None
) -> Model:
    """Load the model of a bundle, and log what computes it.

    Args:
        files: The bundle's.
        int8: Take its quantised network.
        dtype: Of `DTYPES`; what the other one is computed in.
        threads: Of ONNX Runtime; None: as many as there are cores.

    Raises:
        ValueError: It is damaged, not safe, or isn't known to label well as is asked for.
    """
    if dtype not in DTYPES:
        raise ValueError(f"dtype={dtype!r} must be one of {', '.join(DTYPES)}.")
    if dtype == "bfloat16":
        if int8:
            raise ValueError("Pass either int8=true or dtype=bfloat16.")
        from fashion.labelling.hub_models import Bfloat16Model

        bfloat16 = Bfloat16Model(files)
        log.warning("%s is computed by PyTorch in bfloat16 on the processor.", files.subject)
        return bfloat16
    if not int8 and {HUB_CONFIG, HUB_WEIGHTS} <= files.manifest.files.keys() and _gpu_is_likely():
        from fashion.labelling.hub_models import HubModel, gpu

        if (device := gpu()) is not None:
            log.warning("%s is computed by PyTorch on %s.", files.subject, device)
            return HubModel(files, device)
    model = OnnxModel(files, int8=int8, threads=threads)
    log.info("%s is computed by %s.", files.subject, model.engine)
    return model


def _gpu_is_likely() -> bool:
    """Whether it is worth importing PyTorch to ask for a GPU, which takes seconds."""
    has_driver = any(Path(path).exists() for path in DRIVERS) or shutil.which("nvidia-smi")
    return bool(has_driver) and all(find_spec(name) for name in NEEDED)
