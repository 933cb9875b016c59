"""A network is measured where it is a function of a sample, and refused where it is not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from audit.data.grouped import GroupedData
from audit.data.table import from_frame
from audit.errors import AuditError
from audit.examine.settings import MeasureSettings
from audit.models.admission import admitted, check_network
from audit.models.outputs import read_outputs
from audit.study.live import compare


class Dropping(nn.Module):
    """Dropout that stays on in evaluation mode: a common slip."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate, self.hidden, self.head = rate, nn.Linear(4, 32), nn.Linear(32, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(functional.dropout(torch.relu(self.hidden(inputs)), self.rate))


class Noisy(nn.Module):
    def __init__(self, reseeded: bool) -> None:
        super().__init__()
        self.reseeded, self.head = reseeded, nn.Linear(4, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        if self.reseeded:
            torch.manual_seed(0)
        return self.head(inputs + 0.1 * torch.randn_like(inputs))


class Remembering(nn.Module):
    """A recurrent network that goes on from the state of its last call."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.head = nn.RNNCell(4, 8), nn.Linear(8, 2)
        self.state = torch.zeros(1, 8)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.cell(inputs, self.state.expand(len(inputs), 8))
        self.state = hidden.mean(0, keepdim=True).detach()
        return self.head(hidden)


class Pairing(nn.Module):
    """Attends over the batch, as where batch_first was forgotten."""

    def __init__(self) -> None:
        super().__init__()
        self.attention, self.head = nn.MultiheadAttention(4, 2), nn.Linear(4, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        sequence = inputs[:, None]
        return self.head(self.attention(sequence, sequence, sequence)[0][:, 0])


class Unregistered(nn.Module):
    """Its dropout stands in a plain list, which `eval` does not reach."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = [nn.Dropout(0.5)]
        self.head = nn.Linear(4, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.layers[0](inputs))


def test_functions_of_a_sample_pass() -> None:
    for model in (
        nn.Sequential(nn.Linear(4, 8), nn.Dropout(), nn.BatchNorm1d(8), nn.Linear(8, 2)),
        nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.GELU(), nn.Linear(8, 1)),
        nn.Linear(4, 3).double(),
        nn.Linear(4, 3).bfloat16(),
    ):
        weight = next(model.parameters())
        inputs = 3 * torch.randn(64, 4)
        model.train()
        check_network(model, inputs.to(weight.dtype))
        assert model.training


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (Dropping(0.5), "chance or on earlier calls"),
        (Dropping(0.02), "chance or on earlier calls"),
        (Noisy(False), "chance or on earlier calls"),
        (Noisy(True), "what else is in the batch"),
        (Remembering(), "chance or on earlier calls"),
        (Pairing(), "what else is in the batch"),
        (Unregistered(), "chance or on earlier calls"),
        (
            nn.Sequential(
                nn.Unflatten(1, (4, 1)),
                nn.BatchNorm1d(4, track_running_stats=False),
                nn.Flatten(),
                nn.Linear(4, 2),
            ),
            "cannot read 1 samples",
        ),
        (
            nn.Sequential(
                nn.Unflatten(1, (1, 4)),
                nn.BatchNorm1d(1, track_running_stats=False),
                nn.Flatten(),
                nn.Linear(4, 2),
            ),
            "what else is in the batch",
        ),
    ],
)
def test_what_is_no_function_is_refused_in_one_line(model: nn.Module, reason: str) -> None:
    with pytest.raises(AuditError, match=reason) as caught:
        check_network(model, torch.randn(64, 4))
    assert "\n" not in str(caught.value)


def test_outputs_that_are_not_finite_are_refused() -> None:
    model = nn.Linear(4, 2)
    nn.init.constant_(model.bias, float("inf"))
    with pytest.raises(AuditError, match="not finite for 64 of 64 samples"):
        check_network(model, torch.randn(64, 4))


def test_a_network_that_cannot_read_the_data_says_why() -> None:
    with pytest.raises(AuditError, match=r"cannot read 64 samples of shape \(4,\)"):
        check_network(nn.Linear(5, 2), torch.randn(64, 4))


def test_of_a_table_the_columns_are_told_that_the_network_cannot_read() -> None:
    generator = np.random.default_rng(0)
    frame = pd.DataFrame(generator.standard_normal((60, 3)), columns=["age", "hours", "f"])
    frame = frame.assign(sex=["f", "m"] * 30, y=generator.integers(0, 2, 60))
    data = from_frame(frame, "y", "sex", drop="sex", scale="none")
    said = r"became of the columns 'age, hours, f': 'audit data' shows how, drop= leaves columns"
    with pytest.raises(AuditError, match=said):
        admitted(nn.Linear(5, 2), data)
    assert admitted(nn.Linear(3, 2), data) is data


def sigmoid() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 1), nn.Sigmoid())


@pytest.mark.parametrize(
    "model", [nn.Sequential(nn.Linear(4, 2), nn.Softmax(1)), sigmoid(), nn.Softmax(1)]
)
def test_probabilities_must_be_declared(model: nn.Module) -> None:
    classes = 4 if isinstance(model, nn.Softmax) else 2
    inputs = torch.randn(64, 4)
    with pytest.raises(AuditError, match="as probabilities do; declare them with --outputs"):
        check_network(read_outputs(model, classes), inputs)
    check_network(read_outputs(model, classes, "probabilities"), inputs)
    check_network(read_outputs(model, classes, "logits"), inputs)


def test_a_single_column_before_training_may_be_logits() -> None:
    check_network(read_outputs(sigmoid(), 2), torch.randn(64, 4), trained=False)


@pytest.mark.parametrize(
    ("last", "said"),
    [
        (torch.sigmoid, "look like sigmoids, one a class, which do not sum to 1"),
        (lambda logits: 100 * logits.softmax(1), "look like percentages, which sum to 100"),
    ],
)
def test_outputs_on_another_scale_than_logits_are_refused(
    last: Callable[[Tensor], Tensor], said: str
) -> None:
    logits = torch.linspace(-4, 4, 20)[:, None] * torch.tensor([-1.0, 0.5])
    network = read_outputs(Through(last), 2)
    with pytest.raises(AuditError, match=f"{said}.*--outputs logits"):
        check_network(network, logits)
    check_network(network, logits, trained=False)
    check_network(read_outputs(network, 2, "logits"), logits)
    # What a network that was pruned too far may give: small, and above zero.
    check_network(read_outputs(nn.Identity(), 2), 0.3 + logits / 100)


class Through(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, inputs: Tensor) -> Tensor:
        return self.function(inputs)


def test_what_was_declared_must_be_true() -> None:
    inputs = torch.randn(64, 4)
    for declared in ("probabilities", "log-probabilities"):
        with pytest.raises(AuditError, match=f"declared {declared}, but"):
            check_network(read_outputs(nn.Linear(4, 2), 2, declared), inputs)
    logs = nn.Sequential(nn.Linear(4, 2), nn.LogSoftmax(1))
    check_network(read_outputs(logs, 2, "log-probabilities"), inputs)
    check_network(read_outputs(logs, 2), inputs)


class Looking(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(4, 8), nn.Linear(32, 2)

    def forward(self, codes: Tensor) -> Tensor:
        return self.head(self.table(codes).flatten(1))


def test_integers_stay_integers_where_the_network_takes_them(two_groups: GroupedData) -> None:
    codes = replace(two_groups, inputs=torch.randint(0, 4, (400, 4)))
    assert admitted(Looking(), codes).inputs.dtype == torch.int64
    assert admitted(nn.Linear(4, 2), codes).inputs.dtype == torch.float32
    assert admitted(nn.Linear(4, 2), two_groups) is two_groups


class Later(nn.Linear):
    """A layer that is well-behaved in small batches, or for a while."""

    def __init__(self, kind: str) -> None:
        super().__init__(4, 2)
        self.kind, self.calls = kind, 0

    def forward(self, inputs: Tensor) -> Tensor:
        logits = super().forward(inputs)
        self.calls += 1
        if self.kind == "calls":
            return logits * 0 if self.calls > 11 else logits
        return logits - logits.mean(0) if len(inputs) > 64 else logits


@pytest.mark.parametrize("kind", ["calls", "large batches"])
def test_what_is_no_function_only_later_is_refused_by_the_pass_itself(
    kind: str, two_groups: GroupedData
) -> None:
    torch.manual_seed(0)
    none, all_of_them = torch.arange(0), torch.arange(400)
    splits = {"train": none, "select": none, "test": all_of_them}
    data = replace(two_groups, splits=splits)
    model, settings = Later(kind), MeasureSettings(resamples=10, curvature="none")
    with pytest.raises(AuditError, match=r"other logits among all 400 than among 64 \(up to"):
        compare({"dense": nn.Linear(4, 2), "later": model}, data, settings)


def test_values_of_tanh_must_be_declared() -> None:
    inputs = 3 * torch.randn(64, 4)
    for columns in (1, 2):
        model = nn.Sequential(nn.Linear(4, columns), nn.Tanh())
        nn.init.constant_(model[0].weight, 1.0)
        with pytest.raises(AuditError, match="look like values of tanh, between -1 and 1"):
            check_network(read_outputs(model, 2), inputs)
        check_network(read_outputs(model, 2, "logits"), inputs)


class Sign(nn.Module):
    """Answers without degrees."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return inputs.sign()


def test_small_logits_and_constant_ones_are_no_values_of_tanh() -> None:
    small = nn.Linear(4, 2)
    nn.init.uniform_(small.weight, -0.2, 0.2)
    check_network(read_outputs(small, 2), torch.rand(64, 4))
    constant = nn.Linear(4, 2)
    nn.init.zeros_(constant.weight)
    constant.bias.data = torch.tensor([0.97, -0.98])
    check_network(read_outputs(constant, 2), torch.randn(64, 4))
    check_network(read_outputs(nn.Sequential(nn.Linear(4, 2), Sign()), 2), torch.randn(64, 4))


def test_parts_that_a_network_does_not_take_are_told_beside_those_it_does() -> None:
    with pytest.raises(AuditError, match="its forward takes input, and the inputs are ids, mask"):
        check_network(nn.Linear(4, 2), {"ids": torch.ones(64, 4), "mask": torch.ones(64, 4)})


def test_inputs_that_are_not_finite_are_told_before_the_weights_are_suspected() -> None:
    inputs = torch.randn(64, 4)
    inputs[5, 1] = torch.nan
    with pytest.raises(AuditError, match=r"1 of 64 samples .* neither are the inputs of 1: fill"):
        check_network(nn.Linear(4, 2), inputs)
