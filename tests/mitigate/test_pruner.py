"""The solver in anybody's loop: own networks, optimisers, precision, and stops in the middle."""

import copy
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from audit import FairPruner
from audit.data.grouped import GroupedData
from audit.errors import AuditError
from audit.mitigate.bilevel import BilevelSettings
from audit.models import Architecture, TrainingSettings, build_model, train
from audit.prune.mask import measured_mask

STEPS = 60


@pytest.fixture(scope="module")
def trained() -> dict[str, Any]:
    return {}


def dense(data: GroupedData, kept: dict[str, Any]) -> nn.Module:
    if not kept:
        model = build_model(Architecture("mlp", data.input_shape, 2, {"width": 16}))
        train(model, data, data.indices("train"), TrainingSettings(epochs=20, batch_size=16))
        kept["model"] = model
    return copy.deepcopy(kept["model"])


def batches(data: GroupedData, split: str = "train", size: int = 32) -> Iterator[Any]:
    generator = torch.Generator().manual_seed(0)
    rows = data.indices(split)
    while True:
        chosen = rows[torch.randperm(len(rows), generator=generator)[:size]]
        batch = data.batch(chosen)
        yield batch.inputs, batch.labels, batch.groups


def sgd(model: nn.Module) -> torch.optim.SGD:
    return torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)


def pruner_of(model: nn.Module, **more: Any) -> FairPruner:
    given = {"rate": 0.8, "groups": ("few", "many"), "steps": STEPS, "optimizer": sgd(model)}
    return FairPruner(model, **{**given, **more})


def same(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("constraint", ["none", "excess-accuracy", "equalised-odds"])
@pytest.mark.parametrize("steps", [STEPS, None])
def test_a_loop_of_steps_reaches_the_rate(
    two_groups: GroupedData, trained: dict[str, Any], constraint: str, steps: int | None
) -> None:
    model = dense(two_groups, trained)
    pruner = pruner_of(model, constraint=constraint, steps=steps)
    start = pruner.weights.mask.sparsity
    for _, batch in zip(range(STEPS), batches(two_groups), strict=False):
        pruner.step(*batch)
    mask = pruner.finish()
    assert start == pytest.approx(0.0 if steps else 0.8, abs=0.01)
    assert mask.survivors == round(0.2 * mask.size)
    assert all(torch.equal(p, mask.parts[n]) for n, p in measured_mask(model).parts.items())
    assert bool(pruner.history) == (constraint != "none")
    assert not any(p._backward_hooks for p in model.parameters())


def test_steps_by_hand_are_those_of_step(two_groups: GroupedData, trained: dict[str, Any]) -> None:
    one, other = dense(two_groups, trained), dense(two_groups, trained)
    first, second = pruner_of(one), pruner_of(other)
    optimizer = sgd(other)
    for _, batch in zip(range(STEPS), batches(two_groups), strict=False):
        first.step(*batch)
        optimizer.zero_grad()
        second.loss(*batch).backward()
        optimizer.step()
        second.after_step()
    first.finish()
    second.finish()
    assert same(one, other)


@pytest.mark.parametrize("scale", [1.0, 1024.0])
def test_gradients_add_up_over_batches_and_scales(
    two_groups: GroupedData, trained: dict[str, Any], scale: float
) -> None:
    """Two halves of a batch, each divided by two and scaled: the gradients of the whole batch."""
    whole, halves = dense(two_groups, trained), dense(two_groups, trained)
    one = pruner_of(whole, constraint="none")
    other = pruner_of(halves, constraint="none")
    inputs, labels, groups = next(batches(two_groups))
    one.loss(inputs, labels, groups).backward()
    for half in (slice(0, 16), slice(16, 32)):
        (other.loss(inputs[half], labels[half], groups[half]) * scale / 2).backward()
    assert isinstance(next(whole.parameters()).grad, Tensor)
    for a, b in zip(whole.parameters(), halves.parameters(), strict=True):
        assert a.grad is not None
        assert b.grad is not None
        torch.testing.assert_close(a.grad, b.grad / scale)
    found, again = one._gradients.take(), other._gradients.take()
    assert found is not None
    assert again is not None
    for name, gradient in found.items():
        torch.testing.assert_close(again[name], gradient)


def test_the_optimiser_sees_the_surviving_weights_alone_and_the_mask_all(
    two_groups: GroupedData, trained: dict[str, Any]
) -> None:
    model = dense(two_groups, trained)
    pruner = pruner_of(model, constraint="none", steps=None)
    plain = copy.deepcopy(model)
    inputs, labels, groups = next(batches(two_groups))
    pruner.loss(inputs, labels, groups).backward()
    functional.cross_entropy(plain(inputs), labels).backward()
    seen = pruner._gradients.take()
    assert seen is not None
    for name, parameter in plain.named_parameters():
        own = model.get_parameter(name).grad
        assert own is not None
        assert parameter.grad is not None
        part = pruner.weights.parts.get(name)
        torch.testing.assert_close(own, parameter.grad if part is None else parameter.grad * part)
        if part is not None:
            torch.testing.assert_close(seen[name], parameter.grad)
            assert not part.all()


def test_mixed_precision_trains_and_prunes(
    two_groups: GroupedData, trained: dict[str, Any]
) -> None:
    model = dense(two_groups, trained)
    pruner, optimizer = pruner_of(model, optimizer=None), sgd(model)
    scaler = torch.amp.GradScaler("cpu", init_scale=256.0)
    before = {name: part.clone() for name, part in pruner.scores.items()}
    for _, batch in zip(range(STEPS), batches(two_groups), strict=False):
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = pruner.loss(*batch)
        assert loss.dtype == torch.float32
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        pruner.after_step()
    mask = pruner.finish()
    assert mask.survivors == round(0.2 * mask.size)
    assert any(not torch.equal(before[name], pruner.scores[name]) for name in before)
    batch = two_groups.batch(two_groups.indices("test"))
    assert float((model(batch.inputs).argmax(1) == batch.labels).float().mean()) > 0.75


@pytest.mark.parametrize("stop", [7, 31, 50])
@pytest.mark.parametrize("held_out", [False, True])
def test_it_goes_on_from_the_middle(
    two_groups: GroupedData, trained: dict[str, Any], stop: int, held_out: bool
) -> None:
    """In a new process, whose network is the pruned one, the parent given beside it."""

    def run(model: nn.Module, pruner: FairPruner, source: Any, watched: Any, number: int) -> None:
        for _ in range(number):
            pruner.step(*next(source))
            if held_out:
                pruner.observe(*next(watched))

    constraint = "excess-accuracy+equalised-odds"
    whole = dense(two_groups, trained)
    run(whole, one := pruner_of(whole, constraint=constraint), batches(two_groups),
        batches(two_groups, "select"), STEPS)  # fmt: skip
    source, watched = batches(two_groups), batches(two_groups, "select")
    first = dense(two_groups, trained)
    before = pruner_of(first, constraint=constraint)
    run(first, before, source, watched, stop)
    assert before.optimizer is not None
    states = copy.deepcopy((first.state_dict(), before.optimizer.state_dict(), before.state_dict()))
    second = dense(two_groups, trained)
    second.load_state_dict(states[0])
    after = pruner_of(second, constraint=constraint, dense=dense(two_groups, trained))
    assert after.optimizer is not None
    after.optimizer.load_state_dict(states[1])
    after.load_state_dict(states[2])
    run(second, after, source, watched, STEPS - stop)
    one.finish()
    after.finish()
    assert same(whole, second)
    assert one.history == after.history


def test_a_state_can_be_stored_without_pickle(
    two_groups: GroupedData, trained: dict[str, Any], tmp_path: Any
) -> None:
    model = dense(two_groups, trained)
    pruner = pruner_of(model)
    for _, batch in zip(range(9), batches(two_groups), strict=False):
        pruner.step(*batch)
    torch.save(pruner.state_dict(), tmp_path / "pruner.pt")
    found = torch.load(tmp_path / "pruner.pt", weights_only=True)
    again = pruner_of(dense(two_groups, trained))
    again.load_state_dict(found)
    assert again.history == pruner.history
    for name, part in pruner.weights.mask.parts.items():
        assert torch.equal(again.weights.mask.parts[name], part)
        assert torch.equal(again.model.get_parameter(name), model.get_parameter(name))


def test_what_is_observed_moves_mask_and_multipliers_and_nothing_else(
    two_groups: GroupedData, trained: dict[str, Any]
) -> None:
    model = dense(two_groups, trained)
    pruner = pruner_of(model, constraint="group-loss")
    pruner.step(*next(batches(two_groups)))
    theta = {name: part.clone() for name, part in pruner.weights.theta.items()}
    scores = {name: part.clone() for name, part in pruner.scores.items()}
    pruner.observe(*next(batches(two_groups, "select")))
    assert all(torch.equal(theta[name], part) for name, part in pruner.weights.theta.items())
    assert any(not torch.equal(scores[name], part) for name, part in pruner.scores.items())
    assert len(pruner.history) == 1
    assert pruner.done == 2


class Transformer(nn.Module):
    """A network as transformers have them: named inputs, and outputs with `logits`."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 16)
        layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.head = nn.Linear(16, 2)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> SimpleNamespace:
        found = self.encoder(self.embedding(input_ids), src_key_padding_mask=attention_mask == 0)
        return SimpleNamespace(logits=self.head(found.mean(1)))


def sentences() -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """Sequences of 6 tokens; of the second class are those that hold one of two of them."""
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(0, 11, (256, 6), generator=generator)
    named = {"input_ids": tokens, "attention_mask": torch.ones(256, 6)}
    return named, (tokens < 2).any(1).long(), torch.arange(256) % 3


def test_a_transformer_with_adam_and_a_scheduler() -> None:
    torch.manual_seed(0)
    model = Transformer()
    named, labels, groups = sentences()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(60):
        optimizer.zero_grad()
        functional.cross_entropy(model(**named).logits, labels).backward()
        optimizer.step()
    pruner = FairPruner(model, rate=0.5, groups=3, steps=60, optimizer=optimizer)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 60)
    for _ in range(60):
        pruner.step(named, labels, groups)
        scheduler.step()
    mask = pruner.finish()
    assert mask.survivors == round(0.5 * mask.size)
    assert float((model(**named).logits.argmax(1) == labels).float().mean()) > 0.9


def test_a_criterion_of_ones_own_and_clipping(
    two_groups: GroupedData, trained: dict[str, Any]
) -> None:
    model = dense(two_groups, trained)

    def smoothed(logits: Tensor, labels: Tensor) -> Tensor:
        return functional.cross_entropy(logits, labels, reduction="none", label_smoothing=0.1)

    pruner, optimizer = pruner_of(model, criterion=smoothed, optimizer=None), sgd(model)
    inputs, labels, groups = next(batches(two_groups))
    loss = pruner.loss(inputs, labels, groups)
    torch.testing.assert_close(loss, smoothed(model(inputs), labels).mean())
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 0.01)
    optimizer.step()
    pruner.after_step()
    assert pruner.done == 1


def test_whole_filters_and_what_cannot_be(
    image_groups: GroupedData, trained: dict[str, Any], two_groups: GroupedData
) -> None:
    model = build_model(Architecture("convnet", (1, 8, 8), 2, {"width": 4}))
    filters = BilevelSettings(structure="filter")
    example = image_groups.batch(image_groups.indices("train")[:2]).inputs
    pruner = pruner_of(model, rate=0.5, settings=filters, example=example)
    for _, batch in zip(range(STEPS), batches(image_groups), strict=False):
        pruner.step(*batch)
    rows = pruner.finish().parts["0.weight"].flatten(1)
    assert (rows.all(1) | ~rows.any(1)).all()
    with pytest.raises(AuditError, match="example of the inputs"):
        pruner_of(model, settings=filters)
    with pytest.raises(AuditError, match="0 ≤ rate < 1"):
        pruner_of(model, rate=1.0)
    with pytest.raises(AuditError, match="found no optimizer"):
        pruner_of(dense(two_groups, trained), optimizer=None).step(*next(batches(two_groups)))


def test_the_dense_network_is_kept_as_it_was(
    two_groups: GroupedData, trained: dict[str, Any]
) -> None:
    parent = dense(two_groups, trained).train()
    model = copy.deepcopy(parent)
    pruner = pruner_of(model, dense=parent)
    before = copy.deepcopy(parent)
    for _, batch in zip(range(5), batches(two_groups), strict=False):
        pruner.step(*batch)
    assert same(parent, before)
    assert parent.training
    assert all(p.requires_grad for p in parent.parameters())


def test_what_cannot_be_trained_or_kept_is_refused_before_anything_moves() -> None:
    frozen = nn.Linear(4, 2).requires_grad_(False)
    with pytest.raises(AuditError, match="every parameter of the network is frozen"):
        FairPruner(frozen, rate=0.5)
    computed = nn.utils.parametrizations.weight_norm(nn.Linear(4, 2))
    computed(torch.ones(1, 4))
    with pytest.raises(AuditError, match="computed anew in every pass"):
        FairPruner(nn.Sequential(computed), rate=0.5)
