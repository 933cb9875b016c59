"""Weights as other tools leave them are found, fitted, or refused in one line."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.utils import prune as masks

from audit.errors import AuditError
from audit.models.weights import Weights, is_checkpoint, load_weights, read_weights

State = Mapping[str, Tensor]


def network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))


def prefixed(prefix: str, state: State) -> dict[str, Tensor]:
    return {f"{prefix}{name}": value for name, value in state.items()}


def zeros(state: State) -> dict[str, Tensor]:
    return {name: torch.zeros_like(value) for name, value in state.items()}


@pytest.mark.parametrize(
    ("layout", "said"),
    [
        (lambda state: state, ()),
        (lambda state: {"state_dict": state, "epoch": 3}, ("found under 'state_dict'",)),
        (lambda state: {"model": state, "optimizer": {}}, ("found under 'model'",)),
        (lambda state: {"model_state_dict": state, "loss": 0.1}, ("'model_state_dict'",)),
        (lambda state: {"ema": state, "epoch": 1}, ("found under 'ema'",)),
        (lambda state: prefixed("module.", state), ("the prefix 'module.' was taken",)),
        (lambda state: prefixed("_orig_mod.", state), ("the prefix '_orig_mod.'",)),
        (
            lambda state: {"state_dict": prefixed("module._orig_mod.model.", state)},
            ("found under 'state_dict'", "the prefix 'module._orig_mod.model.'"),
        ),
        (lambda state: prefixed("classifier.", state), ("the prefix 'classifier.'",)),
        (lambda state: {"net": state, "accuracy": 0.9}, ("found under 'net'",)),
        (
            lambda state: {"n_averaged": torch.tensor(3), **prefixed("module.", state)},
            ("the prefix 'module.'",),
        ),
        (
            lambda state: {"model": state, "model_ema": dict(state), "optimizer": {"lr": 1}},
            ("found under 'model'", "holds tensors under 'model_ema' too, which were not used"),
        ),
        (
            lambda state: {"model": state, "ema": {"decay": 0.9, "shadow": list(state.values())}},
            ("found under 'model'", "tensors under 'ema' too"),
        ),
        (
            lambda state: {"model": state, "means": {"x": torch.ones(3)}, "optimizer": [state]},
            ("found under 'model'", "tensors under 'means' too"),
        ),
        (lambda state: {n: v.to_sparse() if v.dim() > 1 else v for n, v in state.items()}, ()),
        (lambda state: {n: v.double() if v.dim() else v for n, v in state.items()}, ()),
    ],
)
def test_a_state_dict_is_found_wherever_it_stands(
    layout: Callable[[State], Any], said: tuple[str, ...], tmp_path: Path
) -> None:
    saved, found = network(1), network(2)
    torch.save(layout(dict(saved.state_dict())), tmp_path / "a.pth")
    assert not is_checkpoint(tmp_path / "a.pth")
    notes = load_weights(found, read_weights(tmp_path / "a.pth"), tmp_path / "a.pth")
    assert len(notes) == len(said)
    assert all(part in note for part, note in zip(said, notes, strict=True))
    for name, value in saved.state_dict().items():
        assert torch.equal(found.state_dict()[name], value)


def test_safetensors_and_live_masks(tmp_path: Path) -> None:
    saved, found = network(1), network(2)
    masks.l1_unstructured(saved[0], "weight", 0.5)
    masks.random_unstructured(saved[3], "bias", 0.5)
    save_file(dict(saved.state_dict()), tmp_path / "a.safetensors")
    path = tmp_path / "a.safetensors"
    (note,) = load_weights(found, read_weights(path), path)
    assert note == "the live pruning masks of 2 of its weights were applied"
    assert torch.equal(found[0].weight, saved[0].weight)
    assert int((found[0].weight == 0).sum()) == 16


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"epoch": 3}, r"holds no state dict \(found epoch\); expected one, bare or under"),
        ([1, 2], r"holds no state dict \(found list\)"),
        (
            {f"body.{place}": torch.ones(1) for place in range(9)},
            "it lacks '0.bias', '0.weight', '1.bias', '1.num_batches_tracked', '1.running_mean' "
            "and 4 more; it has 'body.0', 'body.1', 'body.2', 'body.3', 'body.4' and 4 more",
        ),
        (
            dict(network().state_dict()) | {"3.weight": torch.ones(5, 8)},
            r"'3.weight' has shape \(5, 8\); the network that --model builds has \(2, 8\)",
        ),
        (
            dict(network().state_dict()) | {"3.bias": torch.tensor([0.0, torch.nan])},
            "weights that are not finite, in '3.bias'",
        ),
        (
            {k: v for k, v in network().state_dict().items() if k != "3.weight"}
            | {"3.weight_orig": torch.ones(2, 8), "3.weight_mask": torch.ones(2, 1)},
            r"holds a mask of shape \(2, 1\) for '3.weight_orig' of shape \(2, 8\); expected",
        ),
        (
            dict(network().state_dict())
            | {"3.weight_orig": torch.ones(2, 8), "3.weight_mask": torch.ones(2, 8)},
            "holds '3.weight' beside '3.weight_orig' and its mask; expected one of both",
        ),
    ],
)
def test_what_does_not_fit_is_named(content: Any, said: str, tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    torch.save(content, path)
    with pytest.raises(AuditError, match=said) as caught:
        load_weights(network(), read_weights(path), path)
    assert "\n" not in str(caught.value)


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    torch.save(network(), tmp_path / "module.pth")
    with pytest.raises(AuditError, match="pickled Python objects, which could run code"):
        read_weights(tmp_path / "module.pth")
    (tmp_path / "a.safetensors").write_bytes(b"not at all")
    with pytest.raises(AuditError, match="no file of safetensors, or is truncated"):
        read_weights(tmp_path / "a.safetensors")
    (tmp_path / "a.onnx").write_bytes(b"program")
    with pytest.raises(AuditError, match="is a program and no file of weights"):
        read_weights(tmp_path / "a.onnx")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda value: (10 * value).to(torch.int8), "holds torch.int8 in '0.weight'.*float32"),
        (lambda value: value + 0j, "holds torch.complex64 in '0.weight'"),
        (lambda value: value.to("meta"), "saved on the device meta"),
        (lambda value: value / 0, "not finite, in '0.weight'"),
    ],
)
def test_what_is_no_real_number_is_no_weight(
    change: Callable[[Tensor], Tensor], said: str, tmp_path: Path
) -> None:
    state = dict(network(1).state_dict())
    torch.save({**state, "0.weight": change(state["0.weight"])}, tmp_path / "a.pth")
    with pytest.raises(AuditError, match=said):
        load_weights(network(2), read_weights(tmp_path / "a.pth"), tmp_path / "a.pth")


def test_numbers_of_eight_bits_are_read_as_what_they_are(tmp_path: Path) -> None:
    state = {name: value.float() for name, value in network(1).state_dict().items()}
    small = {name: value.to(torch.float8_e4m3fn) for name, value in state.items()}
    torch.save({**small, "1.num_batches_tracked": torch.tensor(0)}, tmp_path / "a.pth")
    found = network(2)
    load_weights(found, read_weights(tmp_path / "a.pth"), tmp_path / "a.pth")
    assert torch.equal(found.get_parameter("0.weight"), small["0.weight"].float())


def test_a_file_is_what_it_holds_and_not_what_it_is_called(tmp_path: Path) -> None:
    state = dict(network(1).state_dict())
    save_file(state, tmp_path / "tensors.bin")
    assert not is_checkpoint(tmp_path / "tensors.bin")
    assert read_weights(tmp_path / "tensors.bin").state.keys() == state.keys()
    (tmp_path / "a.pth").write_text("no weights at all")
    with pytest.raises(AuditError, match="it is truncated or not a checkpoint"):
        read_weights(tmp_path / "a.pth")


def test_weights_in_several_files_are_found_by_their_index(tmp_path: Path) -> None:
    state = dict(network(1).state_dict())
    names = list(state)
    save_file({name: state[name] for name in names[:3]}, tmp_path / "one.safetensors")
    torch.save({name: state[name] for name in names[3:]}, tmp_path / "two.bin")
    placed = {name: "one.safetensors" if name in names[:3] else "two.bin" for name in names}
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": placed}))
    assert not is_checkpoint(index)
    found = network(2)
    load_weights(found, read_weights(index), index)
    assert torch.equal(found.get_parameter("3.bias"), state["3.bias"])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{}", "no index of weights in several files"),
        ('{"weight_map": {"a": "../b.safetensors"}}', "expected one beside it"),
        ('{"weight_map": {"a": "x.index.json"}}', "expected one beside it"),
        ('{"weight_map": {"a": "gone.safetensors"}}', "there is no file"),
    ],
)
def test_an_index_names_files_beside_it(content: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "x.index.json").write_text(content)
    with pytest.raises(AuditError, match=said):
        read_weights(tmp_path / "x.index.json")


@pytest.mark.parametrize(
    "other", ["ema", "ema_state_dict", "model_ema", "state_dict_ema", "teacher", "best"]
)
def test_of_several_networks_weights_it_is_asked_which(other: str, tmp_path: Path) -> None:
    """Raw weights and their average are two networks: one may be pruned and the other not."""
    raw, path = dict(network(1).state_dict()), tmp_path / "a.pth"
    average = prefixed("module.", network(2).state_dict()) | {"n_averaged": torch.tensor(9)}
    torch.save({"model": raw, other: average, "epoch": 1}, path)
    with pytest.raises(AuditError, match=r"holds the weights of several networks, under .*--state"):
        read_weights(path)
    for place, seed in (("model", 1), (other, 2)):
        found = network()
        first, *_ = load_weights(found, read_weights(path, place), path)
        assert first == f"its weights were found under '{place}'"
        assert torch.equal(found[0].weight, network(seed)[0].weight)
    with pytest.raises(AuditError, match=f"no state dict under 'swa'; it has model, {other}"):
        read_weights(path, "swa")
    torch.save(raw, path)
    with pytest.raises(AuditError, match="holds one state dict and nothing under 'ema'"):
        read_weights(path, "ema")


Masks = Callable[[Mapping[str, Tensor]], Any]
APART: list[tuple[Masks, str]] = [
    (lambda masks: masks, "masks"),
    (lambda masks: list(masks.values()), "masks"),
    (lambda masks: tuple(masks.values()), "pruning_mask"),
    (lambda masks: {n.removesuffix(".weight"): m.bool() for n, m in masks.items()}, "Masks"),
    (lambda masks: {f"{n}_mask": m for n, m in masks.items()}, "masks"),
    (lambda masks: {f"module.{n}": m for n, m in masks.items()}, "masks"),
]


@pytest.mark.parametrize(("form", "place"), APART)
def test_masks_that_the_weights_do_not_have_are_refused(
    form: Masks, place: str, tmp_path: Path
) -> None:
    state, path = dict(network(1).state_dict()), tmp_path / "a.pth"
    masks = {name: (state[name] > 0).float() for name in ("0.weight", "3.weight")}
    torch.save({"model": prefixed("module.", state), place: form(masks)}, path)
    with pytest.raises(AuditError, match=f"masks under '{place}' that its weights do not have"):
        load_weights(network(), read_weights(path), path)
    # Those that were multiplied in, whichever of 0 and 1 removes, are no matter.
    pruned = state | {name: state[name] * mask for name, mask in masks.items()}
    for kept in (masks, {name: 1 - mask for name, mask in masks.items()}):
        torch.save({"model": prefixed("module.", pruned), place: form(kept)}, path)
        notes = load_weights(network(), read_weights(path), path)
        assert not [note for note in notes if "mask" in note]


def test_masks_that_fit_no_weight_are_told(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    for apart in (torch.ones(9), [torch.ones(5, 5)], {"head": torch.ones(8)}, [[torch.ones(8, 4)]]):
        torch.save({"model": dict(network(1).state_dict()), "masks": apart}, path)
        *_, note = load_weights(network(), read_weights(path), path)
        assert note.startswith("its file holds masks under 'masks' that fit none of its weights")


class Tied(nn.Module):
    """Two layers of one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = nn.Linear(4, 4), nn.Linear(4, 4)
        self.other.weight = self.one.weight


def test_one_weight_that_came_as_two_is_refused(tmp_path: Path) -> None:
    state, path = dict(Tied().state_dict()), tmp_path / "a.pth"
    load_weights(Tied(), Weights(state), path)
    state["other.weight"] = state["other.weight"] * (state["other.weight"] > 0)
    with pytest.raises(
        AuditError,
        match=r"different numbers for 'one.weight', 'other.weight', which are one weight",
    ):
        load_weights(Tied(), Weights(state), path)
