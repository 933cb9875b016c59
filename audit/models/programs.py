"""Networks as programs in files: torch.export (.pt2), TorchScript and ONNX.

A file that a stranger wrote must not run code when it is loaded. ONNX is data. A torch.export
archive is a graph whose operators are looked up by name, with pickled parts: both are held to what
a network needs. TorchScript runs in its own interpreter, which has no Python but can touch files:
what does so is refused.
"""

from __future__ import annotations

import copy
import io
import json
import re
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node
from torch.fx.node import map_arg
from torch.utils._pytree import tree_map_only

from audit.errors import AuditError
from audit.extras import check_extra
from audit.limits import check_size
from audit.measure.network import Inputs, fed
from audit.models.outputs_only import OutputsOnly

OPERATORS = re.compile(
    r"torch\.ops\.(aten|prims|quantized|quantized_decomposed|torchao|torchvision)\.[\w.]+"
    r"|torch\.ops\.higher_order\.(wrap_with_set_grad_enabled|wrap_with_autocast|cond)"
    r"|(_operator|math|torch)\.(add|sub|mul|truediv|floordiv|mod|neg|pow|eq|ne|lt|le|gt|ge|getitem"
    r"|and_|or_|not_|ceil|floor|trunc|round|sym_int|sym_float|sym_max|sym_min|sym_not|sym_ite"
    r"|sym_sum|_sym_sqrt)"
)
"""What a graph may call. Names are looked up in all of torch, which holds `os` too."""

FILE_OPERATORS = re.compile(r"\b(from_file|save|load)\b")
SIZE = re.compile(r"(\s|[A-Za-z_]\w*|'\w+'|\d+(\.\d+)?|[-+*/%(),=<>&|~!])*")
FUNCTIONS = frozenset(
    ("Symbol", "Integer", "Rational", "Float", "Add", "Mul", "Pow", "Max", "Min", "Mod", "Abs",
     "PythonMod", "FloorDiv", "CeilDiv", "CleanDiv", "IntTrueDiv", "FloatTrueDiv", "ToFloat",
     "TruncToInt", "FloorToInt", "CeilToInt", "ModularIndexing", "Where", "Identity", "Eq", "Ne",
     "Equality", "Unequality", "GreaterThan", "LessThan", "StrictGreaterThan", "StrictLessThan",
     "And", "Or", "Not")
)  # fmt: skip
"""What the size of a dimension may be computed with: such text is evaluated when it is read."""

FOREIGN = re.compile(
    r"\b(torch\.(save|load|from_file)|ops\.(?!prim\b|aten\b|quantized\b|torchvision\b)\w+)"
)
"""What TorchScript may not call: files, and operators that are not torch's own."""

ONNX_TYPES = {
    "tensor(float)": torch.float32,
    "tensor(double)": torch.float64,
    "tensor(float16)": torch.float16,
    "tensor(uint8)": torch.uint8,
    "tensor(int32)": torch.int32,
    "tensor(int64)": torch.int64,
    "tensor(bool)": torch.bool,
}


class Program(OutputsOnly):
    """A program of a file as a network that gives outputs.

    run      inputs [n, …] → outputs, without gradients
    least, most  samples that it takes at once; fewer are filled up, more are divided
    """

    reason = "it is a program, of which outputs alone are measured"

    def __init__(
        self,
        kind: str,
        run: Callable[[Inputs], Any],
        weights: Mapping[str, Tensor] | None = None,
        least: int = 1,
        most: int | None = None,
    ) -> None:
        super().__init__()
        self.kind, self.weights = kind, weights or {}
        # In a tuple, so that a module among them is none of this one's parts: it has a mode of its
        # own, and torch refuses to set it.
        self._held = (run,)
        self.least, self.most = least, most

    @torch.no_grad()
    def forward(self, inputs: Inputs) -> Any:
        """The outputs of all samples, as many at once as the program takes."""
        (run,) = self._held
        inputs = tree_map_only(Tensor, Tensor.cpu, inputs)
        number = _length(inputs)
        most = self.most or number
        if self.least <= number <= most:
            return run(inputs)
        parts = []
        for start in range(0, number, most):
            rows = torch.arange(start, min(start + most, number))
            filled = torch.cat([rows, rows[-1:].expand(max(0, self.least - len(rows)))])
            found = run(_rows(inputs, filled))
            parts.append(_rows(found, torch.arange(len(rows))))
        return _joined(parts)


def program_kind(path: Path) -> str | None:
    """What kind of program a file holds: 'onnx', 'pt2', 'torchscript'; None for anything else."""
    if path.suffix == ".onnx":
        return "onnx"
    if path.suffix == ".pt2":
        return "pt2"
    if not path.is_file() or not zipfile.is_zipfile(path):
        return None
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    if any("/code/__torch__" in name for name in names):
        return "torchscript"
    exported = ("/models/", "serialized_exported_program.json")
    return "pt2" if any(part in name for name in names for part in exported) else None


def load_program(path: Path) -> Program:
    """The network of a program's file, on the CPU; `program_kind` says which are.

    Raises AuditError where it is damaged, holds pickled objects, or calls more than a network
    needs; where a library is missing, which.
    """
    kind = program_kind(path)
    if kind is None or not path.is_file():
        raise AuditError(f"there is no program '{path}'; expected .pt2, TorchScript or .onnx")
    try:
        return {"onnx": _onnx, "pt2": _exported, "torchscript": _script}[kind](path)
    except AuditError:
        raise
    except Exception as error:  # what these readers raise of broken files is not told anywhere
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise AuditError(
            f"'{path}' cannot be loaded as a program ({kind}) by this torch {torch.__version__}: "
            f"{reason}"
        ) from error


def _exported(path: Path) -> Program:
    """A program of torch.export, once its graph and what is pickled in it are held harmless."""
    if not zipfile.is_zipfile(path):
        raise AuditError(f"'{path}' is no archive of torch.export, or is truncated")
    with zipfile.ZipFile(path) as archive:
        check_size(path, sum(record.file_size for record in archive.infolist()))
        for name in archive.namelist():
            if "custom_obj" in name.rpartition("/")[2]:
                raise AuditError(f"'{path}' holds pickled Python objects, which could run code")
            if name.endswith(".json"):
                _check_graph(json.loads(archive.read(name)), path)
    with _without_pickles(path), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.load(path)
    return exported_program(program.module())


def is_exported(model: nn.Module) -> bool:
    """Whether a module is what torch.export's `program.module()` gives."""
    return isinstance(model, GraphModule) and hasattr(model, "range_constraints")


def exported_program(module: nn.Module) -> Program:
    """The module of an exported program, in a copy, as a program (`is_exported`).

    It takes as many samples at once as it was exported for: a last batch is filled up.
    """
    assert isinstance(module, GraphModule)
    with warnings.catch_warnings():
        # torch copies its own graphs by what it has deprecated itself.
        warnings.simplefilter("ignore", FutureWarning)
        own = copy.deepcopy(module).cpu()
    # A copy does not know its own range.
    least, most = _batch_range(module)
    return Program("torch.export program", partial(fed, own), _graph_weights(own), least, most)


def _check_graph(content: Any, path: Path) -> None:
    """Raise AuditError where an archive names what no network needs to call."""
    for key, value in _texts(content):
        if key in ("target", "as_operator") and (
            not OPERATORS.fullmatch(value) or FILE_OPERATORS.search(value)
        ):
            raise AuditError(f"'{path}' calls '{value[:80]}', which no network needs: not loaded")
        if key in ("expr_str", "as_expr") and not _is_size(value):
            raise AuditError(f"'{path}' has '{value[:80]}' as a size, which is none: not loaded")


def _is_size(text: str) -> bool:
    """Whether a text computes a size: symbols, numbers, and functions that are known."""
    calls = re.findall(r"([A-Za-z_]\w*)\s*\(", text)
    return bool(SIZE.fullmatch(text)) and "__" not in text and FUNCTIONS.issuperset(calls)


def _texts(content: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Every text in nested lists and dicts, with the key that it stands under."""
    if isinstance(content, str):
        yield key, content
    elif isinstance(content, Mapping):
        for name, value in content.items():
            yield from _texts(value, str(name))
    elif isinstance(content, list):
        for value in content:
            yield from _texts(value, key)


@contextmanager
def _without_pickles(path: Path) -> Iterator[None]:
    """Let torch's own readers load tensors alone: some of them fall back on unpickling."""
    load = torch.load

    def strict(*arguments: Any, **settings: Any) -> Any:
        try:
            return load(*arguments, **{**settings, "weights_only": True})
        except Exception as error:
            raise AuditError(
                f"'{path}' holds pickled Python objects, which could run code"
            ) from error

    torch.load = strict
    try:
        yield
    finally:
        torch.load = load


def _batch_range(module: GraphModule) -> tuple[int, int | None]:
    """How few and how many samples an exported program takes at once."""
    values = [node.meta.get("val") for node in module.graph.nodes if node.op == "placeholder"]
    shapes = [value.shape for value in values if isinstance(value, Tensor) and value.dim()]
    if not shapes:
        return 1, None
    size = shapes[0][0]
    if isinstance(size, int):
        return size, size
    known: Any = module.range_constraints
    limits = known.get(size.node.expr) if known else None
    if limits is None:
        return 1, None
    # Infinity is written in many ways; no batch is near any of them.
    most = int(limits.upper) if limits.upper < 2**31 else None
    return max(1, int(limits.lower)), most


WEIGHT_AT = {
    "linear": 1,
    "convolution": 1,
    "conv1d": 1,
    "conv2d": 1,
    "conv3d": 1,
    "mm": 1,
    "addmm": 2,
}
"""Which argument of an operator is its weight."""


def _graph_weights(module: GraphModule) -> dict[str, Tensor]:
    """The weights of an exported program's convolutions and linear layers, by name.

    One that is computed in every pass, as by a live mask or a norm of weights, is the weight that
    the program computes with.
    """
    known, found = _constants(module), {}
    for node in module.graph.nodes:
        at = WEIGHT_AT.get(_aten(node), len(node.args))
        source: Any = node.args[at] if at < len(node.args) else None
        while _aten(source) in ("t", "permute", "transpose"):
            source = source.args[0]
        if isinstance(source, Node) and isinstance(known.get(source), Tensor):
            found[_name_of(source)] = known[source].detach()
    return found


@torch.no_grad()
def _constants(module: GraphModule) -> dict[Node, Any]:
    """What a graph computes of its own real numbers alone, whatever its inputs, by node."""
    held = {**dict(module.named_buffers()), **dict(module.named_parameters(remove_duplicate=False))}
    found: dict[Node, Any] = {}
    for node in module.graph.nodes:
        if node.op == "get_attr" and node.target in held:
            # Of integers, as a quantised weight's, no zero is told from a small number.
            if held[node.target].is_floating_point():
                found[node] = held[node.target]
            continue
        inputs = set(node.all_input_nodes)
        if _aten(node) and inputs and inputs <= found.keys() and not _changes(node):
            args, kwargs = map_arg((node.args, node.kwargs), found.__getitem__)
            found[node] = node.target(*args, **kwargs)
    return found


def _changes(node: Any) -> bool:
    """Whether an operator writes on what it is given."""
    return bool(node.target._schema.is_mutable)


def _name_of(node: Node) -> str:
    """What a weight of a graph is called; a computed one as the first that it is made of."""
    while node.op != "get_attr":
        node = node.all_input_nodes[0]
    return str(node.target).removesuffix("_orig").removesuffix("_mask")


def _aten(node: Any) -> str:
    """The operator of torch that a node of a graph calls; '' where it calls none."""
    library, _, rest = str(getattr(node, "target", "")).partition(".")
    return rest.partition(".")[0] if library == "aten" else ""


def _script(path: Path) -> Program:
    """A TorchScript module, whose code calls nothing beside torch's own operators on tensors."""
    with zipfile.ZipFile(path) as archive:
        check_size(path, sum(record.file_size for record in archive.infolist()))
        for name in archive.namelist():
            if "/code/" in name and name.endswith(".py"):
                found = FOREIGN.search(archive.read(name).decode(errors="replace"))
                if found:
                    raise AuditError(
                        f"'{path}' calls '{found[0]}', which no network needs: not loaded"
                    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return script_program(torch.jit.load(path, map_location="cpu"))


def script_program(module: torch.jit.ScriptModule) -> Program:
    """A TorchScript module, in a copy, as a program: it gives outputs and no second derivatives."""
    written = io.BytesIO()
    with warnings.catch_warnings():
        # TorchScript is deprecated as a whole; whoever has it is to be audited all the same.
        warnings.simplefilter("ignore")
        torch.jit.save(module, written)
        written.seek(0)
        own = torch.jit.load(written, map_location="cpu").eval()
    kinds = ("Linear", "Conv1d", "Conv2d", "Conv3d")
    layers = {
        name: _script_weight(layer)
        for name, layer in own.named_modules()
        if getattr(layer, "original_name", "").removeprefix("Parametrized") in kinds
    }
    # Where one is computed in a way that is not known, a share of the others tells nothing.
    known = all(weight is not None for weight in layers.values())
    weights = {f"{name}.weight": own for name, own in layers.items() if known and own is not None}

    def run(inputs: Inputs) -> Any:
        return own(**inputs) if isinstance(inputs, Mapping) else own(inputs)

    return Program("TorchScript program", run, weights)


def _script_weight(layer: torch.jit.ScriptModule) -> Tensor | None:
    """The weight that a layer computes with, a live mask applied; None where it is not told."""
    names = ("weight", "weight_orig", "weight_mask")
    weight, original, mask = (getattr(layer, name, None) for name in names)
    if isinstance(weight, Tensor):
        return weight.detach()
    if isinstance(original, Tensor) and isinstance(mask, Tensor):
        return original.detach() * mask
    return None


def _onnx(path: Path) -> Program:
    """An ONNX model, run by onnxruntime on the CPU."""
    check_extra("onnxruntime", f"'{path}', an ONNX model,")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    wanted = {one.name: ONNX_TYPES.get(one.type) for one in session.get_inputs()}
    strange = [one for one in session.get_inputs() if one.type not in ONNX_TYPES]
    if strange:
        raise AuditError(
            f"'{path}' takes '{strange[0].name}' of type {strange[0].type}; expected numbers"
        )
    size = session.get_inputs()[0].shape[:1]
    fixed = size[0] if size and isinstance(size[0], int) else None
    names = [one.name for one in session.get_outputs()]

    def run(inputs: Inputs) -> dict[str, Tensor]:
        given = inputs if isinstance(inputs, Mapping) else {next(iter(wanted)): inputs}
        if set(given) != set(wanted):
            raise AuditError(
                f"'{path}' takes the inputs {', '.join(wanted)}; the data give "
                f"{', '.join(given) if isinstance(inputs, Mapping) else 'one'}"
            )
        feed = {name: given[name].to(kind).numpy() for name, kind in wanted.items()}
        found = dict(zip(names, session.run(None, feed), strict=True))
        tensors = {name: _tensor(value) for name, value in found.items()}
        real = {name: one for name, one in tensors.items() if one.is_floating_point()}
        # A classifier of scikit-learn gives its labels too.
        return real or tensors

    return Program("ONNX model", run, None, fixed or 1, fixed)


def _tensor(value: Any) -> Tensor:
    """An output as a tensor; probabilities as a list of dicts by class, as scikit-learn's are."""
    if isinstance(value, list) and value and isinstance(value[0], Mapping):
        value = np.array([list(row.values()) for row in value])
    return torch.from_numpy(np.asarray(value))


def _length(inputs: Inputs) -> int:
    first = next(iter(inputs.values())) if isinstance(inputs, Mapping) else inputs
    return len(first)


def _rows(values: Any, rows: Tensor) -> Any:
    """These rows of all the tensors among some values."""
    return tree_map_only(Tensor, lambda one: one[rows], values)


def _joined(parts: list[Any]) -> Any:
    """The outputs of several batches as those of one."""
    first = parts[0]
    if isinstance(first, Tensor):
        return torch.cat(parts)
    if isinstance(first, Mapping):
        return {name: torch.cat([part[name] for part in parts]) for name in first}
    return tuple(_joined(list(column)) for column in zip(*parts, strict=True))
