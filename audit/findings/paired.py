"""The samples of pruned networks beside what their dense networks said of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from audit.columns import DENSE_COLUMNS
from audit.findings.answers import Answers


def beside_dense(
    samples: pd.DataFrame | Answers, groups: pd.DataFrame
) -> Iterator[tuple[str, pd.DataFrame]]:
    """The name and samples of every pruned network that was measured beside a dense one, in order.

    None where the samples do not hold what a dense network said (DENSE_COLUMNS). A network without
    a zero among its weights that says of every sample what its dense one says is that one, whatever
    either is called.
    """
    answers = Answers.of(samples)
    if not set(DENSE_COLUMNS) <= set(answers.columns):
        return
    others = set(groups.loc[groups["sparsity"] != 0, "model"]) if "sparsity" in groups else set()
    for name, own in answers.tables():
        known = "dense_prediction" in own and own["dense_prediction"].notna().all()
        if known and (name in others or not _is_its_own(own)):
            yield name, own


def _is_its_own(own: pd.DataFrame) -> bool:
    """Whether a network's answers are those of its dense one, to the last digit of the loss."""
    pairs = (("prediction", "dense_prediction"), ("loss", "dense_loss"))
    return all((own[one] == own[other]).all() for one, other in pairs)


def units_of(samples: pd.DataFrame) -> NDArray[np.int64] | None:
    """The unit of each sample, numbered, where samples of one unit are several; else None."""
    if "unit" not in samples or samples["unit"].isna().any():
        return None
    return np.asarray(pd.factorize(samples["unit"])[0], dtype=np.int64)


def group_codes(samples: pd.DataFrame, names: Sequence[str]) -> NDArray[np.int64]:
    """The position of each sample's group among the declared ones."""
    found = pd.Index(names).get_indexer(pd.Index(samples["group"].astype(str)))
    return np.asarray(found, dtype=np.int64)


def group_names(groups: pd.DataFrame) -> list[str]:
    """The groups in declared order."""
    return [str(name) for name in groups["group"].cat.categories]


def group_flags(groups: pd.DataFrame) -> dict[str, list[str]]:
    """By network, the flag of every group in declared order: "", "small" or "absent"."""
    names = group_names(groups)
    rows = groups[["model", "group", "flag"]].astype(str).drop_duplicates(["model", "group"])
    flags = rows.pivot(index="model", columns="group", values="flag").reindex(columns=names)
    table = flags.fillna("absent").to_dict("index")
    return {str(model): list(own.values()) for model, own in table.items()}
