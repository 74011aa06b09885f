"""Controls: what evidence must exist for what population, as data (`*.yaml`), and whether it does."""
