"""Files as other tools write them, read as a user has them: `make test-extras`."""

from __future__ import annotations

import copy
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import prune as masks

import audit
from audit.data.grouped import GroupedData
from audit.errors import AuditError
from audit.examine.settings import MeasureSettings
from audit.findings.results import Results
from audit.models.programs import load_program
from audit.models.zoo import Architecture, build_model
from audit.study.live import compare_weights

SETTINGS = MeasureSettings(resamples=50, minimum_group_size=5, curvature="none")
HINT = "is not installed: make test-extras has it"
SHAPE = (3, 32, 32)


@pytest.fixture
def images() -> GroupedData:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, 64)
    inputs = generator.normal(size=(64, *SHAPE)).astype(np.float32) + labels[:, None, None, None]
    groups = generator.choice(["f", "m"], 64)
    return audit.from_arrays(inputs, labels, groups, splits={"test": np.arange(64)})


def needed(name: str) -> Any:
    with warnings.catch_warnings():
        # What other libraries warn of while they load is theirs.
        warnings.simplefilter("ignore")
        return pytest.importorskip(name, reason=f"{name} {HINT}")


def half_removed(model: nn.Module) -> nn.Module:
    """The network with every second convolution and linear weight at zero, by torch itself."""
    pruned = copy.deepcopy(model)
    for module in pruned.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            masks.l1_unstructured(module, "weight", 0.5)
            masks.remove(module, "weight")
    return pruned


def accuracy(model: nn.Module, data: GroupedData, group: int) -> float:
    batch = data.batch(data.indices("test", group=group))
    with torch.no_grad():
        found = copy.deepcopy(model).eval()(batch.inputs)
    logits = getattr(found, "logits", found)
    return float((logits.argmax(1) == batch.labels).float().mean())


def check(found: Results, models: dict[str, nn.Module], data: GroupedData) -> None:
    """The accuracies are those of the networks themselves."""
    table = found.groups[found.groups["metric"] == "accuracy"].astype({"group": str})
    for name, model in models.items():
        for place, group in enumerate(data.group_names):
            row = table[(table["model"] == name) & (table["group"] == group)]
            assert float(row["value"].iloc[0]) == pytest.approx(
                accuracy(model, data, place), abs=0.04
            )


@pytest.mark.parametrize(
    "name",
    [
        "torchvision:mobilenet_v3_small",
        "torchvision:resnet18",
        "timm:resnet18",
        "timm:vit_tiny_patch16_224",
    ],
)
def test_networks_of_libraries_are_built_without_weights(
    name: str, images: GroupedData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed(name.partition(":")[0])
    if "vit" in name:
        images = audit.from_arrays(
            torch.nn.functional.interpolate(images.inputs[:24], 224),
            images.labels[:24],
            np.array(["f", "m"] * 12),
            splits={"test": np.arange(24)},
        )
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", None)
    dense = build_model(Architecture(name, images.input_shape, 2)).eval()
    pruned = half_removed(dense)
    models = {"dense": dense, "pruned": pruned}
    for own, model in models.items():
        torch.save(model.state_dict(), tmp_path / f"{own}.pth")
    files = {own: tmp_path / f"{own}.pth" for own in models}
    found = compare_weights(files, name, images, SETTINGS)
    check(found, models, images)
    assert found.record["models"][1]["sparsity"] == pytest.approx(0.5, abs=0.01)
    with pytest.raises(AuditError, match="has no"):
        build_model(Architecture(name.partition(":")[0] + ":nothing_like_it", SHAPE, 2))


def small_bert() -> Any:
    """A classifier of transformers with weights by chance."""
    transformers = needed("transformers")
    config = transformers.BertConfig(
        vocab_size=30,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        num_labels=2,
    )
    torch.manual_seed(0)
    return transformers.BertForSequenceClassification(config)


def test_a_classifier_of_transformers(tmp_path: Path) -> None:
    dense = small_bert().eval()
    pruned = half_removed(dense)
    models = {"dense": dense, "pruned": pruned}
    for name, model in models.items():
        model.save_pretrained(tmp_path / name)
    generator = np.random.default_rng(0)
    codes = torch.from_numpy(generator.integers(1, 30, (60, 7)))
    mask = torch.ones_like(codes)
    mask[::2, 4:] = 0
    parts = {"input_ids": codes, "attention_mask": mask}
    data = audit.from_arrays(
        parts,
        generator.integers(0, 2, 60),
        generator.choice(["f", "m"], 60),
        splits={"test": np.arange(60)},
    )
    files = {name: tmp_path / name / "model.safetensors" for name in models}
    settings = MeasureSettings(resamples=50, minimum_group_size=5)
    found = compare_weights(files, f"hf:{tmp_path / 'dense'}", data, settings)
    live = audit.compare(models, data, settings)
    for metric in ("accuracy", "loss", "gradient_norm", "hessian_max_eigenvalue"):
        one, other = (
            r.groups[r.groups["metric"] == metric]["value"].astype(float) for r in (found, live)
        )
        assert one.notna().all()
        assert one.tolist() == pytest.approx(other.tolist(), rel=1e-3)
    with torch.no_grad():
        own = dense(input_ids=codes, attention_mask=mask).logits.argmax(1)
    rows = data.groups == 0
    table = found.groups[
        (found.groups["metric"] == "accuracy") & (found.groups["model"] == "dense")
    ]
    assert float(table["value"].iloc[0]) == pytest.approx(
        float((own == data.labels)[rows].float().mean())
    )
    assert found.record["models"][1]["sparsity"] == pytest.approx(0.5, abs=0.01)


def test_a_classifier_of_transformers_is_imported_and_pruned(tmp_path: Path) -> None:
    small_bert().save_pretrained(tmp_path)
    generator = np.random.default_rng(0)
    codes = torch.from_numpy(generator.integers(1, 30, (120, 7)))
    parts = {"input_ids": codes, "attention_mask": torch.ones_like(codes)}
    labels, groups = generator.integers(0, 2, 120), generator.choice(["f", "m"], 120)
    data, name = audit.from_arrays(parts, labels, groups), f"hf:{tmp_path}"
    dense = audit.import_weights(tmp_path / "model.safetensors", name, data)
    settings = audit.TrainingSettings(epochs=1)
    for method in (audit.Method("magnitude"), audit.Method("bilevel", "no-harm")):
        made = audit.prune_model(dense, data, method, 0.5, settings, factory=name)
        assert any("the only ones that are pruned here" in one for one in made.provenance.notes)
        measures = replace(SETTINGS, curvature="lanczos")
        found = audit.measure_model(made, dense, data, measures, factory=name)
        assert {"accuracy", "gradient_norm", "hessian_max_eigenvalue"} <= set(
            found.groups["metric"]
        )


def test_onnx_of_torch_with_any_batch(images: GroupedData, tmp_path: Path) -> None:
    needed("onnxruntime"), needed("onnxscript")
    torch.manual_seed(0)
    dense = nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(900, 2)).eval()
    models = {"dense": dense, "pruned": half_removed(dense)}
    for name, model in models.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                model,
                (torch.zeros(2, *SHAPE),),
                tmp_path / f"{name}.onnx",
                dynamic_shapes=({0: torch.export.Dim("batch")},) if name == "dense" else None,
            )
    files = {name: tmp_path / f"{name}.onnx" for name in models}
    inputs = images.inputs[:7]
    for name, model in models.items():
        given = load_program(files[name])(inputs)
        torch.testing.assert_close(
            next(iter(given.values())), model(inputs).detach(), rtol=1e-4, atol=1e-5
        )
    found = compare_weights(files, None, images, SETTINGS)
    check(found, models, images)
    assert [one["architecture"] for one in found.record["models"]] == ["ONNX model"] * 2
    assert all(one["sparsity"] is None for one in found.record["models"])


def test_torchao_and_torch_s_own_int8(images: GroupedData) -> None:
    needed("torchao")
    from torchao.quantization import Int8WeightOnlyConfig, quantize_

    torch.manual_seed(0)
    dense = nn.Sequential(nn.Flatten(), nn.Linear(3072, 16), nn.ReLU(), nn.Linear(16, 2)).eval()
    weight_only = copy.deepcopy(dense)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantize_(weight_only, Int8WeightOnlyConfig())
        dynamic = torch.ao.quantization.quantize_dynamic(copy.deepcopy(dense), {nn.Linear})
    models = {"dense": dense, "torchao": weight_only, "int8": dynamic}
    found = audit.compare(models, images, SETTINGS)
    check(found, models, images)
    for name in ("torchao", "int8"):
        own = found.groups[
            (found.groups["model"] == name) & (found.groups["metric"] == "gradient_norm")
        ]
        assert own["value"].isna().all()
        assert own["note"].notna().all()


def test_a_network_that_torch_pruning_made_smaller(images: GroupedData) -> None:
    tp = needed("torch_pruning")
    torch.manual_seed(0)
    dense = nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, 2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 2),
    ).eval()
    smaller = copy.deepcopy(dense)
    pruner = tp.pruner.MagnitudePruner(
        smaller,
        images.inputs[:2],
        importance=tp.importance.MagnitudeImportance(p=1),
        pruning_ratio=0.5,
        ignored_layers=[smaller[-1]],
    )
    pruner.step()
    models = {"dense": dense, "smaller": smaller}
    found = audit.compare(models, images, SETTINGS)
    check(found, models, images)
    entry = found.record["models"][1]
    assert entry["parameters"] < found.record["models"][0]["parameters"]
    assert "smaller than the dense network" in " ".join(entry["notes"])
    assert "0.00% of its convolution and linear weights are zeros" in " ".join(entry["notes"])
    taylor = found.groups[
        (found.groups["model"] == "smaller") & (found.groups["metric"] == "taylor_slope")
    ]
    assert taylor["note"].str.contains("another architecture").all()


class Chooses(nn.Module):
    """Takes its parts by name, as an exported transformer does."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(9, 4), nn.Linear(4, 2)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return self.head((self.table(input_ids) * attention_mask[..., None]).sum(1))


def test_onnx_with_inputs_of_several_parts(tmp_path: Path) -> None:
    needed("onnxruntime"), needed("onnxscript")
    torch.manual_seed(0)
    model = Chooses().eval()
    codes = torch.randint(0, 9, (6, 5))
    mask = (codes > 2).long()
    batch = torch.export.Dim("batch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            (codes[:2], mask[:2]),
            tmp_path / "a.onnx",
            input_names=["input_ids", "attention_mask"],
            dynamic_shapes={"input_ids": {0: batch}, "attention_mask": {0: batch}},
        )
    program = load_program(tmp_path / "a.onnx")
    found = program({"input_ids": codes, "attention_mask": mask})
    torch.testing.assert_close(next(iter(found.values())), model(codes, mask).detach())
    with pytest.raises(
        AuditError, match="takes the inputs input_ids, attention_mask; the data give one"
    ):
        program(codes)
