import re
from dataclasses import replace
from html import unescape

import pytest
import yaml

from audit.errors import AuditError
from audit.escaping import visible
from audit.findings.finding import Finding, claimed
from audit.findings.words import interval, number, points
from audit.report.card import markdown, render_card, write_card

COMPARED = ("magnitude-0.98-seed0", "bilevel-excess-accuracy-0.98-seed0")
HOSTILE = (
    "a|b",
    "<script>alert(1)</script>",
    "[click](http://example.org)",
    "*bold* _x_ `code` ~~y~~ # $z$",
    'quote " and \\ backslash: {yes}, [no] # not a comment',
    "two\nlines",
    "control\x07\x85\u2028 😀 עברית",
    "- item",
    "",
)


@pytest.fixture(scope="module")
def compared(fake):
    results = fake(rates=(0.98,), compared=COMPARED, small=("9",), absent=("7",))
    return results, render_card(results)


def header(card: str) -> dict:
    return yaml.safe_load(card.split("---\n")[1])


def cells(card: str) -> list[list[str]]:
    """The rows of the card's tables, as a reader of Markdown sees them."""
    rows = [line for line in card.splitlines() if line.startswith("|")]
    parts = [re.split(r"(?<!\\)\|", row)[1:-1] for row in rows]
    return [[plain(part) for part in row] for row in parts]


def plain(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", unescape(text)).strip()


def test_the_metadata_are_those_that_hugging_face_reads(compared):
    found = header(compared[1])
    assert found["license"] == "unknown"
    assert found["library_name"] == "pytorch"
    assert found["pipeline_tag"] == "image-classification"
    assert found["datasets"] == ["digits"]
    assert {"pruning", "fairness", "bilevel", "excess-accuracy"} <= set(found["tags"])
    (index,) = found["model-index"]
    assert index["name"] == COMPARED[1]
    assert set(index["results"][0]) == {"task", "dataset", "metrics"}


def test_the_metadata_hold_the_numbers_of_the_record(compared):
    results, card = compared
    (result,) = header(card)["model-index"][0]["results"]
    found = {(metric["type"], metric["name"]): metric["value"] for metric in result["metrics"]}
    overall = [row for row in results.record["overall"] if row["model"] == COMPARED[1]]
    assert found["accuracy", "accuracy"] == pytest.approx(overall[0]["value"], abs=5e-5)
    gap = next(row for row in overall if row["metric"] == "max_excess_accuracy_gap")
    name = "largest excess accuracy gap"
    assert found[gap["metric"], name] == pytest.approx(gap["value"], abs=5e-5)
    groups = results.groups[results.groups["model"] == COMPARED[1]]
    for row in groups[(groups["metric"] == "accuracy") & (groups["n"] > 0)].to_dict("records"):
        name = f"accuracy of group {row['group']} ({row['n']} samples)"
        assert found["accuracy", name] == pytest.approx(row["value"], abs=5e-5)


def test_every_group_stands_in_the_table_as_the_results_have_it(compared):
    results, card = compared
    rows = {row[0]: row for row in cells(card)}
    pays = claimed(results.record, "pays")
    groups = results.groups[results.groups["model"] == COMPARED[1]].astype({"group": str})
    for name, own in groups.groupby("group"):
        flag = own["flag"].iloc[0]
        row = rows[f"{name} ({flag})" if flag else name]
        values = own.set_index("metric")
        for cell, metric in zip(
            row[2:], ("accuracy", "excess_accuracy_gap", "excess_risk"), strict=True
        ):
            one = values.loc[metric].to_dict()
            claim = pays.get((COMPARED[1], str(name)))
            if metric == "excess_accuracy_gap" and claim is not None:
                one |= {"ci_low": claim.low, "ci_high": claim.high}
            wanted = (
                number(one["value"], metric) + " " + interval(one["ci_low"], one["ci_high"], metric)
            )
            assert cell == wanted.strip()


def test_gaps_stand_beside_their_noise_floors(compared):
    results, card = compared
    rows = {row[0]: row for row in cells(card)}
    overall = {r["metric"]: r for r in results.record["overall"] if r["model"] == COMPARED[1]}
    gap = overall["max_excess_accuracy_gap"]
    row = rows["largest excess accuracy gap (points)"]
    assert row[1].startswith(number(gap["value"], gap["metric"]))
    assert row[2:4] == ["2.0", "4.0"]
    pays = [
        one for (model, _), one in claimed(results.record, "pays").items() if model == COMPARED[1]
    ]
    most = max(pays, key=lambda one: one.estimate or 0.0)
    assert f"{points(most.estimate)} points {interval(most.low, most.high, 'points')}" in plain(
        card
    )


def test_what_limits_the_numbers_is_said(compared):
    text = plain(compared[1])
    assert "Group 9 is too small for a verdict" in text
    assert "Group 7 is absent" in text
    assert "Numbers made for a test." in text


def test_a_dense_network_that_was_trained_elsewhere_is_told_with_what_came_of_it(fake):
    results = fake(rates=(0.98,), compared=COMPARED)
    dense = next(one for one in results.record["models"] if one["method"] == "dense")
    dense |= {"steps": 0, "notes": ["was trained elsewhere, nobody knows on what"]}
    pruned, own = (plain(render_card(results, name)) for name in (COMPARED[1], dense["name"]))
    assert f"- {dense['name']}: was trained elsewhere, nobody knows on what" in pruned
    assert "Steps: 460 of optimisation" in pruned
    assert "- was trained elsewhere, nobody knows on what" in own
    assert "- Trained elsewhere" in own
    assert "Steps: " not in own


def test_sparsity_and_how_to_repeat_it_are_said(compared):
    results, card = compared
    model = results.record["models"][-1]
    assert "98.00% of its prunable weights are zero" in card
    assert f"{model['surviving_multiply_adds']:,} of its {model['multiply_adds']:,}" in card
    assert f"    {results.record['command']}\n" in card
    assert model["sha256"] in card


def test_hostile_names_stay_text(fake):
    card = render_card(fake(groups=HOSTILE, rates=(0.98,), compared=COMPARED, harmed=HOSTILE[:1]))
    body = card.split("---\n", 2)[2]
    assert not re.search(r"<\w", body)
    assert not re.search(r"(?<!\\)\]\(", body)
    assert "://" not in body
    table = cells(body)
    assert {len(row) for row in table} == {5, 6}
    names = {row[0] for row in table}
    for name in HOSTILE:
        assert (visible(" ".join(name.split())) or "(empty)") in names
    metrics = header(card)["model-index"][0]["results"][0]["metrics"]
    told = [metric["name"] for metric in metrics]
    for name in HOSTILE:
        assert f"accuracy of group {name or '(empty)'} (90 samples)" in told


@pytest.mark.parametrize("choice", [{"dense": False}, {"methods": ()}, {"groups": ("all",)}])
def test_any_results_have_a_card(fake, choice, tmp_path):
    card = write_card(fake(rates=(0.98,), **choice), tmp_path).read_text("utf-8")
    assert header(card)["model-index"]


@pytest.mark.parametrize("harmed", [(), ("8",)])
def test_a_small_group_that_fell_behind_stands_in_the_card(fake, harmed):
    results = fake(rates=(0.98,), compared=COMPARED, small=("9",), absent=("7",), harmed=harmed)
    fell = Finding("suspected", True, networks=COMPARED[:1], label=COMPARED[0], group="9",
                   estimate=0.6, low=0.3, high=0.8)  # fmt: skip
    record = results.record | {"findings": [*results.record["findings"], fell.plain()]}
    told = replace(results, record=record)
    behind = "Too small for a verdict, but behind the average: group 9 by 60.0 points"
    first, other = (plain(render_card(told, name)) for name in COMPARED)
    assert behind in first
    assert behind not in other
    if not harmed:
        assert "Nothing is known of group 7." in first
        assert "Nothing is known of group 7 and group 9." in other


def test_another_network_is_named_and_an_unknown_one_refused(fake):
    results = fake(rates=(0.98,), compared=COMPARED)
    assert header(render_card(results, COMPARED[0]))["model-index"][0]["name"] == COMPARED[0]
    with pytest.raises(AuditError, match="no network 'other'; expected one of"):
        render_card(results, "other")


@pytest.mark.parametrize("text", ["- a", "+ a", "1. a", "12) a", "---", "===", "# a"])
def test_a_line_never_starts_what_it_does_not_mean(text):
    assert "\\" in markdown(text)
    assert plain(markdown(text)) == text


def test_hugging_face_reads_the_model_index(compared):
    hub = pytest.importorskip("huggingface_hub", reason="huggingface_hub is missing (extra [hf])")
    results, text = compared
    data = hub.ModelCard(text, ignore_metadata_errors=False).data
    name = results.record["models"][-1]["name"]
    assert data.model_name == name
    found = {one.metric_name: one.metric_value for one in data.eval_results}
    (written,) = header(text)["model-index"]
    assert found == {one["name"]: one["value"] for one in written["results"][0]["metrics"]}
    overall = {row["metric"]: row for row in results.record["overall"] if row["model"] == name}
    assert found["accuracy"] == round(overall["accuracy"]["value"], 4)
    assert {one.dataset_split for one in data.eval_results} == {"test"}
