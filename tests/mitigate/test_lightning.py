"""The solver in Lightning's Trainer."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from audit.errors import AuditError

lightning = pytest.importorskip("lightning.pytorch", reason="the extra lightning is not installed")

from audit.mitigate.lightning import FairPruning  # noqa: E402
from audit.prune.mask import measured_mask  # noqa: E402

pytestmark = pytest.mark.filterwarnings("default")  # of its own deprecations this project says none


class Module(lightning.LightningModule):  # type: ignore[misc, name-defined]
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2))

    def training_step(self, batch: Any, _: int) -> Tensor:
        return self.pruner.loss(*batch)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.net.parameters(), lr=0.05, momentum=0.9)


def samples() -> TensorDataset:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(256, 4, generator=generator)
    return TensorDataset(inputs, (inputs[:, 0] > 0).long(), torch.arange(256) % 3)


def trainer_of(folder: Path, *callbacks: Any, **more: Any) -> Any:
    return lightning.Trainer(
        accelerator="cpu", callbacks=list(callbacks), logger=False, default_root_dir=folder,
        enable_progress_bar=False, enable_model_summary=False, **more,
    )  # fmt: skip


def fitted(folder: Path, module: Module, start: Path | None = None, **more: Any) -> FairPruning:
    pruning = FairPruning(network="net", rate=0.5, constraint="excess-accuracy", groups=3)
    kept = lightning.callbacks.ModelCheckpoint(
        folder, "{step}", every_n_train_steps=12, save_top_k=-1
    )
    trainer = trainer_of(folder, pruning, kept, **{"max_epochs": 6, **more})
    trainer.fit(module, DataLoader(samples(), batch_size=32), ckpt_path=start)
    return pruning


@pytest.mark.parametrize("more", [{}, {"accumulate_grad_batches": 2}, {"precision": "bf16-mixed"}])
def test_a_network_is_pruned_in_a_trainer(tmp_path: Path, more: dict[str, Any]) -> None:
    module = Module()
    pruning = fitted(tmp_path, module, **more)
    assert pruning.mask is not None
    assert pruning.mask.survivors == round(0.5 * pruning.mask.size)
    found = measured_mask(module.net)
    assert all(torch.equal(found.parts[name], part) for name, part in pruning.mask.parts.items())
    inputs, labels, _ = samples().tensors
    assert float((module.net(inputs).argmax(1) == labels).float().mean()) > 0.9
    assert not hasattr(module, "pruner")


def test_training_goes_on_from_a_checkpoint(tmp_path: Path) -> None:
    torch.manual_seed(1)
    whole, again = Module(), Module()
    again.load_state_dict(whole.state_dict())
    fitted(tmp_path, whole)
    fitted(tmp_path / "again", again, tmp_path / "step=24.ckpt")
    for name, value in whole.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


class Stop(lightning.Callback):  # type: ignore[misc, name-defined]
    """Ends training that has no end of its own."""

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        trainer.should_stop = trainer.global_step >= 20


class Endless(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        return iter(zip(*samples().tensors, strict=True))


@pytest.mark.parametrize("data", [samples(), Endless()])
@pytest.mark.parametrize("epochs", [-1, 3])
def test_where_nobody_knows_the_steps_the_rate_holds_from_the_first(
    tmp_path: Path, data: Any, epochs: int
) -> None:
    module = Module()
    pruning = FairPruning(network="net", rate=0.5, constraint="excess-accuracy", groups=3)
    trainer = trainer_of(tmp_path, pruning, Stop(), max_epochs=epochs)
    trainer.fit(module, DataLoader(data, batch_size=32))
    assert pruning.mask is not None
    assert measured_mask(module.net).survivors == round(0.5 * pruning.mask.size)


def test_averages_of_weights_and_networks_that_are_not_there_are_refused(tmp_path: Path) -> None:
    for name, more, said in (
        ("net", [lightning.callbacks.StochasticWeightAveraging(0.1)], "found StochasticWeightAver"),
        ("network", [], "found no network 'network' in Module"),
    ):
        pruning = FairPruning(network=name, rate=0.5, groups=3)
        with pytest.raises(AuditError, match=said):
            trainer_of(tmp_path, pruning, *more, max_epochs=1).fit(
                Module(), DataLoader(samples(), batch_size=32)
            )
