"""Data: samples with labels, protected groups and splits."""

from audit.data.arrays import from_arrays
from audit.data.datasets import from_dataset
from audit.data.describe import Description, describe_data
from audit.data.grouped import SPLITS, Batch, GroupedData
from audit.data.inputs import Inputs
from audit.data.scaling import Scaling
from audit.data.spec import load_data
from audit.data.splits import SplitSettings
from audit.specs import parse_spec

__all__ = [
    "SPLITS",
    "Batch",
    "Description",
    "GroupedData",
    "Inputs",
    "Scaling",
    "SplitSettings",
    "describe_data",
    "from_arrays",
    "from_dataset",
    "load_data",
    "parse_spec",
]
