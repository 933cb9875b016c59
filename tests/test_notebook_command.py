"""`audit notebook` copies the notebooks out, without outputs, for the user's own study."""

import ast
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import audit
from audit.cli import main
from audit.notebook import EXAMPLE, PARAMETERS, notebook_files, study_code

NAMES = ["01_audit.ipynb", "02_why.ipynb", "03_mitigation.ipynb", "04_compare.ipynb"]
CONFIG = """
[data]
dataset = "images"
folder = "my 'pictures'"
target = "smiling"
group = "age"

[model]
name = "resnet10"
width = 8

[study]
rates = [0.5, 0.9]
seeds = [3, 4]
methods = [
  "snip",
  { method = "bilevel", constraint = "group-loss", tolerance = 0.1, ridge = 2.0, title = "mine" },
]

[pruning]
epochs = 3
"""


def call(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["audit", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        main()
    return stopped.value.code


def cells(path):
    return json.loads(path.read_text("utf-8"))["cells"]


def tagged(path, tag):
    return [cell for cell in cells(path) if tag in cell["metadata"].get("tags", ())]


def test_all_four_are_copied_without_outputs(monkeypatch, tmp_path):
    assert not call(monkeypatch, "notebook", tmp_path / "new")
    copied = sorted((tmp_path / "new").iterdir())
    assert [path.name for path in copied] == NAMES
    for path, source in zip(copied, notebook_files(), strict=True):
        code = [cell for cell in cells(path) if cell["cell_type"] == "code"]
        assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
        assert [c["source"] for c in cells(path)] == [c["source"] for c in cells(source)]


def test_a_config_fills_every_notebook_with_its_own_study(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    Path("mine.toml").write_text(CONFIG)
    Path("my 'pictures'").mkdir()
    assert not call(monkeypatch, "notebook", "out", "--config", "mine.toml")
    wanted = audit.load_settings("mine.toml")
    for path in sorted(Path("out").iterdir()):
        (cell,) = tagged(path, PARAMETERS)
        names = {"audit": audit}
        exec("".join(cell["source"]), names)
        found = names["study"]
        assert found.data == {**wanted.data, "folder": str(tmp_path / "my 'pictures'")}
        for name in ("model", "arguments", "methods", "rates", "seeds", "training", "pruning"):
            assert getattr(found, name) == getattr(wanted, name)
        assert not tagged(path, EXAMPLE)


def test_nothing_is_replaced_unasked(monkeypatch, tmp_path, capsys):
    (tmp_path / "04_compare.ipynb").write_text("mine")
    assert call(monkeypatch, "notebook", tmp_path) == 2
    assert "04_compare.ipynb' exists already" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["04_compare.ipynb"]
    assert (tmp_path / "04_compare.ipynb").read_text() == "mine"
    assert not call(monkeypatch, "notebook", tmp_path, "--force")
    assert tagged(tmp_path / "04_compare.ipynb", PARAMETERS)


def test_a_wrong_config_is_refused_before_anything_is_written(monkeypatch, tmp_path, capsys):
    assert call(monkeypatch, "notebook", tmp_path / "out", "--config", tmp_path / "none.toml") == 2
    assert "there is no file" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_study_of_a_network_that_is_there_has_no_notebooks(monkeypatch, tmp_path, capsys):
    (tmp_path / "dense.pt").touch()
    (tmp_path / "study.toml").write_text(
        '[data]\ndataset = "digits"\n[model]\nname = "mlp"\n'
        f'[study]\nmethods = ["magnitude"]\nrates = [0.5]\ndense = "{tmp_path}/dense.pt"\n'
    )
    config = ["--config", tmp_path / "study.toml"]
    assert call(monkeypatch, "notebook", tmp_path / "out", *config) == 2
    assert "the notebooks train a dense network of their own" in capsys.readouterr().err
    assert not list((tmp_path / "out").glob("*"))


def test_a_table_is_found_from_the_folder_of_the_notebooks(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    data = {"dataset": "table", "file": "people.csv", "target": "y", "group": "sex"}
    methods = (audit.Method("magnitude"),)
    settings = audit.StudySettings(data=data, model="mlp", methods=methods, rates=(0.5,))
    assert repr(str(tmp_path / "people.csv")) in study_code(settings)


def test_settings_as_text_are_data_and_never_code():
    hostile = 'x\'); import os; os.abort() #\n"""'
    settings = audit.StudySettings(
        data={"dataset": hostile},
        model=hostile,
        methods=(audit.Method("magnitude"),),
        rates=(0.5,),
        measure=audit.MeasureSettings(curvature="none", resamples=10),
    )
    (statement,) = ast.parse(study_code(settings)).body
    assert isinstance(statement, ast.Assign)
    calls = {ast.unparse(n.func) for n in ast.walk(statement) if isinstance(n, ast.Call)}
    assert calls == {"audit.StudySettings", "audit.Method", "audit.MeasureSettings"}
    names: dict[str, object] = {"audit": audit}
    exec(study_code(settings), names)
    assert names["study"] == settings


@pytest.mark.parametrize("target", ["wheel", "sdist"])
def test_what_is_installed_has_the_notebooks(tmp_path, target):
    root = Path(audit.__file__).parents[1]
    command = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", tmp_path]
    subprocess.run(command, cwd=root, check=True, capture_output=True)
    (file,) = tmp_path.iterdir()
    if target == "wheel":
        names = zipfile.ZipFile(file).namelist()
        assert [f"audit/notebooks/{name}" in names for name in NAMES] == [True] * 4
        zipfile.ZipFile(file).extractall(tmp_path / "site")
        code = "from audit.notebook import notebook_files; print(*notebook_files(), sep='\\n')"
        found = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path / "site", check=True, text=True,
            capture_output=True, env={"PYTHONPATH": str(tmp_path / "site")},
        ).stdout.splitlines()  # fmt: skip
        assert found == [str(tmp_path / "site/audit/notebooks" / name) for name in NAMES]
    else:
        import tarfile

        with tarfile.open(file) as archive:
            held = {Path(name).name for name in archive.getnames()}
        assert set(NAMES) <= held
