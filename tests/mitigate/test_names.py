"""Names are the same everywhere, and the examples of the docstrings run."""

import doctest
import importlib

import pytest
from typer.testing import CliRunner

from audit import cli
from audit.commands.options import ConstraintName, MitigationMethod
from audit.errors import AuditError
from audit.mitigate import CONSTRAINTS, MITIGATION_METHODS, make_constraints
from audit.models import TrainingSettings, load_checkpoint
from audit.study.making import prune_model, train_model
from audit.study.settings import Method


@pytest.mark.parametrize("module", ["constraints", "pruner", "statistics"])
def test_the_examples_run(module):
    found = doctest.testmod(importlib.import_module(f"audit.mitigate.{module}"))
    assert found.attempted > 0
    assert found.failed == 0


def test_the_command_line_knows_every_constraint_and_method():
    assert list(ConstraintName) == ["none", *CONSTRAINTS]
    assert list(MitigationMethod) == list(MITIGATION_METHODS)
    for method in MITIGATION_METHODS.values():
        assert make_constraints(method.constraint)


def test_a_study_takes_several_constraints_and_checks_options():
    method = Method("bilevel", "excess-accuracy=0.01+equalised-odds", 0.05)
    assert method.label == "bilevel-excess-accuracy=0.01+equalised-odds"
    assert Method("lagrangian-dual", "group-loss", options={"multiplier_split": "select"})
    with pytest.raises(AuditError, match="'weight_steps' in the options of lagrangian-dual"):
        Method("lagrangian-dual", "group-loss", options={"weight_steps": 2})
    with pytest.raises(AuditError, match="takes no constraint"):
        Method("magnitude", "group-loss")


def test_a_checkpoint_says_what_the_method_spent(two_groups):
    training = TrainingSettings(epochs=2, batch_size=32)
    dense = train_model(two_groups, "mlp", training, {"width": 8})
    method = Method("prune-then-fair", "excess-loss=0.1")
    pruned = prune_model(dense, two_groups, method, 0.5, training)
    settings = pruned.provenance.settings
    assert settings["passes"] == pruned.provenance.steps
    assert settings["readings"] > 0
    assert settings["history"][0]["violation"]


def test_mitigate_takes_a_constraint_several_times(tmp_path):
    runner = CliRunner()
    dense, fair = str(tmp_path / "dense.pt"), str(tmp_path / "fair.pt")
    train = ["train", "--data", "digits", "--model", "convnet", "--width", "4"]
    assert runner.invoke(cli.app, [*train, "--epochs", "1", "--out", dense]).exit_code == 0
    options = ["--rate", "0.5", "--epochs", "1", "--method", "fair-then-prune", "--out", fair]
    options += ["--constraint", "excess-accuracy=0.01", "--constraint", "equal-accuracy"]
    done = runner.invoke(cli.app, ["mitigate", dense, *options, "--tolerance", "0.02"])
    assert done.exit_code == 0, done.output
    provenance = load_checkpoint(tmp_path / "fair.pt").provenance
    assert provenance.method == "fair-then-prune"
    assert provenance.constraint == "excess-accuracy=0.01+equal-accuracy"
    assert provenance.settings["tolerance"] == 0.02
