"""Networks that the user already holds, as modules in memory: measured without a file."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.nn.parameter import is_lazy

from audit.data.grouped import GroupedData
from audit.errors import AuditError
from audit.measure.layout import in_layout
from audit.measure.network import Inputs, fed, rows_of
from audit.models.checkpoint import Checkpoint, Provenance
from audit.models.outputs import read_outputs
from audit.models.outputs_only import OutputsOnly
from audit.models.permanent import permanence_note, permanent_copy
from audit.models.programs import exported_program, is_exported, script_program
from audit.models.zoo import Architecture

Network = nn.Module | ExportedProgram
"""What a user holds in memory."""


@dataclass(frozen=True)
class LiveNetwork(Checkpoint):
    """A network in memory with all that an audit of it needs; it names no file and no function."""

    network: nn.Module = field(default_factory=nn.Identity, repr=False, compare=False)

    def model(self, factory: str | None = None) -> nn.Module:
        """A copy of the network, in evaluation mode, on the CPU, that gives logits."""
        return copy.deepcopy(self.network)


def live(
    model: Network,
    data: GroupedData,
    provenance: Provenance | None = None,
    outputs: str | None = None,
) -> LiveNetwork:
    """A module as something to audit on this data; the module itself is left as it is.

    outputs   what it gives, where that is no logits (`audit.models.outputs`)

    What compiles a network or runs it on several devices is taken off. Computed weights are made
    permanent, and the notes say so. A network is fed real numbers of its own type.
    Masks that a layer keeps beside a weight are told of: its own code may apply them.
    One whose activations are quantised by what is in the batch is given one sample at a time, so
    that it is a function of that sample. Raises AuditError where it is no module, holds no
    numbers, or cannot be copied.
    """
    if isinstance(model, ExportedProgram):
        model = model.module()
    if not isinstance(model, nn.Module):
        raise AuditError(f"found a {type(model).__name__} as a network; expected a torch.nn.Module")
    model = inside(model)
    provenance = provenance or Provenance("dense")
    plain, said = _permanent(model)
    notes = [*provenance.notes, *said, *masks_beside(plain)]
    plain = _ordinary(plain.cpu())
    if _quantised_by_batch(plain):
        plain = _OneByOne(plain)
        notes.append(
            "its activations are quantised by all that is in a batch: it was measured one sample "
            "at a time"
        )
    read_outputs(plain, len(data.classes), outputs)
    architecture = Architecture(
        model.kind if isinstance(model, OutputsOnly) else type(model).__name__,
        data.input_shape,
        len(data.classes),
        outputs=outputs,
    )
    return LiveNetwork(
        architecture,
        {},
        Provenance(**{**vars(provenance), "notes": tuple(notes)}),
        attribute=data.attribute,
        group_names=data.group_names,
        classes=data.classes,
        network=plain,
    )


def _permanent(model: nn.Module) -> tuple[nn.Module, tuple[str, ...]]:
    """A copy of a network that holds its weights, computed ones made permanent, and what to say."""
    if any(is_lazy(one) for one in (*model.parameters(), *model.buffers())):
        raise AuditError(
            f"the network ({type(model).__name__}) has lazy layers that were never called and hold "
            "no weights; call it once on a batch, or load its weights"
        )
    if any(one.is_meta for one in (*model.parameters(), *model.buffers())):
        raise AuditError(
            f"the network ({type(model).__name__}) is on the device 'meta', which holds no "
            "numbers; load its weights first"
        )
    try:
        plain, made = permanent_copy(model)
    except (RuntimeError, TypeError) as error:
        raise AuditError(
            f"the network ({type(model).__name__}) cannot be copied: {error}"
        ) from error
    return plain, permanence_note(made)


def masks_beside(model: nn.Module) -> tuple[str, ...]:
    """What to say of masks, buffers of 0 and 1, that cover numbers of a weight.

    It is that of their layer, or, where they stand elsewhere, the first one of their shape that is
    not masked already.
    """
    found, covered, size = [], 0, 0
    weights = [one for one in model.parameters() if one.ndim > 1]
    for name, buffer in model.named_buffers():
        own = model.get_submodule(name.rpartition(".")[0])._parameters.get("weight")
        near = [own] if own is not None and own.shape == buffer.shape else []
        for weight in near or [one for one in weights if one.shape == buffer.shape]:
            kept = buffer != 0
            more = int((weight[~kept] != 0).sum())
            if more and bool(kept.any()) and bool((buffer[kept] == 1).all()):
                found.append(f"'{name}'")
                covered, size = covered + more, size + weight.numel()
                break
            if not more:
                break
    if not found:
        return ()
    return (
        f"holds masks beside its weights ({', '.join(found)}), which cover {covered:,} of {size:,} "
        "numbers that are no zeros: if its own code applies them, more is removed than is counted "
        "here; multiply them into the weights to have it counted",
    )


def inside(model: nn.Module) -> nn.Module:
    """The network inside `torch.compile`'s module, or one for several devices; else itself.

    TorchScript, which takes no hooks, and an exported program, which may take batches of one size
    alone, become programs whose outputs alone are asked.
    """
    while True:
        compiled = dict(model.named_children()).get("_orig_mod")
        if compiled is not None:
            model = compiled
        elif isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
            model = model.module
        elif isinstance(model, torch.jit.ScriptModule):
            return script_program(model)
        elif is_exported(model):
            return exported_program(model)
        else:
            return model


def _ordinary(model: nn.Module) -> nn.Module:
    """The model with kernels in the ordinary layout (`audit.measure.layout`)."""
    for parameter in model.parameters():
        if type(parameter.data) is Tensor:
            parameter.data = in_layout(parameter.data, torch.contiguous_format)
    return model


def _quantised_by_batch(model: nn.Module) -> bool:
    """Whether layers choose the scale of their activations from the batch at hand."""
    return any("quantized.dynamic" in type(module).__module__ for module in model.modules())


def as_named_within(model: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of a network in memory by the names that the module it was made of has for them."""
    before = "network." if isinstance(model, _OneByOne) else ""
    return {name.removeprefix(before): tensor for name, tensor in tensors.items()}


class _OneByOne(nn.Module):
    """A network that reads a batch sample by sample."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, inputs: Inputs, /) -> Tensor:
        """The outputs of all samples, one after another."""
        number = len(next(iter(inputs.values())) if isinstance(inputs, Mapping) else inputs)
        rows = torch.arange(number).split(1)
        return torch.cat([fed(self.network, rows_of(inputs, row)) for row in rows])
