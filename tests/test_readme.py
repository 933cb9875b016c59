"""The README's Python example runs as it stands."""

import importlib
import re
from pathlib import Path

import numpy as np

import audit


def test_the_example_for_a_model_of_ones_own(tmp_path, monkeypatch):
    package = tmp_path / "my_package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "models.py").write_text(
        "from torch import nn\n"
        "def build(input_shape, classes):\n"
        "    return nn.Sequential(nn.Linear(input_shape[0], 8), nn.ReLU(), nn.Linear(8, classes))\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    build = importlib.import_module("my_package.models").build

    generator = np.random.default_rng(0)
    given = {
        "inputs": generator.normal(size=(600, 4)),
        "labels": generator.integers(0, 2, 600),
        "groups": generator.choice(["women", "men"], 600),
        "my_model": build((4,), 2),
    }
    readme = (Path(__file__).parents[1] / "README.md").read_text("utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", readme, flags=re.DOTALL)
    exec(example, given)  # the README is ours
    results = given["results"]
    assert isinstance(results, audit.Results)
    assert set(results.groups["group"]) == {"women", "men"}
    assert (tmp_path / "reports" / "mine" / "report.html").is_file()
    measured = results.groups[results.groups["metric"] != "input_distance"]
    # A rate of no samples at all, such as the precision where nothing is predicted, is not a number.
    assert np.isfinite(measured.loc[measured["n"] > 0, "value"]).all()
    assert measured.loc[measured["n"] == 0, "metric"].isin(["precision"]).all()
