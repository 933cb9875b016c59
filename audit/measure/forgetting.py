"""Samples that pruning breaks: flips of one pair, and exemplars over populations (M13)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from audit.errors import AuditError

Array = NDArray[np.float64]
Codes = NDArray[np.int64]


@dataclass(frozen=True)
class Exemplars:
    """Which samples a population of pruned networks sees otherwise than one of dense ones (M13).

    exemplar                 bool [n]: the modal labels differ (Hooker et al.)
    dense_mode, pruned_mode  int64 [n]: the modal label of each population
    tie                      bool [n]: one of the modes is shared by several labels; the lowest
                             counts, so that this sample could have been read otherwise
    """

    exemplar: NDArray[np.bool_]
    dense_mode: Codes
    pruned_mode: Codes
    tie: NDArray[np.bool_]


def pruning_identified_exemplars(dense: Codes, pruned: Codes) -> Exemplars:
    """The samples whose modal label over pruned networks is not that over dense ones (M13).

    dense [K, n] and pruned [K', n]: the predictions of each network on the same samples. With one
    network a side these are the changed predictions. Raises AuditError where the samples differ.

    >>> dense = np.array([[0, 1], [0, 1], [1, 1]])
    >>> pruning_identified_exemplars(dense, np.array([[1, 1]])).exemplar.tolist()
    [True, False]
    """
    if dense.ndim != 2 or pruned.ndim != 2 or dense.shape[1] != pruned.shape[1]:
        raise AuditError(
            f"found predictions of shapes {dense.shape} and {pruned.shape}; expected [networks, "
            "samples] for the same samples"
        )
    classes = int(max(dense.max(initial=0), pruned.max(initial=0))) + 1
    (one, first), (other, second) = _modes(dense, classes), _modes(pruned, classes)
    return Exemplars(one != other, one, other, first | second)


def _modes(predictions: Codes, classes: int) -> tuple[Codes, NDArray[np.bool_]]:
    """Each sample's most frequent label, the lowest of several, and whether there are several."""
    votes = np.stack([(predictions == label).sum(0) for label in range(classes)])
    return votes.argmax(0), (votes == votes.max(0)).sum(0) > 1


def over_representation(exemplar: NDArray[np.bool_], groups: Codes, number: int) -> Array:
    """The share of exemplars in each group over the share among all, [G]; 1 is as expected.

    NaN for a group without samples, and where there is no exemplar at all.
    """
    counts = np.bincount(groups, minlength=number)
    found = np.bincount(groups, weights=exemplar, minlength=number)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(found / counts / exemplar.mean())
