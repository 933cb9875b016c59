"""`audit import`: weights of another tool are taken over, said to be what they are, or refused."""

from __future__ import annotations

import importlib
import json
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.utils import prune as masks

import audit
from audit.data.grouped import GroupedData
from audit.errors import AuditError
from audit.models import TrainingSettings, load_checkpoint, make_checkpoint, train
from audit.models.checkpoint import Provenance
from audit.models.zoo import Architecture
from audit.study.importing import import_weights
from tests.commands.test_cli import call, refused

CODE = """
from torch import nn

def build(width=16):
    network = nn.Sequential(
        nn.Linear(4, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, 2)
    )
    network[3].bias.requires_grad_(False)
    return network

class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.again, self.head = self.first, nn.Linear(4, 2)

    def forward(self, inputs):
        return self.head(self.again(self.first(inputs).relu()).relu())

def probable():
    return nn.Sequential(build(), nn.Softmax(1))
"""
MODEL = ["--model", "theirs:build"]
SPEC = "table:people.csv?target=income&group=sex&drop=sex&scale=none"
FAST = ["--epochs", "1", "--device", "cpu"]


def built(width: int = 16) -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, 2))


@pytest.fixture(scope="module")
def trained() -> dict[str, Tensor]:
    """The weights of a network that plain PyTorch trained on the table of `theirs`."""
    table = people()
    inputs = torch.tensor(table[list("abcd")].to_numpy(), dtype=torch.float32)
    labels = torch.tensor((table["income"] == "low").to_numpy()).long()
    torch.manual_seed(0)
    network = built()
    optimizer = torch.optim.Adam(network.parameters(), 0.02)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(inputs), labels).backward()
        optimizer.step()
    return network.state_dict()


def people() -> pd.DataFrame:
    generator = np.random.default_rng(0)
    table = pd.DataFrame(generator.normal(size=(600, 4)).round(4), columns=list("abcd"))
    table["sex"] = np.where(np.arange(600) % 3 == 0, "f", "m")
    score = table["a"].where(table["sex"] == "m", table["b"]) + 0.3 * generator.normal(size=600)
    table["income"] = np.where(score > 0, "high", "low")
    return table


@pytest.fixture
def theirs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trained: dict[str, Tensor]
) -> Iterator[Path]:
    """A folder with their code, their table and their weights; the current one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "theirs.py").write_text(CODE, "utf-8")
    people().to_csv("people.csv", index=False)
    torch.save(trained, "weights.pth")
    yield tmp_path
    sys.modules.pop("theirs", None)


def test_from_weights_to_a_mended_network(theirs, monkeypatch, capsys):
    """Import, prune, mitigate, measure and compare, each as the command before proposes it."""
    assert (
        call(monkeypatch, "import", "weights.pth", *MODEL, "--data", SPEC, "--out", "dense.pt") == 0
    )
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "wrote dense.pt: theirs:build, 146 parameters, dense"
    assert said[1].startswith("note: was trained elsewhere, nothing says on which samples, and the")
    assert said[2].startswith("accuracy on the 96 select samples: ")
    assert said[3:] == [
        "next: audit prune dense.pt --rate 0.9 --out pruned.pt --model theirs:build"
    ]
    made = load_checkpoint("dense.pt")
    assert made.provenance.steps == 0
    assert made.frozen == ("3.bias",)
    assert torch.equal(made.state["1.running_var"], torch.load("weights.pth")["1.running_var"])
    for words in (
        ["prune", "dense.pt", "--rate", "0.9", "--out", "pruned.pt", *FAST],
        ["mitigate", "dense.pt", "--rate", "0.9", "--out", "fair.pt", *FAST],
        ["measure", "pruned.pt", "--out", "alone", "--curvature", "none"],
        ["compare", "dense.pt", "pruned.pt", "fair.pt", "--out", "beside", "--curvature", "none"],
    ):
        assert call(monkeypatch, *words, *MODEL) == 0
    for folder in ("alone", "beside"):
        record = json.loads((theirs / folder / "results.json").read_text("utf-8"))
        dense = record["models"][0]
        assert dense["name"] == "dense"
        assert dense["notes"][0] == said[1].removeprefix("note: ")
        # The dense network was trained on nobody knows how many of each group.
        assert record["data"]["trained_elsewhere"] is True
        assert dense["notes"][0] in (theirs / folder / "report.html").read_text("utf-8")


def test_a_declared_split_is_taken_at_its_word(theirs, trained):
    table = people().assign(split=["train"] * 400 + ["select"] * 50 + ["test"] * 150)
    table.to_csv("split.csv", index=False)
    data = audit.load_data("table:split.csv?target=income&group=sex&drop=sex")
    (note, scaled) = import_weights(Path("weights.pth"), "theirs:build", data).provenance.notes
    assert note.endswith("no test sample is what the data say, by the splits that they declare")
    assert scaled.startswith("numbers were standardised by the train samples")


@pytest.mark.parametrize("place", ["bare", "state_dict", "safetensors", "prefix"])
def test_weights_are_found_as_compare_finds_them(theirs, trained, place):
    path = Path("theirs.safetensors" if place == "safetensors" else "theirs.ckpt")
    content: dict[str, Any] = {
        "bare": trained,
        "state_dict": {"state_dict": trained, "epoch": 3},
        "prefix": {"state_dict": {f"model.{name}": value for name, value in trained.items()}},
    }.get(place, trained)
    save_file(content, path) if place == "safetensors" else torch.save(content, path)
    made = import_weights(path, "theirs:build", audit.load_data(SPEC))
    assert all(torch.equal(made.state[name], value) for name, value in trained.items())


def test_one_weight_under_two_names_is_one(theirs):
    sys.modules.pop("theirs", None)
    code = importlib.import_module("theirs")

    torch.manual_seed(0)
    tied = code.Tied()
    save_file({n: v for n, v in tied.state_dict().items() if "again" not in n}, "tied.safetensors")
    made = import_weights(Path("tied.safetensors"), "theirs:Tied", audit.load_data(SPEC))
    again = made.model("theirs:Tied")
    assert again.again is again.first
    assert torch.equal(again.first.weight, tied.first.weight)


def changed(**tensors: Tensor) -> Callable[[dict[str, Tensor]], Any]:
    return lambda state: state | {name.replace("_", "."): one for name, one in tensors.items()}


def pruned(state: dict[str, Tensor]) -> Any:
    network = built()
    network.load_state_dict(state)
    masks.l1_unstructured(network[0], "weight", 0.5)
    return network.state_dict()


@pytest.mark.parametrize(
    ("content", "words", "message"),
    [
        (pruned, (), "pruned already as the dense one: "),
        (lambda own: {"model": own, "ema": {n: 2 * v for n, v in own.items()}}, (), "say which"),
        (
            lambda own: {"model": own, "masks": {"0.weight": torch.arange(64).view(16, 4) % 2}},
            (),
            "that its weights do not have",
        ),
        (lambda own: {n: v for n, v in own.items() if n != "0.bias"}, (), "it lacks '0.bias'"),
        (changed(**{"0_weight": torch.ones(16, 5)}), (), "'0.weight' has shape (16, 5)"),
        (changed(**{"0_bias": torch.full((16,), torch.nan)}), (), "not finite, in '0.bias'"),
        (changed(**{"3_weight": torch.full((2, 16), 3e38)}), (), "logits are not finite"),
        (dict, ("--data", f"{SPEC}&classes=low,high"), "seem not to be in the order of its"),
        (dict, ("--data", SPEC.replace("&drop=sex", "")), "cannot read 64 samples"),
        (dict, ("--outputs", "probabilities"), "were declared probabilities"),
        (dict, ("--model", "theirs:nobody"), "cannot be imported"),
        (dict, ("--state", "ema"), "nothing under 'ema'; leave --state out"),
        (dict, ("--out", "theirs.pth"), "is the network that is read"),
        (dict, ("--data", "table:people.csv"), "needs a target"),
    ],
)
def test_what_is_refused_in_one_line(theirs, monkeypatch, capsys, trained, content, words, message):
    torch.save(content(trained), "theirs.pth")
    before = (theirs / "theirs.pth").read_bytes()
    given = ["theirs.pth", *MODEL, "--data", SPEC, "--out", "dense.pt", *words]
    assert call(monkeypatch, "import", *given) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = [one for one in captured.err.splitlines() if one.startswith("audit: ")]
    assert message in line
    assert not list(theirs.glob("*dense.pt*"))
    assert (theirs / "theirs.pth").read_bytes() == before


def test_probabilities_are_declared_and_travel(theirs, monkeypatch, capsys, trained):
    torch.save({f"0.{name}": value for name, value in trained.items()}, "probable.pth")
    words = ["import", "probable.pth", "--model", "theirs:probable", "--data", SPEC, "--out"]
    assert call(monkeypatch, *words, "dense.pt") == 2
    assert "as probabilities do; declare them with --outputs" in capsys.readouterr().err
    assert call(monkeypatch, *words, "dense.pt", "--outputs", "probabilities") == 0
    assert load_checkpoint("dense.pt").architecture.outputs == "probabilities"


def test_a_network_that_knows_nothing_is_told(theirs, monkeypatch, capsys):
    torch.save(built().state_dict(), "fresh.pth")
    words = ["fresh.pth", *MODEL, "--data", SPEC, "--out", "dense.pt"]
    assert call(monkeypatch, "import", *words) == 0
    (first, *_) = [one for one in capsys.readouterr().out.splitlines() if "note: " in one]
    assert re.match(
        r"note: is right on \d\d\.\d% of the 120 test samples, and answers dealt", first
    )
    assert first.endswith("was it trained, and on inputs and classes made as these are?")


def test_what_is_no_file_of_weights(theirs, monkeypatch, capsys, trained):
    rest = [*MODEL, "--data", SPEC, "--out", "again.pt"]
    folder = theirs / "saved"
    folder.mkdir()
    assert refused(monkeypatch, capsys, "import", folder, *rest).endswith("a file of weights")
    save_file(trained, folder / "model.safetensors")
    line = refused(monkeypatch, capsys, "import", folder, *rest)
    assert f"such as '{folder / 'model.safetensors'}'" in line
    assert call(monkeypatch, "import", folder / "model.safetensors", *rest) == 0
    capsys.readouterr()
    with pytest.raises(AuditError, match="is a checkpoint of this toolkit already"):
        import_weights(Path("again.pt"), "theirs:build", audit.load_data(SPEC))
    # What wants a checkpoint says how to make one, and of which file.
    for name in ("weights.pth", folder / "model.safetensors"):
        for command in (["prune", "--rate", "0.5"], ["mitigate", "--rate", "0.5"]):
            line = refused(monkeypatch, capsys, *command, name, "--out", "x.pt")
            assert f"'audit import {name} --model FUNCTION --data SPEC --out dense.pt'" in line


def test_data_that_are_not_opened_unasked_are_named_again(
    theirs, monkeypatch, capsys, tmp_path_factory
):
    far = tmp_path_factory.mktemp("far") / "people.csv"
    people().to_csv(far, index=False)
    spec = SPEC.replace("people.csv", str(far))
    given = ["--data", spec, *MODEL]
    assert call(monkeypatch, "import", "weights.pth", *given, "--out", "dense.pt") == 0
    told = capsys.readouterr().out.splitlines()[-1]
    assert told.endswith(f"--out pruned.pt --model theirs:build --data '{spec}'")
    words = ["dense.pt", "--rate", "0.9", "--out", "pruned.pt"]
    assert "names data outside of" in refused(monkeypatch, capsys, "prune", *words, *MODEL)
    assert call(monkeypatch, "prune", *words, *given, *FAST) == 0
    told = capsys.readouterr().out.splitlines()[-1]
    assert told == f"next: audit measure pruned.pt --model theirs:build --data '{spec}'"


def test_test_samples_alone_are_measured(theirs, monkeypatch, capsys):
    words = ["weights.pth", *MODEL, "--data", f"{SPEC}&test=1", "--out", "dense.pt"]
    assert call(monkeypatch, "import", *words) == 0
    said = capsys.readouterr().out
    assert "next: audit measure dense.pt --model theirs:build" in said
    assert "those that it was trained on show less harm than new ones" in said


def test_a_fair_network_is_not_measured_on_what_it_was_trained_on(theirs, monkeypatch, capsys):
    """Beside weights of another tool the samples are those that --data says, whoever made it."""
    rest = [*MODEL, "--data", SPEC]
    assert call(monkeypatch, "import", "weights.pth", *rest, "--out", "dense.pt") == 0
    words = ["prune", "dense.pt", "--rate", "0.9", "--out", "pruned.pt", *MODEL, *FAST]
    assert call(monkeypatch, *words) == 0
    capsys.readouterr()
    words = ["compare", "weights.pth", "pruned.pt", *MODEL, "--curvature", "none", "--data"]
    assert call(monkeypatch, *words, SPEC, "--out", "beside") == 0
    capsys.readouterr()
    dense, pruned = json.loads(Path("beside/results.json").read_text("utf-8"))["models"]
    assert "make it look better than it is" in dense["notes"][0]
    assert not any("trained elsewhere" in note for note in pruned["notes"])
    assert pruned["steps"] == load_checkpoint("pruned.pt").provenance.steps > 0
    assert pruned["settings"]["epochs"] == 1
    line = refused(monkeypatch, capsys, *words, f"{SPEC}&seed=1")
    assert "the network was trained on" in line


def test_a_network_that_another_tool_pruned_is_said_to_be_so(theirs, monkeypatch, trained):
    """What it was trained on may hide its harm, beside a dense network that was trained here."""
    rest = ["--data", SPEC, *MODEL, "--device", "cpu", "--epochs", "2"]
    assert call(monkeypatch, "train", *rest, "--out", "dense.pt") == 0
    state = dict(trained)
    state["0.weight"] = state["0.weight"] * (state["0.weight"].abs() > 0.3)
    torch.save(state, "pruned.pth")
    data = audit.load_data(SPEC)
    settings = audit.MeasureSettings(resamples=20, curvature="none", minimum_group_size=5)
    files = Path("dense.pt"), Path("pruned.pth")
    record = audit.compare_files(
        *files, data=SPEC, factory="theirs:build", settings=settings
    ).record
    dense, pruned = record["models"]
    assert dense["notes"] == []
    assert dense["steps"] > 0
    assert "trained_elsewhere" not in record["data"]
    (note,) = [one for one in pruned["notes"] if "trained elsewhere" in one]
    assert "test samples that it was trained on show less harm than new ones" in note
    assert record["data"]["groups"][0]["test"] == int(data.sizes()["test"].iloc[0])


def test_who_was_trained_here_is_known_by_its_steps(two_groups: GroupedData) -> None:
    """Of a dense network made in Python, too, nobody knows the samples that it was trained on."""
    drawn = replace(two_groups, drawn=True)
    model = audit.models.build_model(Architecture("mlp", (4,), 2))
    steps = train(model, drawn, drawn.indices("train"), TrainingSettings(epochs=5))
    settings = audit.MeasureSettings(resamples=20, curvature="none", minimum_group_size=5)
    for own, unknown in ((0, True), (steps, False)):
        made = make_checkpoint(
            model, Architecture("mlp", (4,), 2), drawn, Provenance("dense", steps=own)
        )
        pruned = audit.prune_model(made, drawn, "magnitude", 0.5, TrainingSettings(epochs=1))
        record = audit.compare_models(made, pruned, made, drawn, settings).record
        assert record["data"].get("trained_elsewhere", False) is unknown


STUDY = """
[data]
dataset = "table"
file = "people.csv"
target = "income"
group = "sex"
drop = "sex"
scale = "none"
[model]
name = "theirs:build"
[study]
rates = [0.5, 0.9]
dense = "dense.pt"
methods = ["magnitude", { method = "bilevel", constraint = "no-harm" }]
[pruning]
epochs = 1
[measure]
curvature = "none"
"""


def test_a_study_prunes_a_network_that_is_there(theirs, monkeypatch, capsys):
    rest = [*MODEL, "--data", SPEC]
    assert call(monkeypatch, "import", "weights.pth", *rest, "--out", "dense.pt") == 0
    Path("study.toml").write_text(STUDY, "utf-8")
    words = ["run", "study.toml", "--out", "study", "--workers", "1", "--device", "cpu"]
    assert call(monkeypatch, *words) == 0
    record = json.loads(Path("study/results.json").read_text("utf-8"))
    dense, *others = record["models"]
    given = load_checkpoint("dense.pt")
    for name, value in load_checkpoint("study/models/dense-seed0.pt").state.items():
        assert torch.equal(value, given.state[name])
    assert dense["steps"] == 0
    assert set(given.provenance.notes) <= set(dense["notes"])
    assert record["data"]["trained_elsewhere"] is True
    assert [round(one["sparsity"], 1) for one in others] == [0.5, 0.9] * 2
    # It goes on where it was, and begins anew with another dense network.
    kept = Path("study/models/magnitude-0.9-seed0.pt").stat().st_mtime_ns
    assert call(monkeypatch, *words) == 0
    assert Path("study/models/magnitude-0.9-seed0.pt").stat().st_mtime_ns == kept
    state = {name: 1.01 * value for name, value in torch.load("weights.pth").items()}
    torch.save(state, "other.pth")
    assert call(monkeypatch, "import", "other.pth", *rest, "--out", "dense.pt") == 0
    assert call(monkeypatch, *words) == 0
    assert Path("study/models/magnitude-0.9-seed0.pt").stat().st_mtime_ns != kept


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("rates =", "seeds = [0, 1]\nrates =", "found 2 seeds beside dense; expected one"),
        ('scale = "none"', "", "is made into other inputs than the checkpoint's"),
        ('scale = "none"', 'scale = "none"\nseed = 1', "or with another split of them; expected"),
        ('"theirs:build"', '"mlp"', "is a theirs:build and the study's [model] another"),
        ("dense.pt", "pruned.pt", "pruned already as the dense one"),
        ("dense.pt", "weights.pth", "become one by 'audit import weights.pth"),
        ("dense.pt", "nowhere.pt", "there is no file 'nowhere.pt'"),
    ],
)
def test_a_study_is_of_its_dense_network(theirs, monkeypatch, capsys, old, new, message):
    rest = [*MODEL, "--data", SPEC]
    assert call(monkeypatch, "import", "weights.pth", *rest, "--out", "dense.pt") == 0
    words = ["prune", "dense.pt", "--rate", "0.9", "--out", "pruned.pt", *MODEL, "--epochs", "0"]
    assert call(monkeypatch, *words) == 0
    capsys.readouterr()
    assert old in STUDY
    Path("study.toml").write_text(STUDY.replace(old, new), "utf-8")
    assert call(monkeypatch, "run", "study.toml", "--out", "study") == 2
    assert message in capsys.readouterr().err


def test_inputs_are_those_of_the_checkpoint(theirs, monkeypatch, capsys, trained):
    """Beside weights of another tool, numbers are standardised by a checkpoint's own samples."""
    people().iloc[:300].to_csv("near.csv", index=False)
    people().iloc[:300].assign(a=lambda table: 5 * table["a"] + 3).to_csv("far.csv", index=False)
    near, far = (
        audit.load_data(f"table:{name}.csv?target=income&group=sex&drop=sex")
        for name in ("near", "far")
    )
    torch.save(trained, "pruned.pth")
    for name, own in (("near", near), ("far", far)):
        architecture = Architecture("theirs:build", (4,), 2)
        made = make_checkpoint(loaded(trained), architecture, own, Provenance("dense"))
        audit.save_checkpoint(made, f"{name}.pt")
    settings = audit.MeasureSettings(resamples=20, curvature="none", minimum_group_size=5)
    fresh = people().iloc[300:].assign(split="test")
    fresh.to_csv("fresh.csv", index=False)
    given = "table:fresh.csv?target=income&group=sex&drop=sex"
    files = [Path("near.pt"), Path("pruned.pth")]
    found = audit.compare_files(files[0], files[1], None, given, "theirs:build", settings)
    table = found.groups[found.groups["metric"] == "accuracy"]
    inputs = near.preparation
    frame = fresh[["a", "b", "c", "d"]]
    scaled = torch.tensor(
        np.stack([(frame[one.name] - one.mean) / one.spread for one in inputs], 1),
        dtype=torch.float32,
    )
    answers = loaded(trained).eval()(scaled).argmax(1).numpy()
    right = answers == (fresh["income"] == "low").to_numpy()
    for group, value in zip(table["group"][:2], table["value"][:2], strict=True):
        assert value == pytest.approx(right[(fresh["sex"] == group).to_numpy()].mean())
    with pytest.raises(AuditError, match="is made into other inputs than the checkpoint's"):
        audit.compare_files(files[0], Path("far.pt"), files[1], given, "theirs:build", settings)


def loaded(state: dict[str, Tensor]) -> nn.Module:
    network = built()
    network.load_state_dict(state)
    return network
