"""The same networks measured, pruned and compared by groups that they were not made with."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from audit.data import load_data
from audit.errors import AuditError
from audit.examine.settings import MeasureSettings
from audit.models import TrainingSettings, parent_of, save_checkpoint
from audit.study.checkpoints import compare_files, data_of, measure_files
from audit.study.making import prune_model, train_model

SETTINGS = MeasureSettings(curvature="none", resamples=100)
SPEC = "table:{}?target=y&group={}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dense network and one pruned by groups of sex, another pruned from it by age."""
    folder = tmp_path_factory.mktemp("groups")
    generator = np.random.default_rng(0)
    x = generator.normal(size=(900, 3))
    table = pd.DataFrame(x, columns=["a", "b", "c"]).assign(
        y=np.where(x[:, 0] + 0.3 * x[:, 1] > 0, "yes", "no"),
        sex=generator.choice(["f", "m"], 900),
        age=generator.choice(["old", "young", "middle"], 900),
    )
    table.to_csv(folder / "t.csv", index=False)
    by_sex = load_data(SPEC.format(folder / "t.csv", "sex"))
    dense = train_model(by_sex, "mlp", TrainingSettings(epochs=3), {"width": 8})
    save_checkpoint(dense, folder / "dense.pt")
    parent = parent_of(folder / "dense.pt", folder / "sex.pt")
    steps = TrainingSettings(epochs=1)
    save_checkpoint(prune_model(dense, by_sex, "magnitude", 0.8, steps, parent), folder / "sex.pt")
    by_age = data_of(dense, folder / "dense.pt", SPEC.format(folder / "t.csv", "age"))
    own = prune_model(dense, by_age, "random", 0.8, steps, parent)
    assert (own.attribute, own.group_names) == ("age", ("middle", "old", "young"))
    save_checkpoint(own, folder / "age.pt")
    return folder


def test_a_network_is_measured_by_the_groups_that_are_asked_for(folder: Path) -> None:
    whole = measure_files(folder / "sex.pt", settings=SETTINGS)
    other = measure_files(
        folder / "sex.pt", data=SPEC.format(folder / "t.csv", "age"), settings=SETTINGS
    )
    assert list(other.groups["group"].cat.categories) == ["middle", "old", "young"]
    note = "'sex.pt' was made with groups by sex, and not by these."
    assert note in other.record["data"]["notes"]
    assert note not in whole.record["data"]["notes"]
    # The very same test samples, divided otherwise.
    one, two = (
        found.samples.loc[found.samples["model"] == "sex"].set_index("sample")["prediction"]
        for found in (whole, other)
    )
    pd.testing.assert_series_equal(one.sort_index(), two.sort_index(), check_index_type=False)


def test_networks_made_with_different_groups_are_compared_by_those_named(folder: Path) -> None:
    with pytest.raises(AuditError, match="say by --data SPEC which to measure"):
        compare_files(folder / "sex.pt", folder / "age.pt", settings=SETTINGS)
    results = compare_files(
        folder / "sex.pt",
        folder / "age.pt",
        data=SPEC.format(folder / "t.csv", "sex"),
        settings=SETTINGS,
    )
    assert list(results.groups["group"].cat.categories) == ["f", "m"]


def test_other_groups_of_one_attribute_are_other_data(folder: Path, tmp_path: Path) -> None:
    table = pd.read_csv(folder / "t.csv")
    table["sex"] = table["sex"].where(table.index % 3 > 0, "x")
    table.to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(AuditError, match="300 have changed"):
        measure_files(
            folder / "sex.pt", data=SPEC.format(tmp_path / "t.csv", "sex"), settings=SETTINGS
        )
