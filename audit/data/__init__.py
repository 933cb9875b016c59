"""Data: samples with labels, protected groups and splits."""

from audit.data.arrays import from_arrays
from audit.data.describe import Description, describe_data
from audit.data.grouped import SPLITS, Batch, GroupedData
from audit.data.scaling import Scaling
from audit.data.spec import load_data, parse_spec
from audit.data.splits import SplitSettings

__all__ = [
    "SPLITS",
    "Batch",
    "Description",
    "GroupedData",
    "Scaling",
    "SplitSettings",
    "describe_data",
    "from_arrays",
    "load_data",
    "parse_spec",
]
