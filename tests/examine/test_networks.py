"""Networks as people have them: measured and pruned truly, or refused in one line."""

from __future__ import annotations

import copy
import warnings
from dataclasses import replace

import pandas as pd
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import prune as masks

import audit
from audit.data.grouped import GroupedData
from audit.errors import AuditError
from audit.examine.measured import ModelMeasures
from audit.examine.measuring import measure_model
from audit.examine.settings import MeasureSettings
from audit.mitigate import MITIGATION_METHODS
from audit.models import (
    Architecture,
    Provenance,
    TrainingSettings,
    load_checkpoint,
    save_checkpoint,
    train,
)
from audit.models import make_checkpoint as checkpoint_of
from audit.models.checkpoint import Checkpoint
from audit.models.live import live
from audit.models.training import train_mode
from audit.prune import PRUNING_METHODS
from audit.prune.mask import measured_mask
from audit.study.making import prune_model, train_model
from audit.study.settings import Method

SETTINGS = MeasureSettings(resamples=50, curvature="none", minimum_group_size=5)


class Tied(nn.Module):
    """Two layers with one weight, and a third."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.head = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2)
        self.b.weight = self.a.weight

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(torch.relu(self.b(torch.relu(self.a(inputs)))))


class Rows(nn.Module):
    """Reads its inputs one after another."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.LSTM(1, 4, batch_first=True)

    def forward(self, inputs: Tensor) -> Tensor:
        found: Tensor = self.cell(inputs[:, :, None])[0][:, -1]
        return found


class Coded(nn.Module):
    """Looks integer codes up."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(4, 8), nn.Linear(32, 2)

    def forward(self, codes: Tensor) -> Tensor:
        return self.head(torch.relu(self.table(codes).flatten(1)))


class Rounding(Coded):
    """Takes real numbers and looks their integer parts up."""

    def forward(self, codes: Tensor) -> Tensor:
        return super().forward(codes.long() % 4)


class Shifting(nn.Module):
    """Normalises its inputs in place."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))

    def forward(self, inputs: Tensor) -> Tensor:
        inputs -= 1.5
        return self.head(inputs)


class Dropping(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(functional.dropout(inputs, 0.5))


def one_logit(_: tuple[int, ...], __: int) -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))


def one_probability(shape: tuple[int, ...], classes: int) -> nn.Module:
    return nn.Sequential(one_logit(shape, classes), nn.Sigmoid())


def two_logits(_: tuple[int, ...], __: int) -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))


def normed(_: tuple[int, ...], __: int) -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))


def tied(_: tuple[int, ...], __: int) -> nn.Module:
    return Tied()


def coded(_: tuple[int, ...], __: int) -> nn.Module:
    return Coded()


def rounding(_: tuple[int, ...], __: int) -> nn.Module:
    return Rounding()


def shifting(_: tuple[int, ...], __: int) -> nn.Module:
    return Shifting()


def dropping(_: tuple[int, ...], __: int) -> nn.Module:
    return Dropping()


def factory(name: str) -> str:
    return f"{__name__}:{name}"


def checkpoint(
    name: str, data: GroupedData, model: nn.Module | None = None, outputs: str | None = None
) -> Checkpoint:
    torch.manual_seed(0)
    architecture = Architecture(factory(name), data.input_shape, 2, outputs=outputs)
    model = globals()[name](data.input_shape, 2) if model is None else model
    return checkpoint_of(model, architecture, data, Provenance("dense"))


def measured(
    one: Checkpoint,
    data: GroupedData,
    dense: Checkpoint | None = None,
    settings: MeasureSettings = SETTINGS,
) -> ModelMeasures:
    return measure_model(one, dense, data, settings, factory=one.architecture.name)


def rows(found: ModelMeasures, metric: str) -> pd.DataFrame:
    return found.groups[found.groups["metric"] == metric].set_index("group")


def group_loss(model: nn.Module, data: GroupedData, group: int) -> Tensor:
    batch = data.batch(data.indices("test", group=group))
    return functional.cross_entropy(model(batch.inputs), batch.labels)


# One logit


@pytest.mark.parametrize("method", [*PRUNING_METHODS, *MITIGATION_METHODS])
def test_every_method_prunes_a_network_of_one_logit(method: str, two_groups: GroupedData) -> None:
    rate = 0.3 if method in ("l1-filter", "l2-filter", "fpgm") else 0.5
    constraint = "excess-accuracy" if method in MITIGATION_METHODS else "none"
    dense = checkpoint("one_logit", two_groups)
    pruned = prune_model(
        dense,
        two_groups,
        Method(method, constraint),
        rate,
        TrainingSettings(epochs=1),
        factory=factory("one_logit"),
    )
    assert pruned.sparsity == pytest.approx(rate, abs=0.1)
    assert rows(measured(pruned, two_groups, dense), "excess_risk")["value"].notna().all()


def test_one_logit_trains_as_two_classes(two_groups: GroupedData) -> None:
    one = train_model(two_groups, factory("one_logit"), TrainingSettings(epochs=20))
    found = measured(one, two_groups)
    assert rows(found, "accuracy")["value"]["many"] > 0.8
    model = one.model(factory("one_logit"))
    batch = two_groups.batch(two_groups.indices("test", group=1))
    z = model(batch.inputs)[:, 1] - model(batch.inputs)[:, 0]
    expected = functional.binary_cross_entropy_with_logits(z, batch.labels.float())
    assert rows(found, "loss").loc["many", "value"] == pytest.approx(expected.item(), rel=1e-5)


# Outputs


def test_declared_probabilities_travel_and_are_measured_as_their_logits(
    two_groups: GroupedData, tmp_path: object
) -> None:
    logits = checkpoint("one_logit", two_groups)
    model = one_probability((4,), 2)
    model.load_state_dict({f"0.{name}": value for name, value in logits.state.items()})
    with pytest.raises(AuditError, match="declare them with --outputs probabilities"):
        measured(checkpoint("one_probability", two_groups, model), two_groups)
    declared = checkpoint("one_probability", two_groups, model, "probabilities")
    path = f"{tmp_path}/declared.pt"
    save_checkpoint(declared, path)
    found, expected = measured(load_checkpoint(path), two_groups), measured(logits, two_groups)
    for metric in ("loss", "accuracy", "gradient_norm", "input_distance"):
        assert rows(found, metric)["value"].tolist() == pytest.approx(
            rows(expected, metric)["value"].tolist(), rel=1e-4
        )


# Frozen parameters


def frozen(data: GroupedData, name: str = "normed") -> Checkpoint:
    """A trained network whose first layers are frozen, as in linear probing."""
    torch.manual_seed(0)
    model = globals()[name](data.input_shape, 2)
    train(model, data, data.indices("train"), TrainingSettings(epochs=2))
    model[:-1].requires_grad_(False)
    return checkpoint(name, data, model)


def test_frozen_parameters_are_stored_and_not_differentiated(
    two_groups: GroupedData, tmp_path: object
) -> None:
    path = f"{tmp_path}/frozen.pt"
    save_checkpoint(frozen(two_groups), path)
    one = load_checkpoint(path)
    assert one.frozen == ("0.weight", "0.bias", "1.weight", "1.bias")
    model = one.model(factory("normed"))
    assert [p.requires_grad for p in model.parameters()] == [False] * 4 + [True] * 2
    found = measured(one, two_groups, settings=MeasureSettings(resamples=50, minimum_group_size=5))
    for code, group in enumerate(two_groups.group_names):
        own = list(model[3].parameters())
        slope = torch.autograd.grad(group_loss(model, two_groups, code), own)
        norm = float(torch.cat([part.flatten() for part in slope]).norm())
        assert rows(found, "gradient_norm").loc[group, "value"] == pytest.approx(norm, rel=1e-4)

        def loss(weight: Tensor, bias: Tensor, group: int = code) -> Tensor:
            parameters = {"3.weight": weight, "3.bias": bias}
            batch = two_groups.batch(two_groups.indices("test", group=group))
            logits = torch.func.functional_call(model, parameters, (batch.inputs,))
            return functional.cross_entropy(logits, batch.labels)

        blocks = torch.autograd.functional.hessian(loss, tuple(p.detach() for p in own))
        sizes = [p.numel() for p in own]
        matrix = torch.cat(
            [
                torch.cat([blocks[i][j].reshape(sizes[i], sizes[j]) for j in (0, 1)], 1)
                for i in (0, 1)
            ]
        )
        largest = float(torch.linalg.eigvalsh(matrix.double())[-1])
        value = rows(found, "hessian_max_eigenvalue").loc[group, "value"]
        assert value == pytest.approx(largest, rel=1e-3)


@pytest.mark.parametrize(
    "method", ["magnitude", "gradual", "lottery-ticket", "random", *MITIGATION_METHODS]
)
def test_no_method_moves_what_is_frozen(method: str, two_groups: GroupedData) -> None:
    """Frozen weights may be removed; those that survive, and running statistics, stay."""
    dense = frozen(two_groups)
    constraint = "excess-accuracy" if method in MITIGATION_METHODS else "none"
    settings = TrainingSettings(epochs=2)
    pruned = prune_model(
        dense, two_groups, Method(method, constraint), 0.4, settings, factory=factory("normed")
    )
    assert pruned.frozen == dense.frozen
    for name, before in dense.state.items():
        after = pruned.state[name]
        if name == "0.weight":
            assert torch.equal(after[after != 0], before[after != 0])
        elif not name.startswith("3."):
            assert torch.equal(after, before)
    assert not torch.equal(pruned.state["3.bias"], dense.state["3.bias"])


def test_only_what_is_frozen_as_a_whole_stays_in_evaluation_mode() -> None:
    model = normed((4,), 2)
    model[0].requires_grad_(False)
    model[1].weight.requires_grad_(False)
    train_mode(model)
    assert [module.training for module in model.children()] == [False, True, True, True]


def test_nothing_trainable_is_refused(two_groups: GroupedData) -> None:
    model = two_logits((4,), 2).requires_grad_(False)
    with pytest.raises(AuditError, match="every parameter of the network is frozen"):
        train(model, two_groups, two_groups.indices("train"), TrainingSettings(epochs=1))


# Functions of a sample


def test_a_network_that_is_no_function_is_not_measured(two_groups: GroupedData) -> None:
    with pytest.raises(AuditError, match="chance or on earlier calls"):
        measured(checkpoint("dropping", two_groups), two_groups)
    good = train_model(two_groups, "mlp", TrainingSettings(epochs=1))
    noisy = checkpoint("dropping", two_groups)
    with pytest.raises(AuditError, match="chance or on earlier calls"):
        measure_model(good, noisy, two_groups, SETTINGS, factory=factory("dropping"))


def test_no_training_is_spent_on_it(two_groups: GroupedData) -> None:
    with pytest.raises(AuditError, match="chance or on earlier calls"):
        train_model(two_groups, factory("dropping"))


# Tied weights


@pytest.mark.parametrize(("method", "rate"), [("magnitude", 0.5), ("snip", 0.9), ("random", 0.5)])
def test_a_tensor_is_one_tensor(method: str, rate: float, two_groups: GroupedData) -> None:
    """16 + 8 weights can be pruned; they are counted and masked once."""
    name = factory("tied")
    dense = checkpoint("tied", two_groups)
    pruned = prune_model(dense, two_groups, method, rate, TrainingSettings(epochs=0), factory=name)
    network = pruned.model(name)
    assert isinstance(network, Tied)
    assert network.a.weight is network.b.weight
    weights = [network.a.weight, network.head.weight]
    left = sum(int(weight.count_nonzero()) for weight in weights)
    assert left == round((1 - rate) * 24)
    assert pruned.sparsity == pytest.approx(1 - left / 24)
    found = measured(pruned, two_groups, dense).model
    assert found["parameters"] == 24 + 4 + 4 + 2
    assert found["surviving_parameters"] == left + 4 + 4 + 2


def test_channels_of_tied_weights_stay_whole(two_groups: GroupedData) -> None:
    with pytest.raises(AuditError, match="no filters that could be removed"):
        prune_model(
            checkpoint("tied", two_groups), two_groups, "l1-filter", 0.3, factory=factory("tied")
        )


# Inputs


def test_integers_reach_an_embedding_and_have_no_distance(two_groups: GroupedData) -> None:
    data = replace(two_groups, inputs=torch.randint(0, 4, (400, 4)))
    for name, reason in (("coded", "real numbers"), ("rounding", "real numbers")):
        found = measured(checkpoint(name, data), data)
        distances = rows(found, "input_distance")
        assert distances["value"].isna().all()
        assert distances["note"].str.contains(reason).all()
        assert rows(found, "gradient_norm")["value"].gt(0).all()
    reals = replace(data, inputs=data.inputs.float())
    distances = rows(measured(checkpoint("rounding", reals), reals), "input_distance")
    assert distances["note"].str.contains("no gradient by the inputs").all()


@pytest.mark.parametrize("curvature", ["none", "lanczos"])
def test_a_first_layer_that_works_in_place(curvature: str, two_groups: GroupedData) -> None:
    codes = replace(two_groups, inputs=torch.randint(0, 4, (400, 4)))
    settings = MeasureSettings(resamples=50, curvature=curvature, theory=True, deepfool=True)
    for data in (two_groups, codes):
        torch.manual_seed(1)
        dense = checkpoint("shifting", data, Shifting())
        found = measured(dense, data, settings=settings)
        assert rows(found, "gradient_norm")["value"].gt(0).all()
        assert found.groups["note"].isna().all()
        model = dense.model(factory("shifting"))
        inputs = data.batch(data.indices("test", group=0)).inputs.float()
        labels = data.batch(data.indices("test", group=0)).labels
        loss = functional.cross_entropy(model(inputs), labels).item()
        assert rows(found, "loss").loc["few", "value"] == pytest.approx(loss, rel=1e-5)


# Dense or pruned: what the weights say


def zeros(data: GroupedData) -> tuple[Checkpoint, Checkpoint]:
    """A dense network, and its weights with 80 % zeros as another tool leaves them."""
    torch.manual_seed(0)
    model = two_logits((4,), 2)
    train(model, data, data.indices("train"), TrainingSettings(epochs=5))
    dense = checkpoint("two_logits", data, model)
    masks.global_unstructured(
        [(model[0], "weight"), (model[2], "weight")], masks.L1Unstructured, amount=0.8
    )
    return dense, checkpoint("two_logits", data, model)


def test_zeros_without_a_mask_are_no_dense_parent(two_groups: GroupedData) -> None:
    dense, pruned = zeros(two_groups)
    alone = measured(pruned, two_groups)
    assert not set(alone.groups["metric"]) & {"excess_risk", "excess_accuracy_gap"}
    assert any("its dense network was not given" in note for note in alone.model["notes"])
    beside = measured(pruned, two_groups, dense)
    assert rows(beside, "excess_risk")["value"].abs().max() > 0
    with pytest.raises(AuditError, match=r"as the dense one: 79\.2% of its weights"):
        measured(dense, two_groups, pruned)
    with pytest.raises(AuditError, match="pruned already as the dense one"):
        measured(pruned, two_groups, pruned)
    with pytest.raises(AuditError, match="pruned already as the dense one"):
        prune_model(pruned, two_groups, factory=factory("two_logits"))


def test_a_network_that_starts_with_a_last_layer_of_zeros_is_dense_and_told(
    two_groups: GroupedData,
) -> None:
    torch.manual_seed(0)
    model = two_logits((4,), 2)
    last = model[2]
    assert isinstance(last, nn.Linear)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    fresh = checkpoint("two_logits", two_groups, model)
    pruned = zeros(two_groups)[1]
    itself, beside = measured(fresh, two_groups, fresh), measured(pruned, two_groups, fresh)
    said = "every weight of its last layer '2' is zero, as some networks start"
    assert any(note.startswith(said) for note in itself.model["notes"])
    assert rows(itself, "excess_risk")["value"].abs().max() == 0
    assert rows(beside, "excess_risk")["value"].abs().max() > 0
    alone = measured(fresh, two_groups)
    assert not set(alone.groups["metric"]) & {"excess_risk", "excess_accuracy_gap"}


def test_integers_alone_are_no_dense_parent(two_groups: GroupedData) -> None:
    """Nothing tells whether weights are zero that are integers and scales."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch has moved dynamic quantisation to torchao
        quantised = torch.ao.quantization.quantize_dynamic(two_logits((4,), 2), {nn.Linear})
    alone = measure_model(live(quantised, two_groups, Provenance("int8"), None), None, two_groups, SETTINGS)  # fmt: skip
    assert not set(alone.groups["metric"]) & {"excess_risk", "excess_accuracy_gap"}
    said = "no weight of it can be looked at and its dense network was not given"
    assert any(note.startswith(said) for note in alone.model["notes"])


def test_zeros_beside_linear_layers_are_counted_and_told(two_groups: GroupedData) -> None:
    """M5 over the surviving weights of all layers, and the share of all weights that is zero."""
    torch.manual_seed(0)
    dense = nn.Sequential(Rows(), nn.Linear(4, 2))
    pruned = copy.deepcopy(dense)
    with torch.no_grad():
        pruned.get_parameter("0.cell.weight_ih_l0")[:8] = 0
    found = audit.compare({"dense": dense, "pruned": pruned}, two_groups, SETTINGS)
    (note,) = [one for one in found.record["models"][1]["notes"] if "all weights" in one]
    assert note.startswith("the sparsity of 0.0% is of the 8 weights of convolution and linear")
    assert "of the 80 others, 90.9% of all ('0.cell.weight_hh_l0' has the most), 10.0% are" in note
    assert note.endswith("zeros, and 9.1% of all weights together")
    norms = found.groups[(found.groups["metric"] == "gradient_norm") & (found.groups["model"] == "pruned")]  # fmt: skip
    slope = torch.autograd.grad(group_loss(pruned, two_groups, 1), list(pruned.parameters()))
    kept = [s * (p != 0) for s, p in zip(slope, pruned.parameters(), strict=True)]
    norm = float(torch.cat([part.flatten() for part in kept]).norm())
    assert norms.set_index("group").loc["many", "value"] == pytest.approx(norm, rel=1e-5)
    with pytest.raises(AuditError, match=r"and 10\.0% of those that are of no convolution or"):
        audit.prune(pruned, two_groups, "magnitude", rate=0.5)  # type: ignore[operator]


def test_zeros_without_a_mask_have_the_coordinates_of_a_pruned_network(
    two_groups: GroupedData,
) -> None:
    """M5 over the surviving weights, whoever removed the others."""
    dense, pruned = zeros(two_groups)
    model = pruned.model(factory("two_logits"))
    parts = measured_mask(model).parts
    slope = torch.autograd.grad(group_loss(model, two_groups, 1), list(model.parameters()))
    names = [name for name, _ in model.named_parameters()]
    kept = [part * parts.get(name, torch.ones_like(part)) for name, part in zip(names, slope, strict=True)]  # fmt: skip
    norm = float(torch.cat([part.flatten() for part in kept]).norm())
    row = rows(measured(pruned, two_groups, dense), "gradient_norm").loc["many"]
    assert row["value"] == pytest.approx(norm, rel=1e-5)
    assert row["ci_low"] <= norm <= row["ci_high"]


def test_a_pruned_file_that_is_dense_is_called_so_first_of_all(two_groups: GroupedData) -> None:
    dense = checkpoint("two_logits", two_groups)
    mask = dict(measured_mask(dense.model(factory("two_logits"))).parts)
    mask["0.weight"] = torch.zeros_like(mask["0.weight"])
    claimed = replace(dense, mask=mask, provenance=Provenance("magnitude", rate=0.9))
    for one in (claimed, replace(claimed, mask=None)):
        notes = measured(one, two_groups, dense).model["notes"]
        assert notes[0].startswith("called pruned by 'magnitude' at rate 0.9, but its weights are")
        alone = measured(one, two_groups)
        assert "excess_risk" not in set(alone.groups["metric"])


def test_curvature_may_be_of_fewer_samples_and_products(two_groups: GroupedData) -> None:
    """n says of how many; what has not converged by then is a bound, and no more is claimed."""
    torch.manual_seed(0)
    dense, pruned = (nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2)) for _ in range(2))
    pruned.load_state_dict(dense.state_dict())
    with torch.no_grad():
        pruned.get_parameter("0.weight")[:4] = 0
    settings = MeasureSettings(resamples=50, samples_per_group=20, curvature_samples=7)
    found = audit.compare({"dense": dense, "pruned": pruned}, two_groups, settings).groups
    sizes = {metric: set(found[found["metric"] == metric]["n"]) for metric in ("gradient_norm", "hessian_max_eigenvalue")}  # fmt: skip
    assert sizes == {"gradient_norm": {20}, "hessian_max_eigenvalue": {7}}
    rows = two_groups.indices("test", group=1)
    short = MeasureSettings(resamples=50, samples_per_group=500, max_products=1)
    found = audit.compare({"dense": dense, "pruned": pruned}, two_groups, short).groups
    largest = found[found["metric"] == "hessian_max_eigenvalue"]
    assert set(largest["products"]) == {1}
    batch = two_groups.batch(rows)

    def loss(flat: torch.Tensor) -> torch.Tensor:
        parts = dict(zip(dense.state_dict(), flat.split([32, 8, 16, 2]), strict=True))
        shaped = {name: parts[name].view_as(value) for name, value in dense.state_dict().items()}
        logits = torch.func.functional_call(dense.double(), shaped, (batch.inputs.double(),))
        return nn.functional.cross_entropy(logits, batch.labels)

    flat = torch.cat([value.flatten() for value in dense.state_dict().values()]).double()
    truth = float(torch.linalg.eigvalsh(torch.func.hessian(loss)(flat))[-1])
    row = largest[(largest["model"] == "dense") & (largest["group"].astype(str) == "many")].iloc[0]
    assert not row["converged"]
    assert row["value"] <= truth * (1 + 1e-5)


def test_an_unknown_device_is_refused(two_groups: GroupedData) -> None:
    models = {"dense": nn.Linear(4, 2), "other": nn.Linear(4, 2)}
    with pytest.raises(AuditError, match="device 'nowhere' cannot be used here"):
        audit.compare(models, two_groups, MeasureSettings(device="nowhere"))
