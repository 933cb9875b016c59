"""What the command says at once: its help, its version, and names that are nearly right."""

import re
import shlex
import subprocess
import sys

import pytest
import torch

from audit.cli import app, whole_first
from audit.commands.early import check_study
from audit.commands.exits import exit_code
from audit.data import load_data
from audit.durations import STEPS, spoken
from audit.errors import AuditError
from audit.limits import LARGEST, check_size, largest_bytes
from audit.models import Architecture, TrainingSettings, build_model
from audit.study import estimate
from audit.study.settings import Method, load_settings


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    """Put back what the command sets for its own process."""
    monkeypatch.setenv("TQDM_DISABLE", "")
    monkeypatch.delenv("TQDM_DISABLE")


def run(*arguments: str) -> int:
    return exit_code(lambda: app(list(arguments), prog_name="audit", standalone_mode=False))


@pytest.mark.parametrize("arguments", [(), ("-h",), ("--help",)])
def test_alone_it_shows_its_help(capsys, arguments):
    assert run(*arguments) == 0
    told = capsys.readouterr()
    assert "mitigate" in told.out
    assert told.err == ""


def test_its_version(capsys):
    assert run("--version") == 0
    assert capsys.readouterr().out.startswith("audit 0.")


def test_the_next_command_runs_as_it_is_told(capsys, tmp_path, monkeypatch):
    """A network of one's own is named again, as no checkpoint runs code that nobody named."""
    code = "import torch\n\n\ndef build(shape, classes):\n    return torch.nn.Sequential("
    code += "torch.nn.Flatten(), torch.nn.Linear(64, classes))\n"
    (tmp_path / "own_words.py").write_text(code, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    fast = ("--epochs", "1", "--device", "cpu")
    model = ("--model", "own_words:build")
    assert run("train", "--data", "digits", *model, "--out", "dense.pt", *fast) == 0
    for further in (fast, ("--curvature", "none")):
        line = capsys.readouterr().out.splitlines()[-1]
        assert line.startswith("next: audit ")
        assert run(*shlex.split(line.removeprefix("next: audit ")), *further) == 0


def test_what_a_checkpoint_is_and_what_the_machine_has(capsys, tmp_path):
    file = tmp_path / "dense.pt"
    made = ("train", "--data", "digits", "--model", "mlp", "--width", "4", "--epochs", "1")
    assert run(*made, "--device", "cpu", "--out", str(file)) == 0
    told = capsys.readouterr().out
    assert "select samples: " in told
    assert told.endswith("--rate 0.9 --out pruned.pt\n")
    assert run("show", str(file)) == 0
    told = capsys.readouterr().out
    assert "made by: dense\nnetwork: mlp" in told
    assert "groups: 10 by class" in told
    assert run("doctor") == 0
    told = capsys.readouterr().out
    assert "torch 2." in told
    assert "\npdf: " in told


@pytest.mark.parametrize(
    ("arguments", "nearest"),
    [
        (("mesure",), "measure"),
        (("prune", "FILE", "--method", "magnitud"), "magnitude"),
        (("mitigate", "FILE", "--method", "bilevl"), "bilevel"),
        (("mitigate", "FILE", "--constraint", "equalized-ods=0.1"), "equalised-odds"),
    ],
)
def test_a_name_nearly_right_is_told_with_the_nearest(capsys, tmp_path, arguments, nearest):
    file = tmp_path / "dense.pt"
    file.touch()
    given = [str(file) if word == "FILE" else word for word in arguments]
    more = ["--rate", "0.5", "--out", str(tmp_path / "out.pt")] if len(given) > 1 else []
    assert run(*given, *more) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"id you mean '{nearest}'" in line


def test_wrong_names_and_missing_files_are_told_before_torch_is_loaded(tmp_path):
    file = tmp_path / "dense.pt"
    file.touch()
    for arguments in (
        ["measure", "missing.pt"],
        ["prune", str(file), "--rate", "0.5", "--out", "x.pt", "--method", "wish"],
        ["prune", str(file), "--rate", "1.5", "--out", "x.pt"],
        ["prune", str(file), "--rate", "0.5", "--out", "x.pt", "--learning-rate", "nan"],
        ["prune", str(file), "--rate", "0.5", "--out", "x.pt", "--device", "the GPU"],
        ["mitigate", str(file), "--out", "x.pt", "--constraint", "equalized-odds=much"],
        ["train", "--data", "digits", "--model", "mlp", "--out", "/dev/full"],
        ["train", "--data", "digits", "--model", "resnet11", "--out", "x.pt"],
        ["train", "--data", "digits", "--model", "own:build", "--outputs", "odds", "--out", "x.pt"],
        ["train", "--data", "adult:nowhere", "--model", "mlp", "--out", "x.pt"],
        ["data", "table:nowhere.csv?target=y&group=g"],
        ["data", "table:nowhere.csv?target=y&gruop=g"],
        ["compare", str(file), str(file), "--model", "resnet"],
        ["run", "missing.toml"],
        ["run", str(file), "--engine", "dusk"],
        ["status", str(tmp_path)],
        ["report", str(tmp_path)],
        ["notebook", str(tmp_path / "notebooks"), "--config", "missing.toml"],
    ):
        code = (
            "import sys\nfrom audit.cli import app\nfrom audit.commands.exits import exit_code\n"
            f"code = exit_code(lambda: app({arguments!r}, standalone_mode=False))\n"
            "print(code, 'torch' in sys.modules)"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.stdout.split() == ["2", "False"], done.stderr


STUDY = """
[data]
dataset = "digits"
[model]
name = "{model}"
[study]
rates = [{rate}]
methods = [{{ method = "{method}", constraint = "{constraint}" }}]
"""


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"model": "resnet"}, "found model 'resnet'"),
        ({"rate": "1.5"}, "found rate 1.5"),
        ({"method": "bilevl"}, "did you mean 'bilevel'?"),
        ({"constraint": "equalized-ods"}, "did you mean 'equalised-odds'?"),
        ({"method": "["}, None),
        ({"model": "mlp", "rate": '"much"'}, None),
    ],
)
def test_the_words_of_a_study_are_looked_at_first(tmp_path, wrong, told):
    file = tmp_path / "study.toml"
    right = {"model": "mlp", "rate": "0.9", "method": "bilevel", "constraint": "equalized_odds"}
    file.write_text(STUDY.format(**(right | wrong)))
    if told is None:  # of another kind than a known name: the study's own check knows better
        with pytest.raises(AuditError):
            load_settings(file)
        return
    with pytest.raises(AuditError) as refused:
        check_study(file)
    assert told in str(refused.value)
    assert str(file) in str(refused.value)


def test_a_study_that_is_right_passes_both_checks(tmp_path):
    file = tmp_path / "study.toml"
    assert run("init", str(file)) == 0
    check_study(file)
    assert load_settings(file).model == "convnet"


def test_train_shows_one_table_where_groups_are_classes_and_none_for_a_wrong_model(
    capsys, tmp_path
):
    made = ["train", "--data", "digits", "--width", "4", "--epochs", "1", "--device", "cpu"]
    out = ["--out", str(tmp_path / "dense.pt")]
    assert run(*made, *out, "--model", "multilayer") == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert run(*made, *out, "--model", "MLP") == 0
    told = capsys.readouterr().err
    assert told.count("class train select test") == 1


def test_verbose_tells_how_long_the_steps_took(capsys, tmp_path):
    made = ["train", "--data", "digits", "--model", "mlp", "--epochs", "1", "--device", "cpu"]
    try:
        assert run("-v", *made, "--out", str(tmp_path / "dense.pt")) == 0
    finally:
        STEPS.handlers.clear()
    told = capsys.readouterr().err
    assert re.search(r"^audit: loading the data took \d+\.\d\d s$", told, re.MULTILINE)
    assert re.search(r"^audit: training took \d+\.\d\d s$", told, re.MULTILINE)
    assert run(*made, "--out", str(tmp_path / "dense.pt")) == 0
    assert "took" not in capsys.readouterr().err


def test_long_training_is_told_before_it_starts(capsys, monkeypatch):
    data = load_data("digits")
    network = build_model(Architecture("mlp", data.input_shape, 10))
    before = [parameter.clone() for parameter in network.parameters()]
    state = torch.get_rng_state()
    settings = TrainingSettings(epochs=7)
    estimate.tell_training(network, data, settings)
    assert capsys.readouterr().err == ""  # seconds, of which nobody needs to be told
    monkeypatch.setattr(estimate, "step_seconds", lambda *_: 2.0)
    estimate.tell_training(network, data, settings, Method("bilevel", "excess-accuracy"))
    steps = settings.steps(len(data.indices("train", "select")))
    told = capsys.readouterr().err
    assert f"training: {steps:,} steps, about {spoken(2.0 * 3.0 * steps)} " in told
    assert torch.equal(state, torch.get_rng_state())
    assert all(map(torch.equal, before, network.parameters()))


def test_a_step_is_timed_on_a_copy():
    data = load_data("digits")
    network = build_model(Architecture("mlp", data.input_shape, 10))
    network.train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    assert 0 < estimate.step_seconds(network, data, TrainingSettings()) < 10
    assert network.training
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_the_bound_on_memory_is_an_option_wherever_it_stands(capsys, monkeypatch):
    monkeypatch.setenv(LARGEST, "4")
    assert run(*whole_first(["--version", "--largest-gib", "16"])) == 0
    assert largest_bytes() == 16 * 2**30
    assert run(*whole_first(["doctor", "--largest-gib=0"])) == 2
    assert "expected a number of GiB" in capsys.readouterr().err
    monkeypatch.setenv(LARGEST, "1")
    with pytest.raises(AuditError, match="say --largest-gib 2 or set AUDIT_LARGEST_GIB=2"):
        check_size("table.parquet", 2**30 + 1)


def test_what_stands_behind_two_dashes_stays_there():
    assert whole_first(["show", "--", "-v"]) == ["show", "--", "-v"]
    assert whole_first(["show", "--largest-gib"]) == ["--largest-gib", "show"]
