"""Which devices a run takes: the one place that decides it from the trainer's settings."""

import logging
import os
import platform
import re
from collections.abc import Mapping
from glob import glob
from importlib import metadata, util
from pathlib import Path
from typing import Any

import psutil
import torch
from lightning.pytorch.plugins import MixedPrecision, Precision

from fashion.cores import limit_threads

ACCELERATORS = ("tpu", "xla")
GOOGLE_PCI_VENDOR = "0x1ae0"
BFLOAT16 = ("amx_bf16", "avx512_bf16", "bf16")  # as x86-64 and arm64 list what they compute
log = logging.getLogger(__name__)


def trainer_arguments(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of Lightning's Trainer that put a run on XLA devices.

    Args:
        settings: The trainer's; `accelerator`, `devices`, `strategy` and `precision` decide.

    Returns:
        What replaces these settings. It is nothing on other devices, and the accelerator without
        our writer of checkpoints where the user chooses a `strategy`.

    Raises:
        ValueError: As `check`.
    """
    keep_from_metadata_host()
    limit_threads()
    accelerator = check(settings)
    if accelerator not in ACCELERATORS:
        if accelerator == "cpu":
            _warn_of_slow_bfloat16(settings.get("precision"))
        return {}
    from fashion.devices import xla

    if settings.get("strategy", "auto") != "auto":
        # Lightning's own XLA strategies refuse our writer of checkpoints, and bring one as atomic.
        own = "tpu" if accelerator == "tpu" else xla.PjrtAccelerator()
        return {"accelerator": own, "plugins": None}
    precision = _precision(settings.get("precision"))
    try:
        strategy = xla.XLAStrategy(
            spmd=settings.get("devices", "auto") == "auto", precision_plugin=precision
        )
    except RuntimeError as error:  # a device that isn't there, or that another process holds
        raise ValueError(
            f"trainer.accelerator={accelerator}: XLA can't use PJRT_DEVICE="
            f"{os.environ.get('PJRT_DEVICE')} ({str(error).splitlines()[0]}); end the process that "
            "holds it, or set another PJRT_DEVICE."
        ) from error
    return {"accelerator": xla.PjrtAccelerator(), "devices": 1, "strategy": strategy}


def check(settings: Mapping[str, Any]) -> str:
    """Return the accelerator that a trainer's settings choose, if it can be had as they ask.

    Only what concerns XLA devices is checked; Lightning checks the rest.

    Raises:
        ValueError: The machine lacks what it needs, or a setting isn't possible there.
    """
    accelerator = chosen(settings.get("accelerator", "auto"))
    if accelerator not in ACCELERATORS:
        return accelerator
    lack = missing(accelerator)
    if lack:
        raise ValueError(f"trainer.accelerator={accelerator}: {lack}")
    _precision(settings.get("precision"))
    devices = settings.get("devices", "auto")
    if settings.get("strategy", "auto") == "auto" and devices not in ("auto", 1, "1"):
        raise ValueError(
            f"trainer.devices={devices!r}: pass auto for all XLA devices or 1 for the first; some "
            "of them can't form a mesh (pytorch/xla#9181)."
        )
    return accelerator


def chosen(accelerator: str) -> str:
    """Return which accelerator `auto` stands for on this machine; others stand for themselves."""
    if accelerator != "auto":
        return accelerator
    if missing("tpu") is None:
        return "tpu"
    if torch.cuda.is_available() or torch.backends.mps.is_available():
        return "gpu"
    return "cpu"


def missing(accelerator: str) -> str | None:
    """Say what this machine lacks for `tpu` or `xla` and what to type, or None if it lacks nothing.

    Nothing is asked of the network, and no device is touched.
    """
    install = f"run pip install -e '.[{accelerator}]' (on Linux x86-64)"
    versions = {name: _version(name) for name in ("torch", "torch_xla")}
    if not versions["torch_xla"]:
        return f"torch_xla is not installed; {install}, or pass trainer.accelerator=auto."
    release = ".".join(versions["torch_xla"].split(".")[:2])
    if not f"{versions['torch']}.".startswith(f"{release}."):
        return (
            f"torch_xla {versions['torch_xla']} needs torch {release}, but torch "
            f"{versions['torch']} is installed; {install}."
        )
    if accelerator == "xla" and os.environ.get("PJRT_DEVICE") != "TPU":
        return None
    if not num_tpu_chips():
        return (
            "no TPU is attached to this machine; pass trainer.accelerator=auto, or set "
            "PJRT_DEVICE=CPU and pass trainer.accelerator=xla for XLA on the CPU."
        )
    if "TPU_LIBRARY_PATH" not in os.environ and not util.find_spec("libtpu"):
        return f"libtpu is not installed; {install}."
    device = os.environ.get("PJRT_DEVICE", "TPU")
    if device != "TPU":
        return f"PJRT_DEVICE={device} is set; unset it, or pass trainer.accelerator=xla."
    return None


def num_tpu_chips() -> int:
    """Count the TPU chips attached to this machine; torch_xla has to be installed."""
    if not _has_google_device():
        return 0
    from torch_xla._internal import tpu

    return int(tpu.num_available_chips())


def free_memory(device: torch.device) -> int | None:
    """Return the bytes that a device has left, or None where that isn't known."""
    if device.type == "cpu":
        return int(psutil.virtual_memory().available)
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    if device.type != "xla":
        return None
    import torch_xla.core.xla_model as xm

    try:
        info = xm.get_memory_info(device)
    except RuntimeError:  # XLA's CPU device doesn't tell
        return None
    return int(info["bytes_limit"]) - int(info["bytes_used"])


def cpu_has_bfloat16() -> bool:
    """Return whether the processor multiplies in bfloat16, as far as Linux tells."""
    return any(flag in _cpuinfo().split() for flag in BFLOAT16)


def device_name(device: torch.device) -> str:
    """Return what people call a GPU, or a processor with the cores that may be used."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    named = re.search(r"^model name\s*:\s*(.+)$", _cpuinfo(), re.MULTILINE)
    name = named[1] if named else platform.processor() or platform.machine()
    return f"{name}, {torch.get_num_threads()} threads"


def _cpuinfo() -> str:
    path = Path("/proc/cpuinfo")
    return path.read_text() if path.exists() else ""


def keep_from_metadata_host() -> None:
    """Keep torch_xla from asking a cloud's metadata host where there can be no TPU.

    Lightning has it count TPUs before every run, whatever the accelerator.
    """
    if not _has_google_device():
        os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
        os.environ.setdefault("TPU_ACCELERATOR_TYPE", "none")


def _warn_of_slow_bfloat16(precision: object) -> None:
    if "bf16" in str(precision) and not cpu_has_bfloat16():
        log.warning(
            "trainer.precision=%s: this processor has no instructions for bfloat16 and may take "
            "many times as long as in float32; pass trainer.precision=32-true.",
            precision,
        )


def _precision(asked: object) -> Precision:
    if asked in (None, "32-true", "32", 32):
        return Precision()
    if asked in ("bf16-mixed", "bf16"):
        return MixedPrecision("bf16-mixed", "xla")
    reason = "XLA devices don't compute so"
    if asked in ("bf16-true", "16-true"):
        reason = (
            "Lightning has XLA round every float32 tensor with it, silently, so that AdamW's small "
            "steps change no weight"
        )
    raise ValueError(
        f"trainer.precision={asked!r}: {reason}. Pass bf16-mixed, which computes in bfloat16 over "
        "float32 weights, or 32-true."
    )


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _has_google_device() -> bool:
    vendors = (Path(path).read_text().strip() for path in glob("/sys/bus/pci/devices/*/vendor"))
    return GOOGLE_PCI_VENDOR in vendors
