"""Every example of docs/your-own-model.md runs as it stands."""

from __future__ import annotations

import copy
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from typer.testing import CliRunner

from audit.cli import app
from audit.data import load_data
from audit.errors import AuditError
from audit.models import TrainingSettings, load_checkpoint
from audit.prune.magnitude import magnitude_mask

PAGE = (Path(__file__).parents[2] / "docs" / "your-own-model.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def network(features: int = 4) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(features, 8), nn.ReLU(), nn.Linear(8, 2))


def removed(model: nn.Module) -> nn.Module:
    pruned = copy.deepcopy(model)
    magnitude_mask(pruned, 0.5).apply(pruned)
    return pruned


def predictions() -> pd.DataFrame:
    generator = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "sample": np.arange(300),
            "label": generator.choice(["no", "yes"], 300),
            "sex": generator.choice(["f", "m"], 300),
            "race": generator.choice(["x", "y"], 300),
            "score": generator.random(300),
        }
    )


def test_the_examples_in_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    labels, groups = generator.integers(0, 2, 300), generator.choice(["f", "m"], 300)
    inputs = generator.normal(size=(300, 4)) + labels[:, None]
    model = network()
    known: dict[str, Any] = {
        "inputs": inputs,
        "labels": labels,
        "groups": groups,
        "model": model,
        "pruned": removed(model),
        "quantised": copy.deepcopy(model).bfloat16(),
        "probable": nn.Sequential(model, nn.Softmax(1)),
        "probable_pruned": nn.Sequential(removed(model), nn.Softmax(1)),
        "settings": TrainingSettings(epochs=1),
        "dense_table": predictions(),
        "int8_table": predictions().assign(score=0.6),
    }
    table = pd.DataFrame({"age": inputs[:, 0], "hours": inputs[:, 1], "sex": groups})
    table.assign(income=np.where(labels, "high", "low")).to_csv("people.csv", index=False)
    Path("my_models.py").write_text(
        "from torch import nn\ndef build(input_shape, classes):\n"
        "    return nn.Sequential(nn.Linear(*input_shape, 8), nn.ReLU(), nn.Linear(8, classes))\n"
    )
    for block in blocks("python"):
        exec(block, known)
    monkeypatch.syspath_prepend(tmp_path)
    columns = load_data("table:people.csv?target=income&group=sex").input_shape
    torch.save(network(*columns).state_dict(), "dense.pth")
    imported, mitigated = (shlex.split(line)[1:] for line in blocks("sh")[2].splitlines())
    for command in (imported, [*mitigated, "--epochs", "1"]):
        assert CliRunner().invoke(app, command).exit_code == 0
    sys.modules.pop("my_models", None)
    assert load_checkpoint(tmp_path / "fair.pt").sparsity == pytest.approx(0.9, abs=0.02)
    assert (tmp_path / "reports" / "mine" / "report.html").is_file()
    assert known["fair"].mask.sparsity == pytest.approx(0.9, abs=0.02)


@pytest.mark.parametrize("place", [0, 1, 3])
def test_the_commands(place: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    table = pd.DataFrame(generator.normal(size=(300, 3)), columns=["age", "hours", "years"])
    table["income"] = np.where(table["age"] + table["hours"] > 0, "high", "low")
    table["sex"] = generator.choice(["f", "m"], 300)
    table.to_csv("people.csv", index=False)
    Path("my_models.py").write_text(
        "from torch import nn\n"
        "def build(input_shape, classes):\n"
        "    return nn.Sequential(nn.Linear(*input_shape, 8), nn.ReLU(), nn.Linear(8, classes))\n"
        "def small(input_shape, classes):\n    return nn.Linear(*input_shape, classes)\n"
    )
    command = blocks("sh")[place]
    arguments = [*shlex.split(command)[1:], "--curvature", "none", "--out", "found"]
    # The table's own columns, and what is made of them, decide how wide its inputs are.
    features = load_data(arguments[arguments.index("--data") + 1].replace(";age", "")).input_shape
    model = network(features[0])
    torch.save({"state_dict": model.state_dict()}, "dense.pth")
    torch.save(nn.Linear(features[0], 2).state_dict(), "student.pth")
    save_file(dict(removed(model).state_dict()), "pruned.safetensors")
    for name, one in (("dense", model), ("pruned", removed(model))):
        torch.export.save(torch.export.export(one, (torch.zeros(2, *features),)), f"{name}.pt2")
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert len(list(Path("found").rglob("report.html"))) == (2 if ";" in command else 1)


def test_the_command_for_predictions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    predictions().to_parquet("dense.parquet")
    predictions().iloc[::-1].to_csv("pruned.csv", index=False)
    predictions().drop(columns="score").assign(prediction="yes").to_csv("int8.csv", index=False)
    arguments = [*shlex.split(blocks("sh")[4])[1:], "--out", "found"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    found = {path.parent.name for path in Path("found").glob("*/report.html")}
    assert found == {"sex", "race", "sex,race"}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--predictions"], "--predictions without --group"),
        (["--predictions", "--group", "sex", "--data", "digits"], "expected them with networks"),
        (["--predictions", "--group", "sex;sex"], "expected each attribute once"),
        (["--group", "sex"], "--group without data"),
        (["--classes", "no,yes"], "--classes without --predictions"),
        ([], "tables of predictions are compared with --predictions"),
    ],
)
def test_options_that_do_not_go_together(
    more: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("one.csv", "other.csv"):
        predictions().to_csv(name, index=False)
    with pytest.raises(AuditError, match=said):
        CliRunner().invoke(app, ["compare", "one.csv", "other.csv", *more], catch_exceptions=False)
