"""What the command line ends with: 0, 1 for a threshold alone, 2, 3 or 130, in one line."""

import errno
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from audit.cli import app
from audit.commands.exits import Stopped, exit_code, keeping
from audit.errors import AuditError
from audit.files import check_file, check_folder, check_readable
from tests.waiting import until

AUDIT = [sys.executable, "-m", "audit"]
OWN = """
import sys
from torch import nn

def build(shape, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.Linear(8, classes))

def fails(shape, classes):
    raise RuntimeError("no such weights")

def ends(shape, classes):
    sys.exit(1)

def nothing(shape, classes):
    return None
"""


def raising(error: BaseException):
    def run() -> None:
        raise error

    return run


def test_what_was_given_wrong_ends_with_2(capsys):
    assert exit_code(raising(AuditError("found a\n  b"))) == 2
    assert capsys.readouterr().err == "audit: found a b\n"


@pytest.mark.parametrize("error", [ValueError("odd"), SystemExit(1), RecursionError("deep")])
def test_the_unforeseen_ends_with_3_and_a_file_with_the_traceback(
    capsys, monkeypatch, tmp_path, error
):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert exit_code(raising(error)) == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert f"unexpected {type(error).__name__}" in line
    (file,) = tmp_path.iterdir()
    assert str(file) in line
    assert "in run" in file.read_text()
    assert file.stat().st_mode & 0o077 == 0


def test_a_traceback_that_cannot_be_written_is_placed_in_the_line(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    assert exit_code(raising(ValueError("odd"))) == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(r"it ends in .*test_exits.py, line \d+", line)


def test_a_right_that_is_missing_is_told_with_what_to_do(capsys):
    error = PermissionError(errno.EACCES, "Permission denied", "people.csv")
    assert exit_code(raising(error)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("audit: cannot read or write 'people.csv': Permission denied; give")


@pytest.mark.parametrize("error", [KeyboardInterrupt(), typer.Abort(), Stopped("cells are kept")])
def test_ctrl_c_ends_with_130(capsys, error):
    assert exit_code(raising(error)) == 130
    assert capsys.readouterr().err.startswith("audit: stopped; ")


def test_ctrl_c_says_what_is_kept(capsys):
    def run() -> None:
        with keeping("cells are kept under 'out'", "go on"):
            raise KeyboardInterrupt

    assert exit_code(run) == 130
    assert capsys.readouterr().err.endswith("kept under 'out'; go on\n")


def test_where_nothing_can_be_written_is_said_before_work(tmp_path):
    file = tmp_path / "file"
    file.write_text("x")
    for path, message in {
        tmp_path: "is a folder",
        file / "x.pt": "is no folder",
        Path("/dev/full"): "is no regular file",
        Path("/dev/full/x.pt"): "is no folder",
        Path("/proc/nowhere/x.pt"): "cannot write",
        tmp_path / ("n" * 250): "cannot write",
        tmp_path / ("n" * 300) / "x.pt": "cannot write",
    }.items():
        with pytest.raises(AuditError, match=message):
            check_file(path)
    for folder, names, message in (
        (file, (), "is no folder"),
        (file / "x", (), "is no folder"),
        (Path("/proc/nowhere"), (), "cannot write"),
        (tmp_path, ("file", "file/x"), "is no folder"),
        (tmp_path.parent, (tmp_path.name,), "is a folder"),
    ):
        with pytest.raises(AuditError, match=message):
            check_folder(folder, names)
    check_file(tmp_path / "new" / "x.pt")
    check_folder(tmp_path / "new" / "folder", ("report.html",))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_file_to_read_is_there_and_no_folder(tmp_path):
    with pytest.raises(AuditError, match="there is no file"):
        check_readable(tmp_path / "x")
    with pytest.raises(AuditError, match="is a folder"):
        check_readable(tmp_path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with a module of one's own and a small network trained from it, by `audit`."""
    made = tmp_path_factory.mktemp("own")
    (made / "own.py").write_text(OWN)
    subprocess.run([*AUDIT, *train("own:build"), "dense.pt"], cwd=made, check=True)
    return made


def train(model: str) -> list[str]:
    return [
        "train",
        "--data",
        "digits",
        "--model",
        model,
        "--epochs",
        "1",
        "--device",
        "cpu",
        "--out",
    ]


def test_a_network_of_the_current_folder_is_found(folder):
    assert (folder / "dense.pt").is_file()


@pytest.mark.parametrize("function", ["fails", "ends", "nothing", "missing"])
def test_a_function_of_ones_own_that_fails_is_told_in_one_line(
    folder, function, monkeypatch, capsys
):
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", list(sys.path))
    options = [*train(f"own:{function}"), "x.pt"]
    assert exit_code(lambda: app(options, standalone_mode=False)) == 2
    *_, line = capsys.readouterr().err.splitlines()  # after what was made of the data
    assert line.startswith("audit: ")
    assert f"own:{function}" in line
    assert not (folder / "x.pt").exists()


def measure(folder: Path, *more: str) -> list[str]:
    options = ["--model", "own:build", "--curvature", "none", "--out", "out"]
    return [*AUDIT, "measure", "dense.pt", *options, *more]


def test_a_reader_that_goes_away_loses_no_report(folder):
    with subprocess.Popen(
        measure(folder, "--fail-if", "overall accuracy < 0.999"),
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.close()
        told = running.stderr.read().decode()
    assert running.returncode == 1, told
    assert told.startswith("failed: ")
    assert len(told.splitlines()) == 1
    assert (folder / "out" / "report.html").is_file()


def test_an_alphabet_that_lacks_signs_is_no_error(folder):
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(measure(folder), cwd=folder, env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert "accuracy" in done.stdout.decode("ascii")


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_signs_that_an_alphabet_lacks_become_the_nearest(encoding):
    code = "from audit.commands.streams import *; prepare_streams(); print('λ ≤ −1 … Ł 中')"
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode(encoding).strip() in ("lambda <= -1 ... ? ?", "lambda <= -1 … ? ?")


def test_streams_that_are_not_buffered_stay_so():
    code = (
        "import os; from audit.commands.streams import *; prepare_streams(); print('said', end='')"
    )
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-c", f"{code}; os._exit(0)"]
    assert subprocess.run(command, env=environment, capture_output=True).stdout == b"said"


def test_closed_streams_are_no_error():
    for closed in (">&-", "2>&-", ">&- 2>&-"):
        command = f"exec {' '.join(AUDIT)} --help {closed}"
        assert subprocess.run(command, shell=True, stdout=subprocess.DEVNULL).returncode == 0


ENDLESS = """
[data]
dataset = "digits"
[model]
name = "mlp"
width = 4
[study]
methods = ["magnitude"]
rates = [0.5, 0.9]
seeds = [0]
[training]
epochs = 1
[pruning]
epochs = 100000
"""


# A job in a shell's background ignores Ctrl-C, and so does all that it starts: heard again here.
HEARING = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from audit.cli import main
main()
"""


def test_ctrl_c_in_a_study_says_that_its_cells_are_kept(tmp_path):
    (tmp_path / "study.toml").write_text(ENDLESS)
    command = [sys.executable, "-c", HEARING, "run", "study.toml", "--device", "cpu"]
    with subprocess.Popen(
        [*command, "--workers", "2", "--threads", "1", "--out", "out"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as running:
        until(lambda: running.poll() is not None or list(tmp_path.glob("out/models/dense*.pt")))
        os.kill(running.pid, signal.SIGINT)
        out, told = running.communicate(timeout=900)
    assert running.returncode == 130, told
    assert out == b""
    assert b"finished cells are kept under 'out'" in told
    assert b"Traceback" not in told
