"""The registers' pages in the admin; importing registers them."""

from exceptions.admin import register, risks

__all__ = ["register", "risks"]
