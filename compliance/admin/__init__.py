"""The compliance app's pages in the admin; importing registers them."""

from compliance.admin import holds, packs

__all__ = ["holds", "packs"]
