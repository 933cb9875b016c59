"""One network on its samples, measured into rows."""
