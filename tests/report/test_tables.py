from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from audit.findings.finding import Finding
from audit.findings.words import DASH, interval, number
from audit.report.evidence import (
    attribution_table,
    cause_table,
    exemplar_table,
    gap_table,
)
from audit.report.sections import Section
from audit.report.tables import (
    MOST_LINES,
    READABLE,
    WIDTH,
    Cell,
    Table,
    TableRow,
    eigenvalue_tables,
    group_table,
    layer_table,
    network_table,
)


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


def test_the_largest_eigenvalues_are_named_by_the_title_alone(fake):
    largest, others = eigenvalue_tables(fake(rates=(0.98,)).groups)
    assert "eigenvalue" not in largest.columns
    assert others.columns == ["model", "eigenvalue", *largest.columns[1:]]


def test_what_an_eigenvalue_does_not_tell_is_not_made_up(fake):
    missing = {"residual": np.nan, "error": np.nan, "products": np.nan}
    groups = fake().groups.assign(**missing, converged=None, space=None)
    assert [cell.value for cell in eigenvalue_tables(groups)[0].rows[0].cells[3:]] == [DASH] * 5


def test_layers_show_their_measured_sparsity(fake):
    table = layer_table(fake().record["models"])
    assert table.columns == ["model", "0", "4"]
    assert [cell.value for cell in table.rows[-1].cells] == ["49.0%", "98.0%"]


def test_a_gap_beyond_its_noise_floor_is_coloured(fake):
    record = fake(harm=0.3).record
    table = gap_table(record["overall"])
    by_name = {(row.name, row.cells[0].value): row for row in table.rows}
    harmed = by_name["magnitude-0.98-seed0", "largest excess accuracy gap (points)"]
    assert harmed.cells[4].style == "worse"
    assert [cell.value for cell in harmed.cells[2:4]] == ["2.0", "4.0"]
    assert "group 8" in harmed.cells[5].value
    dense = by_name["dense-seed0", "largest excess accuracy gap (points)"]
    assert dense.cells[4].style == ""


def test_a_fairness_difference_names_class_rate_and_groups():
    row = {"model": "m", "metric": "equalized_odds_difference", "value": 0.1, "ci_low": None,
           "ci_high": None, "floor_median": 0.05, "floor_p95": 0.2, "corrected": 0.05,
           "group": "B", "lowest_group": "A", "class": "x", "rate": "true positive rate",
           "without": ["C"]}  # fmt: skip
    (shown,) = gap_table([row]).rows
    assert shown.cells[5].value == (
        "class x, true positive rate: A lowest, B highest; without such samples: C"
    )
    assert shown.cells[4].style == ""


def test_layers_are_named_by_what_they_cost(fake):
    results = fake()
    table = attribution_table(results.layers, results.groups)
    assert table.rows[0].name == "magnitude-0.8-seed0"
    assert table.rows[0].cells[6].value == "head (0.480), conv (0.160)"
    assert table.rows[0].cells[2].value == "0.320"


def test_causes_and_exemplars_say_how_many_groups_and_samples(fake):
    tables = fake(seeds=2).record["tables"]
    causes = cause_table(tables["causes"])
    assert {row.cells[0].value for row in causes.rows} >= {"group size", "gradient norm, dense"}
    assert causes.rows[0].cells[3].value == "10"
    exemplars = exemplar_table(tables["exemplars"])
    shown = {(row.name, row.cells[0].value): row for row in exemplars.rows}
    harmed = shown["magnitude at 98%", "8"]
    assert harmed.cells[1].value == "90"
    assert int(harmed.cells[2].value) > 0.2 * 90
    assert harmed.cells[3].value == f"{100 * int(harmed.cells[2].value) / 90:.1f} %"


def test_every_network_is_named_with_what_is_left_of_it(fake):
    models = fake(rates=(0.9,)).record["models"]
    table = network_table(models)
    cells = dict(zip(table.columns[1:], table.rows[1].cells, strict=True))
    assert (cells["architecture"].value, cells["architecture"].interval) == ("convnet", "width=32")
    assert cells["sparsity, measured"].value == "90.00%"
    assert cells["parameters left"].value == "9,025"
    assert cells["parameters left"].interval == "of 90,250"
    assert cells["multiply-adds left"].value == "12,346"
    assert cells["multiply-adds left"].interval == "of 123,456"
    assert cells["file, SHA-256"].interval == models[1]["sha256"]


def test_results_from_before_multiply_adds_were_counted_are_still_shown(fake):
    models = fake(rates=(0.9,)).record["models"]
    for model in models:
        del model["multiply_adds"], model["surviving_multiply_adds"]
    assert network_table(models).rows[1].cells[3].value == DASH


def _tall(rows: int, name: str = "a") -> Table:
    return Table("Tall", ["group", "value"], [TableRow(name, [Cell("1.0 %")])] * rows)


def test_a_table_stands_beside_another_only_where_a_page_holds_it_whole():
    assert _tall(MOST_LINES).is_narrow
    assert not _tall(MOST_LINES + 1).is_narrow
    # A name of 300 letters takes eleven lines.
    assert _tall(4, "x" * 300).is_narrow
    assert not _tall(5, "x" * 300).is_narrow


def test_narrow_tables_are_printed_in_pairs_in_their_order():
    wide = Table("Wide", ["group", *"abcdefgh"], [TableRow("a", [Cell("1.0 %", "[0.1, 2.0]")] * 8)])
    tables = [_tall(3), wide, _tall(4), _tall(5), _tall(6)]
    spreads = Section("All", tables=tables).spreads
    assert [len(row) for row in spreads] == [1, 1, 2, 1]
    assert [table for row in spreads for table in row] == tables


def test_on_a_full_page_no_word_of_a_head_is_parted():
    """Eleven columns of numbers: intervals take two lines before 'mended' does."""
    heads = ["group", "n", "accuracy", "excess accuracy gap (points)", "excess risk (nats)",
             "gradient norm", "largest eigenvalue λ_max", "closeness to the boundary",
             "input distance to the boundary", "broken by pruning", "mended",
             "calibration error"]  # fmt: skip
    cells = [Cell("89"), *[Cell("0.0377", "[0.0205, 0.0777]")] * 10]
    table = Table("t", heads, [TableRow("0", cells)] * 10)
    size, widths, flat = table.printed()
    whole = sum(widths)
    assert (size, flat) == (READABLE, False)
    for head, width in zip(heads, widths, strict=True):
        longest = max(map(len, head.split()))
        assert width / whole * WIDTH / READABLE >= longest


def test_a_claim_over_runs_has_no_interval_for_one_of_them():
    low, high = 0.1, 0.3
    one = Finding("pays", True, label="m", group="A", estimate=0.2, low=low, high=high, runs=3)
    rows = pd.DataFrame(
        [{"model": "m-seed0", "group": "A", "metric": "excess_accuracy_gap", "value": 0.25,
          "ci_low": 0.05, "ci_high": 0.4, "n": 90, "flag": ""}]
    )  # fmt: skip
    pays = {("m-seed0", "A"): one}
    cell = group_table(rows, "t", pays=pays).rows[0].cells[1]
    assert (cell.value, cell.interval) == ("25.0", "[5.0, 40.0]")
    alone = {("m-seed0", "A"): replace(one, runs=1)}
    cell = group_table(rows, "t", pays=alone).rows[0].cells[1]
    assert cell.interval == "[10.0, 30.0]"


def test_a_spread_that_is_not_known_leaves_no_sign():
    rows = pd.DataFrame(
        [{"model": f"m-seed{s}", "group": "A", "metric": "input_distance", "value": v, "ci_low": v,
          "ci_high": v, "n": 9, "flag": ""} for s, v in enumerate((1.0, np.inf))]
    )  # fmt: skip
    cell = group_table(rows, "t").rows[0].cells[1]
    assert (cell.value, cell.interval) == ("∞", "")
