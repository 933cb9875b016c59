"""Programs in files give the outputs of the networks that they were made of, and run no Python."""

from __future__ import annotations

import pickle
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import prune as masks
from torch.nn.utils.parametrizations import weight_norm

import audit
from audit.data.grouped import GroupedData
from audit.errors import AuditError
from audit.examine.settings import MeasureSettings
from audit.models.programs import Program, load_program, program_kind
from audit.study.live import compare_weights

SETTINGS = MeasureSettings(resamples=50, minimum_group_size=5)


def network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)).eval()


def exported(model: nn.Module, path: Path, dynamic: bool = True) -> Path:
    dim = torch.export.Dim("batch", min=1, max=1024)
    shapes = ({0: dim},) if dynamic else None
    torch.export.save(torch.export.export(model, (torch.zeros(3, 4),), dynamic_shapes=shapes), path)
    return path


def scripted(model: nn.Module, path: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(model, torch.zeros(3, 4)), path)
    return path


WRITTEN: dict[str, Callable[[nn.Module, Path], Path]] = {
    "pt2": exported,
    "pt2 of three samples": lambda model, path: exported(model, path, dynamic=False),
    "TorchScript": scripted,
}


@pytest.mark.parametrize("kind", WRITTEN)
def test_a_program_gives_the_network_s_outputs_for_any_number_of_samples(
    kind: str, tmp_path: Path
) -> None:
    model = network()
    masks.l1_unstructured(model[0], "weight", 0.5)
    masks.remove(model[0], "weight")
    path = WRITTEN[kind](model, tmp_path / ("a.pt2" if "pt2" in kind else "a.pt"))
    found = load_program(path)
    inputs = torch.randn(10, 4)
    for number in (1, 2, 3, 7, 10):
        torch.testing.assert_close(found(inputs[:number]), model(inputs[:number]).detach())
    # Sparsity is read off the file's own weights.
    assert {name: int((one == 0).sum()) for name, one in found.weights.items()} == {
        "0.weight": 16,
        "2.weight": 0,
    }


@pytest.mark.parametrize("kind", WRITTEN)
def test_programs_are_compared_by_their_outputs(
    kind: str, two_groups: GroupedData, tmp_path: Path
) -> None:
    dense, pruned = network(), network()
    masks.l1_unstructured(pruned[0], "weight", 0.75)
    masks.remove(pruned[0], "weight")
    ending = "pt2" if "pt2" in kind else "pt"
    files = {
        "dense": WRITTEN[kind](dense, tmp_path / f"dense.{ending}"),
        "pruned": WRITTEN[kind](pruned, tmp_path / f"pruned.{ending}"),
    }
    found = compare_weights(files, None, two_groups, SETTINGS)
    live = audit.compare({"dense": dense, "pruned": pruned}, two_groups, SETTINGS)
    for metric in ("accuracy", "excess_risk", "excess_accuracy_gap"):
        one, other = (
            r.groups[(r.groups["model"] == "pruned") & (r.groups["metric"] == metric)]["value"]
            for r in (found, live)
        )
        assert one.tolist() == pytest.approx(other.tolist(), rel=1e-4, abs=1e-6)
    entries = {one["name"]: one for one in found.record["models"]}
    assert entries["pruned"]["sparsity"] == pytest.approx(24 / 48)
    assert entries["dense"]["sparsity"] == 0
    gradients = found.groups[found.groups["metric"] == "gradient_norm"]
    assert gradients["note"].str.contains("it is a program").all()
    with pytest.raises(AuditError, match=r"pruned already as the dense one: 50\.0%"):
        compare_weights(files, None, two_groups, SETTINGS, dense="pruned")


def test_samples_are_filled_up_or_divided() -> None:
    seen: list[int] = []

    def run(inputs: Tensor) -> dict[str, Tensor]:
        seen.append(len(inputs))
        return {"logits": inputs * 2}

    inputs = torch.arange(7.0)[:, None]
    found = Program("a program", run, least=3, most=3)(inputs)["logits"]
    torch.testing.assert_close(found, 2 * inputs)
    assert seen == [3, 3, 3]


class Evil:
    """What would leave a trace where it were unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.path,)


def edited(path: Path, to: Path, change: Callable[[str, bytes], bytes]) -> Path:
    with zipfile.ZipFile(path) as one, zipfile.ZipFile(to, "w") as other:
        for record in one.infolist():
            other.writestr(record.filename, change(record.filename, one.read(record)))
    return to


def swapped(part: str, old: bytes, new: bytes) -> Callable[[str, bytes], bytes]:
    def change(name: str, content: bytes) -> bytes:
        if part not in name or name.endswith("pkl"):
            return content
        assert old in content
        return content.replace(old, new)

    return change


def test_no_code_of_a_file_runs(tmp_path: Path) -> None:
    """Operators are names that are looked up in all of torch, sizes are text that is evaluated."""
    program, script = (
        exported(network(), tmp_path / "a.pt2"),
        scripted(network(), tmp_path / "a.pt"),
    )
    mark = tmp_path / "ran"
    relu = b"torch.ops.aten.relu.default"
    changes: list[tuple[Path, Callable[[str, bytes], bytes], str]] = [
        (program, swapped("model.json", relu, b"torch.os.system"), "calls 'torch.os.system'"),
        (program, swapped("model.json", relu, b"torch.load"), "calls 'torch.load'"),
        (program, swapped("model.json", relu, b"_operator.methodcaller"), "calls '_operator.methodcaller'"),
        (program, swapped("model.json", relu, b"torch.ops.aten.from_file.default"), "from_file"),
        (program, swapped("model.json", b'"expr_str": "Symbol', b'"expr_str": "__import__'), "as a size, which is none"),
        (program, swapped("model.json", b'"expr_str": "Symbol', b'"expr_str": "print'), "as a size, which is none"),
        (program, lambda name, content: pickle.dumps(Evil(mark)) if name.endswith(".pt") else content, "pickled Python objects"),
        (script, swapped("activation", b"torch.relu(", b"torch.save("), "calls 'torch.save'"),
    ]  # fmt: skip
    for place, (path, change, said) in enumerate(changes):
        bad = edited(path, tmp_path / f"bad{place}{path.suffix}", change)
        with pytest.raises(AuditError, match=said) as caught:
            load_program(bad)
        assert "\n" not in str(caught.value)
    assert not mark.exists()
    assert torch.load.__module__ == "torch.serialization"


def test_what_is_no_program(tmp_path: Path) -> None:
    torch.save(network().state_dict(), tmp_path / "weights.pt")
    assert program_kind(tmp_path / "weights.pt") is None
    for name in ("a.pt2", "a.onnx"):
        (tmp_path / name).write_bytes(b"nothing of the kind")
        # Without onnxruntime, what it needs is said in place of what the file is.
        with pytest.raises(AuditError, match=rf"{name}'(, an ONNX model,)? (is|cannot|needs)"):
            load_program(tmp_path / name)


@pytest.mark.parametrize("sizes", [None, {"min": 2, "max": 7}, {}])
@pytest.mark.parametrize("as_module", [False, True])
def test_an_exported_program_in_memory_is_measured_as_its_file_is(
    sizes: dict[str, int] | None, as_module: bool, two_groups: GroupedData
) -> None:
    """One of three samples at once, one of two to seven, and one of any number."""
    model, pruned = network(), network()
    masks.l1_unstructured(pruned[0], "weight", 0.5)
    masks.remove(pruned[0], "weight")
    shapes = None if sizes is None else ({0: torch.export.Dim("batch", **sizes)},)
    programs = {
        name: torch.export.export(one, (torch.zeros(3, 4),), dynamic_shapes=shapes)
        for name, one in (("dense", model), ("pruned", pruned))
    }
    held = {name: one.module() if as_module else one for name, one in programs.items()}
    found = audit.compare(held, two_groups, SETTINGS)
    wanted = audit.compare({"dense": model, "pruned": pruned}, two_groups, SETTINGS)
    assert [one["sparsity"] for one in found.record["models"]] == pytest.approx(
        [0.0, 1 / 3], abs=1e-4
    )
    one, other = (
        table.groups.set_index(["model", "group", "metric"])["value"] for table in (found, wanted)
    )
    for metric in ("loss", "accuracy", "excess_risk"):
        chosen = one.xs(metric, level="metric")
        pd.testing.assert_series_equal(chosen, other.xs(metric, level="metric"), rtol=1e-5)
    with pytest.raises(AuditError, match="pruned already as the dense one"):
        audit.compare({"dense": held["pruned"], "other": held["dense"]}, two_groups, SETTINGS)
    with pytest.raises(AuditError, match="cannot be pruned: it is a program"):
        audit.prune(held["dense"], two_groups, rate=0.5)


@pytest.mark.parametrize("kind", ["pt2", "TorchScript"])
def test_a_weight_that_is_computed_in_every_pass_is_the_one_that_counts(
    kind: str, tmp_path: Path
) -> None:
    """A live mask is part of the program; of a norm of weights TorchScript tells no weight."""
    path = tmp_path / ("a.pt2" if kind == "pt2" else "a.pt")
    masked = network()
    masks.l1_unstructured(masked[0], "weight", 0.75)
    with warnings.catch_warnings():
        # torch says that such a weight is no buffer.
        warnings.simplefilter("ignore")
        found = load_program(WRITTEN[kind](masked, path))
    assert {name: int((one == 0).sum()) for name, one in found.weights.items()} == {
        "0.weight": 24,
        "2.weight": 0,
    }
    normed = network()
    with torch.no_grad():
        normed.get_parameter("0.weight")[:, 0] = 0
    weight_norm(normed[0])
    weights = load_program(WRITTEN[kind](normed, path)).weights
    zeros = sorted(int((one == 0).sum()) for one in weights.values())
    assert zeros == ([0, 8] if kind == "pt2" else [])
