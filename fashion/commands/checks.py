"""What this machine can train on, whether a run would work, and the command for it.

Nothing is trained, decoded or written, and the network is asked nothing but whether the hub of the
weights answers.
"""

import os
import platform
import shlex
import shutil
from collections.abc import Generator, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import torch
from hydra.utils import instantiate
from lightning.pytorch.accelerators import AcceleratorRegistry
from omegaconf import DictConfig
from torch.autograd.graph import saved_tensors_hooks

from fashion.attributes import Heads
from fashion.catalogue.sample import PHOTOS
from fashion.commands.configuration import container
from fashion.cores import has_int8_products, usable_cores, usable_memory
from fashion.data.feature_store import PRECISIONS, feature_bytes
from fashion.data.loaders import BatchPlan, photo_bytes
from fashion.data.photo_store import num_absent, store_bytes
from fashion.data.preparation import LoadedCatalogue, load
from fashion.data.settings import DataSettings
from fashion.defaults import default_settings
from fashion.devices.accelerators import (
    ACCELERATORS,
    check,
    chosen,
    cpu_has_bfloat16,
    free_memory,
    missing,
)
from fashion.files import size_text
from fashion.metrics.study import load_study
from fashion.models.backbone import (
    check_hub,
    count_parameters,
    count_trainable,
    pretrained_cfg,
)
from fashion.models.weights import check_weights
from fashion.training.classifier import ProductClassifier
from fashion.training.facts import versions
from fashion.wording import many

OK, ABSENT, WRONG = "ok", "--", "!!"
NAMES = {"tpu": "the TPU", "xla": "XLA's device", "gpu": "the GPU", "cpu": "the CPU"}


class Finding(NamedTuple):
    """A line of the report.

    Attributes:
        mark: `ok`; `--` for what isn't there and need not be; `!!` for what keeps the run from
            working.
        text: What was found and, where it is wrong, what to type.
        remedy: A word of the command that makes the run work all the same, if there is one.
    """

    mark: str
    text: str
    remedy: str = ""


def check_machine() -> Iterator[Finding]:
    """Yield what is installed and what there is to train on."""
    libraries = versions()
    python, torch_xla = libraries.pop("python"), libraries.pop("torch_xla", None)
    yield Finding(OK, f"Python {python} on {platform.system()} {platform.machine()}")
    yield Finding(OK, ", ".join(f"{name} {version}" for name, version in libraries.items()))
    bfloat16 = "with" if cpu_has_bfloat16() else "without"
    memory = psutil.virtual_memory().total / 1e9
    yield Finding(OK, f"CPU: {usable_cores()} cores {bfloat16} bfloat16, {memory:.0f} GB of memory")
    yield _labels()
    yield _gpu()
    lack = missing("tpu")
    yield Finding(ABSENT, f"TPU: {lack}") if lack else Finding(OK, "TPU: attached")
    lack = missing("xla")
    fits = f"torch_xla {torch_xla} fits torch; {_pjrt()}"
    yield Finding(ABSENT, f"XLA: {lack}") if lack else Finding(OK, f"XLA: {fits}")


def check_run(cfg: DictConfig) -> Iterator[Finding]:
    """Yield what the run that a configuration describes would meet."""
    yield _accelerator(cfg)
    try:
        settings = DataSettings.from_config(container(cfg.data))
        loaded = yield from _catalogue(cfg, settings)
        supposed = dict.fromkeys(settings.attributes, ("one", "another"))
        heads = Heads.of(load_study()["class_names"], supposed)
        if loaded:
            heads = loaded.provisional_splits().heads
        yield _weights(cfg)
        yield _memory(cfg, heads)
        yield _loaders(cfg, settings)
        if cfg.data.views:
            yield _features(cfg, settings, loaded, heads)
    except ValueError as error:  # a setting of data or model is wrong
        yield Finding(WRONG, str(error))
    except RuntimeError as error:
        size = f"model.input_size={cfg.model.input_size}"
        yield Finding(WRONG, f"{size} does not suit {cfg.model.backbone}: {error}")


def command(overrides: list[str], findings: list[Finding], cfg: DictConfig) -> str | None:
    """Return the training command for this machine: the words given, and what they leave open.

    Returns:
        None when something keeps the run from working that no word of the command can mend.
    """
    wrong = [finding for finding in findings if finding.mark == WRONG]
    if not all(finding.remedy for finding in wrong):
        return None
    words = ["python", "train.py", *overrides]
    if not any(word.startswith("trainer") for word in overrides):
        words += {
            "tpu": ["trainer=tpu"],
            "gpu": ["trainer.accelerator=gpu", *["trainer.precision=bf16-mixed"] * _gpu_bfloat16()],
            "cpu": ["trainer.precision=bf16-mixed"] if cpu_has_bfloat16() else [],
        }.get(chosen(cfg.trainer.accelerator), [])
    return shlex.join([*words, *(finding.remedy for finding in wrong)])


def _accelerator(cfg: DictConfig) -> Finding:
    asked = f"trainer.accelerator={cfg.trainer.accelerator}"
    try:
        accelerator = check(cfg.trainer)
    except ValueError as error:
        return Finding(WRONG, str(error))
    choices = {"gpu", *ACCELERATORS, *AcceleratorRegistry.available_accelerators()}
    if accelerator not in choices:
        return Finding(WRONG, f"{asked} is unknown; pass auto, {', '.join(sorted(choices))}.")
    has_gpu = torch.cuda.is_available() or torch.backends.mps.is_available()
    if accelerator in ("gpu", "cuda", "mps") and not has_gpu:
        return Finding(WRONG, f"{asked}: PyTorch sees no GPU; pass trainer.accelerator=auto.")
    return Finding(OK, f"{asked}: {accelerator}")


def _labels() -> Finding:
    """Say what computes a bundle's labels here, and why."""
    if torch.cuda.is_available():
        return Finding(OK, "Bundles: labelled on the GPU by PyTorch; quantised ones on the CPU")
    products = "with" if has_int8_products() else "without"
    return Finding(
        OK,
        f"Bundles: labelled by ONNX Runtime {version('onnxruntime')} in float32, the fastest that "
        f"was measured on CPUs; {products} instructions for int8",
    )


def _gpu() -> Finding:
    if torch.cuda.is_available():
        cards = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
        names = ", ".join(f"{card.name} with {card.total_memory / 1e9:.0f} GB" for card in cards)
        return Finding(OK, f"GPU: {names}; CUDA {torch.version.cuda}")
    if torch.backends.mps.is_available():
        return Finding(OK, "GPU: Apple's, through MPS")
    return Finding(ABSENT, "GPU: PyTorch sees none")


def _gpu_bfloat16() -> bool:
    has_cuda = torch.cuda.is_available()
    return has_cuda and torch.cuda.is_bf16_supported(including_emulation=False)


def _pjrt() -> str:
    device = os.environ.get("PJRT_DEVICE")
    if device is None:
        return f"PJRT_DEVICE is not set, so it takes {'CPU' if missing('tpu') else 'TPU'}"
    count = os.environ.get("CPU_NUM_DEVICES", "1")
    return f"PJRT_DEVICE={device}" + f", CPU_NUM_DEVICES={count}" * (device == "CPU")


def _catalogue(
    cfg: DictConfig, settings: DataSettings
) -> Generator[Finding, None, LoadedCatalogue | None]:
    """Read the catalogue and find room for its photos; the sample isn't drawn for that."""
    photos, loaded = PHOTOS, None
    absent = photos
    if settings.root is None:
        yield Finding(OK, f"catalogue: the sample, {photos:,} photos that the first run draws")
    else:
        try:
            loaded = load(settings)
            loaded.provisional_splits()
        except (ValueError, OSError) as error:
            is_default = settings.root == default_settings()["data"]["root"]
            yield Finding(WRONG, f"catalogue: {error}", "data=sample" if is_default else "")
            return None
        table = loaded.photos
        photos, classes = len(table), len(loaded.class_names)
        yield Finding(
            OK,
            f"catalogue: {many(photos, 'photo')} of {many(classes, 'class', 'classes')} in "
            f"{settings.root}{f' and {settings.more}' if settings.more else ''}",
        )
        interpolation = pretrained_cfg(cfg.model.backbone).interpolation
        how = (cfg.model.input_size, settings.fit, interpolation, settings.cache_folder)
        try:
            absent = num_absent(loaded.root, table, *how)
        except OSError as error:
            yield Finding(WRONG, f"disk: {error}")
            return loaded
    yield _disk(photos, absent, cfg.model.input_size, settings.cache_folder)
    return loaded


def _disk(photos: int, absent: int, input_size: int, cache_dir: Path) -> Finding:
    needed = store_bytes(absent, input_size)
    if not absent:
        whole = size_text(store_bytes(photos, input_size))
        size = f"{photos:,} photos at {input_size} px take {whole} in {cache_dir}"
        return Finding(OK, f"disk: {size}, and are packed there already")
    which = (
        f"{absent:,} of {photos:,} photos, not packed yet,"
        if absent < photos
        else f"{photos:,} photos"
    )
    size = f"{which} at {input_size} px take {size_text(needed)} in {cache_dir}"
    way_out = "pass data.cache_dir on a larger disk or a smaller model.input_size"
    return _room(size, needed, cache_dir, way_out)


def _features(
    cfg: DictConfig, data: DataSettings, loaded: LoadedCatalogue | None, heads: Heads
) -> Finding:
    """Find room for what `data.views` keeps, as if nothing of it were there yet."""
    classifier = _classifier(cfg, heads)
    cut_network, views = classifier.cut_network(), cfg.data.views
    if cut_network is None:
        reason = f"{cfg.model.backbone} can't be cut in two ({classifier.uncut_reason})"
        return Finding(ABSENT, f"features: data.views={views} has no effect, {reason}")
    train, val = 0.8 * PHOTOS, 0.1 * PHOTOS
    if loaded:
        splits = loaded.provisional_splits()
        train, val = (len(splits.rows(split)) for split in ("train", "val"))
    photos = int(train * views + val)
    dtype = PRECISIONS[cfg.data.views_precision]
    needed = photos * feature_bytes(cut_network.cut.boundary, dtype)
    size = (
        f"the features of {many(photos, 'photo')} ({many(views, 'view')}) take {size_text(needed)}"
    )
    way_out = "pass fewer data.views, data.cache_dir on a larger disk or a smaller model.input_size"
    return _room(f"{size} in {data.cache_folder}", needed, data.cache_folder, way_out)


def _room(size: str, needed: int, folder: Path, way_out: str) -> Finding:
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        way_out = "pass data.cache_dir=FOLDER, one that you may write to"
        return Finding(WRONG, f"disk: {size}, but {existing} can't be written; {way_out}.")
    free = shutil.disk_usage(existing).free
    if needed < free:
        return Finding(OK, f"disk: {size}, where {size_text(free)} are free")
    return Finding(WRONG, f"disk: {size}, where only {size_text(free)} are free; {way_out}.")


def _weights(cfg: DictConfig) -> Finding:
    model = cfg.model
    if model.weights is not None:
        try:
            return Finding(OK, f"weights: {check_weights(model.backbone, model.weights)}")
        except (FileNotFoundError, ValueError) as error:
            return Finding(WRONG, f"weights: {error}")
    if not model.pretrained:
        return Finding(OK, "weights: random ones (model.pretrained=false)")
    try:
        check_hub(model.backbone)
    except ConnectionError as error:
        return Finding(WRONG, f"weights: {error}", "model.pretrained=false")
    return Finding(OK, f"weights: those of {model.backbone} are here, or their hub answers")


def _memory(cfg: DictConfig, heads: Heads) -> Finding:
    """Compare what a training step keeps with what the device has."""
    with torch.device("meta"):
        classifier = _classifier(cfg, heads, optimizer=instantiate(cfg.model.optimizer))
    trained = sum(count_trainable(classifier.backbone).values())
    state = 4 * (count_parameters(classifier.backbone) + 3 * trained)
    kept = cfg.data.batch_size * _saved_bytes(classifier, cfg.model.input_size)
    needed = state + kept
    text = (
        f"memory: weights, gradients and AdamW's state take {state / 1e9:.2f} GB, what a step of "
        f"{cfg.data.batch_size} photos keeps {kept / 1e9:.2f} GB in float32"
    )
    accelerator = chosen(cfg.trainer.accelerator)
    if accelerator in ACCELERATORS or (accelerator != "cpu" and not torch.cuda.is_available()):
        return Finding(OK, text)
    free = free_memory(torch.device("cpu" if accelerator == "cpu" else "cuda"))
    assert free is not None
    if needed < free:
        return Finding(OK, f"{text}; {free / 1e9:.1f} GB are free")
    way_out = "pass a smaller data.batch_size or model.input_size"
    return Finding(WRONG, f"{text}, but only {free / 1e9:.1f} GB are free; {way_out}.")


def _classifier(cfg: DictConfig, heads: Heads, **changes: Any) -> ProductClassifier:
    settings = {"pretrained": False, "weights": None, "optimizer": None, **changes}
    return ProductClassifier(
        class_names=heads.class_names,
        attributes=heads.plain(),
        **{**container(cfg.model), **settings},
    )


def _loaders(cfg: DictConfig, settings: DataSettings) -> Finding:
    """Compare what the batches take that loaders have ready with the memory."""
    here, accumulate = _processes(cfg.trainer), _number(cfg.trainer, "accumulate_grad_batches")
    share = settings.batch_size // (here * _number(cfg.trainer, "num_nodes"))
    plan = BatchPlan(settings.batch_size, settings.num_workers, processes_here=here)
    size = photo_bytes(cfg.model.input_size)
    training, other = (plan.workers(size * max(1, part)) for part in (share // accumulate, share))
    text = (
        f"loaders: {many(here * training.number, 'process', 'processes')}, whose batches take up "
        f"to {size_text(here * training.held_bytes)} of memory in training and "
        f"{size_text(here * other.held_bytes)} more in validation"
    )
    if here * (training.held_bytes + other.held_bytes) < usable_memory():
        return Finding(OK, text)
    way_out = "pass fewer data.num_workers or a smaller data.batch_size"
    return Finding(WRONG, f"{text}, but there are {size_text(usable_memory())}; {way_out}.")


def _processes(trainer: DictConfig) -> int:
    """Return how many processes a run has on a machine, as far as its words tell."""
    accelerator = chosen(trainer.accelerator)
    if accelerator in ACCELERATORS:
        return 1
    if trainer.devices == "auto" and accelerator == "gpu":
        return max(1, torch.cuda.device_count())
    return _number(trainer, "devices")


def _number(trainer: DictConfig, key: str) -> int:
    value = trainer.get(key)
    return value if isinstance(value, int) and value > 0 else 1


def _saved_bytes(classifier: ProductClassifier, input_size: int) -> int:
    """Return the bytes that the backward pass of one photo keeps, without weights."""
    weights = {id(tensor) for tensor in (*classifier.parameters(), *classifier.buffers())}
    saved: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if id(tensor) not in weights and id(tensor._base) not in weights:
            saved[id(tensor)] = tensor
        return tensor

    photos = torch.zeros(2, 3, input_size, input_size, dtype=torch.uint8, device="meta")
    with saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = classifier.train()(photos).sum()
    del loss
    return sum(tensor.numel() * tensor.element_size() for tensor in saved.values()) // 2
