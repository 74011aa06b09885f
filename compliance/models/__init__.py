"""Rows of the compliance app."""

from compliance.models.packs import Pack, PackBuild

__all__ = ["Pack", "PackBuild"]
