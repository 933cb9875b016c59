"""Pure functions of tensors: every number of the audit (M1-M7)."""
