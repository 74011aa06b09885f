"""Disposition: what is past its retention goes, its leaf and proof stay."""
