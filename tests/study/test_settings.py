"""A study's entries: the same method twice under titles, and rates of its own."""

import pytest

from audit import write_report
from audit.errors import AuditError
from audit.findings.words import label
from audit.study.run import run_study
from audit.study.settings import Method, load_settings

STUDY = """
[data]
dataset = "digits"

[model]
name = "mlp"
width = 4

[study]
rates = [0.5, 0.9]
seeds = [0]
methods = [
  { method = "magnitude" },
  { method = "bilevel", constraint = "excess-accuracy", rates = [0.8] },
  { method = "bilevel", constraint = "excess-accuracy", rates = [0.8],
    title = "bilevel, blind mask", fair_mask = false },
]

[training]
epochs = 1

[pruning]
epochs = 1

[measure]
curvature = "none"
"""
# An inline table of TOML stands on one line.
STUDY = STUDY.replace("rates = [0.8],\n   ", "rates = [0.8],")


def write(folder, text=STUDY):
    path = folder / "study.toml"
    path.write_text(text, encoding="utf-8")
    return load_settings(path)


def test_entries_keep_titles_rates_and_options(tmp_path):
    magnitude, plain, blind = write(tmp_path).methods
    assert (magnitude.rates, plain.rates) == ((), (0.8,))
    assert dict(blind.options) == {"fair_mask": False}
    assert blind.label == "bilevel, blind mask-excess-accuracy"


def test_a_method_stands_twice_under_titles_alone(tmp_path):
    with pytest.raises(AuditError, match="found a method twice"):
        write(tmp_path, STUDY.replace('title = "bilevel, blind mask", ', ""))


@pytest.mark.parametrize("title", ["../up", "a/b", "<b>", "x\n"])
def test_a_title_may_stand_in_the_name_of_a_file(title):
    with pytest.raises(AuditError, match="found title"):
        Method("magnitude", title=title)


def test_rates_of_an_entry_are_checked():
    with pytest.raises(AuditError, match=r"1\.5"):
        Method("magnitude", rates=(1.5,))


def test_a_study_runs_every_entry_at_its_own_rates_under_its_title(tmp_path):
    results = run_study(write(tmp_path), tmp_path / "out", workers=1)
    rates: dict[str, list[float]] = {}
    for model in results.record["models"][1:]:
        rates.setdefault(label(model), []).append(model["rate"])
    assert rates == {
        "magnitude": [0.5, 0.9],
        "bilevel (excess-accuracy)": [0.8],
        "bilevel, blind mask (excess-accuracy)": [0.8],
    }
    methods = {"dense", "magnitude", "bilevel", "bilevel, blind mask"}
    assert set(results.groups["method"]) == methods
    page = write_report(results, tmp_path / "out").read_text(encoding="utf-8")
    assert "bilevel, blind mask (excess-accuracy)" in page
