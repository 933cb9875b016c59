"""Data as people have them, and networks that differ, in one call or one command."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from typer.testing import CliRunner

import audit
from audit.cli import app
from audit.errors import AuditError
from audit.examine.settings import MeasureSettings
from audit.findings.results import Results

SETTINGS = MeasureSettings(resamples=50, minimum_group_size=5, theory=True)
N = 120


class Reader(nn.Module):
    """Reads codes with a mask, as a transformer does: its parts by name, its logits in a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(9, 4), nn.Linear(4, 2)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor | None = None
    ) -> dict[str, Tensor]:
        seen = self.table(input_ids) * attention_mask[..., None]
        return {"logits": self.head(torch.tanh(seen.sum(1)))}


class OneTensor(nn.Module):
    """The same network of one tensor, codes with 0 where the mask hides them."""

    def __init__(self, reader: Reader) -> None:
        super().__init__()
        self.network = reader

    def forward(self, inputs: Tensor) -> Tensor:
        return self.network(inputs.abs(), (inputs > 0).long())["logits"]


def readers() -> dict[str, Reader]:
    torch.manual_seed(0)
    dense, pruned = Reader(), Reader()
    pruned.load_state_dict(dense.state_dict())
    with torch.no_grad():
        pruned.head.weight[:, :2] = 0
    return {"dense": dense, "pruned": pruned}


def tokens() -> tuple[Tensor, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    codes = torch.from_numpy(generator.integers(0, 9, (N, 5)))
    return codes, (codes.sum(1) > 20).long().numpy(), generator.choice(["f", "m"], N)


def numbers(found: Results) -> pd.Series[float]:
    keys = ["model", "group", "metric"]
    return found.groups.astype({"group": str}).set_index(keys)["value"].astype(float)


def test_inputs_of_several_parts_are_measured_as_those_of_one() -> None:
    codes, labels, groups = tokens()
    parts = {"input_ids": codes, "attention_mask": (codes > 0).long()}
    models = readers()
    splits = {"test": np.arange(N)}
    found = audit.compare(models, audit.from_arrays(parts, labels, groups, splits=splits), SETTINGS)
    plain = {name: OneTensor(one) for name, one in models.items()}
    other = audit.compare(plain, audit.from_arrays(codes, labels, groups, splits=splits), SETTINGS)
    one, two = numbers(found), numbers(other)
    assert set(one.index) == set(two.index)
    for metric in ("accuracy", "excess_risk", "gradient_norm", "hessian_max_eigenvalue",
                   "taylor_slope", "logit_jacobian_norm"):  # fmt: skip
        a, b = (each.xs(metric, level="metric").dropna() for each in (one, two))
        assert len(a) >= 2
        np.testing.assert_allclose(a, b.reindex(a.index), rtol=1e-4, atol=1e-6, err_msg=metric)
    far = found.groups[found.groups["metric"] == "input_distance"]
    assert far["note"].str.contains("inputs of several parts").all()


class Items(Dataset):
    def __init__(self, as_dict: bool) -> None:
        self.as_dict = as_dict
        self.codes, self.labels, self.groups = tokens()

    def __len__(self) -> int:
        return N

    def __getitem__(self, at: int) -> object:
        codes = self.codes[at]
        if not self.as_dict:
            return codes, int(self.labels[at]), self.groups[at]
        return {"input_ids": codes, "attention_mask": (codes > 0).long(),
                "label": int(self.labels[at]), "group": self.groups[at]}  # fmt: skip


@pytest.mark.parametrize("form", ["dataset", "loader", "dicts", "loader of dicts"])
def test_a_dataset_is_data(form: str) -> None:
    own = Items("dicts" in form)
    data = DataLoader(own, batch_size=16) if "loader" in form else own
    models: dict[str, nn.Module] = dict(readers())
    if "dicts" not in form:
        models = {name: OneTensor(one) for name, one in readers().items()}
    settings = MeasureSettings(resamples=50, minimum_group_size=5, curvature="none")
    found = audit.compare(models, data, settings)
    codes, labels, groups = tokens()
    logits = OneTensor(readers()["pruned"])(codes)
    for group in ("f", "m"):
        own_rows = groups == group
        right = (logits.argmax(1).numpy() == labels)[own_rows].mean()
        assert numbers(found)["pruned", group, "accuracy"] == pytest.approx(right)


def test_networks_that_differ_are_built_each_by_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    table = pd.DataFrame(generator.normal(size=(200, 3)), columns=["age", "hours", "years"])
    table["income"] = np.where(table["age"] > 0, "high", "low")
    table["sex"] = generator.choice(["f", "m"], 200)
    table.to_csv("people.csv", index=False)
    Path("own_nets.py").write_text(
        "from torch import nn\n"
        "def large(shape, classes):\n"
        "    return nn.Sequential(nn.Linear(*shape, 8), nn.ReLU(), nn.Linear(8, classes))\n"
        "def small(shape, classes):\n    return nn.Linear(*shape, classes)\n"
    )
    large = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 2))
    torch.save(large.state_dict(), "dense.pth")
    torch.save(nn.Linear(5, 2).state_dict(), "student.pth")
    command = ["compare", "dense.pth", "student.pth", "--curvature", "none", "--out", "found",
               "--data", "table:people.csv?target=income&group=sex;age&bins:age=0&test=0.5"]  # fmt: skip
    models = ["--model", "own_nets:large", "--model", "student=own_nets:small"]
    done = CliRunner().invoke(app, [*command, *models])
    assert done.exit_code == 0, done.output
    for attribute in ("sex", "age"):
        found = audit.load_results(Path("found") / attribute)
        assert [one["parameters"] for one in found.record["models"]] == [66, 12]
        assert found.record["data"]["attribute"] == attribute
    for wrong, said in (
        (["--model", "own_nets:large"], "are not those of the network"),
        (["--model", "small=own_nets:small"], "expected the name of one of dense, student"),
        ([*models, "--model", "own_nets:small"], "expected one a network"),
    ):
        with pytest.raises(AuditError, match=said):
            CliRunner().invoke(app, [*command, *wrong], catch_exceptions=False)


def test_libraries_are_not_asked_to_download() -> None:
    shape = (3, 32, 32)
    for name in ("torchvision.models:resnet18", "timm.models:resnet18"):
        with pytest.raises(AuditError, match="for weights to download; expected"):
            audit.models.build_model(audit.Architecture(name, shape, 2))
