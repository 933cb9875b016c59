"""The samples of pruned networks beside what their dense networks said of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from audit.columns import DENSE_COLUMNS


def beside_dense(samples: pd.DataFrame, groups: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """The name and samples of every pruned network that was measured beside a dense one, in order.

    None where the samples do not hold what a dense network said (DENSE_COLUMNS).
    """
    if not set(DENSE_COLUMNS) <= set(samples):
        return
    dense = set(groups.loc[groups["method"] == "dense", "model"])
    for name, own in samples.groupby("model", sort=False, observed=True):
        if name not in dense and own["dense_prediction"].notna().all():
            yield str(name), own


def group_codes(samples: pd.DataFrame, names: Sequence[str]) -> NDArray[np.int64]:
    """The position of each sample's group among the declared ones."""
    found = pd.Index(names).get_indexer(pd.Index(samples["group"].astype(str)))
    return np.asarray(found, dtype=np.int64)


def group_names(groups: pd.DataFrame) -> list[str]:
    """The groups in declared order."""
    return [str(name) for name in groups["group"].cat.categories]


def group_flags(groups: pd.DataFrame, model: str) -> list[str]:
    """The flag of every group under a model, in declared order: "", "small" or "absent"."""
    own = groups[groups["model"] == model].astype({"group": str}).drop_duplicates("group")
    flags = own.set_index("group")["flag"]
    return [str(flags.get(name, "absent")) for name in group_names(groups)]
