"""Figures of scores and of the user's own metric in the report."""

from dataclasses import replace

import numpy as np

from audit.findings.answers import Answers
from audit.findings.own_metric import with_own_metric
from audit.report.html import render
from audit.report.scores import own_metric_figures, own_metric_table, score_figures
from audit.report.view import make_view


def with_scores(results):
    chance = np.random.default_rng(0).random(len(results.samples))
    samples = results.samples.assign(score_a=1 - chance, score_b=chance)
    return replace(results, answers=Answers.of(samples))


def test_scores_are_drawn_where_they_were_kept_and_only_there(fake):
    results = fake(rates=(0.98,), small=("3",))
    assert score_figures(results) == []
    rates, calibration = score_figures(with_scores(results))
    assert rates.svg.startswith("<svg")
    assert "wherever the threshold of its score is put" in rates.caption
    assert "true positive rate" in rates.alt
    assert "at 0.50:" in rates.svg
    assert "of equal numbers of each group's samples" in calibration.caption
    titles = [one.caption for one in make_view(with_scores(results)).sections[-2].figures]
    assert rates.caption in titles


def test_groups_too_small_are_marked(fake):
    results = fake(rates=(0.98,), groups=("a", "b", "c"), small=("c",), harmed=("a",))
    rates, _ = score_figures(with_scores(results))
    assert "c (small)" in rates.svg


def test_the_users_own_metric_is_a_table_and_a_figure(fake):
    results = fake(rates=(0.98,), compared=("magnitude-0.98-seed0",
                                            "bilevel-excess-accuracy-0.98-seed0"))  # fmt: skip
    metric = "sklearn.metrics:accuracy_score"
    found = with_own_metric(results, metric, reference="0", resamples=60)
    rows = found.record["tables"]["own_metric"]
    table = own_metric_table(rows)
    assert table.title == f"Your own metric: {metric}"
    assert table.columns[-1] == "difference from the reference"
    assert len(table.rows) == len(rows)
    (drawn,) = own_metric_figures(rows)
    assert metric in drawn.caption
    assert "90 samples" in drawn.svg
    page = render(found)
    assert f"Your own metric: {metric}" in page
    assert own_metric_table(()).rows == []
    assert own_metric_figures(()) == []


def test_strata_have_a_panel_each(fake):
    results = fake(rates=(0.98,), methods=(("magnitude", "none"),))
    samples = results.samples.assign(site=np.where(np.arange(len(results.samples)) % 2, "x", "y"))
    found = with_own_metric(replace(results, answers=Answers.of(samples)), "sklearn.metrics:accuracy_score",
                            control="site", resamples=20)  # fmt: skip
    rows = found.record["tables"]["own_metric"]
    assert own_metric_table(rows).columns[1] == "stratum"
    (drawn,) = own_metric_figures(rows)
    assert ">x<" in drawn.svg
    assert ">y<" in drawn.svg
