"""XLA devices, TPUs above all: the only module that knows torch_xla.

One process drives all devices. It traces each step once, and the compiler shards it over the devices
(SPMD): parameters are replicated, batches are sharded, gradients are reduced. Lightning sees a single
device and a world of one process, on several hosts too, where each host feeds its own part of every
batch.
"""

import logging
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from glob import glob
from importlib import metadata, util
from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.accelerators import XLAAccelerator
from lightning.pytorch.plugins import MixedPrecision, Precision
from lightning.pytorch.strategies import SingleDeviceXLAStrategy, Strategy
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from torch import Tensor
from torch.optim import Adam, Optimizer

from fashion.batches import Batch, BatchLoader

ACCELERATORS = ("tpu", "xla")
PRECISIONS = {"32-true": ("32-true", "32", 32), "bf16-mixed": ("bf16-mixed", "bf16")}
GOOGLE_PCI_VENDOR = "0x1ae0"
BATCHES_AHEAD = 2  # on the device or on their way, besides the one in use
log = logging.getLogger(__name__)


def on_xla(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of Lightning's Trainer that put a run on XLA devices.

    Args:
        settings: The trainer's settings; `accelerator`, `devices`, `strategy` and `precision` decide.

    Returns:
        What replaces these settings; nothing for a run on other devices, or with a `strategy` of
        the user's own choice.

    Raises:
        ValueError: A setting isn't possible there, or the machine lacks what it needs.
    """
    _ask_no_absent_metadata_host()
    accelerator = settings.get("accelerator", "auto")
    if accelerator == "auto" and missing("tpu") is None:
        accelerator = "tpu"
    if accelerator not in ACCELERATORS:
        return {}
    lack = missing(accelerator)
    if lack:
        raise ValueError(f"trainer.accelerator={accelerator}: {lack}")
    if settings.get("strategy", "auto") != "auto":
        return {"accelerator": PjrtAccelerator()}
    devices = settings.get("devices", "auto")
    if devices not in ("auto", 1, "1"):
        raise ValueError(
            f"trainer.devices={devices!r}: pass auto for all XLA devices or 1 for the first; a mesh "
            "over some of them is not supported (pytorch/xla#9181)."
        )
    precision = _precision(settings.get("precision"))
    strategy = XLAStrategy(spmd=devices == "auto", precision_plugin=precision)
    return {"accelerator": PjrtAccelerator(), "devices": 1, "strategy": strategy}


def missing(accelerator: str) -> str | None:
    """Say what this machine lacks for `tpu` or `xla` and what to type, or None when it's all there.

    Nothing is asked of the network, and no device is touched.
    """
    install = "run pip install 'fashion[tpu]'" if accelerator == "tpu" else "run pip install 'fashion[xla]'"
    versions = {}
    for name in ("torch", "torch_xla"):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            return (
                f"{name} is not installed; {install} (Linux x86-64), or pass "
                "trainer.accelerator=auto."
            )
    release = ".".join(versions["torch_xla"].split(".")[:2])
    if versions["torch"].split(".")[:2] != release.split("."):
        return (
            f"torch_xla {versions['torch_xla']} needs torch {release}, but torch "
            f"{versions['torch']} is installed; run pip install 'torch=={release}.*'."
        )
    if accelerator == "xla" and os.environ.get("PJRT_DEVICE") != "TPU":
        return None
    if not num_tpu_chips():
        return (
            "no TPU is attached to this machine; pass trainer.accelerator=auto, or "
            "trainer.accelerator=xla with PJRT_DEVICE=CPU for XLA's CPU device."
        )
    if "TPU_LIBRARY_PATH" not in os.environ and not util.find_spec("libtpu"):
        return f"libtpu is not installed; {install}."
    device = os.environ.get("PJRT_DEVICE", "TPU")
    if device != "TPU":
        return f"PJRT_DEVICE={device} is set; unset it, or pass trainer.accelerator=xla."
    return None


def num_tpu_chips() -> int:
    """Count the TPU chips attached to this machine."""
    if not _has_google_device():
        return 0
    from torch_xla._internal import tpu

    return int(tpu.num_available_chips())


def summary(trainer: Trainer) -> dict[str, Any]:
    """Return what XLA compiled in a run, as `{"xla": ...}`; nothing for a run on other devices."""
    strategy = trainer.strategy
    return {"xla": strategy.compiled()} if isinstance(strategy, XLAStrategy) else {}


class PjrtAccelerator(XLAAccelerator):
    """Lightning's XLA accelerator on any PJRT device, XLA's CPU device included."""

    @staticmethod
    def is_available() -> bool:
        """Return True: `missing` has been asked before."""
        return True

    @staticmethod
    def auto_device_count() -> int:
        """Return the devices of this host."""
        import torch_xla.runtime as xr

        return int(xr.addressable_runtime_device_count())

    @staticmethod
    def parse_devices(devices: Any) -> Any:  # noqa: ANN401 - Lightning's own signature
        """Return `devices`; the strategy decides."""
        return devices

    @staticmethod
    def get_parallel_devices(devices: Any) -> list[torch.device]:  # noqa: ANN401
        """Return the devices as PyTorch names them."""
        count = devices if isinstance(devices, int) else len(devices)
        return [torch.device("xla", index) for index in range(count)]


class XLAStrategy(SingleDeviceXLAStrategy):
    """Trains on all XLA devices from one process, or on the first alone.

    Each step is one graph, cut after the optimizer's step, an accumulated backward pass or a batch
    of evaluation. What an evaluation step returns is whole on every device, so that reading it
    compiles nothing.

    Args:
        spmd: Shard batches over all devices of all hosts; once a process has done so, it can't
            use a single device any more.
        precision_plugin: Lightning's plugin for the precision.

    Attributes:
        num_devices: Devices that share each batch, over all hosts.
    """

    checkpoint_io = Strategy.checkpoint_io
    precision_plugin = Strategy.precision_plugin

    def __init__(self, *, spmd: bool, precision_plugin: Precision) -> None:
        import torch_xla.distributed.spmd as xs
        import torch_xla.runtime as xr

        if spmd and not xr.is_spmd():
            xr.use_spmd()
        elif xr.is_spmd() and not spmd:
            raise ValueError(
                "trainer.devices=1: this process has trained on all XLA devices before; start "
                "another for a single one."
            )
        super().__init__(device=0, precision_plugin=precision_plugin)
        self.num_devices = xr.global_runtime_device_count() if spmd else 1
        self.distributed_sampler_kwargs = {"num_replicas": 1, "rank": 0}
        self._mesh = None
        if spmd:
            self.distributed_sampler_kwargs = {
                "num_replicas": xr.process_count(),
                "rank": xr.process_index(),
            }
            self._mesh = xs.get_1d_mesh("data")
        rank_zero_only.rank = self.distributed_sampler_kwargs["rank"]
        self._counts = _CompileCounts()

    @property
    def is_global_zero(self) -> bool:
        """Whether this host writes the run's files."""
        return self.distributed_sampler_kwargs["rank"] == 0

    def setup_environment(self) -> None:
        """Have float32 mean float32: by default a TPU rounds what it multiplies to bfloat16."""
        import torch_xla.backends as backends

        super().setup_environment()
        wanted = "default" if isinstance(self.precision_plugin, MixedPrecision) else "highest"
        if backends.get_mat_mul_precision() != wanted:
            logging.getLogger(backends.__name__).setLevel(logging.ERROR)  # it advises against both
            backends.set_mat_mul_precision(wanted)

    def model_to_device(self) -> None:
        """Move the model; its counters go as data, or a count of 0 or 1 would be compiled in."""
        assert self.model is not None
        counters = [
            (module, name, buffer.cpu())
            for module in self.model.modules()
            for name, buffer in module.named_buffers(recurse=False)
            if buffer.ndim == 0
        ]
        super().model_to_device()
        for module, name, buffer in counters:
            module.register_buffer(name, self._send(buffer))
        self._replicate(self.model.state_dict().values())

    def on_train_start(self) -> None:
        """Give Adam and its kin their state, where no checkpoint has."""
        for optimizer in self.optimizers:
            if isinstance(optimizer, Adam):
                self._complete_state(optimizer)

    def process_dataloader(self, dataloader: BatchLoader) -> "DeviceLoader":
        """Have the loader's batches transferred ahead."""
        return DeviceLoader(dataloader, self._send_batch)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Seed the device as the classifier has just seeded PyTorch."""
        import torch_xla.core.xla_model as xm

        xm.set_rng_state(torch.initial_seed() % 2**31, str(self.root_device))
        if self._counts.enter_epoch(self._trainer().current_epoch):
            assert self.model is not None
            states = (state for optimizer in self.optimizers for state in optimizer.state.values())
            self._replicate([*self.model.parameters(), *self.model.buffers()])
            self._replicate(value for state in states for value in state.values())

    def training_step(self, batch: Batch, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        """Trace the step."""
        return super().training_step(_channels_first(batch), *args, **kwargs)

    def backward(self, *args: Any, **kwargs: Any) -> Tensor:
        """Cut the graph after a backward pass that no optimizer's step follows."""
        loss = super().backward(*args, **kwargs)
        if self._trainer().fit_loop._should_accumulate():
            _sync()
        return loss

    def optimizer_step(self, optimizer: Optimizer, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        """Take the step and cut the graph."""
        with self._rates_on_device(optimizer):
            result = super().optimizer_step(optimizer, *args, **kwargs)
        optimizer.zero_grad()  # what is alive now comes out of the graph
        _sync()
        return result

    def validation_step(self, batch: Batch, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        """Return the step's tensors whole, in a graph of their own."""
        return self._whole(super().validation_step(_channels_first(batch), *args, **kwargs))

    def predict_step(self, batch: Batch, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        """Return the step's tensors whole, in the graph of `validation_step`."""
        return self._whole(super().predict_step(_channels_first(batch), *args, **kwargs))

    def on_train_end(self) -> None:
        """Close the last epoch's count."""
        self._counts.leave_epoch()

    def save_checkpoint(
        self, checkpoint: dict[str, Any], filepath: str | Path, storage_options: object = None
    ) -> None:
        """Write a checkpoint that knows no device."""
        import torch_xla.core.xla_model as xm

        checkpoint = xm._maybe_convert_to_cpu(checkpoint)
        super().save_checkpoint(checkpoint, filepath, storage_options)

    def reduce(self, tensor: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        """Return the tensor on the host: there is one process, and there nothing is compiled."""
        return tensor.cpu() if isinstance(tensor, Tensor) else tensor

    def compiled(self) -> dict[str, Any]:
        """Return the run's compilations so far; see `_CompileCounts.facts`."""
        return self._counts.facts()

    def _trainer(self) -> Trainer:
        assert self.lightning_module is not None
        return self.lightning_module.trainer

    def _send(self, tensor: Tensor) -> Tensor:
        import torch_xla.core.xla_model as xm

        sent: Tensor = xm.send_cpu_data_to_device(tensor, self.root_device)[0]
        return sent

    def _send_batch(self, batch: Batch) -> Batch:
        import torch_xla.core.xla_model as xm

        # The photos as they lie in memory: transposing them is the device's work. It isn't done
        # here, since a graph that is cut meanwhile would take in what is pending on this thread.
        photos = batch.images.permute(0, 2, 3, 1)
        return Batch(
            *(
                xm.send_cpu_data_to_device(part, self.root_device, self._sharding(part.ndim))[0]
                for part in (photos, batch.targets, batch.rows)
            )
        )

    def _sharding(self, ndim: int) -> Any:  # noqa: ANN401
        import torch_xla.distributed.spmd as xs

        if self._mesh is None:
            return None
        # minibatch: what a host passes is its own part of the batch.
        return xs.ShardingSpec(self._mesh, ("data", *[None] * (ndim - 1)), minibatch=True)

    def _whole(self, tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        import torch_xla.distributed.spmd as xs

        if self._mesh is not None:
            # A tensor that is sharded already can't be marked anew, so each becomes another.
            tensors = tuple(tensor + 0 for tensor in tensors)
            for tensor in tensors:
                xs.mark_sharding(tensor, self._mesh, (None,) * tensor.ndim)
        _sync()
        return tensors

    def _replicate(self, tensors: Iterable[Tensor]) -> None:
        """Mark tensors as whole on every device, which they are, where nothing marks them yet.

        What comes out of a step is marked; what wasn't at first would make the next step another
        graph.
        """
        import torch_xla
        import torch_xla.distributed.spmd as xs

        for tensor in tensors if self._mesh is not None else ():
            if not torch_xla._XLAC._get_xla_sharding_spec(tensor):
                xs.mark_sharding(tensor, self._mesh, (None,) * tensor.ndim)

    def _complete_state(self, optimizer: Adam) -> None:
        """Create the state as the first step would, which would make it another graph.

        The count of steps lies on the device, wherever it comes from.
        """
        for group in optimizer.param_groups:
            moments = ["exp_avg", "exp_avg_sq", *["max_exp_avg_sq"] * group["amsgrad"]]
            for parameter in group["params"]:
                state = optimizer.state[parameter]
                for name in moments:
                    if name not in state:
                        state[name] = self._send(torch.zeros(parameter.shape))
                state["step"] = self._send(state.get("step", torch.tensor(0.0)).cpu())

    @contextmanager
    def _rates_on_device(self, optimizer: Optimizer) -> Iterator[None]:
        """Have Adam and its kin compute with the learning rate as data.

        As Python's numbers, what is derived from it and from the count of steps would be compiled
        in as soon as it rounds to 0 or 1: another graph late in a run.
        """
        optimizer = getattr(optimizer, "optimizer", optimizer)
        groups = optimizer.param_groups if isinstance(optimizer, Adam) else []
        rates = [group["lr"] for group in groups]
        for group, lr in zip(groups, rates, strict=True):
            group.update(lr=self._send(torch.tensor([lr])), capturable=True)
        yield
        for group, lr in zip(groups, rates, strict=True):
            group.update(lr=lr, capturable=False)


class DeviceLoader:
    """A loader whose next batches are on the device, or on their way, before they are asked for.

    Args:
        loader: Yields batches on the host.
        transfer: Sends one to the device.
    """

    def __init__(self, loader: BatchLoader, transfer: Callable[[Batch], Batch]) -> None:
        self.loader = loader
        self.transfer = transfer
        self.sampler = loader.sampler
        self.state_dict = loader.state_dict
        self.load_state_dict = loader.load_state_dict

    def __len__(self) -> int:
        """Return the batches of an epoch."""
        return len(self.loader)

    def __iter__(self) -> Iterator[Batch]:
        """Iterate over the batches on the device; what goes wrong in the loader is raised here."""
        batches = iter(self.loader)

        def fetch() -> Batch | None:
            batch = next(batches, None)
            return None if batch is None else self.transfer(batch)

        with ThreadPoolExecutor(1, "transfer") as thread:
            ahead = deque(thread.submit(fetch) for _ in range(BATCHES_AHEAD))
            while (batch := ahead.popleft().result()) is not None:
                ahead.append(thread.submit(fetch))
                yield batch


class _CompileCounts:
    """Counts compilations since it was made, by epoch."""

    def __init__(self) -> None:
        self.start = _metrics()
        self.by_epoch: list[int] = []
        self.epoch: int | None = None
        self.seen = self.start["graphs"]

    def enter_epoch(self, epoch: int) -> bool:
        """Note that a batch of an epoch begins, and return whether it is the first."""
        if epoch == self.epoch:
            return False
        self.leave_epoch()
        self.epoch = epoch
        return True

    def leave_epoch(self) -> None:
        """Note what the epoch compiled; after the first one that should be nothing."""
        if self.epoch is None:
            return
        graphs = _metrics()["graphs"]
        new, self.seen = graphs - self.seen, graphs
        if new and self.by_epoch:
            log.warning(
                "XLA compiled %d more graphs in epoch %d; after the first epoch every graph should "
                "be there. PT_XLA_DEBUG=1 tells where they come from.",
                new,
                self.epoch,
            )
        self.by_epoch.append(new)
        self.epoch = None

    def facts(self) -> dict[str, Any]:
        """Return the counts since the start.

        Returns:
            `graphs` compiled, `graphs_by_epoch` (those of the epochs that this process trained),
            `compile_seconds`, `executions` of graphs, and `cache_hits`, `cache_misses` and
            `cache_failures` of the persistent compilation cache, if XLA_PERSISTENT_CACHE_PATH
            switches it on.
        """
        since = {name: value - self.start[name] for name, value in _metrics().items()}
        since["compile_seconds"] = round(since["compile_seconds"], 2)
        return {"graphs": since.pop("graphs"), "graphs_by_epoch": self.by_epoch, **since}


def _metrics() -> dict[str, Any]:
    from torch_xla.debug import metrics

    compiled = metrics.metric_data("CompileTime") or (0, 0.0)
    executed = metrics.metric_data("ExecuteTime") or (0,)
    counters = {
        "cache_hits": "PersistentCacheHit",
        "cache_misses": "PersistentCacheMiss",
        "cache_failures": "PersistentCacheDeserializeFailure",
    }
    return {
        "graphs": compiled[0],
        "compile_seconds": compiled[1] / 1e9,
        "executions": executed[0],
        **{key: metrics.counter_value(name) or 0 for key, name in counters.items()},
    }


def _channels_first(batch: Batch) -> Batch:
    return batch._replace(images=batch.images.permute(0, 3, 1, 2))


def _precision(asked: object) -> Precision:
    if asked is None or asked in PRECISIONS["32-true"]:
        return Precision()
    if asked in PRECISIONS["bf16-mixed"]:
        return MixedPrecision("bf16-mixed", "xla")
    reason = "XLA knows no such precision"
    if asked in ("bf16-true", "16-true"):
        reason = (
            "it rounds every float32 tensor on an XLA device silently, so that the small steps of a "
            "fine-tuning change no weight"
        )
    raise ValueError(
        f"trainer.precision={asked!r}: {reason}. Pass bf16-mixed, which computes in bfloat16 over "
        "float32 weights, or 32-true."
    )


def _sync() -> None:
    import torch_xla

    torch_xla.sync()


def _has_google_device() -> bool:
    vendors = (Path(path).read_text().strip() for path in glob("/sys/bus/pci/devices/*/vendor"))
    return GOOGLE_PCI_VENDOR in vendors


def _ask_no_absent_metadata_host() -> None:
    """Keep torch_xla from asking a cloud's metadata host where there can be no TPU.

    Lightning has it count TPUs before every run, whatever the accelerator.
    """
    if not _has_google_device():
        os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
        os.environ.setdefault("TPU_ACCELERATOR_TYPE", "none")
