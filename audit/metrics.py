"""Every number of an audit, told once: its name, unit, direction, meaning, and where it is shown.

Tables, figures, thresholds, comparisons, the model card and docs/definitions.md read it. A measure
that comes from elsewhere brings metrics of its own, which the results keep.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

Unit = Literal["share", "points", "nats", "number", "count"]
"""A share is written in percent, a difference of two shares in points, both kept as fractions; nats
and numbers to three digits; counts whole."""
Need = Literal["outputs", "gradients", "curvature", "dense"]
"""What of a network: its outputs; its first derivatives; its second; the dense one it was pruned
from, for whose derivatives both must have the same coordinates."""
Place = Literal[
    "every group",
    "compared on paper",
    "further measures",
    "gaps",
    "beside the dense network",
    "predictions",
    "eigenvalues",
    "layers",
    "spectra",
    "causes",
    "attribution",
    "harm by rate",
    "causes by rate",
    "methods by rate",
    "constraint",
    "harm compared",
    "causes compared",
    "overall",
]
"""The tables and figures of a report."""


@dataclass(frozen=True)
class Definition:
    """What a term of the report means.

    number, paper   of the formula (docs/definitions.md), and who proposed it
    words           of the heads and titles that speak of it
    """

    term: str
    text: str
    number: str = ""
    paper: str = ""
    words: tuple[str, ...] = ()

    def __str__(self) -> str:
        """The text with its source.

        >>> print(Definition("Loss", "The mean cross entropy.", "M1", "Tran et al. 2022"))
        The mean cross entropy. [M1; Tran et al. 2022]
        """
        source = "; ".join(part for part in (self.number, self.paper) if part)
        return f"{self.text} [{source}]" if source else self.text


@dataclass(frozen=True)
class Metric:
    """A number that is measured.

    name              in every table of results, and in thresholds
    title             in heads; `short` where many stand side by side
    lower_is_better   None where neither is, as of a cause
    needs             what must be known of a network
    shown             where in a report
    paired            the column of samples whose mean over a group it is, up to what networks of
                      one dense parent share: it pairs their difference, sample by sample
    logarithmic       whether its axis is
    """

    name: str
    title: str
    unit: Unit
    definition: Definition
    short: str = ""
    lower_is_better: bool | None = None
    needs: tuple[Need, ...] = ("outputs",)
    shown: tuple[Place, ...] = ("further measures",)
    paired: str = ""
    logarithmic: bool = False

    @property
    def brief(self) -> str:
        """The title, as short as there is one."""
        return self.short or self.title

    @property
    def head(self) -> str:
        """The title with the unit that a table does not write beside every number.

        >>> METRICS["excess_accuracy_gap"].head
        'excess accuracy gap (points)'
        """
        return f"{self.title} ({self.unit})" if self.unit in ("points", "nats") else self.title

    @property
    def axis(self) -> str:
        """The title as an axis has it, whose ticks tell shares in percent.

        >>> METRICS["excess_accuracy_gap"].axis, METRICS["accuracy"].axis
        ('excess accuracy gap (points)', 'accuracy')
        """
        return self.head

    @property
    def is_fraction(self) -> bool:
        """Whether it is a share or a difference of shares, kept as a fraction."""
        return self.unit in ("share", "points")


LOSS = Definition(
    "Loss", "The mean cross entropy over the samples of a group, in nats.", words=("loss",)
)
ACCURACY = Definition(
    "Accuracy", "The share of a group's samples whose largest probability is the label's."
)
EXCESS_RISK = Definition(
    "Excess risk R(a)",
    "The mean loss of a group under the pruned network less that under its dense parent, on "
    "the same samples, in nats; above zero is harm.",
    "M1",
    "Tran et al. 2022",
    ("excess risk",),
)
EXCESS_ACCURACY_GAP = Definition(
    "Excess accuracy gap ψ",
    "How much more accuracy a group lost than all samples together did. Its largest value says "
    "who paid most. A largest value over groups is above zero even for equal groups, by chance: "
    "read it with its interval.",
    "M3",
    "Hashemizadeh et al. 2024",
    ("excess accuracy gap",),
)
ACCURACY_VIOLATION = Definition(
    "Range of accuracy",
    "The largest accuracy of a group less the smallest, under one network, dense or pruned.",
    "M2",
    "Tran et al. 2022",
    ("range of accuracy",),
)
FAIRNESS_VIOLATION = Definition(
    "Fairness violation ξ",
    "The largest difference of excess risk between two groups. It counts a group that improved "
    "as much as one that was hurt.",
    "M2",
    "Tran et al. 2022",
    ("fairness violation",),
)
GRADIENT_NORM = Definition(
    "Gradient norm",
    "The length of the mean gradient of the group's loss over the trained parameters, for pruned "
    "networks the surviving ones: how steep the loss is where the network stands.",
    "M5",
    "Tran et al. 2022",
    ("gradient norm",),
)
EIGENVALUE = Definition(
    "Largest Hessian eigenvalue λ_max",
    "The strongest upward curvature of the group's loss, for pruned networks over the surviving "
    "weights; by Lanczos, with the residual ‖Hv − λv‖. λ_min is the other end of the spectrum, "
    "below zero where the loss curves downwards. A layer's own are those of its block.",
    "M6",
    "Tran et al. 2022",
    ("eigenvalue", "λ_max"),
)
SPECTRUM = Definition(
    "Spectral density",
    "How many of the Hessian's eigenvalues lie where: from random directions, each followed for "
    "some steps of Lanczos. The ends of the spectrum are better known from the eigenvalues.",
    "M6",
    "Ghorbani et al. 2019",
    ("spectral density",),
)
CLOSENESS = Definition(
    "Closeness to the boundary",
    "The mean of 1 − Σ p² over the group: 0 where the network is sure, at most 1 − 1/C where all "
    "C classes are alike. The distance in output space is one less this.",
    "M7",
    "Tran et al. 2022",
    ("closeness",),
)
MARGIN = Definition(
    "Margin",
    "The largest probability less the second largest; in figures below zero where the prediction "
    "is wrong.",
    "M7",
    words=("margin",),
)
INPUT_DISTANCE = Definition(
    "Input distance",
    "The mean signed length of the first-order step in the input to the decision boundary "
    "(the linear step of DeepFool); negative where a sample is misclassified. "
    "Samples around which the network is flat have no boundary to first order and are not "
    "counted.",
    "M7",
    "Moosavi-Dezfooli et al. 2016",
    ("input distance",),
)
DEEPFOOL = Definition(
    "DeepFool distance",
    "The same distance by steps repeated until the prediction changes; samples whose prediction "
    "they do not change are not counted.",
    "M7",
    "Moosavi-Dezfooli et al. 2016",
    ("deepfool",),
)
CALIBRATION = Definition(
    "Calibration error",
    "How far the network's confidence lies from its accuracy (expected calibration error): "
    "over bins of confidence, the mean absolute difference of the two, weighted by the samples "
    "of the bin.",
    "M13",
    "Iofinova et al. 2023",
    ("calibration error",),
)
UNCERTAINTY = Definition(
    "Uncertain share",
    "The share of samples whose largest probability is below 0.9.",
    "M13",
    "Iofinova et al. 2023",
    ("uncertain",),
)
BROKEN = Definition(
    "Broken and mended",
    "The share of a group's samples that the dense network has right and the pruned one wrong "
    "(broken), or the other way round (mended).",
    "M13",
    "Hooker et al. 2019",
    ("broken", "mended"),
)
AMPLIFICATION = Definition(
    "Bias amplification",
    "How much more than the labels do the predictions tie each class to the groups that have much "
    "of it; the mean over the classes, above zero where the network exaggerates.",
    "M13",
    "Zhao et al. 2017",
    ("bias amplification",),
)
BOUNDARY = Definition(
    "Composition and within",
    "The excess accuracy gap of a group (or its excess risk less the mean) as two parts that add "
    "up to it, by bins of the dense network's margin: composition, since more of its samples lie "
    "where any group's pay; within, since at the same margin it pays more.",
    "M14",
    "Kitagawa 1955",
    ("composition", "paid at the same margin", "near the boundary"),
)
FAITHFULNESS = Definition(
    "Faithfulness",
    "How far predictions are still the dense network's: agreement, the share that are the same, "
    "right or wrong; samples that changed from one wrong class to another; and the mean "
    "Kullback-Leibler divergence from the dense network's probabilities.",
    "M15",
    words=("agreement", "faithful", "divergence", "one wrong class", "mcnemar"),
)
RATES = Definition(
    "Rates of predictions",
    "Selection: the share that is predicted as the class. True positive rate: of the samples of "
    "the class, the share predicted as it; false negative rate, the rest of them. False positive "
    "rate: of the other samples, the share predicted as it. Precision: of the samples predicted "
    "as the class, the share that are of it.",
    "M4",
    words=("how often each group", "the same rates"),
)
DIFFERENCES = Definition(
    "Differences of fairness",
    "Demographic parity: of the shares that are predicted as a class. Equal opportunity: of "
    "the true positive rates. Equalised odds: of the true or the false positive rates, "
    "whichever differ more. The largest difference between two groups, over all classes, as "
    "fairlearn has them.",
    "M4",
    words=("demographic parity", "equal opportunity", "equalised odds"),
)
TAYLOR = Definition(
    "Taylor terms",
    "Excess risk is slope gᵀδ plus curvature ½δᵀHδ plus what running statistics add plus a "
    "remainder, δ being what pruning and fine-tuning changed. The first two add up exactly over "
    "the layers.",
    "M9",
    words=("slope", "curvature", "remainder", "running statistics"),
)
LOSS_BOUND = Definition(
    "Theorem 1",
    "At most so much excess risk, to second order: ‖g‖·‖δ‖ + ½·λ_max·‖δ‖² at the dense network. "
    "It holds for pruning in one shot without fine-tuning.",
    "M8",
    "Tran et al. 2022",
    ("theorem 1",),
)
PROPOSITION = Definition(
    "Proposition 2",
    "The gradient norm is at most the mean of ‖p − onehot(y)‖·‖J‖ over the group, J being the "
    "Jacobian of the logits.",
    "M11",
    "Tran et al. 2022",
    ("proposition 2", "jacobian"),
)
THEOREM = Definition(
    "Theorem 2",
    "λ_max is at most the mean over the group of a first term, closeness to the boundary times "
    "‖J‖², plus a second, the error of the probabilities times the logits' own curvature. Shown "
    "are the first term, with λ_max(diag p − p pᵀ) for closeness, and the error.",
    "M12",
    "Tran et al. 2022",
    ("theorem 2",),
)
GROUP_SIZE = Definition(
    "Group size", "How many samples of the group the network was trained on.", "M10"
)
CORRELATION = Definition(
    "Rank correlation ρ",
    "Spearman's: +1 where two measures order the groups alike, −1 where they order them the "
    "other way round.",
    words=("ρ",),
)
EXEMPLARS = Definition(
    "Exemplars",
    "Samples that most pruned networks label otherwise than most dense networks do.",
    "M13",
    "Hooker et al. 2019",
    ("exemplars",),
)
INTERVALS = Definition(
    "Intervals",
    "95 %, over samples. Means: a studentised bootstrap of 2,000 resamples within each group, "
    "the same resample for both networks, to first order for gradient norms and eigenvalues. "
    "Shares: Wilson's interval. Drops in accuracy and gaps: Bonett and Price's, combined. "
    "The largest of several and ranges: an interval of their own, since the bootstrap of a "
    "maximum is too high. With several seeds, tables and figures show the mean and the spread "
    "over seeds instead.",
)
NOISE_FLOOR = Definition(
    "Noise floor",
    "What a gap between groups would be if all groups were equal, at these sizes: median and "
    "95th percentile over resamples under equal rates. A gap within its floor is no finding.",
    words=("noise floor",),
)
SPARSITY = Definition(
    "Sparsity",
    "The share of the weights of convolution and linear layers that are exactly zero in the "
    "file that was loaded, whatever rate was asked for.",
    words=("sparsity",),
)
DEFINITIONS = (
    EXCESS_RISK,
    EXCESS_ACCURACY_GAP,
    FAIRNESS_VIOLATION,
    ACCURACY_VIOLATION,
    ACCURACY,
    LOSS,
    GRADIENT_NORM,
    EIGENVALUE,
    SPECTRUM,
    CLOSENESS,
    BOUNDARY,
    MARGIN,
    INPUT_DISTANCE,
    DEEPFOOL,
    CALIBRATION,
    UNCERTAINTY,
    BROKEN,
    AMPLIFICATION,
    FAITHFULNESS,
    RATES,
    DIFFERENCES,
    GROUP_SIZE,
    CORRELATION,
    EXEMPLARS,
    INTERVALS,
    NOISE_FLOOR,
    PROPOSITION,
    LOSS_BOUND,
    THEOREM,
    TAYLOR,
    SPARSITY,
)
"""In the order of the report; of two that share a word, the first is what a head leads to."""


def definition_of(title: str) -> Definition | None:
    """What a head or title speaks of, if that is defined.

    >>> definition_of("largest excess accuracy gap (points)").number
    'M3'
    """
    lower = title.lower()
    found = (one for one in DEFINITIONS if any(words in lower for words in one.words))
    return next(found, None)


_ALL = (
    Metric(
        "accuracy",
        "accuracy",
        "share",
        ACCURACY,
        lower_is_better=False,
        shown=(
            "every group",
            "compared on paper",
            "harm by rate",
            "methods by rate",
            "constraint",
            "harm compared",
        ),
        paired="correct",
    ),
    Metric(
        "excess_accuracy_gap",
        "excess accuracy gap",
        "points",
        EXCESS_ACCURACY_GAP,
        lower_is_better=True,
        needs=("outputs", "dense"),
        shown=("every group", "compared on paper", "harm compared"),
    ),
    Metric(
        "excess_risk",
        "excess risk",
        "nats",
        EXCESS_RISK,
        lower_is_better=True,
        needs=("outputs", "dense"),
        shown=("every group", "compared on paper", "attribution", "harm by rate", "harm compared"),
        paired="loss",
    ),
    Metric(
        "group_size",
        "samples of the group",
        "count",
        GROUP_SIZE,
        short="group size",
        needs=(),
        shown=("causes",),
    ),
    Metric(
        "gradient_norm",
        "gradient norm",
        "number",
        GRADIENT_NORM,
        needs=("gradients",),
        shown=("every group", "causes", "causes by rate", "constraint", "causes compared"),
        paired="gradient_norm",
        logarithmic=True,
    ),
    Metric(
        "hessian_max_eigenvalue",
        "largest eigenvalue λ_max",
        "number",
        EIGENVALUE,
        short="λ_max",
        needs=("curvature",),
        shown=("every group", "eigenvalues", "layers", "causes", "causes by rate"),
        paired="hessian_max_eigenvalue",
        logarithmic=True,
    ),
    Metric(
        "hessian_min_eigenvalue",
        "smallest eigenvalue λ_min",
        "number",
        EIGENVALUE,
        short="λ_min",
        needs=("curvature",),
        shown=("eigenvalues", "layers"),
        paired="hessian_min_eigenvalue",
    ),
    Metric(
        "hessian_eigenvalue",
        "eigenvalue",
        "number",
        EIGENVALUE,
        needs=("curvature",),
        shown=("eigenvalues",),
    ),
    Metric(
        "spectral_density",
        "spectral density of the Hessian",
        "number",
        SPECTRUM,
        short="density",
        needs=("curvature",),
        shown=("spectra",),
    ),
    Metric(
        "boundary_closeness",
        "closeness to the boundary",
        "number",
        CLOSENESS,
        short="closeness",
        shown=("every group", "causes", "causes by rate", "constraint", "causes compared"),
        paired="boundary_closeness",
    ),
    Metric(
        "input_distance",
        "input distance to the boundary",
        "number",
        INPUT_DISTANCE,
        short="input distance",
        needs=("gradients",),
        shown=("every group", "causes by rate"),
        paired="input_distance",
    ),
    Metric(
        "broken",
        "broken by pruning",
        "share",
        BROKEN,
        short="broken",
        lower_is_better=True,
        needs=("outputs", "dense"),
        shown=("every group", "compared on paper"),
    ),
    Metric(
        "mended",
        "mended",
        "share",
        BROKEN,
        lower_is_better=False,
        needs=("outputs", "dense"),
        shown=("every group",),
    ),
    Metric(
        "expected_calibration_error",
        "calibration error",
        "share",
        CALIBRATION,
        lower_is_better=True,
        shown=("every group", "constraint", "causes compared"),
    ),
    Metric("loss", "loss", "nats", LOSS, lower_is_better=True, paired="loss"),
    Metric("boundary_margin", "margin", "number", MARGIN, paired="margin"),
    Metric("uncertainty_share", "uncertain share", "share", UNCERTAINTY, lower_is_better=True),
    Metric(
        "deepfool_distance",
        "DeepFool distance",
        "number",
        DEEPFOOL,
        needs=("gradients",),
        paired="deepfool_distance",
    ),
    Metric(
        "boundary_composition",
        "composition: samples near the boundary",
        "points",
        BOUNDARY,
        short="composition",
        needs=("outputs", "dense"),
        shown=("beside the dense network",),
    ),
    Metric(
        "boundary_within",
        "within: paid at the same margin",
        "points",
        BOUNDARY,
        short="within",
        lower_is_better=True,
        needs=("outputs", "dense"),
        shown=("beside the dense network",),
    ),
    Metric(
        "agreement",
        "agreement with the dense network",
        "share",
        FAITHFULNESS,
        short="agreement",
        lower_is_better=False,
        needs=("outputs", "dense"),
        shown=("beside the dense network",),
    ),
    Metric(
        "moved",
        "from one wrong class to another",
        "count",
        FAITHFULNESS,
        needs=("outputs", "dense"),
        shown=("beside the dense network",),
    ),
    Metric(
        "divergence",
        "divergence from the dense network",
        "nats",
        FAITHFULNESS,
        short="divergence",
        lower_is_better=True,
        needs=("outputs", "dense"),
        shown=("beside the dense network",),
    ),
    Metric("selection_rate", "selection rate", "share", RATES, shown=("predictions",)),
    Metric(
        "true_positive_rate",
        "true positive rate",
        "share",
        RATES,
        lower_is_better=False,
        shown=("predictions",),
    ),
    Metric(
        "false_positive_rate",
        "false positive rate",
        "share",
        RATES,
        lower_is_better=True,
        shown=("predictions",),
    ),
    Metric(
        "false_negative_rate",
        "false negative rate",
        "share",
        RATES,
        lower_is_better=True,
        shown=("predictions",),
    ),
    Metric("precision", "precision", "share", RATES, lower_is_better=False, shown=("predictions",)),
    Metric(
        "taylor_slope",
        "slope gᵀδ",
        "nats",
        TAYLOR,
        needs=("gradients", "dense"),
        shown=("causes", "attribution"),
        paired="taylor_slope",
    ),
    Metric(
        "taylor_curvature",
        "curvature ½δᵀHδ",
        "nats",
        TAYLOR,
        needs=("curvature", "dense"),
        shown=("causes", "attribution"),
        paired="taylor_curvature",
    ),
    Metric(
        "taylor_buffers",
        "running statistics",
        "nats",
        TAYLOR,
        needs=("outputs", "dense"),
        shown=("causes", "attribution"),
    ),
    Metric(
        "taylor_remainder",
        "remainder",
        "nats",
        TAYLOR,
        needs=("curvature", "dense"),
        shown=("causes", "attribution"),
    ),
    Metric(
        "loss_bound",
        "bound of theorem 1",
        "nats",
        LOSS_BOUND,
        needs=("curvature", "dense"),
    ),
    Metric(
        "logit_jacobian_norm",
        "norm of the logits' Jacobian",
        "number",
        PROPOSITION,
        needs=("gradients",),
        paired="logit_jacobian_norm",
    ),
    Metric(
        "gradient_norm_bound",
        "bound of proposition 2",
        "number",
        PROPOSITION,
        needs=("gradients",),
        paired="gradient_norm_bound",
    ),
    Metric(
        "closeness_gradient_term",
        "first term of theorem 2",
        "number",
        THEOREM,
        needs=("gradients",),
        paired="closeness_gradient_term",
    ),
    Metric(
        "prediction_error_term",
        "error in theorem 2",
        "number",
        THEOREM,
        needs=("gradients",),
        paired="prediction_error_term",
    ),
    Metric(
        "max_excess_accuracy_gap",
        "largest excess accuracy gap",
        "points",
        EXCESS_ACCURACY_GAP,
        lower_is_better=True,
        needs=("outputs", "dense"),
        shown=("gaps", "methods by rate"),
    ),
    Metric(
        "excess_accuracy_gap_range",
        "range of the excess accuracy gap",
        "points",
        EXCESS_ACCURACY_GAP,
        lower_is_better=True,
        needs=("outputs", "dense"),
        shown=("gaps",),
    ),
    Metric(
        "accuracy_violation",
        "range of accuracy",
        "points",
        ACCURACY_VIOLATION,
        lower_is_better=True,
        shown=("gaps",),
    ),
    Metric(
        "fairness_violation",
        "fairness violation ξ",
        "nats",
        FAIRNESS_VIOLATION,
        lower_is_better=True,
        needs=("outputs", "dense"),
        shown=("gaps",),
    ),
    Metric(
        "demographic_parity_difference",
        "demographic parity difference",
        "points",
        DIFFERENCES,
        lower_is_better=True,
        shown=("gaps",),
    ),
    Metric(
        "equal_opportunity_difference",
        "equal opportunity difference",
        "points",
        DIFFERENCES,
        lower_is_better=True,
        shown=("gaps",),
    ),
    Metric(
        "equalized_odds_difference",
        "equalised odds difference",
        "points",
        DIFFERENCES,
        lower_is_better=True,
        shown=("gaps", "methods by rate"),
    ),
    Metric(
        "bias_amplification",
        "bias amplification",
        "points",
        AMPLIFICATION,
        lower_is_better=True,
        shown=("overall",),
    ),
)
METRICS: dict[str, Metric] = {one.name: one for one in _ALL}
"""By name, in the order in which tables and figures have them."""
NUMBERED = re.compile(r"(hessian_eigenvalue)_(\d+)")
UNITS: tuple[Unit, ...] = get_args(Unit)
ELSEWHERE = Definition("", "A measure of the one who made these results.")


def metric(name: str) -> Metric:
    """The metric of a name; of an unknown one, what the name alone tells.

    >>> metric("hessian_eigenvalue_3").title
    'eigenvalue 3'
    >>> metric("prediction_entropy").title
    'prediction entropy'
    """
    if numbered := NUMBERED.fullmatch(name):
        base = METRICS[numbered[1]]
        return replace(base, name=name, title=f"{base.title} {numbered[2]}", paired=name)
    title = name.replace("_", " ")
    return METRICS.get(name) or Metric(name, title, "number", ELSEWHERE, paired=name)


def is_known(name: str) -> bool:
    """Whether a metric of that name is one of the toolkit's.

    >>> is_known("hessian_eigenvalue_3"), is_known("prediction_entropy")
    (True, False)
    """
    return name in METRICS or NUMBERED.fullmatch(name) is not None


def shown(place: Place) -> list[str]:
    """The names of the metrics of a table or figure, in its order.

    >>> shown("harm by rate")
    ['accuracy', 'excess_risk']
    """
    return [one.name for one in _ALL if place in one.shown]


def of_definition(definition: Definition) -> list[str]:
    """The names of the metrics that a definition explains, such as the four Taylor terms."""
    return [one.name for one in _ALL if one.definition == definition]


def unit_of(name: str) -> Unit:
    """The unit of a metric; the name may be that of a unit itself.

    >>> unit_of("accuracy"), unit_of("points"), unit_of("ρ")
    ('share', 'points', 'number')
    """
    units = [unit for unit in UNITS if unit == name]
    return units[0] if units else metric(name).unit


def of_record(record: Mapping[str, Any]) -> Metric:
    """The metric that results keep of a measure from elsewhere, as `dataclasses.asdict` has it."""
    known = _tuples(record)
    return Metric(**(known | {"definition": Definition(**_tuples(record["definition"]))}))


def _tuples(record: Mapping[str, Any]) -> dict[str, Any]:
    """The same fields, with tuples where JSON has lists."""
    return {key: tuple(one) if isinstance(one, list) else one for key, one in record.items()}
