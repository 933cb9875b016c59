"""A study of a small table that takes seconds, as the file of settings of `audit run`."""

STUDY = """
[data]
dataset = "table"
file = "{table}"
target = "target"
group = "group"
[model]
name = "mlp"
width = 6
depth = 1
[study]
methods = ["magnitude"]
rates = [0.3, 0.6]
seeds = [0, 1]
[training]
epochs = 2
[pruning]
epochs = 1
[measure]
curvature = "none"
resamples = 20
"""
