"""The worked examples of docs/extending.md: each file is written as it stands there, and named."""

import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from audit.cli import main
from audit.data import load_data
from audit.errors import AuditError
from audit.examine.measuring import measure_model
from audit.examine.settings import MeasureSettings
from audit.findings.results import Results, load_results
from audit.findings.thresholds import Threshold, judge
from audit.mitigate.constraints import make_constraints
from audit.mitigate.statistics import group_statistics
from audit.models.checkpoint import load_checkpoint, save_checkpoint
from audit.models.training import TrainingSettings
from audit.prune.mask import prunable_weights
from audit.report.html import render
from audit.study.checkpoints import data_of
from audit.study.gather import gather
from audit.study.making import prune_model, train_model
from audit.study.settings import Method, settings_from
from tests.examine.test_measuring import checkpoint_of

TEXT = (Path(__file__).parent.parent / "docs" / "extending.md").read_text("utf-8")
FILES = dict(re.findall(r"```python\n# (\w+)\.py\n(.*?)```", TEXT, re.DOTALL))
COMMANDS = re.findall(r"```sh\n(.*?)\n```", TEXT, re.DOTALL)


@pytest.fixture(autouse=True)
def _written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The examples as files of the current folder, imported anew."""
    for name, code in FILES.items():
        (tmp_path / f"{name}.py").write_text(code, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    for name in FILES:
        sys.modules.pop(name, None)


def quick() -> MeasureSettings:
    return MeasureSettings(
        resamples=20,
        minimum_group_size=5,
        measures=("entropy:measure",),
        curvature="none",
        without=("input_distance", "taylor"),
    )


def measured(data) -> Results:
    dense = train_model(data, "mlp", TrainingSettings(epochs=5), {"width": 6})
    pruned = prune_model(dense, data, "magnitude", 0.5, TrainingSettings(epochs=0))
    measures = [
        measure_model(dense, None, data, quick(), "dense"),
        measure_model(pruned, dense, data, quick(), "pruned"),
    ]
    return gather(measures, data, {}, compared=("dense", "pruned"))


def test_every_door_has_its_example():
    assert set(FILES) == {"entropy", "centred", "least", "weather"}
    assert len(COMMANDS) == 4


def test_a_measure_is_measured_kept_and_shown(two_groups, tmp_path):
    results = measured(two_groups)
    rows = results.groups[results.groups["metric"] == "prediction_entropy"]
    samples = results.samples.groupby(["model", "group"])["prediction_entropy"].mean()
    for row in rows.to_dict("records"):
        assert 0 < row["value"] < 0.6932  # the entropy of two classes is at most log 2
        assert row["value"] == pytest.approx(samples[row["model"], row["group"]])
        assert row["ci_low"] < row["value"] < row["ci_high"]
    results.save(tmp_path / "kept")
    del sys.modules["entropy"]
    page = render(load_results(tmp_path / "kept"))
    assert "entropy of the prediction (nats)" in page
    assert "entropy" not in sys.modules  # a page is drawn without the code that measured
    (judged,) = judge(results, [Threshold.parse("max prediction_entropy > 0.7")])
    assert not judged.certain


def test_a_comparison_pairs_a_measure_of_ones_own_by_samples(two_groups):
    table = measured(two_groups).record["tables"]["comparison"]
    (many,) = (
        row for row in table if row["metric"] == "prediction_entropy" and row["group"] == "many"
    )
    assert many["difference_ci_low"] < many["difference"] < many["difference_ci_high"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("entropy:ENTROPY", "is no measure"),
        ("entropy:missing", "cannot be imported"),
        ("nowhere:measure", "cannot be imported"),
    ],
)
def test_what_is_no_measure_is_refused_before_anything_is_measured(name, said):
    with pytest.raises(AuditError, match=said):
        MeasureSettings(measures=(name,))


def test_a_criterion_chooses_what_stays(two_groups):
    dense = checkpoint_of(two_groups)
    pruned = prune_model(dense, two_groups, "centred:centred", 0.5, TrainingSettings(epochs=0))
    weights = prunable_weights(dense.model())
    assert pruned.mask is not None
    far = {name: (one - one.mean()).abs() for name, one in weights.items()}
    kept = torch.cat([far[name][pruned.mask[name]] for name in far])
    gone = torch.cat([far[name][~pruned.mask[name]] for name in far])
    assert kept.min() >= gone.max()
    assert len(gone) == len(kept)
    assert pruned.provenance.method == "centred:centred"
    assert Method("centred:centred").label == "centred-centred"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("centred:missing", "cannot be imported"),
        ("weather:__name__", "is no criterion"),
        ("centered", "expected one of magnitude"),
    ],
)
def test_what_is_no_criterion_is_refused_before_anything_is_pruned(name, said):
    with pytest.raises(AuditError, match=said):
        Method(name)


def test_a_criterion_that_chooses_no_mask_is_told_so(two_groups, tmp_path):
    (tmp_path / "none.py").write_text("def nothing(*_):\n    return None, 0, ()\n", "utf-8")
    with pytest.raises(AuditError, match="chose a NoneType; expected a Mask"):
        prune_model(checkpoint_of(two_groups), two_groups, "none:nothing", 0.5)
    sys.modules.pop("none")


def test_the_commands_of_the_examples_are_understood(monkeypatch, capsys):
    """Every command runs, or stops at the checkpoint that is not there and nothing before."""
    for command in COMMANDS:
        train = command.startswith("audit train")
        words = [*shlex.split(command), *(["--epochs", "1"] if train else [])]
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as stopped:
            main()
        said = capsys.readouterr().err
        assert stopped.value.code == (0 if train else 2), said
        assert train or re.search(r"'(dense|pruned)\.pt'", said)


def test_a_study_names_them_all(tmp_path):
    settings = settings_from(
        {
            "data": {"dataset": "weather:stations", "days": 60},
            "model": {"name": "mlp"},
            "study": {
                "methods": [
                    "centred:centred",
                    {"method": "bilevel", "constraint": "least:AccuracyFloor=0.02"},
                ],
                "rates": [0.5],
            },
            "measure": {"measures": ["entropy:measure"]},
        }
    )
    assert [method.label for method in settings.methods] == [
        "centred-centred", "bilevel-least:AccuracyFloor=0.02",
    ]  # fmt: skip
    assert settings.measure.measures == ("entropy:measure",)


def test_a_constraint_holds_what_it_says():
    (constraint,) = make_constraints("least:AccuracyFloor=0.1")
    logits = torch.tensor([[2.0, 0.0], [2.0, 0.0], [0.0, 2.0], [2.0, 0.0]])
    labels, groups = torch.zeros(4, dtype=torch.int64), torch.tensor([0, 0, 1, 1])
    counted = group_statistics(logits, labels, groups, logits, 2, soft=False)
    assert constraint.violation(counted).tolist() == pytest.approx([-0.35, 0.15])


def test_a_loader_takes_its_arguments_by_their_types():
    data = load_data("weather:stations?days=200&seed=3&test=0.5")
    assert len(data.labels) == 200
    assert data.group_names == ("mountain", "valley")
    assert dict(data.spec) == {
        "dataset": "weather:stations", "days": 200, "seed": 3, "test": 0.5,
    }  # fmt: skip
    again = load_data(data.spec)
    assert torch.equal(again.inputs, data.inputs)
    assert torch.equal(again.indices("test"), data.indices("test"))


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("weather:stations?days=many", "expected int"),
        ("weather:stations?nights=3", "has no setting 'nights'"),
        ("weather:nothing", "found dataset 'weather'; expected one of digits"),
        ("wether:FILE.csv", "found dataset 'wether'; expected one of digits"),
        ("weather:np", "is no loader"),
    ],
)
def test_what_a_loader_does_not_take_is_refused(spec, said):
    with pytest.raises(AuditError, match=re.escape(said)):
        load_data(spec)


def test_a_checkpoint_runs_no_loader_that_was_not_named(tmp_path):
    data = load_data("weather:stations?days=120")
    made = train_model(data, "mlp", TrainingSettings(epochs=1, batch_size=64), {"width": 4})
    path = tmp_path / "dense.pt"
    save_checkpoint(made, path)
    sys.modules.pop("weather")
    with pytest.raises(AuditError, match="runs no code that you did not name"):
        data_of(load_checkpoint(path), path)
    assert "weather" not in sys.modules
    assert len(data_of(load_checkpoint(path), path, "weather:stations?days=120").labels) == 120


OWN_LOADERS = """
import numpy as np
from torch.utils.data import DataLoader

import audit

numbers = np.random.default_rng(0).standard_normal((60, 3)).astype("float32")
labels, groups = np.arange(60) % 2, np.array(["a", "b", "b"] * 20)


def plain():
    return audit.from_arrays(numbers, labels, groups)


def items():
    return [(numbers[row], int(labels[row]), groups[row]) for row in range(60)]


def loader():
    return DataLoader(items(), batch_size=7)


def needs(number: int):
    return plain()


def three():
    return numbers, labels, groups


def strange_split():
    return audit.from_arrays(numbers, labels, groups, split=["test"] * 60)
"""


@pytest.fixture
def own_loaders(tmp_path, monkeypatch):
    (tmp_path / "own_loaders.py").write_text(OWN_LOADERS, "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("own_loaders", None)


@pytest.mark.parametrize(("function", "tested"), [("plain", 12), ("items", 60), ("loader", 60)])
def test_a_loader_need_not_take_a_split_nor_make_the_data_itself(own_loaders, function, tested):
    data = load_data(f"own_loaders:{function}")
    assert (len(data), len(data.indices("test"))) == (60, tested)
    assert data.group_names == ("a", "b")
    assert data.input_shape == (3,)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("plain?test=0.5", "found test for the loader 'own_loaders:plain', which divides its"),
        ("needs", "takes number: missing a required argument: 'number'; give its arguments as in"),
        ("three", "the loader 'own_loaders:three': found data of type tuple; expected GroupedData"),
        ("strange_split", "found split of type list; expected SplitSettings"),
    ],
)
def test_a_loader_that_gives_no_data_is_told_why(own_loaders, spec, said):
    with pytest.raises(AuditError, match=re.escape(said)):
        load_data(f"own_loaders:{spec}")
