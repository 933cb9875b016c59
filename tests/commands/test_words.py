"""What the command says at once: its help, its version, and names that are nearly right."""

import subprocess
import sys

import pytest

from audit.cli import app
from audit.commands.exits import exit_code


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


def test_what_a_checkpoint_is_and_what_the_machine_has(capsys, tmp_path):
    file = tmp_path / "dense.pt"
    made = ("train", "--data", "digits", "--model", "mlp", "--width", "4", "--epochs", "1")
    assert run(*made, "--device", "cpu", "--out", str(file)) == 0
    told = capsys.readouterr().out
    assert "select samples: " in told
    assert "next: audit prune" in told
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
        ["train", "--data", "digits", "--model", "mlp", "--out", "/dev/full"],
    ):
        code = (
            "import sys\nfrom audit.cli import app\nfrom audit.commands.exits import exit_code\n"
            f"code = exit_code(lambda: app({arguments!r}, standalone_mode=False))\n"
            "print(code, 'torch' in sys.modules)"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.stdout.split() == ["2", "False"], done.stderr
