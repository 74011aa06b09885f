"""Prometheus metrics of the service (`docs/operations.md`, Metrics)."""
