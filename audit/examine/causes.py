"""Why a group fares so: gradient, curvature, distances, Taylor terms and theory, group by group.

Each of these needs more of a network than its outputs. One that fails, as where PyTorch has no
second derivative of a layer, leaves a row that says why, and takes no other with it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import nn

from audit.errors import AuditError
from audit.examine.estimate import tell_curvature
from audit.examine.found import (
    Found,
    group_row,
    layer_row,
    mean_found,
    qualified,
    together,
)
from audit.examine.measure import Measure, own_measures
from audit.examine.subject import Part, Subject, part_of
from audit.measure.attribution import Attribution, loss_bound, one_shot, taylor_attribution
from audit.measure.boundary import deepfool_distance, input_distance
from audit.measure.curvature import (
    CurvatureSettings,
    Eigenvalue,
    curvature_samples,
    layer_extremes,
    outer_eigenvalues,
    pyhessian_max_eigenvalue,
    top_eigenvalues,
)
from audit.measure.density import spectral_density
from audit.measure.gradient import CUT_OFF, gradient_norm, mean_gradient
from audit.measure.theory import logit_slopes
from audit.metrics import TAYLOR, of_definition

SLOPES = {
    "logit_jacobian_norm": "jacobian_norm",
    "gradient_norm_bound": "gradient_bound",
    "closeness_gradient_term": "closeness_term",
    "prediction_error_term": "error_term",
}
"""Metrics of proposition 2 and theorem 2, and the parts of LogitSlopes that they are means of."""
CUT_OFF_SAID = "does not require grad and does not have a grad_fn"
LONGEST_REASON = 200


def causes(subject: Subject) -> Found:
    """All measures of the whole network that are asked for, group by group."""
    settings = subject.settings
    measures = MEASURES | own_measures(settings.measures)
    if "hessian" not in settings.without and settings.curvature == "lanczos":
        tell_curvature(subject)
    return together(
        _of_group(subject, group, name, measure)
        for group in range(len(subject.counts))
        for name, measure in measures.items()
        if name not in settings.without and measure.wanted(subject)
    )


def _of_group(subject: Subject, group: int, name: str, measure: Measure) -> Found:
    metrics = measure.metrics(subject)
    if subject.counts[group] == 0:
        return _without_value(subject, group, metrics)
    able = subject.abilities
    obstacle = able.coordinates if name == "taylor" else able.gradients
    if obstacle is not None:
        return _impossible(subject, group, name, metrics, obstacle)
    return attempted(
        subject, group, name, metrics, partial(measure.find, subject, part_of(subject, group))
    )


def attempted(
    subject: Subject, group: int, name: str, metrics: Sequence[str], find: Callable[[], Found]
) -> Found:
    """What is found; or rows of these metrics that say why nothing could be."""
    try:
        return find()
    except (AuditError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:LONGEST_REASON] or type(error).__name__
        reason = CUT_OFF if CUT_OFF_SAID in reason else reason
        return _impossible(subject, group, name, metrics, reason)


def _impossible(
    subject: Subject, group: int, name: str, metrics: Sequence[str], reason: str
) -> Found:
    said = f"{name.replace('_', ' ')} could not be measured: {reason}"
    return _without_value(subject, group, metrics, reason) + Found(notes=(said,))


def _without_value(
    subject: Subject, group: int, metrics: Sequence[str], note: str | None = None
) -> Found:
    rows = [group_row(subject, group, metric, 0, float("nan")) for metric in metrics]
    return Found(rows=tuple(row if note is None else row | {"note": note} for row in rows))


def gradient_found(subject: Subject, part: Part) -> Found:
    """‖g_a‖ in the network's own coordinates: for a pruned one the surviving weights (M5)."""
    gradient = mean_gradient(subject.network, part.batches, subject.hessian_mask())
    slopes = gradient_norm(subject.network, part.batches, gradient)
    return mean_found(subject, part, "gradient_norm", slopes.samples, slopes.value)


def distance_found(subject: Subject, part: Part) -> Found:
    """The mean first-order distance to the decision boundary in input space (M7)."""
    distance = input_distance(subject.network, part.batches)
    return mean_found(subject, part, "input_distance", distance)


def deepfool_found(subject: Subject, part: Part) -> Found:
    """The mean iterated distance (M7), of the samples whose prediction it could change."""
    far = deepfool_distance(subject.network, part.batches)
    reached = torch.where(far.converged, far.distance, torch.nan)
    return mean_found(subject, part, "deepfool_distance", reached)


def hessian_found(subject: Subject, part: Part) -> Found:
    """The ends of the Hessian's spectrum, and the largest eigenvalues that are asked for (M6)."""
    part = part_of(subject, part.group, subject.settings.curvature_samples)
    return together(
        _eigenvalue_found(subject, part, metric, eigenvalue)
        for metric, eigenvalue in _eigenvalues(subject, part)
    )


def _eigenvalue_found(subject: Subject, part: Part, metric: str, eigenvalue: Eigenvalue) -> Found:
    """One eigenvalue; what is only a bound of it has no interval of its own."""
    more = qualified(eigenvalue) | {"products": eigenvalue.products}
    if not eigenvalue.converged:
        row = group_row(subject, part.group, metric, eigenvalue.n, eigenvalue.value)
        return Found(rows=(row | more,))
    samples = curvature_samples(subject.network, part.batches, eigenvalue)
    return mean_found(subject, part, metric, samples, eigenvalue.value, more)


def _eigenvalues(subject: Subject, part: Part) -> list[tuple[str, Eigenvalue]]:
    network, mask, number = (
        subject.network,
        subject.hessian_mask(),
        subject.settings.top_eigenvalues,
    )
    if subject.settings.curvature == "pyhessian":
        return [("hessian_max_eigenvalue", pyhessian_max_eigenvalue(network, part.batches, mask))]
    largest, smallest = outer_eigenvalues(network, part.batches, mask, _lanczos(subject), number)
    ends = [("hessian_max_eigenvalue", largest[0]), ("hessian_min_eigenvalue", smallest)]
    return ends + [(f"hessian_eigenvalue_{k + 1}", one) for k, one in enumerate(largest) if k]


def _hessian_metrics(subject: Subject) -> list[str]:
    if subject.settings.curvature == "pyhessian":
        return ["hessian_max_eigenvalue"]
    more = range(2, subject.settings.top_eigenvalues + 1)
    ends = ["hessian_max_eigenvalue", "hessian_min_eigenvalue"]
    return ends + [f"hessian_eigenvalue_{k}" for k in more]


def layer_curvature_found(subject: Subject, part: Part) -> Found:
    """Both ends of the spectrum of every layer's block (M6)."""
    part = part_of(subject, part.group, subject.settings.curvature_samples)
    blocks = layer_extremes(
        subject.network,
        part.batches,
        subject.hessian_mask(),
        replace(_lanczos(subject), smallest=True),
    )
    ends = ("hessian_max_eigenvalue", "hessian_min_eigenvalue")
    return Found(
        layers=tuple(
            layer_row(subject, part.group, layer, metric, eigenvalue)
            for layer, pair in blocks.items()
            for metric, eigenvalue in zip(ends, pair, strict=True)
        )
    )


def density_found(subject: Subject, part: Part) -> Found:
    """The density of the whole spectrum (M6)."""
    part = part_of(subject, part.group, subject.settings.curvature_samples)
    density = spectral_density(
        subject.network, part.batches, subject.hessian_mask(), seed=subject.settings.seed
    )
    spectrum = {
        "nodes": density.nodes.tolist(),
        "weights": density.weights.tolist(),
        "dimension": density.dimension,
        "products": density.products,
        "space": density.space,
        "n": density.n,
    }
    return Found(spectra={subject.data.group_names[part.group]: spectrum})


def taylor_found(subject: Subject, part: Part) -> Found:
    """Excess risk as slope, curvature, running statistics and the rest (M9); the bound (M8)."""
    dense = _dense(subject)
    found = taylor_attribution(dense, subject.network, part.batches)
    terms = Found(
        rows=(
            group_row(subject, part.group, "taylor_buffers", found.n, found.buffers),
            group_row(subject, part.group, "taylor_remainder", found.n, found.remainder),
        ),
        layers=tuple(
            layer_row(subject, part.group, layer, metric, value, found.n)
            for layer, *pair in zip(
                found.layers, found.slope.tolist(), found.curvature.tolist(), strict=True
            )
            for metric, value in zip(("taylor_slope", "taylor_curvature"), pair, strict=True)
        ),
    )
    made = (
        mean_found(subject, part, "taylor_slope", found.slope_samples, found.total_slope)
        + mean_found(
            subject, part, "taylor_curvature", found.curvature_samples, found.total_curvature
        )
        + terms
    )
    if not subject.settings.theory:
        return made
    bound = partial(_bound_found, subject, part, found)
    return made + attempted(subject, part.group, "loss_bound", ("loss_bound",), bound)


def _bound_found(subject: Subject, part: Part, attribution: Attribution) -> Found:
    """Theorem 1's bound (M8), on the safe side of λ_max."""
    dense = _dense(subject)
    (largest,) = top_eigenvalues(dense, part.batches, settings=_lanczos(subject))
    bound = loss_bound(largest.value + largest.error, attribution, one_shot(dense, subject.network))
    if not math.isfinite(bound.value):
        raise AuditError("λ_max of the dense network has no upper bound; allow more products")
    row = group_row(subject, part.group, "loss_bound", attribution.n, bound.value)
    return Found(rows=(row,))


def _taylor_metrics(subject: Subject) -> list[str]:
    return [*of_definition(TAYLOR), *(["loss_bound"] * subject.settings.theory)]


def slopes_found(subject: Subject, part: Part) -> Found:
    """Proposition 2's bound and theorem 2's terms (M11, M12)."""
    found = logit_slopes(subject.network, part.batches)
    return together(
        mean_found(subject, part, metric, getattr(found, column))
        for metric, column in SLOPES.items()
    )


def _dense(subject: Subject) -> nn.Module:
    if subject.dense is None:
        raise AuditError("there is no dense network in the same coordinates")
    return subject.dense


def _lanczos(subject: Subject) -> CurvatureSettings:
    return CurvatureSettings(
        smallest=subject.settings.smallest_eigenvalue,
        max_products=subject.settings.max_products,
        seed=subject.settings.seed,
    )


MEASURES = {
    "gradient_norm": Measure(gradient_found, lambda _: ["gradient_norm"]),
    "input_distance": Measure(distance_found, lambda _: ["input_distance"]),
    "deepfool": Measure(
        deepfool_found, lambda _: ["deepfool_distance"], lambda subject: subject.settings.deepfool
    ),
    "hessian": Measure(
        hessian_found, _hessian_metrics, lambda subject: subject.settings.curvature != "none"
    ),
    "layer_curvature": Measure(
        layer_curvature_found, lambda _: (), lambda subject: subject.settings.layer_curvature
    ),
    "spectral_density": Measure(
        density_found, lambda _: (), lambda subject: subject.settings.spectral_density
    ),
    "taylor": Measure(taylor_found, _taylor_metrics, lambda subject: subject.dense is not None),
    "logit_slopes": Measure(
        slopes_found, lambda _: list(SLOPES), lambda subject: subject.settings.theory
    ),
}
"""In the order of their rows."""
