"""Networks in memory, in one call: whatever they are, and left as they were."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.utils import prune as masks
from torch.utils.data import DataLoader

import audit
from audit.data.grouped import GroupedData
from audit.errors import AuditError
from audit.examine.settings import MeasureSettings
from audit.findings.causes import trained_sizes
from audit.findings.results import Results
from audit.findings.thresholds import Threshold, judge
from audit.measure.network import called_with
from audit.models import Architecture, Provenance, TrainingSettings, make_checkpoint, train
from audit.models.live import live
from audit.prune.mask import Mask, beside_the_prunable, measured_sparsity
from audit.report.facts import facts
from audit.study.checkpoints import measure_files
from audit.study.making import prune_model
from audit.study.settings import Method

SETTINGS = MeasureSettings(resamples=50, curvature="lanczos", minimum_group_size=5)


class Network(nn.Module):
    """A network that its owner wrote."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.hidden, self.head = nn.Linear(4, width), nn.Linear(width, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(torch.relu(self.hidden(inputs)))


@pytest.fixture
def dense(two_groups: GroupedData) -> Network:
    model = Network()
    train(model, two_groups, two_groups.indices("train"), TrainingSettings(epochs=5))
    return model.train()


def rows(found: Results, model: str, metric: str) -> pd.DataFrame:
    table = found.groups
    return table[(table["model"] == model) & (table["metric"] == metric)].set_index("group")


def entry(found: Results, model: str) -> dict[str, object]:
    return next(one for one in found.record["models"] if one["name"] == model)


def pruned_by_torch(model: Network) -> Network:
    copied = copy.deepcopy(model)
    layers = [(copied.hidden, "weight"), (copied.head, "weight")]
    masks.global_unstructured(layers, masks.L1Unstructured, amount=0.75)
    return copied


def quantised(model: Network) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.ao.quantization.quantize_dynamic(copy.deepcopy(model).eval(), {nn.Linear})


def test_networks_of_all_kinds_are_compared(dense: Network, two_groups: GroupedData) -> None:
    pruned = pruned_by_torch(dense)
    models = {
        "dense": dense,
        "pruned": pruned,
        "int8": quantised(dense),
        "bfloat16": copy.deepcopy(dense).bfloat16(),
        "student": Network(3),
    }
    found = audit.compare(models, two_groups, SETTINGS)
    batch = two_groups.batch(two_groups.indices("test", group=1))
    for name, model in models.items():
        kind = torch.bfloat16 if name == "bfloat16" else torch.float32
        logits = copy.deepcopy(model).eval()(batch.inputs.to(kind)).float()
        accuracy = float((logits.argmax(1) == batch.labels).float().mean())
        assert rows(found, name, "accuracy").loc["many", "value"] == pytest.approx(
            accuracy, abs=0.02
        )
        if name != "dense":
            assert rows(found, name, "excess_accuracy_gap")["value"].notna().all()
    assert entry(found, "pruned")["sparsity"] == pytest.approx(0.75)
    assert rows(found, "pruned", "taylor_slope")["value"].notna().all()
    for name, reason in (("int8", "integers"), ("bfloat16", "half precision")):
        slopes = rows(found, name, "gradient_norm")
        assert slopes["value"].isna().all()
        assert slopes["note"].str.contains(reason).all()
    assert rows(found, "student", "gradient_norm")["value"].notna().all()
    assert rows(found, "student", "taylor_slope")["note"].str.contains("another architecture").all()
    notes = {name: " ".join(map(str, entry(found, name)["notes"])) for name in models}  # type: ignore[call-overload]
    assert "pruning mask of 'hidden.weight'" in notes["pruned"]
    assert "one sample at a time" in notes["int8"]
    assert "its sparsity is not known" in notes["int8"]
    assert notes["student"].startswith(
        "smaller than the dense network: 18 convolution and linear weights instead of 48, 62.5% fewer"
    )
    assert notes["bfloat16"].startswith("not pruned: 0.00% of its convolution and linear weights")
    assert dense.training
    assert hasattr(pruned.hidden, "weight_orig")


def test_what_is_compared_with_must_be_dense(dense: Network, two_groups: GroupedData) -> None:
    models = {"one": pruned_by_torch(dense), "other": dense}
    with pytest.raises(AuditError, match="pruned already as the dense one"):
        audit.compare(models, two_groups, SETTINGS)
    found = audit.compare(models, two_groups, MeasureSettings(resamples=50, curvature="none"), dense="other")  # fmt: skip
    assert found.record["tables"]["compared"] == ["other", "one"]
    with pytest.raises(AuditError, match="no network 'third'; expected one of one, other"):
        audit.compare(models, two_groups, SETTINGS, dense="third")
    with pytest.raises(AuditError, match="expected two or more"):
        audit.compare({"dense": dense}, two_groups)
    with pytest.raises(AuditError, match=r"found a str as a network; expected a torch\.nn\.Module"):
        audit.compare({"dense": dense, "pruned": "pruned.pth"}, two_groups)  # type: ignore[dict-item]


def test_a_network_in_memory_is_pruned_and_mitigated(
    dense: Network, two_groups: GroupedData
) -> None:
    before = copy.deepcopy(dense.state_dict())
    settings = TrainingSettings(epochs=2)
    pruned = audit.prune(dense, two_groups, "magnitude", rate=0.5, settings=settings)
    fair = audit.mitigate(  # type: ignore[operator]
        dense, two_groups, rate=0.5, constraint="excess-accuracy", settings=settings
    )
    for network in (pruned, fair):
        assert isinstance(network, Network)
        assert isinstance(network.mask, Mask)
        assert measured_sparsity(network) == pytest.approx(0.5)
        assert network.training
        assert not network._forward_hooks
        assert torch.equal(network.hidden.weight != 0, network.mask.parts["hidden.weight"])
    assert all(torch.equal(value, before[name]) for name, value in dense.state_dict().items())
    found = audit.compare({"dense": dense, "pruned": pruned, "fair": fair}, two_groups, MeasureSettings(resamples=50, curvature="none"))  # fmt: skip
    assert [one["sparsity"] for one in found.record["models"]] == pytest.approx([0, 0.5, 0.5])


def test_probabilities_are_declared_for_all(dense: Network, two_groups: GroupedData) -> None:
    models = {"dense": nn.Sequential(dense, nn.Softmax(1)), "pruned": nn.Sequential(pruned_by_torch(dense), nn.Softmax(1))}  # fmt: skip
    settings = MeasureSettings(resamples=50, curvature="none")
    with pytest.raises(AuditError, match="as probabilities do"):
        audit.compare(models, two_groups, settings)
    found = audit.compare(models, two_groups, settings, outputs="probabilities")
    plain = audit.compare({"dense": dense, "pruned": pruned_by_torch(dense)}, two_groups, settings)
    losses = [rows(one, "pruned", "loss")["value"].tolist() for one in (found, plain)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def build(_: tuple[int, ...], __: int) -> nn.Module:
    """What `--model` names."""
    return Network()


def test_weights_of_other_tools_are_compared(
    dense: Network, two_groups: GroupedData, tmp_path: Path
) -> None:
    """As the network in memory; the first is the dense one, zeros and masks are measured."""
    live_masks = pruned_by_torch(dense)
    torch.save({"state_dict": {f"module.{n}": v for n, v in dense.state_dict().items()}}, tmp_path / "dense.pth")  # fmt: skip
    save_file(dict(live_masks.state_dict()), tmp_path / "pruned.safetensors")
    files = {"dense": tmp_path / "dense.pth", "pruned": tmp_path / "pruned.safetensors"}
    settings = MeasureSettings(resamples=50, curvature="none")
    found = audit.compare_weights(files, f"{__name__}:build", two_groups, settings)
    expected = audit.compare({"dense": dense, "pruned": live_masks}, two_groups, settings)
    for metric in ("accuracy", "excess_risk", "gradient_norm"):
        one, other = (rows(each, "pruned", metric)["value"].tolist() for each in (found, expected))
        assert one == pytest.approx(other, rel=1e-5)
    assert entry(found, "pruned")["sparsity"] == pytest.approx(0.75)
    assert entry(found, "pruned")["file"] == "pruned.safetensors"
    assert "the prefix 'module.' was taken off its names" in entry(found, "dense")["notes"]  # type: ignore[operator]
    # A split that was drawn here says nothing of what the weights were trained on.
    drawn = replace(two_groups, drawn=True)
    of_drawn = audit.compare_weights(files, f"{__name__}:build", drawn, settings).record
    assert all(trained_sizes(found.record).values())
    assert not any(trained_sizes(of_drawn).values())
    with pytest.raises(AuditError, match="give the function that builds it by --model"):
        audit.compare_weights(files, None, two_groups, settings)
    turned = dict(reversed(files.items()))
    with pytest.raises(AuditError, match="pruned already as the dense one"):
        audit.compare_weights(turned, f"{__name__}:build", two_groups, settings, dense="pruned")


def test_the_command_asks_for_the_data_of_such_weights(dense: Network, tmp_path: Path) -> None:
    for name in ("dense", "pruned"):
        torch.save(dense.state_dict(), tmp_path / f"{name}.pth")
    with pytest.raises(
        AuditError, match="do not say what data to audit them on; give it by --data"
    ):
        audit.compare_files(tmp_path / "dense.pth", tmp_path / "pruned.pth", factory="a:b")
    said = "weights of other tools become one by 'audit import .*pruned.pth --model FUNCTION --data"
    with pytest.raises(AuditError, match=said):
        measure_files(tmp_path / "pruned.pth")


@pytest.mark.parametrize(
    ("column", "further", "measured", "said"),
    [
        (False, "", 400, "All 400 samples are measured, as nothing says which are test samples"),
        (False, "&test=0.25", 100, ""),
        (True, "", 100, ""),
    ],
)
def test_all_samples_of_an_auditor_are_measured(
    column: bool, further: str, measured: int, said: str, tmp_path: Path
) -> None:
    """A split drawn here says nothing of what other tools' networks were trained on."""
    dense = Network()
    torch.save(dense.state_dict(), tmp_path / "dense.pth")
    torch.save(pruned_by_torch(dense).state_dict(), tmp_path / "pruned.pth")
    generator = torch.Generator().manual_seed(0)
    table = pd.DataFrame(torch.randn(400, 4, generator=generator).numpy(), columns=list("abcd"))
    table = table.assign(sex=["f", "m"] * 200, y=[0, 0, 1, 1] * 100)
    if column:
        table = table.assign(split=(["test"] * 2 + ["train"] * 6) * 50)
    table.to_csv(tmp_path / "people.csv", index=False)
    spec = f"table:{tmp_path / 'people.csv'}?target=y&group=sex&drop=sex{further}"
    found = audit.compare_files(
        tmp_path / "dense.pth", tmp_path / "pruned.pth", data=spec, factory=f"{__name__}:build",
        settings=MeasureSettings(resamples=20, curvature="none", minimum_group_size=5),
    )  # fmt: skip
    assert int(rows(found, "pruned", "accuracy")["n"].sum()) == measured
    notes = [note for note in found.record["data"]["notes"] if "samples are measured" in note]
    assert [note.startswith(said) for note in notes] == [True] * bool(said)
    assert all("numbers were standardised by these samples" in note for note in notes)
    assert any(trained_sizes(found.record).values()) == column


SEEN: list[int] = []


class Counted(Network):
    def forward(self, inputs: Tensor) -> Tensor:
        SEEN.append(len(inputs))
        return super().forward(inputs)


def test_every_network_runs_over_the_samples_once() -> None:
    """The dense one too, however many are held against it: at most 1.2 times what is needed."""
    generator = torch.Generator().manual_seed(0)
    inputs, labels = torch.randn(1500, 4, generator=generator), torch.arange(1500) % 2
    data = audit.from_arrays(inputs, labels, torch.arange(1500) % 3, splits={"test": range(1500)})
    models = {name: Counted() for name in ("dense", "one", "other", "third")}
    # What else takes passes is left out, so that those for the outputs can be counted.
    without = ("gradient_norm", "input_distance", "taylor")
    SEEN.clear()
    audit.compare(models, data, MeasureSettings(resamples=50, curvature="none", without=without))
    assert 4 * 1500 <= sum(SEEN) <= 1.2 * 4 * 1500


# What is read may be something else


class Ordered(nn.Module):
    """A network whose outputs stand in another order."""

    def __init__(self, model: nn.Module, order: list[int]) -> None:
        super().__init__()
        self.model, self.order = model, order

    def forward(self, inputs: Tensor) -> Tensor:
        return self.model(inputs)[:, self.order]


def test_a_dense_network_whose_classes_stand_in_another_order_is_refused(dense, two_groups):
    models = {"dense": Ordered(dense, [1, 0]), "pruned": Ordered(pruned_by_torch(dense), [1, 0])}
    with pytest.raises(
        AuditError, match=r"the dense network answers most samples of .* as .*order"
    ):
        audit.compare(models, two_groups, SETTINGS)


def test_under_labels_of_one_group_in_another_order_nobody_is_cleared(dense, two_groups):
    """Pruning would seem to mend that group, and all others to pay for it."""
    with torch.no_grad():
        answers = dense(two_groups.inputs).argmax(1)
    few = two_groups.groups == 0
    data = replace(two_groups, labels=torch.where(few, 1 - answers, answers))
    quick = replace(SETTINGS, curvature="none")
    found = audit.compare({"dense": dense, "pruned": pruned_by_torch(dense)}, data, quick)
    headline = found.record["verdict"]["headline"]
    assert (
        "who pays beyond that is not known: the dense network answers the classes of a" in headline
    )
    with pytest.raises(AuditError, match="cannot be judged: the dense network answers the classes"):
        judge(found, [Threshold.parse("any group pays")])


def test_a_pruned_network_whose_classes_stand_in_another_order_is_refused(dense, two_groups):
    models = {"dense": dense, "pruned": Ordered(copy.deepcopy(dense), [1, 0])}
    with pytest.raises(AuditError, match=r"'pruned' answers most samples"):
        audit.compare(models, two_groups, SETTINGS)
    worse = copy.deepcopy(dense)
    with torch.no_grad():
        worse.head.bias[0] += 0.2
    worse = Ordered(worse, [1, 0])
    with pytest.raises(AuditError, match=r"'worse' answers most samples"):
        audit.compare({"dense": dense, "worse": worse}, two_groups, SETTINGS)


def test_a_network_better_than_the_dense_one_is_asked_about(dense, two_groups):
    before = Network()
    with torch.no_grad():
        before.head.bias[0] += 0.3
    train(before, two_groups, two_groups.indices("train")[:8], TrainingSettings(epochs=2))
    settings = replace(SETTINGS, curvature="none")
    for models, asked in (
        ({"dense": before, "p": dense}, True),
        ({"dense": dense, "p": dense}, False),
    ):
        said = audit.compare(models, two_groups, settings).record["verdict"]["sentences"]
        assert any("are the files the right way round?" in one for one in said) is asked


def test_a_copy_of_the_dense_network_is_no_network_that_nobody_pays_under(dense, two_groups):
    """Its file may have other bytes; gaps of zero would pass any threshold."""
    quick, again = replace(SETTINGS, curvature="none"), copy.deepcopy(dense)
    models = {"dense": dense, "again": again}
    alone = audit.compare(models, two_groups, quick)
    both = audit.compare(models | {"p": pruned_by_torch(dense)}, two_groups, quick)
    assert alone.record["verdict"]["headline"].startswith("Nothing was compared: again gives the")
    assert "own file" in alone.record["verdict"]["action"]
    assert "; again gives the dense network's outputs" in both.record["verdict"]["headline"]
    assert [fact.value for fact in facts(alone)][:2] == ["Dense", "A copy"]
    for text in ("max excess_accuracy_gap > 0.02", "no agreement above 0.5", "levelling down"):
        for found in (alone, both):
            with pytest.raises(AuditError, match="again gives the dense network's outputs"):
                judge(found, [Threshold.parse(text)])
    (of_itself,) = judge(alone, [Threshold.parse("overall accuracy < 0.1")])
    assert not of_itself.possible
    assert not any("copy" in one for one in both.findings[both.findings.label == "p"].claim)


def test_under_a_dense_network_that_knows_nothing_nobody_is_cleared(dense, two_groups):
    order = torch.randperm(len(two_groups.labels), generator=torch.Generator().manual_seed(2))
    mixed = replace(two_groups, inputs=two_groups.inputs[order])
    models = {"dense": dense, "pruned": pruned_by_torch(dense)}
    settings = replace(SETTINGS, curvature="none")
    found = audit.compare(models, mixed, settings)
    (pays,) = found.findings[found.findings["claim"] == "pays"].to_dict("records")
    assert pays["decision"] is None
    assert "tells nothing of the labels" in found.record["verdict"]["headline"]
    assert "Find out first why" in found.record["verdict"]["action"]
    with pytest.raises(AuditError, match="'any group pays' cannot be judged: the dense network"):
        judge(found, [Threshold.parse("any group pays")])


def test_the_first_line_says_what_it_could_not_have_seen(dense, two_groups):
    settings = replace(SETTINGS, curvature="none")
    slightly = copy.deepcopy(dense)
    with torch.no_grad():
        slightly.hidden.weight[0, 0] = 0.0
    found = audit.compare({"dense": dense, "p": slightly}, two_groups, settings)
    headline = found.record["verdict"]["headline"]
    assert "under p, no group was found to pay" in headline.lower()
    assert "would often have gone unseen" in headline


def test_fewer_than_two_judged_groups_are_not_told_to_find_their_parent(dense, two_groups):
    settings = replace(SETTINGS, curvature="none", minimum_group_size=1000)
    models = {"dense": dense, "pruned": pruned_by_torch(dense)}
    action = audit.compare(models, two_groups, settings).record["verdict"]["action"]
    assert action.startswith("Collect samples of more groups: fewer than two groups are judged")


@pytest.mark.parametrize(
    ("label", "told"),
    [(torch.eye(2)[0], r"a label of shape \(2,\)"), ({"a": 1}, "type dict"), ([1], "type list")],
)
def test_a_label_is_one_value(dense, label, told):
    items = [(torch.zeros(4), label, 0)] * 4
    with pytest.raises(AuditError, match=told):
        audit.compare({"dense": dense, "pruned": dense}, items, SETTINGS)


# Modules around modules


class CutOff(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    @torch.no_grad()
    def forward(self, inputs: Tensor) -> Tensor:
        return self.model(inputs)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
def test_what_is_around_a_network_is_no_other_network(dense, two_groups):
    pruned = pruned_by_torch(dense).eval()
    alone = audit.compare({"dense": dense, "p": pruned}, two_groups, SETTINGS)
    traced = torch.jit.trace(copy.deepcopy(dense).eval(), two_groups.inputs[:2])
    models = {
        "dense": nn.DataParallel(dense), "p": torch.compile(pruned), "traced": traced,
        "cut off": CutOff(dense),
    }  # fmt: skip
    found = audit.compare(models, two_groups, SETTINGS)
    for metric in ("accuracy", "gradient_norm", "hessian_max_eigenvalue"):
        one, other = (rows(results, "p", metric)["value"] for results in (found, alone))
        pd.testing.assert_series_equal(one, other)
    assert rows(found, "traced", "accuracy")["value"].equals(
        rows(found, "dense", "accuracy")["value"]
    )
    assert rows(found, "traced", "gradient_norm")["note"].str.contains("outputs alone").all()
    assert rows(found, "cut off", "gradient_norm")["note"].str.contains("cut off from").all()
    assert traced.training is False


def test_a_network_without_numbers_is_refused(dense, two_groups):
    with pytest.raises(AuditError, match="the device 'meta', which holds no numbers"):
        audit.compare({"dense": dense, "p": Network().to("meta")}, two_groups, SETTINGS)


class Shared(nn.Module):
    """A layer that stands under two names, and a tensor that two layers share."""

    def __init__(self) -> None:
        super().__init__()
        first, last = nn.Linear(4, 4), nn.Linear(4, 4)
        last.weight = first.weight
        self.first, self.last = first, last
        self.body = nn.Sequential(first, nn.Tanh(), first, nn.Tanh(), last)
        self.head = nn.Linear(4, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.body(inputs))


def test_a_layer_under_two_names_gets_its_own_weight_back(two_groups: GroupedData) -> None:
    model = Shared()
    logits = model(two_groups.batch(torch.arange(9)).inputs)
    doubled = {name: 2 * own.detach() for name, own in model.named_parameters()}
    expected = copy.deepcopy(model)
    with torch.no_grad():
        for own in expected.parameters():
            own.mul_(2)
    inputs = two_groups.batch(torch.arange(9)).inputs
    torch.testing.assert_close(called_with(model, doubled, inputs), expected(inputs))
    assert isinstance(model.first.weight, nn.Parameter)
    torch.testing.assert_close(model(inputs), logits)
    pruned = copy.deepcopy(model)
    with torch.no_grad():
        pruned.first.weight[:, :2] = 0
    found = audit.compare({"dense": model, "pruned": pruned}, two_groups, SETTINGS)
    assert rows(found, "pruned", "hessian_max_eigenvalue")["value"].notna().all()


def test_networks_of_double_precision_are_fed_what_they_take(dense, two_groups):
    double = copy.deepcopy(dense).double()
    found = audit.compare({"dense": dense, "double": double}, two_groups, SETTINGS)
    one, other = (rows(found, name, "loss")["value"] for name in ("dense", "double"))
    pd.testing.assert_series_equal(one, other, rtol=1e-5)
    assert rows(found, "double", "gradient_norm")["value"].notna().all()
    notes = entry(found, "double")["notes"]
    assert any("numbers of another type" in note for note in notes)  # type: ignore[attr-defined]


def test_what_holds_no_weights_yet_and_what_has_no_name_is_refused(dense, two_groups):
    with pytest.raises(AuditError, match="lazy layers that were never called"):
        audit.compare({"dense": nn.LazyLinear(2), "pruned": dense}, two_groups, SETTINGS)
    with pytest.raises(AuditError, match="found 0 as the name of a network"):
        audit.compare({0: dense, 1: dense}, two_groups, SETTINGS)  # type: ignore[dict-item]
    with pytest.raises(AuditError, match="found a list to compare"):
        audit.compare([dense, dense], two_groups, SETTINGS)


@pytest.mark.parametrize("data", [pd.DataFrame({"label": [0, 1]}), "table:x.csv", (torch.ones(2),)])
def test_data_that_no_sample_is_found_in_is_told_by_what_takes_it(dense, data):
    with pytest.raises(AuditError, match=r"expected GroupedData: audit.from_arrays"):
        audit.compare({"dense": dense, "pruned": dense}, data, SETTINGS)


def test_what_the_dense_network_was_trained_on_is_what_its_owner_says(
    dense: Network, two_groups: GroupedData
) -> None:
    models = {"dense": dense, "pruned": pruned_by_torch(dense)}
    quick = replace(SETTINGS, curvature="none")

    def sizes(data: GroupedData, trained: dict[str, int] | None = None) -> list[int]:
        return list(
            trained_sizes(audit.compare(models, data, quick, trained=trained).record).values()
        )

    first, second = two_groups.group_names
    declared = two_groups.sizes()["train"].tolist()
    drawn = replace(two_groups, drawn=True)
    assert sizes(two_groups) == declared
    assert sizes(two_groups, {}) == [0, 0]
    assert sizes(drawn) == [0, 0]
    assert sizes(drawn, dict(drawn.sizes()["train"])) == declared
    assert sizes(drawn, {second: 70_000}) == [0, 70_000]
    # How few samples the lot left to measure is said.
    notes = audit.compare(models, drawn, quick).record["data"]["notes"]
    tested = len(drawn.indices("test"))
    assert notes[-1].startswith(f"{tested} of {len(drawn)} samples are measured, the test split")
    assert audit.compare(models, two_groups, quick).record["data"]["notes"] == notes[:-1]
    for wrong, said in (({"nobody": 3}, "'nobody'; expected"), ({first: -1}, "found -1 trained")):
        with pytest.raises(AuditError, match=said):
            sizes(two_groups, wrong)


class Named(nn.Module):
    """A network that takes the parts of its inputs by their names: numbers and codes."""

    def __init__(self) -> None:
        super().__init__()
        self.codes = nn.Embedding(20, 8)
        self.hidden, self.head = nn.Linear(12, 16), nn.Linear(16, 2)

    def forward(self, numbers: Tensor, codes: Tensor) -> Tensor:
        joined = torch.cat([numbers, self.codes(codes).mean(1)], 1)
        return self.head(torch.relu(self.hidden(joined)))


class Gated(nn.Module):
    """Features as a sequence, and one linear layer."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.cell, self.head = nn.GRU(1, hidden, batch_first=True), nn.Linear(hidden, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.cell(inputs[:, :, None])[0][:, -1])


@pytest.mark.parametrize("method", ["magnitude", "bilevel", "prune-then-fair"])
def test_what_pruning_does_not_reach_is_told(
    two_groups: GroupedData, method: str, caplog: pytest.LogCaptureFixture
) -> None:
    torch.manual_seed(0)
    settings, constraint = (
        TrainingSettings(epochs=1),
        "none" if method == "magnitude" else "no-harm",
    )
    chosen = Method(method, constraint)
    network = audit.prune(Gated(4), two_groups, chosen, rate=0.5, settings=settings)
    told = (
        "the sparsity of 50.0% is of the 8 weights of convolution and linear layers, the only ones "
        "that are pruned here; of the 60 others, 88.2% of all ('cell.weight_hh_l0' has the most), "
        "0.0% are zeros, and 5.9% of all weights together"
    )
    assert [one.message for one in caplog.records].count(told) == 1
    made = prune_model(live(Gated(4), two_groups), two_groups, chosen, 0.5, settings)
    assert made.provenance.notes.count(told) == 1
    found = audit.compare({"dense": Gated(4), "pruned": network}, two_groups, SETTINGS)
    assert entry(found, "pruned")["notes"].count(told) == 1  # type: ignore[attr-defined]
    assert beside_the_prunable(nn.Linear(8, 2), Mask({"weight": torch.ones(2, 8) > 0})) == ()


@pytest.fixture
def several_parts(two_groups: GroupedData) -> GroupedData:
    numbers = two_groups.batch(torch.arange(len(two_groups))).inputs
    codes = torch.randint(0, 20, (len(numbers), 3), generator=torch.Generator().manual_seed(0))
    return audit.from_arrays(
        {"numbers": numbers, "codes": codes},
        two_groups.labels.numpy(),
        [two_groups.group_names[group] for group in two_groups.groups],
    )


@pytest.mark.parametrize("method", ["magnitude", "fairprune", "l1-filter", "excess-accuracy"])
def test_a_network_of_named_parts_is_pruned(several_parts: GroupedData, method: str) -> None:
    torch.manual_seed(0)
    model, settings = Named(), TrainingSettings(epochs=1)
    if method == "excess-accuracy":
        made = audit.mitigate(model, several_parts, 0.5, method, settings=settings)  # type: ignore[operator]
    else:
        made = audit.prune(model, several_parts, method, rate=0.5, settings=settings)
    assert isinstance(made, Named)
    assert made.mask.sparsity == measured_sparsity(made) == pytest.approx(0.5, abs=0.02)
    assert set(made.mask.parts) == {"hidden.weight", "head.weight"}
    with pytest.raises(AuditError, match="sends an image of ones"):
        audit.prune(model, several_parts, "synflow", rate=0.5, settings=settings)


def test_a_function_that_builds_such_a_network_makes_checkpoints(
    several_parts: GroupedData,
) -> None:
    """Its parts go by their names, and real numbers in its own precision, there too."""
    name, network = f"{__name__}:named_in_double", named_in_double()
    built = Architecture(name, several_parts.input_shape, 2)
    dense = make_checkpoint(network, built, several_parts, Provenance("dense"))
    settings = TrainingSettings(epochs=1)
    for method in ("magnitude", "bilevel", "l1-filter"):
        made = prune_model(dense, several_parts, method, 0.5, settings, factory=name)
        found = audit.measure_model(made, dense, several_parts, SETTINGS, factory=name)
        accuracy = found.groups[found.groups["metric"] == "accuracy"]["value"]
        rows = several_parts.indices("test")
        parts = several_parts.batch(rows).inputs
        pruned = named_in_double()
        pruned.load_state_dict(dict(made.state))
        answers = pruned(parts["numbers"].double(), parts["codes"]).argmax(1)
        right = (answers == several_parts.labels[rows]).double()
        for group, value in enumerate(accuracy):
            own = several_parts.groups[rows] == group
            assert value == pytest.approx(float(right[own].mean()))


def named_in_double() -> nn.Module:
    torch.manual_seed(0)
    return Named().double()


def test_what_is_around_a_network_is_taken_off_what_is_pruned(dense, two_groups):
    settings = TrainingSettings(epochs=1)
    plain = audit.prune(dense, two_groups, "magnitude", rate=0.5, settings=settings)
    for around in (torch.compile(dense), nn.DataParallel(dense)):
        made = audit.prune(around, two_groups, "magnitude", rate=0.5, settings=settings)
        assert isinstance(made, Network)
        assert torch.equal(made.hidden.weight, plain.hidden.weight)


def test_every_part_of_what_is_pruned_is_in_its_own_mode(two_groups):
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2)).train()
    model[1].eval()
    settings = TrainingSettings(epochs=1)
    made = audit.prune(model, two_groups, "magnitude", rate=0.5, settings=settings)
    assert [part.training for part in made] == [True, False, True, True]


def test_a_network_of_double_precision_is_mitigated(dense, two_groups):
    double, settings = copy.deepcopy(dense).double(), TrainingSettings(epochs=1)
    made = audit.mitigate(double, two_groups, 0.5, settings=settings)  # type: ignore[operator]
    assert made.hidden.weight.dtype == torch.float64
    assert measured_sparsity(made) == pytest.approx(0.5)


class TwoHeads(nn.Module):
    """A network whose second head no loss reads."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.logits, self.other = nn.Linear(4, 8), nn.Linear(8, 2), nn.Linear(8, 5)

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        hidden = torch.relu(self.hidden(inputs))
        return {"logits": self.logits(hidden), "other": self.other(hidden)}


def test_a_head_that_no_loss_reads_loses_its_channels_and_has_no_slope(two_groups):
    torch.manual_seed(0)
    model, settings = TwoHeads(), TrainingSettings(epochs=1)
    made = audit.prune(model, two_groups, "l1-filter", rate=0.5, settings=settings)
    read = made.mask.parts["logits.weight"].any(0)
    assert torch.equal(made.mask.parts["other.weight"].any(0), read)
    assert 0 < int(read.sum()) < 8
    fair = audit.mitigate(model, two_groups, 0.5, "gradient-curvature", settings=settings)  # type: ignore[operator]
    assert measured_sparsity(fair) == pytest.approx(0.5, abs=0.01)


def test_masks_that_a_network_keeps_beside_its_weights_are_told_of(dense, two_groups):
    masked = copy.deepcopy(dense)
    layer = next(one for one in masked.modules() if isinstance(one, nn.Linear))
    mask = torch.ones_like(layer.weight)
    layer.register_buffer("mask", mask)
    assert live(masked, two_groups).provenance.notes == ()
    mask[0] = 0.0
    (note,) = live(masked, two_groups).provenance.notes
    number = layer.weight.shape[1]
    assert f".mask'), which cover {number} of {layer.weight.numel():,} numbers that" in note
    with torch.no_grad():
        layer.weight[0] = 0.0
    assert live(masked, two_groups).provenance.notes == ()


class MaskedElsewhere(nn.Module):
    """A network that applies masks of its own, which no layer holds."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 8), nn.Linear(8, 2)
        self.register_buffer("kept", torch.ones(8, 4))

    def forward(self, inputs):
        weight = self.first.weight * self.get_buffer("kept")
        return self.last(nn.functional.linear(inputs, weight, self.first.bias).relu())


def test_masks_that_a_network_keeps_away_from_its_weights_are_told_of(two_groups):
    network = MaskedElsewhere()
    assert live(network, two_groups).provenance.notes == ()
    network.get_buffer("kept")[:, :3] = 0
    (note,) = live(network, two_groups).provenance.notes
    assert note.startswith("holds masks beside its weights ('kept'), which cover 24 of 32 numbers")


def test_equal_largest_outputs_are_told(dense, two_groups):
    class Rounded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inside = dense

        def forward(self, inputs):
            return (self.inside(inputs) / 4).round()

    quick = MeasureSettings(resamples=50, curvature="none")
    results = audit.compare({"dense": dense, "rounded": Rounded()}, two_groups, quick)
    notes = {one["name"]: " ".join(one["notes"]) for one in results.record["models"]}
    assert "two classes have the same largest output: the first of these" in notes["rounded"]
    assert "the same largest" not in notes["dense"]


class Given(nn.Module):
    """What a network gives, made into something else."""

    def __init__(self, inside: nn.Module, made: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.inside, self.made = inside, made

    def forward(self, inputs: Tensor) -> Tensor:
        return self.made(self.inside(inputs))


QUICK = MeasureSettings(resamples=50, curvature="none", minimum_group_size=5)


def test_what_is_refused_names_the_network(dense, two_groups):
    three = Given(dense, lambda logits: torch.cat([logits, logits], 1))
    with pytest.raises(AuditError, match=r"^'odd': the network gives outputs"):
        audit.compare({"dense": dense, "odd": three}, two_groups, QUICK)
    with pytest.raises(AuditError, match=r"^'dense': the network gives outputs"):
        audit.compare({"odd": dense, "dense": three}, two_groups, QUICK)
    with pytest.raises(AuditError, match=r"^'odd': found a OrderedDict as a network"):
        audit.compare({"dense": dense, "odd": dense.state_dict()}, two_groups, QUICK)


def test_declared_decisions_have_no_losses(dense, two_groups):
    """A wrong decision would cost 87 nats, the logarithm of the smallest number."""
    decided = Given(dense, lambda logits: nn.functional.one_hot(logits.argmax(1), 2).float())
    probable = Given(dense, lambda logits: logits.softmax(1))
    networks = {"dense": probable, "decided": decided}
    found = audit.compare(networks, two_groups, QUICK, outputs="probabilities")
    assert rows(found, "decided", "loss")["value"].isna().all()
    assert rows(found, "decided", "excess_risk")["value"].isna().all()
    assert rows(found, "dense", "loss")["value"].notna().all()
    accuracy = [rows(found, name, "accuracy")["value"].tolist() for name in networks]
    assert accuracy[0] == accuracy[1]
    assert "read as decisions alone" in str(entry(found, "decided")["notes"])


def test_softmax_taken_twice_is_remarked_on(dense, two_groups):
    sure = Given(dense, lambda logits: 20 * logits)
    once = Given(sure, lambda logits: logits.softmax(1))
    twice = Given(once, lambda probabilities: probabilities.softmax(1))
    found = audit.compare({"dense": once, "p": twice}, two_groups, QUICK, outputs="probabilities")
    told = [
        "softmax was taken twice" in str(entry(found, name)["notes"]) for name in ("dense", "p")
    ]
    assert told == [False, True]
    found = audit.compare({"dense": once, "p": once}, two_groups, QUICK, outputs="logits")
    assert "softmax was taken twice" in str(entry(found, "p")["notes"])


@pytest.mark.parametrize("form", ["to_sparse", "to_sparse_csr"])
def test_sparse_weights_are_measured_as_the_zeros_that_they_leave_out(dense, two_groups, form):
    pruned = copy.deepcopy(dense)
    with torch.no_grad():
        pruned.hidden.weight[:, :2] = 0
    expected = audit.compare({"dense": dense, "pruned": pruned}, two_groups, QUICK)
    stored = copy.deepcopy(pruned)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        weight = getattr(stored.hidden.weight.detach(), form)()
        stored.hidden.weight = nn.Parameter(weight)
    found = audit.compare({"dense": dense, "pruned": stored}, two_groups, QUICK)
    assert stored.hidden.weight.layout == weight.layout
    assert entry(found, "pruned")["sparsity"] == entry(expected, "pruned")["sparsity"] != 0
    for metric in ("loss", "gradient_norm"):
        pd.testing.assert_series_equal(
            rows(found, "pruned", metric)["value"], rows(expected, "pruned", metric)["value"]
        )


def test_derivatives_of_complex_numbers_are_not_measured(dense, two_groups):
    inside = nn.Linear(4, 2, dtype=torch.cfloat)
    network = Given(nn.Sequential(Given(nn.Identity(), lambda x: x + 0j), inside), torch.real)
    found = audit.compare({"dense": dense, "waves": network}, two_groups, QUICK)
    norms = rows(found, "waves", "gradient_norm")
    assert norms["value"].isna().all()
    assert norms["note"].str.contains("its numbers are complex").all()
    assert rows(found, "waves", "loss")["value"].notna().all()


@pytest.mark.parametrize("made", [audit.prune, audit.mitigate])
def test_what_cannot_be_trained_is_refused_in_one_line(dense, two_groups, made):
    settings = TrainingSettings(epochs=1)
    with pytest.raises(AuditError, match="cannot be trained: its outputs are cut off from"):
        made(Given(dense, Tensor.detach), two_groups, rate=0.5, settings=settings)
    with pytest.raises(AuditError, match="settings of type dict; expected TrainingSettings"):
        made(dense, two_groups, rate=0.5, settings={"epochs": 1})
    with pytest.raises(AuditError, match="found data of type tuple; expected GroupedData"):
        made(dense, (torch.ones(2, 4), [0, 1], ["a", "b"]), rate=0.5, settings=settings)
    loader: DataLoader[Any] = DataLoader(
        [(torch.ones(4) * n, n % 2, "ab"[n % 2]) for n in range(40)]
    )
    with pytest.raises(AuditError, match="has test samples only"):
        made(dense, loader, rate=0.5, settings=settings)


def test_settings_of_another_kind_are_refused(dense, two_groups):
    with pytest.raises(AuditError, match="type TrainingSettings; expected MeasureSettings"):
        audit.compare({"dense": dense, "p": dense}, two_groups, TrainingSettings())


def test_groups_that_no_constraint_can_hold_are_told(dense, two_groups):
    settings, groups = TrainingSettings(epochs=1), two_groups.groups
    many = groups == 1
    splits = {name: rows[many[rows]] for name, rows in two_groups.splits.items()}
    for test, told in (
        (splits["test"], "one group alone has train samples: a constraint compares it with nobody"),
        (two_groups.splits["test"], "one group alone"),
    ):
        data = replace(two_groups, splits=splits | {"test": test})
        made = audit.mitigate_model(live(dense, data), data, 0.5, settings=settings)
        assert any(note.startswith(told) for note in made.provenance.notes)
    thirds = torch.where(groups == 0, 0, torch.arange(400) % 2 + 1)
    third = replace(two_groups, groups=thirds, group_names=("few", "some", "rest"))
    data = replace(third, splits=splits | {"test": two_groups.splits["test"]})
    notes = audit.mitigate_model(live(dense, data), data, 0.5, settings=settings).provenance.notes
    assert "no constraint holds groups without train samples: few" in notes


def test_a_mask_the_wrong_way_round_is_asked_about(two_groups):
    dense = Network(width=32)
    told = {}
    for name, largest in {"usual": False, "inverted": True, "random": None}.items():
        pruned = copy.deepcopy(dense)
        with torch.no_grad():
            for layer in (pruned.hidden, pruned.head):
                size = layer.weight.abs() if largest is not None else torch.rand(layer.weight.shape)
                gone = (size >= size.median()) if largest else (size < size.median())
                layer.weight.mul_(~gone).mul_(1.5)
        found = audit.compare({"dense": dense, "pruned": pruned}, two_groups, QUICK)
        told[name] = "the wrong way round" in str(entry(found, "pruned")["notes"])
    assert told == {"usual": False, "inverted": True, "random": False}
