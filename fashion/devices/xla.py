"""XLA devices, TPUs above all: Lightning's parts for them, over torch_xla.

One process drives all devices. A step is traced as if there were a single device, and the compiler
partitions it (SPMD): parameters are whole on every device, batches are shared out, gradients are
reduced. Lightning sees one device and a world of one process. So it is on several hosts, too, each
of which feeds its own part of every batch.
"""

import logging
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning import Trainer
from lightning.pytorch.accelerators import XLAAccelerator
from lightning.pytorch.strategies import SingleDeviceXLAStrategy, Strategy
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from torch import Tensor
from torch import distributed as dist
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Adam, Optimizer
from torch.utils.hooks import RemovableHandle

from fashion.cores import usable_cores
from fashion.data.batches import Batch, DeviceLoader, channels_first, channels_last
from fashion.devices.compilations import Compilations

log = logging.getLogger(__name__)


def compilation_facts(trainer: Trainer) -> dict[str, Any]:
    """Return what XLA compiled in a run as `{"xla": ...}`, or nothing for one on other devices."""
    strategy = trainer.strategy
    return {"xla": strategy.compilations.facts()} if isinstance(strategy, XLAStrategy) else {}


class PjrtAccelerator(XLAAccelerator):
    """Lightning's XLA accelerator on any PJRT device, XLA's CPU device included."""

    @staticmethod
    def is_available() -> bool:  # type: ignore[override]
        """Return True: `missing` has been asked before."""
        return True

    @staticmethod
    def auto_device_count() -> int:  # type: ignore[override]
        """Return 1: a strategy of the user's own choice takes as many as `trainer.devices` says."""
        return 1

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

    # Lightning's XLA strategies take no others than plugins that cut graphs or compute in bfloat16.
    checkpoint_io = Strategy.checkpoint_io  # type: ignore[assignment]
    precision_plugin = Strategy.precision_plugin  # type: ignore[assignment]

    def __init__(self, *, spmd: bool, precision_plugin: Any) -> None:  # noqa: ANN401
        import torch_xla
        import torch_xla.distributed.spmd as xs
        import torch_xla.runtime as xr

        if spmd and not xr.is_spmd():
            _thread_cpu_devices()
            xr.use_spmd()
        elif xr.is_spmd() and not spmd:
            raise ValueError(
                "trainer.devices=1: this process has trained on all XLA devices before; start "
                "another for a single one."
            )
        # Lightning's own constructor asks for the device by a deprecated name.
        super(SingleDeviceXLAStrategy, self).__init__(
            device=torch_xla.device(), precision_plugin=precision_plugin
        )
        self.debug = False
        self.num_devices = xr.global_runtime_device_count() if spmd else 1
        self.distributed_sampler_kwargs = {"num_replicas": 1, "rank": 0}
        self._mesh = None
        if spmd:
            self.distributed_sampler_kwargs = {
                "num_replicas": xr.process_count(),
                "rank": xr.process_index(),
            }
            self._mesh = xs.get_1d_mesh("data")
        log.info("One process drives %d XLA devices (%s)", self.num_devices, xr.device_type())
        rank_zero_only.rank = self.distributed_sampler_kwargs["rank"]  # type: ignore[attr-defined]
        self._hooks: list[RemovableHandle] = []
        self.compilations = Compilations()

    @property
    def is_global_zero(self) -> bool:
        """Whether this host writes the run's files."""
        return self.distributed_sampler_kwargs["rank"] == 0

    def setup_environment(self) -> None:
        """Have float32 mean float32: by default a TPU rounds what it multiplies to bfloat16."""
        import torch_xla.backends as backends

        super().setup_environment()
        if self.distributed_sampler_kwargs["num_replicas"] > 1 and not dist.is_initialized():
            import torch_xla.distributed.xla_backend  # noqa: F401 - knows xla://

            dist.init_process_group("gloo", init_method="xla://")
        if backends.get_mat_mul_precision() != "highest":
            logging.getLogger(backends.__name__).setLevel(logging.ERROR)  # it warns of a second one
            backends.set_mat_mul_precision("highest")

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
        self._hooks = [
            hook
            for module in self.model.modules()
            if isinstance(module, _BatchNorm) and module.track_running_stats
            for hook in _track_unbiased_variance(module)
        ]
        self._replicate([*self.model.parameters(), *self.model.buffers()])

    def on_train_start(self) -> None:
        """Give Adam and its kin their state, where no checkpoint has."""
        for optimizer in self.optimizers:
            if isinstance(optimizer, Adam):
                self._complete_state(optimizer)

    def process_dataloader(self, dataloader: Any) -> DeviceLoader:  # noqa: ANN401
        """Have the loader's batches transferred ahead."""
        return DeviceLoader(dataloader, self._send_batch)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Seed the device as the classifier has just seeded PyTorch."""
        import torch_xla.core.xla_model as xm

        xm.set_rng_state(torch.initial_seed() % 2**31, str(self.root_device))
        if self.compilations.enter_epoch(self._trainer().current_epoch):
            assert self.model is not None
            states = (state for optimizer in self.optimizers for state in optimizer.state.values())
            self._replicate([*self.model.parameters(), *self.model.buffers()])
            self._replicate(value for state in states for value in state.values())

    def batch_to_device(self, batch: Batch, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        """Have a batch, which is on the device already, channels first, in the step's own graph."""
        inputs = batch.inputs
        if isinstance(inputs, Tensor):
            first: Tensor | tuple[Tensor, ...] = channels_first(inputs)
        else:
            first = tuple(map(channels_first, inputs))
        return super().batch_to_device(batch._replace(inputs=first), *args, **kwargs)

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
        return self._whole(super().validation_step(batch, *args, **kwargs))

    def predict_step(self, batch: Batch, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        """Return the step's tensors whole, in the graph of `validation_step`."""
        return self._whole(super().predict_step(batch, *args, **kwargs))

    def compute(
        self, function: Callable[[Tensor], tuple[Tensor, ...]], photos: Tensor
    ) -> tuple[Tensor, ...]:
        """Return `function(photos)`, computed in a graph of its own, on the host.

        Args:
            function: Its tensors lie on the device.
            photos: `(B, 3, H, W)` uint8 on the host.
        """
        outputs = function(channels_first(self._send_images(photos)))
        whole = self._whole(dict(enumerate(outputs)))
        return tuple(part.cpu() for part in whole.values())

    def replicate(self, part: Tensor) -> Tensor:
        """Return a tensor of the host whole on every device."""
        kept = self._send(part)
        self._replicate([kept])
        return kept

    def on_train_end(self) -> None:
        """Close the last epoch's count."""
        self.compilations.leave_epoch()

    def teardown(self) -> None:
        """Give the model back as it came."""
        _sync()  # after an error a step may be pending, which each tensor would run anew
        while self._hooks:
            self._hooks.pop().remove()
        super().teardown()

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

    def barrier(self, *args: Any, **kwargs: Any) -> None:
        """Wait for the other hosts."""
        if dist.is_initialized():
            dist.barrier()

    def _trainer(self) -> Trainer:
        assert self.lightning_module is not None
        return self.lightning_module.trainer

    def _send(self, tensor: Tensor, sharding: Any = None) -> Tensor:  # noqa: ANN401
        import torch_xla.core.xla_model as xm

        sent: Tensor = xm.send_cpu_data_to_device(tensor, self.root_device, sharding)[0]
        return sent

    def _send_batch(self, batch: Batch) -> Batch:
        inputs = batch.inputs
        return Batch(
            inputs=self._send_images(inputs)
            if isinstance(inputs, Tensor)
            else tuple(map(self._send_images, inputs)),
            targets=self._send_share(batch.targets),
            rows=self._send_share(batch.rows),
        )

    def _send_images(self, images: Tensor) -> Tensor:
        # As they lie in memory: transposing them is the device's work. It isn't done here, since a
        # graph that is cut meanwhile would take in what is pending on this thread.
        return self._send_share(channels_last(images))

    def _send_share(self, part: Tensor) -> Tensor:
        import torch_xla.distributed.spmd as xs

        if self._mesh is None:
            return self._send(part)
        # minibatch: what a host passes is its own part of the batch.
        shares = xs.ShardingSpec(self._mesh, ("data", *[None] * (part.ndim - 1)), minibatch=True)
        return self._send(part, shares)

    def _whole(self, outputs: Any) -> Any:  # noqa: ANN401
        if self._mesh is not None:
            # A tensor that is sharded already can't be marked anew, so each becomes another.
            outputs = {name: tensor + 0 for name, tensor in outputs.items()}
            self._replicate(outputs.values())
        _sync()
        return outputs

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
        before = [{key: group[key] for key in ("lr", "capturable", "fused")} for group in groups]
        for group in groups:
            # So computed, a rate of 0 would be NaN where the gradient has always been 0.
            rate = self._send(torch.tensor([max(group["lr"], 1e-30)]))
            # A checkpoint from another device may ask for a fused step, which XLA has not.
            group.update(lr=rate, capturable=True, fused=False)
        try:
            yield
        finally:
            for group, settings in zip(groups, before, strict=True):
                group.update(settings)


def _thread_cpu_devices() -> None:
    """Have XLA's CPU client take two threads a device, where the user hasn't chosen.

    It takes as many as there are cores or devices. A device waits for the others in a thread of its
    own, and where all but one wait, one other task is enough to keep the last from ever starting:
    XLA ends the process after ten seconds.
    """
    devices = os.environ.get("CPU_NUM_DEVICES", "")
    if devices.isdecimal():
        os.environ.setdefault("NPROC", str(max(usable_cores(), 2 * int(devices))))


def _track_unbiased_variance(module: _BatchNorm) -> list[RemovableHandle]:
    """Correct torch_xla, which tracks the biased variance of a batch where PyTorch does not.

    Of `n` values, the unbiased one is `n / (n - 1)` times as large.
    """
    before: list[Tensor] = []

    def remember(module: Any, inputs: tuple[Tensor]) -> None:  # noqa: ANN401
        if module.training:
            before.append(module.running_var.clone())

    def correct(module: Any, inputs: tuple[Tensor], output: Tensor) -> None:  # noqa: ANN401
        if module.training:
            kept = before.pop() * (1 - module.momentum)
            n = inputs[0].numel() // inputs[0].shape[1]
            # As data: the backward pass holds on to this tensor, though its values don't matter.
            module.running_var.data += (module.running_var - kept) / (n - 1)

    return [
        module.register_forward_pre_hook(remember),
        module.register_forward_hook(correct),
    ]


def _sync() -> None:
    import torch_xla

    torch_xla.sync()
