"""The solver inside Lightning's Trainer: a callback. Nothing else of this package loads it.

>>> from audit.mitigate.lightning import FairPruning                   # doctest: +SKIP
>>> pruning = FairPruning(rate=0.9, groups=7)                          # doctest: +SKIP
>>> lightning.Trainer(callbacks=[pruning]).fit(module, loader)         # doctest: +SKIP

The module's `training_step` gives back the loss of the pruner that it now holds:
`return self.pruner.loss(inputs, labels, groups)`.
"""

from __future__ import annotations

import copy
import math
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from torch import nn

from audit.errors import AuditError
from audit.extras import check_extra
from audit.mitigate.pruner import FairPruner
from audit.prune.mask import Mask

if TYPE_CHECKING:
    from lightning.pytorch import Callback, LightningModule, Trainer
elif find_spec("lightning"):
    from lightning.pytorch import Callback
else:
    Callback = object


class FairPruning(Callback):  # type: ignore[misc]
    """Prunes the network of a LightningModule fairly while a Trainer trains it.

    While it trains the module has a `pruner` (FairPruner), whose `loss` its `training_step` gives
    back; everything else is the Trainer's own: optimiser, scheduler, precision, accumulation,
    checkpoints, from which it goes on.

    network  the attribute of the module that is pruned and now dense; None: the module itself
    more     as of `FairPruner`: rate, constraint, groups, settings …

    In the end `mask` is the mask, and the network's removed weights are exactly zero. Raises
    AuditError where optimisation is manual, a batch is spread over several devices, or weights are
    averaged, which mixes those of several masks.
    """

    mask: Mask | None = None

    def __init__(self, *, network: str | None = None, **more: Any) -> None:
        check_extra("lightning", "pruning in its Trainer")
        self.network, self.more = network, more
        self.dense: nn.Module | None = None
        self.pruner: FairPruner | None = None
        self.stored: dict[str, Any] | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Keep the dense network, before a checkpoint is loaded."""
        if stage == "fit":
            if trainer.world_size > 1 or not pl_module.automatic_optimization:
                raise AuditError(
                    "found several processes, or manual optimisation; expected one process and the "
                    "Trainer's own optimisation"
                )
            averaging = [
                type(one).__name__
                for one in getattr(trainer, "callbacks", ())
                if any("WeightAveraging" in kind.__name__ for kind in type(one).__mro__)
            ]
            if averaging:
                raise AuditError(
                    f"found {averaging[0]}, and the average of weights under several masks is not "
                    "pruned; expected a Trainer without it"
                )
            self.dense = copy.deepcopy(self._found(pl_module))

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin, or go on from the checkpoint that the Trainer has loaded."""
        steps = trainer.estimated_stepping_batches
        assert self.dense is not None  # kept at set-up
        self.dense.to(pl_module.device)
        # Of training without an end, or samples without a number, the steps are not known.
        known = int(steps) if 0 < steps < math.inf else None
        given = {"steps": known, "dense": self.dense, **self.more}
        self.pruner = FairPruner(self._found(pl_module), **given)
        if self.stored is not None:
            self.pruner.load_state_dict(self.stored)
        self.taken = trainer.global_step
        pl_module.pruner = self.pruner

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, *_: Any, **__: Any
    ) -> None:
        """Where the optimiser has moved the weights, mask and multipliers follow."""
        if trainer.global_step > self.taken:
            assert self.pruner is not None  # since training has started
            self.pruner.after_step()
            self.taken = trainer.global_step

    def state_dict(self) -> dict[str, Any]:
        """The pruner's, for the Trainer's checkpoints."""
        return {} if self.pruner is None else {"pruner": self.pruner.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from what a checkpoint holds."""
        self.stored = state_dict.get("pruner")

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """End it: the network is then an ordinary one."""
        assert self.pruner is not None
        self.mask, self.pruner = self.pruner.finish(), None
        del pl_module.pruner

    def _found(self, module: LightningModule) -> nn.Module:
        found = getattr(module, self.network, None) if self.network else module
        if not isinstance(found, nn.Module):
            raise AuditError(
                f"found no network '{self.network}' in {type(module).__name__}; expected the "
                "attribute of the module that is pruned"
            )
        return found
