"""The solver in Hugging Face's Trainer, on a tiny local transformer; nothing is downloaded."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from audit.errors import AuditError

transformers = pytest.importorskip("transformers", reason="the extra hf is not installed")
pytest.importorskip("accelerate", reason="transformers' Trainer needs accelerate")

from audit.mitigate.huggingface import STATE, FairPruning  # noqa: E402
from audit.prune.mask import measured_mask  # noqa: E402

pytestmark = pytest.mark.filterwarnings("default")  # of its own deprecations this project says none


def network() -> Any:
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=20, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=8, num_labels=2,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    return transformers.BertForSequenceClassification(config)


def sentences(number: int = 192, groups: bool = True) -> list[dict[str, Any]]:
    """Of the second class are those that hold one of four tokens; three groups."""
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(0, 20, (number, 6), generator=generator)
    labels = (tokens < 4).any(1).long().tolist()
    rows = [
        {"input_ids": ids.tolist(), "attention_mask": [1] * 6, "labels": label}
        for ids, label in zip(tokens, labels, strict=True)
    ]
    return [row | ({"groups": i % 3} if groups else {}) for i, row in enumerate(rows)]


def trainer_of(folder: Path, model: Any, **more: Any) -> Any:
    given = {
        "per_device_train_batch_size": 16, "num_train_epochs": 3, "learning_rate": 3e-3,
        "report_to": [], "remove_unused_columns": False, "save_strategy": "no", "seed": 0,
        "use_cpu": True, "disable_tqdm": True, "logging_strategy": "no",
    }  # fmt: skip
    arguments = transformers.TrainingArguments(str(folder), **{**given, **more})
    return transformers.Trainer(
        model=model, args=arguments, train_dataset=sentences(), eval_dataset=sentences(64)
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    """The weights of a dense network."""
    model = network()
    trainer = trainer_of(tmp_path_factory.mktemp("dense"), model, num_train_epochs=12)
    trainer.train_dataset = sentences(groups=False)
    trainer.train()
    return {name: value.clone() for name, value in model.state_dict().items()}


def dense(trained: dict[str, torch.Tensor]) -> Any:
    model = network()
    model.load_state_dict(trained)
    return model


def accuracy(model: Any) -> float:
    rows = sentences()
    tokens = torch.tensor([row["input_ids"] for row in rows])
    labels = torch.tensor([row["labels"] for row in rows])
    with torch.no_grad():
        return float((model.eval()(tokens).logits.argmax(1) == labels).float().mean())


@pytest.mark.parametrize(
    "more", [{}, {"gradient_accumulation_steps": 2}, {"bf16": True}], ids=["plain", "parts", "bf16"]
)
def test_a_transformer_is_pruned_in_its_trainer(
    tmp_path: Path, trained: dict[str, torch.Tensor], more: dict[str, Any]
) -> None:
    model = dense(trained)
    trainer = trainer_of(tmp_path, model, num_train_epochs=8, **more)
    pruning = FairPruning(trainer, rate=0.5, constraint="excess-accuracy", groups=3)
    trainer.train()
    mask = pruning.mask
    assert mask is not None
    assert mask.survivors == round(0.5 * mask.size)
    found = measured_mask(model)
    assert all(torch.equal(found.parts[name], part) for name, part in mask.parts.items())
    assert accuracy(model) > 0.85
    assert trainer.evaluate()["eval_loss"] < 0.7


def test_gradients_over_parts_are_those_of_the_whole(
    tmp_path: Path, trained: dict[str, torch.Tensor]
) -> None:
    """Two halves of a batch of 32, accumulated, are a step on the whole batch, unconstrained."""
    found = []
    for size, parts in ((32, 1), (16, 2)):
        model = dense(trained)
        trainer = trainer_of(
            tmp_path, model, per_device_train_batch_size=size, gradient_accumulation_steps=parts,
            max_steps=1, optim="sgd", max_grad_norm=0.0,
        )  # fmt: skip
        FairPruning(trainer, rate=0.5, constraint="none", groups=3)
        trainer.train()
        found.append(model.state_dict())
    for name, value in found[0].items():
        torch.testing.assert_close(value, found[1][name], atol=1e-5, rtol=1e-4)


def test_training_goes_on_from_a_checkpoint(
    tmp_path: Path, trained: dict[str, torch.Tensor]
) -> None:
    more = {"save_strategy": "steps", "save_steps": 11, "num_train_epochs": 3}
    whole = dense(trained)
    trainer = trainer_of(tmp_path, whole, **more)
    FairPruning(trainer, rate=0.5, groups=3)
    trainer.train()
    checkpoint = tmp_path / "checkpoint-11"
    assert (checkpoint / STATE).is_file()
    again = dense(trained)
    trainer = trainer_of(tmp_path, again, **more)
    pruning = FairPruning(trainer, rate=0.5, groups=3)
    trainer.train(resume_from_checkpoint=str(checkpoint))
    assert pruning.mask is not None
    for name, value in whole.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"remove_unused_columns": True}, "remove_unused_columns=False"),
        ({"label_smoothing_factor": 0.1}, "as the pruner's criterion"),
        (
            {"load_best_model_at_end": True, "eval_strategy": "epoch", "save_strategy": "epoch"},
            "load_best_model_at_end=False",
        ),
    ],
)
def test_settings_that_cannot_go_with_it_are_refused(
    tmp_path: Path, trained: dict[str, torch.Tensor], more: dict[str, Any], said: str
) -> None:
    with pytest.raises(AuditError, match=said):
        FairPruning(trainer_of(tmp_path, dense(trained), **more), rate=0.5, groups=3)


def test_samples_without_groups_are_refused(
    tmp_path: Path, trained: dict[str, torch.Tensor]
) -> None:
    trainer = trainer_of(tmp_path, dense(trained))
    trainer.train_dataset = sentences(groups=False)
    FairPruning(trainer, rate=0.5, groups=3)
    with pytest.raises(AuditError, match="found no 'groups' in a batch"):
        trainer.train()


def test_nothing_else_loads_transformers() -> None:
    code = "import audit.mitigate, audit.study, sys; sys.exit('transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
