"""Causes over groups: what the dense network and its training have to do with the harm (J8)."""

import numpy as np
import pandas as pd

from audit.findings.causes import causes_table
from audit.findings.outcomes import is_dense

NAMES = ("a", "b", "c", "d", "e")
MODELS = (
    {"name": "dense", "method": "dense", "rate": 0.0, "seed": 0},
    {"name": "pruned", "method": "magnitude", "rate": 0.9, "seed": 0},
)
TRAINED = {"a": 500, "b": 400, "c": 300, "d": 200, "e": 100}


def table() -> pd.DataFrame:
    rows = [
        {"model": model["name"], "group": name, "metric": metric, "value": value, "flag": ""}
        for model in MODELS
        for place, name in enumerate(NAMES)
        for metric, value in (("excess_risk", 0.1 * place), ("gradient_norm", 2.0 - place))
    ]
    found = pd.DataFrame(rows)
    found["group"] = pd.Categorical(found["group"], list(NAMES), ordered=True)
    return found


def sizes(trained: dict[str, int] | None) -> pd.DataFrame:
    found = causes_table(table(), MODELS, trained)
    return found[found["cause"] == "group_size"]


def test_group_size_is_that_of_training() -> None:
    (row,) = sizes(TRAINED).to_dict("records")
    assert np.isclose(row["rho"], -1.0)
    assert row["n"] == 5


def test_a_group_without_training_samples_is_of_unknown_size_and_not_of_none() -> None:
    (row,) = sizes(TRAINED | {"a": 0}).to_dict("records")
    # As a zero it would be the smallest group with the least harm.
    assert np.isclose(row["rho"], -1.0)
    assert row["n"] == 4


def test_without_training_samples_group_size_is_no_cause() -> None:
    for unknown in (None, {}, dict.fromkeys(NAMES, 0), dict.fromkeys(NAMES, 0) | {"a": 9}):
        assert sizes(unknown).empty


def test_a_dense_network_is_what_was_measured_so_and_only_else_what_it_is_called() -> None:
    titled = {"name": "original", "method": "original", "rate": 0.0}
    assert is_dense(titled | {"dense": True})
    assert not is_dense({"method": "dense", "rate": 0.0, "dense": False})
    assert is_dense({"method": "dense", "rate": 0.0})
    assert not is_dense({"method": "dense", "rate": 0.5})
    found = causes_table(table(), [MODELS[0] | {"method": "original", "dense": True}, MODELS[1]])
    assert set(found["model"]) == {"pruned"}
    assert np.isclose(found.set_index("cause").loc["gradient_norm", "rho"], -1.0)
