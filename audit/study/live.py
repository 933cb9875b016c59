"""The short way: networks that are held in memory, compared, pruned and mitigated in one call."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from audit.checked import settings_of
from audit.data.datasets import as_grouped
from audit.data.grouped import GroupedData
from audit.data.identity import check_made_alike, check_unseen
from audit.errors import AuditError, about
from audit.examine.measuring import measure_models
from audit.examine.settings import MeasureSettings
from audit.files import sha256
from audit.findings.results import Results
from audit.models.checkpoint import Checkpoint, Provenance, load_checkpoint
from audit.models.live import LiveNetwork, Network, as_named_within, inside, live
from audit.models.outputs import unread_outputs
from audit.models.outputs_only import OutputsOnly
from audit.models.permanent import permanent_copy
from audit.models.programs import load_program, program_kind
from audit.models.training import TrainingSettings
from audit.models.weights import is_checkpoint, network_of
from audit.models.zoo import Architecture
from audit.prune.mask import (
    Mask,
    is_pruned,
    keeps_the_smallest,
    measured_sparsity,
    prunable_size,
)
from audit.study.gather import gather
from audit.study.making import mitigate_model, prune_model
from audit.study.settings import Method

INVERTED = (
    "it lacks the largest weights of the dense network's layers and keeps the smallest: is its "
    "mask the wrong way round?"
)


def compare(
    models: Mapping[str, Network],
    data: Any,
    settings: MeasureSettings | None = None,
    dense: str | None = None,
    outputs: str | None = None,
    trained: Mapping[str, int] | None = None,
) -> Results:
    """Measure networks that you hold on the same samples, each beside the dense one.

    models    by name: pruned, quantised, in half precision, or of another architecture; they are
              left as they are
    data      GroupedData; or a map-style dataset, a DataLoader or a Hugging Face Dataset, as
              `from_dataset` takes it, whose items are (input, label, group), or dicts with these
              keys: all of it are test samples
    dense     the name of the network that the others came from; by default 'dense', or the first
    outputs   what all of them give, where that is no logits: log-probabilities or probabilities
    trained   the samples of each group that the dense network was trained on, which may be why a
              group pays; by default the train samples of the data, where their owner declared them.
              Of a split that was drawn by lot, say `dict(data.sizes()["train"])` if it was these

    What needs outputs alone is measured of all; what a network cannot give, such as gradients of
    integers, is a row that says why. Raises AuditError where there are fewer than two, the dense
    one is pruned, or a network cannot be measured at all.
    """
    settings = settings_of(settings, MeasureSettings())
    data = as_grouped(data)
    data.columns_of(settings.discover)
    _check_trained(trained or {}, data)
    name, *others = dense_first(models, dense)
    with about(name):
        parent = live(models[name], data, outputs=outputs)
    subjects: dict[str, Checkpoint] = {name: parent}
    for other in others:
        subjects[other] = _candidate(other, models[other], data, outputs, parent.network)
    measures = measure_models(subjects, parent, data, settings)
    record = {"measure": asdict(settings)}
    if data.drawn and trained is None:
        data = replace(data, notes=(*data.notes, _of_the_drawn(data)))
    return gather(measures, data, record, "", tuple(subjects), trained=trained)


def _of_the_drawn(data: GroupedData) -> str:
    """How few samples a split that was drawn by lot leaves to measure."""
    return (
        f"{len(data.splits['test']):,} of {len(data):,} samples are measured, the test split that "
        "was drawn here: where the networks were trained on none of them, from_arrays(…, "
        f"splits={{'test': range({len(data)})}}) measures all."
    )


def _check_trained(trained: Mapping[str, int], data: GroupedData) -> None:
    """Raise AuditError where a group is none of the data's, or a number is no number of samples."""
    for group, number in trained.items():
        if group not in data.group_names:
            raise AuditError(
                f"found trained samples of group '{group}'; expected those of "
                f"{', '.join(data.group_names)}"
            )
        if number < 0 or number != int(number):
            raise AuditError(f"found {number} trained samples of group '{group}'; expected a count")


def compare_weights(
    files: Mapping[str, Path],
    factory: str | Mapping[str, str] | None,
    data: GroupedData,
    settings: MeasureSettings | None = None,
    dense: str | None = None,
    outputs: str | None = None,
    command: str = "",
    gallery: bool = False,
    state: str | Mapping[str, str] | None = None,
) -> Results:
    """`compare` for files of weights as other tools leave them, and checkpoints among them.

    files     by name: a state dict (`audit.models.weights`), a program (`audit.models.programs`),
              or a checkpoint of this toolkit
    factory   `package.module:function`, which builds the network that the weights are put into;
              where networks differ, those by the files' names, and under '' that of all others
    state     under what name in its file the state dict stands, where it holds several; as factory

    Raises AuditError as `compare` does, where no factory is given, or weights are not those of its
    network.
    """
    settings = settings_of(settings, MeasureSettings())
    names = dense_first(files, dense)
    name = names[0]
    subjects: dict[str, LiveNetwork] = {}
    for own in names:
        builder = _of_name(own, factory, files, "--model")
        place = _of_name(own, state, files, "--state")
        parent = subjects[name].network if subjects else None
        subjects[own] = _from_file(own, files[own], builder, data, outputs, parent, place)
    measures = [
        found.with_file(files[own].name, sha256(files[own]))
        for own, found in zip(
            names, measure_models(subjects, subjects[name], data, settings), strict=True
        )
    ]
    record = {"measure": asdict(settings)}
    return gather(measures, data, record, command, tuple(subjects), gallery)


def _from_file(
    name: str,
    path: Path,
    factory: str | None,
    data: GroupedData,
    outputs: str | None,
    dense: nn.Module | None,
    state: str | None = None,
) -> LiveNetwork:
    """The network of a file, on this data; `dense` is what it came from, None of the dense one."""
    model: nn.Module
    made = Provenance("dense", notes=of_unknown_samples(data, dense is None))
    if program_kind(path) is not None:
        model = load_program(path)
    elif is_checkpoint(path):
        checkpoint = load_checkpoint(path)
        check_unseen(data, checkpoint.samples)
        check_made_alike(data, checkpoint.samples)
        model, made = checkpoint.model(factory), checkpoint.provenance
        outputs = checkpoint.architecture.outputs or outputs
        unread_outputs(model)
    else:
        if factory is None:
            raise AuditError(
                f"'{path}' holds weights and not the network that they belong to; give the "
                "function that builds it by --model package.module:function"
            )
        architecture = Architecture(factory, data.input_shape, len(data.classes))
        model, notes = network_of(path, architecture, state)
        made = replace(made, notes=(*made.notes, *notes))
        unread_outputs(model)
    if dense is not None:
        return _candidate(name, model, data, outputs, dense, made)
    notes = made.notes
    if math.isnan(measured_sparsity(model)):
        notes = (of_unknown_weights(model), *notes)
    made = replace(made, method="dense", constraint="none", rate=0.0, parent=None, notes=notes)
    with about(name):
        return live(model, data, made, outputs)


def _of_name(
    name: str, given: str | Mapping[str, str] | None, files: Mapping[str, Any], option: str
) -> str | None:
    """What is given of the network of that name; AuditError where a name is none of the files'."""
    if not isinstance(given, Mapping):
        return given
    unknown = [own for own in given if own and own not in files]
    if unknown:
        raise AuditError(
            f"found {option} {unknown[0]}=…; expected the name of one of {', '.join(files)}"
        )
    return given.get(name, given.get(""))


def dense_first(models: Mapping[str, Any], dense: str | None) -> list[str]:
    """The names of the networks, that which the others came from first.

    It is the one that `dense` names, or the one called so, or the first. Raises AuditError where
    there are fewer than two networks, or none of that name.
    """
    if not isinstance(models, Mapping):
        raise AuditError(
            f"found a {type(models).__name__} to compare; expected networks by their names: "
            "{'dense': …, 'pruned': …}"
        )
    strange = [own for own in models if not isinstance(own, str)]
    if strange:
        raise AuditError(f"found {strange[0]!r} as the name of a network; expected a text")
    if len(models) < 2:
        raise AuditError(f"found {len(models)} network to compare; expected two or more")
    name = dense or ("dense" if "dense" in models else next(iter(models)))
    if name not in models:
        raise AuditError(f"found no network '{name}'; expected one of {', '.join(models)}")
    return sorted(models, key=lambda own: own != name)


def prune_network(
    model: nn.Module,
    data: Any,
    method: str | Method = "magnitude",
    rate: float = 0.9,
    settings: TrainingSettings | None = None,
    outputs: str | None = None,
) -> nn.Module:
    """A pruned copy of a network that you hold, by a method of `PRUNING_METHODS` (M §3).

    Its `mask` says which weights survive; computed weights, such as those of spectral norm, are
    permanent in it, and what compiles it or runs it on several devices is taken off. Raises
    AuditError as `prune_model` does.
    """
    data = as_grouped(data)
    dense = _to_prune(model, data, outputs)
    return _network(model, dense, prune_model(dense, data, method, rate, settings))


def mitigate_network(
    model: nn.Module,
    data: Any,
    rate: float = 0.9,
    constraint: str = "excess-accuracy",
    tolerance: float = 0.0,
    settings: TrainingSettings | None = None,
    outputs: str | None = None,
) -> nn.Module:
    """A copy of a network that you hold, pruned under a fairness constraint (M §5).

    Its `mask` says which weights survive. Raises AuditError as `mitigate_model` does.
    """
    data = as_grouped(data)
    dense = _to_prune(model, data, outputs)
    made = mitigate_model(dense, data, rate, constraint, tolerance, settings)
    return _network(model, dense, made)


def _candidate(
    name: str,
    model: Network,
    data: GroupedData,
    outputs: str | None,
    dense: nn.Module,
    made: Provenance | None = None,
) -> LiveNetwork:
    """A network that was made from the dense one; what it is, is read off its weights."""
    own = replace(made or Provenance(name), method=name, constraint="none", parent=None)
    with about(name):
        found = live(model, data, own, outputs)
    rate = round(measured_sparsity(found.network), 4) if is_pruned(found.network) else 0.0
    notes = (*_kind_of(found.network, dense), *found.provenance.notes)
    return replace(found, provenance=replace(found.provenance, rate=rate, notes=notes))


def _kind_of(network: nn.Module, dense: nn.Module) -> tuple[str, ...]:
    """What must be said of a network beside its sparsity: that it is dense, smaller, or unknown."""
    sparsity, pruned = measured_sparsity(network), is_pruned(network)
    if math.isnan(sparsity):
        return () if pruned else (of_unknown_weights(network),)
    zeros = f"{sparsity:.2%} of its convolution and linear weights are zeros"
    size, before = prunable_size(network), prunable_size(dense)
    if size < before:
        return (
            f"smaller than the dense network: {size:,} convolution and linear weights instead of "
            f"{before:,}, {1 - size / before:.1%} fewer; {zeros}",
        )
    if not pruned:
        return (f"not pruned: {zeros}",)
    return (INVERTED,) if keeps_the_smallest(network, dense) else ()


def of_unknown_samples(data: GroupedData, dense: bool) -> tuple[str, ...]:
    """What must be said of a network trained elsewhere, where test samples were drawn here.

    Where all samples are measured, the data say it.
    """
    if not data.drawn or not len(data.splits["train"]):
        return ()
    shown = "show less harm than new ones"
    if dense:
        shown = (
            "make it look better than it is, and the drop from it larger than on new ones (where "
            "training on forgets them) or smaller (where it does not)"
        )
    return (
        "was trained elsewhere, nothing says on which samples, and the split was drawn here: test "
        f"samples that it was trained on {shown}; a column split (splits= of arrays) names the "
        "test samples",
    )


def of_unknown_weights(network: nn.Module) -> str:
    """What must be said of a network whose weights cannot be counted."""
    reason = (
        network.reason
        if isinstance(network, OutputsOnly)
        else "it has no convolution or linear layer of real numbers"
    )
    return f"its sparsity is not known: {reason}"


def _to_prune(model: Network, data: GroupedData, outputs: str | None) -> LiveNetwork:
    """The network as a dense one; AuditError where its weights cannot be removed."""
    dense = live(model, data, outputs=outputs)
    if isinstance(dense.network, OutputsOnly):
        raise AuditError(
            f"the network cannot be pruned: {dense.network.reason}; give the torch.nn.Module that "
            "it was made of"
        )
    return dense


def _network(model: nn.Module, dense: LiveNetwork, made: Checkpoint) -> nn.Module:
    """A copy of the module with the weights of the checkpoint, where and as the module is."""
    model = inside(model)
    network, _ = permanent_copy(model)
    network.load_state_dict(as_named_within(dense.network, made.state))
    assert made.mask is not None  # both ways of making it prune
    network.mask = Mask(as_named_within(dense.network, made.mask))  # type: ignore[assignment]
    first = next(model.parameters(), torch.empty(0))
    modes = {name: module.training for name, module in model.named_modules()}
    for name, module in network.named_modules():
        # A part may be in a mode of its own, as a frozen batch norm is.
        module.training = modes.get(name, model.training)
    return network.to(first.device)
