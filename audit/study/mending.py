"""From a pruned network that harms somebody to one that does not, in one call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

from audit.checked import checked_table
from audit.data.grouped import GroupedData
from audit.errors import AuditError
from audit.examine.settings import OF_DERIVATIVES, MeasureSettings
from audit.findings.changes import ODDS
from audit.findings.finding import findings_of
from audit.findings.losses import fell
from audit.findings.results import Results
from audit.findings.told import more_than_average
from audit.findings.words import group, listed, points
from audit.mitigate.methods import MITIGATION_METHODS
from audit.models.checkpoint import (
    Checkpoint,
    Provenance,
    called_pruned,
    load_checkpoint,
    parent_of,
    parent_path,
    save_checkpoint,
)
from audit.models.training import TrainingSettings, check_temperature
from audit.prune.mask import Mask, is_pruned, measured_mask
from audit.prune.methods import PRUNING_METHODS
from audit.prune.projection import pattern_of, seen_structure
from audit.study.checkpoints import compare_files, data_of, measure_files
from audit.study.making import prune_model
from audit.study.settings import Method

STRUCTURES = {
    "magnitude-layerwise": "layer",
    "magnitude-2of4": "2:4",
    "l1-filter": "filter",
    "l2-filter": "filter",
    "fpgm": "filter",
}
"""What the methods remove as a whole; the others remove single weights."""


NEAR = 0.02
"""A measured sparsity so near to the rate is what was asked for: filters are not met exactly."""


@dataclass(frozen=True)
class Plan:
    """The constraint that a pruned network needs, and the sentence that says why; or 'none'.

    split   that of the samples which showed it; empty where none were asked
    """

    constraint: str
    reason: str
    split: str = ""


@dataclass(frozen=True)
class Mended:
    """What was planned; the new network and the comparison of both, where there was any need."""

    plan: Plan
    checkpoint: Checkpoint | None = None
    results: Results | None = None


def plan(results: Results, name: str) -> Plan:
    """The constraint for what was found of the network of that name (docs/methods.md, 2).

    It rests on the findings alone. Groups that pay (J1): excess-accuracy. Else what a group lost in
    one class, or rates that differ beyond chance (J5): equalised-odds, with no-harm beside it. Else
    none.
    """
    own = [f for f in results.record["findings"] if name in f["networks"]]
    pays = [finding for finding in own if finding["claim"] == "pays"]
    paying = [group(finding["group"]) for finding in pays if finding["decision"]]
    if paying:
        return Plan(
            "excess-accuracy",
            f"pruning takes more accuracy from {listed(paying)} than from all together",
        )
    otherwise = [f for f in findings_of(results.record) if name in f.networks and f.decision]
    otherwise = [f for f in otherwise if f.claim == "lost_otherwise"]
    of_class = [f for f in otherwise if f.details["class"] is not None]
    if of_class:
        worst = max(of_class, key=lambda one: one.estimate or 0.0)
        return Plan("equalised-odds", more_than_average(worst))
    odds = [f for f in own if f["claim"] == "beyond_chance" and f["metric"] == ODDS]
    for finding in odds:
        if finding["decision"]:
            return Plan(
                "equalised-odds",
                f"the groups' rates differ by {100 * finding['estimate']:.1f} points, beyond what "
                "chance shows",
            )
    if not [one for one in pays if one["decision"] is not None]:
        why = pays[0].get("details", {}).get("why") if pays else None
        return Plan("none", f"who pays is not known: {why or 'no group is judged'}")
    return Plan("none", _nothing_found(results, name))


def _nothing_found(results: Results, name: str) -> str:
    """That nothing was found to mend, and what that does not say: it is no all-clear."""
    own = [one for one in findings_of(results.record) if name in one.networks]
    text = (
        "no group was found to pay for the pruning, nor rates to differ, beyond what chance shows"
    )
    text += "".join(
        f"; but {fell(one)}" for one in own if one.claim == "loss" and one.details["leads"]
    )
    text += "".join(
        f"; but {more_than_average(one)}"
        for one in own
        if one.claim == "lost_otherwise" and one.decision
    )
    if any(one.claim == "collapse" and one.decision for one in own):
        text += "; but it has collapsed"
    behind = [group(one.group) for one in own if one.claim == "suspected"]
    if behind:
        text += f"; but {listed(behind)}, too small for a verdict, fell behind the average"
    blind = [one.details.get("detectable") or 0.0 for one in own if one.claim == "pays"]
    if max(blind, default=0.0) > 0:
        text += f"; harm below {points(max(blind))} points would often have gone unseen"
    unjudged = [one.group for one in own if one.claim == "pays" and one.decision is None]
    unjudged += [f["group"] for f in results.record["findings"] if f["claim"] == "left_out"]
    left = [group(one) for one in dict.fromkeys(unjudged) if group(one) not in behind]
    return f"{text}; not judged, and so not cleared: {listed(left)}" if left else text


def mend(
    pruned: Path,
    out: Path,
    constraint: str | None = None,
    dense: Path | None = None,
    data: str | None = None,
    factory: str | None = None,
    settings: MeasureSettings | None = None,
    command: str = "",
    device: str = "cpu",
    *,
    method: str = "bilevel",
    tolerance: float = 0.0,
    options: Mapping[str, Any] | None = None,
    training: Mapping[str, Any] | None = None,
) -> Mended:
    """Prune the dense parent of a pruned network again, to the same rate in the same steps.

    The constraint follows from what is found of the pruned network, unless one is named; where
    there is nothing to mend nothing is written. What goes as a whole (single weights, filters, a
    pattern) stays what it was. How far it was pruned, and into what where its file does not say,
    is measured in its zeros.

    tolerance, options  of the method, as a `Method` has them
    training            settings of training (TrainingSettings) that are not to be those of the
                        pruned network, by name; with other steps the two differ by these too

    Raises AuditError where the network is dense, whatever it is called, or was pruned without any
    training, or the method cannot have what is asked of it.
    """
    checkpoint = load_checkpoint(pruned)
    mask = _removed(checkpoint, pruned, factory)
    settled = {"structure": structure_of(checkpoint, mask), **(options or {})}
    asked = Method(method, constraint or "excess-accuracy", tolerance, settled)
    parent = dense or parent_path(checkpoint, pruned)
    samples = data_of(checkpoint, pruned, data)
    steps = training_of(checkpoint.provenance, training or {}, device)
    check_temperature({**settled, **(training or {})}, steps.distillation)
    chosen = Plan(asked.constraint, "asked for by name")
    if constraint is None:
        look = partial(measure_files, pruned, parent, data, factory)
        chosen = _planned(look, samples, pruned, settings or MeasureSettings())
        if chosen.constraint == "none":
            return Mended(chosen)
    own = replace(asked, constraint=chosen.constraint)
    rate = rate_of(checkpoint, mask, str(settled["structure"]))
    made = prune_model(
        load_checkpoint(parent), samples, own, rate, steps, parent_of(parent, out), factory
    )
    notes = made.provenance.notes
    if chosen.split == "test":
        notes += (
            f"the constraint was chosen by what the same test samples show of '{pruned.name}', "
            "whose own harm there is likelier over- than understated",
        )
    said = "; ".join(f"{name} {value}" for name, value in (training or {}).items())
    if said:
        notes += (f"training was not that of '{pruned.name}': {said}; the two differ by that too",)
    made = replace(made, provenance=replace(made.provenance, notes=notes))
    save_checkpoint(made, out)
    compared = compare_files(pruned, out, dense, data, factory, settings, command)
    return Mended(chosen, made, compared)


def _planned(
    look: Callable[[MeasureSettings], Results],
    samples: GroupedData,
    pruned: Path,
    settings: MeasureSettings,
) -> Plan:
    """The plan by the select samples; by those of the test where these show what goes before it.

    What a comparison measures is not to be what it was chosen by; but a group that pays in the test
    alone, where most samples are, is not passed over. Outputs are all that it needs.
    """
    quick = MeasureSettings(
        curvature="none",
        without=OF_DERIVATIVES,
        minimum_group_size=settings.minimum_group_size,
        batch_size=settings.batch_size,
        device=settings.device,
    )
    plans = []
    for split in ("select", "test"):
        number = len(samples.indices(split))
        if number:
            found = plan(look(replace(quick, split=split)), _called(pruned))
            reason = f"{found.reason}, as {number:,} {split} samples show"
            plans.append(replace(found, reason=reason, split=split))
    order = ("excess-accuracy", "equalised-odds", "none")
    chosen = min(plans, key=lambda own: order.index(own.constraint))
    # That nothing was found is said of the samples that a comparison would measure.
    return chosen if chosen.constraint != "none" else found


def _called(path: Path) -> str:
    """The network's name where a file is measured beside its dense parent."""
    return path.stem if path.stem != "dense" else "model"


def training_of(
    provenance: Provenance, given: Mapping[str, Any], device: str = "cpu"
) -> TrainingSettings:
    """How the network was trained when it was pruned: the same steps and terms for the next one.

    Of a network that another tool pruned nothing is known; it gets the default of 20 epochs. What
    is given by name goes before both.
    """
    known = {entry.name for entry in fields(TrainingSettings)} - {"device"}
    given = checked_table(given, "the training", tuple(sorted(known)))
    stored = {name: value for name, value in provenance.settings.items() if name in known}
    values = {"epochs": 20, "seed": provenance.seed} | stored | given
    found = TrainingSettings(**values, device=device)
    found.check_trains(
        "mending, which takes as many steps as the pruned network had unless --epochs says how "
        "many,"
    )
    return found


def structure_of(checkpoint: Checkpoint, mask: Mask) -> str:
    """What the pruned network lost as a whole: said by its method, or else seen in its zeros."""
    made = checkpoint.provenance
    stored = made.settings.get("structure")
    if stored or made.method in (*PRUNING_METHODS, *MITIGATION_METHODS):
        return str(stored or STRUCTURES.get(made.method, "weight"))
    return seen_structure(mask)


def rate_of(checkpoint: Checkpoint, mask: Mask, structure: str) -> float:
    """The share of weights that was asked for, unless the zeros tell another."""
    if structure not in ("weight", "layer", "filter"):
        keep, block = pattern_of(structure)
        return 1 - keep / block
    asked = checkpoint.provenance.rate
    return asked if abs(asked - mask.sparsity) <= NEAR else mask.sparsity


def _removed(checkpoint: Checkpoint, path: Path, factory: str | None) -> Mask:
    """The mask read off the weights; AuditError where the network is dense."""
    model = checkpoint.model(factory)
    mask = measured_mask(model)
    if is_pruned(model, checkpoint.mask) and mask.sparsity > 0:
        return mask
    if called_pruned(checkpoint):
        raise AuditError(
            f"'{path}' is called pruned, to {checkpoint.provenance.rate:g}, and "
            f"{mask.sparsity:.1%} of its prunable weights are zero: it is a dense network; give "
            "--rate to prune it"
        )
    raise AuditError(f"'{path}' is a dense network; give --rate to prune it")
