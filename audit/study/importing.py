"""A dense network that another tool trained, taken over: checked, and said to be what it is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from audit.data.grouped import GroupedData
from audit.durations import timed
from audit.errors import AuditError
from audit.examine.settings import MeasureSettings
from audit.examine.subject import Subject, make_subject
from audit.findings.decisions import ALPHA
from audit.measure.sense import agreement
from audit.models.checkpoint import Checkpoint, Provenance, make_checkpoint
from audit.models.live import masks_beside
from audit.models.weights import is_checkpoint, network_of
from audit.models.zoo import Architecture
from audit.study.live import of_unknown_samples


@timed("importing")
def import_weights(
    path: Path | str,
    factory: str,
    data: GroupedData,
    outputs: str | None = None,
    state: str | None = None,
) -> Checkpoint:
    """The checkpoint of a dense network whose weights another tool left in a file.

    factory  what builds the network that they belong to: `package.module:function`, or what a
             library has under that name (`audit.models.libraries`)
    outputs  what it gives, where that is no logits: log-probabilities or probabilities
    state    under what name the state dict stands in the file, where it holds several

    Which samples it was trained on cannot be seen in it, and its notes say so. Raises AuditError
    where the weights are not those of the network, it is pruned already, or it cannot be measured
    on the test samples: as `compare_weights` does.
    """
    path = Path(path)
    if is_checkpoint(path):
        raise AuditError(
            f"'{path}' is a checkpoint of this toolkit already; prune, mitigate or measure it as "
            "it is"
        )
    architecture = Architecture(factory, data.input_shape, len(data.classes), outputs=outputs)
    network, notes = network_of(path, architecture, state)
    said = (*_unknown_training(data), *notes, *masks_beside(network))
    made = make_checkpoint(network, architecture, data, Provenance("dense", notes=said))
    doubts = _doubts(
        make_subject(made, made, data, MeasureSettings(resamples=1), path.stem, factory)
    )
    return replace(made, provenance=replace(made.provenance, notes=(*doubts, *said)))


def _unknown_training(data: GroupedData) -> tuple[str, ...]:
    """What nobody can know of a network that was trained elsewhere."""
    learnt = any((one.mean, one.spread) != (0.0, 1.0) for one in data.preparation)
    scaled = (
        "numbers were standardised by the train samples, whatever it was trained with (scale=none "
        "leaves them as they stand)",
    ) * learnt
    if not data.drawn:
        return (
            "was trained elsewhere: that it has seen no test sample is what the data say, by the "
            "splits that they declare",
            *scaled,
        )
    if not len(data.splits["train"]):
        return (
            "was trained elsewhere, nothing says on which samples: those that it was trained on "
            "show less harm than new ones",
            *scaled,
        )
    return (*of_unknown_samples(data, dense=True), *scaled)


def _doubts(subject: Subject) -> tuple[str, ...]:
    """That the network knows nothing of the labels, where it does not, beyond chance."""
    outputs, number = subject.outputs, len(subject.data.classes)
    found = agreement(outputs.label.numpy(), outputs.prediction.numpy(), number)
    if not found.p_value >= ALPHA:
        return ()
    return (
        f"is right on {found.observed:.1%} of the {len(outputs.label):,} test samples, and answers "
        f"dealt out by lot on {found.by_chance:.1%}, which is no difference beyond chance: was it "
        "trained, and on inputs and classes made as these are?",
    )
