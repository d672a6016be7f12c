"""ProductClassifier: loss, metrics and optimiser around a timm network."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Timer
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.amp.autocast_mode import is_autocast_available
from torch.nn import functional as F
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from fashion.attributes import MISSING
from fashion.data.batches import Batch
from fashion.metrics.metrics import FIGURES, classification_metrics
from fashion.models.cut import NoCutError, find_cut
from fashion.models.cut_network import MIN_PHOTOS_TO_COMPILE, CutNetwork, can_compile
from fashion.models.network import PhotoClassifier, check_rate
from fashion.training.continuation import is_between_epochs
from fashion.training.evaluated import BLOCK, Evaluated, to_probabilities
from fashion.training.losses import check_head_weights, loss_of_heads
from fashion.training.optimizers import check_optimizer, forget_device, fuse, settle_state

BETA = 0.9999
CLASS_WEIGHTS: dict[str, Callable[[Tensor], Tensor]] = {
    "balanced": lambda counts: 1 / counts,
    "effective": lambda counts: (1 - BETA) / (1 - BETA**counts),
}


class ProductClassifier(PhotoClassifier, LightningModule):
    """A `PhotoClassifier` that learns: its loss, its figures, its optimiser.

    Args:
        class_names: This and the next six: see `PhotoClassifier`.
        backbone: See above.
        pretrained: See above.
        weights: See above.
        input_size: See above.
        unfreeze: See above.
        dropout: See above.
        label_smoothing: Weight of the uniform distribution in the targets, in [0, 1).
        class_weights: How much a training photo weighs by its class, 1 on average: `balanced` is
            inverse to the class's photos, `effective` to their effective number; None: all alike.
        logit_adjustment: In training alone, how much of the logarithm of each class's share is
            added to its logit, so that rare classes aren't out-voted later; 0 adds none.
        attributes: See `PhotoClassifier`.
        head_weights: How much the label and each attribute weigh in the loss, in their order;
            None: 1 each.
        optimizer: Takes the trainable parameters; None for a model that only predicts.
        compile: Compile the frozen side; None does so where it pays, on a CPU.
        seed: Seeds dropout together with rank and batch number.

    Raises:
        ValueError: A setting is out of range; see also `PhotoClassifier`.

    References:
        Class weights: Cui et al., Class-Balanced Loss Based on Effective Number of Samples, 2019.
        Logit adjustment: Menon et al., Long-tail Learning via Logit Adjustment, 2021.

    Attributes:
        uncut_reason: Why `cut_network` can't cut it.
    """

    weight: Tensor  # (W,) of the classes in the training loss
    prior: Tensor  # (W,) what it adds to the logits
    train_sums: Tensor  # of loss, accuracy and 1 over the epoch's batches

    def __init__(
        self,
        class_names: Sequence[str],
        *,
        backbone: str,
        pretrained: bool,
        weights: str | None,
        input_size: int,
        unfreeze: str | Sequence[str],
        dropout: float,
        label_smoothing: float,
        class_weights: str | None = None,
        logit_adjustment: float = 0.0,
        attributes: Mapping[str, Sequence[str]] | None = None,
        head_weights: Sequence[float] | None = None,
        optimizer: Callable[[Iterable[nn.Parameter]], Optimizer] | None = None,
        compile: bool | None = None,
        seed: int = 0,
    ) -> None:
        check_rate("label_smoothing", label_smoothing)
        _check_imbalance(class_weights, logit_adjustment)
        check_head_weights(head_weights, attributes)
        check_optimizer(optimizer)
        if not isinstance(compile, (bool, type(None))):
            raise ValueError(f"model.compile={compile!r} must be true, false or null.")
        super().__init__(
            class_names,
            backbone=backbone,
            pretrained=pretrained,
            weights=weights,
            input_size=input_size,
            unfreeze=unfreeze,
            dropout=dropout,
            attributes=attributes,
        )
        of_attributes = () if attributes else ("attributes", "head_weights")
        self.save_hyperparameters(ignore=["optimizer", *of_attributes])
        self.head_weights = head_weights or [1.0] * len(self.heads.names)
        self.register_buffer("weight", torch.ones(self.heads.width), persistent=False)
        self.register_buffer("prior", torch.zeros(self.heads.width), persistent=False)
        self.register_buffer("train_sums", torch.zeros(3), persistent=False)
        self._ddp_params_and_buffers_to_ignore = ["train_sums"]  # each process has its own
        self.optimizer = optimizer
        self.schedule_shift = 0  # by how many steps the schedule is ahead of those taken
        self._resumed_between_epochs = False
        self._asked: list[dict[str, Any]] = []  # settings of the optimiser's groups
        self._evaluated = Evaluated()
        self.uncut_reason = ""
        self._cut_network: list[CutNetwork] | None = None  # in a list, since they hold modules

    def cut_network(self) -> CutNetwork | None:
        """Return the network's two sides, cut at the first call, or None where it can't be cut."""
        if self._cut_network is None:
            try:
                cut = find_cut(self.backbone, self.input_size)
                self._cut_network = [CutNetwork(self.backbone, cut, self.mean, self.std)]
            except NoCutError as error:
                self.uncut_reason = str(error)
                self._cut_network = []
        return self._cut_network[0] if self._cut_network else None

    def prepare_cut_network(self, trainer: Trainer, num_photos: int, num_trained: int = 0) -> None:
        """Ready both sides for the trainer's device and precision.

        Args:
            trainer: Knows them.
            num_photos: How many photos the frozen side is to compute.
            num_trained: On how many the other side is to be trained.
        """
        cut_network, device = self.cut_network(), trainer.strategy.root_device
        if cut_network is None:
            return
        dtype = next(self.backbone.parameters()).dtype
        with trainer.precision_plugin.forward_context():
            if is_autocast_available(device.type) and torch.is_autocast_enabled(device.type):
                dtype = torch.get_autocast_dtype(device.type)
        asked, possible = self.hparams["compile"], can_compile(device, dtype)
        compiled, compiled_tail = (
            possible and number >= MIN_PHOTOS_TO_COMPILE if asked is None else asked
            for number in (num_photos, num_trained)
        )
        cut_network.prepare(device, dtype, compiled=compiled, compiled_tail=compiled_tail)

    def on_fit_start(self) -> None:
        """Ready both sides; the weights are on the device and those of a resumed run by now."""
        datamodule: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        num_photos = len(datamodule.splits.rows("train")) if datamodule else 0
        num_trained = (self.trainer.max_epochs or 1) * num_photos
        has_features = datamodule and datamodule.features
        self.prepare_cut_network(self.trainer, 0 if has_features else num_trained, num_trained)
        if datamodule and self._minds_imbalance():
            targets = self.heads.targets(torch.from_numpy(datamodule.splits.targets("train")))
            self._learn_classes(
                [
                    torch.bincount(own[own != MISSING], minlength=len(names))
                    for own, names in zip(targets, self.heads.names, strict=True)
                ]
            )

    def _minds_imbalance(self) -> bool:
        return bool(self.hparams["class_weights"] or self.hparams["logit_adjustment"])

    def _learn_classes(self, counts_of_heads: Iterable[Tensor]) -> None:
        """Take weights and priors from the training photos of each class, `(K,)` a head."""
        weights, priors = [], []
        for whole in counts_of_heads:
            counts = whole.double()
            if self.hparams["class_weights"]:
                weight = CLASS_WEIGHTS[self.hparams["class_weights"]](counts)
                weights.append(weight * counts.sum() / (weight * counts).sum())
            priors.append(self.hparams["logit_adjustment"] * (counts / counts.sum()).log())
        if weights:
            self.weight = torch.cat(weights).to(self.weight)
        self.prior = torch.cat(priors).to(self.prior)

    def on_predict_start(self) -> None:
        """Ready both sides for the weights that have been loaded."""
        self._evaluated.clear()  # of what a prediction that failed has left
        self.prepare_cut_network(self.trainer, 0)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Decay the learning rate to zero along a cosine over all steps.

        Between epochs it depends on the epochs alone, so that a run may go on with larger batches.
        """
        if self.optimizer is None:
            raise RuntimeError("This ProductClassifier was built without an optimizer.")
        optimizer = self.optimizer(p for p in self.parameters() if p.requires_grad)
        fuse(optimizer, self.optimizer, self.device)
        self._asked = [
            {key: value for key, value in group.items() if key != "params"}
            for group in optimizer.param_groups
        ]
        schedule = LambdaLR(optimizer, self._cosine)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def on_train_start(self) -> None:
        """Have a run that goes on take the optimiser's settings, and the steps, of now.

        How this device computes a step is among them: another way rounds otherwise.
        """
        trainer: Any = self.trainer
        if not trainer.ckpt_path:
            return
        if self._resumed_between_epochs and trainer.max_steps == -1 and trainer.max_epochs > 0:
            per_epoch = trainer.estimated_stepping_batches // trainer.max_epochs
            self.schedule_shift = trainer.current_epoch * per_epoch - trainer.global_step
        optimizer, schedule = trainer.optimizers[0], trainer.lr_scheduler_configs[0].scheduler
        for place, (group, asked) in enumerate(
            zip(optimizer.param_groups, self._asked, strict=True)
        ):
            schedule.base_lrs[place] = asked["lr"]
            rate = asked["lr"] * self._cosine(schedule.last_epoch)
            group |= {**asked, "initial_lr": asked["lr"], "lr": rate}
        settle_state(optimizer)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Seed dropout by the batch, so that a resumed run draws what an unbroken one would."""
        key = (self.hparams["seed"], self.global_rank, self.trainer.fit_loop.total_batch_idx)
        # Mixed, because PyTorch's CPU generator takes only the low 32 bits of a seed.
        torch.manual_seed(int(np.random.SeedSequence(key).generate_state(1)[0]))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the smoothed cross-entropy of a batch."""
        logits = self._logits(batch)
        loss = self._training_loss(logits, batch.targets)
        labels, targets = self.heads.outputs(logits)[0], self.heads.targets(batch.targets)[0]
        accuracy = (labels.argmax(dim=1) == targets).float().mean()
        self.train_sums += torch.stack([loss.detach(), accuracy, torch.ones_like(accuracy)])
        return loss

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:  # noqa: ANN401
        """Log the loss every `trainer.log_every_n_steps` steps; reading it waits for the device."""
        trainer: Any = self.trainer
        steps = trainer.log_every_n_steps
        is_step = not trainer.fit_loop._should_accumulate()
        if 0 < trainer.max_steps <= trainer.global_step:
            trainer.should_stop = True  # so that an epoch which ends in its middle is validated
        if steps and is_step and trainer.global_step % steps == 0:
            # Lightning has divided it by the number of parts whose gradients it adds up.
            loss = outputs["loss"].cpu() * trainer.accumulate_grad_batches
            self._check_loss(bool(loss.isfinite()))
            self.log("train/loss_step", loss, prog_bar=True)

    def on_train_epoch_start(self) -> None:
        """Begin new sums; an epoch resumed in its middle goes on with its own."""
        self.train_sums = torch.zeros(3).to(self.device)

    def on_train_epoch_end(self) -> None:
        """Log the epoch's training figures."""
        self._log(self.train_figures())

    def train_figures(self) -> dict[str, float]:
        """Return the mean `train/loss` and `train/accuracy` of the current epoch's batches."""
        sums = self.train_sums
        if self.trainer.world_size > 1:
            sums = self._from_all_processes(sums[None]).sum(dim=0)
        loss, accuracy, batches = sums.tolist()
        self._check_loss(math.isfinite(loss))
        return {"train/loss": loss / batches, "train/accuracy": accuracy / batches}

    def validation_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Return the batch's `logits` `(B, W)`, `targets` and `rows`."""
        return {"logits": self._logits(batch), "targets": batch.targets, "rows": batch.rows}

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Return what `validation_step` does."""
        return self.validation_step(batch, batch_idx)

    def on_validation_batch_end(self, outputs: Any, *args: Any) -> None:  # noqa: ANN401
        """Keep what the step returned for `collect`."""
        self._evaluated.add(outputs)

    def on_predict_batch_end(self, outputs: Any, *args: Any) -> None:  # noqa: ANN401
        """Keep what the step returned for `collect`."""
        self._evaluated.add(outputs)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store the training figures of an epoch that may be in its middle."""
        checkpoint["train_sums"] = self.train_sums.tolist()
        checkpoint["schedule_shift"] = self.schedule_shift

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on with the training figures of an interrupted epoch, and along the schedule."""
        forget_device(checkpoint.get("optimizer_states", []))
        self.schedule_shift = checkpoint.get("schedule_shift", 0)
        self._resumed_between_epochs = is_between_epochs(checkpoint)
        self.train_sums.copy_(torch.tensor(checkpoint["train_sums"]))

    def on_validation_epoch_end(self) -> None:
        """Log loss, accuracy, macro-F1 and macro-AUPRC of the whole split, computed on the host.

        The first process does, for they share the host's cores.
        """
        evaluated = self._evaluated.collect(self.trainer.world_size, in_all=False)
        figures = self._validation_figures(*evaluated[:2]) if evaluated else None
        figures = self.trainer.strategy.broadcast(figures)
        if figures is None:
            raise FloatingPointError(f"{self._where()} the model's logits")
        self._log({f"val/{name}": value for name, value in figures.items()})

    def _validation_figures(self, logits: Tensor, targets: Tensor) -> dict[str, float] | None:
        """Return the figures, or None where a logit is no number; the logits are lost."""
        if not torch.stack(logits.aminmax()).isfinite().all():  # of which NaN is both
            return None
        size = max(1, BLOCK // logits.shape[1])
        parts = zip(torch.split(logits, size), torch.split(targets, size), strict=True)
        loss = sum(float(self._loss(*part)) * (len(part[1]) / len(targets)) for part in parts)
        probabilities = [to_probabilities(part) for part in self.heads.outputs(logits)]
        of_heads = self.heads.targets(targets)
        figures = classification_metrics(probabilities[0], of_heads[0])
        for place, name in enumerate(self.heads.attributes, 1):
            known = of_heads[place] != MISSING
            if known.any():
                own = classification_metrics(probabilities[place][known], of_heads[place][known])
                figures |= {f"{name}_{key}": figure for key, figure in own.items()}
        return {**figures, "loss": loss}

    def collect(self) -> tuple[Tensor, Tensor, Tensor]:
        """Hand over what was evaluated since the last call, to all processes; see `Evaluated`."""
        evaluated = self._evaluated.collect(self.trainer.world_size)
        assert evaluated
        return evaluated

    def _logits(self, batch: Batch) -> Tensor:
        inputs, cut_network = batch.inputs, self._cut_network[0] if self._cut_network else None
        if cut_network is None:
            assert isinstance(inputs, Tensor)
            return self(inputs)  # type: ignore[no-any-return]
        features = cut_network.frozen(inputs) if isinstance(inputs, Tensor) else inputs
        return cut_network.trainable(features, training=self.training)

    def _log(self, figures: dict[str, float]) -> None:
        for name, value in figures.items():
            shown = name.removeprefix("val/") in FIGURES
            # A tensor of the host, for Lightning would make one of the device.
            self.log(name, torch.tensor(value), prog_bar=shown, rank_zero_only=False)

    def _from_all_processes(self, part: Tensor) -> Tensor:
        gathered = self.all_gather(part)
        assert isinstance(gathered, Tensor)
        return gathered.flatten(0, 1)

    def _cosine(self, step: int) -> float:
        if step == 0:  # asked before Lightning has restored a run and may open its loaders
            return 1.0
        step += self.schedule_shift
        share = max(step / self.trainer.estimated_stepping_batches, self._share_of_time())
        return (1 + math.cos(math.pi * min(share, 1))) / 2

    def _share_of_time(self) -> float:
        """Return how much of `trainer.max_time` is over, by the clock of the first process."""
        trainer: Any = self.trainer
        for timer in trainer.callbacks:
            if not isinstance(timer, Timer):
                continue
            elapsed, left = timer.time_elapsed(), timer.time_remaining()
            if left is not None:
                share = elapsed / max(elapsed + left, 1e-9)
                return float(trainer.strategy.broadcast(share))
        return 0.0

    def _check_loss(self, is_finite: bool) -> None:
        """Refuse to go on with a loss that is no number, in all processes at once.

        A scaler of gradients leaves out a step whose numbers were too large for 16 bits.
        """
        if getattr(self.trainer.precision_plugin, "scaler", None) is not None:
            return
        if not self.trainer.strategy.reduce_boolean_decision(is_finite):
            raise FloatingPointError(f"{self._where()} the loss")

    def _where(self) -> str:
        return f"In epoch {self.trainer.current_epoch}, after step {self.trainer.global_step},"

    def _training_loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        if not self._minds_imbalance():
            return self._loss(logits, targets)
        return self._loss_of_heads(logits.float() + self.prior, targets, self.weight)

    def _loss_of_heads(
        self, logits: Tensor, targets: Tensor, weight: Tensor | None = None
    ) -> Tensor:
        smoothing, shares = self.hparams["label_smoothing"], self.head_weights
        return loss_of_heads(
            self.heads, logits, targets, shares, label_smoothing=smoothing, weight=weight
        )

    def _loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        if self.heads.attributes:
            return self._loss_of_heads(logits.float(), targets)
        smoothing = self.hparams["label_smoothing"]
        return F.cross_entropy(logits.float(), targets, label_smoothing=smoothing)


def _check_imbalance(class_weights: str | None, logit_adjustment: object) -> None:
    if class_weights not in (None, *CLASS_WEIGHTS):
        choices = ", ".join(CLASS_WEIGHTS)
        raise ValueError(
            f"model.class_weights={class_weights!r} is unknown; pass {choices} or null."
        )
    if not (isinstance(logit_adjustment, (int, float)) and 0 <= logit_adjustment < math.inf):
        raise ValueError(f"model.logit_adjustment={logit_adjustment!r} must be 0 or more.")
