"""The public names: typed as they are loaded, each with its words and an example that runs."""

import ast
import doctest
import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import audit

TREE = ast.parse(Path(audit.__file__).read_text("utf-8"))
MODULES = [
    found.name
    for found in pkgutil.walk_packages(audit.__path__, "audit.")
    if not found.name.endswith("__main__")
]


def typed_names() -> dict[str, str]:
    """What a type checker finds in `audit`, each with the module it comes from."""
    imports = [node for node in ast.walk(TREE) if isinstance(node, ast.ImportFrom)]
    return {
        alias.asname: str(node.module)
        for node in imports
        for alias in node.names
        if alias.asname is not None
    }


def test_type_checkers_find_the_names_where_the_loader_does():
    assert typed_names() == audit._HOMES
    assert sorted([*audit._HOMES, *audit._ROOMS]) == audit.__all__


def test_every_public_name_loads_and_says_what_it_is():
    for name in audit.__all__:
        found = getattr(audit, name)
        assert found.__name__ == (f"audit.{name}" if name in audit._ROOMS else name)
        assert (found.__doc__ or "").strip(), name


def test_public_functions_are_not_any_to_a_type_checker(tmp_path):
    file = tmp_path / "uses.py"
    file.write_text("from audit import prune_model\nreveal_type(prune_model)\n")
    options = ["--python-executable", sys.executable, "--cache-dir", str(tmp_path / "cache")]
    options += ["--follow-imports=silent", "--ignore-missing-imports"]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *options, str(file)],
        cwd=Path(audit.__file__).parents[1],
        capture_output=True,
        text=True,
    )
    assert "Checkpoint" in done.stdout, done.stdout + done.stderr
    assert '"Any"' not in done.stdout


def test_importing_the_package_loads_nothing_else():
    code = "import sys, audit; print('torch' in sys.modules, 'pandas' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["False", "False"]


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_run(name: str) -> None:
    module = importlib.import_module(name)
    failed, _ = doctest.testmod(module, optionflags=doctest.ELLIPSIS)
    assert failed == 0
