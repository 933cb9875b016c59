"""From a pruned network that harms to one that does not: the plan, the file, the comparison."""

from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

from audit import cli
from audit.data import load_data
from audit.errors import AuditError
from audit.examine.settings import MeasureSettings
from audit.findings.answers import Answers
from audit.findings.changes import ODDS
from audit.findings.results import Results
from audit.models import (
    Provenance,
    TrainingSettings,
    load_checkpoint,
    make_checkpoint,
    parent_of,
    save_checkpoint,
)
from audit.prune.mask import measured_mask, prunable_weights
from audit.prune.projection import project
from audit.study.making import prune_model, train_model
from audit.study.mending import mend, plan, rate_of, structure_of
from audit.study.settings import Method

QUICK = MeasureSettings(curvature="none", resamples=200)


def found(pays: list[bool | None], odds: bool | None) -> Results:
    """Results of a network, and of another that everybody pays for: findings alone."""
    findings: list[dict[str, Any]] = [
        {"claim": "pays", "networks": [name], "group": f"g{place}", "decision": decision}
        for name, decisions in (("pruned", pays), ("other", [True, True]))
        for place, decision in enumerate(decisions)
    ]
    about: dict[str, Any] = {"claim": "beyond_chance", "metric": ODDS, "estimate": 0.3}
    findings += [
        about | {"networks": ["pruned"], "decision": odds},
        about | {"networks": ["other"], "decision": True},
    ]
    record: dict[str, Any] = {"findings": findings}
    return Results(pd.DataFrame(), Answers({}), record)


@pytest.mark.parametrize(
    ("pays", "odds", "constraint", "reason"),
    [
        ([True, False], True, "excess-accuracy", "from group g0 than"),
        ([True, True], False, "excess-accuracy", "from group g0 and group g1 than"),
        ([False, False], True, "equalised-odds", "30.0 points"),
        ([False, False], False, "none", "no group was found to pay"),
        ([False, None], None, "none", "no group was found to pay"),
        ([None], None, "none", "who pays is not known: no group is judged"),
    ],
)
def test_the_constraint_follows_from_what_was_found(
    pays: list[bool | None], odds: bool | None, constraint: str, reason: str
) -> None:
    chosen = plan(found(pays, odds), "pruned")
    assert chosen.constraint == constraint
    assert reason in chosen.reason


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dense network of the digits, and two pruned from it."""
    folder = tmp_path_factory.mktemp("mending")
    data = load_data("digits")
    training = TrainingSettings(epochs=3, learning_rate=0.1)
    dense = train_model(data, "convnet", training, {"width": 4})
    save_checkpoint(dense, folder / "dense.pt")
    parent = parent_of(folder / "dense.pt", folder / "pruned.pt")
    for name, method in (("pruned", "magnitude"), ("filters", "l1-filter")):
        settings = TrainingSettings(epochs=1, seed=5)
        save_checkpoint(
            prune_model(dense, data, method, 0.6, settings, parent), folder / f"{name}.pt"
        )
    quick = prune_model(dense, data, "magnitude", 0.6, TrainingSettings(epochs=0), parent)
    save_checkpoint(quick, folder / "one-shot.pt")
    return folder


def test_a_network_is_mended_in_its_own_steps_and_compared(files: Path) -> None:
    out = files / "fair.pt"
    mended = mend(files / "pruned.pt", out, "excess-accuracy", settings=QUICK)
    one, other = load_checkpoint(files / "pruned.pt"), load_checkpoint(out)
    assert other.provenance.method == "bilevel"
    assert other.provenance.constraint == "excess-accuracy"
    assert other.provenance.steps == one.provenance.steps
    assert other.provenance.seed == 5
    assert other.sparsity == pytest.approx(one.sparsity, abs=1e-3)
    assert mended.results is not None
    names = {row["name"] for row in mended.results.record["models"]}
    assert {"pruned", "fair"} <= names
    assert "chosen by" not in " ".join(other.provenance.notes)


@pytest.mark.parametrize(
    ("paying", "odds", "constraint", "split"),
    [
        (("select", "test"), (), "excess-accuracy", "select"),
        (("test",), (), "excess-accuracy", "test"),
        (("test",), ("select",), "excess-accuracy", "test"),
        ((), ("select", "test"), "equalised-odds", "select"),
        ((), ("test",), "equalised-odds", "test"),
    ],
)
def test_the_constraint_is_chosen_on_samples_that_are_not_measured_after(
    files: Path,
    monkeypatch: pytest.MonkeyPatch,
    paying: tuple[str, ...],
    odds: tuple[str, ...],
    constraint: str,
    split: str,
) -> None:
    """Where the test alone shows it, or shows more, it follows the test, and says so."""
    from audit.study import mending

    def look(*given: Any) -> Results:
        return found([given[4].split in paying, False], given[4].split in odds)

    monkeypatch.setattr(mending, "measure_files", look)
    mended = mend(files / "pruned.pt", files / "chosen.pt", settings=QUICK)
    assert (mended.plan.constraint, mended.plan.split) == (constraint, split)
    assert f"{split} samples show" in mended.plan.reason
    assert mended.results is not None
    (row,) = (row for row in mended.results.record["models"] if row["name"] == "chosen")
    told = [note for note in row["notes"] if "chosen by what the same test samples show" in note]
    assert len(told) == (split == "test")


def test_where_nothing_is_wrong_nothing_is_written(
    files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from audit.study import mending

    nobody = found([False, False], False)
    monkeypatch.setattr(mending, "measure_files", lambda *_, **__: nobody)
    mended = mend(files / "pruned.pt", files / "not.pt", settings=QUICK)
    assert mended.plan.constraint == "none"
    assert mended.checkpoint is None
    assert not (files / "not.pt").exists()


def test_filters_stay_filters(files: Path) -> None:
    filters = load_checkpoint(files / "filters.pt")
    assert structure_of(filters, measured_mask(filters.model())) == "filter"
    data = load_data("digits")
    method = Method("bilevel", options={"structure": "layer"})
    solved = prune_model(
        load_checkpoint(files / "dense.pt"), data, method, 0.5, TrainingSettings(epochs=1)
    )
    assert structure_of(solved, measured_mask(solved.model())) == "layer"


def test_what_cannot_be_mended(files: Path) -> None:
    with pytest.raises(AuditError, match="is a dense network; give --rate"):
        mend(files / "dense.pt", files / "x.pt")
    with pytest.raises(
        AuditError, match=r"found 0 epochs; mending, .* unless --epochs says how many"
    ):
        mend(files / "one-shot.pt", files / "x.pt", "excess-accuracy")


def test_the_command_mends_and_reports(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from audit.study import mending

    monkeypatch.setattr(mending, "mend", partial(mending.mend, settings=QUICK))
    arguments = ["mitigate", str(files / "pruned.pt"), "--out", str(files / "mended.pt")]
    report = ["--constraint", "excess-accuracy", "--report", str(files / "report")]
    done = CliRunner().invoke(cli.app, [*arguments, *report])
    assert done.exit_code == 0, done.output
    assert "under excess-accuracy: asked for by name" in done.output
    assert (files / "report" / "report.html").is_file()
    assert (files / "mended.pt").is_file()


def invoked(files: Path, *arguments: str, network: str = "pruned.pt") -> Any:
    out = ["--out", str(files / "asked.pt"), "--report", str(files / "asked")]
    return CliRunner().invoke(cli.app, ["mitigate", str(files / network), *out, *arguments])


def test_every_flag_of_mending_works(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Method, tolerance, structure, settings and training are what is asked for."""
    from audit.study import mending

    monkeypatch.setattr(mending, "mend", partial(mending.mend, settings=QUICK))
    done = invoked(
        files, "--method", "gradual-excess-accuracy", "--constraint", "excess-accuracy",
        "--tolerance", "0.03", "--structure", "layer", "--option", "ramp_share=0.5",
        "--epochs", "2", "--seed", "7", "--batch-size", "32", "--learning-rate", "0.02",
        "--distillation", "0.4", "--temperature", "3", "--augmentation", "crop",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    found = load_checkpoint(files / "asked.pt").provenance
    assert (found.method, found.constraint) == ("gradual-excess-accuracy", "excess-accuracy")
    wanted = {
        "tolerance": 0.03, "structure": "layer", "ramp_share": 0.5, "epochs": 2, "seed": 7,
        "batch_size": 32, "learning_rate": 0.02, "distillation": 0.4, "temperature": 3.0,
        "augmentation": "crop",
    }  # fmt: skip
    assert {name: found.settings[name] for name in wanted} == wanted
    assert any("was not that of 'pruned.pt': epochs 2" in note for note in found.notes)


def test_none_by_name_prunes_without_a_constraint(files: Path) -> None:
    out = files / "unconstrained.pt"
    mended = mend(files / "pruned.pt", out, "none", settings=QUICK)
    assert mended.checkpoint is not None
    assert mended.checkpoint.provenance.constraint == "none"
    assert mended.checkpoint.provenance.settings["constraints"] == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--method", "magnetism"], "'magnetism'"),
        (["--constraint", "excess-accuracy=0.1", "--tolerance", "0.2"], "found tolerance 0.2"),
        (["--constraint", "none", "--tolerance", "0.2"], "found tolerance 0.2"),
        (["--structure", "filter", "--option", "structure=weight"], "found --structure filter"),
        (["--distillation", "0.4", "--option", "distillation=0.5"], "found --distillation 0.4"),
        (["--option", "mask_share=0.3", "--option", "mask_share=0.4"], "twice"),
        (["--option", "mask=1"], "found 'mask' in the options of bilevel"),
        (["--method", "prune-then-fair", "--option", "mask_share=0.5"], "found 'mask_share'"),
        (["--temperature", "3"], "found a temperature without distillation"),
        (["--distillation", "2"], "found distillation = 2"),
    ],
)
def test_what_a_flag_cannot_do_is_refused_in_one_line(
    files: Path, arguments: list[str], said: str
) -> None:
    for rate in ([], ["--rate", "0.5"]):
        network = "dense.pt" if rate else "pruned.pt"
        given = ["mitigate", str(files / network), "--out", str(files / "no.pt"), *rate]
        found = CliRunner().invoke(cli.app, [*given, *arguments])
        assert isinstance(found.exception, AuditError)
        assert said in str(found.exception)
        assert "\n" not in str(found.exception)
        assert not (files / "no.pt").exists()


def test_training_of_another_name_is_refused(files: Path) -> None:
    with pytest.raises(AuditError, match="found 'epoch' in the training"):
        mend(files / "pruned.pt", files / "x.pt", "none", training={"epoch": 3})


def test_groups_that_were_not_judged_are_not_cleared(fake):
    results = fake(harmed=(), harm=0.0, rates=(0.98,), small=("8",), absent=("7",))
    found = plan(results, "magnitude-0.98-seed0")
    assert found.constraint == "none"
    assert found.reason.endswith("not judged, and so not cleared: group 7 and group 8")
    assert "points would often have gone unseen" in found.reason
    whole = plan(fake(harmed=(), harm=0.0, rates=(0.98,)), "magnitude-0.98-seed0")
    assert "not cleared" not in whole.reason


def elsewhere(files: Path, how: str, **more: Any) -> Path:
    """The dense network pruned by another tool, whose file says nothing, or something wrong."""
    dense = load_checkpoint(files / "dense.pt")
    model = dense.model()
    weights = prunable_weights(model)
    scores = {name: weight.detach().abs() for name, weight in weights.items()}
    for name, weight in weights.items():
        if how == "filter" and name != list(weights)[-1]:
            sums = scores[name].flatten(1).sum(1)
            weight.data[sums <= sums.median()] = 0
        elif how not in ("filter", "dense"):
            weight.data[~project(scores, 0.5, how).parts[name]] = 0
    found = make_checkpoint(
        model, dense.architecture, load_data("digits"),
        Provenance("another tool", parent=parent_of(files / "dense.pt", files / "x.pt"), **more),
    )  # fmt: skip
    path = files / f"elsewhere-{how.replace(':', 'of')}.pt"
    save_checkpoint(found, path)
    return path


@pytest.mark.parametrize("how", ["weight", "layer", "filter", "2:4"])
@pytest.mark.parametrize("rate", [0.0, 0.1])
def test_rate_and_structure_are_read_off_the_zeros(files: Path, how: str, rate: float) -> None:
    found = load_checkpoint(elsewhere(files, how, rate=rate))
    mask = measured_mask(found.model())
    assert found.mask is None
    assert structure_of(found, mask) == how
    assert rate_of(found, mask, how) == (0.5 if how == "2:4" else mask.sparsity)


def test_a_network_that_another_tool_pruned_is_mended(files: Path) -> None:
    path = elsewhere(files, "2:4")
    out = files / "pattern.pt"
    mend(path, out, "none", settings=QUICK, training={"epochs": 1})
    made = load_checkpoint(out)
    assert made.provenance.settings["structure"] == "2:4"
    assert made.provenance.rate == 0.5


def test_what_is_only_called_pruned_is_not_mended(files: Path) -> None:
    with pytest.raises(AuditError, match=r"called pruned, to 0.7, and 0\.0% of its prunable"):
        mend(elsewhere(files, "dense", rate=0.7), files / "x.pt", "none")


def test_a_parent_that_lies_elsewhere_is_named(files: Path, tmp_path: Path) -> None:
    alone = tmp_path / "pruned.pt"
    alone.write_bytes((files / "pruned.pt").read_bytes())
    out = tmp_path / "fair.pt"
    arguments = ["mitigate", str(alone), "--out", str(out), "--report", str(tmp_path / "report")]
    done = CliRunner().invoke(cli.app, arguments)
    assert "give it with --dense" in str(done.exception)
    more = ["--constraint", "none", "--epochs", "1", "--dense", str(files / "dense.pt")]
    done = CliRunner().invoke(cli.app, [*arguments, *more])
    assert done.exit_code == 0, done.output
    assert out.is_file()
    refused = CliRunner().invoke(cli.app, [*arguments[:4], "--rate", "0.5", "--dense", "x.pt"])
    assert "--dense is for a pruned network" in str(refused.exception)


def test_why_nothing_is_mended_is_said_as_it_is(fake):
    """A dense network that knows nothing is no lack of samples, and a collapse no all-clear."""
    name = "magnitude-0.98-seed0"
    results = fake(harmed=(), harm=0.0, rates=(0.98,))
    unknown = {"claim": "pays", "networks": [name], "group": None, "decision": None,
               "details": {"why": "it knows nothing"}}  # fmt: skip
    results.record["findings"] = [unknown]
    assert plan(results, name).reason == "who pays is not known: it knows nothing"
    results = fake(harmed=(), harm=0.0, rates=(0.98,))
    results.record["findings"] += [
        {"claim": "collapse", "networks": [name], "decision": True},
        {"claim": "suspected", "networks": [name], "group": "z", "decision": True},
    ]
    reason = plan(results, name).reason
    assert "; but it has collapsed; but group z, too small for a verdict, fell behind" in reason
