"""Mitigation: fairness constraints, their multipliers, and the bi-level solver."""
