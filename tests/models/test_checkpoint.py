"""Checkpoints: they come back as they were, run no code, and bad ones say what is wrong."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from audit.errors import AuditError
from audit.models import (
    Architecture,
    Provenance,
    build_model,
    load_checkpoint,
    make_checkpoint,
    parent_of,
    parent_path,
    save_checkpoint,
)
from audit.prune.magnitude import magnitude_mask

ARCHITECTURE = Architecture("mlp", (4,), 2, {"width": 8})


@pytest.fixture
def checkpoint(two_groups):
    model = build_model(ARCHITECTURE, seed=3)
    mask = magnitude_mask(model, 0.5)
    mask.apply(model)
    provenance = Provenance("magnitude", rate=0.5, seed=3, settings={"epochs": 2}, notes=("why",))
    return make_checkpoint(model, ARCHITECTURE, two_groups, provenance, mask.parts)


def test_a_checkpoint_comes_back_as_it_was(checkpoint, tmp_path):
    save_checkpoint(checkpoint, tmp_path / "model.pt")
    found = load_checkpoint(tmp_path / "model.pt")
    assert found.architecture == ARCHITECTURE
    assert found.provenance == checkpoint.provenance
    assert found.splits == checkpoint.splits
    assert found.group_names == ("few", "many")
    inputs = torch.randn(5, 4)
    assert torch.equal(found.model()(inputs), checkpoint.model()(inputs))
    assert all(torch.equal(found.mask[name], part) for name, part in checkpoint.mask.items())


def test_ids_are_texts_of_any_letters_and_those_of_older_files_are_read(checkpoint, tmp_path):
    path = tmp_path / "model.pt"
    ids = {"train": ["a\n,", '"', "\udcff", "é"], "select": [], "test": ["\x1f"]}
    save_checkpoint(replace(checkpoint, splits=ids), path)
    assert load_checkpoint(path).splits == ids
    content = torch.load(path, weights_only=True)
    assert {type(own) for own in content["splits"].values()} == {str}
    torch.save(content | {"splits": ids}, path)
    assert load_checkpoint(path).splits == ids
    torch.save(content | {"splits": {"train": "[1"}}, path)
    with pytest.raises(AuditError, match="is a damaged checkpoint"):
        load_checkpoint(path)


def test_a_checkpoint_loads_without_unpickling(checkpoint, tmp_path):
    save_checkpoint(checkpoint, tmp_path / "model.pt")
    content = torch.load(tmp_path / "model.pt", weights_only=True)
    assert content["format"] == "audit-checkpoint"


def test_a_missing_file(tmp_path):
    with pytest.raises(AuditError, match="there is no file"):
        load_checkpoint(tmp_path / "none.pt")


def test_a_truncated_file(checkpoint, tmp_path):
    path = tmp_path / "model.pt"
    save_checkpoint(checkpoint, path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(AuditError, match="truncated or not a checkpoint"):
        load_checkpoint(path)


def test_an_empty_file(tmp_path):
    (tmp_path / "model.pt").touch()
    with pytest.raises(AuditError, match="truncated or not a checkpoint"):
        load_checkpoint(tmp_path / "model.pt")


def test_a_pickled_module_is_refused(tmp_path):
    torch.save(nn.Linear(2, 2), tmp_path / "model.pt")
    with pytest.raises(AuditError, match="pickled Python objects"):
        load_checkpoint(tmp_path / "model.pt")


def test_a_bare_state_dict_is_named_as_such(tmp_path):
    torch.save(nn.Linear(2, 2).state_dict(), tmp_path / "model.pt")
    with pytest.raises(AuditError, match="a bare state dict"):
        load_checkpoint(tmp_path / "model.pt")


def test_weights_that_are_not_finite(checkpoint, tmp_path):
    state = dict(checkpoint.state)
    state["1.weight"] = torch.full_like(state["1.weight"], float("nan"))
    save_checkpoint(replace(checkpoint, state=state), tmp_path / "model.pt")
    with pytest.raises(AuditError, match=r"32 of 32 in '1\.weight'"):
        load_checkpoint(tmp_path / "model.pt")


def test_weights_of_another_architecture(checkpoint):
    other = replace(checkpoint, architecture=Architecture("mlp", (4,), 2, {"width": 9}))
    with pytest.raises(AuditError, match="do not fit the architecture 'mlp'"):
        other.model()


def test_a_function_is_imported_only_if_the_caller_vouches_for_it(checkpoint):
    name = "audit.models.zoo:mlp"
    own = replace(checkpoint, architecture=replace(ARCHITECTURE, name=name))
    with pytest.raises(AuditError, match=f"--model {name}"):
        own.model()
    assert isinstance(own.model(factory=name), nn.Module)


def test_a_failed_write_leaves_the_old_file(checkpoint, tmp_path, monkeypatch):
    path = tmp_path / "model.pt"
    save_checkpoint(checkpoint, path)
    before = path.read_bytes()

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(AuditError, match="No space left on device"):
        save_checkpoint(checkpoint, path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_the_parent_is_found_beside_its_child_and_checked(checkpoint, tmp_path, monkeypatch):
    dense = tmp_path / "dense" / "dense.pt"
    child = tmp_path / "pruned" / "child.pt"
    save_checkpoint(checkpoint, dense)
    provenance = replace(checkpoint.provenance, parent=parent_of(dense, child))
    save_checkpoint(replace(checkpoint, provenance=provenance), child)
    moved = tmp_path.rename(tmp_path.with_name("moved")) / "pruned" / "child.pt"
    monkeypatch.chdir(moved.parents[1])
    found = parent_path(load_checkpoint(moved), moved)
    assert found.samefile(moved.parents[1] / "dense" / "dense.pt")
    found.write_bytes(b"other")
    with pytest.raises(AuditError, match="has changed"):
        parent_path(load_checkpoint(moved), moved)
    found.unlink()
    with pytest.raises(AuditError, match="give it with --dense"):
        parent_path(load_checkpoint(moved), moved)


@pytest.mark.parametrize(
    ("name", "shape"), [("convnet", (1, 8, 8)), ("resnet10", (3, 16, 16)), ("mlp", (7,))]
)
def test_the_zoo_gives_logits_and_repeats_by_seed(name, shape):
    architecture = Architecture(name, shape, 5, {"width": 8})
    first, again, other = (build_model(architecture, seed) for seed in (0, 0, 1))
    inputs = torch.randn(4, *shape)
    assert first.eval()(inputs).shape == (4, 5)
    assert torch.equal(first(inputs), again.eval()(inputs))
    assert not torch.equal(first(inputs), other.eval()(inputs))


def test_the_convnet_has_the_parameters_of_the_documented_digits_network():
    model = build_model(Architecture("convnet", (1, 8, 8), 10))
    assert sum(p.numel() for p in model.parameters()) == 90_250


def test_unknown_models_and_arguments():
    with pytest.raises(AuditError, match="expected one of mlp, convnet"):
        build_model(Architecture("vgg", (4,), 2))
    with pytest.raises(AuditError, match="depht"):
        build_model(Architecture("mlp", (4,), 2, {"depht": 2}))
    with pytest.raises(AuditError, match="expects images"):
        build_model(Architecture("convnet", (4,), 2))
