"""From tidy tables to findings to words: what follows from the numbers, and how it is said.

Knows pandas and no torch.
"""
