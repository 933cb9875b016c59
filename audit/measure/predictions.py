"""What a network predicts: loss, correctness, confidence and margins from one forward pass (M7)."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from audit.errors import AuditError
from audit.measure.network import Batches, Inputs, class_logits, evaluating, unfinished
from audit.measure.ranks import Shard

ROUNDED, NONE = 1e-6, -15.0
"""Logarithms of 1 and of 0 in single precision: its distance from 1 to the next number is e⁻¹⁶."""


@dataclass(frozen=True)
class Outputs:
    """Per sample, in the order of the batches; float64 [n] unless said otherwise.

    label, prediction   int64 [n]
    loss                cross entropy, nats
    correct             1 where the prediction is the label
    confidence          the largest probability
    closeness           1 − Σ p_k² (M7), 0 far from the decision boundary
    margin              p_(1) − p_(2)
    logit_margin        z_y − max_{k≠y} z_k, negative where the sample is misclassified
    log_probabilities   float32 [n, C], since there may be many classes
    """

    label: Tensor
    prediction: Tensor
    loss: Tensor
    correct: Tensor
    confidence: Tensor
    closeness: Tensor
    margin: Tensor
    logit_margin: Tensor
    log_probabilities: Tensor

    @property
    def probable(self) -> bool:
        """Whether probabilities are known, and not only what was decided."""
        return not bool(self.loss.isnan().any())

    @property
    def certain(self) -> bool:
        """Whether every probability is 0 or 1, as far as its type tells: these are decisions."""
        logs = self.log_probabilities
        return bool(((logs > -ROUNDED) | (logs < NONE)).all())

    def deciding(self, prediction: Tensor) -> Outputs:
        """The same, with other decisions than the classes of the largest logits."""
        return replace(self, prediction=prediction, correct=(prediction == self.label).double())

    def without_probabilities(self) -> Outputs:
        """What is known where only the decisions are: NaN in place of all else."""
        decided = ("label", "prediction", "correct")
        rest = [column.name for column in fields(self) if column.name not in decided]
        return replace(self, **{name: getattr(self, name) * torch.nan for name in rest})


@torch.no_grad()
def predict(model: nn.Module, batches: Batches) -> Outputs:
    """Everything that one forward pass tells of each sample.

    Raises AuditError where logits are not finite, or a label has no logit.
    """
    shard, parts, broken, unread = Shard(batches), [], 0, 0
    with evaluating(model):
        for inputs, labels in shard.pairs():
            logits, labels = _logits(model, inputs).double().cpu(), labels.cpu()
            _check_labels(logits, labels)
            if not bool(torch.isfinite(logits).all()):
                broken += int((~torch.isfinite(logits)).any(1).sum())
                unread += int(unfinished(inputs).sum())
            parts.append(outputs(logits, labels))
    found = Outputs(
        *(
            shard.joined([getattr(part, column.name) for part in parts])
            for column in fields(Outputs)
        )
    )
    broken, unread = shard.total(broken), shard.total(unread)
    if broken:
        raise AuditError(not_finite(broken, len(found.label), unread))
    return found


def not_finite(broken: int, number: int, unread: int) -> str:
    """That logits of some of a number of samples are not finite, as so many samples' inputs are."""
    what = f"the model's logits are not finite for {broken} of {number} samples (NaN or infinity)"
    if unread:
        return f"{what}; neither are the inputs of {unread}: fill in what is missing there"
    return f"{what}; were the weights trained without diverging?"


def _logits(model: nn.Module, inputs: Inputs) -> Tensor:
    """The logits of a batch; AuditError where a network that read others cannot read these."""
    try:
        return class_logits(model(inputs))
    except (AuditError, MemoryError, torch.OutOfMemoryError):
        raise
    except (IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        hint = "; are all codes within its table?" if isinstance(error, IndexError) else ""
        raise AuditError(f"the network cannot read some of the samples: {reason}{hint}") from error


def outputs(logits: Tensor, labels: Tensor) -> Outputs:
    """The per-sample measures of logits [n, C] and labels [n].

    >>> found = outputs(torch.tensor([[2.0, 0.0]]), torch.tensor([1]))
    >>> found.correct.item(), found.logit_margin.item()
    (0.0, -2.0)
    """
    logits = logits.double()
    logs = logits.log_softmax(1)
    probabilities = logs.exp()
    ranked = probabilities.topk(2, 1).values
    own = logits.gather(1, labels[:, None])[:, 0]
    others = logits.scatter(1, labels[:, None], -torch.inf).amax(1)
    prediction = logits.argmax(1)
    return Outputs(
        labels,
        prediction,
        functional.cross_entropy(logits, labels, reduction="none"),
        (prediction == labels).double(),
        ranked[:, 0],
        1.0 - probabilities.square().sum(1),
        ranked[:, 0] - ranked[:, 1],
        own - others,
        logs.float(),
    )


def _check_labels(logits: Tensor, labels: Tensor) -> None:
    if int(labels.max()) >= logits.shape[1]:
        raise AuditError(
            f"the model gives {logits.shape[1]} logits; the labels go up to {int(labels.max())}"
        )
    if int(labels.min()) < 0:
        raise AuditError(f"found a label {int(labels.min())}; expected positions of classes from 0")
