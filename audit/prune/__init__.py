"""Pruning: masks, criteria, and fine-tuning that keeps a mask."""
