"""``make bench``: everything that must be quick, compared in one run (docs/performance.md)."""
