import numpy as np
import pytest

from audit.report.tables import DASH, eigenvalue_table, interval, layer_table, number


@pytest.mark.parametrize(
    ("value", "metric", "text"),
    [
        (0.9612, "accuracy", "96.1 %"),
        (0.0804, "excess_accuracy_gap", "8.0"),
        (-0.0804, "excess_accuracy_gap", "−8.0"),
        (-0.0001, "excess_accuracy_gap", "0.0"),
        (0.12, "excess_risk", "0.120"),
        (100.0, "gradient_norm", "100"),
        (999.7, "gradient_norm", "1,000"),
        (123456.0, "gradient_norm", "123,456"),
        (0.0, "excess_risk", "0"),
        (float("nan"), "accuracy", DASH),
        (None, "accuracy", DASH),
        (np.inf, "gradient_norm", "∞"),
    ],
)
def test_a_number_is_written_at_the_precision_of_the_report(value, metric, text):
    assert number(value, metric) == text


def test_a_difference_of_accuracies_is_in_points_with_its_sign():
    assert number(0.24, "accuracy", signed=True) == "+24.0"
    assert number(-0.24, "accuracy", signed=True) == "−24.0"


def test_an_unknown_interval_is_left_out():
    assert interval(float("nan"), 1.0, "accuracy") == ""
    assert interval(0.1, 0.25, "accuracy") == "[10.0, 25.0]"


def test_what_an_eigenvalue_does_not_tell_is_not_made_up(fake):
    groups = fake().groups.assign(residual=np.nan, products=np.nan, converged=None, space=None)
    assert [cell.value for cell in eigenvalue_table(groups).rows[0].cells[4:]] == [DASH] * 4


def test_layers_show_their_measured_sparsity(fake):
    table = layer_table(fake().record["models"])
    assert table.columns == ["model", "0.weight", "4.weight"]
    assert [cell.value for cell in table.rows[-1].cells] == ["49.0%", "98.0%"]
