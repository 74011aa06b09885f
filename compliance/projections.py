"""What this app's records change. Importing registers."""

from compliance.packs import projections as packs

__all__ = ["packs"]
