"""What is told of one network by its own samples alone, made with it and kept with its measures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pandas as pd

from audit.examine.measured import ModelMeasures
from audit.findings.boundary import boundary_table
from audit.findings.faithfulness import faithfulness_table
from audit.findings.finding import records

Made = Callable[[pd.DataFrame, pd.DataFrame], pd.DataFrame]
TABLES: dict[str, Made] = {"boundary": boundary_table, "faithfulness": faithfulness_table}
"""Of samples and groups, whose rows of a network follow from that network alone."""


def with_tables(measures: ModelMeasures, names: Sequence[str]) -> ModelMeasures:
    """The measures with their network's rows of TABLES, unless they have them.

    names   of the groups, in declared order

    Their bootstraps are by far the most that a study of many networks has to compute: made with
    each network they are spread over the workers, and done once.
    """
    if set(TABLES) <= set(measures.tables):
        return measures
    order = pd.Categorical(measures.groups["group"], categories=list(names), ordered=True)
    groups = measures.groups.assign(group=order)
    made = {name: records(make(measures.samples, groups)) for name, make in TABLES.items()}
    return replace(measures, tables=measures.tables | made)
