"""The study that `audit demo` runs: the digits with a long tail, pruned with and without care."""

from __future__ import annotations

from audit.models.training import TrainingSettings
from audit.study.settings import Method, StudySettings


def demo_settings(seed: int = 0, device: str = "cpu") -> StudySettings:
    """Magnitude pruning beside the bi-level fair solver, with the same optimisation steps."""
    return StudySettings(
        data={"dataset": "digits"},
        model="convnet",
        methods=(Method("magnitude"), Method("bilevel", "excess-accuracy")),
        rates=(0.8, 0.9, 0.95, 0.98),
        seeds=(seed,),
        training=TrainingSettings(epochs=30, batch_size=64, device=device),
        pruning=TrainingSettings(epochs=20, batch_size=64, device=device),
    )
