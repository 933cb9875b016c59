"""The solver inside Hugging Face's Trainer: a callback. Nothing else of this package loads it.

>>> from audit.mitigate.huggingface import FairPruning       # doctest: +SKIP
>>> FairPruning(trainer, rate=0.9, groups=7)                 # doctest: +SKIP
>>> trainer.train()                                          # doctest: +SKIP
"""

from __future__ import annotations

import copy
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from audit.errors import AuditError
from audit.extras import check_extra
from audit.mitigate.pruner import FairPruner
from audit.prune.mask import Mask

if TYPE_CHECKING:
    from transformers import Trainer, TrainerCallback
elif find_spec("transformers"):
    from transformers import TrainerCallback
else:
    TrainerCallback = object

STATE = "fair_pruner.pt"
"""The file beside the Trainer's own in every checkpoint, from which training goes on."""


def check_trainer(trainer: Trainer) -> None:
    """Raise AuditError where a setting of the Trainer would drop the groups, or have no effect."""
    args = trainer.args
    if args.remove_unused_columns:
        raise AuditError(
            "the Trainer removes columns that the network does not take, and with them the groups; "
            "expected TrainingArguments(remove_unused_columns=False)"
        )
    if args.load_best_model_at_end:
        raise AuditError(
            "the best checkpoint can be one from before the network was pruned as far; expected "
            "TrainingArguments(load_best_model_at_end=False)"
        )
    if args.label_smoothing_factor or getattr(trainer, "compute_loss_func", None):
        raise AuditError(
            "found label smoothing or a compute_loss_func, and the loss is the pruner's; give it "
            "as the pruner's criterion"
        )
    if args.n_gpu > 1 or args.world_size > 1:
        raise AuditError("found several devices; the solver prunes in one process on one")


class FairPruning(TrainerCallback):  # type: ignore[misc]
    """Prunes the network of a Trainer fairly while it trains; everything else is the Trainer's own.

    The Trainer's optimiser, scheduler, precision, clipping and gradient accumulation are used as
    they are. Its loss is the `FairPruner`'s. Checkpoints hold the pruner's state too, and
    `train(resume_from_checkpoint=…)` goes on from there.

    trainer  whose network is trained and dense; its samples hold `labels`, and each one's group
    column   the name of the groups' positions among a sample's entries
    more     as of `FairPruner`: rate, constraint, groups, settings …

    In the end `mask` is the mask, and the network's removed weights are exactly zero. Raises
    AuditError where the Trainer's settings cannot go with it (`check_trainer`).
    """

    mask: Mask | None = None

    def __init__(self, trainer: Trainer, *, column: str = "groups", **more: Any) -> None:
        check_extra("transformers", "pruning in its Trainer")
        check_trainer(trainer)
        self.column, self.more = column, more
        self.network: nn.Module = trainer.model
        # As it is now: when training resumes it is pruned already.
        self.dense = copy.deepcopy(self.network)
        self.pruner: FairPruner | None = None
        self._own_loss = trainer.compute_loss
        trainer.compute_loss = self.compute_loss
        # The mean over a batch: the Trainer divides it by the batches of a step.
        trainer.model_accepts_loss_kwargs = False
        trainer.add_callback(self)

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Any], return_outputs: bool = False, **more: Any
    ) -> Any:
        """The loss of a batch: the pruner's while it trains, the Trainer's where it evaluates."""
        inputs = dict(inputs)
        groups: Tensor | None = inputs.pop(self.column, None)
        if self.pruner is None or not model.training:
            return self._own_loss(model, inputs, return_outputs, **more)
        if groups is None:
            raise AuditError(
                f"found no '{self.column}' in a batch; expected the position of each sample's group"
            )
        return self.pruner.loss(inputs, inputs.pop("labels"), groups)

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Begin, or go on from the checkpoint that the Trainer has loaded."""
        given = {"steps": state.max_steps, "dense": self.dense, **self.more}
        self.pruner = FairPruner(self.network, **given)
        if state.global_step:
            found = Path(args.output_dir) / f"checkpoint-{state.global_step}" / STATE
            if not found.is_file():
                raise AuditError(f"there is no '{found}', from which the pruner could go on")
            device = next(self.network.parameters()).device
            self.pruner.load_state_dict(torch.load(found, device, weights_only=True))

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """The optimiser has moved the weights: mask and multipliers follow."""
        assert self.pruner is not None  # since training has begun
        self.pruner.after_step()

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Keep the pruner's state in the checkpoint that was just written."""
        assert self.pruner is not None
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        torch.save(self.pruner.state_dict(), folder / STATE)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """End it: the network is then an ordinary one."""
        assert self.pruner is not None
        self.mask, self.pruner = self.pruner.finish(), None
