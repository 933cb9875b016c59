"""The bi-level solver: mask and weights learned together under fairness constraints (M §5).

    min over m of  L_up(m⊙θ*(m))  subject to the constraints and ‖m‖₀ ≤ k,
    where θ*(m) minimises  L_low(m⊙θ) + (γ/2)‖θ‖²  under the same constraints.

Lower batches come from the training split; upper batches and the multipliers from the select
split, which the weights have not seen. When the mask and the multipliers are frozen, the weights
settle on both splits, so that the solver has used no less and no more data than its baselines.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Annotated

from torch import Tensor

from audit.checked import Count, NotNegative, Positive, Share, checked, one_of
from audit.mitigate.constraints import Constraint
from audit.models.training import TrainingSettings
from audit.prune.mask import Mask
from audit.prune.projection import check_structure


@checked
class BilevelSettings:
    """How the solver runs.

    structure          what survives as a unit: weight, layer, filter or N:M (see `project`)
    weight_steps       K, the weight steps between two mask steps
    mask_step          β, in units of the mean dense weight per unit of the normalised gradient
    ridge              γ of the lower problem; the implicit term of the mask gradient is over γ
    ramp_share         share of the steps over which the rate rises along a cubic to the one asked
                       for; 0: from the first step on
    mask_share         share of the steps after which the mask freezes
    multiplier_share   share of the steps after which the multipliers freeze too, at the mean of the
                       second half of their path, because the violations of small groups are noisy;
                       until then the weights see the training split alone; None: the constraints'
                       own, the latest of several
    multiplier_step    η, multiplier per unit of violation; None: the constraint's own
    multiplier_bound   the largest multiplier; None: the constraint's own
    multiplier_gain    κ, how much the multipliers follow the violation of the moment (Multipliers);
                       None: the constraint's own
    multiplier_split   select, or train: what the multipliers read
    mask_split         select, or train: what the mask steps read. A mask that follows the select
                       split fits it, and what the multipliers read there is then no longer news
    settle_split       both: once mask and multipliers are frozen, the weights see train + select,
                       and the last network is kept. train: they never see select, and the network
                       kept is the one that it shows to be best from the frozen mask on
    fair_weights, fair_mask   whether the constraints are in the weight and in the mask steps; for
                       ablations (Dai et al., 5.4)

    Raises AuditError where a value is of another type or out of its range.
    """

    training: TrainingSettings = field(default_factory=TrainingSettings)
    structure: str = "weight"
    weight_steps: Count = 1
    mask_step: NotNegative = 0.05
    ridge: Positive = 1.0
    ramp_share: Share = 0.2
    mask_share: Share = 0.4
    multiplier_share: Share | None = None
    multiplier_step: NotNegative | None = None
    multiplier_bound: NotNegative | None = None
    multiplier_gain: NotNegative | None = None
    multiplier_split: Annotated[str, one_of("select", "train")] = "select"
    mask_split: Annotated[str, one_of("select", "train")] = "select"
    settle_split: Annotated[str, one_of("both", "train")] = "both"
    fair_weights: bool = True
    fair_mask: bool = True

    def __post_init__(self) -> None:
        check_structure(self.structure)


def multiplier_share(asked: float | None, constraints: Sequence[Constraint]) -> float:
    """The share asked for, or the latest of the constraints' own."""
    if asked is not None:
        return asked
    own = (constraint.multiplier_share for constraint in constraints)
    return max(own, default=Constraint.multiplier_share)


def changed_share(before: Mask, after: Mask) -> float:
    """The share of the weights kept after a mask step that it has replaced."""
    changed = sum(int((before.parts[n] & ~part).sum()) for n, part in after.parts.items())
    return changed / after.survivors


def mask_gradient(
    theta: Mapping[str, Tensor],
    mask: Mapping[str, Tensor],
    upper: Mapping[str, Tensor],
    lower: Mapping[str, Tensor],
    ridge: float,
) -> dict[str, Tensor]:
    """Gradient of the upper loss by the mask, with the implicit term (M §5; Zhang et al. 2022).

    θ⊙g_up − (1/γ) g_low⊙(m⊙g_up), where dθ*/dm = −(1/γ) diag(g_low); g_up and g_low are the
    gradients by z = m⊙θ on upper and lower batches. One tensor a layer, shaped as its weight.
    """
    return {
        name: theta[name] * upper[name]
        - lower[name] * (mask[name].to(upper[name].device) * upper[name]) / ridge
        for name in theta
    }
