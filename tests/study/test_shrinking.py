"""A network that lost whole channels, made small and exported."""

import pytest
import torch

from audit.errors import AuditError
from audit.models import TrainingSettings
from audit.study.making import prune_model, train_model
from audit.study.settings import Method
from audit.study.shrinking import export_model, shrink_model
from tests.conftest import make_groups

FAST = TrainingSettings(epochs=1)


@pytest.fixture(scope="module")
def pruned():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(200) % 2
    groups = (torch.arange(200) >= 60).long()
    data = make_groups(torch.randn(200, 1, 8, 8, generator=generator), labels, groups)
    dense = train_model(data, "convnet", FAST, {"width": 8})
    filters = prune_model(
        dense, data, Method("bilevel", options={"structure": "filter"}), 0.5, FAST
    )
    return data, dense, filters, prune_model(dense, data, "magnitude", 0.1, FAST)


def test_it_costs_less_and_gives_the_same_logits(pruned):
    data, _, filters, _ = pruned
    found = shrink_model(filters)
    assert found.after.parameters < 0.7 * found.before.parameters
    assert found.after.multiply_adds < found.before.multiply_adds
    batch = data.batch(data.indices("test")).inputs
    torch.testing.assert_close(found.network(batch), filters.model()(batch), rtol=1e-4, atol=1e-5)
    text = "\n".join(found.lines())
    assert f"{found.before.parameters:,}" in text
    assert f"{found.after.multiply_adds:,}" in text


def test_the_exported_program_takes_batches_of_any_size(pruned, tmp_path):
    data, _, filters, _ = pruned
    found = shrink_model(filters)
    export_model(found.network, data.input_shape, tmp_path / "small.pt2")
    assert [path.name for path in tmp_path.iterdir()] == ["small.pt2"]
    program = torch.export.load(tmp_path / "small.pt2").module()
    for size in (1, 7):
        batch = data.batch(data.indices("test")[:size]).inputs
        torch.testing.assert_close(program(batch), found.network(batch))


def test_what_cannot_be_shrunk_is_said_in_one_line(pruned, tmp_path):
    data, dense, _, magnitude = pruned
    with pytest.raises(AuditError, match="found a dense network"):
        shrink_model(dense)
    with pytest.raises(AuditError, match="no whole channel was removed by 'magnitude'"):
        shrink_model(magnitude)
    with pytest.raises(AuditError, match=r"expected a name in \.pt2"):
        export_model(dense.model(), data.input_shape, tmp_path / "small.onnx")
