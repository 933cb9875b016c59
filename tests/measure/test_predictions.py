"""Per-sample measures, harm, distances and intervals, on numbers known by hand."""

import numpy as np
import pytest
import torch
from torch import nn

from audit.errors import AuditError
from audit.measure.boundary import input_distance
from audit.measure.predictions import outputs, predict
from audit.measure.risk import excess_accuracy_gap, excess_risk, fairness_violation


def test_outputs_by_hand():
    logits = torch.tensor([[0.0, np.log(3.0)], [2.0, 2.0]])
    found = outputs(logits, torch.tensor([1, 1]))
    assert found.loss.tolist() == pytest.approx([-np.log(0.75), np.log(2)])
    assert found.correct.tolist() == [1.0, 0.0]
    assert found.confidence.tolist() == pytest.approx([0.75, 0.5])
    assert found.closeness.tolist() == pytest.approx([2 * 0.75 * 0.25, 0.5])
    assert found.margin.tolist() == pytest.approx([0.5, 0.0])
    assert found.logit_margin.tolist() == pytest.approx([np.log(3.0), 0.0])


@pytest.mark.parametrize("shape", [(3,), (3, 1)])
def test_one_logit_is_read_as_two_classes(shape):
    class Constant(nn.Module):
        def forward(self, inputs):
            return torch.tensor([0.0, 2.0, -1.0]).reshape(shape)

    found = predict(Constant(), [(torch.zeros(3, 1), torch.tensor([1, 1, 0]))])
    expected = torch.sigmoid(torch.tensor([0.0, 2.0, 1.0])).double()
    torch.testing.assert_close(found.loss, -expected.log(), rtol=1e-6, atol=0)
    assert found.prediction.tolist() == [0, 1, 0]


def test_predictions_do_not_depend_on_the_batches(image_groups):
    torch.manual_seed(0)
    model = nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(), nn.Dropout(), nn.Linear(64, 2)).train()
    rows = image_groups.indices("test")
    ragged, whole = (
        predict(model, [(b.inputs, b.labels) for b in image_groups.batches(rows, size)])
        for size in (7, 1000)
    )
    torch.testing.assert_close(ragged.loss, whole.loss)
    assert model.training


def test_broken_logits_and_too_few_classes():
    batches = [(torch.tensor([[1.0], [float("nan")]]), torch.tensor([0, 1]))]
    with pytest.raises(AuditError, match="not finite for 1 of 2 samples"):
        predict(nn.Linear(1, 2), batches)
    with pytest.raises(AuditError, match="gives 2 logits; the labels go up to 2"):
        predict(nn.Linear(1, 2), [(torch.ones(1, 1), torch.tensor([2]))])
    with pytest.raises(AuditError, match="label -1"):
        predict(nn.Linear(1, 2), [(torch.ones(1, 1), torch.tensor([-1]))])
    with pytest.raises(AuditError, match="outputs of shape"):
        predict(nn.Identity(), [(torch.ones(1, 2, 2), torch.tensor([0]))])
    with pytest.raises(AuditError, match="no samples"):
        predict(nn.Linear(1, 2), [])


def test_excess_risk_is_paired_and_signed():
    assert excess_risk(np.array([1.0, 2.0]), np.array([1.5, 1.0])).tolist() == [0.5, -1.0]
    with pytest.raises(AuditError, match="same samples"):
        excess_risk(np.ones(2), np.ones(3))
    with pytest.raises(AuditError, match="not finite"):
        excess_risk(np.ones(2), np.array([1.0, np.inf]))


def test_gaps_serve_values_and_resamples_alike():
    drops, overall = np.array([[0.3, 0.0], [0.1, 0.2]]), np.array([0.1, 0.15])
    np.testing.assert_allclose(
        excess_accuracy_gap(drops, overall), [[0.2, -0.1], [-0.05, 0.05]], atol=1e-12
    )
    np.testing.assert_allclose(fairness_violation(drops), [0.3, 0.1])


def test_the_input_distance_of_a_linear_classifier_is_exact():
    model = nn.Linear(2, 2, bias=False)
    model.weight.data = torch.tensor([[3.0, 4.0], [0.0, 0.0]])
    inputs = torch.tensor([[1.0, 0.0], [1.0, 0.0], [-1.0, -1.0]])
    found = input_distance(model, [(inputs, torch.tensor([0, 1, 0]))])
    assert found.tolist() == pytest.approx([3 / 5, -3 / 5, -7 / 5])


def test_the_input_distance_takes_the_nearest_of_several_classes():
    model = nn.Linear(1, 3)
    model.weight.data = torch.tensor([[0.0], [1.0], [4.0]])
    model.bias.data = torch.tensor([3.0, 0.0, 0.0])
    found = input_distance(model, [(torch.zeros(1, 1), torch.tensor([0]))])
    assert found.item() == pytest.approx(3 / 4)


def test_a_flat_network_is_infinitely_far_from_its_boundary():
    model = nn.Linear(2, 2)
    model.weight.data.zero_()
    model.bias.data = torch.tensor([1.0, 0.0])
    found = input_distance(model, [(torch.ones(2, 2), torch.tensor([0, 1]))])
    assert found.tolist() == [np.inf, -np.inf]


def test_measuring_does_not_touch_the_inputs():
    class Normalising(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(2, 2)

        def forward(self, inputs):
            return self.head(inputs.sub_(1.0))

    inputs = torch.tensor([[1.0, 2.0]])
    model, batches = Normalising(), [(inputs, torch.tensor([0]))]
    first = predict(model, batches)
    assert inputs.tolist() == [[1.0, 2.0]]
    torch.testing.assert_close(predict(model, batches).loss, first.loss)
    assert torch.isfinite(input_distance(model, batches)).all()


def test_inputs_without_a_distance():
    model = nn.Sequential(nn.Embedding(3, 2), nn.Flatten())
    with pytest.raises(AuditError, match="real numbers"):
        input_distance(model, [(torch.tensor([[0], [1]]), torch.tensor([0, 1]))])


def test_samples_that_only_the_whole_pass_meets_are_told_of():
    network = nn.Sequential(nn.Embedding(5, 2), nn.Flatten(), nn.Linear(6, 2))
    batches = [(torch.zeros(2, 3, dtype=torch.long), torch.tensor([0, 1]))]
    assert len(predict(network, batches).loss) == 2
    batches.append((torch.full((1, 3), 5), torch.tensor([0])))
    with pytest.raises(AuditError, match=r"cannot read some of the samples: .*within its table"):
        predict(network, batches)


def test_inputs_that_are_not_finite_are_told():
    batches = [(torch.tensor([[1.0], [float("nan")]]), torch.tensor([0, 1]))]
    with pytest.raises(AuditError, match=r"1 of 2 samples .*neither are the inputs of 1"):
        predict(nn.Linear(1, 2), batches)


def test_decisions_are_certain_in_every_form():
    labels = torch.tensor([0, 1])
    for logits in ([[0.0, -87.3], [-87.3, 0.0]], [[-16.6, 0.0], [0.0, -87.3]]):
        assert outputs(torch.tensor(logits), labels).certain
    assert not outputs(torch.tensor([[9.0, 0.0], [0.0, 99.0]]), labels).certain
